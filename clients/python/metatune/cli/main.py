"""The command's root: where the server is, and the commands below."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import metatune
from metatune.cli import doctor, memory, run_program, studies, trials, watching
from metatune.cli.context import Address

EPILOG = (
    "Exit codes: 0 done, 1 refused by the server, 2 wrong usage, 3 no answer, 4 nothing to hand out or no result yet, "
    "5 trials failed in a row (run) or something is wrong (doctor), 130 Ctrl-C, 143 SIGTERM."
)

app = typer.Typer(
    name="metatune",
    help="Tune programs with a metatune server.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
)
app.add_typer(studies.app, name="study")
app.add_typer(trials.app, name="trial")
app.add_typer(memory.app, name="knowledge")
app.command("recommend")(memory.recommend)
app.command("watch")(watching.watch)
app.command("run")(run_program.run)
app.command("doctor")(doctor.doctor)


def _version(is_asked: bool) -> None:
    if is_asked:
        print(metatune.__version__)
        raise typer.Exit


@app.callback()
def root(
    url: Annotated[
        str | None, typer.Option(envvar="METATUNE_URL", help="The server.", show_default="http://127.0.0.1:8000")
    ] = None,
    key: Annotated[
        str | None, typer.Option(envvar="METATUNE_KEY", help="Says which project; better in the environment than here.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    Address.url, Address.key = url, key


def run() -> None:
    app()
