"""The command line: keys, migrate, and what `serve` refuses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx2
import pytest

from app.cli import main
from app.db import keys
from app.db.migrate import is_at_head
from app.db.session import Store

SERVER = [sys.executable, "-m", "app"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("METATUNE_")}


def run(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*SERVER, *arguments], capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False
    )
    assert done.returncode == status, done.stderr
    return done


@contextmanager
def serving(
    *arguments: str, command: Sequence[str] = SERVER, **settings: object
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a port of its own, and its address; `settings` as of `app.settings`."""
    environment = ENVIRONMENT | {f"METATUNE_{name.upper()}": str(value) for name, value in settings.items()}
    process = subprocess.Popen(
        [*command, "serve", "--port", "0", *arguments], stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            found = re.search(r"metatune is at (http://\S+)", line)
            if found:
                break
        else:
            raise AssertionError(f"the server left with {process.wait()}")
        threading.Thread(target=_drain, args=(process.stderr,), daemon=True).start()  # a full pipe would stop it
        yield process, found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _drain(log: IO[str]) -> None:
    with log:
        for _ in log:
            pass


def test_keys_create_prints_the_key_alone_on_its_last_line(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["keys", "create", "--project", "vision", "--scope", "read", "--scope", "write", "--database", database_url])
    key = capsys.readouterr().out.splitlines()[-1]
    store = Store(database_url)
    with store.glance() as connection:
        caller = keys.find(connection, key)
    store.dispose()
    assert caller is not None
    assert (caller.project, caller.scopes) == ("vision", {"read", "write"})


def test_a_key_has_read_and_write_for_project_default_unless_told(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["keys", "create", "--database", database_url])
    store = Store(database_url)
    with store.glance() as connection:
        caller = keys.find(connection, capsys.readouterr().out.splitlines()[-1])
    store.dispose()
    assert caller is not None
    assert (caller.project, caller.scopes) == ("default", {"read", "write"})


def test_keys_and_projects_are_made_listed_and_revoked(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> list[str]:
        main([*arguments, "--database", database_url])
        return capsys.readouterr().out.splitlines()

    said("projects", "create", "vision")
    assert said("projects", "list") == ["default", "vision"]
    key = said("keys", "create", "--project", "vision", "--name", "cluster", "--expires-in-days", "30")[-1]
    said("keys", "create", "--instance")
    key_id, secret = key.split("_", 2)[1:]
    listed = said("keys", "list")
    assert len(listed) == 3
    assert any(line.startswith(f"{key_id}  vision ") and line.endswith("cluster") for line in listed)
    assert any("admin,read,write,instance" in line for line in listed)
    assert secret not in "".join(listed)
    assert said("keys", "revoke", key_id) == [f"key {key_id} of project 'vision' is revoked"]
    assert "revoked 20" in said("keys", "list", "--project", "vision")[1]
    store = Store(database_url)
    with store.glance() as connection:
        assert keys.find(connection, key) is None
    store.dispose()


def test_keys_create_and_migrate_make_the_schema_when_it_is_missing(tmp_path: Path) -> None:
    for name, command in (("a", ["keys", "create"]), ("b", ["migrate"])):
        url = f"sqlite:///{tmp_path / name}.db"
        main([*command, "--database", url])
        store = Store(url)
        assert is_at_head(store)
        store.dispose()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["migrate", "--database", "mysql://host/name"], "SQLite or PostgreSQL"),
        (["migrate", "--database", "nonsense"], "database URL"),
        (["migrate", "--database", "sqlite://"], "needs a file"),
        (["serve", "--port", "99999"], "--port or METATUNE_PORT"),
        (["serve", "--roles", "api,cook"], "--roles"),
        (["keys", "create", "--expires-in-days", "nan"], "--expires-in-days"),
        (["keys", "create", "--project", "a b"], "a project's name"),
        (["keys", "revoke", "0000"], "no key '0000'"),
        (["keys", "list", "--project", "nowhere"], "no project 'nowhere'"),
        (["projects", "create", "default"], "is there already"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert said in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_binding_beyond_loopback_is_refused_until_a_key_exists(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'open.db'}"
    refused = run("serve", "--host", "0.0.0.0", "--port", "0", "--database", database, status=1)
    assert "keys create" in refused.stderr
    assert "Traceback" not in refused.stderr
    run("keys", "create", "--database", database)
    with serving("--host", "0.0.0.0", "--database", database) as (_, address):
        port = address.rpartition(":")[2]
        assert httpx2.get(f"http://127.0.0.1:{port}/v1/me").status_code == 401
        assert httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200


def test_a_second_server_on_one_file_is_refused_naming_the_holder_and_the_command_line_is_not(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'one.db'}"
    with serving("--database", database) as (process, address):
        refused = run("serve", "--port", "0", "--database", database, status=1)
        assert f"process {process.pid}" in refused.stderr
        assert "Traceback" not in refused.stderr
        key = run("keys", "create", "--database", database).stdout.splitlines()[-1]
        headers = {"Authorization": f"Bearer {key}"}
        assert httpx2.get(f"{address}/v1/me", headers=headers).json()["project"] == "default"
        assert httpx2.get(f"{address}/v1/me").status_code == 401
    with serving("--database", database):
        pass


def test_the_api_starts_without_what_only_workers_need(tmp_path: Path) -> None:
    script = """
        import sys
        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {"sklearn", "jax", "jaxlib", "pyarrow", "dbos", "httpx", "httpx2"}:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Absent())
        from app.cli import main
        from app.db.migrate import migrate
        from app.db.session import Store
        from app.main import create_app
        from app.settings import Settings
        import app.serve, app.search.bayesian
        url = sys.argv[1]
        migrate(Store(url))
        create_app(Settings(database=url)).openapi()
        print("started")
    """
    url = f"sqlite:///{tmp_path / 'slim.db'}"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), url],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.stdout == "started\n", done.stderr


def test_ctrl_c_ends_the_server_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.serve.serve", interrupted)
    with pytest.raises(SystemExit) as left:
        main(["serve", "--database", "sqlite:///:memory:"])
    assert left.value.code == 130
