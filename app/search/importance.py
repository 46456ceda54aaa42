"""Which parameters matter: shares of the variance of the objective over the space, from the model.

Total index: the expected variance that is left when every other parameter is known; what is lost by ignoring one.
First-order index: the variance that knowing this parameter alone removes. The difference is what it does together with
others. With independent parameters these are Sobol' indices; where constraints tie parameters to each other the rows
are uniform over the legal region and the definitions stay what they say (Kucherenko et al. 2012), only that they no
longer add up.

Decision: they are computed on functions drawn from the belief, on the model's own scale. Context: the indices of the
posterior mean alone look certain after ten trials; and in the user's units one diverged training run would own all the
variance there is. Price: an index speaks of the objective with its outliers squashed (`app.search.warping`).

Source: total effects by Jansen 1999; first-order effects from bins by Plischke, Borgonovo & Smith 2013, with the bins'
own noise taken off where there is any; the spread over paths as in Le Gratiet, Cannamela & Iooss 2014.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.search import feasible
from app.search.constraints import Array
from app.search.designs import sobol
from app.search.models import Modelled
from app.search.paths import Paths
from app.search.space import SearchSpace
from app.search.surrogate import Surrogate

N_PATHS = 32
N_EVALUATIONS = 24_000  # of the model, over all columns
N_ROWS = (64, 2048)
ROWS_PER_BIN, N_BINS = 32, (4, 32)
N_REDRAWS = 48  # of one column of a row, until its constraints hold
N_SCANNED = 16  # times the rows: Sobol points looked at for legal ones, before others are sought
CENTRAL = (0.05, 0.95)
NEAR = 0.1  # cube edges: "a tenth of its range"
NO_VARIANCE = 1e-10  # squared standardised units
IMPORTANCE_STREAM = 0x1399


@dataclass(frozen=True)
class Indices:
    """Of D columns by S functions: (D, S) each, in [0, 1] up to the estimate's error."""

    first_order: Array
    total: Array


@dataclass(frozen=True)
class Importance:
    """Of D columns. Indices are means over the paths, intervals (D, 2) hold the central 90 % of them.

    of_mean: the indices of the posterior mean alone, (D,) first-order and total.
    """

    first_order: Array
    first_order_interval: Array
    total: Array
    total_interval: Array
    of_mean: Indices


def importance(space: SearchSpace, modelled: Modelled, *, seed: int, n_paths: int = N_PATHS) -> Importance:
    """The indices of every column of the space, in their order. The same trials and seed give the same answer."""
    rng = np.random.default_rng([seed % 2**64, len(modelled.rows), IMPORTANCE_STREAM])
    paths = Paths.draw(modelled.surrogate, n_paths, rng)
    found = indices(space, lambda rows: paths(space.snap(rows)), seed, rng)
    first, total = found.first_order[:, 1:], found.total[:, 1:]
    return Importance(
        first_order=first.mean(axis=1),
        first_order_interval=np.quantile(first, CENTRAL, axis=1).T,
        total=total.mean(axis=1),
        total_interval=np.quantile(total, CENTRAL, axis=1).T,
        of_mean=Indices(found.first_order[:, :1], found.total[:, :1]),
    )


def indices(space: SearchSpace, f: Callable[[Array], Array], seed: int, rng: np.random.Generator) -> Indices:
    """Of functions over the legal part of a space.

    Args:
        f: (m, D) rows of the unit cube, not snapped, -> (m, S) values.
    Measured errors (root mean square, Ishigami and an additive function): below 0.01 with 2,048 rows, which eleven
    columns have; with constraints, whose rows are random, 0.02.
    """
    n_columns = space.n_dimensions
    n_rows = _n_rows(n_columns)
    base, other = _rows(space, n_rows, seed, rng)
    values = f(base)
    variance = values.var(axis=0)
    scale = np.where(variance > NO_VARIANCE, variance, np.inf)
    first = np.empty((n_columns, values.shape[1]))
    total = np.empty_like(first)
    for j in range(n_columns):
        replaced = _replaced(space, base, other, j, rng)
        total[j] = 0.5 * np.mean((values - f(replaced)) ** 2, axis=0) / scale
        first[j] = _between(values, _bins(space, base[:, j], j), is_even=not space.constraints) / scale
    return Indices(np.clip(first, 0.0, 1.0), np.maximum(total, 0.0))


def _n_rows(n_columns: int) -> int:
    """A power of two, for the sequence's sake."""
    affordable = max(N_EVALUATIONS // (n_columns + 1), 1)
    return int(np.clip(2 ** int(np.log2(affordable)), *N_ROWS))


def _rows(space: SearchSpace, n_rows: int, seed: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """(N, D) legal rows, and as many to take single columns from."""
    D = space.n_dimensions
    if not space.constraints:
        both = sobol(np.arange(n_rows), 2 * D, seed)
        return both[:, :D], both[:, D:]
    scanned = sobol(np.arange(N_SCANNED * n_rows), D, seed)
    legal = scanned[space.satisfied(space.codes_of_units(scanned))][:n_rows]
    if len(legal) < n_rows:
        more = feasible.draw(space, rng, n_rows - len(legal), feasible.no_pins(space))
        legal = np.vstack([legal, more])
    return legal, rng.random(legal.shape)


def _replaced(space: SearchSpace, base: Array, other: Array, j: int, rng: np.random.Generator) -> Array:
    """The rows with column j drawn anew, given the other columns: one that never becomes legal stays as it is."""
    rows = base.copy()
    rows[:, j] = other[:, j]
    if not space.constraints:
        return rows
    broken = np.flatnonzero(~space.satisfied(space.codes_of_units(rows)))
    for _ in range(N_REDRAWS):
        if not len(broken):
            break
        rows[broken, j] = rng.random(len(broken))
        broken = broken[~space.satisfied(space.codes_of_units(rows[broken]))]
    rows[broken, j] = base[broken, j]
    return rows


def _bins(space: SearchSpace, column: Array, j: int) -> NDArray[np.intp]:
    """(N,) the level of every row, or one of some equally full bins where the column has more levels than those."""
    n_bins = int(np.clip(len(column) // ROWS_PER_BIN, *N_BINS))
    levels = space.n_levels[j]
    if levels is not None and levels <= n_bins:
        return np.unique(space.parameters[space.columns[j]].codes(column), return_inverse=True)[1]
    place = np.empty(len(column), dtype=np.intp)
    place[np.argsort(column, kind="stable")] = np.arange(len(column)) * n_bins // len(column)
    return place


def _between(values: Array, bins: NDArray[np.intp], *, is_even: bool) -> Array:
    """(S,) the variance of the bins' means, less what the noise of those means adds to it.

    is_even: the other columns are spread so evenly within every bin (a whole Sobol sequence) that there is no noise.
    """
    n_bins = int(bins.max()) + 1
    counts = np.bincount(bins, minlength=n_bins).astype(np.float64)
    member = np.zeros((n_bins, len(bins)))
    member[bins, np.arange(len(bins))] = 1.0
    centred = values - values.mean(axis=0)
    means = member @ centred / counts[:, None]
    shares = counts / counts.sum()
    if is_even:
        return np.asarray(shares @ means**2, dtype=np.float64)
    within = np.maximum(member @ centred**2 / counts[:, None] - means**2, 0.0)
    noise = (1.0 - shares) / np.maximum(counts - 1.0, 1.0)
    return np.asarray(shares @ means**2 - shares @ (noise[:, None] * within), dtype=np.float64)


# ---- near the best


@dataclass(frozen=True)
class Best:
    """The trial of the best posterior mean: its row (D,), and the mean there, standardised."""

    position: int
    unit: Array
    mean: float


def best_trial(space: SearchSpace, modelled: Modelled, usable: NDArray[np.bool_]) -> Best | None:
    """Among the conditioned trials that are `usable`, (n,), and lie within the space; None if none does."""
    units = modelled.surrogate.units
    with np.errstate(invalid="ignore"):
        inside = usable & ~((units < -1e-9) | (units > 1.0 + 1e-9)).any(axis=1)
    if inside.any() and space.constraints:
        inside &= space.satisfied(space.codes_of_units(units))
    candidates = np.flatnonzero(inside)
    if not len(candidates):
        return None
    means = modelled.surrogate.mean_at_trials[candidates]
    k = int(np.argmin(means))
    return Best(int(candidates[k]), np.clip(units[candidates[k]], 0.0, 1.0), float(means[k]))


def losses_near(space: SearchSpace, modelled: Modelled, best: Best) -> Sequence[float | None]:
    """By column, what the posterior mean loses when this parameter alone leaves the best trial, in the user's units.

    A number moves a tenth of its range, or one level where that is more, to both sides; the mean of the two counts. A
    choice moves to every other, and the least loss counts. None: not active there, or no such move is legal.
    Negative: the model expects a gain.
    """
    losses: list[float | None] = []
    surrogate = modelled.surrogate
    here = float(modelled.in_units(*_prediction(surrogate, best.unit[None, :]))[0][0])
    for j in range(space.n_dimensions):
        moved = _moves(space, best.unit, j)
        if not len(moved):
            losses.append(None)
            continue
        loss = modelled.in_units(*_prediction(surrogate, moved))[0] - here
        is_ordered = space.parameters[space.columns[j]].is_ordered
        losses.append(float(loss.mean() if is_ordered else loss.min()))
    return losses


def _prediction(surrogate: Surrogate, units: Array) -> tuple[Array, Array]:
    prediction = surrogate.predict(units)
    return prediction.mean, prediction.std


def _moves(space: SearchSpace, unit: Array, j: int) -> Array:
    """(k, D) legal rows that differ from `unit` in column j, and in what depends on it."""
    own = float(unit[j])
    if np.isnan(own):
        return np.empty((0, len(unit)))
    kind, levels = space.parameters[space.columns[j]], space.n_levels[j]
    if kind.is_ordered:
        step = max(NEAR, 1.0 / levels if levels else 0.0)
        places = np.array([place for place in (own - step, own + step) if 0.0 <= place <= 1.0])
    else:
        others = kind.neighbours(kind.codes(unit[j : j + 1]), 0)[0]
        places = kind.units(others[~np.isnan(others)])
    rows = np.repeat(unit[None, :], len(places), axis=0)
    rows[:, j] = places
    rows = space.snap(rows)
    return rows[space.satisfied(space.codes_of_units(rows))] if space.constraints and len(rows) else rows
