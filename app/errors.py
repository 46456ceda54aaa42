"""Everything that can go wrong, as one tree; not a word of HTTP in it.

    AppError
    ├── NotFound           no such thing, or another project's
    ├── Conflict           a good request at a bad moment
    ├── Invalid            readable, but wrong (a ValueError, so that Pydantic reports it with its place)
    │   └── NotAvailableYet    a value of the contract that this version does not serve
    ├── Unauthenticated    no key, or a bad one
    ├── Forbidden          the key is good but may not do this
    ├── NotAcceptable      the answer cannot be given in the form that was asked for
    ├── Unavailable        not now; the same request may pass later
    ├── TooLarge           more than this server takes
    └── NumericalError     the arithmetic failed on legal input

Families carry the meaning (`app.api.problems` gives each a status); leaves carry a `code`, a short word
that a script can test. A message says what was wrong, with the value, and what would be right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldError:
    """One wrong place in a body: a JSON pointer (RFC 6901) and what is wrong there."""

    pointer: str
    detail: str


class AppError(Exception):
    """The root. `extra` is shown beside the message, for programs."""

    code: ClassVar[str] = "error"

    def __init__(self, detail: str, *, errors: Iterable[FieldError] = (), **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.extra = extra


class NotFound(AppError):
    code = "not-found"


class StudyNotFound(NotFound):
    code = "study-not-found"


class TrialNotFound(NotFound):
    code = "trial-not-found"


class TrialRemoved(NotFound):
    code = "trial-removed"


class KeyNotFound(NotFound):
    code = "key-not-found"


class ProjectNotFound(NotFound):
    code = "project-not-found"


class JobNotFound(NotFound):
    code = "job-not-found"


class DatasetNotFound(NotFound):
    code = "dataset-not-found"


class AdaptationNotFound(NotFound):
    code = "adaptation-not-found"


class NoResultYet(NotFound):
    code = "no-result-yet"


class Conflict(AppError):
    code = "conflict"


class StudyDiffers(Conflict):
    code = "study-differs"


class StudyReplaced(Conflict):
    code = "study-replaced"


class NameTaken(Conflict):
    code = "name-taken"


class LimitReached(Conflict):
    code = "limit-reached"


class StudyClosed(Conflict):
    code = "study-closed"


class SpaceVersionDiffers(Conflict):
    code = "space-version-differs"


class LeaseLost(Conflict):
    code = "lease-lost"


class IllegalMove(Conflict):
    code = "illegal-state"


class TrialFinishedDifferently(Conflict):
    code = "trial-finished-differently"


class JobDiffers(Conflict):
    code = "job-differs"


class JobInUse(Conflict):
    code = "job-in-use"


class NotTrained(Conflict):
    code = "not-trained"


class NotTrainedYet(Conflict):
    code = "not-trained-yet"


class DatasetDiffers(Conflict):
    code = "dataset-differs"


class DatasetInUse(Conflict):
    code = "dataset-in-use"


class ReportDiffers(Conflict):
    code = "report-differs"


class Invalid(AppError, ValueError):
    code = "invalid"


class InvalidSearchSpace(Invalid):
    code = "invalid-space"


class InvalidConstraint(InvalidSearchSpace):
    code = "invalid-constraint"


class NoFeasiblePoint(InvalidSearchSpace):
    code = "no-feasible-point"


class SpaceViolation(Invalid):
    code = "space-violation"


class InvalidMeasurement(Invalid):
    code = "invalid-measurement"


class IdempotencyKeyReused(Invalid):
    code = "idempotency-key-reused"


class ShapeError(Invalid):
    code = "shape"


class NotAvailableYet(Invalid):
    code = "not-available-yet"


class Unauthenticated(AppError):
    code = "unauthenticated"


class Forbidden(AppError):
    code = "forbidden"


class NotAcceptable(AppError):
    code = "not-acceptable"


class Unavailable(AppError):
    """`retry_after_seconds` tells the caller when to come back."""

    code = "unavailable"

    def __init__(self, detail: str, *, retry_after_seconds: int = 1, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.retry_after_seconds = retry_after_seconds


class NoWorker(Unavailable):
    code = "no-worker"


class EngineMissing(Unavailable):
    code = "engine-missing"


class Damaged(Unavailable):
    """What is stored is not what was written."""

    code = "damaged"


class TooLarge(AppError):
    code = "too-large"


class NumericalError(AppError):
    code = "numerical-error"


class NotPositiveDefinite(NumericalError):
    code = "not-positive-definite"


class FitFailed(NumericalError):
    code = "fit-failed"
