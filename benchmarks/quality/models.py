"""Real tuning problems: scikit-learn models on scikit-learn's bundled data sets.

The loss is a mean over three fixed folds of at most 360 rows: the error rate, which has plateaus, or the log loss, for
classes; the root mean squared error, in standard deviations, for numbers. Models are seeded, so every loss is exact.
Ranges are the usual ones of tutorials and of AutoML systems, wider than where good values lie.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from benchmarks.quality.spaces import Params, Space, categorical, float_, int_

N_ROWS, N_FOLDS = 360, 3
WORST = 5.0  # in the units of the loss: what a failed or diverging fit counts as
NUMBERS = ("diabetes",)
SCALERS = ("none", "standard", "minmax")


@dataclass(frozen=True)
class Model:
    """space: its parameters.  make: of them, and whether numbers are predicted, an estimator.  loss: for classes."""

    space: Space
    make: Callable[[Params, bool], Any]
    loss: str = "error"


def evaluate(model: str, data: str, params: Mapping[str, Any]) -> tuple[float, float]:
    """The loss, and the size of the fitted model: nodes of its trees, mean over the folds, 0 where it has none."""
    from sklearn.model_selection import KFold, StratifiedKFold

    X, y = rows(data)
    folds = (KFold if data in NUMBERS else StratifiedKFold)(N_FOLDS, shuffle=True, random_state=0)
    losses, sizes = [], []
    for train, test in folds.split(X, y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                fitted = MODELS[model].make(dict(params), data in NUMBERS).fit(X[train], y[train])
                losses.append(_loss(fitted, X[test], y[test], "rmse" if data in NUMBERS else MODELS[model].loss))
                sizes.append(_n_nodes(fitted))
            except (ValueError, ArithmeticError):  # a legal choice that this data cannot be fitted with
                losses.append(WORST)
                sizes.append(0.0)
    return float(np.mean(losses)), float(np.mean(sizes))


@cache
def rows(data: str) -> tuple[Any, Any]:
    """Features (n, d) and targets (n,), numbers standardised."""
    from sklearn import datasets

    X, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    kept = np.random.default_rng(0).permutation(len(y))[:N_ROWS]
    X, y = X[kept], y[kept]
    return X, (y - y.mean()) / y.std() if data in NUMBERS else y


def _loss(fitted: Any, X: Any, y: Any, loss: str) -> float:
    if loss == "error":
        return float(np.mean(fitted.predict(X) != y))
    if loss == "rmse":
        value = float(np.sqrt(np.mean((fitted.predict(X) - y) ** 2)))
    else:
        chances = fitted.predict_proba(X)[np.arange(len(y)), np.searchsorted(fitted.classes_, y)]
        value = float(-np.log(np.clip(chances, 1e-6, 1.0)).mean())
    return min(value, WORST) if np.isfinite(value) else WORST


def _n_nodes(fitted: Any) -> float:
    if hasattr(fitted, "tree_"):
        return float(fitted.tree_.node_count)
    if hasattr(fitted, "_predictors"):  # histogram gradient boosting has no public count
        return float(sum(len(tree.nodes) for stage in fitted._predictors for tree in stage))
    return float(sum(tree.tree_.node_count for tree in getattr(fitted, "estimators_", [])))


# --- the models --------------------------------------------------------------------------------------------------

SVM = {
    "scaler": categorical(*SCALERS),
    "kernel": categorical("linear", "rbf", "poly", "sigmoid"),
    "C": float_(1e-3, 1e3, "log"),
    "gamma": float_(1e-5, 1e1, "log", kernel=("rbf", "poly", "sigmoid")),
    "degree": int_(2, 5, kernel=("poly",)),
    "coef0": float_(-1.0, 1.0, kernel=("poly", "sigmoid")),
}
CASH = {
    "learner": categorical("svm", "neighbours", "forest", "linear"),
    "scaler": categorical(*SCALERS),
    "C": float_(1e-3, 1e3, "log", learner=("svm",)),
    "gamma": float_(1e-5, 1e1, "log", learner=("svm",)),
    "n_neighbors": int_(1, 50, "log", learner=("neighbours",)),
    "weights": categorical("uniform", "distance", learner=("neighbours",)),
    "max_depth": int_(1, 15, learner=("forest",)),
    "max_features": float_(0.05, 1.0, "log", learner=("forest",)),
    "min_samples_leaf": int_(1, 20, "log", learner=("forest",)),
    "alpha": float_(1e-4, 1e4, "log", learner=("linear",)),
}
BOOSTING = {
    "learning_rate": float_(1e-3, 1.0, "log"),
    "max_iter": int_(4, 40, "log"),
    "max_leaf_nodes": int_(2, 64, "log"),
    "min_samples_leaf": int_(1, 50, "log"),
    "l2_regularization": float_(1e-8, 1e2, "log"),
    "max_features": float_(0.1, 1.0),
}
TREE = {
    "criterion": categorical("first", "second"),
    "max_depth": int_(1, 20),
    "min_samples_split": int_(2, 64, "log"),
    "min_samples_leaf": int_(1, 64, "log"),
    "max_features": float_(0.05, 1.0),
    "ccp_alpha": float_(1e-6, 1e-1, "log"),
}
FOREST = {
    "n_estimators": int_(2, 32, "log"),
    "max_depth": int_(1, 15),
    "min_samples_leaf": int_(1, 32, "log"),
    "max_features": float_(0.05, 1.0, "log"),
    "bootstrap": categorical(True, False),
    "max_samples": float_(0.1, 1.0, bootstrap=(True,)),
}
NETWORK = {
    "scaler": categorical(*SCALERS),
    "hidden": int_(4, 64, "log"),
    "activation": categorical("relu", "tanh", "logistic"),
    "alpha": float_(1e-6, 1e1, "log"),
    "batch_size": int_(8, 128, "log"),
    "learning_rate_init": float_(1e-5, 1e-1, "log"),
    "solver": categorical("sgd", "adam"),
    "momentum": float_(0.0, 0.99, solver=("sgd",)),
    "nesterovs_momentum": categorical(True, False, solver=("sgd",)),
    "beta_1": float_(0.5, 0.99, solver=("adam",)),
}
NEIGHBOURS = {
    "scaler": categorical(*SCALERS),
    "n_neighbors": int_(1, 60, "log"),
    "weights": categorical("uniform", "distance"),
    "p": float_(1.0, 5.0),
}
LINEAR = {
    "scaler": categorical(*SCALERS),
    "alpha": float_(1e-6, 1e1, "log"),
    "penalty": categorical("l2", "l1", "elasticnet"),
    "l1_ratio": float_(0.0, 1.0, penalty=("elasticnet",)),
    "learning_rate": categorical("constant", "invscaling", "adaptive"),
    "eta0": float_(1e-5, 1.0, "log"),
    "power_t": float_(0.1, 0.9, learning_rate=("invscaling",)),
}


def _scaled(scaler: str, estimator: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    if scaler == "none":
        return estimator
    return make_pipeline(StandardScaler() if scaler == "standard" else MinMaxScaler(), estimator)


def _svm(params: Params, is_number: bool) -> Any:
    from sklearn.svm import SVC, SVR

    return _scaled(params.pop("scaler"), (SVR if is_number else SVC)(max_iter=5000, **params))


def _cash(params: Params, is_number: bool) -> Any:
    from sklearn import linear_model, neighbors

    learner, scaler = params.pop("learner"), params.pop("scaler")
    if learner == "svm":
        return _svm({"scaler": scaler, "kernel": "rbf", **params}, is_number)
    if learner == "forest":
        return _forest({"n_estimators": 10, **params}, is_number)
    if learner == "neighbours":
        kind = neighbors.KNeighborsRegressor if is_number else neighbors.KNeighborsClassifier
        return _scaled(scaler, kind(**params))
    return _scaled(scaler, (linear_model.Ridge if is_number else linear_model.RidgeClassifier)(**params))


def _boosting(params: Params, is_number: bool) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if is_number else HistGradientBoostingClassifier
    return kind(random_state=0, early_stopping=False, **params)


def _tree(params: Params, is_number: bool) -> Any:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    criteria = ("squared_error", "friedman_mse") if is_number else ("gini", "entropy")
    params["criterion"] = criteria[params["criterion"] == "second"]
    return (DecisionTreeRegressor if is_number else DecisionTreeClassifier)(random_state=0, **params)


def _forest(params: Params, is_number: bool) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    return (RandomForestRegressor if is_number else RandomForestClassifier)(random_state=0, **params)


def _network(params: Params, is_number: bool) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    scaler, hidden = params.pop("scaler"), params.pop("hidden")
    kind = MLPRegressor if is_number else MLPClassifier
    return _scaled(scaler, kind((hidden,), max_iter=15, random_state=0, **params))


def _neighbours(params: Params, is_number: bool) -> Any:
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    return _scaled(params.pop("scaler"), (KNeighborsRegressor if is_number else KNeighborsClassifier)(**params))


def _linear(params: Params, is_number: bool) -> Any:
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    scaler = params.pop("scaler")
    estimator = SGDRegressor(random_state=0, **params) if is_number else SGDClassifier(
        loss="log_loss", random_state=0, **params
    )  # fmt: skip
    return _scaled(scaler, estimator)


MODELS = {
    "svm": Model(SVM, _svm),
    "cash": Model(CASH, _cash),
    "boosting": Model(BOOSTING, _boosting, "log loss"),
    "tree": Model(TREE, _tree),
    "forest": Model(FOREST, _forest),
    "network": Model(NETWORK, _network, "log loss"),
    "neighbours": Model(NEIGHBOURS, _neighbours),
    "linear": Model(LINEAR, _linear, "log loss"),
}
