"""How fast one key, or one address, may call: off unless a setting says a rate.

Decision: counted before anybody is looked up, by what the caller sent. Context: a flood of wrong keys must not reach
the database. A key is counted under a hash of the whole `Authorization`, which nobody else can send, so that nobody can
spend another's rate. Windows are fixed: at worst twice the rate passes within one window's length, and a count costs
one number. Price: in memory each process counts for itself, so that N processes together let N times the rate pass;
a Redis counts for all of them, and when it does not answer, calls pass.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from ipaddress import IPv6Address, ip_address, ip_network

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.storage import storage_from_string
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.middleware import header
from app.api.problems import problem

logger = logging.getLogger("metatune.pace")

#: Never refused: an orchestrator that hears 429 from a probe would kill the server.
PROBES = frozenset({"/healthz", "/readyz"})


class Paced:
    def __init__(self, app: ASGIApp, *, per_key: str, per_address: str, storage: str) -> None:
        self.app = app
        self.per_key = parse(per_key) if per_key else None
        self.per_address = parse(per_address) if per_address else None
        self.limiter = FixedWindowRateLimiter(_storage(storage))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PROBES:
            authorization = header(scope, b"authorization")
            for rate, what, who in (
                (self.per_address, "address", _address(scope)),
                (self.per_key, "key", authorization and hashlib.sha256(authorization.encode()).hexdigest()),
            ):
                if rate is not None and who and (seconds := await self._wait(rate, what, who)):
                    detail = f"one {what} may call {rate} here; wait {seconds} s"
                    refusal = problem(429, "too-many-requests", detail, headers={"Retry-After": str(seconds)})
                    await refusal(scope, receive, send)
                    return
        await self.app(scope, receive, send)

    async def _wait(self, rate: RateLimitItem, *who: str) -> int:
        """Counts a call; 0, or the seconds until there is room again."""
        try:
            if await self.limiter.hit(rate, *who):
                return 0
            window = await self.limiter.get_window_stats(rate, *who)
        except Exception:  # whoever shares the counts is away: better too many calls than none
            logger.warning("rates cannot be counted; the call passes", exc_info=True)
            return 0
        return max(1, math.ceil(window.reset_time - time.time()))


def _storage(where: str) -> Storage:
    if where == "memory":
        return MemoryStorage()
    storage: Storage = storage_from_string(f"async+{where}")  # type: ignore[assignment]
    return storage


def _address(scope: Scope) -> str | None:
    """The caller's; of IPv6 the network of 64 bits, since whoever has one address has all of them."""
    if not scope.get("client"):
        return None
    try:
        address = ip_address(scope["client"][0])
    except ValueError:
        return str(scope["client"][0])
    return str(ip_network((address, 64), strict=False) if isinstance(address, IPv6Address) else address)
