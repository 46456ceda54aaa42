"""When to stop a trial early, from reports alone: the median rule and stopping-type ASHA. Pure rules, no state.

Reports of a trial are `{step: value}`, steps positive. A value that is not finite is worse than every finite one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.errors import FieldError, Invalid, NotAvailableYet
from app.search.parameters import is_number

Direction = Literal["minimize", "maximize"]
Reports = Mapping[int, float]

AVAILABLE_RULES = ("off", "median", "asha")
UNBUILT_RULES = ("hyperband", "curve")


@dataclass(frozen=True)
class Decision:
    """Whether to stop the trial now, the rung just judged (ASHA), and why."""

    prune: bool
    rung: int | None = None
    reason: str | None = None


def median(
    step: int,
    value: float,
    own: Reports,
    others: Sequence[Reports],
    direction: Direction,
    *,
    min_step: int = 1,
    min_trials: int = 5,
) -> Decision:
    """Stop a trial whose best report so far is worse than the median of the others at this step.

    Args:
        own: the trial's earlier reports; the present one may be among them.
        others: reports of other trials; one counts if it reached this step, with its last report up to it.
        min_step: no decision before.  min_trials: no decision with fewer others that count.
    Source: Golovin et al. 2017, section 3.2.2 (with the best instead of the running average, as others do).
    """
    if step < min_step:
        return Decision(False)
    losses = sorted(
        _loss(other[max(s for s in other if s <= step)], direction) for other in others if _spans(other, step)
    )
    if len(losses) < max(min_trials, 1):
        return Decision(False)
    best = min([_loss(value, direction), *(_loss(v, direction) for s, v in own.items() if s <= step)])
    middle = len(losses) // 2
    bar = losses[middle] if len(losses) % 2 else (losses[middle - 1] + losses[middle]) / 2.0
    if best <= bar:
        return Decision(False)
    shown = bar if direction == "minimize" else -bar
    return Decision(
        True, None, f"best report up to step {step} is worse than {shown:g}, the median of {len(losses)} trials"
    )


def asha(
    step: int,
    value: float,
    own: Reports,
    others: Sequence[Reports],
    direction: Direction,
    *,
    min_step: int,
    max_step: int,
    eta: int = 3,
) -> Decision:
    """Stop a trial that reaches a rung outside the best 1/eta of what was recorded there so far.

    Args:
        own: the trial's earlier reports; the present one may be among them.
        others: reports of other trials, whatever became of them.
        min_step, max_step, eta: rung k lies at min_step · eta^k, up to max_step.
    A trial's value at a rung is its report at the first step that is not below it. A report decides once, at the
    highest rung that it reaches first; with fewer than eta values there, or at max_step, the trial goes on.
    Source: Li et al. 2020, "A system for massively parallel hyperparameter tuning", stopping type.
    """
    rung = rung_of(step, min_step=min_step, max_step=max_step, eta=eta)
    before = [s for s in own if s < step]
    if rung is None or (before and rung_of(max(before), min_step=min_step, max_step=max_step, eta=eta) == rung):
        return Decision(False, rung)
    if step >= max_step:
        return Decision(False, rung)
    threshold = min_step * eta**rung
    rivals = [
        _loss(other[min(s for s in other if s >= threshold)], direction)
        for other in others
        if _reaches(other, threshold)
    ]
    n_values = len(rivals) + 1
    if n_values < eta:
        return Decision(False, rung)
    n_kept = max(n_values // eta, 1)
    n_better = sum(rival < _loss(value, direction) for rival in rivals)
    if n_better < n_kept:
        return Decision(False, rung)
    return Decision(
        True, rung, f"place {n_better + 1} of {n_values} at rung {rung} (step {threshold}); the best {n_kept} go on"
    )


def rung_of(step: int, *, min_step: int, max_step: int, eta: int) -> int | None:
    """The highest rung k with min_step · eta^k <= min(step, max_step); None below the first."""
    reached = min(step, max_step)
    if reached < min_step:
        return None
    rung = 0
    while min_step * eta ** (rung + 1) <= reached:
        rung += 1
    return rung


@dataclass(frozen=True)
class PruningRule:
    """A study's `pruning`: `off`, `median` (min_step, min_trials) or `asha` (min_step, max_step, eta)."""

    rule: Literal["off", "median", "asha"] = "off"
    min_step: int = 1
    max_step: int | None = None
    eta: int = 3
    min_trials: int = 5

    @classmethod
    def from_json(cls, settings: Any) -> PruningRule:
        """Read `"off"`, null, or `{"rule": ..., settings}`.

        Raises: Invalid, with a pointer such as `/pruning/eta` for every wrong setting; NotAvailableYet, for a rule of
            the contract that is not built.
        """
        if settings is None or settings == "off":
            return cls()
        if not isinstance(settings, Mapping):
            raise _invalid([FieldError("/pruning", f'must be "off" or an object with a rule, got {settings!r}')])
        rule = settings.get("rule")
        if rule in UNBUILT_RULES:
            detail = f"rule {rule!r} is not available yet; there are {', '.join(AVAILABLE_RULES)}"
            raise NotAvailableYet(detail, errors=[FieldError("/pruning/rule", detail)])
        if rule not in AVAILABLE_RULES:
            raise _invalid([FieldError("/pruning/rule", f"must be one of {', '.join(AVAILABLE_RULES)}, got {rule!r}")])
        errors = list(_setting_errors(rule, settings))
        if errors:
            raise _invalid(errors)
        return cls(rule, **{name: int(value) for name, value in settings.items() if name != "rule"})

    def to_json(self) -> dict[str, Any]:
        """Every setting of the rule, defaults filled in."""
        return {"rule": self.rule, **{name: getattr(self, name) for name in _LEGAL[self.rule]}}

    def decide(
        self, step: int, value: float, own: Reports, others: Sequence[Reports], direction: Direction
    ) -> Decision:
        """The rule's decision on a report; arguments as in `median` and `asha`."""
        if self.rule == "median":
            return median(
                step, value, own, others, direction, min_step=self.min_step, min_trials=self.min_trials
            )  # fmt: skip
        if self.rule == "asha" and self.max_step is not None:
            return asha(
                step, value, own, others, direction, min_step=self.min_step, max_step=self.max_step, eta=self.eta
            )  # fmt: skip
        return Decision(False)


# For every rule its settings with the smallest legal value.
_LEGAL: dict[str, dict[str, int]] = {
    "off": {},
    "median": {"min_step": 0, "min_trials": 1},
    "asha": {"min_step": 1, "max_step": 1, "eta": 2},
}


def _setting_errors(rule: str, settings: Mapping[str, Any]) -> list[FieldError]:
    legal = _LEGAL[rule]
    errors = []
    for name, value in settings.items():
        if name == "rule":
            continue
        if name not in legal:
            listing = ", ".join(legal) or "none"
            errors.append(FieldError(f"/pruning/{name}", f"{rule} has no setting {name!r}; its settings: {listing}"))
        elif (
            not is_number(value) or not math.isfinite(value) or value != int(value) or not legal[name] <= value <= 2**53
        ):
            errors.append(
                FieldError(f"/pruning/{name}", f"must be an integer of at least {legal[name]}, got {value!r}")
            )
    if rule == "asha" and not errors:
        if "max_step" not in settings:
            errors.append(FieldError("/pruning/max_step", "asha needs max_step, the last step of a full trial"))
        elif settings["max_step"] < settings.get("min_step", 1):
            detail = f"must not be below min_step {settings.get('min_step', 1)}, got {settings['max_step']}"
            errors.append(FieldError("/pruning/max_step", detail))
    return errors


def _invalid(errors: Sequence[FieldError]) -> Invalid:
    return Invalid(f"{errors[0].pointer.lstrip('/')}: {errors[0].detail}", errors=errors)


def _loss(value: float, direction: Direction) -> float:
    if not math.isfinite(value):
        return math.inf
    return value if direction == "minimize" else -value


def _spans(reports: Reports, step: int) -> bool:
    """Whether there is a report up to the step and one at or after it."""
    return bool(reports) and min(reports) <= step <= max(reports)


def _reaches(reports: Reports, threshold: int) -> bool:
    return bool(reports) and max(reports) >= threshold
