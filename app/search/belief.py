"""What the model believes of some configurations: the objectives, the outcomes, whether they are feasible at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from app.search.constraints import Array
from app.search.history import Goal, History
from app.search.kernels import Embedding
from app.search.models import Modelled, model
from app.search.prior import Prior, objective_model
from app.search.quantities import feasibility_quantity, violation_quantity
from app.search.space import SearchSpace
from app.search.values import Value

MIN_MEASURED = 2  # from here on there is a model


@dataclass(frozen=True)
class Belief:
    """Of n configurations, in the user's units and direction; standard deviations are of the noiseless quantity.

    mean, std: (n, m), of every objective.  outcome_mean, outcome_std: (n, c), and holds: (n, c) the probability that
    the outcome is within its bound; NaN for one that was measured less than twice.
    runs: (n,) the probability that the configuration can be evaluated; None while every one could.
    improves: (n,) the probability that it beats the best posterior mean; None with several objectives, or while no
    feasible trial is known.
    """

    mean: Array
    std: Array
    outcome_mean: Array
    outcome_std: Array
    holds: Array
    runs: Array | None
    improves: Array | None

    @property
    def feasible(self) -> Array | None:
        """(n,) the probability that every known limit is kept, as the acquisition weighs it; None: nothing limits."""
        known = self.holds[:, ~np.isnan(self.holds).any(axis=0)]
        if not known.shape[1] and self.runs is None:
            return None
        together: Array = known.prod(axis=1)
        return together if self.runs is None else together * self.runs


def belief(
    space: SearchSpace,
    goal: Goal,
    history: History,
    configurations: Sequence[Mapping[str, Value]],
    *,
    seed: int,
    prior: Prior | None = None,
) -> Belief:
    """From the model that suggests: the same trials and seed, and the same past, make the same one.

    Args:
        history: with at least `MIN_MEASURED` measured trials.
        configurations: n legal ones.
    Raises: FitFailed or NotPositiveDefinite, if the model cannot be made; SpaceViolation, for illegal configurations.
    """
    n, m, c = len(configurations), goal.n_objectives, len(goal.outcomes)
    units = space.encode_many(configurations)
    embedding = Embedding.of(space)
    mean, std = np.empty((n, m)), np.empty((n, m))
    improves = None
    for j in range(m):
        objective = objective_model(history, embedding, j, seed, prior)
        prediction = objective.surrogate.predict(units)
        middle, std[:, j] = objective.in_units(prediction.mean, prediction.std)
        mean[:, j] = goal.signs[j] * middle
        best = best_mean(history, objective)
        if m == 1 and best is not None:
            improves = ndtr((best - prediction.mean) / prediction.std)
    outcome_mean, outcome_std, holds = (np.full((n, c), np.nan) for _ in range(3))
    for j, (side, bound) in enumerate(goal.outcomes):
        quantity = violation_quantity(history, j)
        if len(quantity.rows) < MIN_MEASURED:
            continue
        violation = model(history, embedding, quantity, seed)
        prediction = violation.surrogate.predict(units)
        middle, outcome_std[:, j] = violation.in_units(prediction.mean, prediction.std)
        outcome_mean[:, j] = bound + middle if side == "at_most" else bound - middle
        limit = float(violation.warping.forward(np.zeros(1))[0])
        holds[:, j] = ndtr((limit - prediction.mean) / prediction.std)
    runs = None
    if history.where("infeasible").any():
        prediction = model(history, embedding, feasibility_quantity(history), seed).surrogate.predict(units)
        runs = ndtr(-prediction.mean / prediction.std)
    return Belief(mean, std, outcome_mean, outcome_std, holds, runs, improves)


def best_mean(history: History, objective: Modelled) -> float | None:
    """The best posterior mean at a feasible trial, standardised: what improvement is counted from; None: no such."""
    usable = history.is_feasible[objective.rows]
    return float(objective.surrogate.mean_at_trials[usable].min()) if usable.any() else None
