"""The README's snippets run as they stand, against a real server; only the address is another."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.server import Server

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("readme")) as server:
        yield server


def run(server: Server, command: list[str], script: str, seconds: float = 300) -> str:
    script = script.replace("http://127.0.0.1:8000", server.url)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # as in an environment that is active
    environment = {
        **os.environ,
        "METATUNE_URL": server.url,
        "METATUNE_OUTBOX": str(server.folder / "outbox"),
        "PATH": path,
    }
    done = subprocess.run([*command, script], env=environment, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_lines_find_the_minimum(server: Server) -> None:
    (script,) = [block for language, block in BLOCKS if language == "python"]
    code = [line for line in script.splitlines() if line.strip()]
    assert len(code) == 6, "the README promises six lines"
    value = float(run(server, [sys.executable, "-c"], script).split()[-1])
    assert value < 1.0


def test_the_command_drives_a_program_and_finds_pi(server: Server) -> None:
    command, *_ = (block for language, block in BLOCKS if language == "sh")
    best = dict(line.split("\t") for line in run(server, ["sh", "-ec"], command).splitlines()[-3:])
    assert abs(float(best["x"]) - 3.14159) < 0.15


def test_the_curl_lines_create_ask_and_tell(server: Server) -> None:
    _, three, shell, insight, memory = (block for language, block in BLOCKS if language == "sh")
    assert three.count("curl ") == 3, "the README promises three calls"
    assert '"state":"complete"' in run(server, ["sh", "-ec"], three).splitlines()[-1]
    assert "trial 2 tries lr=" in run(server, ["sh", "-ec"], shell)
    answers = run(server, ["sh", "-ec"], insight)
    for word in ("improvement_probability", "total_interval", "when_suggested", '"items":[]'):
        assert word in answers
    answers = run(server, ["sh", "-ec"], "study=http://127.0.0.1:8000/v1/studies/shell\n" + memory)
    assert '"portfolio"' in answers
    assert '"items":[' in answers


def typed(server: Server, folder: Path, shown: str) -> str:
    """What is answered to the commands of a block that shows answers too."""
    commands = [line.removeprefix("$ ") for line in shown.splitlines() if line.startswith(("$ ", "    "))]
    return run(server, ["sh", "-ec"], "\n".join([f"cd {folder}", *commands]), seconds=280)


@pytest.mark.slow
def test_a_search_needs_nothing_but_curl(server: Server, tmp_path: Path) -> None:
    """The worker that it starts included: submitted, watched, ranked again, downloaded; only trained for less long."""
    shown, _ = [block for language, block in BLOCKS if language == "console"]
    assert shown.count('"epochs": 5') == shown.count('"evaluations": 5') == 1
    shown = shown.replace('"epochs": 5', '"epochs": 1').replace('"evaluations": 5', '"evaluations": 2')
    answers = typed(server, tmp_path, shown)
    assert '"state": "succeeded", "progress": 1.0' in answers
    assert '"held_out_examples":359' in answers
    with zipfile.ZipFile(tmp_path / "network.zip") as network:
        assert sorted(network.namelist()) == ["network.json", "network.onnx", "weights.npz"]


@pytest.mark.slow
def test_a_learner_needs_nothing_but_curl(server: Server, tmp_path: Path) -> None:
    """Uploaded, trained, watched, adapted; only by the backbone that needs no training, and on noise."""
    _, shown = [block for language, block in BLOCKS if language == "console"]
    assert shown.count('"max_seconds": 300') == 1
    shown = shown.replace('"max_seconds": 300', '"backbone": "hog"')
    x = np.random.default_rng(0).integers(0, 2, (40, 28, 28), dtype=np.uint8)
    groups = np.repeat(["Balinese", "Korean", "Greek", "Latin"], 10)
    np.savez(tmp_path / "omniglot.npz", x=x, y=np.repeat(np.arange(8), 5), group=groups)
    images = x[:3].tolist()
    task = {"support": {"x": images, "y": ["alpha", "beta", "gamma"]}, "query": {"x": images}}
    (tmp_path / "task.json").write_text(json.dumps(task))
    answers = typed(server, tmp_path, shown)
    assert '"examples":40' in answers
    assert '"state": "succeeded"' in answers
    predictions = json.loads(answers[answers.index('{"predictions"') :])["predictions"]
    assert [one["label"] for one in predictions] == ["alpha", "beta", "gamma"]
