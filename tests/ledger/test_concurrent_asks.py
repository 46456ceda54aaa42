"""Thirty-two askers at once on one study, over a real socket: nothing is handed out twice, and no number is skipped."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.server import Server

pytestmark = pytest.mark.slow

ASKERS = 32
UNIT = {"type": "float", "low": 0.0, "high": 1.0}
SMALL = {
    "i": {"type": "int", "low": 1, "high": 5},
    "kernel": {"type": "categorical", "choices": ["rbf", "poly", "sigmoid"]},
    "shrinking": {"type": "bool"},
    "degree": {"type": "int", "low": 2, "high": 4, "when": {"kernel": ["poly"]}},
}
#: rbf and sigmoid with 5 · 2 configurations each, poly with 5 · 2 · 3.
SMALL_SIZE = 50


@pytest.fixture(
    scope="module", params=[("sqlite", 1), ("sqlite", 2), ("postgresql", 2)], ids=lambda p: f"{p[0]}-{p[1]}"
)
def http(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server on that database with so many workers."""
    kind, workers = request.param
    folder: Path = tmp_path_factory.mktemp("askers")
    database = None
    if kind == "postgresql":
        database = request.getfixturevalue("migrated_postgresql")()
    limits = httpx.Limits(max_connections=ASKERS, max_keepalive_connections=ASKERS)
    with (
        Server(folder, database=database, workers=workers) as server,
        httpx.Client(base_url=server.url, timeout=120.0, limits=limits) as client,
    ):
        yield client


def create(http: httpx.Client, name: str, **definition: Any) -> None:
    http.put(f"/v1/studies/{name}", json=definition).raise_for_status()


def ask(http: httpx.Client, name: str, **body: Any) -> list[dict[str, Any]]:
    response = http.post(f"/v1/studies/{name}/ask", json=body)
    assert response.status_code == 200, response.text
    trials: list[dict[str, Any]] = response.json()["trials"]
    return trials


def ask_at_once(http: httpx.Client, name: str, n_asks: int, **body: Any) -> list[dict[str, Any]]:
    """All askers begin together and ask so many times each."""
    barrier = threading.Barrier(ASKERS)

    def asker(_: int) -> list[dict[str, Any]]:
        barrier.wait()
        return [trial for _ in range(n_asks) for trial in ask(http, name, **body)]

    with ThreadPoolExecutor(ASKERS) as pool:
        return list(itertools.chain.from_iterable(pool.map(asker, range(ASKERS))))


def assert_all_different(trials: list[dict[str, Any]], n_trials: int, *, first: int = 1) -> None:
    assert sorted(trial["number"] for trial in trials) == list(range(first, first + n_trials))
    assert len({json.dumps(trial["params"], sort_keys=True) for trial in trials}) == n_trials
    assert len({trial["lease"]["token"] for trial in trials}) == n_trials


def test_random_points_are_all_different(http: httpx.Client) -> None:
    create(http, "random", space={"x": UNIT, "y": UNIT}, algorithm="random")
    assert_all_different(ask_at_once(http, "random", 4), 4 * ASKERS)


def test_modelled_points_are_all_different(http: httpx.Client) -> None:
    create(http, "gp", space={"x": UNIT, "n": {"type": "int", "low": 1, "high": 9}}, algorithm="gp")
    results = [{"params": {"x": k / 20, "n": 1 + k % 9}, "value": (k / 20 - 0.3) ** 2} for k in range(20)]
    http.post("/v1/studies/gp/trials", json={"trials": results}).raise_for_status()
    assert_all_different(ask_at_once(http, "gp", 2), 2 * ASKERS, first=21)


@pytest.mark.parametrize("algorithm", ["random", "grid", "gp"])
def test_a_small_space_is_handed_out_whole_and_then_no_more(http: httpx.Client, algorithm: str) -> None:
    name = f"small-{algorithm}"
    create(http, name, space=SMALL, algorithm=algorithm)
    assert_all_different(ask_at_once(http, name, 3), SMALL_SIZE)
    assert ask(http, name) == []


def test_a_budget_is_the_studys_however_many_ask(http: httpx.Client) -> None:
    create(http, "budget", space={"x": UNIT}, algorithm="sobol", stop={"max_trials": 40})
    assert_all_different(ask_at_once(http, "budget", 3), 40)


def test_one_idempotency_key_for_two_studies_at_once_takes_effect_in_one(http: httpx.Client) -> None:
    names = ["left", "right"]
    for name in names:
        create(http, name, space={"x": UNIT}, algorithm="random")
    with ThreadPoolExecutor(len(names)) as pool:
        for key in range(20):
            headers = {"Idempotency-Key": f"both-{key}"}
            sent = [pool.submit(http.post, f"/v1/studies/{name}/ask", json={}, headers=headers) for name in names]
            statuses = sorted(one.result().status_code for one in sent)
            assert statuses in ([200, 422], [200, 503])
    assert sum(http.get(f"/v1/studies/{name}").json()["counts"]["running"] for name in names) == 20


def test_one_idempotency_key_many_times_at_once_takes_effect_once(http: httpx.Client) -> None:
    create(http, "once", space={"x": UNIT}, algorithm="random")
    with ThreadPoolExecutor(ASKERS) as pool:
        headers = {"Idempotency-Key": "once"}
        answers = list(
            pool.map(lambda _: http.post("/v1/studies/once/ask", json={"count": 2}, headers=headers), range(ASKERS))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert {tuple(trial["number"] for trial in answer.json()["trials"]) for answer in answers} == {(1, 2)}
    assert len({answer.json()["trials"][0]["lease"]["token"] for answer in answers}) == 1


def test_a_new_study_is_made_once_under_one_idempotency_key(http: httpx.Client) -> None:
    body = {"space": {"x": UNIT}, "algorithm": "random"}
    headers = {"Idempotency-Key": "new"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: http.post("/v1/studies", json=body, headers=headers), range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["uid"] for answer in answers}) == 1
    assert {answer.headers["location"] for answer in answers} == {f"/v1/studies/{answers[0].json()['name']}"}
