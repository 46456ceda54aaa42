"""`metatune-server`: serve, migrate, back up, restore, make keys and projects."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db.audit import COMMAND_LINE
from app.db.keys import DEFAULT_PROJECT, SCOPES
from app.errors import AppError, Invalid, ProjectNotFound
from app.loading import uncollected
from app.settings import PREFIX, Settings

#: Numeric libraries start a thread per core; on a server those of several requests get in each other's way.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: Of a key that ends: ten years.
MAX_DAYS = 3650


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="metatune-server", description="Hyperparameter tuning as a service you host yourself."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    serve = commands.add_parser("serve", help="answer requests; migrates the database first")
    serve.add_argument("--host", help="address to listen on (127.0.0.1); beyond loopback a key must exist")
    serve.add_argument("--port", type=int, help="8000")
    serve.add_argument("--workers", type=int, help="processes (1)")
    serve.add_argument("--roles", help="api, worker (hosts jobs), or both in one command (both, where it can)")
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
    create.add_argument("--name", default="", help="what it is for")
    create.add_argument("--expires-in-days", type=float, help="never, unless given")
    create.add_argument(
        "--instance", action="store_true", help="it also makes projects, and keys for them (all scopes, unless given)"
    )
    listing = keys.add_parser("list", help="which keys there are, without their secrets")
    listing.add_argument("--project", help="of one project only")
    revoke = keys.add_parser("revoke", help="end a key, at once and for good")
    revoke.add_argument("id", help="the part between the two _ of the key; keys list shows it")
    projects = commands.add_parser("projects", help="walls between teams").add_subparsers(
        dest="projects_command", required=True
    )
    project = projects.add_parser("create", help="make a project")
    project.add_argument("name")
    project_listing = projects.add_parser("list", help="which projects there are")
    access = (create, listing, revoke, project, project_listing)
    for command in (serve, migrate, backup, restore, *access):
        command.add_argument("--database", help="sqlite:///file.db or postgresql://user@host/name")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
    try:
        settings = settings_of(given)
        if given.command == "serve":
            with uncollected():
                from app.serve import serve as run  # here: the other commands need no server

            run(settings, roles=given.roles, insecure=given.insecure)
        elif given.command == "migrate":
            _migrate(settings)
        elif given.command in ("backup", "restore"):
            _copy(settings, given.command, given.file)
        else:
            _manage_access(settings, given)
    except AppError as error:
        sys.exit(f"metatune-server: {error.detail}")
    except KeyboardInterrupt:  # Ctrl-C, which uvicorn raises again when what was under way is answered
        sys.exit(130)
    except DBAPIError as error:  # it is away, is no database, or may not be written
        sys.exit(f"metatune-server: cannot use the database: {' '.join(str(error.orig).split())}")


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


def _manage_access(settings: Settings, given: argparse.Namespace) -> None:
    from app.db.migrate import migrate
    from app.db.session import EVERY_PROJECT, Store

    store = Store(settings.database)
    verb = given.keys_command if given.command == "keys" else f"{given.projects_command} project"
    try:
        migrate(store)
        with store.write(EVERY_PROJECT) as session:
            lines = _ACCESS[verb](session, given)
    finally:
        store.dispose()
    for line in lines:  # what is said is committed
        print(line)


def _create_key(session: Session, given: argparse.Namespace) -> list[str]:
    from app.db import keys

    scopes = given.scope or (SCOPES if given.instance else ("read", "write"))
    days = given.expires_in_days
    if days is not None and not 0 < days <= MAX_DAYS:
        raise Invalid(f"--expires-in-days is more than 0 and at most {MAX_DAYS}, got {days}")
    try:
        project = keys.project(session, given.project)
    except ProjectNotFound:
        project = keys.make_project(session, given.project, by=COMMAND_LINE)
    _, text = keys.create(
        session,
        project.id,
        scopes,
        by=COMMAND_LINE,
        name=given.name[:128],
        is_instance=given.instance,
        lasts=None if days is None else timedelta(days=days),
    )
    kind = "A key of the instance, with project" if given.instance else "A key for project"
    return [
        f"{kind} {project.name!r} with {', '.join(scopes)}. It is shown only now; "
        "send it as: Authorization: Bearer <key>",
        text,
    ]


def _list_keys(session: Session, given: argparse.Namespace) -> list[str]:
    from app.db import keys

    project_id = None if given.project is None else keys.project(session, given.project).id
    rows = [("id", "project", "scopes", "created", "last used", "ends", "name")]
    for row, project in keys.page(session, project_id=project_id):
        ends = f"revoked {row.revoked_at:%Y-%m-%d}" if row.revoked_at else _date(row.expires_at)
        scopes = ",".join([*row.scopes, *(["instance"] if row.is_instance else [])])
        rows.append((row.id, project, scopes, _date(row.created_at), _date(row.last_used_at), ends, row.name))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _date(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d}"


def _revoke_key(session: Session, given: argparse.Namespace) -> list[str]:
    from app.db import keys

    row, project = keys.get(session, given.id)
    changed = keys.revoke(session, row, by=COMMAND_LINE)
    return [f"key {row.id} of project {project!r} is revoked" + ("" if changed else " already")]


def _create_project(session: Session, given: argparse.Namespace) -> list[str]:
    from app.db import keys

    made = keys.make_project(session, given.name, by=COMMAND_LINE)
    return [f"project {made.name!r} is made; give it keys with: keys create --project {made.name}"]


def _list_projects(session: Session, given: argparse.Namespace) -> list[str]:
    from app.db import keys

    return [project.name for project in keys.projects(session)]


_ACCESS: dict[str, Callable[[Session, argparse.Namespace], list[str]]] = {
    "create": _create_key,
    "list": _list_keys,
    "revoke": _revoke_key,
    "create project": _create_project,
    "list project": _list_projects,
}
