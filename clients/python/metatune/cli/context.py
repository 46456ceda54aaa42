"""What every command knows: the client, and how to speak. And what each error becomes."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

import metatune
from metatune.cli.output import Output

REFUSED, USAGE, UNREACHABLE, NOTHING, UNWELL = 1, 2, 3, 4, 5
#: A person waits for the answer; a run that may take days waits longer.
ANSWER_SECONDS = 10.0

out = Output()


#: What to do about a refusal, in this command's words instead of Python's; the most special first.
ADVICE: list[tuple[type[metatune.Problem], str]] = [
    (metatune.NoResultYet, "best needs one complete, feasible trial"),
    (metatune.TrialRemoved, "somebody deleted it; its number is not used again"),
    (metatune.NotFound, "is the name right, and the key of the right project? `metatune study ls` lists what it sees"),
    (metatune.Unauthenticated, "set METATUNE_KEY; `metatune-server keys create` makes one on the server"),
    (metatune.Forbidden, "ask for a key with the scope that the message names"),
    (metatune.StudyDiffers, "join it by leaving the differing options out, or choose another name"),
    (metatune.StudyClosed, "`metatune study edit NAME --state active` opens it again"),
    (metatune.TrialFinishedDifferently, "`metatune trial correct` changes it if yours is the right one"),
    (metatune.ServerFault, "this is a fault of the server; its log holds the details"),
]


class Address:
    """Where the server is, as the options before the command say."""

    url: str | None = None
    key: str | None = None


def client(retry_seconds: float = ANSWER_SECONDS) -> metatune.Client:
    return metatune.Client(Address.url, Address.key, retry_seconds=retry_seconds)


def study_names(incomplete: str) -> list[str]:
    """For the shell's completion, which is no place for errors."""
    with contextlib.suppress(Exception), client(retry_seconds=0) as here:
        return [study.name for _, study in zip(range(200), here.studies(prefix=incomplete or None), strict=False)]
    return []


Name = Annotated[str, typer.Argument(help="The study's name.", autocompletion=study_names, show_default=False)]
Number = Annotated[int, typer.Argument(help="The trial's number.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the server gave it.")]


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Every error becomes a message on standard error and the exit code of its kind."""
    try:
        yield
    except metatune.Problem as problem:
        is_empty = isinstance(problem, metatune.NoResultYet)
        code = NOTHING if is_empty else UNREACHABLE if problem.is_passing else REFUSED
        if out.is_json:
            print(json.dumps(dict(problem.problem)), file=sys.stderr)
            raise typer.Exit(code) from problem
        leave(code, in_our_words(problem))
    except metatune.StudyDone as nothing:
        leave(NOTHING, nothing)
    except metatune.MetatuneError as away:
        leave(UNREACHABLE, away)
    except BrokenPipeError:  # `metatune trial ls | head`
        sys.stderr.close()
        raise typer.Exit(0) from None


def in_our_words(problem: metatune.Problem) -> str:
    advice = next((advice for kind, advice in ADVICE if isinstance(problem, kind)), None)
    return f"{problem.words}\n({advice})" if advice else problem.words


def leave(code: int, why: object) -> None:
    print(f"metatune: {why}", file=sys.stderr)
    raise typer.Exit(code)


def usage(why: str) -> typer.BadParameter:
    return typer.BadParameter(why)


def read_json(text: str, what: str) -> Any:
    """JSON as given, or from a file by `@file`, or from standard input by `-`.  Raises: BadParameter."""
    try:
        if text == "-":
            return json.load(sys.stdin)
        return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except OSError as fault:
        raise usage(f"{what}: cannot read {text[1:]!r}: {fault.strerror}") from fault
    except ValueError as fault:
        raise usage(f"{what} is no JSON: {fault}; give it as text, as @file, or as - for standard input") from fault


def pairs(given: list[str], what: str) -> dict[str, Any]:
    """`name=value` as a dictionary; a value that is JSON is what JSON says, anything else is text."""
    read: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not name:
            raise usage(f"{what} is name=value, got {one!r}")
        try:
            read[name] = json.loads(text)
        except ValueError:
            read[name] = text
    return read
