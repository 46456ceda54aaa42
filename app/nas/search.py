"""The door: `search` runs a whole search on a function, `propose_number` is one step of it, `recommend` its end.

The task with number n is a function of the seed, n, and what was told of the tasks up to n − parallel, in the order of
submission: however many workers there are, and whoever is faster, the same search comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.nas.front import non_dominated
from app.nas.problem import Problem, Summary, Task, Told
from app.nas.spaces import Genes
from app.nas.strategies import Memory, Situation, Strategy, model_of, propose

#: Evaluated architectures below which their means are compared instead of the model's.
LEAST_FOR_MODEL = 4


@dataclass(frozen=True)
class Settings:
    strategy: Strategy
    seed: int
    evaluations: int
    parallel: int = 1
    epochs: int | None = None
    advised: tuple[Genes, ...] = ()


@dataclass(frozen=True)
class Recommended:
    genes: Genes
    #: What the metric is believed to be, and how sure that is.
    mean: float
    deviation: float
    reward: float


def propose_number(problem: Problem, settings: Settings, told: Sequence[Told], number: int, memory: Memory) -> Task:
    """The task with that number, counted from 1.

    Args:
        told: of all tasks with lower numbers, in order. Of the last parallel − 1 only the genes are looked at.
    """
    known = max(0, number - settings.parallel)
    seen = [one if i < known else replace(one, value=None, is_pending=True) for i, one in enumerate(told[: number - 1])]
    rng = np.random.default_rng([settings.seed, number])
    return propose(Situation(problem, settings.strategy, seen, rng, memory, settings.advised, settings.epochs))


def search(problem: Problem, settings: Settings, evaluate: Callable[[Task], float | None]) -> list[Told]:
    """Evaluates one after another; what was told, in order."""
    told: list[Told] = []
    memory = Memory()
    for number in range(1, settings.evaluations + 1):
        task = propose_number(problem, settings, told, number, memory)
        told.append(Told(task.genes, task.repeat, task.epochs, evaluate(task)))
    return told


def recommend(problem: Problem, told: Sequence[Told], penalty: float | None = None) -> Recommended | None:
    """The evaluated architecture with the highest posterior mean of the reward; None, if nothing was evaluated.

    `penalty`: another one than the search's own.
    """
    if penalty is not None:
        problem = replace(problem, penalty=penalty)
    summary, means, deviations = beliefs(problem, told)
    if not summary.genes:
        return None
    rewards = [problem.reward(genes, mean) for genes, mean in zip(summary.genes, means, strict=True)]
    best = int(np.argmax(rewards))
    return Recommended(summary.genes[best], float(means[best]), float(deviations[best]), float(rewards[best]))


def front(problem: Problem, told: Sequence[Told]) -> list[Recommended]:
    """The architectures that none beats in believed metric and complexity together, the smallest first."""
    summary, means, deviations = beliefs(problem, told)
    if not summary.genes:
        return []
    sizes = np.array([problem.complexity(genes) for genes in summary.genes])
    return [
        Recommended(summary.genes[i], float(means[i]), float(deviations[i]), problem.reward(summary.genes[i], means[i]))
        for i in non_dominated(means, sizes)
    ]


def beliefs(
    problem: Problem, told: Sequence[Told]
) -> tuple[Summary, np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """The evaluated architectures, with posterior mean and deviation of the metric of each."""
    finished = [one for one in told if not one.is_pending]
    most = max((one.epochs or 0 for one in finished if one.value is not None), default=0)
    summary = Summary.of([one for one in finished if (one.epochs or 0) == most], problem.trainings)
    if len(summary.genes) < LEAST_FOR_MODEL:
        return summary, summary.means, np.zeros(len(summary.means))
    model = model_of(problem, [one for one in finished if (one.epochs or 0) == most], Memory())
    means, deviations = model.known()
    return summary, means + model.below, deviations
