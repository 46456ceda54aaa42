"""The Python client of a metatune server.

import metatune

study = metatune.Client().study("digits", {"C": metatune.float_(1e-3, 1e3, scale="log")}, direction="maximize")
study.optimize(lambda trial: score(**trial.params), n_trials=40)
print(study.best.params)
"""

from typing import TYPE_CHECKING, Any

from metatune.client import Client
from metatune.delivery import Delivered
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
from metatune.events import Event
from metatune.record import Asked
from metatune.space import beta, bool_, categorical, fixed, float_, int_, normal, ordinal, weights
from metatune.study import Study
from metatune.trial import AsyncTrial, Failed, Infeasible, Pruned, Signal, Trial

if TYPE_CHECKING:
    from metatune.async_client import AsyncClient
    from metatune.async_study import AsyncStudy

__version__ = "0.1.0"

__all__ = [
    "Asked",
    "AsyncClient",
    "AsyncStudy",
    "AsyncTrial",
    "BadRequest",
    "Client",
    "Conflict",
    "Delivered",
    "Event",
    "Failed",
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
    "beta",
    "bool_",
    "categorical",
    "fixed",
    "float_",
    "int_",
    "normal",
    "ordinal",
    "weights",
]


def __getattr__(name: str) -> Any:
    """Half of the import would be asyncio's; those who need it get it here."""
    if name == "AsyncClient":
        from metatune.async_client import AsyncClient

        return AsyncClient
    if name == "AsyncStudy":
        from metatune.async_study import AsyncStudy

        return AsyncStudy
    raise AttributeError(f"module 'metatune' has no attribute {name!r}")
