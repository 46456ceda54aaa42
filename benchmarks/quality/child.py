"""Calls into a process of another environment, a line of JSON each way.

Peers need versions of libraries that exclude one another, so each lives in an environment of its own, and the problems
in a further one: no optimiser's time or memory includes the objective, and all see the same function.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = Path(os.environ.get("METATUNE_PEERS", ROOT / ".venv-peers"))
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}


class ChildError(Exception):
    """What went wrong on the other side, in its words."""


class Child:
    """A process that serves `module` in an environment made by `make peers`; "" is the environment of this process."""

    def __init__(self, environment: str, module: str, *arguments: str) -> None:
        python = ENVIRONMENTS / environment / "bin" / "python" if environment else Path(sys.executable)
        if not python.exists():
            raise ChildError(f"there is no {python}; make it with: make peers PEER={environment}")
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", "-m", module, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **ONE_THREAD},
        )  # fmt: skip

    def call(self, name: str, /, **given: Any) -> Any:
        """Raises: ChildError, if the other side raised, or is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([name, given]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ChildError("the process is gone") from None
        line = self._process.stdout.readline()
        if not line:
            raise ChildError(f"the process ended with {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise ChildError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(answers: Mapping[str, Callable[..., Any]]) -> None:
    """Answers calls until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        name, given = json.loads(line)
        try:
            answer = {"result": answers[name](**given)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(answer), file=out, flush=True)
