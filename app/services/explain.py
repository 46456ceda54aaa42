"""Why a trial has its parameters: what the model believed of it when it was handed out, and what it believes now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.db import trials
from app.db.reclaim import reading
from app.db.session import Store
from app.db.studies import Address
from app.db.tables import Trial
from app.definition import Definition
from app.search.constraints import Array, Mask
from app.services.edit_study import adapted
from app.services.memory import Memory
from app.services.seen import Seen, see
from app.services.turns import short_turns

if TYPE_CHECKING:  # half a second for SciPy that other answers need not wait for
    from app.search.belief import Belief
    from app.search.explanation import Hindsight
    from app.search.surrogate import Surrogate


@dataclass(frozen=True)
class Near:
    """Another trial, and how near it is: see `app.search.explanation.Neighbour`."""

    number: int
    distance: float
    likeness: float | None


@dataclass(frozen=True)
class WhenSuggested:
    """What was kept with the trial when it was handed out. None: it was not known, or there was none.

    mean, std: of every objective.  pending: the nearest of the `n_pending` that were out then.
    nearest: of those that had a result then. Both by distance alone, which no later result changes.
    """

    mean: Sequence[float] | None
    std: Sequence[float] | None
    acquisition: float
    exploration: float | None
    feasibility: float | None
    n_pending: int
    pending: Sequence[Near]
    nearest: Sequence[Near]


@dataclass(frozen=True)
class Now:
    """With everything that is known now, the trial's own result included; hindsight is without that one.

    hindsight: by objective, in the user's units and direction; of a trial with a result.
    """

    belief: Belief
    n_measured: int
    hindsight: Mapping[str, Hindsight]
    nearest: Sequence[Near]


@dataclass(frozen=True)
class Explanation:
    """others: the trials that are near it, by number.  why_not_now: why the model says nothing of it now, if so."""

    trial: Trial
    definition: Definition
    others: Mapping[int, Trial]
    when_suggested: WhenSuggested | None
    now: Now | None
    why_not_now: str | None


def explain(store: Store, memory: Memory, address: Address, number: int, n_nearest: int) -> Explanation:
    """Why a trial has its parameters.

    What the model believed then was kept with the trial, since the log that it came from may have been corrected or
    trials removed; what it believes now is computed.
    Raises: TrialNotFound, TrialRemoved, NumericalError.
    """
    study, trial = see(store, memory, address, lambda here: trials.get(here, number))
    why_not = _why_not_now(study, trial)
    with short_turns():
        now = None if why_not else _now(study, trial, n_nearest)
        then = _when_suggested(study, trial, n_nearest)
    near = [*(now.nearest if now else ()), *(then.nearest if then else ()), *(then.pending if then else ())]
    with reading(store, address) as here:
        found = trials.numbered(here, {one.number for one in near})
    others = {number: other for number, other in found.items() if other.state != "removed"}
    return Explanation(trial, study.definition, others, then, now, why_not)


def _why_not_now(study: Seen, trial: Trial) -> str | None:
    if trial.is_partial:
        return "its parameters were given in part and are completed when it is handed out"
    if not trial.in_space:
        return "the study's space no longer contains it"
    if study.space.n_dimensions == 0:
        return "every parameter of the study is fixed: there is nothing to model"
    if not study.has_model:
        return f"a model needs two results, the study has {study.n_measured}"
    return None


def _when_suggested(study: Seen, trial: Trial, n_nearest: int) -> WhenSuggested | None:
    believed = trial.origin.get("believed")
    if believed is None:
        return None
    ranges = trial.origin.get("pending") or []
    out = [number for first, last in ranges for number in range(first, last + 1)]
    had_result = (study.history.numbers < trial.number) & ~np.isin(study.history.numbers, out)
    return WhenSuggested(
        mean=believed.get("mean"),
        std=believed.get("std"),
        acquisition=believed["acquisition"],
        exploration=trial.origin.get("exploration"),
        feasibility=believed.get("feasibility"),
        n_pending=len(out),
        pending=_nearest_of(study, trial, frozenset(out), n_nearest),
        nearest=_nearest(study, trial, had_result, n_nearest),
    )


def _now(study: Seen, trial: Trial, n_nearest: int) -> Now:
    from app.search.belief import belief
    from app.search.explanation import hindsight

    definition, history = study.definition, study.history
    params = adapted(study.space, trial.params)
    found = belief(study.space, definition.goal, history, [params], seed=definition.seed, prior=study.prior)
    hindsights = {}
    (row,) = np.nonzero(history.numbers == trial.number)
    for j, objective in enumerate(definition.objectives):
        looked_back = hindsight(study.objective(j), int(row[0])) if len(row) else None
        if looked_back is not None:
            hindsights[objective.name] = looked_back.in_direction(float(definition.goal.signs[j]))
    near = _nearest(study, trial, history.numbers != trial.number, n_nearest, study.objective(0).surrogate)
    return Now(found, study.n_measured, hindsights, near)


def _nearest(study: Seen, trial: Trial, candidates: Mask, count: int, surrogate: Surrogate | None = None) -> list[Near]:
    """Of the finished trials that are `candidates`, (n,)."""
    rows = np.flatnonzero(candidates)
    numbers = study.history.numbers[rows].tolist()
    return _nearest_rows(study, trial, study.history.units[rows], numbers, count, surrogate)


def _nearest_of(study: Seen, trial: Trial, numbers: Set[int], count: int) -> list[Near]:
    """Of the trials of those numbers that are still there, finished since or not."""
    history = study.history
    rows = np.flatnonzero(np.isin(history.numbers, list(numbers)))
    pending = [record for number, record in history.pending.items() if number in numbers]
    units = np.vstack(
        [history.units[rows], study.space.encode_many([record.params for record in pending], strict=False)]
    )
    known = [*history.numbers[rows].tolist(), *(record.number for record in pending)]
    return _nearest_rows(study, trial, units, known, count, None)


def _nearest_rows(
    study: Seen, trial: Trial, units: Array, numbers: Sequence[int], count: int, surrogate: Surrogate | None
) -> list[Near]:
    from app.search.explanation import nearest
    from app.search.kernels import Embedding

    if not numbers:
        return []
    unit = study.space.encode_many([trial.params], strict=False)[0]
    found = nearest(Embedding.of(study.space), unit, units, count, surrogate)
    return [Near(numbers[one.row], one.distance, one.likeness) for one in found]


#: Why there was no model behind a trial, by its source.
WITHOUT_MODEL = {
    "initial": "No model chose it: it is tried first because the space names it as a good guess.",
    "warm_start": "No model of this study chose it: past studies put it first.",
    "sobol": "No model chose it: it is a point of an even spread over the space.",
    "random": "No model chose it: it was drawn at random.",
    "grid": "No model chose it: it is the next point of the grid.",
    "fallback": "No model chose it: it is a free point, since the model's could not be had.",
    "enqueued": "No model chose it: somebody enqueued it.",
    "imported": "No model chose it: it was imported with its result.",
    "tpe": "TPE chose it by the densities of good and bad trials, which predict no value.",
    "cmaes": "CMA-ES drew it from its search distribution, which predicts no value.",
    "nsga2": "NSGA-II bred it from good trials, which predicts no value.",
    "gp": "The model chose it, in a version of the server that did not keep what it believed.",
}


def in_words(found: Explanation) -> str:
    """One or two sentences for a reader who looks at nothing else."""
    origin, then = found.trial.origin, found.when_suggested
    if then is None:
        words = WITHOUT_MODEL[origin["source"]]
        return f"{words} ({origin['why']})" if origin.get("why") else words
    parts = ["It had the highest acquisition of all that the model considered."]
    if then.mean is not None and then.std is not None:
        named = zip(found.definition.objectives, then.mean, then.std, strict=True)
        beliefs = ", ".join(f"{objective.name} {mean:.4g} ± {std:.2g}" for objective, mean, std in named)
        parts.append(f"The model expected {beliefs}.")
    if then.exploration is not None:
        share = round(100 * then.exploration)
        if share >= 60:
            parts.append(f"{share} % of the gain hoped for came from not knowing: mostly exploration.")
        elif share <= 40:
            parts.append(f"{share} % of the gain hoped for came from not knowing: mostly exploitation.")
        else:
            parts.append(f"{share} % of the gain hoped for came from not knowing, the rest from a good mean.")
    if origin.get("prior_weight"):
        parts.append(f"Past studies weighed {round(100 * origin['prior_weight'])} % in what it expected.")
    if then.n_pending:
        parts.append(f"{then.n_pending} pending trials were counted as done, so that it keeps away from them.")
    if origin.get("why"):
        parts.append(f"({origin['why']})")
    return " ".join(parts)
