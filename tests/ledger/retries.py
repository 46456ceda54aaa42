"""Does anything happen twice? `make retries N=5000` forces so many retries of every POST, and counts what is there.

Each call is spoiled several times and then sent once more, always under its Idempotency-Key and to whichever of the
servers. What spoils it: the connection is reset in the middle of the request; or when all of it was sent; or when the
first byte of the answer came; or the whole answer is thrown away; or the same call is on its way twice at once.

How much a call should leave behind is measured, not believed: of the same calls, sent once each, the rows of every
table are counted, with the revisions of studies. Whatever spoiled calls leave beyond that is a double effect. The
routes are the application's own, and one that has no recipe here is named. A folder keeps how far a run is.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import math
import random
import signal
import socket
import struct
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi.routing import APIRoute
from sqlalchemy import func, select
from sqlalchemy import table as table_of

from app.db import engine, jobs, keys
from app.db.migrate import migrate
from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Base, Study
from app.main import create_app
from app.settings import Settings
from app.worker.kinds import KINDS
from app.worker.unit import begin
from benchmarks.server import Server
from tests.ledger.campaign import ROOT, planted_command
from tests.ledger.chaos import table
from tests.ledger.client import NOT_NOW
from tests.ledger.cluster import Cluster

SPACE = {"x": {"type": "float", "low": 0, "high": 1}}
#: Attempts that are spoiled before the last one, and by what; each is as frequent as the others.
SPOILS = 4
SPOILED = ("half a request", "no answer read", "half an answer", "answer thrown away", "twice at once")
#: Seconds that a server may work before an answer is given up: from nothing to long enough.
PATIENCE = (0.0, 0.0, 0.002, 0.01, 0.03)
#: Calls between two counts, and calls sent once to learn what one leaves behind.
BATCH, MEASURED = 250, 20
THREADS = 4
#: Attempts until a call gives up.
ATTEMPTS = 100
#: Of answers, what may differ when they are given again: how long the lease is now, and a key, which is shown once.
VOLATILE = ("lease", "key", "note")
#: Rows that belong to a key, not to the call, and what a thread of its own learns from the trials when it comes to it.
NO_EFFECT = {"idempotency_keys", "lessons", "lesson_words"}
_RESET = struct.pack("ii", 1, 0)


# --- the calls ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """`body` is JSON, or with a boundary the bytes of a form."""

    path: str
    body: Any
    boundary: str = ""

    @property
    def content(self) -> bytes:
        return bytes(self.body) if self.boundary else json.dumps(self.body).encode()

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self.boundary}" if self.boundary else "application/json"


class Peace:
    """Makes what the calls need to be there, and is not disturbed."""

    def __init__(self, http: httpx.Client, store: Store, has_worker: bool) -> None:
        self.http, self.store, self.has_worker = http, store, has_worker
        self._exported: dict[str, Any] = {}
        self._learner = self._search = ""

    def study(self, n_trials: int = 0) -> str:
        """With so many trials running, none of which will be handed out again."""
        name = _fresh()
        self.call("PUT", f"/v1/studies/{name}", {"space": SPACE, "algorithm": "random"})
        if n_trials:
            self.call("POST", f"/v1/studies/{name}/ask", {"count": n_trials})
        return name

    def export(self) -> dict[str, Any]:
        if not self._exported:
            self._exported = self.call("GET", f"/v1/studies/{self.study(3)}/export")
        return self._exported

    def learner(self) -> str:
        """A trained one of three ways, over vectors of four numbers."""
        if not self._learner:
            self._learner = _fresh()
            self.send(_upload(DATASETS, "data", _examples()))
            self.call("POST", LEARNERS, _new_learner(self._learner))
            self.run("learner", self._learner)
        return self._learner

    def search(self) -> str:
        """A finished one, with a network."""
        if not self._search:
            self._search = _fresh()
            self.call("POST", SEARCHES, _new_search(self._search))
            self.run("search", self._search)
        return self._search

    def run(self, kind: str, name: str) -> None:
        """A job, to its end: by the worker, or here as one would."""
        if not self.has_worker:
            with self.store.read(EVERY_PROJECT) as session:
                owner = keys.project(session, keys.DEFAULT_PROJECT).id
                uid = jobs.get(session, jobs.Address(owner, kind, name)).job.uid
            unit = begin(self.store, "retries", uid, None, 2**28)
            assert unit is not None
            unit.finish(KINDS[kind].run(unit))
        while (state := self.call("GET", f"{FOLDERS[kind]}/{name}")["state"]) != "succeeded":
            assert state in ("queued", "running"), state
            time.sleep(0.2)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return self._answer(self.http.request(method, path, json=body))

    def send(self, call: Call) -> Any:
        """Once, and again only where nobody is there to answer yet."""
        for _ in range(ATTEMPTS):
            headers = {"Content-Type": call.content_type}
            response = self.http.post(call.path, content=call.content, headers=headers)
            if response.status_code != 503:
                break
            time.sleep(0.5)
        return self._answer(response)

    def _answer(self, response: httpx.Response) -> Any:
        response.raise_for_status()
        return response.json() if response.content else None


def _fresh() -> str:
    return f"n-{uuid.uuid4().hex}"


SEARCHES, TABLES = "/v1/nas/searches", "/v1/nas/tables"
DATASETS, LEARNERS, EVALUATIONS = "/v1/fewshot/datasets", "/v1/fewshot/learners", "/v1/fewshot/evaluations"
#: Of each kind of job.
FOLDERS = {"search": SEARCHES, "learner": LEARNERS, "evaluation": EVALUATIONS}


def _upload(path: str, name: str, content: bytes) -> Call:
    edge = "edge-" + uuid.uuid4().hex
    parts = [b'"name"\r\n\r\n' + name.encode(), b'"file"; filename="data.npz"\r\n\r\n' + content]
    form = b"".join(f"--{edge}\r\nContent-Disposition: form-data; name=".encode() + part + b"\r\n" for part in parts)
    return Call(path, form + f"--{edge}--\r\n".encode(), edge)


def _npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _examples() -> bytes:
    """Twelve classes of eight examples."""
    centres = np.random.default_rng(0).standard_normal((12, 1, 4))
    x = centres + 0.1 * np.random.default_rng(1).standard_normal((12, 8, 4))
    return _npz(x=x.reshape(-1, 4).astype(np.float32), y=np.repeat(np.arange(12), 8))


def _cells() -> bytes:
    """A table of all cells of three nodes."""
    X = np.array(list(itertools.product(range(4), repeat=3)))
    return _npz(X=X, y=0.01 * X.sum(axis=1), parameters=100.0 + X.sum(axis=1))


def _new_learner(name: str) -> dict[str, Any]:
    small = {"width": 8, "training_ways": 3, "training_shots": 1, "training_queries": 2, "tasks_per_update": 1}
    whole = {"name": name, "method": "prototypical", "dataset": "data", "ways": 3, "episodes": 4, "options": small}
    return whole


def _new_search(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "space": {"type": "mlp", "max_depth": 1, "widths": [4, 8], "activations": ["relu"]},
        "strategy": {"name": "random"},
        "evaluator": {"name": "train", "dataset": "digits", "epochs": 1},
        "budget": {"evaluations": 1},
    }


#: Makes so many calls of a route that each do something new.
Recipe = Callable[[Peace, int], list[Call]]


def _anywhere(path: str, body: Callable[[], Any]) -> Recipe:
    return lambda there, n: [Call(path.format(fresh=_fresh()), body()) for _ in range(n)]


def _on_a_study(verb: str, body: Callable[[], Any]) -> Recipe:
    def recipe(there: Peace, n: int) -> list[Call]:
        name = there.study()
        return [Call(f"/v1/studies/{name}/{verb}", body()) for _ in range(n)]

    return recipe


def _on_trials(verb: str, body: Callable[[int], Any]) -> Recipe:
    """Each on a running trial of its own."""

    def recipe(there: Peace, n: int) -> list[Call]:
        name = there.study(n)
        return [Call(f"/v1/studies/{name}/{verb.format(number=k)}", body(k)) for k in range(1, n + 1)]

    return recipe


def _retried(there: Peace, n: int) -> list[Call]:
    name = there.study(n)
    failed = [{"number": number, "state": "failed"} for number in range(1, n + 1)]
    there.call("POST", f"/v1/studies/{name}/tell", {"results": failed})
    return [Call(f"/v1/studies/{name}/trials/{number}/retry", {}) for number in range(1, n + 1)]


def _restored(there: Peace, n: int) -> list[Call]:
    names = [there.study() for _ in range(n)]
    for name in names:
        there.call("DELETE", f"/v1/studies/{name}")
    return [Call(f"/v1/studies/{name}/restore", {}) for name in names]


def _imported(there: Peace, n: int) -> list[Call]:
    return [Call(f"/v1/studies/import?name={_fresh()}", there.export()) for _ in range(n)]


def _taught(there: Peace, n: int) -> list[Call]:
    """Lessons of studies elsewhere, each of another name."""
    lesson = {
        "space": SPACE,
        "configurations": [{"x": 0.5}],
        "scores": [0.0],
        "eligible": [True],
        "theta": [0.0, 0.0, -5.0, 0.0],
    }
    objectives = [{"name": "value", "direction": "minimize", "lesson": lesson}]
    entry = {"description": "", "tags": {}, "metafeatures": {}, "n_results": 1, "space": SPACE}
    whole = {"format": 1, "kind": "metatune-knowledge"}
    return [
        Call("/v1/knowledge/import", whole | {"entries": [entry | {"name": _fresh(), "objectives": objectives}]})
        for _ in range(n)
    ]


def _predicted(there: Peace, n: int) -> list[Call]:
    name = there.study(3)
    results = [{"number": number, "value": number} for number in (1, 2, 3)]
    there.call("POST", f"/v1/studies/{name}/tell", {"results": results})
    return [Call(f"/v1/studies/{name}/predict", {"params": [{"x": k / n}]}) for k in range(n)]


def _uploads(path: str, content: Callable[[], bytes]) -> Recipe:
    return lambda there, n: [_upload(path, _fresh(), content()) for _ in range(n)]


def _learners(there: Peace, n: int) -> list[Call]:
    there.learner()
    return [Call(LEARNERS, _new_learner(_fresh())) for _ in range(n)]


def _evaluations(there: Peace, n: int) -> list[Call]:
    path = f"{LEARNERS}/{there.learner()}/evaluate"
    return [Call(path, {"name": _fresh(), "dataset": "data", "ways": 3, "shots": 2}) for _ in range(n)]


def _cancelled(folder: str, make: Recipe) -> Recipe:
    def recipe(there: Peace, n: int) -> list[Call]:
        return [Call(f"{folder}/{there.send(call)['name']}/cancel", {}) for call in make(there, n)]

    return recipe


_SUPPORT = {"x": [[0.0, 0.0, 0.0, float(k)] for k in range(3)], "y": ["a", "b", "c"]}
_QUERY = {"x": [[0.0, 0.0, 0.0, 1.0]]}


def _adapted(there: Peace, n: int) -> list[Call]:
    path = f"{LEARNERS}/{there.learner()}/adapt"
    return [Call(path, {"support": _SUPPORT, "query": _QUERY}) for _ in range(n)]


def _asked(there: Peace, n: int) -> list[Call]:
    path = f"{LEARNERS}/{there.learner()}/adaptations/{_fresh()}"
    there.call("PUT", path, {"support": _SUPPORT})
    return [Call(f"{path}/predict", {"query": _QUERY}) for _ in range(n)]


def _asked_network(there: Peace, n: int) -> list[Call]:
    return [Call(f"{SEARCHES}/{there.search()}/predict", {"x": [[0.0] * 64]}) for _ in range(n)]


_searches = _anywhere(SEARCHES, lambda: _new_search(_fresh()))
RECIPES: dict[str, Recipe] = {
    SEARCHES: _searches,
    SEARCHES + "/{name}/cancel": _cancelled(SEARCHES, _searches),
    TABLES: _uploads(TABLES, _cells),
    DATASETS: _uploads(DATASETS, _examples),
    LEARNERS: _learners,
    LEARNERS + "/{name}/cancel": _cancelled(LEARNERS, _learners),
    LEARNERS + "/{name}/evaluate": _evaluations,
    EVALUATIONS + "/{name}/cancel": _cancelled(EVALUATIONS, _evaluations),
    "/v1/recommend": _anywhere("/v1/recommend", lambda: {"space": SPACE}),
    "/v1/knowledge/import": _taught,
    "/v1/keys": _anywhere("/v1/keys", lambda: {"scopes": ["read"]}),
    "/v1/projects": _anywhere("/v1/projects", lambda: {"name": _fresh()}),
    "/v1/studies": _anywhere("/v1/studies", lambda: {"space": SPACE, "algorithm": "random"}),
    "/v1/studies/import": _imported,
    "/v1/studies/{study}/restore": _restored,
    "/v1/studies/{study}/copy": _on_a_study("copy", lambda: {"name": _fresh()}),
    "/v1/studies/{study}/predict": _predicted,
    "/v1/studies/{study}/ask": _on_a_study("ask", lambda: {"count": 2}),
    "/v1/studies/{study}/tell": _on_trials("tell", lambda k: {"results": [{"number": k, "value": 1.0 / k}]}),
    "/v1/studies/{study}/trials": _on_a_study("trials", lambda: {"params": {"x": 0.5}}),
    "/v1/studies/{study}/trials/{number}/tell": _on_trials("trials/{number}/tell", lambda k: {"value": 1.0 / k}),
    "/v1/studies/{study}/trials/{number}/report": _on_trials(
        "trials/{number}/report", lambda k: {"step": 1, "value": 1.0 / k}
    ),
    "/v1/studies/{study}/trials/{number}/heartbeat": _on_trials("trials/{number}/heartbeat", lambda _: {}),
    "/v1/studies/{study}/trials/{number}/stop": _on_trials("trials/{number}/stop", lambda _: {}),
    "/v1/studies/{study}/trials/{number}/release": _on_trials("trials/{number}/release", lambda _: {}),
    "/v1/studies/{study}/trials/{number}/retry": _retried,
}


#: What only a worker answers.
ASKED: dict[str, Recipe] = {
    SEARCHES + "/{name}/predict": _asked_network,
    LEARNERS + "/{name}/adapt": _adapted,
    LEARNERS + "/{name}/adaptations/{adaptation}/predict": _asked,
}


def posts() -> list[str]:
    """The templates of every POST that the application has."""
    routes = create_app(Settings(database="sqlite:///unused.db")).routes
    return [route.path for route in routes if isinstance(route, APIRoute) and "POST" in route.methods]


# --- one call, spoiled and sent again -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any

    @property
    def comparable(self) -> Any:
        if not isinstance(self.body, dict):
            return self.body
        return {name: value for name, value in self.body.items() if name not in VOLATILE}


def message(call: Call, key: str, token: str) -> bytes:
    body = call.content
    lines = [f"POST {call.path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", "Connection: close"]
    lines += [f"Content-Type: {call.content_type}", f"Content-Length: {len(body)}", f"Idempotency-Key: {key}", "", ""]
    return "\r\n".join(lines).encode() + body


def read(connection: socket.socket) -> Answer | None:
    try:
        response = HTTPResponse(connection)
        response.begin()
        said = response.read()
        return Answer(response.status, json.loads(said) if said else None)
    except (OSError, HTTPException):
        return None


def send(port: int, said: bytes) -> Answer | None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(said)
        return read(connection)


def spoil(how: str, port: int, said: bytes, rng: random.Random) -> list[Answer]:
    """One attempt; returns the answers that were read whole."""
    if how == "answer thrown away":
        return [answer for answer in [send(port, said)] if answer]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        if how == "half a request":
            connection.sendall(said[: rng.randrange(len(said))])
        else:
            connection.sendall(said)
        if how == "twice at once":
            return [answer for answer in [send(port, said), read(connection)] if answer]
        if how == "half an answer":
            connection.recv(1)
        else:
            time.sleep(rng.choice(PATIENCE))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return []


@dataclass
class Tally:
    """Of one route, on disk after every batch."""

    calls: int = 0
    #: Sent again, whatever the attempts before had become.
    retries: int = 0
    #: Attempts, by what spoiled them.
    spoiled: dict[str, int] = field(default_factory=dict)
    #: Rows and revisions that should not be there, and that should.
    double: int = 0
    missing: int = 0
    #: Answers that differ from the first that was read.
    different: int = 0
    #: Calls that were refused for good, and one of these answers.
    refused: int = 0
    example: str = ""

    def note(self, hows: Sequence[str], sent: int, answers: Sequence[Answer]) -> None:
        self.calls += 1
        self.retries += sent - 1
        for how in hows:
            self.spoiled[how] = self.spoiled.get(how, 0) + 1
        good = [answer.comparable for answer in answers if 200 <= answer.status < 300]
        if not answers or not 200 <= answers[-1].status < 300:
            self.refused += 1
            self.example = repr(answers[-1:])[:500]
        elif any(answer != good[0] for answer in good):
            self.different += 1
            self.example = repr(good)[:500]


def once(ports: Sequence[int], call: Call, token: str, key: str) -> tuple[list[str], int, list[Answer]]:
    """Spoiled, and sent again until it is answered: by what, how often it was sent, and what was read of answers."""
    rng = random.Random(key)
    hows, said = rng.choices(SPOILED, k=SPOILS), message(call, key, token)
    answers = [answer for how in hows for answer in spoil(how, rng.choice(ports), said, rng)]
    sent = SPOILS + hows.count("twice at once")
    for _ in range(ATTEMPTS):
        sent += 1
        answer = send(rng.choice(ports), said)
        if answer is not None and answer.status not in NOT_NOW:
            return hows, sent, [one for one in answers if one.status not in NOT_NOW] + [answer]
        time.sleep(0.05)
    return hows, sent, []


# --- all of them --------------------------------------------------------------------------------------------------


def leavings(store: Store) -> Counter[str]:
    """How much of everything there is."""
    tables = [table for table in Base.metadata.sorted_tables if table.name not in NO_EFFECT]
    with store.read(EVERY_PROJECT) as session:
        found = {table.name: session.execute(select(func.count()).select_from(table)).scalar_one() for table in tables}
        sums = session.execute(select(func.sum(Study.revision), func.sum(Study.next_number))).one()
        entries = table_of("workflow_status", schema=None if store.is_sqlite else engine.SCHEMA)
        queued = session.execute(select(func.count()).select_from(entries)).scalar_one()
    return Counter(found | {"revisions": int(sums[0] or 0), "numbers": int(sums[1] or 0), "queued": queued})


@dataclass
class Site:
    folder: Path
    servers: Sequence[Server]
    store: Store
    token: str
    has_worker: bool

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    def peace(self) -> httpx.Client:
        return httpx.Client(base_url=self.servers[0].url, timeout=60, headers={"Authorization": f"Bearer {self.token}"})


@contextmanager
def site(folder: Path, kind: str, *bugs: str, roles: str = "api") -> Iterator[Site]:
    """One server on SQLite, or two on PostgreSQL, and a key that may do everything."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        url = f"sqlite:///{folder / 'metatune.db'}"
        if kind == "postgresql":
            cluster = stack.enter_context(Cluster(folder / "postgresql"))
            cluster.create("retries")
            url = cluster.url("retries")
        store = Store(url)
        stack.callback(store.dispose)
        migrate(store)
        with store.write(EVERY_PROJECT) as session:
            owner = keys.project(session, keys.DEFAULT_PROJECT).id
            _, token = keys.create(session, owner, keys.SCOPES, by="retries", is_instance=True)
        command = planted_command(*bugs)
        servers = [
            stack.enter_context(Server(folder, database=url, command=command, roles=roles))
            for _ in range(1 if store.is_sqlite else 2)
        ]
        yield Site(folder, servers, store, token, roles != "api")


def force(site: Site, route: str, n: int, until: float | None = None) -> Tally:
    """At least so many retries of a route, in batches; goes on where an earlier run stopped."""
    kept = site.folder / f"{route.strip('/').replace('/', '.')}.json"
    tally = Tally(**json.loads(kept.read_text())) if kept.exists() else Tally()
    with site.peace() as http, ThreadPoolExecutor(THREADS) as pool:
        there = Peace(http, site.store, site.has_worker)
        recipe = (RECIPES | ASKED)[route]
        is_due = tally.retries < n and (until is None or time.monotonic() < until)
        expected = _measure(site, there, recipe) if is_due else Counter()
        while tally.retries < n and (until is None or time.monotonic() < until):
            calls = recipe(there, min(BATCH, math.ceil((n - tally.retries) / SPOILS)))
            before = leavings(site.store)
            sent = [pool.submit(once, site.ports, call, site.token, _fresh()) for call in calls]
            for one in sent:
                tally.note(*one.result())
            after = leavings(site.store)
            for name in set(before) | set(after):
                beyond = after[name] - before[name] - expected[name] * len(calls) // MEASURED
                tally.double += max(beyond, 0)
                tally.missing += max(-beyond, 0)
            kept.write_text(json.dumps(asdict(tally)))
    return tally


def _measure(site: Site, there: Peace, recipe: Recipe) -> Counter[str]:
    """What so many calls leave behind that are sent once."""
    calls = recipe(there, MEASURED)
    before = leavings(site.store)
    for call in calls:
        there.send(call)
    found = Counter({name: count - before[name] for name, count in leavings(site.store).items()})
    odd = {name: count for name, count in found.items() if count % MEASURED}
    assert not odd, f"{calls[0].path}: {MEASURED} equal calls left {odd}"
    return found


def rows(tallies: Mapping[str, Tally]) -> Iterator[list[str]]:
    for route, tally in tallies.items():
        figures = (tally.calls, tally.retries, tally.double, tally.missing, tally.different, tally.refused)
        yield [f"`{route}`", *map(str, figures)]
    sums = [sum(getattr(tally, name) for tally in tallies.values()) for name in FIGURES]
    yield ["**together**", *map(str, sums)]


FIGURES = ("calls", "retries", "double", "missing", "different", "refused")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=5000, help="retries of each POST")
    parser.add_argument("--kind", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "retries")
    parser.add_argument("--seconds", type=float, help="stop after so long, to be called again")
    parser.add_argument("--routes", nargs="*", default=sorted(RECIPES | ASKED), help="these alone")
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):  # leave no server behind that holds the database
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    until = None if given.seconds is None else time.monotonic() + given.seconds
    with site(given.folder / given.kind, given.kind) as product:
        found = {route: force(product, route, given.n, until) for route in RECIPES if route in given.routes}
    with site(given.folder / f"asked-{given.kind}", given.kind, roles="both") as product:
        found |= {route: force(product, route, given.n, until) for route in ASKED if route in given.routes}
    is_done = all(tally.retries >= given.n for tally in found.values())
    control: dict[str, Tally] = {}
    if is_done:
        with site(given.folder / f"control-{given.kind}", given.kind, "forgotten-keys") as planted:
            control = {route: force(planted, route, min(given.n, BATCH)) for route in RECIPES}
    for name, tallies in (("", found), ("planted: idempotency keys forgotten", control)):
        print(f"{name}\n{table(FIGURES, rows(tallies))}\n")
    spoiled = sum((Counter(tally.spoiled) for tally in found.values()), Counter[str]())
    print("spoiled by: " + ", ".join(f"{how} {count}" for how, count in spoiled.items()))
    for route, tally in found.items():
        if tally.example:
            print(f"{route}: {tally.example}", file=sys.stderr)
    is_well = not any(tally.double or tally.missing or tally.different or tally.refused for tally in found.values())
    sees = any(tally.double for tally in control.values())
    sys.exit(0 if is_done and is_well and sees else 1)


if __name__ == "__main__":
    main()
