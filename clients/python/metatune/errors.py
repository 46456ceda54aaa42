"""What can go wrong, as the server tells it.

    MetatuneError
    ├── ServerUnreachable        no answer, though we kept trying
    ├── StudyDone                nothing left to ask for
    └── Problem                  the server said no; `.problem` is its document (RFC 9457)
        ├── BadRequest               400, 406, 413, 415: what we sent cannot be read
        ├── Unauthenticated          401
        ├── Forbidden                403
        ├── NotFound                 404: NoResultYet, TrialRemoved
        ├── Conflict                 409: LeaseLost, StudyDiffers, StudyReplaced, StudyClosed,
        │                                 TrialFinishedDifferently, ReportDiffers
        ├── Invalid                  422: NotAvailableYet
        ├── Unavailable              429, 502, 503, 504, after we kept trying
        └── ServerFault              any other 5xx

Families follow the status, leaves the problem's `code`. A message holds the server's own words and, where
a caller can do something about it, what.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import httpx


class MetatuneError(Exception):
    """The root of everything this package raises on purpose."""

    #: The same call may pass later, no sooner than `retry_after_seconds` from now.
    is_passing: bool = False
    retry_after_seconds: float = 0.0


class ServerUnreachable(MetatuneError):
    """No answer within the time we keep trying."""

    is_passing = True


class StudyDone(MetatuneError):
    """The study has nothing left to hand out; `reason` is the server's word for why."""

    def __init__(self, study: str, reason: str | None) -> None:
        super().__init__(f"study {study!r} is done" + (f": {reason}" if reason else ""))
        self.reason = reason


class Problem(MetatuneError):
    """The server refused. `status`, `code` and the whole document in `problem` are for programs."""

    code_of: ClassVar[str | None] = None
    advice: ClassVar[str | None] = None

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = problem
        self.code = str(problem.get("code", status))
        #: What the server said, without our advice.
        self.words = _words(status, problem)
        super().__init__(f"{self.words}\n({self.advice})" if self.advice else self.words)


class BadRequest(Problem):
    pass


class Unauthenticated(Problem):
    advice = "pass key=... or set METATUNE_KEY; `metatune-server keys create` makes one on the server"


class Forbidden(Problem):
    advice = "ask for a key with the scope that the message names"


class NotFound(Problem):
    advice = "is the name right, and the key of the right project? client.studies() lists what this key sees"


class NoResultYet(NotFound):
    code_of = "no-result-yet"
    advice = "best needs one complete, feasible trial"


class TrialRemoved(NotFound):
    code_of = "trial-removed"
    advice = "somebody deleted it; its number is not used again"


class Conflict(Problem):
    pass


class LeaseLost(Conflict):
    code_of = "lease-lost"
    advice = (
        "another worker may hold this trial by now: drop the result, and next time send heartbeats "
        "(with study.trial() does) or ask with a longer lease_seconds"
    )


class StudyDiffers(Conflict):
    code_of = "study-differs"
    advice = "join it by leaving the differing fields out, or choose another name"


class StudyReplaced(Conflict):
    code_of = "study-replaced"
    advice = "the study was deleted and its name taken again: fetch it anew with client.study(name)"


class StudyClosed(Conflict):
    code_of = "study-closed"
    advice = "study.update(state='active') opens it again"


class TrialFinishedDifferently(Conflict):
    code_of = "trial-finished-differently"
    advice = "trial.correct(...) changes it if yours is the right one"


class ReportDiffers(Conflict):
    code_of = "report-differs"
    advice = "report each step once; a new attempt may report it again"


class Invalid(Problem):
    pass


class NotAvailableYet(Invalid):
    code_of = "not-available-yet"


class Unavailable(Problem):
    is_passing = True


class ServerFault(Problem):
    advice = "this is a fault of the server; its log holds the details"


FAMILIES: dict[int, type[Problem]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def problem_in(response: httpx.Response) -> Problem:
    """The error that an answer of 3xx, 4xx or 5xx means."""
    try:
        document = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        document = None
    if not isinstance(document, dict):  # a proxy's page, or not a metatune server at all
        document = {"title": response.reason_phrase, "detail": response.text[:200]}
    status = response.status_code
    family = FAMILIES.get(status, ServerFault if status >= 500 else BadRequest)
    leaves = {leaf.code_of: leaf for leaf in family.__subclasses__()}
    problem = leaves.get(document.get("code"), family)(status, document)
    problem.retry_after_seconds = _retry_after_seconds(response.headers.get("Retry-After", ""))
    return problem


def _retry_after_seconds(wish: str) -> float:
    """The header's wish, given in seconds or as a date; 0 without one."""
    if not wish:
        return 0.0
    try:
        return max(0.0, float(wish))
    except ValueError:
        import datetime  # rare, and a tenth of what this package takes to import
        import email.utils
    try:
        at = email.utils.parsedate_to_datetime(wish)
    except ValueError:
        return 0.0
    now = datetime.datetime.now(datetime.timezone.utc)
    return max(0.0, (at.replace(tzinfo=at.tzinfo or datetime.timezone.utc) - now).total_seconds())


def _words(status: int, problem: Mapping[str, Any]) -> str:
    lines = [str(problem.get("detail") or problem.get("title") or f"the server answered {status}")]
    lines += [f"  {e['pointer'] or '/'}: {e['detail']}" for e in problem.get("errors", ())]
    lines += [
        f"  {d['pointer']}: the study has {json.dumps(d['here'])}, you gave {json.dumps(d['given'])}"
        for d in problem.get("differs", ())
    ]
    return "\n".join(lines)
