"""What no engine runs here is at least read by those who know the language.

The Dockerfile by hadolint, the compose file and the manifests by yamllint and their schemas, the scripts by bash; and
what they say agrees with each other and with the server.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from app.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
MANIFESTS = ["kubernetes.yaml", "kubernetes-job.yaml"]
SCHEMAS = json.loads((Path(__file__).parent / "schemas" / "kubernetes.json").read_text())
YAML_RULES = "{extends: default, rules: {line-length: {max: 130}, document-start: disable}}"


def passes(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def manifests(name: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all((DEPLOY / name).read_text()) if document]


def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
    return read


def problems(document: dict[str, Any]) -> list[str]:
    kind = f"{document['apiVersion']}/{document['kind']}"
    schema = {**SCHEMAS["kinds"][kind], "$defs": SCHEMAS["$defs"]}
    return [f"{kind} {list(error.path)}: {error.message}" for error in Draft7Validator(schema).iter_errors(document)]


def test_the_dockerfile_passes_hadolint() -> None:
    passes(BIN / "hadolint", "--failure-threshold", "info", ROOT / "Dockerfile")


@pytest.mark.parametrize("name", ["docker-compose.yml", *MANIFESTS])
def test_yaml_passes_yamllint(name: str) -> None:
    passes(BIN / "yamllint", "--strict", "--config-data", YAML_RULES, DEPLOY / name)


def test_the_compose_file_fits_the_specification() -> None:
    passes(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "docker-compose.yml")


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_fit_the_schemas_of_kubernetes(name: str) -> None:
    assert [problem for document in manifests(name) for problem in problems(document)] == []


def test_the_schemas_notice_a_misspelt_field() -> None:
    [deployment] = [document for document in manifests("kubernetes.yaml") if document["kind"] == "Deployment"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["readinesProbe"] = container.pop("readinessProbe")
    assert any("readinesProbe" in problem for problem in problems(deployment))


@pytest.mark.parametrize("name", ["slurm.sbatch", "postgresql-role.sh"])
def test_scripts_are_read_by_bash(name: str) -> None:
    passes("bash", "-n", DEPLOY / name)


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def last_stage() -> list[tuple[str, str]]:
    everything = instructions()
    start = max(n for n, (word, _) in enumerate(everything) if word == "FROM")
    return everything[start:]


def test_the_image_is_built_in_stages_and_runs_as_nobody_in_particular() -> None:
    assert [word for word, _ in instructions()].count("FROM") == 2
    stage = dict(last_stage())
    assert stage["USER"] == "10001:10001"
    assert stage["COPY"].startswith("--from=build")
    assert json.loads(stage["ENTRYPOINT"]) == ["metatune-server"]
    assert json.loads(stage["CMD"]) == ["serve"]
    assert "/healthz" in stage["HEALTHCHECK"]


def test_the_health_check_asks_the_server_and_fails_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    command = json.loads(dict(last_stage())["HEALTHCHECK"].partition("CMD ")[2])
    done = subprocess.run(
        [sys.executable, *command[1:]], env={"METATUNE_PORT": "9"}, capture_output=True, text=True, timeout=30
    )
    assert done.returncode != 0
    assert "refused" in done.stderr


def test_the_image_holds_only_what_it_needs() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in shlex.split(rest)[:-1]
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def settings_named(text: str) -> set[str]:
    return set(re.findall(rf"\b{PREFIX}([A-Z_]+)\b", text))


def test_every_variable_for_the_server_is_one_of_its_settings() -> None:
    known = {name.upper() for name in Settings.model_fields}
    in_image = settings_named(" ".join(rest for word, rest in last_stage() if word == "ENV"))
    in_compose = {
        name.removeprefix(PREFIX)
        for service in ("api", "worker")
        for name in compose()["services"][service]["environment"]
    }
    [deployment] = [document for document in manifests("kubernetes.yaml") if document["kind"] == "Deployment"]
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    in_kubernetes = {variable["name"].removeprefix(PREFIX) for variable in variables}
    assert in_image | in_compose | in_kubernetes <= known
    assert {"AUTH", "DATABASE", "HOST"} <= in_image


def test_only_the_proxy_is_reached_from_outside_and_nothing_writes_its_root() -> None:
    services = compose()["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    for name in ("api", "worker", "proxy"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
    assert compose()["networks"]["inside"]["internal"] is True


def test_every_file_that_the_compose_file_mounts_is_there() -> None:
    for service in compose()["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), source


def test_every_image_from_elsewhere_can_be_held_at_a_digest_and_is_one_in_all_files() -> None:
    text = (DEPLOY / "docker-compose.yml").read_text()
    defaults = dict(re.findall(r"\$\{(\w+_IMAGE):-([\w.:-]+)\}", text))
    assert set(defaults) == {"PYTHON_IMAGE", "POSTGRES_IMAGE", "CADDY_IMAGE"}
    own = {"metatune", "metatune-worker"}
    others = {service["image"] for service in compose()["services"].values()} - own
    assert others == {f"${{{name}:-{defaults[name]}}}" for name in ("POSTGRES_IMAGE", "CADDY_IMAGE")}
    assert ("ARG", f"PYTHON_IMAGE={defaults['PYTHON_IMAGE']}") in instructions()
    assert {rest.split()[0] for word, rest in instructions() if word == "FROM"} == {"${PYTHON_IMAGE}"}
    documented = (ROOT / "docs" / "deploy.md").read_text()
    assert all(f"{name}={image}" in documented for name, image in defaults.items())


def test_every_variable_that_must_be_set_is_in_the_example() -> None:
    text = (DEPLOY / "docker-compose.yml").read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", text))
    offered = {line.partition("=")[0] for line in (DEPLOY / "example.env").read_text().splitlines() if "=" in line}
    assert wanted == offered


def test_pods_ask_health_for_life_and_readiness_for_calls() -> None:
    [deployment] = [document for document in manifests("kubernetes.yaml") if document["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsUser"] == 10001


@pytest.mark.parametrize("name", ["slurm.sbatch", "kubernetes-job.yaml"])
def test_workers_on_machines_that_may_go_have_a_name_that_stays_and_resume(name: str) -> None:
    text = (DEPLOY / name).read_text()
    assert "METATUNE_WORKER" in text
    assert "--resume" in text
