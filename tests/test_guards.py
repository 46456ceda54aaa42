"""What must not be in the server's code, and what must not come out of it."""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from app.db.session import Store
from app.log import JsonLines
from app.main import create_app
from app.settings import Settings
from tests.conftest import Api
from tools.sbom import bill

ROOT = Path(__file__).resolve().parents[1]
CODE = [*sorted((ROOT / "app").rglob("*.py")), *sorted((ROOT / "migrations").rglob("*.py"))]
#: They run what they read.
BANNED = {"pickle", "_pickle", "cPickle", "joblib", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle", "yaml"}
CANARY = "canary-in-the-mine"
REFUSE_WRITES = {
    "sqlite": ["CREATE TRIGGER t BEFORE UPDATE ON trials BEGIN SELECT RAISE(FAIL, 'planted'); END"],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''planted''; END'",
        "CREATE TRIGGER t BEFORE UPDATE ON trials FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
}


def dangers(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from (f"imports {name}" for name in names if name.split(".")[0] in BANNED)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if re.search(r"(^|\.)(torch|yaml|pandas|pd)\.(load|unsafe_load|full_load|read_pickle)$", called):
            yield f"calls {called}"
        first = node.args[0] if node.args else ast.Constant(None)
        said = first.value if isinstance(first, ast.Constant) else None
        called_last = called.rpartition(".")[2]
        if called_last in ("__import__", "import_module") and (said is None or str(said).split(".")[0] in BANNED):
            yield f"imports {ast.unparse(first)}"
        if any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords):
            yield "unpickles arrays"
        if called_last == "text" and node.args and said is None:
            yield f"makes SQL of {ast.unparse(first)}"


def test_nothing_in_the_server_runs_what_it_reads_or_makes_sql_of_strings() -> None:
    found = {f"{path.relative_to(ROOT)}: {danger}" for path in CODE for danger in dangers(path.read_text())}
    assert not found


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from joblib import load",
        "import marshal as m",
        "import yaml",
        "model = torch.load(path)",
        "importlib.import_module(name)",
        "__import__('dill')",
        "np.load(path, allow_pickle=True)",
        "session.execute(text(f'SELECT {name}'))",
        "sa.text('SELECT ' + name)",
        "text('SELECT {}'.format(name))",
    ],
)
def test_the_guard_sees_what_is_planted(planted: str) -> None:
    assert list(dangers(planted))


def test_every_check_of_ruff_for_security_is_on_for_the_server() -> None:
    settings = (ROOT / "pyproject.toml").read_text()
    assert re.search(r'^    "S",', settings, re.MULTILINE)
    assert not re.search(r'"S\d', settings)
    assert not re.search(r'"app/\S*" = ', settings)


def test_no_secret_reaches_log_metrics_or_answers_also_when_everything_fails(
    database_url: str, store: Store, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    from app.cli import main

    main(["keys", "create", "--scope", "read", "--scope", "write", "--scope", "admin", "--database", database_url])
    key = capsys.readouterr().out.splitlines()[-1]
    app = create_app(Settings(database=database_url, sweep_seconds=0.05, log_level="debug"))
    said: list[str] = []
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": f"{CANARY}-key", "Cookie": f"{CANARY}-cookie"}
    with (
        caplog.at_level(logging.DEBUG, logger="metatune"),
        TestClient(app, base_url="http://127.0.0.1:8000", headers=headers, raise_server_exceptions=False) as client,
    ):
        api = Api(client)
        api.create()
        token = api.one()["lease"]["token"]
        wrong = key[:-4] + ("AAAA" if not key.endswith("AAAA") else "BBBB")
        said.append(client.get("/v1/me", headers={"Authorization": f"Bearer {wrong}"}).text)
        said.append(client.post(f"{api.base}/trials/1/tell", json={"value": 1, "lease": f"{CANARY}-lease"}).text)
        with store.write("every") as session:  # from now on the database refuses what it is told
            for statement in REFUSE_WRITES["sqlite" if store.is_sqlite else "postgresql"]:
                session.execute(text(statement))
        told = {"state": "failed", "reason": CANARY, "lease": token}
        for _ in range(2):
            answer = client.post(f"{api.base}/trials/1/tell", json=told)
            assert answer.status_code in (500, 503)
            said.append(answer.text)
        said.append(client.get("/metrics").text)
    lines = [JsonLines().format(record) for record in caplog.records]
    assert any(
        "planted" in line and "UPDATE trials" in line for line in lines
    )  # with the statement, without its values
    for line in lines + said:
        for secret in (key, key.split("_", 2)[2], wrong.split("_", 2)[2], token, CANARY):
            assert secret not in line


def test_the_databases_password_is_not_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tests.test_cli import run

    url = f"postgresql://nobody:{CANARY}@/x?host={tmp_path}"
    for command in (["serve", "--port", "0"], ["migrate"], ["keys", "list"]):
        done = run(*command, "--database", url, status=1)
        assert CANARY not in done.stderr + done.stdout


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_in_a_csv_export_is_a_formula(api: Api, start: str) -> None:
    import csv
    import io

    formula = f"{start}HYPERLINK(1)"
    name = formula if formula.isprintable() else "x"
    choices = [formula, "b"] if formula.isprintable() else ["a", "b"]
    api.create(space={name: {"type": "categorical", "choices": choices}})
    api.add(params={name: choices[0]})
    api.one(worker="w")
    api.tell(1, state="failed", reason=formula)
    said = api.client.get(f"{api.base}/export?format=csv").text
    for row in csv.reader(io.StringIO(said)):
        for cell in row:
            assert not cell.startswith(("=", "+", "@", "\t", "\r")), row
            assert not re.match(r"-[^\d.]", cell), row
    assert "HYPERLINK" in said


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-api.lock"])
def test_the_bill_of_materials_names_everything_that_the_lock_does(name: str) -> None:
    from tests.test_locks import pins

    made = json.loads(json.dumps(bill((ROOT / name).read_text())))
    assert made["bomFormat"] == "CycloneDX"
    assert {(one["name"], one["version"]) for one in made["components"]} == pins(name)
    assert all(
        one["hashes"] and one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}" for one in made["components"]
    )
