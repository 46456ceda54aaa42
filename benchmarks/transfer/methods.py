"""What is compared: our own core in process, and Optuna, cold and warm.

Each is `make(space, seed)`, asked for one configuration at a time; losses are minimised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from benchmarks.transfer.tables import Params, Past


class Method(Protocol):
    def warm_start(self, past: Past) -> None: ...
    def ask(self) -> Params: ...
    def tell(self, params: Params, loss: float) -> None: ...


class Metatune:
    """The public optimiser interface: `learn` from every past study, then `suggest`."""

    def __init__(self, space: dict[str, Any], seed: int) -> None:
        from app.search.space import SearchSpace
        from app.search.suggest import Goal, History

        self.space, self.seed, self.goal = SearchSpace.from_json(space), seed, Goal(("minimize",))
        self.history, self.number = History.of(self.space, self.goal, []), 0
        self.prior: Any = None
        self.pool: list[Params] = []

    def set_candidates(self, pool: list[Params]) -> None:
        """What may be evaluated: the acquisition is then compared on these alone."""
        self.pool = pool

    def warm_start(self, past: Past) -> None:
        from app.search.prior import Prior
        from app.search.space import SearchSpace
        from app.search.suggest import History, Record
        from app.search.transfer import Past as Learnt
        from app.search.transfer import Source, learn

        sources = []
        for study in past:
            names = {name for params, _ in study for name in params}
            space = SearchSpace({name: kind for name, kind in self.space.parameters.items() if name in names})
            records = [Record(n, params, "complete", (loss,)) for n, (params, loss) in enumerate(study, start=1)]
            lesson = learn(History.of(space, self.goal, records), 0, self.seed)
            if lesson is not None:
                sources.append(Source.of(self.space, lesson))
        self.prior = Prior((Learnt.of(self.space, sources),)) if sources else None

    def ask(self) -> Params:
        from app.search.suggest import Record, suggest

        self.number += 1
        found = suggest(
            self.space, self.goal, self.history, count=1, seed=self.seed, first_number=self.number, prior=self.prior
        )
        self.out = found.points[0].params
        if self.pool and found.points[0].source == "gp":
            self.out = self._best_of_pool()
        self.history = self.history.grown([Record(self.number, self.out, "pending")])
        return self.out

    def _best_of_pool(self) -> Params:
        from app.search.bayesian import ModelProposer

        left = [params for params in self.pool if not self.history.is_taken(self.space.key(params))]
        proposer = ModelProposer(self.space, self.goal, self.history, self.seed, None, self.prior)
        values = proposer.acquisition(self.number).value(self.space.encode_many(left))
        return left[int(np.argmax(values))]

    def tell(self, params: Params, loss: float) -> None:
        from app.search.suggest import Record

        self.history = self.history.grown([Record(self.number, params, "complete", (loss,))])


class Optuna:
    """The sampler's defaults, TPE multivariate; ordinals are positions, as a user of the library would write them."""

    def __init__(self, space: dict[str, Any], seed: int, kind: str = "tpe", enqueued: int = 0) -> None:
        import warnings

        import optuna

        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = (
            optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)
            if kind == "tpe"
            else optuna.samplers.GPSampler(seed=seed)
        )
        self.space, self.enqueued, self.optuna = space, enqueued, optuna
        self.study = optuna.create_study(sampler=sampler)

    def warm_start(self, past: Past) -> None:
        """The best of every past study, then their second best, and so on: what any user can write."""
        ordered = [sorted(study, key=lambda one: one[1]) for study in past]
        best = [study[k][0] for k in range(max(map(len, ordered), default=0)) for study in ordered if k < len(study)]
        for params in best[: self.enqueued]:
            self.study.enqueue_trial({name: self._inner(name, value) for name, value in params.items()})

    def _inner(self, name: str, value: Any) -> Any:
        return self.space[name]["values"].index(value) if self.space[name]["type"] == "ordinal" else value

    def ask(self) -> Params:
        self.trial = self.study.ask()
        found: Params = {}
        for name, kind in self.space.items():
            if any(found.get(parent) not in values for parent, values in kind.get("when", {}).items()):
                continue
            if kind["type"] == "categorical":
                found[name] = self.trial.suggest_categorical(name, kind["choices"])
            elif kind["type"] == "ordinal":
                found[name] = kind["values"][self.trial.suggest_int(name, 0, len(kind["values"]) - 1)]
            else:
                draw = self.trial.suggest_int if kind["type"] == "int" else self.trial.suggest_float
                found[name] = draw(name, kind["low"], kind["high"], log=kind.get("scale") == "log")
        self.out = found
        return found

    def tell(self, params: Params, loss: float) -> None:
        if params == self.out:
            self.study.tell(self.trial, loss)
            return
        # evaluated elsewhere than suggested: only rows of the table can be
        self.study.tell(self.trial, state=self.optuna.trial.TrialState.FAIL)
        self.study.enqueue_trial({name: self._inner(name, value) for name, value in params.items()})
        self.ask()
        self.study.tell(self.trial, loss)


def over_http(space: dict[str, Any], seed: int) -> Method:
    from benchmarks.transfer.http import OverHttp  # here: Optuna's environment has no httpx

    return OverHttp(space, seed)


METHODS: dict[str, Callable[[dict[str, Any], int], Method]] = {
    "metatune": Metatune,
    "metatune-http": over_http,
    "optuna-tpe": Optuna,
    "optuna-tpe-5": lambda space, seed: Optuna(space, seed, enqueued=5),
    "optuna-gp": lambda space, seed: Optuna(space, seed, kind="gp"),
}
