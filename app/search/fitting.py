"""The hyperparameters of a Gaussian process: a maximum of their posterior, the marginal likelihood times
`priors.HyperPrior`, by L-BFGS-B with analytic gradients. Notation as in `surrogate`.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.blas import dsyr
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs
from scipy.optimize import minimize

from app.errors import FitFailed
from app.search.constraints import Array
from app.search.kernels import SQRT5, Embedding, augmented, distances, matern52_and_decay, opposite
from app.search.priors import NOISE_LOG_MEAN, HyperPrior, LogDensity

LENGTH_BOUNDS = (np.log(5e-3), np.log(1e3))
AMPLITUDE_BOUNDS = (np.log(1e-3), np.log(1e3))
NOISE_BOUNDS = (np.log(1e-8), 0.0)
MEAN_BOUNDS = (-5.0, 5.0)
MUCH_NOISE = 0.1  # variance, standardised
MANY_STEPS = 200
FAILED = 1e12  # objective of the search where K cannot be factorised


def fit(
    embedding: Embedding,
    units: Array,
    y: Array,
    told_variance: Array,
    start: Array | None = None,
    n_steps: int = 60,
    prior: HyperPrior | None = None,
) -> Array:
    """The hyperparameters (D + 3,) of the highest posterior density found, from the prior's mode or a better start.

    Args: as in `Factor`; n_steps: evaluations of the density, about.  prior: one that the past has taught.
    Raises: FitFailed, if the density is finite nowhere on the way.
    """
    prior = prior or HyperPrior(embedding.n_columns)
    features = embedding.features(units)

    def loss(theta: Array) -> tuple[float, Array]:
        density = log_posterior(embedding, features, y, told_variance, theta, prior)
        return -density.value, -density.gradient

    bounds = [LENGTH_BOUNDS] * embedding.n_columns + [AMPLITUDE_BOUNDS, NOISE_BOUNDS, MEAN_BOUNDS]
    lows, highs = np.array(bounds).T
    found = minimize(
        loss,
        np.clip(prior.mode if start is None else start, lows, highs),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": n_steps, "maxfun": n_steps, "ftol": 1e-5, "gtol": 1e-2},
    )
    if not (np.isfinite(found.fun) and found.fun < FAILED):
        raise FitFailed(f"no hyperparameters explain the {len(y)} trials")
    return np.asarray(found.x, dtype=np.float64)


def fit_from_two(embedding: Embedding, units: Array, y: Array) -> Array:
    """The better of two fits (D + 3,): one begins with hardly any noise, the other with much.

    Between a hundred trials the density is steep where little noise has to explain rough results: the way from there
    ends before its maximum about every second time, and now and then far from it. See docs/decisions/memory.md.
    Raises: FitFailed.
    """
    prior, features, told = HyperPrior(embedding.n_columns), embedding.features(units), np.zeros(len(y))
    found = []
    for noise_variance in (np.exp(NOISE_LOG_MEAN), MUCH_NOISE):
        start = prior.mode
        start[-2] = np.log(noise_variance)
        theta = fit(embedding, units, y, told, start, n_steps=MANY_STEPS, prior=prior)
        found.append((log_posterior(embedding, features, y, told, theta, prior).value, theta))
    return max(found, key=lambda one: one[0])[1]


def log_posterior(
    embedding: Embedding,
    features: Array,
    y: Array,
    told_variance: Array,
    theta: Array,
    prior: HyperPrior,
) -> LogDensity:
    """log p(y | theta) + log p(theta) and its gradient (D + 3,); -1e12 and a zero gradient where K has no factor.

    Args:
        features: (n, F).
    Source: Rasmussen & Williams 2006, eq. 5.8 and 5.9.
    """
    n, D = len(y), embedding.n_columns
    amplitude, noise_variance = np.exp(theta[[D, D + 1]]).tolist()
    mean = theta[D + 2]
    Z = features * (SQRT5 * np.exp(-theta[:D]))[embedding.columns]
    K, slope = matern52_and_decay(distances(augmented(Z), opposite(Z)), amplitude)
    added = noise_variance + told_variance
    K.reshape(-1)[:: n + 1] += added
    L, info = dpotrf(K.T, lower=1, clean=1, overwrite_a=1)
    if info != 0 or not np.isfinite(L[-1, -1]):
        return LogDensity(-FAILED, np.zeros(D + 3))
    residual = y - mean
    alpha = dpotrs(L, residual, lower=1)[0]
    fit_to_data = float(residual @ alpha)
    likelihood = -0.5 * fit_to_data - float(np.log(np.diagonal(L)).sum()) - 0.5 * n * np.log(2.0 * np.pi)
    # d likelihood = tr(W dK) / 2 with W = alpha alphaᵀ − K⁻¹; dK is symmetric, so a triangle of −W does
    T = dsyr(-1.0, alpha, a=dpotri(L, lower=1, overwrite_c=1)[0], lower=1, overwrite_a=1).T
    diagonal = -np.diagonal(T)
    slope *= T  # its diagonal counts for no length scale, being at distance 0
    per_feature = (slope.sum(axis=0) + slope.sum(axis=1)) @ Z**2 - 2.0 * np.einsum("ij,ij->j", Z, slope @ Z)
    gradient = np.empty(D + 3)
    gradient[:D] = np.bincount(embedding.columns, weights=per_feature, minlength=D) / -3.0  # Z holds √5 / length
    gradient[D] = 0.5 * (fit_to_data - n - float(diagonal @ np.broadcast_to(added, n)))  # of tr(W (K − added))
    gradient[D + 1] = 0.5 * noise_variance * float(diagonal.sum())
    gradient[D + 2] = float(alpha.sum())
    belief = prior.log_density(theta)
    return LogDensity(likelihood + belief.value, gradient + belief.gradient)
