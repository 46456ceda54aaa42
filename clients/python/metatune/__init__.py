"""The Python client of a metatune server.

import metatune

study = metatune.Client().study("digits", {"C": metatune.float_(1e-3, 1e3, scale="log")}, direction="maximize")
study.optimize(lambda trial: score(**trial.params), n_trials=40)
print(study.best.params)
"""

from metatune.client import Client
from metatune.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    LeaseLost,
    MetatuneError,
    NoResultYet,
    NotAvailableYet,
    NotFound,
    Problem,
    ReportDiffers,
    ServerFault,
    ServerUnreachable,
    StudyClosed,
    StudyDiffers,
    StudyDone,
    StudyReplaced,
    TrialFinishedDifferently,
    TrialRemoved,
    Unauthenticated,
    Unavailable,
)
from metatune.space import bool_, categorical, fixed, float_, int_, ordinal
from metatune.study import Asked, Study
from metatune.trial import Infeasible, Pruned, Signal, Trial

__version__ = "0.1.0"

__all__ = [
    "Asked",
    "BadRequest",
    "Client",
    "Conflict",
    "Forbidden",
    "Infeasible",
    "Invalid",
    "LeaseLost",
    "MetatuneError",
    "NoResultYet",
    "NotAvailableYet",
    "NotFound",
    "Problem",
    "Pruned",
    "ReportDiffers",
    "ServerFault",
    "ServerUnreachable",
    "Signal",
    "Study",
    "StudyClosed",
    "StudyDiffers",
    "StudyDone",
    "StudyReplaced",
    "Trial",
    "TrialFinishedDifferently",
    "TrialRemoved",
    "Unauthenticated",
    "Unavailable",
    "bool_",
    "categorical",
    "fixed",
    "float_",
    "int_",
    "ordinal",
]
