"""When to stop a trial early, from reports alone: median, ASHA, Hyperband and learning curves. Pure rules, no state.

A rule is asked at a report and answers with a Decision. What it needs to know of other trials it is given: how many
there are at the same place and how many of them are better (`app.search.rungs.standing`, or two counts in a
database), or, for curves, what the complete trials came to. All losses are minimised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from app.errors import FieldError, Invalid
from app.search.constraints import Array
from app.search.curves import forecast
from app.search.rungs import Rungs, Standing, rung_of
from app.search.values import escape, is_number

RuleName = Literal["off", "median", "asha", "hyperband", "curve"]
RULES: tuple[RuleName, ...] = ("off", "median", "asha", "hyperband", "curve")
#: Draws of the final values, if there are several objectives.
N_FUTURES = 512


@dataclass(frozen=True)
class Decision:
    """Whether to stop the trial now, the rung just judged (ASHA, Hyperband), and why."""

    prune: bool
    rung: int | None = None
    reason: str | None = None


def median(standing: Standing, *, step: int, min_step: int = 1, min_trials: int = 5) -> Decision:
    """Stop a trial whose best report so far is worse than the median of the others at this step.

    Args:
        standing: of its best report up to this step, among the others' reports at this step. With several objectives:
            of its present report, and only a lower non-dominated rank is better (`without_ties`).
        min_step: no decision before.  min_trials: no decision with fewer others.
    Source: Golovin et al. 2017, section 3.2.2 (with the best instead of the running average, as others do).
    """
    if step < min_step or standing.n_others < max(min_trials, 1) or 2 * standing.n_better <= standing.n_others:
        return Decision(False)
    return Decision(
        True,
        None,
        f"at step {step}, {standing.n_better} of {standing.n_others} trials were better than its best report so far",
    )


def asha(standing: Standing, *, rung: int, step: int, eta: int = 3) -> Decision:
    """Stop a trial that reaches a rung outside the best 1/eta of what was recorded there so far.

    Args:
        standing: of its value at the rung, among those of all other trials that reached it.  step: where the rung lies.
    A report decides once, at the highest rung that it reaches first; with fewer than eta values the trial goes on.
    Source: Li et al. 2020, "A system for massively parallel hyperparameter tuning", stopping type.
    """
    n_values = standing.n_others + 1
    n_kept = max(n_values // eta, 1)
    if n_values < eta or standing.n_better < n_kept:
        return Decision(False, rung)
    return Decision(
        True,
        rung,
        f"place {standing.n_better + 1} of {n_values} at rung {rung} (step {step}); the best {n_kept} go on",
    )


def curve(
    steps: Sequence[int], losses: Array, front: Array, *, last_step: int, min_trials: int = 5, threshold: float = 0.05
) -> Decision:
    """Stop a trial that will hardly come to beat the best.

    Args:
        steps: (n,) of its reports, rising.  losses: (n, m).
        front: (k, m) what the complete feasible trials came to.
        threshold: the probability of a final value better than the best below which it is stopped. With several
            objectives: of final values that no complete trial dominates, the objectives forecast each by itself.
    No decision with fewer than min_trials complete trials, or fewer than four finite reports.
    Source: Domhan, Springenberg & Hutter 2015, "Speeding up automatic hyperparameter optimization by extrapolation of
    learning curves", with the ensemble of `app.search.curves`.
    """
    front = front[np.isfinite(front).all(axis=1)]
    if not len(front) or len(front) < min_trials:
        return Decision(False)
    times = np.asarray(steps, dtype=np.float64)
    found = [forecast(times, column, last_step) for column in losses.T]
    forecasts = [one for one in found if one is not None]
    if len(forecasts) < front.shape[1]:
        return Decision(False)
    if len(forecasts) == 1:
        probability = forecasts[0].probability_below(float(front.min()))
    else:
        rng = np.random.default_rng(0)  # the same futures for the same reports: a report asked again answers the same
        futures = np.column_stack([one.sample(N_FUTURES, rng) for one in forecasts])
        is_below = np.all(front[None, :, :] <= futures[:, None, :], axis=2)
        probability = 1.0 - float(np.mean(np.any(is_below, axis=1)))
    if probability >= threshold:
        return Decision(False)
    return Decision(
        True,
        None,
        f"better than the best at step {last_step} with probability {probability:.2g}, below {threshold:g}",
    )


def without_ties(ranks: Array) -> Standing:
    """How many of the others, ranks[1:], have a lower non-dominated rank than ranks[0]."""
    return Standing(len(ranks) - 1, int(np.sum(ranks[1:] < ranks[0])))


@dataclass(frozen=True)
class PruningRule:
    """A study's `pruning`, with every setting; those that its rule does not have are of no meaning."""

    rule: RuleName = "off"
    min_step: int = 1
    max_step: int | None = None
    eta: int = 3
    min_trials: int = 5
    threshold: float = 0.05
    promote: bool = False

    @classmethod
    def from_json(cls, settings: Any) -> PruningRule:
        """Read `"off"`, null, or `{"rule": ..., settings}`.

        Raises: Invalid, with a pointer such as `/pruning/eta` for every wrong setting.
        """
        if settings is None or settings == "off":
            return cls()
        if not isinstance(settings, Mapping):
            raise _invalid([FieldError("/pruning", f'must be "off" or an object with a rule, got {settings!r}')])
        rule = settings.get("rule")
        if rule not in RULES:
            raise _invalid([FieldError("/pruning/rule", f"must be one of {', '.join(RULES)}, got {rule!r}")])
        errors = list(_setting_errors(rule, settings))
        if errors:
            raise _invalid(errors)
        read = {name: _LEGAL[rule][name].read(value) for name, value in settings.items() if name != "rule"}
        return cls(rule, **{**_DEFAULTS.get(rule, {}), **read})

    def to_json(self) -> dict[str, Any]:
        """Every setting of the rule, defaults filled in; `promote` only where it is asked for."""
        shown = [name for name in _LEGAL[self.rule] if name != "promote" or self.promote]
        return {"rule": self.rule, **{name: getattr(self, name) for name in shown}}

    @cached_property
    def rungs(self) -> Rungs | None:
        """Of asha and hyperband."""
        if self.rule not in ("asha", "hyperband") or self.max_step is None:
            return None
        return Rungs(self.min_step, self.max_step, self.eta)

    def bracket(self, number: int) -> int:
        """The first rung at which the trial of this number is compared, and only with others that begin there too."""
        return self.rungs.bracket(number) if self.rule == "hyperband" and self.rungs is not None else 0

    def first_stop(self, number: int) -> int | None:
        """Where a new trial is to pause; None: nowhere."""
        return self.rungs.until_step(self.bracket(number)) if self.promote and self.rungs is not None else None

    def rung_shown(self, number: int, step: int) -> int | None:
        """What a report at this step is told of where it stands."""
        if self.rungs is None or self.max_step is None:
            return None
        rung = rung_of(step, min_step=self.min_step, max_step=self.max_step, eta=self.eta)
        return None if rung is None or rung < self.bracket(number) else rung


@dataclass(frozen=True)
class _Setting:
    is_legal: Callable[[Any], bool]
    legal: str
    read: Callable[[Any], Any]


def _is_integer(value: Any, low: int) -> bool:
    return is_number(value) and math.isfinite(value) and value == int(value) and low <= value <= 2**53


def _integer(low: int) -> _Setting:
    return _Setting(lambda value: _is_integer(value, low), f"an integer of at least {low}", int)


_RUNG_SETTINGS = {
    "min_step": _integer(1),
    "max_step": _integer(1),
    "eta": _integer(2),
    "promote": _Setting(lambda value: isinstance(value, bool), "true or false", bool),
}
_LEGAL: dict[str, dict[str, _Setting]] = {
    "off": {},
    "median": {"min_step": _integer(0), "min_trials": _integer(1)},
    "asha": _RUNG_SETTINGS,
    "hyperband": _RUNG_SETTINGS,
    "curve": {
        "min_step": _integer(1),
        "max_step": _integer(1),
        "min_trials": _integer(1),
        "threshold": _Setting(lambda value: is_number(value) and 0 < value < 1, "a number between 0 and 1", float),
    },
}
#: Where a rule's default is not that of the others: four reports are the fewest that a curve can be fitted to.
_DEFAULTS: dict[str, dict[str, Any]] = {"curve": {"min_step": 4}}


def _setting_errors(rule: str, settings: Mapping[str, Any]) -> list[FieldError]:
    errors = []
    for name, value in settings.items():
        if name == "rule":
            continue
        setting = _LEGAL[rule].get(name)
        if setting is None:
            listing = ", ".join(_LEGAL[rule]) or "none"
            detail = f"{rule} has no setting {name!r}; its settings: {listing}"
        elif setting.is_legal(value):
            continue
        else:
            detail = f"must be {setting.legal}, got {value!r}"
        errors.append(FieldError(f"/pruning/{escape(str(name))}", detail))
    if "max_step" in _LEGAL[rule] and not errors:
        lowest = settings.get("min_step", _DEFAULTS.get(rule, {}).get("min_step", 1))
        if "max_step" not in settings:
            errors.append(FieldError("/pruning/max_step", f"{rule} needs max_step, the last step of a full trial"))
        elif settings["max_step"] < lowest:
            detail = f"must not be below min_step {lowest}, got {settings['max_step']}"
            errors.append(FieldError("/pruning/max_step", detail))
    return errors


def _invalid(errors: Sequence[FieldError]) -> Invalid:
    return Invalid(f"{errors[0].pointer.lstrip('/')}: {errors[0].detail}", errors=errors)
