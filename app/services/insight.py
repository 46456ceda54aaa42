"""What a study's model says when asked: of any point, of the parameters, of what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from app.db import trials
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.definition import Definition
from app.errors import FieldError, Invalid, NumericalError, SpaceViolation
from app.search.listed import Fixed
from app.search.space import SearchSpace
from app.services.memory import Memory
from app.services.plan import is_modelled
from app.services.seen import Seen, see
from app.services.turns import short_turns

if TYPE_CHECKING:  # half a second for SciPy that other answers need not wait for
    from app.search import advice
    from app.search.advice import Advice
    from app.search.belief import Belief
    from app.search.models import Modelled

#: Below so many results in the model its word is not worth much, whatever its figures say.
FEW_TRIALS = 10


# --- how well the model predicts --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quality:
    """Of one objective's model, each trial predicted by the others, on the model's scale."""

    trials_used: int
    r2: float
    rank_correlation: float
    coverage_95: float
    trust: str
    note: str


def quality(modelled: Modelled, n_dimensions: int) -> Quality:
    from app.search.leave_one_out import leave_one_out

    found = leave_one_out(modelled.surrogate)
    n = len(modelled.rows)
    if n < max(FEW_TRIALS, 2 * n_dimensions):
        trust, note = "unknown", f"{n} results for {n_dimensions} parameters are too few to tell; look again later"
    elif found.rank_correlation >= 0.8:
        trust, note = "good", "it orders trials that it has not seen almost as they turned out"
    elif found.rank_correlation >= 0.5:
        trust, note = "fair", "it tells better from worse, not more; read what follows as tendencies"
    else:
        trust, note = "poor", "it hardly predicts trials that it has not seen; do not rely on what follows"
    return Quality(n, found.r2, found.rank_correlation, found.coverage, trust, note)


# --- predict ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Predicted:
    """configurations: as the space writes them.  tried: the numbers of the trials with each of them."""

    definition: Definition
    configurations: Sequence[Mapping[str, Any]]
    belief: Belief
    tried: Sequence[Sequence[int]]
    n_measured: int
    qualities: Mapping[str, Quality]


def predict(store: Store, memory: Memory, address: Address, configurations: Sequence[Mapping[str, Any]]) -> Predicted:
    """What the model believes of some configurations.

    Raises: SpaceViolation, with a pointer for every wrong place; NoResultYet; NumericalError.
    """
    from app.search.belief import belief

    study, _ = see(store, memory, address, lambda here: None)
    checked = _checked(study.space, configurations)
    study.require_model()
    definition, history = study.definition, study.history
    with short_turns():
        found = belief(study.space, definition.goal, history, checked, seed=definition.seed, prior=study.prior)
        qualities = {
            objective.name: quality(study.objective(j), study.space.n_dimensions)
            for j, objective in enumerate(definition.objectives)
        }
    keys = [study.space.key(params) for params in checked]
    tried: dict[str, list[int]] = {key: [] for key in keys}
    for key, number in zip(history.keys, history.numbers.tolist(), strict=True):
        if key in tried:
            tried[key].append(number)
    return Predicted(definition, checked, found, [tried[key] for key in keys], study.n_measured, qualities)


def _checked(space: SearchSpace, configurations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Raises: SpaceViolation, pointing to `/params/<position>/<name>`."""
    checked: list[dict[str, Any]] = []
    errors: list[FieldError] = []
    for k, params in enumerate(configurations):
        try:
            checked.append(space.check(params))
        except SpaceViolation as error:
            prefix = f"/params/{k}"
            errors += [FieldError(prefix + e.pointer.removeprefix("/params"), e.detail) for e in error.errors]
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise SpaceViolation(f"{first.pointer}: {first.detail}{more}", errors=errors[:100])
    return checked


# --- importance -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ParameterImportance:
    """Shares of the variance of the objective on the model's scale; near_best: in the user's units."""

    parameter: str
    total: float
    total_interval: tuple[float, float]
    first_order: float
    first_order_interval: tuple[float, float]
    near_best: float | None


@dataclass(frozen=True)
class ObjectiveImportance:
    objective: str
    quality: Quality
    best_trial: int | None
    parameters: Sequence[ParameterImportance]


def importance(store: Store, memory: Memory, address: Address, objective: str | None) -> list[ObjectiveImportance]:
    """Of every objective, or of one.  Raises: NoResultYet; Invalid, for an unknown objective; NumericalError."""
    study, _ = see(store, memory, address, lambda here: None)
    names = [one.name for one in study.definition.objectives]
    if objective is not None and objective not in names:
        raise Invalid(f"there is no objective {objective!r}; there is {', '.join(names)}")
    study.require_model()
    with short_turns():
        return [_importance(study, j) for j, name in enumerate(names) if objective in (None, name)]


def _importance(study: Seen, j: int) -> ObjectiveImportance:
    from app.search import importance as core

    space, modelled = study.space, study.objective(j)
    found = core.importance(space, modelled, seed=study.definition.seed)
    best = core.best_trial(space, modelled, study.history.is_feasible[modelled.rows])
    losses = [None] * space.n_dimensions if best is None else core.losses_near(space, modelled, best)
    is_flat = float(np.ptp(modelled.values)) == 0.0
    items = []
    for name, kind in space.parameters.items():
        if isinstance(kind, Fixed) or is_flat:  # nothing varies, or nothing came of it
            items.append(ParameterImportance(name, 0.0, (0.0, 0.0), 0.0, (0.0, 0.0), None))
            continue
        k = space.columns.index(name)
        (low, high), (first_low, first_high) = found.total_interval[k], found.first_order_interval[k]
        items.append(
            ParameterImportance(
                name,
                float(found.total[k]),
                (float(low), float(high)),
                float(found.first_order[k]),
                (float(first_low), float(first_high)),
                losses[k],
            )
        )
    number = None if best is None else int(study.history.numbers[modelled.rows[best.position]])
    return ObjectiveImportance(
        study.definition.objectives[j].name, quality(modelled, space.n_dimensions), number, items
    )


# --- warnings ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Advised:
    """needed: results before the findings of the model are among them.  why_no_model: if it could not be made."""

    items: Sequence[Advice]
    n_measured: int
    needed: int
    why_no_model: str | None


def advise(store: Store, memory: Memory, address: Address) -> Advised:
    """What a specialist would say about the study; never a numerical error."""
    from app.search import advice as core

    def look(here: OpenStudy) -> tuple[bool, Mapping[str, int], Sequence[tuple[str, int]]]:
        return is_modelled(here), here.study.counts(), trials.reasons(here, "failed", limit=3)

    study, (is_guided, counts, reasons) = see(store, memory, address, look)
    endings = core.Endings(
        **{state: counts[state] for state in ("complete", "pruned", "failed", "infeasible", "lost")}, reasons=reasons
    )
    definition, needed = study.definition, core.needed_trials(study.space)
    objectives: list[core.Objective] = []
    why_no_model = None
    with short_turns():
        if study.has_model and study.n_measured >= needed:
            try:
                objectives = [_modelled(study, j) for j in range(len(definition.objectives))]
            except NumericalError as error:
                why_no_model = error.detail
        items = core.advise(
            study.space,
            definition.goal,
            study.history,
            endings,
            objectives,
            [objective.name for objective in definition.objectives],
            [outcome.name for outcome in definition.outcomes],
            is_guided=is_guided,
            seed=definition.seed,
        )
    return Advised(items, study.n_measured, needed, why_no_model)


def _modelled(study: Seen, j: int) -> advice.Objective:
    from app.search.advice import Objective
    from app.search.importance import importance

    modelled = study.objective(j)
    found = importance(study.space, modelled, seed=study.definition.seed)
    return Objective(study.definition.objectives[j].name, modelled, found)
