"""`metatune-server`: serve, migrate, back up, restore, make keys."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from pydantic import ValidationError

from app.db.keys import DEFAULT_PROJECT, SCOPES
from app.errors import AppError, Invalid
from app.settings import PREFIX, Settings

#: Numeric libraries start a thread per core; on a server those of several requests get in each other's way.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="metatune-server", description="Hyperparameter tuning as a service you host yourself."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    serve = commands.add_parser("serve", help="answer requests; migrates the database first")
    serve.add_argument("--host", help="address to listen on (127.0.0.1); beyond loopback a key must exist")
    serve.add_argument("--port", type=int, help="8000")
    serve.add_argument("--workers", type=int, help="processes (1)")
    serve.add_argument("--roles", help="comma-separated; available: api", default="api")
    serve.add_argument("--insecure", action="store_true", help="listen beyond loopback although no key exists")
    migrate = commands.add_parser("migrate", help="bring the database's schema up to date")
    backup = commands.add_parser("backup", help="copy the SQLite database, also while it is served")
    backup.add_argument("file", type=Path, help="the copy; refused if it exists")
    restore = commands.add_parser("restore", help="put a copy where no SQLite database is, for the server to start on")
    restore.add_argument("file", type=Path, help="what backup made")
    keys = commands.add_parser("keys", help="keys for callers").add_subparsers(dest="keys_command", required=True)
    create = keys.add_parser("create", help="make a key; the last line of the output is the key alone")
    create.add_argument("--project", default=DEFAULT_PROJECT, help="made when it is missing (default)")
    create.add_argument(
        "--scope", action="append", choices=SCOPES, help="what the key may do; repeat for several (read and write)"
    )
    for command in (serve, migrate, backup, restore, create):
        command.add_argument("--database", help="sqlite:///file.db or postgresql://user@host/name")

    given = parser.parse_args(arguments)
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
    try:
        settings = settings_of(given)
        if given.command == "serve":
            gc.disable()  # what an import makes stays, and there is a lot of it to look through
            from app.serve import serve as run  # here: the other commands need no server

            gc.enable()
            run(settings, roles=given.roles, insecure=given.insecure)
        elif given.command == "migrate":
            _migrate(settings)
        elif given.command in ("backup", "restore"):
            _copy(settings, given.command, given.file)
        else:
            _create_key(settings, given.project, given.scope or ["read", "write"])
    except AppError as error:
        sys.exit(f"metatune-server: {error.detail}")


def settings_of(given: argparse.Namespace) -> Settings:
    """The environment's settings, overridden by what the command line names.  Raises: Invalid."""
    named = {
        PREFIX + name.upper(): str(value)
        for name, value in vars(given).items()
        if name in Settings.model_fields and value is not None
    }
    try:
        return Settings.from_environment({**os.environ, **named})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise Invalid(f"--{name} or {PREFIX}{name.upper()}: {first['msg']}, got {first['input']!r}") from error


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _migrate(settings: Settings) -> None:
    from app.db.migrate import HEAD, migrate
    from app.db.session import Store

    store = Store(settings.database)
    try:
        migrate(store)
    finally:
        store.dispose()
    print(f"{store.url.render_as_string(hide_password=True)} is at revision {HEAD}")


def _copy(settings: Settings, command: str, file: Path) -> None:
    from app.db import backup
    from app.db.session import Store

    store = Store(settings.database)
    if command == "backup":
        revision = backup.backup(store, file)
        print(f"{store.url.database} is copied to {file}, at revision {revision}")
    else:
        revision = backup.restore(file, store)
        print(f"{file} is restored to {store.url.database}, at revision {revision}")


def _create_key(settings: Settings, project: str, scopes: list[str]) -> None:
    from app.db import keys
    from app.db.migrate import migrate
    from app.db.session import Store

    store = Store(settings.database)
    try:
        migrate(store)
        with store.write() as session:
            key = keys.create(session, project, scopes)  # type: ignore[arg-type]
    finally:
        store.dispose()
    print(
        f"A key for project {project!r} with {', '.join(scopes)}. It is shown only now; "
        "send it as: Authorization: Bearer <key>"
    )
    print(key)


if __name__ == "__main__":
    main()
