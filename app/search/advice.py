"""What a specialist would say about a study: findings with their evidence, and what to do about them.

Every finding needs enough trials that chance hardly makes it; the thresholds stand below with their reasons, and
`benchmarks/advice.py` measures on studies without a defect how often one is found all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from app.search.constraints import Mask
from app.search.designs import sobol
from app.search.history import Goal, History
from app.search.importance import Importance, best_trial
from app.search.leave_one_out import leave_one_out, ranks
from app.search.models import Modelled
from app.search.numeric import Float, Int
from app.search.parameters import Parameter
from app.search.paths import Paths
from app.search.space import SearchSpace
from app.search.values import Value

Severity = Literal["info", "warning", "serious"]

N_PATHS = 512
N_SPREAD = 512  # points of the space at which parameters are active or not
ADVICE_STREAM = 0xAD1C

MIN_MODELLED, PER_PARAMETER = 20, 5  # trials before the model's word counts: some, and some for every parameter
AT_BOUND = 0.02  # cube edges
NEAR_BOUND, N_TOP, N_AGREEING = 0.1, 5, 3  # of the five best, three near the bound: not one lucky trial
INWARD = (0.05, 0.15)  # the mean has to rise on the way in, at both
SURE = 0.95  # of the paths; with three of the best five near the bound that is enough, see the benchmark
MATERIAL_RISE = 0.05  # standardised: less is not worth a wider space
WIDEN = 1.0 / 3.0  # of the range, on its own scale
NO_EFFECT = 0.03  # of the variance, at the upper end of the interval
EXPLAINED = 0.3  # of the variance of trials left out: pure noise hardly reaches it, a clean study hardly stays below
FAILED_SHARE, FAILED_SURELY = 0.2, 0.1  # observed, and the lower end of its 95 % interval
INFEASIBLE_SHARE, INFEASIBLE_SURELY = 0.5, 0.3
MIN_ENDINGS, NONE_FEASIBLE = 5, 10
PLACED = 3.5  # standard deviations, for one of many parameters
MIN_STAGNANT, STAGNANT_PER_PARAMETER = 25, 5
STAGNANT_SHARE = {True: 0.5, False: 0.9}  # of all trials, with and without a model; drawn points pause so long by luck
NEGLIGIBLE = 1e-3  # of the better half's spread: polishing is no progress
MIN_PLATEAU, PLATEAU_SHARE, PLATEAU_COUNT = 10, 0.3, 5
EXHAUSTED_SHARE, MAX_COUNTED = 0.8, 10_000
DECADES = 1000.0  # high / low, from which a linear scale spends nine tenths of its points on the last decade


@dataclass(frozen=True)
class Advice:
    """One finding. patch: what to send to `PATCH …/space`, if that is the remedy; evidence: the numbers behind it."""

    code: str
    severity: Severity
    message: str
    parameter: str | None = None
    objective: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    patch: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Objective:
    """One objective's model, and the importance in it."""

    name: str
    modelled: Modelled
    importance: Importance


@dataclass(frozen=True)
class Endings:
    """How trials ended, and why the failed ones did: reasons with their counts, most frequent first."""

    complete: int
    pruned: int
    failed: int
    infeasible: int
    lost: int
    reasons: Sequence[tuple[str, int]] = ()

    @property
    def total(self) -> int:
        return self.complete + self.pruned + self.failed + self.infeasible + self.lost


def needed_trials(space: SearchSpace) -> int:
    """Results before findings rest on the model."""
    return max(MIN_MODELLED, PER_PARAMETER * space.n_dimensions)


def advise(
    space: SearchSpace,
    goal: Goal,
    history: History,
    endings: Endings,
    objectives: Sequence[Objective],
    names: Sequence[str],
    outcomes: Sequence[str],
    *,
    is_guided: bool,
    seed: int,
) -> list[Advice]:
    """All findings, the gravest first.

    Args:
        objectives: modelled ones; none while there are fewer results than `needed_trials`.
        names, outcomes: of all objectives and measured constraints of the goal.
        is_guided: whether a model chooses the points, so that a long pause is no luck.
    """
    found = [*_endings(space, history, endings), *_outcomes(goal, history, outcomes)]
    for j, name in enumerate(names):
        found += _values(history, j, name, float(goal.signs[j]))
    if goal.n_objectives == 1:
        found += _stagnation(space, history, names[0], is_guided)
    for objective in objectives:
        found += _model(space, goal, history, objective, seed)
    found += [*_exhaustion(space, history), *_scales(space, history)]
    grave = {"serious": 0, "warning": 1, "info": 2}
    return sorted(found, key=lambda advice: grave[advice.severity])


# ---- how trials end


def _endings(space: SearchSpace, history: History, endings: Endings) -> list[Advice]:
    found = []
    n = endings.total
    if _is_often(endings.failed, n, FAILED_SHARE, FAILED_SURELY):
        where, place = _gathered(space, history, history.where("failed"))
        why = f' The most frequent reason is "{endings.reasons[0][0][:200]}".' if endings.reasons else ""
        evidence = {"failed": endings.failed, "finished": n, "share": endings.failed / n, **place}
        evidence |= {"reasons": [{"reason": reason, "count": count} for reason, count in endings.reasons]}
        advice = (
            f"{endings.failed} of {n} trials failed; the model learns nothing from them.{where}{why} Repair the cause. "
            "If the configuration itself is to blame, tell `infeasible` instead, so that the search keeps away."
        )
        found.append(Advice("many-failures", "warning", advice, place.get("parameter"), evidence=evidence))
    if _is_often(endings.lost, n, FAILED_SHARE, FAILED_SURELY):
        advice = (
            f"{endings.lost} of {n} trials were lost: their workers went silent again and again. Send heartbeats, ask "
            "for a longer lease, or look at the workers' logs."
        )
        found.append(Advice("many-lost", "warning", advice, evidence={"lost": endings.lost, "finished": n}))
    if _is_often(endings.infeasible, n, INFEASIBLE_SHARE, INFEASIBLE_SURELY):
        where, place = _gathered(space, history, history.where("infeasible"))
        evidence = {"infeasible": endings.infeasible, "finished": n, "share": endings.infeasible / n, **place}
        advice = (
            f"{endings.infeasible} of {n} trials could not be evaluated.{where} Narrow the space, or write what is "
            "known of the limit as a constraint: a constraint costs no trial."
        )
        found.append(Advice("many-infeasible", "warning", advice, place.get("parameter"), evidence=evidence))
    return found


def _outcomes(goal: Goal, history: History, names: Sequence[str]) -> list[Advice]:
    n = int((history.where("complete") & history.is_measured).sum())
    if not goal.outcomes or n < NONE_FEASIBLE:
        return []
    broken = (history.violations > 0) & history.where("complete")[:, None]
    counts = dict(zip(names, broken.sum(axis=0).tolist(), strict=True))
    n_broken = int(broken.any(axis=1).sum())
    evidence = {"complete": n, "broken": counts}
    worst = max(counts, key=lambda name: counts[name])
    if n_broken == n:
        side, bound = goal.outcomes[list(names).index(worst)]
        nearest = float(np.nanmin(history.violations[:, list(names).index(worst)]))
        evidence["smallest_violation"] = nearest
        advice = (
            f"None of {n} complete trials keeps every bound; {worst!r} ({side.replace('_', ' ')} {bound:g}) is broken "
            f"most often, by {max(nearest, 0.0):.3g} at the least. Widen the space toward it, or relax the bound."
        )
        return [Advice("nothing-feasible", "serious", advice, evidence=evidence)]
    if _is_often(n_broken, n, INFEASIBLE_SHARE, INFEASIBLE_SURELY):
        advice = (
            f"{n_broken} of {n} complete trials break a bound, {worst!r} most often ({counts[worst]} times). If the "
            "limit can be computed from the parameters, write it as a constraint: that costs no trial."
        )
        return [Advice("many-infeasible", "info", advice, evidence=evidence)]
    return []


def _is_often(count: int, n: int, share: float, surely: float) -> bool:
    return n >= MIN_ENDINGS and count >= share * n and wilson_low(count, n) > surely


def wilson_low(count: int, n: int) -> float:
    """The lower end of the 95 % interval of a share. Source: Wilson 1927."""
    z, p = 1.959963984540054, count / n
    middle, width = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - width) / (1 + z * z / n)


def _gathered(space: SearchSpace, history: History, these: Mask) -> tuple[str, dict[str, Any]]:
    """Where in the space some trials gather, in words and as evidence; nothing if that may be chance.

    Numbers by the rank-sum test, choices by the test of one share against the rest, normal approximations.
    """
    best: tuple[float, str, dict[str, Any]] = (PLACED, "", {})
    for j, name in enumerate(space.columns):
        kind, column = space.parameters[name], history.units[:, j]
        active = ~np.isnan(column)
        mine, others = column[active & these], column[active & ~these]
        a, b = len(mine), len(others)
        if a < MIN_ENDINGS or b < MIN_ENDINGS:
            continue
        if kind.is_ordered:
            order = ranks(np.concatenate([mine, others]))
            z = (order[:a].sum() - a * (a + b + 1) / 2) / math.sqrt(a * b * (a + b + 1) / 12)
            middles = [_native(kind, float(np.median(part))) for part in (mine, others)]
            where = f" They gather at {'large' if z > 0 else 'small'} values of {name!r}: the middle one of theirs is "
            where += f"{_shown(middles[0])}, of the others {_shown(middles[1])}."
            place = {"parameter": name, "median_of_these": middles[0], "median_of_others": middles[1]}
            best = max(best, (abs(float(z)), where, place), key=lambda one: one[0])
            continue
        for code in kind.level_codes():
            p, q = (float(np.mean(kind.codes(part) == code)) for part in (mine, others))
            pooled = (a * p + b * q) / (a + b)
            z = (p - q) / math.sqrt(max(pooled * (1 - pooled), 1e-12) * (1 / a + 1 / b))
            choice = kind.native(float(code))
            where = f" They gather at {name} = {choice!r}, with {p:.0%} of them and {q:.0%} of the others."
            place = {"parameter": name, "choice": choice, "share_of_these": p, "share_of_others": q}
            best = max(best, (float(z), where, place), key=lambda one: one[0])
    return best[1], best[2]


# ---- the values


def _values(history: History, j: int, name: str, sign: float) -> list[Advice]:
    rows = np.flatnonzero(history.where("complete") & history.is_measured)
    keys = history.keys
    rows = np.array(list({keys[row]: row for row in rows.tolist()}.values()), dtype=np.intp)
    n = len(rows)
    if n < MIN_PLATEAU:
        return []
    values, counts = np.unique(history.objectives[rows, j], return_counts=True)
    k = int(np.argmax(counts))
    count, value = int(counts[k]), sign * float(values[k])
    evidence = {"value": value, "count": count, "configurations": n, "distinct_values": len(values)}
    if len(values) == 1:
        advice = (
            f"All {n} configurations have the same {name}, {value:g}. The parameters do not reach what is measured: "
            "check that the script uses them and reports the right number."
        )
        return [Advice("constant-objective", "serious", advice, objective=name, evidence=evidence)]
    if count >= max(PLATEAU_SHARE * n, PLATEAU_COUNT):
        which = "the best value, so that nothing tells them apart" if k == 0 else "and there the model sees no slope"
        advice = (
            f"{count} of {n} configurations have exactly the same {name}, {value:g}: {which}. Measure something finer "
            "(a loss instead of an accuracy, more validation data), or look for a clipped or default value."
        )
        return [Advice("plateau", "warning", advice, objective=name, evidence=evidence)]
    return []


def _stagnation(space: SearchSpace, history: History, name: str, is_guided: bool) -> list[Advice]:
    rows = np.flatnonzero(history.is_feasible)
    n = len(rows)
    needed = max(MIN_STAGNANT, STAGNANT_PER_PARAMETER * space.n_dimensions)
    if n < needed:
        return []
    values = history.objectives[rows, 0]
    best = np.minimum.accumulate(values)
    spread = float(np.median(values) - best[-1])
    if spread <= 0:
        return []
    since = int(np.argmax(best <= best[-1] + NEGLIGIBLE * spread))
    idle = n - 1 - since
    if idle < max(needed, STAGNANT_SHARE[is_guided] * n):
        return []
    sign, number = float(history.goal.signs[0]), int(history.numbers[rows[since]])
    advice = (
        f"No real progress in the last {idle} of {n} results, since trial {number} with "
        f"{sign * float(values[since]):.6g}. If that is good enough, stop the study; if not, the space may hold "
        "nothing better: widen it, or add a parameter that matters."
    )
    evidence = {"results": n, "without_progress": idle, "since_trial": number, "best": sign * float(best[-1])}
    return [Advice("stagnation", "info", advice, objective=name, evidence=evidence)]


# ---- what the model sees


def _model(space: SearchSpace, goal: Goal, history: History, objective: Objective, seed: int) -> list[Advice]:
    modelled, name = objective.modelled, objective.name
    if float(np.ptp(modelled.values)) == 0.0:
        return []
    found = []
    surrogate = modelled.surrogate
    signal = max(float(np.std(surrogate.mean_at_trials)), 1e-12)
    told = modelled.told_std[modelled.told_std > 0]
    noise = math.sqrt(surrogate.noise_variance + (float(np.median(told)) ** 2 if len(told) else 0.0))
    explained = leave_one_out(modelled.surrogate).r2
    evidence = {"noise_to_signal": noise / signal, "explained_of_trials_left_out": explained}
    if noise > signal:
        advice = (
            f"The scatter of {name} that no parameter explains is {noise / signal:.1f} times what the parameters did "
            "to it in these trials. The best value so far is luck in part: choose by GET …/best?by=mean. Measure each "
            "configuration on more data or several seeds, and tell the standard error as `noise`."
        )
        return [Advice("noise-exceeds-signal", "warning", advice, objective=name, evidence=evidence)]
    if explained < EXPLAINED:
        advice = (
            f"The model explains {max(explained, 0.0):.0%} of the differences in {name} between trials that it has not "
            "seen: its suggestions are hardly better than random ones. Either what is measured is mostly noise, or it "
            "changes faster than the trials lie apart. Repeat a configuration to find out, and check the scales."
        )
        return [Advice("model-cannot-predict", "warning", advice, objective=name, evidence=evidence)]
    usable = history.is_feasible[modelled.rows]
    found += _bounds(space, modelled, usable, name, seed)
    found += _without_effect(space, objective, usable, explained)
    return found


def _without_effect(space: SearchSpace, objective: Objective, usable: Mask, explained: float) -> list[Advice]:
    if space.n_dimensions < 2:
        return []
    found = []
    best = best_trial(space, objective.modelled, usable)
    active = 1.0 - np.isnan(space.snap(sobol(np.arange(N_SPREAD), space.n_dimensions, 0))).mean(axis=0)
    for j, name in enumerate(space.columns):
        share = float(objective.importance.total_interval[j, 1]) / max(float(active[j]), 1e-3)
        if share >= NO_EFFECT:
            continue
        patch = None
        if best is not None and not np.isnan(best.unit[j]):
            patch = {name: _fixed(space, name, space.decode(best.unit)[name])}
        advice = (
            f"{name!r} hardly changes {objective.name}: less than {NO_EFFECT:.0%} of its variance, with everything it "
            "does together with others. Fix it, and the search has one dimension less."
        )
        evidence = {"total_importance_at_most": share, "explained_of_trials_left_out": explained}
        found.append(Advice("no-effect", "info", advice, name, objective.name, evidence, patch))
    return found


def _fixed(space: SearchSpace, name: str, value: Value) -> dict[str, Any]:
    """A merge patch that makes a parameter constant: every other field but its condition goes."""
    gone = {field: None for field in space.to_json()[name] if field not in ("type", "when")}
    return {**gone, "type": "fixed", "value": value}


def _bounds(space: SearchSpace, modelled: Modelled, usable: Mask, objective: str, seed: int) -> list[Advice]:
    best = best_trial(space, modelled, usable)
    if best is None:
        return []
    top = np.flatnonzero(usable)[np.argsort(modelled.surrogate.mean_at_trials[usable], kind="stable")[:N_TOP]]
    paths: Paths | None = None
    found = []
    for j, name in enumerate(space.columns):
        kind, levels = space.parameters[name], space.n_levels[j]
        if not kind.is_ordered or np.isnan(best.unit[j]) or (levels is not None and levels < 3):
            continue
        reach = max(AT_BOUND, 0.75 / levels if levels else 0.0)
        is_high = best.unit[j] >= 1.0 - reach
        if not (is_high or best.unit[j] <= reach):
            continue
        edge, inward = (1.0, -1.0) if is_high else (0.0, 1.0)
        near = np.abs(modelled.surrogate.units[top, j] - edge) <= max(NEAR_BOUND, 1.5 / levels if levels else 0.0)
        if int(near.sum()) < min(N_AGREEING, len(top)):
            continue
        rows = np.repeat(best.unit[None, :], 3, axis=0)
        steps = [0.0, *(max(step, (k + 1.0) / levels if levels else 0.0) for k, step in enumerate(INWARD))]
        rows[:, j] = edge + inward * np.array(steps)
        if paths is None:
            rng = np.random.default_rng([seed % 2**64, len(modelled.rows), ADVICE_STREAM])
            paths = Paths.draw(modelled.surrogate, N_PATHS, rng)
        values = paths(space.snap(rows))
        rises = float(np.mean((values[1, 1:] > values[0, 1:]) & (values[2, 1:] > values[1, 1:])))
        rise = float(values[2, 0] - values[0, 0])
        if rises < SURE or rise < MATERIAL_RISE:
            continue
        evidence = {"near_bound_of_best": int(near.sum()), "of": len(top), "probability": rises, "rise_inward": rise}
        found.append(_at_bound(kind, name, objective, is_high, evidence, space.decode(best.unit)[name]))
    return found


def _at_bound(
    kind: Parameter, name: str, objective: str, is_high: bool, evidence: dict[str, Any], value: Value
) -> Advice:
    side = "high" if is_high else "low"
    bound = kind.level_codes()[-1 if is_high else 0] if not isinstance(kind, Float | Int) else getattr(kind, side)
    evidence |= {"best": value, "bound": float(bound), "side": side}
    start = f"The best {name!r} lies at the {'upper' if is_high else 'lower'} bound {bound:g}, and {objective} still "
    start += "improves toward it. "
    if not isinstance(kind, Float | Int):
        message = start + "Add values beyond it."
        return Advice("optimum-at-bound", "warning", message, name, objective, evidence)
    if bound == 0 or (bound == 1 and is_high and kind.low >= 0 and kind.scale != "log"):  # it may be a natural limit
        message = start + f"If values {'above' if is_high else 'below'} {bound:g} make sense, widen the space."
        return Advice("optimum-at-bound", "info", message, name, objective, evidence)
    wider = widened(kind, is_high)
    if wider is None:
        return Advice("optimum-at-bound", "warning", start + "Widen the space.", name, objective, evidence)
    message = start + f"Widen the space: {side} {wider:g} instead of {bound:g}, as the patch does."
    return Advice("optimum-at-bound", "warning", message, name, objective, evidence, {name: {side: wider}})


def widened(kind: Float | Int, is_high: bool) -> float | int | None:
    """A bound a third of the range further out, on the parameter's own scale, rounded outward to two digits.

    A positive lower bound stays positive. None, where no number can say it.
    """
    low, high = float(kind.low), float(kind.high)
    if kind.scale == "log":
        factor = (high / low) ** WIDEN
        wider = high * factor if is_high else low / factor
    elif kind.scale == "reverse_log":  # the mirror of a log axis: its far end is low, its fine end is high
        factor = (high / low) ** WIDEN
        wider = low + high - low / factor if is_high else low + high - high * factor
    else:
        wider = high + WIDEN * (high - low) if is_high else low - WIDEN * (high - low)
    if not is_high and low > 0 and wider <= 0:
        wider = low / 2
    if not math.isfinite(wider):
        return None
    if kind.step is None and kind.scale != "reverse_log":
        wider = _rounded_outward(wider, is_high)
    step = float(kind.step or (1 if isinstance(kind, Int) else 0))
    if step:
        n_steps = (wider - low) / step
        wider = low + step * (math.ceil(n_steps - 1e-9) if is_high else math.floor(n_steps + 1e-9))
        if not is_high and low > 0 and wider <= 0:
            return None
    if abs(wider) > 2**53 or wider == (high if is_high else low):
        return None
    return int(wider) if isinstance(kind, Int) else float(wider)


def _rounded_outward(x: float, up: bool) -> float:
    """To two significant digits, away from the range."""
    if x == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(x))) - 1)
    count = x / unit
    whole = math.ceil(count - 1e-9) if up else math.floor(count + 1e-9)
    return float(f"{whole * unit:.2g}")


# ---- the space


def _exhaustion(space: SearchSpace, history: History) -> list[Advice]:
    size = space.size
    if size is None or size > MAX_COUNTED or not space.n_dimensions:
        return []
    if space.constraints:
        size = sum(1 for _ in space.enumerate())
    tried = len(set(history.keys) | {space.key(record.params) for record in history.pending.values()})
    if tried < EXHAUSTED_SHARE * size or tried < 2:
        return []
    left = max(size - tried, 0)
    advice = (
        f"{tried} of the {size} configurations of this space were tried, {left} are left: then asks answer `done`. "
        "Stop there, or add levels and parameters."
    )
    evidence = {"size": size, "tried": tried, "left": left}
    return [Advice("space-nearly-exhausted", "info", advice, evidence=evidence)]


def _scales(space: SearchSpace, history: History) -> list[Advice]:
    found = []
    for j, name in enumerate(space.columns):
        kind = space.parameters[name]
        if not isinstance(kind, Float | Int) or kind.scale != "linear" or not kind.low > 0:
            continue
        if kind.high / kind.low < DECADES:
            continue
        ratio = float(kind.high / kind.low)
        evidence: dict[str, Any] = {"ratio": ratio}
        rows = np.flatnonzero(history.is_feasible & ~np.isnan(history.units[:, j]))
        severity: Severity = "info"
        if len(rows) >= MIN_PLATEAU:
            order = rows[np.argsort(history.objectives[rows, 0], kind="stable")[: max(len(rows) // 10, 3)]]
            place = float(np.median(history.units[order, j]))
            evidence["median_of_the_best"] = _native(kind, place)
            severity = "warning" if place < NEAR_BOUND else "info"
        message = (
            f"{name!r} spans a factor of {ratio:.2g} on a linear scale, which puts nine tenths of the points between "
            f"{kind.high / 10:g} and {kind.high:g}. On a log scale every decade gets its share, as the patch does."
        )
        found.append(Advice("log-scale", severity, message, name, evidence=evidence, patch={name: {"scale": "log"}}))
    return found


def _native(kind: Parameter, unit: float) -> Value:
    code = float(kind.codes(np.array([unit]))[0])
    return kind.native(code)


def _shown(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else repr(value)
