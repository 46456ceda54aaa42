"""What past studies lend to one study: its first configurations, a prior mean for every objective, hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from app.search.blend import Blend, Borrowed, blend
from app.search.constraints import Array
from app.search.free import Suggestion, first_unused
from app.search.history import History
from app.search.kernels import Embedding
from app.search.models import Modelled, model
from app.search.portfolio import LAST_POSITION, MANY, OWN_POSITIONS, TESTING_POSITIONS, Portfolio
from app.search.priors import HyperPrior
from app.search.quantities import objective_quantity
from app.search.transfer import Past
from app.search.values import Value


@dataclass(frozen=True)
class Prior:
    """pasts: of every objective, None where no source has it.  is_silent: only the hyperparameters are lent."""

    pasts: tuple[Past | None, ...]
    is_silent: bool = False

    @cached_property
    def silent(self) -> Prior:
        return replace(self, is_silent=True)

    @cached_property
    def _portfolios(self) -> tuple[Portfolio, ...]:
        return tuple(Portfolio(past, j) for j, past in enumerate(self.pasts) if past is not None)

    def hyper_prior(self, j: int) -> HyperPrior | None:
        past = self.pasts[j]
        return None if past is None else past.hyper_prior

    def first(
        self, history: History, position: int, taken: Callable[[str], bool], fixed: Mapping[str, Value] | None
    ) -> Suggestion | None:
        """The portfolio's configuration for the trial at that position of the study; the objectives take turns."""
        is_over = position > LAST_POSITION or self.stands_back(position) or self.is_heard(history)
        if self.is_silent or not self._portfolios or is_over:
            return None
        portfolio = self._portfolios[position % len(self._portfolios)]
        rows = portfolio.items(history)
        params = first_unused(portfolio.past.space, rows, taken, fixed)
        return None if params is None else Suggestion(params, "warm_start", prior_weight=1.0)

    def items(self, history: History, count: int) -> Array:
        """(k, D) what the past puts first now; the objectives take turns."""
        lists = [portfolio.items(history, count)[:count] for portfolio in self._portfolios]
        turns = [rows[k] for k in range(count) for rows in lists if k < len(rows)]
        return np.array(turns[:count]).reshape(-1, history.space.n_dimensions)

    def stands_back(self, position: int) -> bool:
        """Whether the trial at that position is to owe the past nothing."""
        is_single = any(len(past.sources) == 1 for past in self.pasts if past is not None)
        return position in (TESTING_POSITIONS if is_single else OWN_POSITIONS)

    def is_heard(self, history: History) -> bool:
        """Whether the model speaks with the past from two results on, instead of portfolio and space-filling points.

        So it is with one source that did not disappoint: its portfolio is a list of its best, and what it says together
        with the results is more. Items of several complement one another, see docs/decisions/memory.md.
        """
        if self.is_silent or int(history.is_measured.sum()) < 2:
            return False
        is_single = all(past is not None and len(past.sources) == 1 for past in self.pasts)
        return is_single and not any(portfolio.disappoints(history) for portfolio in self._portfolios)

    def n_own(self, history: History) -> int | None:
        """After a disappointment, how many finished trials count as the study's own start; None without one.

        One of the portfolio counts with them, several do not: they may all lie on one plateau, where a model that
        begins with them stays.
        """
        if self.is_silent or int(history.is_measured.sum()) > MANY:
            return None
        failed = [portfolio for portfolio in self._portfolios if portfolio.disappoints(history)]
        if not failed:
            return None
        keys = frozenset().union(*(portfolio.keys for portfolio in failed))
        n_past = sum(key in keys for key in history.keys)
        return len(history.keys) - (0 if n_past == 1 else n_past)

    def informed(self, modelled: Modelled, j: int) -> Modelled:
        """The model of objective j with what its sources lend to the mean."""
        past = self.pasts[j]
        if past is None or self.is_silent:
            return modelled
        blended, y = self.blend(modelled, past)
        factor = modelled.surrogate.factor.scaled(blended.scale, blended.level)
        return replace(modelled, surrogate=factor.given(y, Borrowed(past, blended.weights)))

    def blend(self, modelled: Modelled, past: Past) -> tuple[Blend, Array]:
        """How the past of an objective enters its model, and the (n,) standardised values that decide it."""
        surrogate = modelled.surrogate
        y = surrogate.mean_at_trials + surrogate.factor.added * surrogate.alpha
        return blend(surrogate.factor, y, past.means(surrogate.units), past.caps), y


def objective_model(history: History, embedding: Embedding, j: int, seed: int, prior: Prior | None) -> Modelled:
    """The model of objective j, as suggestions are made from it: with what past studies lend to it.

    Raises: FitFailed, NotPositiveDefinite.
    """
    quantity = objective_quantity(history, j)
    if prior is None:
        return model(history, embedding, quantity, seed)
    return prior.informed(model(history, embedding, quantity, seed, prior.hyper_prior(j)), j)


def weight_of(modelled: Modelled) -> float:
    """How much of a model's mean is borrowed, in [0, 1]."""
    trend = modelled.surrogate.trend
    return min(1.0, float(np.sum(trend.weights))) if isinstance(trend, Borrowed) else 0.0
