"""Who may know whom: the rooms of `app` import only what lies below them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

APP = Path(__file__).resolve().parents[1] / "app"
#: Room → the parts of `app` it may import beside itself.
ALLOWED = {
    "search": {"errors"},
    "fewshot": {"errors"},
    "db": {"errors", "figures", "tracing", "lifecycle", "definition", "measurement", "search"},
    "services": {
        "errors",
        "figures",
        "tracing",
        "lifecycle",
        "definition",
        "measurement",
        "rounds",
        "search",
        "nas",
        "fewshot",
        "db",
    },
    "nas": {"errors"},
    "worker": {
        "errors",
        "lifecycle",
        "measurement",
        "rounds",
        "settings",
        "search",
        "nas",
        "fewshot",
        "db",
        "services",
    },
}
NUMERIC = {"numpy", "scipy", "sklearn", "cmaes"}
#: Modules of `fewshot` that the worker alone loads, and the one that reads tables where pyarrow is installed.
ENGINES = {"inner.py": {"jax"}, "gradients.py": {"jax"}, "learner.py": {"jax"}, "reading.py": {"pyarrow"}}
#: Parts of one verb: `ask` is told in several modules, and whoever asks the model looks at the same.
PARTS = {
    "histories",
    "lines",
    "memory",
    "plan",
    "spare",
    "speculate",
    "stopping",
    "turns",
    "due",
    "expected",
    "examples",
    "learning",
    "priors",
    "seen",
    "sources",
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_knows_only_the_rooms_below_it(room: str) -> None:
    foreign = {
        f"{path.name}: {name}"
        for path in (APP / room).rglob("*.py")
        for name in imports(path)
        if name.startswith("app.") and name.split(".")[1] not in ALLOWED[room] | {room}
    }
    assert not foreign


def test_the_numeric_core_knows_only_numeric_libraries() -> None:
    foreign = {
        f"{path.name}: {name}"
        for room in ("search", "fewshot")
        for path in (APP / room).rglob("*.py")
        for name in imports(path)
        if name.split(".")[0] not in NUMERIC | ENGINES.get(path.name, set()) | {"app"} | sys.stdlib_module_names
    }
    assert not foreign


def test_an_engine_is_imported_when_it_is_needed_and_not_before(tmp_path: Path) -> None:
    """The API, and a worker that only embeds, start without JAX, scikit-learn, pyarrow and what of SciPy computes."""
    script = (
        "import sys; from app.main import create_app; import app.services.adapt; "
        "create_app(); create_app(is_worker=True); "
        "late = ('jax', 'onnx', 'sklearn', 'pyarrow', 'dbos', 'scipy.special', 'scipy.linalg', 'scipy.stats'); "
        "print([name for name in late if name in sys.modules])"
    )
    environment = {**os.environ, "METATUNE_DATABASE": f"sqlite:///{tmp_path}/none.db"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=240)
    assert done.stdout == "[]\n", done.stderr


def test_only_the_api_speaks_http_and_only_the_database_room_speaks_sql() -> None:
    for path in APP.rglob("*.py"):
        room = path.relative_to(APP).parts[0]
        names = {name.split(".")[0] for name in imports(path)}
        if room not in ("api", "main.py", "serve.py"):
            assert not names & {"fastapi", "starlette"}, path


def test_services_do_not_call_services() -> None:
    for path in (APP / "services").glob("*.py"):
        called = {name.split(".")[2] for name in imports(path) if name.startswith("app.services.")}
        assert called - PARTS <= {"define_study", "edit_study"}, path
