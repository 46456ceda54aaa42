"""Optuna's samplers, studies in memory; constraints through `constraints_func`, as its documentation has it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from benchmarks.quality.peer import Peer, Task
from benchmarks.quality.spaces import Params, is_active, is_conditional

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

VIOLATIONS = "violations"


class Tpe(Peer):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.distributions = {name: _distribution(parameter) for name, parameter in task.space.items()}
        limited = {"constraints_func": _violations} if task.limits else {}
        self.study = optuna.create_study(directions=["minimize"] * task.n_objectives, sampler=self.sampler(**limited))
        self.out: dict[int, Any] = {}

    def sampler(self, **limited: Any) -> Any:
        return optuna.samplers.TPESampler(
            seed=self.task.seed, multivariate=True, group=is_conditional(self.task.space),
            constant_liar=self.task.width > 1, **limited,
        )  # fmt: skip

    def ask(self, n: int) -> list[tuple[int, Params]]:
        asked = []
        for _ in range(n):
            trial, params = self._ask()
            self.out[trial.number] = trial
            asked.append((trial.number, params))
        return asked

    def _ask(self) -> tuple[Any, Params]:
        if not is_conditional(self.task.space):
            trial = self.study.ask(self.distributions)
            return trial, dict(trial.params)
        trial = self.study.ask()
        params: Params = {}
        for name, parameter in self.task.space.items():
            if is_active(parameter, params):
                params[name] = _suggested(trial, name, self.distributions[name])
        return trial, params

    def tell(self, number: int, values: Sequence[float], outcomes: Sequence[float]) -> None:
        trial = self.out.pop(number)
        if self.task.limits:
            excess = [outcome - limit for outcome, limit in zip(outcomes, self.task.limits, strict=True)]
            trial.set_user_attr(VIOLATIONS, excess)
        self.study.tell(trial, list(values))

    def add(self, trials: Sequence[tuple[Params, Sequence[float]]]) -> None:
        self.study.add_trials([self._finished(params, values) for params, values in trials])

    def _finished(self, params: Params, values: Sequence[float]) -> Any:
        used = {name: self.distributions[name] for name in params}
        return optuna.trial.create_trial(params=params, values=list(values), distributions=used)


class Gp(Tpe):
    def sampler(self, **limited: Any) -> Any:
        return optuna.samplers.GPSampler(seed=self.task.seed, **limited)


class Cmaes(Tpe):
    def sampler(self, **limited: Any) -> Any:
        return optuna.samplers.CmaEsSampler(seed=self.task.seed)


class Nsga2(Tpe):
    def sampler(self, **limited: Any) -> Any:
        return optuna.samplers.NSGAIISampler(seed=self.task.seed, **limited)


def _distribution(parameter: Any) -> Any:
    if parameter["type"] == "categorical":
        return CategoricalDistribution(parameter["choices"])
    kind = FloatDistribution if parameter["type"] == "float" else IntDistribution
    return kind(parameter["low"], parameter["high"], log=parameter["scale"] == "log")


def _suggested(trial: Any, name: str, distribution: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    suggest = trial.suggest_float if isinstance(distribution, FloatDistribution) else trial.suggest_int
    return suggest(name, distribution.low, distribution.high, log=distribution.log)


def _violations(trial: Any) -> Any:
    return trial.user_attrs[VIOLATIONS]
