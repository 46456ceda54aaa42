"""What a study's model says when asked: of any point, of a trial, of the parameters, of what is wrong.

One short read for the snapshot, closed before any matrix is touched, of what changed since the process last looked.
The model is the one that suggests: it is made of the same trials with the study's seed, and of what past studies lend,
whatever algorithm the study itself uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from app.db import trials
from app.db.reclaim import reading
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Trial
from app.definition import Definition
from app.errors import FieldError, Invalid, NoResultYet, NumericalError, SpaceViolation
from app.search.constraints import Array, Mask
from app.search.history import History
from app.search.listed import Fixed
from app.search.space import SearchSpace
from app.services.edit_study import adapted
from app.services.memory import Memory
from app.services.plan import is_modelled
from app.services.priors import Lent
from app.services.turns import short_turns

if TYPE_CHECKING:  # half a second for SciPy that other answers need not wait for
    from app.search import advice
    from app.search.advice import Advice
    from app.search.belief import Belief
    from app.search.explanation import Hindsight
    from app.search.models import Modelled
    from app.search.prior import Prior
    from app.search.surrogate import Surrogate

Look = TypeVar("Look")

#: Below so many results in the model its word is not worth much, whatever its figures say.
FEW_TRIALS = 10


@dataclass(frozen=True)
class Seen:
    """A study as it was at one moment."""

    name: str
    definition: Definition
    history: History
    lending: Callable[[], Lent]

    @cached_property
    def prior(self) -> Prior | None:
        """What past studies lend to it; made when first asked for."""
        return self.lending().prior

    @property
    def space(self) -> SearchSpace:
        return self.definition.space

    @property
    def n_measured(self) -> int:
        return int(self.history.is_measured.sum())

    @property
    def has_model(self) -> bool:
        from app.search.belief import MIN_MEASURED

        return self.n_measured >= MIN_MEASURED and self.space.n_dimensions > 0

    def require_model(self) -> None:
        """Raises: NoResultYet; Invalid, if there is nothing to model."""
        if self.space.n_dimensions == 0:
            raise Invalid("every parameter of this study is fixed: there is nothing to model")
        if not self.has_model:
            raise NoResultYet(
                f"the model needs two results, study {self.name!r} has {self.n_measured}; tell some trials first"
            )

    def objective(self, j: int) -> Modelled:
        """Raises: FitFailed, NotPositiveDefinite."""
        from app.search.kernels import Embedding
        from app.search.prior import objective_model

        return objective_model(self.history, Embedding.of(self.space), j, self.definition.seed, self.prior)


def see(store: Store, memory: Memory, address: Address, look: Callable[[OpenStudy], Look]) -> tuple[Seen, Look]:
    """The study, and what else `look` reads in the same snapshot.

    Raises: StudyNotFound, StudyReplaced, and what `look` raises.
    """
    with memory.histories.turn(Address(address.project_id, address.name)):
        with reading(store, address) as here:
            looked = look(here)
            lending = memory.priors.look(here)
            news = memory.histories.news(here)
        history = memory.histories.grown(here, news)
    return Seen(here.study.name, here.definition, history, lending), looked


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


# --- explanation ------------------------------------------------------------------------------------------------


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
