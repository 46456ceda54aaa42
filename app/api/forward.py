"""From an API process to a worker, for calls that only a worker answers.

Decision: plain `http.client`, one connection a call. Context: such a call computes for milliseconds to seconds, and the
slim API process has no client for HTTP otherwise. The caller's key goes along: the worker looks it up by itself.
"""

from __future__ import annotations

import http.client
import logging
from urllib.parse import urlsplit

from fastapi import Request, Response

from app.db import workers
from app.db.session import EVERY_PROJECT, Store
from app.errors import NoWorker

logger = logging.getLogger("metatune.forward")

#: A worker that does not take the call in this time is taken for gone; then, how long its answer may take.
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 120.0
#: Of the caller's headers, those that a worker reads.
PASSED = ("authorization", "content-type", "accept", "x-request-id", "traceparent")


def forward(request: Request, store: Store, body: bytes) -> Response:
    """The answer of the first live worker that takes the call.  Raises: NoWorker."""
    with store.read(EVERY_PROJECT) as session:
        addresses = [one.address for one in workers.alive(session, request.app.state.settings.worker_seconds)]
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    headers = {name: request.headers[name] for name in PASSED if name in request.headers}
    for address in addresses:
        try:
            return _send(address, request.method, path, headers, body)
        except OSError:
            logger.warning("a worker does not answer", extra={"worker": address})
    raise NoWorker(
        "this takes a process with the worker role, and none is alive; start one: metatune-server serve --roles worker",
        retry_after_seconds=5,
    )


def _send(address: str, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
    """Raises: OSError, if the call did not reach the worker, or its answer not us."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=CONNECT_SECONDS)
    try:
        connection.connect()
        connection.sock.settimeout(ANSWER_SECONDS)
        connection.request(method, path, body, {**headers, "Host": "localhost"})  # it answers to its own name only
        answer = connection.getresponse()
        kept = {name: value for name in ("Retry-After", "WWW-Authenticate") if (value := answer.getheader(name))}
        return Response(answer.read(), answer.status, headers=kept, media_type=answer.getheader("Content-Type"))
    except http.client.HTTPException as problem:
        raise ConnectionError(str(problem)) from problem
    finally:
        connection.close()
