"""A tuning problem that comes back: a reader of handwritten digits, tuned anew on every month's forms.

The reader sets the digits upright, changes contrast and sharpness, looks at pixels, edges and profiles, projects these
onto principal components that it evens out, and gives them to a support vector machine: twelve hyperparameters, for
which thirty trials are few. The loss is the Brier score, cross-validated on the forms of a month.

A month is every fourth of scikit-learn's 8x8 digits, so all of its people write in every month, and no digit is seen in
two. The Brier score, because the log loss of 450 digits is ruled by two or three that are misread with confidence.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

import metatune
from benchmarks.digits_svm import all_digits, cross_validated, through_optics, with_probabilities

SPACE = {
    "upright": metatune.float_(0.0, 1.0),  # the part of its slant that every digit loses
    "contrast": metatune.float_(0.1, 10.0, scale="log"),  # exponent of the pixels, which lie in [0, 1]
    "blur": metatune.float_(0.0, 2.0),  # standard deviation in pixels
    "edges": metatune.float_(1e-2, 1e1, scale="log"),  # weight of the slopes beside the pixels
    "profiles": metatune.float_(1e-2, 1e1, scale="log"),  # weight of the means of rows and columns
    "components": metatune.int_(4, 64),
    "whitening": metatune.float_(0.0, 1.0),  # 0: components as they are, 1: all of the same variance
    "kernel": metatune.categorical(["rbf", "poly"]),
    "C": metatune.float_(1e-3, 1e4, scale="log"),
    "gamma": metatune.float_(1e-5, 1e2, scale="log"),
    "degree": metatune.int_(2, 5, when={"kernel": ["poly"]}),
    "coef0": metatune.float_(0.0, 3.0, when={"kernel": ["poly"]}),
}
N_MONTHS = 4
MAX_ITERATIONS = 10_000  # a good machine needs a few hundred; some with a huge gamma would need hours


def loss(params: Mapping[str, Any], month: int) -> float:
    """Brier score, mean over three folds of the digits of a month, from 1: Σ (probability - truth)², in [0, 2]."""
    from sklearn.exceptions import ConvergenceWarning

    images, labels = digits_of(month)
    components = EvenedComponents(params["components"], params["whitening"])
    reader = with_probabilities([components], params, MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # such a machine is judged by what it then reads
        return cross_validated(reader, features(images, params), labels, "neg_brier_score")


def features(images: Any, params: Mapping[str, Any]) -> Any:
    """(n, 208) of (n, 64) images: 64 pixels, their slopes in two directions, and means of 8 rows and 8 columns."""
    n = len(images)
    pictures = straightened(images.reshape(n, 8, 8), params["upright"])
    pictures = through_optics(pictures, params["contrast"], params["blur"])
    slopes = np.stack([np.gradient(pictures, axis=axis) for axis in (1, 2)], axis=1)
    profiles = np.hstack([pictures.mean(axis=1), pictures.mean(axis=2)])
    return np.hstack([pictures.reshape(n, -1), params["edges"] * slopes.reshape(n, -1), params["profiles"] * profiles])


def straightened(pictures: Any, share: float) -> Any:
    """(n, 8, 8) pictures in [0, 1], sheared by a share of what sets the ink's main direction upright."""
    from scipy.ndimage import map_coordinates

    y, x = np.mgrid[:8, :8].astype(np.float64)
    ink = pictures.sum(axis=(1, 2))
    below = y - ((pictures * y).sum(axis=(1, 2)) / ink)[:, None, None]
    right = x - ((pictures * x).sum(axis=(1, 2)) / ink)[:, None, None]
    slant = (pictures * below * right).sum(axis=(1, 2)) / (pictures * below**2).sum(axis=(1, 2))
    which = np.broadcast_to(np.arange(len(pictures))[:, None, None], pictures.shape)
    from_there = np.stack([which, np.broadcast_to(y, pictures.shape), x + share * slant[:, None, None] * below])
    return np.clip(map_coordinates(pictures, from_there, order=1, mode="constant"), 0.0, 1.0)


class EvenedComponents(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Principal components, each divided by a power of its standard deviation."""

    def __init__(self, components: int = 10, whitening: float = 0.0) -> None:
        self.components, self.whitening = components, whitening

    def fit(self, X: Any, y: Any = None) -> EvenedComponents:
        from sklearn.decomposition import PCA

        self.pca_ = PCA(self.components, svd_solver="covariance_eigh").fit(X)
        std = np.sqrt(np.maximum(self.pca_.explained_variance_, 0.0))
        self.scale_ = np.maximum(std / std[0], 1e-6) ** -self.whitening
        return self

    def transform(self, X: Any) -> Any:
        return self.pca_.transform(X) * self.scale_


def digits_of(month: int) -> tuple[Any, Any]:
    """Images and labels of digits that no other month has; pixels in [0, 1]."""
    images, labels = all_digits()
    return images[month - 1 :: N_MONTHS], labels[month - 1 :: N_MONTHS]
