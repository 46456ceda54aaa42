"""What is tried next: each strategy is a function of the problem, what was told, and a source of chance.

`random`, `evolution` (Real et al. 2019), `local_search` (White et al. 2021), `gp` (NAS-BOWL's idea, Ru et al. 2021: a
Gaussian process that also sees Weisfeiler-Lehman labels), `halving` (asynchronous successive halving, Li et al. 2020).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from app.errors import FieldError, Invalid
from app.nas.front import expected_hypervolume_gain, non_dominated
from app.nas.model import Array, Features, Model, condition, fit, knowledge_gain
from app.nas.problem import Problem, Summary, Task, Told
from app.nas.spaces import Genes

#: Architectures drawn at random, and the best ones whose neighbours are looked at, for one proposal of the model.
RANDOM_CANDIDATES = 300
CLIMBED = 8
MAX_NEIGHBOURS = 60
#: Random architectures that are put in order by what they promise.
ORDERED = 20
#: Evaluations between two fits of the model's weights, as a share of what there is.
REFIT_SHARE = 0.08
#: Of so many proposals one is the plain model's.
PLAIN_EVERY = 4
#: Of what lies under the front, the part that counts: from this quantile of the metrics on.
FRONT_QUANTILE = 0.1
#: Draws of a mutation before a random architecture is taken instead.
MAX_MUTATIONS = 100


@dataclass(frozen=True)
class Strategy:
    """A strategy with its settings, as in the contract."""

    name: str = "auto"
    population: int = 20
    sample: int = 5
    initial: int = 10
    eta: int = 3
    front: bool = False

    @classmethod
    def from_json(cls, said: Mapping[str, Any] | str) -> Strategy:
        """Raises: Invalid, naming the place."""
        given = {"name": said} if isinstance(said, str) else dict(said)
        known = {one.name for one in fields(cls)}
        for name, value in given.items():
            if name not in known:
                raise _wrong(name, f"there is no such setting; there are {', '.join(sorted(known))}")
            if name == "name" and not (isinstance(value, str) and value in NAMES):
                raise _wrong(name, f"is one of {', '.join(NAMES)}; got {value!r}")
            if name == "front" and not isinstance(value, bool):
                raise _wrong(name, f"is true or false; got {value!r}")
            if name not in ("name", "front") and (type(value) is not int or not 2 <= value <= 10_000):
                raise _wrong(name, f"is a whole number from 2 to 10000; got {value!r}")
        strategy = cls(**given)
        if strategy.sample > strategy.population:
            raise _wrong("sample", f"is at most population ({strategy.population}); got {strategy.sample}")
        return strategy

    def to_json(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}


def _wrong(name: str, detail: str) -> Invalid:
    return Invalid(f"strategy/{name}: {detail}", errors=[FieldError(f"/strategy/{name}", detail)])


@dataclass
class Memory:
    """What a search need not compute twice. Proposals are the same without it, only later."""

    #: By whether they are plain, and the weights by the number of evaluations that they were fitted on.
    features: dict[bool, Features] = field(default_factory=dict)
    weights: dict[tuple[bool, int], Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Situation:
    """What a strategy sees."""

    problem: Problem
    strategy: Strategy
    #: In the order of submission; the pending ones last.
    told: Sequence[Told]
    rng: np.random.Generator
    memory: Memory
    #: Promising architectures of earlier searches, best first.
    advised: Sequence[Genes] = ()
    epochs: int | None = None

    @property
    def seen(self) -> set[Genes]:
        return {one.genes for one in self.told}

    def fresh(self) -> Task:
        """A random architecture that was not tried; once none is met, another training of one that was."""
        genes = self.problem.draw(self.rng, self.seen)
        return self.again() if genes is None else Task(genes, epochs=self.epochs, why="random")

    def promising(self) -> Task:
        """Of some random ones that were not tried the one that promises most, before anything is known."""
        seen = self.seen
        drawn = [one for one in self.problem.space.samples(self.rng, ORDERED) if one not in seen]
        allowed = [one for one in drawn if self.problem.is_allowed(one)]
        if not allowed:
            return self.fresh()
        return Task(max(allowed, key=self.problem.promise), epochs=self.epochs, why="promise")

    def again(self) -> Task:
        trained = Counter(one.genes for one in self.told)
        genes = min(trained, key=lambda one: trained[one])
        return Task(genes, trained[genes], self.epochs, "nothing new is left")

    def rewards(self) -> list[tuple[Genes, float]]:
        """Of finished evaluations, oldest first."""
        return [(one.genes, self.problem.reward(one.genes, one.value)) for one in self.told if one.value is not None]


def random(here: Situation) -> Task:
    return here.fresh()


def evolution(here: Situation) -> Task:
    """Regularised evolution: the best of a sample of the youngest population is mutated; the oldest die."""
    rewards = here.rewards()
    if len(here.told) < here.strategy.population or not rewards:
        return here.fresh()
    living = rewards[-here.strategy.population :]
    chosen = here.rng.choice(len(living), size=min(here.strategy.sample, len(living)), replace=False)
    parent = max((living[i] for i in chosen), key=lambda one: one[1])[0]
    seen = here.seen
    for _ in range(MAX_MUTATIONS):
        child = here.problem.space.mutate(parent, here.rng)
        if child not in seen and here.problem.is_allowed(child):
            return Task(child, epochs=here.epochs, why="mutation")
    return here.fresh()


def local_search(here: Situation) -> Task:
    """The untried neighbours of the best; where there is none left, of the next best."""
    rewards = here.rewards()
    if len(here.told) < here.strategy.initial or not rewards:
        return here.fresh()
    summary = Summary.of(here.told)
    scores = [here.problem.reward(genes, mean) for genes, mean in zip(summary.genes, summary.means, strict=True)]
    seen = here.seen
    for place in np.argsort(scores)[::-1][: here.strategy.initial]:
        left = [one for one in here.problem.neighbours(summary.genes[place]) if one not in seen]
        if left:
            return Task(left[int(here.rng.integers(len(left)))], epochs=here.epochs, why="neighbour")
    return here.fresh()


def gp(here: Situation) -> Task:
    """The architecture, new or tried before, whose evaluation is expected to teach most about the best.

    Two models take turns. The one that learns which genes, labels and sizes matter can be sure of something wrong: that
    a whole family is bad, of which it then tries no more. The plain one doubts whatever is far from what was tried.
    """
    finished = [one for one in here.told if not one.is_pending]
    summary = Summary.of(finished, here.problem.trainings)
    if len(here.told) < here.strategy.initial or len(summary.genes) < 2:
        # in turns: from good ones alone it could not be learnt whether promises are kept
        return here.promising() if len(here.told) % 2 == 0 else here.fresh()
    model = model_of(here.problem, finished, here.memory, plain=len(here.told) % PLAIN_EVERY == PLAIN_EVERY - 1)
    pending = [one for one in here.told if one.is_pending]
    if pending:
        summary, model = _believed(here, summary, model, pending)
    candidates = _candidates(here, summary, model)
    if not candidates:
        return here.again()
    mean, deviation = model.predict(candidates)
    tried_mean, tried_deviation = model.known()
    if here.problem.front:
        return _for_the_front(here, candidates, (mean, deviation), (summary.genes, tried_mean))
    cost = here.problem.penalty * np.array([here.problem.complexity(one) for one in candidates])
    tried_cost = here.problem.penalty * np.array([here.problem.complexity(one) for one in summary.genes])
    rewards = tried_mean - tried_cost
    best = float(rewards.max())
    gains = knowledge_gain(mean - cost, deviation, model.noise, best)
    again = _gains_of_repeats(here, summary, rewards, tried_deviation, model)
    if again.max() > gains.max():
        place = int(again.argmax())
        genes = summary.genes[place]
        return Task(genes, sum(one.genes == genes for one in here.told), here.epochs, "confirmation")
    return Task(candidates[int(gains.argmax())], epochs=here.epochs, why="model")


def _for_the_front(
    here: Situation, candidates: list[Genes], beliefs: tuple[Array, Array], tried: tuple[list[Genes], Array]
) -> Task:
    sizes, tried_sizes = (np.array([here.problem.complexity(one) for one in some]) for some in (candidates, tried[0]))
    reference = (float(np.quantile(tried[1], FRONT_QUANTILE)), 1.0 + 1e-3)
    gains = expected_hypervolume_gain(*beliefs, sizes, (tried[1], tried_sizes), reference)
    return Task(candidates[int(gains.argmax())], epochs=here.epochs, why="front")


def _gains_of_repeats(here: Situation, summary: Summary, rewards: Array, deviation: Array, model: Model) -> Array:
    """What another training of each tried architecture is expected to teach; nothing, where there is none left."""
    if len(rewards) < 2:
        return np.full(len(rewards), -1.0)
    second, first = np.sort(rewards)[-2:]
    others = np.where(rewards == first, second, first)
    gains = knowledge_gain(rewards, deviation, model.noise, others)
    trained = Counter(one.genes for one in here.told)
    there_are = [here.problem.trainings(genes) for genes in summary.genes]
    is_left = [most is None or trained[genes] < most for genes, most in zip(summary.genes, there_are, strict=True)]
    return np.where(is_left, gains, -1.0)


def model_of(problem: Problem, finished: Sequence[Told], memory: Memory, *, plain: bool = False) -> Model:
    """The model of these evaluations.

    Weights are those that the first so many of them give, a number that grows by a share: fits are rare, and a search
    that was interrupted goes on as if it had not been.
    """
    features = memory.features.setdefault(plain, Features(problem, plain=plain))
    fitted_at = len(finished)
    step = 2
    while step <= len(finished):
        fitted_at, step = step, max(step + 1, int(np.ceil(step * (1.0 + REFIT_SHARE))))
    if (plain, fitted_at) not in memory.weights:
        summary = Summary.of(finished[:fitted_at], problem.trainings)
        memory.weights[plain, fitted_at] = fit(features, summary).weights
    return condition(features, Summary.of(finished, problem.trainings), memory.weights[plain, fitted_at])


def _believed(here: Situation, summary: Summary, model: Model, pending: Sequence[Told]) -> tuple[Summary, Model]:
    """As if what is under way had come out as the model expects it."""
    new = [genes for genes in dict.fromkeys(one.genes for one in pending) if genes not in set(summary.genes)]
    if not new:
        return summary, model
    expected, _ = model.predict(new)
    believed = Summary(
        [*summary.genes, *new], np.append(summary.means, expected), np.append(summary.noise, [1.0] * len(new))
    )
    return believed, condition(model.features, believed, model.weights)


def _candidates(here: Situation, summary: Summary, model: Model) -> list[Genes]:
    """Untried ones: at random, advised, and one step from the best."""
    problem, rng, seen = here.problem, here.rng, here.seen
    found = dict.fromkeys(problem.space.samples(rng, RANDOM_CANDIDATES))
    mean, _ = model.known()
    rewards = [problem.reward(genes, value) for genes, value in zip(summary.genes, mean, strict=True)]
    tops = [summary.genes[i] for i in np.argsort(rewards)[::-1][:CLIMBED]]
    if problem.front:
        sizes = np.array([problem.complexity(one) for one in summary.genes])
        tops = [summary.genes[i] for i in non_dominated(mean, sizes)][: 2 * CLIMBED]
    for genes in tops:
        near = problem.space.neighbours(genes)
        for place in rng.permutation(len(near))[:MAX_NEIGHBOURS]:
            found[near[place]] = None
    found |= dict.fromkeys(here.advised)
    return [one for one in found if one not in seen and problem.is_allowed(one)]


def halving(here: Situation) -> Task:
    """Many for few epochs; the best third of each rung goes on to three times as many."""
    most = here.epochs or 1
    rungs = [most]
    while rungs[0] // here.strategy.eta >= 1 and len(rungs) < 4:
        rungs.insert(0, rungs[0] // here.strategy.eta)
    for low, high in reversed(list(itertools.pairwise(rungs))):
        done = {
            one.genes: here.problem.reward(one.genes, one.value)
            for one in here.told
            if one.epochs == low and one.value is not None
        }
        gone_on = {one.genes for one in here.told if one.epochs == high}
        best = sorted(done, key=lambda genes: -done[genes])[: len(done) // here.strategy.eta]
        for genes in best:
            if genes not in gone_on:
                return Task(genes, epochs=high, why=f"promoted to {high} epochs")
    fresh = here.fresh()
    return Task(fresh.genes, fresh.repeat, rungs[0], fresh.why)


NAMES: dict[str, Callable[[Situation], Task]] = {
    "auto": gp,
    "random": random,
    "evolution": evolution,
    "local_search": local_search,
    "gp": gp,
    "halving": halving,
}


def propose(here: Situation) -> Task:
    """The next task: advised architectures first, then what the strategy says."""
    tried = here.seen
    for genes in here.advised:
        if genes not in tried and here.problem.is_allowed(genes):
            return Task(genes, epochs=here.epochs, why="an earlier search's best")
    return NAMES[here.strategy.name](here)
