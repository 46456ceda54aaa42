"""A real tuning problem that a laptop evaluates in a third of a second.

A support vector machine reads handwritten digits (scikit-learn's 8x8 images, 10 classes), after a change of
contrast, a blur and a projection onto principal components. The loss is the cross-validated log loss on 1,000
digits: it rewards honest probabilities, so unlike the accuracy it has no plateaus. An SVM has no probabilities
of its own; in every fold a temperature, fitted by an inner cross-validation, turns its scores into them. The
other 797 digits are seen by nobody before the end.

The file is fourteen forms of about 128 digits, one after the other, of thirteen people. In the demo's second act three
offices have four, four and six of them, and tune by the Brier score: the log loss of so few digits is ruled by two or
three that are misread with confidence, so what is best for one split into folds is not for another.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import metatune

SPACE = {
    "contrast": metatune.float_(0.1, 10.0, scale="log"),  # exponent of the pixels, which lie in [0, 1]
    "blur": metatune.float_(0.0, 2.0),  # standard deviation in pixels
    "components": metatune.int_(4, 64),
    "kernel": metatune.categorical(["rbf", "poly"]),
    "C": metatune.float_(1e-3, 1e4, scale="log"),
    "gamma": metatune.float_(1e-5, 1e2, scale="log"),
    "degree": metatune.int_(2, 5, when={"kernel": ["poly"]}),
    "coef0": metatune.float_(0.0, 3.0, when={"kernel": ["poly"]}),
}
DEFAULTS: dict[str, Any] = {}  # what scikit-learn does if one says nothing

N_TRAINING = 1000
OFFICES = (0, 516, 1029, 1797)  # where the forms of each begin, and the last end
FOLDS = 3
INNER_FOLDS = 2
MAX_ITERATIONS = 10_000  # a good machine needs a few hundred; some with a huge gamma would need hours


class HeldBack(NamedTuple):
    log_loss: float
    accuracy: float


def loss(params: Mapping[str, Any]) -> float:
    """Log loss in nats, mean over three folds of the training digits."""
    images, labels, _, _ = digits()
    return cross_validated(classifier(params), images, labels, "neg_log_loss")


def office_loss(params: Mapping[str, Any], office: int) -> float:
    """Brier score, mean over three folds of the digits of an office, from 1: Σ (probability - truth)², in [0, 2]."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # such a machine is judged by what it then reads
        return cross_validated(classifier(params, MAX_ITERATIONS), *digits_of(office), "neg_brier_score")


def cross_validated(classifier: Any, images: Any, labels: Any, scoring: str) -> float:
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from threadpoolctl import threadpool_limits

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    with threadpool_limits(1):  # matrices this small only wait for one another: 2 s become 0.3 s
        return -float(cross_val_score(classifier, images, labels, cv=folds, scoring=scoring).mean())


def held_back(params: Mapping[str, Any]) -> HeldBack:
    """Fitted on all training digits, judged on those held back."""
    from sklearn.metrics import log_loss

    images, labels, new_images, new_labels = digits()
    fitted = classifier(params).fit(images, labels)
    return HeldBack(
        float(log_loss(new_labels, fitted.predict_proba(new_images))), float(fitted.score(new_images, new_labels))
    )


def classifier(params: Mapping[str, Any], max_iterations: int = -1) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.svm import SVC

    steps: list[Any] = []
    if "blur" in params:
        optics = {"contrast": params["contrast"], "blur": params["blur"]}
        steps += [FunctionTransformer(through_optics, kw_args=optics), PCA(params["components"], svd_solver="full")]
    tuned = {name: params[name] for name in ("kernel", "C", "gamma", "degree", "coef0") if name in params}
    steps.append(SVC(**tuned, max_iter=max_iterations))
    return CalibratedClassifierCV(make_pipeline(*steps), method="temperature", cv=INNER_FOLDS, ensemble=False)


def through_optics(images: Any, contrast: float, blur: float) -> Any:
    from scipy.ndimage import gaussian_filter

    pictures = (images**contrast).reshape(-1, 8, 8)
    return gaussian_filter(pictures, (0, blur, blur)).reshape(images.shape)


@cache
def digits_of(office: int) -> tuple[Any, Any]:
    """Images and labels of forms that no other office has; pixels in [0, 1]."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    forms = slice(OFFICES[office - 1], OFFICES[office])
    return images[forms] / 16.0, labels[forms]


@cache
def digits() -> tuple[Any, Any, Any, Any]:
    """Training images and labels, then those held back; pixels in [0, 1]."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    split = train_test_split(images / 16.0, labels, train_size=N_TRAINING, stratify=labels, random_state=0)
    images, new_images, labels, new_labels = split
    return images, labels, new_images, new_labels
