"""How much one caller may send, keep and ask for, and what is said beyond that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from app.cli import main
from app.main import create_app
from app.settings import Settings
from tests.conftest import Api

UNIT = {"x": {"type": "float", "low": 0, "high": 1}}


@contextmanager
def limited(database_url: str, **settings: Any) -> Iterator[Api]:
    app = create_app(Settings(database=database_url, sweep_seconds=3600, speculate=False, **settings))
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield Api(client)


def test_json_with_too_many_values_is_refused_before_it_is_built(database_url: str) -> None:
    with limited(database_url, max_json_values=1000) as api:
        for wide in ([[]] * 1000, [0] * 1001, {str(k): 0 for k in range(1001)}, [{}] * 1000):
            answer = api.call("PUT", api.base, {"space": UNIT, "tags": {"a": wide}}, status=422)
            assert answer["code"] == "too-wide"
            assert "1000 values" in answer["detail"]
        api.create(description="a, [comma, {" * 50)


def test_a_study_takes_so_many_trials_and_the_rest_of_its_life_goes_on(database_url: str) -> None:
    with limited(database_url, max_trials_per_study=3) as api:
        api.create(algorithm="random")
        api.add(params={"x": 0.5})
        assert [trial["number"] for trial in api.ask(count=5)["trials"]] == [1, 2, 3]
        waits = api.ask()
        assert (waits["done"], waits["reason"]) == (False, "waiting-for-running")
        for number in (1, 2, 3):
            api.tell(number, value=number)
        over = api.ask()
        assert (over["trials"], over["done"], over["reason"]) == ([], True, "study-full")
        refused = api.add(409, params={"x": 0.1})
        assert refused["code"] == "limit-reached"
        assert "METATUNE_MAX_TRIALS_PER_STUDY" in refused["detail"]
        assert api.get()["counts"]["complete"] == 3


def test_a_study_that_is_brought_along_has_no_more_trials_than_one_that_grew_here(
    client: TestClient, database_url: str
) -> None:
    api = Api(client)
    api.create(algorithm="random")
    api.ask(count=4)
    exported = api.call("GET", f"{api.base}/export", status=200)
    with limited(database_url, max_trials_per_study=3) as small:
        refused = small.call("POST", "/v1/studies/import?name=other", exported, status=409)
        assert refused["code"] == "limit-reached"
        assert small.call("GET", "/v1/studies/other", status=404)["code"] == "study-not-found"


def test_a_project_takes_so_many_studies(database_url: str) -> None:
    with limited(database_url, max_studies_per_project=2) as api:
        for name in ("a", "b"):
            api.call("PUT", f"/v1/studies/{name}", {"space": UNIT}, status=201)
        refused = api.call("PUT", "/v1/studies/c", {"space": UNIT}, status=409)
        assert refused["code"] == "limit-reached"
        api.call("PUT", "/v1/studies/a", {"space": UNIT}, status=200)
        api.call("DELETE", "/v1/studies/a?purge=true", status=204)
        api.call("PUT", "/v1/studies/c", {"space": UNIT}, status=201)


def test_me_names_every_limit(database_url: str) -> None:
    with limited(database_url, rate_per_key="600/minute", max_trials_per_study=7) as api:
        assert api.call("GET", "/v1/me", status=200)["limits"] == {
            "max_body_bytes": 16 * 2**20,
            "max_json_depth": 64,
            "max_json_values": 1_000_000,
            "trials_per_call": 10_000,
            "studies_per_project": 100_000,
            "trials_per_study": 7,
            "parameters_per_space": 1000,
            "rate_per_key": "600/minute",
            "rate_per_address": None,
        }


def test_nobody_is_slowed_down_unless_a_rate_is_set(client: TestClient) -> None:
    assert {client.get("/v1/me").status_code for _ in range(200)} == {200}


def test_an_address_beyond_its_rate_is_429_with_the_seconds_to_wait_and_probes_never_are(database_url: str) -> None:
    with limited(database_url, rate_per_address="5/day") as api:
        for _ in range(5):
            api.call("GET", "/v1/me", status=200)
        response = api.client.get("/v1/me")
        assert response.status_code == 429
        assert response.headers["content-type"] == "application/problem+json"
        assert 1 <= int(response.headers["retry-after"]) <= 86_400
        assert response.json()["code"] == "too-many-requests"
        assert "5 per 1 day" in response.json()["detail"]
        for probe in ("/healthz", "/readyz"):
            api.call("GET", probe, status=200)


def test_one_key_beyond_its_rate_leaves_the_others_theirs(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = []
    for _ in range(2):
        main(["keys", "create", "--database", database_url])
        keys.append({"Authorization": f"Bearer {capsys.readouterr().out.splitlines()[-1]}"})
    with limited(database_url, rate_per_key="3/day") as api:
        statuses = [api.client.get("/v1/me", headers=keys[0]).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        forged = {"Authorization": keys[1]["Authorization"][:-1] + "~"}  # another's id does not spend its rate
        assert {api.client.get("/v1/me", headers=forged).status_code for _ in range(3)} == {401}
        assert api.client.get("/v1/me", headers=keys[1]).status_code == 200


def test_calls_pass_while_the_counts_cannot_be_reached(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from limits.aio.storage import MemoryStorage

    async def away(*_: object, **__: object) -> int:
        raise ConnectionError

    monkeypatch.setattr(MemoryStorage, "incr", away)
    with limited(database_url, rate_per_address="1/day") as api:
        assert {api.client.get("/v1/me").status_code for _ in range(3)} == {200}


@pytest.mark.parametrize(("rate"), ["fast", "0/minute", "5 per year", "-1/second", "1/fortnight"])
def test_a_rate_that_cannot_be_read_is_refused_at_the_start(rate: str) -> None:
    with pytest.raises(ValidationError, match="rate_per_key"):
        Settings.from_environment({"METATUNE_RATE_PER_KEY": rate})
