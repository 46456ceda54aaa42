"""What finished studies teach a new one.

A finished study becomes a `Lesson`: its best and most telling configurations with the normal scores of their ranks, and
the hyperparameters of a Gaussian process fitted to them. Scores, because losses of two data sets share no unit but
ranks do. A new study reads its lessons in its own space (`Past`): parameters are matched by name and kind, values go
through the new scale and bounds, length scales with them, and what a source did not tune counts nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs
from scipy.special import ndtri

from app.errors import Invalid
from app.search.constraints import Array, Mask
from app.search.fitting import fit_from_two
from app.search.history import History
from app.search.kernels import Embedding, matern52, matern52_with_slope
from app.search.leave_one_out import ranks
from app.search.parameters import Parameter
from app.search.priors import HyperPrior
from app.search.quantities import Indices, objective_quantity
from app.search.space import SearchSpace
from app.search.values import Value

MAX_SOURCES = 15
MAX_OBSERVATIONS = 100  # of a source
MIN_OBSERVATIONS = 5
LESSON_STREAM = 0x1E55


@dataclass(frozen=True)
class Lesson:
    """What one study teaches about one objective, in the words of its own space.

    configurations: n of them.  scores: (n,) normal scores of their ranks among all trials of the study, minimised.
    is_eligible: (n,) complete, and feasible: what may be tried again for being good.
    theta: (D + 3,) hyperparameters of a process fitted to the scores, see `surrogate`.
    values: (n,) what was measured, minimised, None where nothing; not known of a lesson that came without.
    """

    space: SearchSpace
    configurations: tuple[Mapping[str, Value], ...]
    scores: Array
    is_eligible: Mask
    theta: Array
    values: tuple[float | None, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Without the space's constraints: nothing is drawn from it again."""
        return {
            "space": self.space.to_json(),
            "configurations": [dict(params) for params in self.configurations],
            "scores": self.scores.tolist(),
            "eligible": self.is_eligible.tolist(),
            "theta": self.theta.tolist(),
            **({} if self.values is None else {"values": list(self.values)}),
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Lesson:
        """Raises: InvalidSearchSpace; Invalid, if the parts do not fit together."""
        space = SearchSpace.from_json(given["space"])
        scores, theta = (np.array(given[name], dtype=np.float64) for name in ("scores", "theta"))
        eligible, configurations = np.array(given["eligible"], dtype=bool), tuple(given["configurations"])
        n, m = len(configurations), space.n_dimensions + 3
        if not (scores.shape == eligible.shape == (n,) and theta.shape == (m,) and n >= 1):
            raise Invalid(f"a lesson of {n} configurations needs {n} scores and flags, and {m} hyperparameters")
        if not (np.isfinite(scores).all() and np.isfinite(theta).all()):
            raise Invalid("a lesson's scores and hyperparameters must be finite numbers")
        return cls(
            space, configurations, scores, eligible, theta, tuple(given["values"]) if "values" in given else None
        )


def normal_scores(values: Array) -> Array:
    """(n,) standard normal quantiles of the ranks, ties at their mean: best lowest, whatever the unit."""
    return np.asarray(ndtri((ranks(values) - 0.5) / len(values)), dtype=np.float64)


def learn(history: History, j: int, seed: int) -> Lesson | None:
    """The lesson of objective j; None, with fewer than five results.

    Trials that failed or could not be evaluated count as the worst.
    Raises: FitFailed.
    """
    quantity = objective_quantity(history, j)
    if len(quantity.rows) < MIN_OBSERVATIONS:
        return None
    broken = np.flatnonzero(history.where("failed", "infeasible"))
    rows = np.concatenate([quantity.rows, broken])
    values = np.concatenate([quantity.measured(len(quantity.rows)).values, np.full(len(broken), np.inf)])
    scores = normal_scores(values)
    kept = _telling(scores, np.random.default_rng([seed % 2**64, j, LESSON_STREAM]))
    rows, scores, values = rows[kept], scores[kept], values[kept]
    space = history.space
    theta = fit_from_two(Embedding.of(space), history.units[rows], scores)
    records = history.records
    chosen = tuple(records[row].params for row in rows.tolist())
    told = tuple(value if np.isfinite(value) else None for value in values.tolist())
    return Lesson(space, chosen, scores, history.is_feasible[rows], theta, told)


def _telling(scores: Array, rng: np.random.Generator) -> Indices:
    """Positions of at most `MAX_OBSERVATIONS`, in order: the best half of them, and a random rest."""
    n = len(scores)
    if n <= MAX_OBSERVATIONS:
        return np.arange(n)
    order = np.argsort(scores, kind="stable")
    n_best = MAX_OBSERVATIONS // 2
    others = rng.choice(order[n_best:], MAX_OBSERVATIONS - n_best, replace=False)
    return np.sort(np.concatenate([order[:n_best], others]))


def matching(
    space: SearchSpace, source: SearchSpace, aliases: Mapping[str, Sequence[str]] | None = None
) -> dict[str, str]:
    """Of the parameters with a column in the new space, what each is called in the source's: by name and kind.

    A name goes before an alias, and the new space's aliases before the source's.
    aliases: further names under which a source may know a parameter.
    """
    known_as = {alias: other for other, there in source.parameters.items() for alias in there.aliases}
    found: dict[str, str] = {}
    for name in space.columns:
        kind = space.parameters[name]
        own = (name, *kind.aliases, *(aliases or {}).get(name, ()))
        for other in (*own, *(known_as[alias] for alias in own if alias in known_as)):
            there = source.parameters.get(other)
            if there is not None and other not in found.values() and _is_alike(kind, there):
                found[name] = other
                break
    return found


def _is_alike(here: Parameter, there: Parameter) -> bool:
    if here.is_ordered and there.type != "fixed":
        return there.is_ordered
    own = {here.code(level) for level in getattr(there, "levels", ())}
    return bool(own - {np.nan}) and not all(np.isnan(code) for code in own)


@dataclass(frozen=True)
class Source:
    """A lesson read in another space.

    units: (n, D) of the new space, NaN where a parameter is not active or unknown.
    inverse_lengths: (D,) of the source's process, in edges of the new cube; 0 for what the source did not tune.
    """

    units: Array
    inverse_lengths: Array
    scores: Array
    is_eligible: Mask
    amplitude: float
    noise_variance: float
    mean: float
    is_matched: Mask = field(repr=False)

    @classmethod
    def of(cls, space: SearchSpace, lesson: Lesson, aliases: Mapping[str, Sequence[str]] | None = None) -> Source:
        n, D = len(lesson.configurations), space.n_dimensions
        names = matching(space, lesson.space, aliases)
        units, inverse = np.full((n, D), np.nan), np.zeros(D)
        for j, name in enumerate(space.columns):
            other = names.get(name)
            if other is None:
                continue
            here, there = space.parameters[name], lesson.space.parameters[other]
            codes = here.codes_of_values([params.get(other) for params in lesson.configurations])
            units[:, j] = np.clip(here.units(codes), -1.0, 2.0)
            if other in lesson.space.columns:
                k = lesson.space.columns.index(other)
                inverse[j] = np.exp(-lesson.theta[k]) / _stretch(here, there)
        d = lesson.space.n_dimensions
        amplitude, noise_variance = np.exp(lesson.theta[[d, d + 1]]).tolist()
        return cls(
            units,
            inverse,
            lesson.scores,
            lesson.is_eligible,
            amplitude,
            noise_variance,
            float(lesson.theta[d + 2]),
            np.array([name in names for name in space.columns]),
        )


def _stretch(here: Parameter, there: Parameter) -> float:
    """How many edges of the new cube an edge of the source's is long, along one parameter."""
    if not here.is_ordered:
        return 1.0
    codes = there.codes(np.array([0.0, 0.25, 0.75, 1.0]))
    old, new = there.units(codes), here.units(codes)
    for a, b in ((1, 2), (0, 3)):
        if old[b] > old[a] and np.isfinite(new[b] - new[a]) and new[b] != new[a]:
            return float(abs(new[b] - new[a]) / (old[b] - old[a]))
    return 1.0


MAX_CENTERS = 200
MIN_GAIN = 1e-4  # of a unit variance: a centre that the others determine this well adds nothing
RIDGE = 1e-4
PATTERN = 0.5  # of the differences between length scales that a new study starts from
BLOCK = 128  # rows at a time: their covariances with the centres stay in the processor's cache


@dataclass(frozen=True)
class Past:
    """The sources of one objective as functions over the new space: what each expects of a configuration.

    Decision: the sources' means are read off at common centres and carried by one kernel, so that a prediction costs
    the same with one source as with fifteen. The centres are those observations that the others determine least.

    rows: of every source its configurations as they would be tried here, (n, D).
    inverse_lengths: (F,) one over the geometric mean of the sources' length scales; 0 where none tuned the parameter.
    Z: (k, F) features of the centres over those.  A: (k, S) weights.
    level: (S,) what each source expects where it knows nothing; part of every prediction.
    caps: (S,) the most that each source may weigh.
    """

    space: SearchSpace
    embedding: Embedding
    sources: tuple[Source, ...]
    rows: tuple[Array, ...]
    inverse_lengths: Array
    Z: Array
    A: Array
    level: Array
    caps: Array

    @classmethod
    def of(cls, space: SearchSpace, sources: Sequence[Source], caps: Sequence[float] | None = None) -> Past:
        """At most the first `MAX_SOURCES`.  caps: the most that each may weigh."""
        embedding, sources = Embedding.of(space), tuple(sources[:MAX_SOURCES])
        inverse = np.stack([source.inverse_lengths for source in sources])
        n_known = (inverse > 0).sum(axis=0)
        logs = np.log(np.where(inverse > 0, inverse, 1.0)).sum(axis=0)
        common = np.where(n_known > 0, np.exp(logs / np.maximum(n_known, 1)), 0.0)[embedding.columns]
        rows = completed(space, sources)
        features = embedding.features(np.vstack(rows))
        chosen = _centers(features * common, MAX_CENTERS)
        Z = features[chosen] * common
        K = matern52(Z, Z, 1.0)
        K.reshape(-1)[:: len(Z) + 1] += RIDGE
        means = np.stack([source_mean(embedding, source, features[chosen]) for source in sources], axis=1)
        level = np.array([source.mean for source in sources])  # not of its trials: a search crowds where it is good
        A = dpotrs(dpotrf(K, lower=1)[0], means - level, lower=1)[0]
        return cls(
            space, embedding, sources, rows, common, Z, A, level, np.array(caps or [1.0] * len(sources))[: len(sources)]
        )

    @cached_property
    def hyper_prior(self) -> HyperPrior:
        """Which length scales are longer than others, half as clearly as the sources found it, and their noise.

        Not how long they are: that of a study is not that of what the past leaves to explain in it. See
        docs/decisions/memory.md for what was measured.
        """
        inverse = np.zeros(self.space.n_dimensions)
        inverse[self.embedding.columns] = self.inverse_lengths
        known = inverse > 0
        logs = np.full(len(inverse), np.nan)
        level = HyperPrior(len(inverse)).mode[0]
        if known.any():
            found = -np.log(inverse[known])
            logs[known] = level + PATTERN * (found - found.mean())
        log_noise = float(np.mean([np.log(source.noise_variance) for source in self.sources]))
        return HyperPrior(len(inverse), tuple(logs.tolist()), log_noise)

    def means(self, units: Array) -> Array:
        """(m, S) the score that each source expects at (m, D) rows."""
        return self._carried(units, self.A) + self.level

    def sum(self, units: Array, weights: Array) -> Array:
        """(m,) the sources' means with (S,) weights."""
        return self._carried(units, self.A @ weights) + float(self.level @ weights)

    def _carried(self, units: Array, A: Array) -> Array:
        Z = self.embedding.features(units) * self.inverse_lengths
        parts = [matern52(Z[k : k + BLOCK], self.Z, 1.0) @ A for k in range(0, len(Z), BLOCK)]
        found: Array = np.concatenate([*parts, np.empty((0, *A.shape[1:]))])
        return found

    def sum_with_gradient(self, units: Array, weights: Array) -> tuple[Array, Array]:
        """The same, and its (m, D) derivatives by the numbers of the unit cube."""
        Z = self.embedding.features(units) * self.inverse_lengths
        alpha = self.A @ weights
        covariance, slope = matern52_with_slope(Z, self.Z, 1.0)
        by_alpha = slope * alpha
        gradient = (by_alpha @ self.Z - by_alpha.sum(axis=1)[:, None] * Z) * self.inverse_lengths
        return float(self.level @ weights) + covariance @ alpha, self.embedding.pull_back(units, gradient)


def completed(space: SearchSpace, sources: Sequence[Source]) -> tuple[Array, ...]:
    """Every source's configurations as legal rows of the new space, constraints aside.

    What a source did not tune is taken from another's good trial, the nearest in what both tuned, so that values that
    were good together stay together. What nobody tuned takes its default; without one the middle of its range in a
    source's best configuration, and any value in the others, so that they do not all fail for the same reason.
    """
    rng = np.random.default_rng([LESSON_STREAM, len(sources)])
    embedding, found = Embedding.of(space), []
    features = [embedding.features(np.clip(source.units, 0.0, 1.0)) for source in sources]
    for own, source in zip(features, sources, strict=True):
        units = np.clip(source.units, 0.0, 1.0)
        for j in np.flatnonzero(~source.is_matched):
            donors = _donors(embedding, source, sources, features, int(j))
            if donors is not None:
                units[:, j] = _of_nearest(own, *donors)
                continue
            kind = space.parameters[space.columns[j]]
            default = getattr(kind, "default", None)
            if default is None:
                units[:, j] = rng.random(len(units))
                units[np.argmin(source.scores), j] = np.nan
            else:
                units[:, j] = kind.units(np.array([kind.code(default)]))[0]
        found.append(space.snap(units))
    return tuple(found)


def _donors(
    embedding: Embedding, source: Source, sources: Sequence[Source], features: Sequence[Array], j: int
) -> tuple[Array, Mask, Array] | None:
    """Of parameter j in the best quarter of all trials that have it; None, if no trial has.

    Returns: (m, F) their features, (m, F) which of these the source knows too, and (m,) the parameter's values.
    """
    known = [k for k, other in enumerate(sources) if other.is_matched[j]]
    if not known:
        return None
    units = np.concatenate([sources[k].units[:, j] for k in known])
    scores = np.where(np.isnan(units), np.inf, np.concatenate([sources[k].scores for k in known]))
    best = np.argsort(scores, kind="stable")[: max(int(np.isfinite(scores).sum()) // 4, 1)]
    if not np.isfinite(scores[best[0]]):
        return None
    compared = [np.tile(sources[k].is_matched & source.is_matched, (len(sources[k].units), 1)) for k in known]
    return (
        np.concatenate([features[k] for k in known])[best],
        np.concatenate(compared)[best][:, embedding.columns],
        np.clip(units[best], 0.0, 1.0),
    )


def _of_nearest(own: Array, features: Array, compared: Mask, values: Array) -> Array:
    """(n,) for each of (n, F) rows the value of the nearest donor, the better one of two.

    What cannot be compared is as far away as two random numbers of [0, 1] are, in the mean of squares.
    """
    weight = compared.astype(np.float64)
    squares = (own**2) @ weight.T - 2.0 * own @ (weight * features).T + (weight * features**2).sum(axis=1)
    return np.asarray(values[np.argmin(squares + (1.0 - weight).sum(axis=1) / 6.0, axis=1)])


def source_mean(embedding: Embedding, source: Source, features: Array) -> Array:
    """(m,) what a source's own process expects at (m, F) features of the new space."""
    inverse = source.inverse_lengths[embedding.columns]
    Z = embedding.features(source.units) * inverse
    K = matern52(Z, Z, source.amplitude)
    K.reshape(-1)[:: len(Z) + 1] += source.noise_variance + 1e-6 * source.amplitude
    alpha = dpotrs(dpotrf(K, lower=1)[0], source.scores - source.mean, lower=1)[0]
    return np.asarray(source.mean + matern52(features * inverse, Z, source.amplitude) @ alpha, dtype=np.float64)


def _centers(Z: Array, most: int) -> Indices:
    """Greedily those of (n, F) rows that are least determined by the ones before: a pivoted Cholesky factorisation."""
    left = np.ones(len(Z))
    chosen: list[int] = []
    rows = np.empty((min(most, len(Z)), len(Z)))
    while len(chosen) < len(rows):
        i = int(np.argmax(left))
        if left[i] < MIN_GAIN:
            break
        k = len(chosen)
        row = matern52(Z[i : i + 1], Z, 1.0)[0] - rows[:k, i] @ rows[:k]
        rows[k] = row / np.sqrt(left[i])
        left = left - rows[k] ** 2
        left[i] = 0.0
        chosen.append(i)
    return np.array(chosen, dtype=np.intp)
