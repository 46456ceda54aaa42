"""How good a learner is on new tasks, with its interval; and the plain classifiers that it has to beat."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from app.fewshot.heads import squared_distances
from app.fewshot.learner import Learner
from app.fewshot.tasks import Array, Episodes, Pool

N_COMPONENTS = 32  # of the principal components that baselines may use
SHARPNESSES = np.linspace(-2.0, 8.0, 41)
KNOWN = 0.95  # of the known examples stay known


@dataclass(frozen=True)
class Judgement:
    """The mean over episodes (of accuracy, or of a regression's squared error) and half its 95 % interval."""

    mean: float
    half_width: float
    n_episodes: int

    @classmethod
    def of(cls, scores: Array) -> Judgement:
        half_width = 1.96 * float(scores.std(ddof=1)) / math.sqrt(len(scores)) if len(scores) > 1 else math.nan
        return cls(float(scores.mean()), half_width, len(scores))


@dataclass(frozen=True)
class Tasks:
    """Which tasks to judge on; the same seed draws the same ones for every learner and baseline."""

    ways: int
    shots: int
    queries: int
    n_episodes: int
    seed: int

    def drawn(self, pool: Pool) -> list[Episodes]:
        """One episode each, so that a pool of features gives the same tasks as its pool of examples."""
        rng = np.random.default_rng(self.seed)
        return [pool.draw(rng, 1, self.ways, self.shots, self.queries) for _ in range(self.n_episodes)]


def judged(learner: Learner, pool: Pool, tasks: Tasks) -> tuple[Judgement, float | None]:
    """Its judgement, and the distance from the nearest class within which 95 % of the queries of known classes lie."""
    if not learner.is_gradient_based:
        pool = replace(pool, x=learner.features(pool.x))
    scores: list[float] = []
    distances: list[Array] = []
    for episode in tasks.drawn(pool):
        support_x, support_y, query_x, query_y = (part[0] for part in episode)
        if learner.is_gradient_based:
            found = learner.adapt(support_x, support_y, tasks.ways).predict(query_x)
        else:
            found = learner.compared(support_x, support_y, tasks.ways).predict_features(query_x)
        if learner.spec.kind == "regression":
            scores.append(float(np.mean((found.values - query_y) ** 2)))
        else:
            scores.append(float(np.mean(found.values.argmax(1) == query_y)))
        if found.distances is not None:
            distances.append(found.distances)
    known = float(np.quantile(np.concatenate(distances), KNOWN)) if distances else None
    return Judgement.of(np.array(scores)), known


def sharpness(learner: Learner, pool: Pool, tasks: Tasks) -> float:
    """The logarithm of the factor on log-odds under which the learner's probabilities are truest (least log loss)."""
    losses = np.zeros(len(SHARPNESSES))
    for episode in tasks.drawn(pool):
        support_x, support_y, query_x, query_y = (part[0] for part in episode)
        log_odds = learner.adapt(support_x, support_y, tasks.ways).log_odds(learner.features(query_x))
        scaled = np.exp(SHARPNESSES)[:, None, None] * log_odds
        losses += (logsumexp(scaled, axis=2) - scaled[:, np.arange(len(query_y)), query_y]).mean(axis=1)
    return float(SHARPNESSES[losses.argmin()])


def baselines(train: Pool, pool: Pool, tasks: Tasks) -> dict[str, Judgement]:
    """Nearest centroid and logistic regression on raw features, and on principal components of the training classes.

    A regression task is judged by the mean of its support set's values instead.
    """
    if pool.targets is not None:
        errors = [float(np.mean((e.query_y[0] - e.support_y[0].mean()) ** 2)) for e in tasks.drawn(pool)]
        return {"mean": Judgement.of(np.array(errors))}
    raw = pool.x.reshape(len(pool.x), -1).astype(np.float32)
    rows = np.concatenate(train.members)
    known = train.x[rows].reshape(len(rows), -1).astype(np.float32)
    components = PCA(
        min(N_COMPONENTS, *known.shape), svd_solver="full" if known.size < 1e6 else "randomized", random_state=0
    ).fit(known)
    found = {}
    for name, features in (("raw", raw), ("pca", components.transform(raw))):
        episodes = tasks.drawn(Pool.of(features, pool.members))
        found[f"nearest-centroid-{name}"] = _score(episodes, tasks.ways, nearest_centroid)
        found[f"logistic-regression-{name}"] = _score(episodes, tasks.ways, logistic_regression)
    return found


def nearest_centroid(support: Array, y: Array, queries: Array, ways: int) -> Array:
    """(q,) class numbers."""
    means = np.stack([support[y == number].mean(0) for number in range(ways)])
    return np.asarray(squared_distances(queries, means, np).argmin(1))


def logistic_regression(support: Array, y: Array, queries: Array, ways: int) -> Array:
    """(q,) class numbers, by scikit-learn's defaults on standardised length."""
    size = float(np.sqrt((support**2).sum(1).mean())) or 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as good as its hundred steps: it is a yardstick
        fitted = LogisticRegression().fit(support / size, y)
    return np.asarray(fitted.predict(queries / size))


def _score(episodes: list[Episodes], ways: int, classify: Callable[..., Array]) -> Judgement:
    scores = [
        float(np.mean(classify(e.support_x[0], e.support_y[0], e.query_x[0], ways) == e.query_y[0])) for e in episodes
    ]
    return Judgement.of(np.array(scores))
