"""`metatune run`: let a program in any language be the objective."""

from __future__ import annotations

import json
import signal
from types import FrameType
from typing import Annotated, Any

import typer

from metatune.cli.context import UNWELL, Name, client, errors, leave, read_json, usage
from metatune.command import GRACE_SECONDS, Command, GivenBack, Stopped
from metatune.optimize import Loop
from metatune.record import LEASE_SECONDS, worker_named
from metatune.trial import Failed

RETRY_SECONDS = 300.0


def run(
    name: Name,
    program: Annotated[
        list[str],
        typer.Argument(help="The program with {placeholders}, behind --.", metavar="-- CMD...", show_default=False),
    ],
    trials: Annotated[int | None, typer.Option(help="End after so many; else when the study is done.")] = None,
    jobs: Annotated[int, typer.Option(help="Programs at once.", min=1, max=256)] = 1,
    timeout: Annotated[float | None, typer.Option(help="Seconds that one trial may take.")] = None,
    grace: Annotated[float, typer.Option(help="Seconds from SIGTERM to SIGKILL.", min=0)] = GRACE_SECONDS,
    max_failures: Annotated[int, typer.Option(help="Give up after so many failures in a row.", min=1)] = 5,
    worker: Annotated[str | None, typer.Option(envvar="METATUNE_WORKER", help="Who we are.")] = None,
    resume: Annotated[bool, typer.Option(help="Begin with what this --worker was doing when it died.")] = False,
    lease: Annotated[float, typer.Option(help="Seconds that a trial stays ours without a heartbeat.")] = LEASE_SECONDS,
    space: Annotated[
        str | None, typer.Option(help="Make the study with this space (JSON or @file), or join it.")
    ] = None,
    direction: Annotated[str | None, typer.Option(help="Of a study that is made: minimize or maximize.")] = None,
    definition: Annotated[str | None, typer.Option(help="The whole definition, as JSON or @file.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not pass on what the program prints.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each finished trial.")] = False,
) -> None:
    """Evaluate trials with a program in any language.

    Parameters stand in the program's arguments as {name} and in its environment as METATUNE_PARAM_NAME, all of them in
    METATUNE_PARAMS as JSON. A line of JSON on standard output with a step is a report: {"step": 3, "value": 0.8}. The
    last one without a step is the result: {"value": 0.97}, or by objective: {"accuracy": 0.97, "ms": 12}; a lone number
    on the last line will do, and without either the last report. It may be written to METATUNE_RESULT_FILE
    instead. {"checkpoint": "s3://..."} is kept for the next attempt, which finds it
    in METATUNE_CHECKPOINT.

    Exit code 0 with a result is a complete trial, 65 an infeasible one, 75 gives it back and ends (this machine cannot
    go on), anything else is a failed one.
    """
    with errors(), client(RETRY_SECONDS) as here:
        fields: dict[str, Any] = read_json(definition, "--definition") if definition else {}
        if space is not None:
            fields["space"] = read_json(space, "--space")
        if direction is not None:
            fields["direction"] = direction
        fields.pop("name", None)
        try:
            worker = worker_named(worker, resume)
        except ValueError as unnamed:
            raise usage("--resume needs --worker: whose trials are to be taken up again?") from unnamed
        study = here.study(name, **fields)
        outcomes = [outcome["name"] for outcome in study.document["outcomes"]]

        def echo(number: int, line: str) -> None:
            loop.write(f"[{number}] {line}" if jobs > 1 else line)

        try:
            command = Command(
                program, [*study.space], [*study.directions], outcomes, timeout, grace, None if quiet else echo
            )
        except ValueError as unknown:
            raise usage(str(unknown)) from unknown
        objective = _then_print(command) if as_json else command
        ask = {"worker": worker, "lease_seconds": lease}
        loop = Loop(study, objective, trials, jobs, not as_json, max_failures, resume, ask)
        _run(loop, command)


def _run(loop: Loop, command: Command) -> None:
    """Raises: typer.Exit with the code of what ended it, if it was no end of the study or the budget."""
    heard: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        command.is_stopped.set()
        loop.budget.ended.set()
        loop.is_abandoned = True
        heard.append(number)
        if len(heard) > 1 or not loop.is_under_way:  # nothing that would have to end first
            raise Stopped

    numbers = [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        loop.run()
    except Stopped:
        pass
    except GivenBack:
        leave(0, "the program gave its trial back (exit code 75); so do we")
    except Failed as fault:
        leave(UNWELL, f"trials failed in a row; the last one: {fault}")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        leave(128 + heard[0], "interrupted; what was under way is given back")


def _then_print(command: Command) -> Any:
    def evaluate(trial: Any) -> None:
        try:
            command(trial)
        finally:
            fields = {name: trial.document.get(name) for name in ("number", "state", "params", "values")}
            if trial.state != "running":
                print(json.dumps(fields), flush=True)

    return evaluate
