"""A real tuning problem that a laptop evaluates in a third of a second.

A support vector machine reads handwritten digits (scikit-learn's 8x8 images, 10 classes), after a change of
contrast, a blur and a projection onto principal components. The loss is the cross-validated log loss on 1,000
digits: it rewards honest probabilities, so unlike the accuracy it has no plateaus. An SVM has no probabilities
of its own; in every fold a temperature, fitted by an inner cross-validation, turns its scores into them. The
other 797 digits are seen by nobody before the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
FOLDS = 3
INNER_FOLDS = 2


class HeldBack(NamedTuple):
    log_loss: float
    accuracy: float


def loss(params: Mapping[str, Any]) -> float:
    """Log loss in nats, mean over three folds of the training digits."""
    images, labels, _, _ = digits()
    return cross_validated(classifier(params), images, labels, "neg_log_loss")


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


def classifier(params: Mapping[str, Any]) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import FunctionTransformer

    steps: list[Any] = []
    if "blur" in params:
        optics = {"contrast": params["contrast"], "blur": params["blur"]}
        steps += [FunctionTransformer(through_optics, kw_args=optics), PCA(params["components"], svd_solver="full")]
    return with_probabilities(steps, params)


def with_probabilities(steps: Sequence[Any], params: Mapping[str, Any], max_iterations: int = -1) -> Any:
    """The steps, a support vector machine after them, and the temperature that makes its scores probabilities."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    tuned = {name: params[name] for name in ("kernel", "C", "gamma", "degree", "coef0") if name in params}
    pipeline = make_pipeline(*steps, SVC(**tuned, max_iter=max_iterations))
    return CalibratedClassifierCV(pipeline, method="temperature", cv=INNER_FOLDS, ensemble=False)


def through_optics(images: Any, contrast: float, blur: float) -> Any:
    from scipy.ndimage import gaussian_filter

    pictures = (images**contrast).reshape(-1, 8, 8)
    return gaussian_filter(pictures, (0, blur, blur)).reshape(images.shape)


@cache
def digits() -> tuple[Any, Any, Any, Any]:
    """Training images and labels, then those held back."""
    from sklearn.model_selection import train_test_split

    images, labels = all_digits()
    split = train_test_split(images, labels, train_size=N_TRAINING, stratify=labels, random_state=0)
    images, new_images, labels, new_labels = split
    return images, labels, new_images, new_labels


@cache
def all_digits() -> tuple[Any, Any]:
    """(1797, 64) images, pixels in [0, 1], and their labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images / 16.0, labels
