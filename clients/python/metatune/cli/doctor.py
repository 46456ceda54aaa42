"""`metatune doctor`: is the server there, in time, of a version like ours, and not spoilt by a proxy?"""

from __future__ import annotations

import email.utils
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import httpx
import typer

import metatune
from metatune.cli.context import UNWELL, Address, AsJson, in_our_words, out
from metatune.client import address_of, key_of
from metatune.outbox import Outbox, default_folder
from metatune.wire import Request

#: Leases go by the server's clock alone; a clock that is further off confuses people and logs.
CLOCK_SECONDS = 5.0
SLOW_SECONDS = 2.0
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")

Verdict = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class Finding:
    what: str
    verdict: Verdict
    detail: str


def doctor(as_json: AsJson = False) -> None:
    """Look at the server, the clocks, the way between, versions, the key and results that wait."""
    out.is_json = as_json
    url = address_of(Address.url)
    findings = list(examine(url, key_of(Address.key)))
    marks = {"ok": "ok", "warning": "warning", "wrong": "WRONG"}
    rows = [(marks[finding.verdict], finding.what, finding.detail) for finding in findings]
    out.table([asdict(finding) for finding in findings], ("", "", ""), rows)
    if any(finding.verdict == "wrong" for finding in findings):
        raise typer.Exit(UNWELL)


def examine(url: str, key: str | None) -> Iterator[Finding]:
    yield from _packages()
    yield from _outbox(url)
    yield from _proxy(url)
    with httpx.Client(base_url=url, timeout=10.0) as http:
        started_at = time.time()
        try:
            health = http.get("/healthz")
        except (httpx.TransportError, httpx.InvalidURL) as fault:
            hint = "is it running there? METATUNE_URL or --url says where it is"
            yield Finding("server", "wrong", f"no answer from {url}: {fault}; {hint}")
            return
        seconds = time.time() - started_at
        yield from _server(http, url, health, seconds)
        yield from _clock(health, started_at, seconds)
    yield from _who(url, key)


def _packages() -> Iterator[Finding]:
    yield Finding("client", "ok", f"metatune {metatune.__version__}, Python {sys.version.split()[0]}")


def _outbox(url: str) -> Iterator[Finding]:
    box = Outbox(default_folder(), url.rstrip("/"))
    n = box.count()
    if n:
        yield Finding("results", "warning", f"{n} wait in {box.folder}; opening their study delivers them")
        return
    letter = box.keep("doctor", Request("POST", "/"))
    if letter.file is None:
        yield Finding("results", "wrong", f"{box.folder} cannot be written; set METATUNE_OUTBOX to a folder that can")
        return
    box.drop(letter)
    box.leave(letter)
    yield Finding("results", "ok", f"kept in {box.folder} while the server is away; none wait")


def _proxy(url: str) -> Iterator[Finding]:
    named = {name: os.environ[name] for name in PROXIES if os.environ.get(name)}
    if not named:
        yield Finding("proxy", "ok", "none is set in the environment")
        return
    host = httpx.URL(url).host
    exempt = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    is_exempt = exempt == "*" or any(host.endswith(one.strip().lstrip(".")) for one in exempt.split(",") if one.strip())
    verdict: Verdict = "ok" if is_exempt else "warning"
    way = f"NO_PROXY exempts {host}" if is_exempt else f"calls go through it; if that fails, add {host} to NO_PROXY"
    yield Finding("proxy", verdict, f"{', '.join(sorted(named))} is set; {way}")


def _server(http: httpx.Client, url: str, health: httpx.Response, seconds: float) -> Iterator[Finding]:
    welcome = _json(lambda: http.get("/"))
    if not health.is_success or welcome.get("name") != "metatune":
        yield Finding("server", "wrong", f"{url} answers {health.status_code}, but is no metatune server")
        return
    yield Finding("server", "ok" if seconds < SLOW_SECONDS else "warning", f"{url} answers in {seconds:.2f} s")
    ready = http.get("/readyz")
    if not ready.is_success:
        detail = _json(lambda: ready).get("detail", ready.status_code)
        yield Finding("database", "wrong", f"{detail}")
    else:
        yield Finding("database", "ok", "answers, with its migrations at head")
    via = health.headers.get("Via") or health.headers.get("Server")
    if via:
        yield Finding("way", "warning", f"a proxy answers for it ({via}); it must not buffer text/event-stream")
    there = str(welcome.get("version"))
    same = there.split(".")[:2] == metatune.__version__.split(".")[:2]
    yield Finding("version", "ok" if same else "warning", f"server {there}, client {metatune.__version__}")


def _clock(health: httpx.Response, started_at: float, seconds: float) -> Iterator[Finding]:
    try:
        there = email.utils.parsedate_to_datetime(health.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        yield Finding("clock", "warning", "the server does not say what time it is there")
        return
    off = there + 0.5 - (started_at + seconds / 2)  # the header has whole seconds
    verdict: Verdict = "ok" if abs(off) <= CLOCK_SECONDS else "warning"
    yield Finding("clock", verdict, f"the server's is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}")


def _who(url: str, key: str | None) -> Iterator[Finding]:
    try:
        with metatune.Client(url, key, retry_seconds=0) as client:
            me = client.me()
    except metatune.MetatuneError as fault:
        words = in_our_words(fault) if isinstance(fault, metatune.Problem) else str(fault)
        yield Finding("key", "wrong", words.replace("\n", " "))
        return
    scopes = ", ".join(me["scopes"])
    verdict: Verdict = "ok" if "write" in me["scopes"] else "warning"
    shown = "a key" if key else "no key, an open server"
    yield Finding("key", verdict, f"{shown}: project {me['project']}, may {scopes}")


def _json(call: Callable[[], httpx.Response]) -> dict[str, Any]:
    try:
        document = call().json()
    except (ValueError, httpx.TransportError):
        return {}
    return document if isinstance(document, dict) else {}
