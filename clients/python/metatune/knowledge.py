"""What past studies know: the calls about it, built alike for both clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from metatune.wire import Request, creating

KNOWLEDGE = "/v1/knowledge"


def recommending(wish: Mapping[str, Any]) -> Request:
    """Makes nothing at the server, so it may be sent again."""
    return Request("POST", "/v1/recommend", json=wish)


def exporting(*, raw: bool) -> Request:
    return Request("GET", f"{KNOWLEDGE}/export", query={"raw": "true" if raw else "false"})


def importing(document: Mapping[str, Any]) -> Request:
    return creating(f"{KNOWLEDGE}/import", document)


def forgetting(study: str) -> Request:
    return Request("DELETE", f"{KNOWLEDGE}/{quote(study, safe='')}")
