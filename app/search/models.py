"""The surrogates of a study's quantities, from one fit to the next.

Decision: whatever is fitted is a function of the first c finished trials, where c walks a fixed schedule (every trial
at first, then about every tenth part more). Between two fits the covariance's factor grows row by row, always in the
order of the trials' numbers. So a process that has just started finds, to the last bit, what one that has followed the
study from its first trial has in its memo, and nothing has to be stored. Price: after a restart the first ask fits
once. Only trials before the first one that is still out count for c, or those far behind the newest: the late tells of
sixteen workers would otherwise each change what was just fitted.

Cost is bounded: hyperparameters see at most 150 trials, the posterior at most 300: the best, the latest, those near the
best and a seeded random rest.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import NotPositiveDefinite
from app.search.constraints import Array
from app.search.fitting import fit
from app.search.history import History
from app.search.kernels import Embedding
from app.search.options import MAX_CONDITIONED
from app.search.priors import HyperPrior
from app.search.quantities import Indices, Quantity
from app.search.surrogate import Factor, Surrogate
from app.search.warping import Warping

MAX_FITTED = 150
EVERY_TRIAL = 20
INTERVAL_SHARE, MAX_INTERVAL = 0.1, 100  # so many come to MAX_CONDITIONED until the next checkpoint
N_ROUGH, N_POLISHING = 50, 12  # trials of a first rough fit, and steps that improve it on all that count
MAX_TOLD_STD = 10.0  # standardised units: such a trial says nothing
SPARE_RANGE = 0.5
MODEL_STREAM = 0x0F17


@dataclass(frozen=True)
class Modelled:
    """A quantity's surrogate with the warping that leads back to the user's units.

    rows: (n,) the finished trials it is conditioned on.  values: (n,) theirs, in the units of the quantity.
    told_std: (n,) their standard errors, standardised, 0 where none was told.
    """

    surrogate: Surrogate
    warping: Warping
    rows: Indices
    values: Array
    told_std: Array

    def in_units(self, mean: Array, std: Array) -> tuple[Array, Array]:
        """Standardised (n,) as the median and half the central 68 % interval in the units of the quantity.

        What lies more than half the range of the values beyond them is left off the interval: the tails of a
        transformation that squashes outliers are no knowledge.
        """
        lowest, highest = float(self.values.min()), float(self.values.max())
        room = SPARE_RANGE * (highest - lowest) if len(self.values) > 1 else np.inf
        ends = self.warping.backward(np.array([mean, mean - std, mean + std]))
        low, high = np.minimum(np.maximum(ends[1:], lowest - room), highest + room)
        return ends[0], 0.5 * (high - low)


@dataclass(frozen=True)
class _Base:
    """What is settled at a checkpoint: which of the quantity's values are kept (positions), and their factor.

    last_number: of the trials it was made from; it holds while there are as many up to that number.
    warping: at the checkpoint; it carries standard errors over until the next.  noise: (kept,) their squares.
    """

    made_for: Hashable
    last_number: int
    kept: Indices
    factor: Factor
    warping: Warping
    noise: Array


@dataclass(frozen=True)
class _Grown:
    """A base's factor after more trials were appended, with these numbers and squared standard errors.

    n_whole: after so many of them it was last made anew from all rows: its leading block is that of no older factor.
    """

    base: _Base
    numbers: NDArray[np.int64]
    noise: Array
    factor: Factor
    n_whole: int = 0


def checkpoint(n: int) -> int:
    """The largest trial count of the schedule that is not above n."""
    c = min(n, EVERY_TRIAL)
    while c < n:
        step = min(max(int(INTERVAL_SHARE * c), 1), MAX_INTERVAL)
        if step == MAX_INTERVAL:
            return c + (n - c) // step * step
        if c + step > n:
            break
        c += step
    return c


def model(
    history: History, embedding: Embedding, quantity: Quantity, seed: int, prior: HyperPrior | None = None
) -> Modelled:
    """The surrogate of a quantity, fitted at the last checkpoint and conditioned on what came since.

    prior: over its hyperparameters, where past studies have taught one.
    Raises: FitFailed, NotPositiveDefinite.
    """
    n = len(quantity.rows)
    numbers = history.numbers[quantity.rows]
    n_settled = _count_up_to(numbers, history.settled_number)
    c = checkpoint(n_settled if 2 * n_settled >= n else n)
    made_for = (c, seed, quantity.variant, prior)
    grown: _Grown | None = history.memo.get(quantity.name)
    if grown is None or grown.base.made_for != made_for or _count_up_to(numbers, grown.base.last_number) != c:
        base = _settled(history, embedding, quantity, c, seed, prior)
        grown = _Grown(base, numbers[:0], np.empty(0), base.factor)
    base, n_kept, after = grown.base, len(grown.base.kept), numbers[c:]
    n_same, n_whole = _n_common(grown.numbers, after), grown.n_whole
    factor = grown.factor.first(n_kept + n_same)
    if n_same < n_whole:
        factor, n_same, n_whole = base.factor, 0, 0
    positions = np.concatenate([base.kept, np.arange(c, n)])
    rows = quantity.rows[positions]
    noise = np.concatenate([base.noise, grown.noise[:n_same], np.zeros(len(after) - n_same)])
    for i in range(n_kept + n_same, len(rows)):
        noise[i] = _noise_of_last(quantity, base.warping, c + i - n_kept + 1)
        try:
            factor = factor.with_row(history.units[rows[i]], float(noise[i]))
        except NotPositiveDefinite:
            factor = Factor.of(embedding, base.factor.theta, history.units[rows[: i + 1]], noise[: i + 1])
            n_whole = i + 1 - n_kept
    history.memo[quantity.name] = _Grown(base, after, noise[n_kept:], factor, n_whole)
    values = quantity.measured(n).values[positions]
    warping = Warping.fit(values) if quantity.is_warped else Warping.none()
    told_std = np.where(np.isnan(quantity.told_std[positions]), 0.0, np.sqrt(noise))
    return Modelled(factor.given(warping.forward(values)), warping, rows, values, told_std)


def _count_up_to(numbers: NDArray[np.int64], number: int) -> int:
    return int(np.searchsorted(numbers, number, side="right"))


def _n_common(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many numbers both begin with."""
    n = min(len(one), len(other))
    differ = np.flatnonzero(one[:n] != other[:n])
    return int(differ[0]) if len(differ) else n


def _settled(
    history: History, embedding: Embedding, quantity: Quantity, c: int, seed: int, prior: HyperPrior | None
) -> _Base:
    rng = np.random.default_rng([seed % 2**64, c, MODEL_STREAM])
    measured = quantity.measured(c)
    values = measured.values
    units = history.units[quantity.rows[:c]]
    kept = _informative(units, values, MAX_CONDITIONED, rng)
    warping = Warping.fit(values[kept]) if quantity.is_warped else Warping.none()
    y = warping.forward(values)
    noise = _standardised_variances(warping, values[kept], measured.noise_std[kept])
    fitted = _informative(units[kept], values[kept], MAX_FITTED, rng)
    theta = _fitted(embedding, units[kept][fitted], y[kept][fitted], noise[fitted], rng, prior)
    last_number = int(history.numbers[quantity.rows[c - 1]])
    return _Base(
        (c, seed, quantity.variant, prior),
        last_number,
        kept,
        Factor.of(embedding, theta, units[kept], noise),
        warping,
        noise,
    )


def _fitted(
    embedding: Embedding, units: Array, y: Array, told: Array, rng: np.random.Generator, prior: HyperPrior | None
) -> Array:
    """From few trials a fit is cheap, and leads to where the fit from many has only to be polished."""
    few = _informative(units, y, N_ROUGH, rng)
    theta = fit(embedding, units[few], y[few], told[few], prior=prior)
    return theta if len(few) == len(y) else fit(embedding, units, y, told, theta, N_POLISHING, prior)


def _standardised_variances(warping: Warping, values: Array, noise_std: Array) -> Array:
    """(n,) squared standard errors of values, standardised; 0 where there is none."""
    if np.isnan(noise_std).all():
        return np.zeros(len(values))
    with np.errstate(over="ignore"):
        std = np.minimum(noise_std * warping.slope(values), MAX_TOLD_STD)
    return np.where(np.isnan(std), 0.0, std) ** 2


def _noise_of_last(quantity: Quantity, warping: Warping, n: int) -> float:
    """The squared standard error of the last of the first n values, standardised."""
    if not quantity.has_noise:
        return 0.0
    measured = quantity.measured(n)
    return float(_standardised_variances(warping, measured.values[-1:], measured.noise_std[-1:])[0])


def _informative(units: Array, values: Array, most: int, rng: np.random.Generator) -> Indices:
    """Positions of at most `most` of n trials, in order: the best, the latest, those near the best, a random rest."""
    n = len(values)
    if n <= most:
        return np.arange(n)
    chosen = np.zeros(n, dtype=bool)
    order = np.argpartition(values, most // 3)[: most // 3]
    chosen[order] = True
    chosen[-(most // 8) :] = True
    best = units[int(np.argmin(values))]
    distance = np.nansum((units - best) ** 2, axis=1)
    chosen[np.argpartition(distance, most // 4)[: most // 4]] = True
    others = np.flatnonzero(~chosen)
    chosen[rng.choice(others, most - int(chosen.sum()), replace=False)] = True
    return np.flatnonzero(chosen)
