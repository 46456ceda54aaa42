"""Two servers on one database: whatever was done through one, the other says too, for neither believes its memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.conftest import Api

SPACE = {"x": {"type": "float", "low": 0, "high": 1}, "n": {"type": "int", "low": 1, "high": 9}}
POINT = {"params": [{"x": 0.25, "n": 3}]}


@pytest.fixture
def replicas(database_url: str) -> Iterator[list[Api]]:
    settings = Settings(database=database_url, sweep_seconds=3600, speculate=False)
    with (
        TestClient(create_app(settings), base_url="http://127.0.0.1:8000") as left,
        TestClient(create_app(settings), base_url="http://127.0.0.1:8000") as right,
    ):
        yield [Api(left), Api(right)]


def said(api: Api) -> dict[str, Any]:
    """All that a server says of the study and its model."""
    found = {
        path: api.client.get(f"{api.base}{path}").json()
        for path in (
            "",
            "/trials?limit=1000",
            "/best",
            "/best?by=mean",
            "/pareto",
            "/importance",
            "/warnings",
            "/export",
        )
    }
    found["/predict"] = api.client.post(f"{api.base}/predict", json=POINT).json()
    return found


def test_what_one_server_did_the_other_knows_at_once(replicas: list[Api]) -> None:
    left, right = replicas
    left.create(space=SPACE, algorithm="gp", seed=3)
    for k in range(10):  # each asks and tells, and tells what the other asked for
        asking, telling = (left, right) if k % 2 else (right, left)
        trial = asking.one()
        assert trial["number"] == k + 1
        telling.tell(trial["number"], value=(trial["params"]["x"] - 0.3) ** 2, lease=trial["lease"]["token"])
        assert said(left) == said(right)
    for change in (
        lambda: right.call("PATCH", f"{right.base}/trials/2", {"value": -5.0}, status=200),
        lambda: left.remove(3),
        lambda: right.call("PATCH", f"{right.base}/space", {"n": {"high": 12}}, status=200),
        lambda: left.patch(description="changed", tags={"a": "b"}),
        lambda: right.add(params={"x": 0.125, "n": 11}, value=-9.0),
        lambda: left.patch(state="paused"),
    ):
        change()
        assert said(left) == said(right)
    assert left.get()["best"]["values"] == {"value": -9.0}
    assert right.ask()["reason"] == "paused"
    left.call("DELETE", left.base, status=204)
    right.get(status=404)
    right.call("POST", f"{right.base}/restore", status=200)
    assert said(left) == said(right)


def test_the_next_suggestion_does_not_depend_on_which_server_is_asked(replicas: list[Api]) -> None:
    """One has seen all of the study, the other nothing of it; the study's copy has the same seed and log."""
    left, right = replicas
    left.create(space=SPACE, algorithm="gp", seed=3)
    for _ in range(8):
        trial = left.one(deadline_seconds=60)
        left.tell(trial["number"], value=(trial["params"]["x"] - 0.3) ** 2 + trial["params"]["n"])
    left.call("POST", f"{left.base}/copy", {"name": "twin"}, status=201)
    here = left.one(deadline_seconds=60)
    right.study = "twin"
    assert right.one(deadline_seconds=60)["params"] == here["params"]
