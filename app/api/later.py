"""Routes whose modules are loaded after the server is ready.

Decision: a server that was killed is ready again when it can take asks and tells; what else it answers (searches,
learners, knowledge, keys …) is loaded right after that, while it serves.
Context: nearly all of a start is loading modules and building the models of their bodies, and these are a quarter.
Price: a request for one of them in the first second waits for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from anyio.to_thread import run_sync
from starlette.routing import BaseRoute, Match, NoMatchFound, Router
from starlette.types import Receive, Scope, Send

#: After the start, so that loading does not compete with whoever waits for the server to be ready.
SECONDS = 0.5


class Later(BaseRoute):
    """The last of a router's routes: takes what no other takes, puts the rest in its own place, and asks again."""

    def __init__(self, router: Router, rest: Callable[[], Sequence[BaseRoute]]) -> None:
        self.router = router
        self.rest = rest
        self._lock = threading.Lock()

    def load_soon(self) -> None:
        timer = threading.Timer(SECONDS, self.load)
        timer.daemon = True
        timer.start()

    def load(self) -> None:
        """In a thread; a second call waits for the first."""
        with self._lock:
            if self in self.router.routes:
                place = self.router.routes.index(self)
                self.router.routes[place : place + 1] = self.rest()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL if scope["type"] == "http" else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await run_sync(self.load)
        await self.router(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> NoReturn:
        raise NoMatchFound(name, path_params)
