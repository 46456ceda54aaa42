"""What a told result amounts to, given what the study measures. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.definition import SINGLE, Definition, escape
from app.errors import FieldError, InvalidMeasurement
from app.lifecycle import ToldState


@dataclass(frozen=True)
class Result:
    """As it was told. `value` is short for `values` of a study that measures one thing."""

    number: int
    state: ToldState = "complete"
    value: float | None = None
    values: Mapping[str, float] | None = None
    noise: float | None = None
    cost: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    lease: str | None = None

    def told(self, definition: Definition) -> Mapping[str, float] | None:
        """The numbers by name; none if only a state was told."""
        if self.values is not None or self.value is None:
            return self.values
        return {definition.measured[0] if len(definition.measured) == 1 else SINGLE: self.value}


@dataclass(frozen=True)
class Verdict:
    """What a result does to its trial, once its numbers were looked at."""

    state: ToldState
    values: dict[str, float] | None
    feasible: bool | None
    reason: str | None


#: Characters of a trial's metadata as JSON, all its messages together.
MAX_METADATA = 2**16


def merged_metadata(here: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's metadata with what was told now; later words replace earlier ones of the same name.

    Raises: InvalidMeasurement, if they have become too many.
    """
    merged = {**here, **added}
    if added and len(json.dumps(merged)) > MAX_METADATA:
        raise InvalidMeasurement(
            f"a trial's metadata may have {MAX_METADATA} characters as JSON, all messages together; "
            "keep large things elsewhere and store their address",
            errors=[FieldError("/metadata", "is too much beside what the trial has")],
        )
    return merged


def judge(definition: Definition, result: Result) -> Verdict:
    """What the told numbers amount to. A non-finite objective is a failure with a reason, never data.

    Raises: InvalidMeasurement, if a name is missing or unknown or a state does not go with values.
    """
    told = result.told(definition)
    if result.state != "complete":
        if told is not None:
            raise InvalidMeasurement(
                f"a {result.state} trial has no values of its own; leave `state` out to tell a value",
                errors=[
                    FieldError(
                        "/value" if result.values is None else "/values", f"does not go with state {result.state!r}"
                    )
                ],
            )
        return Verdict(result.state, None, None, result.reason)
    if told is None:
        raise InvalidMeasurement(
            f"tell a number: {_example(definition)}, or a state: failed, infeasible, pruned",
            errors=[FieldError("/values", "is missing")],
        )
    check_names(definition, told)
    wrong = [f"{name} is {number}" for name, number in told.items() if not math.isfinite(number)]
    if wrong:
        return Verdict("failed", None, None, ", ".join(wrong) + (f" ({result.reason})" if result.reason else ""))
    values = {name: float(told[name]) for name in definition.measured}
    return Verdict("complete", values, definition.is_feasible(values), result.reason)


def check_names(definition: Definition, told: Mapping[str, float]) -> None:
    """Raises: InvalidMeasurement, naming every missing or unknown name."""
    problems = [
        FieldError(f"/values/{escape(name)}", "is missing" if name not in told else "is not measured by this study")
        for name in (*definition.measured, *told)
        if (name in told) != (name in definition.measured)
    ]
    if problems:
        raise InvalidMeasurement(
            f"this study measures {', '.join(definition.measured)}: tell {_example(definition)}", errors=problems
        )


def _example(definition: Definition) -> str:
    if definition.measured == (SINGLE,):
        return '{"value": 0.5}'
    return '{"values": {' + ", ".join(f'"{name}": 0.5' for name in definition.measured) + "}}"
