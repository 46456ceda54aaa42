"""Evaluates a trial by running a program in any language: how parameters reach it, and what its output means.

Parameters reach the program as placeholders in its arguments (`--lr {lr}`) and in its environment. On standard output a
line that is a JSON object with a `step` is a report, one with a `checkpoint` says where the work can be taken up again,
and the last one with a result is the result; every other line is the program's own business.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from metatune.errors import Invalid, MetatuneError, ReportDiffers
from metatune.trial import Failed, Infeasible, Pruned, Result, Signal, Trial

#: Exit codes with a meaning of their own (`sysexits.h`); any other but 0 is a failure.
INFEASIBLE = 65
GIVE_BACK = 75
GRACE_SECONDS = 10.0
#: A grandchild may hold standard output open after the program is gone; what it says later is not waited for.
LINGER_SECONDS = 2.0
MAX_LINE = 1 << 20
TAIL_LINES = 20
STATES = ("complete", "failed", "infeasible", "pruned", "paused")

#: `{{name}}` for braces that are meant; what is neither that nor a name (JSON, a line of code) is left as it is.
_PLACEHOLDER = re.compile(r"\{\{([A-Za-z_][\w.-]*)\}\}|\{([^{}]+)\}")
_LIKE_A_NAME = re.compile(r"[A-Za-z_][\w.-]*")


class GivenBack(BaseException):
    """The program cannot go on here (exit code 75): the trial is for another worker, and we stop asking."""


class Stopped(BaseException):
    """We were told to end."""


@dataclass(frozen=True)
class Command:
    """The program with its placeholders, and how it is run.

    Args:
        arguments: as on a command line; no shell reads them.
        parameters: the names that a placeholder may have.
        objectives, outcomes: the names that a result has.
        timeout_seconds: of one trial; None: no end.
        echo: takes what the program prints, line by line, with the number of its trial.
    """

    arguments: Sequence[str]
    parameters: Collection[str]
    objectives: Sequence[str]
    outcomes: Sequence[str] = ()
    timeout_seconds: float | None = None
    grace_seconds: float = GRACE_SECONDS
    echo: Callable[[int, str], None] | None = None
    is_stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Raises: ValueError, naming a placeholder that is no parameter."""
        for argument in self.arguments:
            for name in _names_in(argument):
                if name not in self.parameters and _LIKE_A_NAME.fullmatch(name):
                    raise ValueError(
                        f"{{{name}}} in {argument!r} is no parameter; the study has {', '.join(self.parameters)}. "
                        f"Write {{{{{name}}}}} if the braces are meant"
                    )

    def __call__(self, trial: Trial) -> None:
        """Runs the program, and ends the trial as the program ended. An objective for `study.optimize`."""
        with tempfile.TemporaryDirectory(prefix="metatune-") as folder:
            file = Path(folder) / "result.json"
            run = Run(self, trial)
            code = run.run(filled_in(self.arguments, self.parameters, trial.params), environment_of(trial, file))
            conclude(trial, run, code, _result_in_file(file))


class Run:
    """One run of the program: what it said, and how it was ended."""

    def __init__(self, command: Command, trial: Trial) -> None:
        self._command = command
        self._trial = trial
        self.result: dict[str, Any] | None = None
        self.last_report: dict[str, Any] | None = None
        self.last_line = ""
        self.last_step: int | None = None
        self.errors: list[str] = []
        self.ended_by: str | None = None
        self.signal = Signal()
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._fault: MetatuneError | None = None

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
        """Returns the exit code, negative for a signal.  Raises: Failed, if it cannot be started; Stopped."""
        try:
            process = subprocess.Popen(  # noqa: S603  (the caller's own program; no shell reads it)
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # so that its children end with it, and Ctrl-C is ours to pass on
            )
        except OSError as fault:
            raise Failed(f"cannot start {arguments[0]!r}: {fault.strerror or fault}") from fault
        assert process.stdout is not None and process.stderr is not None  # noqa: PT018, S101
        readers = [
            threading.Thread(target=self._read, args=(process.stdout, self._hear), daemon=True),
            threading.Thread(target=self._read, args=(process.stderr, self._note), daemon=True),
        ]
        speaker = threading.Thread(target=self._speak, daemon=True)
        for thread in (*readers, speaker):
            thread.start()
        try:
            self._wait(process)
        finally:
            _end(process, 0.0)  # also whatever it left running
        for reader in readers:
            reader.join(LINGER_SECONDS)
        self._lines.put(None)
        while speaker.is_alive() and not self._command.is_stopped.is_set():
            speaker.join(0.1)  # what it said reaches the server, however long that is away
        if self._command.is_stopped.is_set():
            raise Stopped
        if self._fault is not None:
            raise self._fault
        return process.returncode

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Until it has ended, or has to be."""
        give_up_at = time.monotonic() + (self._command.timeout_seconds or math.inf)
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                return
            self.signal = self.signal or self._trial.signal
            if self._command.is_stopped.is_set():
                self.ended_by = "interrupted"
            elif self._fault is not None:
                self.ended_by = "fault"
            elif self.signal.prune:
                self.ended_by = "prune"
            elif self.signal.stop:
                self.ended_by = "stop"
            elif time.monotonic() > give_up_at:
                self.ended_by = "timeout"
            else:
                continue
            _end(process, self._command.grace_seconds)
            return

    def _read(self, stream: IO[bytes], take: Callable[[str], None]) -> None:
        """Line by line; one without an end is taken in pieces."""
        with contextlib.suppress(OSError, ValueError):
            while line := stream.readline(MAX_LINE):
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                if self._command.echo is not None:
                    self._command.echo(self._trial.number, text)
                take(text)

    def _note(self, line: str) -> None:
        self.errors = [*self.errors[1 - TAIL_LINES :], line]

    def _hear(self, line: str) -> None:
        """Does not wait for the server: a program whose output nobody reads stands still."""
        if line.strip():
            self.last_line = line.strip()
        if line.lstrip().startswith("{"):
            self._lines.put(line)

    def _speak(self) -> None:
        """Passes on what was heard, until there is no more."""
        while (line := self._lines.get()) is not None and self._fault is None:
            said = read_line(line, self._command.objectives, self._command.outcomes)
            if said is None:
                continue
            try:
                if isinstance(said.get("checkpoint"), str):
                    self.signal = self.signal or self._trial.checkpoint(said["checkpoint"])
                if "step" in said:
                    self._report(int(said["step"]), said)
            except (Invalid, ReportDiffers) as fault:  # no reason to end the work
                self._note(f"metatune: {fault}")
            except MetatuneError as fault:
                self._fault = fault
            if "step" in said:
                self.last_report = said
            elif result_of(said) is not None or said.get("state") in STATES:
                self.result = said

    def _report(self, step: int, said: Mapping[str, Any]) -> None:
        values = result_of(said)
        if values is None:
            return
        if isinstance(values, Mapping):
            values = {name: value for name, value in values.items() if name in self._command.objectives}
        self.signal = self.signal or self._trial.report(step, values)
        self.last_step = step


def conclude(trial: Trial, run: Run, code: int, from_file: dict[str, Any] | None) -> None:
    """Ends the trial as the program ended; a result is told here, with all that belongs to it.

    Raises: Pruned, Infeasible, Failed, GivenBack.
    """
    if run.ended_by == "prune":
        raise Pruned(run.signal.reason or "")
    if run.ended_by == "stop":
        why = run.signal.reason or "it was asked to stop"
        raise Pruned(why) if run.last_step is not None else Failed(f"stopped: {why}")
    if run.ended_by == "timeout":
        raise Failed(f"timed out after {run._command.timeout_seconds:g} s{_tail(run)}")
    if code == GIVE_BACK:
        raise GivenBack
    if code == INFEASIBLE:
        raise Infeasible(f"exit code {INFEASIBLE}{_tail(run)}")
    if code != 0:
        raise Failed(f"{_exit(code)}{_tail(run)}")
    names = (run._command.objectives, run._command.outcomes)
    said = (from_file and read_line(json.dumps(from_file), *names)) or run.result
    said = said or read_line(run.last_line, *names, bare=True) or run.last_report
    state = said.get("state", "complete") if said else None
    if state in ("failed", "infeasible", "pruned"):
        reason = str((said or {}).get("reason") or "")
        raise {"failed": Failed, "infeasible": Infeasible, "pruned": Pruned}[state](reason)
    if state == "paused" or (trial.until_step is not None and (run.last_step or 0) >= trial.until_step):
        trial.paused()
        return
    result = result_of(said) if said else None
    if said is None or result is None:
        raise Failed(f"exit code 0, but {_expected(run._command.objectives, run.last_line)}{_tail(run)}")
    try:
        trial.tell_or_offer(result, noise=said.get("noise"), cost=said.get("cost"), metadata=said.get("metadata"))
    except Invalid as refused:
        raise Failed(f"the server does not take this result: {refused}{_tail(run)}") from refused


def read_line(
    line: str, objectives: Sequence[str], outcomes: Sequence[str] = (), *, bare: bool = False
) -> dict[str, Any] | None:
    """What a line says, if it is ours: an object with a result, a report or a checkpoint.

    A result is under `value` or `values`, or there are all the objectives by their names.

    bare: a lone number is a result too.
    """
    line = line.strip()
    if not bare and not line.startswith("{"):
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if bare and isinstance(said, (int, float)) and not isinstance(said, bool):
        return {"value": said}
    if not isinstance(said, dict):
        return None
    if "values" not in said and (outcomes or [*objectives] != ["value"]) and all(name in said for name in objectives):
        said["values"] = {name: said[name] for name in (*objectives, *outcomes) if name in said}
    is_ours = result_of(said) is not None or said.get("state") in STATES or "checkpoint" in said
    if type(said.get("step", 0)) is not int:
        del said["step"]
    return said if is_ours else None


def result_of(said: Mapping[str, Any]) -> Result | None:
    """The number, or numbers by name, that an object of ours holds; `"nan"` is one too, and fails the trial."""
    values = said.get("values")
    if isinstance(values, dict):
        numbers = {str(name): _number(value) for name, value in values.items()}
        return {name: value for name, value in numbers.items() if value is not None} or None
    return _number(said.get("value"))


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    words = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    return words.get(value.lower()) if isinstance(value, str) else None


def filled_in(arguments: Sequence[str], parameters: Collection[str], params: Mapping[str, Any]) -> list[str]:
    """The arguments with the parameters in their places.

    One that speaks of a parameter that is not active is left out, and so is the flag before it: `--degree {degree}`.
    """
    filled: list[str] = []
    for argument in arguments:
        if all(name in params or name not in parameters for name in _names_in(argument)):
            filled.append(_PLACEHOLDER.sub(lambda found: _put(found, params), argument))
        elif filled and filled[-1].startswith("-") and _PLACEHOLDER.fullmatch(argument):
            filled.pop()
    return filled


def _put(found: re.Match[str], params: Mapping[str, Any]) -> str:
    literal, name = found.groups()
    if literal is not None:
        return f"{{{literal}}}"
    return written(params[name]) if name in params else found.group(0)


def _names_in(argument: str) -> Iterator[str]:
    return (found.group(2) for found in _PLACEHOLDER.finditer(argument) if found.group(2) is not None)


def written(value: Any) -> str:
    """As a shell script would compare it: `true`, not `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def environment_of(trial: Trial, result_file: Path) -> dict[str, str]:
    """Ours, with the trial in it. A name becomes capitals and underscores; METATUNE_PARAMS has all as they are."""
    ours = {
        "METATUNE_STUDY": trial.study,
        "METATUNE_TRIAL": str(trial.number),
        "METATUNE_ATTEMPT": str(trial.attempt),
        "METATUNE_PARAMS": json.dumps(trial.params),
        "METATUNE_RESULT_FILE": str(result_file),
        "METATUNE_CHECKPOINT": trial.last_checkpoint or "",
        "METATUNE_UNTIL_STEP": "" if trial.until_step is None else str(trial.until_step),
    }
    params = {
        "METATUNE_PARAM_" + re.sub(r"\W", "_", name, flags=re.ASCII).upper(): written(value)
        for name, value in trial.params.items()
    }
    stale = {name: value for name, value in os.environ.items() if not name.startswith("METATUNE_PARAM")}
    return {**stale, **params, **ours}


def _result_in_file(file: Path) -> dict[str, Any] | None:
    """What the program wrote to METATUNE_RESULT_FILE, if it did.  Raises: Failed, if it is no JSON."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise Failed(f"METATUNE_RESULT_FILE holds no JSON ({fault}): {text[:200]!r}") from fault
    return said if isinstance(said, dict) else {"value": said}


def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Asks the program and its children to end, and then does not ask."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if grace_seconds and process.poll() is None:
            _signal(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_seconds)
        _signal(process, signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    if sys.platform == "win32":
        process.terminate()
    else:
        os.killpg(process.pid, number)


def _exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _tail(run: Run) -> str:
    text = "\n".join(run.errors).strip()
    return f"\n\nThe end of standard error:\n{text[-4000:]}" if text else ""


def _expected(objectives: Sequence[str], last_line: str) -> str:
    form = json.dumps(dict.fromkeys(objectives, 0.5)) if len(objectives) > 1 else '{"value": 0.5}'
    seen = f"the last line was {last_line[:200]!r}" if last_line else "it printed nothing"
    return f"no result: print a line like {form}, or write it to METATUNE_RESULT_FILE; {seen}"
