"""Trials as a resource: lists, imports, what is best."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.conftest import Api

TWO = [{"name": "acc", "direction": "maximize"}, {"name": "ms", "direction": "minimize"}]


def pages(api: Api, query: str, limit: int) -> list[int]:
    seen: list[int] = []
    after = ""
    while True:
        page = api.call("GET", f"{api.base}/trials?limit={limit}&{query}{after}", status=200)
        assert len(page["items"]) <= limit
        seen += [trial["number"] for trial in page["items"]]
        if page["next"] is None:
            return seen
        after = f"&after={page['next']}"


@pytest.fixture
def told(api: Api) -> Api:
    """Trials 1-8 with ties, failures and one still running."""
    api.create(algorithm="random")
    api.ask(count=8)
    for number, value in ((1, 3.0), (2, 1.0), (3, "nan"), (4, 1.0), (5, 2.0), (6, 1.0), (8, 0.1 + 0.2)):
        api.tell(number, value=value)
    return api


def test_every_order_shows_every_trial_once_whatever_the_pages(told: Api) -> None:
    for limit in (1, 2, 3, 100):
        assert pages(told, "order_by=number", limit) == [1, 2, 3, 4, 5, 6, 7, 8]
        assert pages(told, "order_by=value", limit) == [8, 2, 4, 6, 5, 1, 3, 7]
        assert pages(told, "order_by=-value", limit) == [1, 5, 2, 4, 6, 8, 3, 7]


def test_the_order_by_number_stays_right_while_trials_arrive(told: Api) -> None:
    page = told.call("GET", f"{told.base}/trials?limit=5", status=200)
    told.ask(count=2)
    told.remove(2)
    rest = told.call("GET", f"{told.base}/trials?after={page['next']}", status=200)["items"]
    assert [trial["number"] for trial in rest] == [6, 7, 8, 9, 10]


def test_a_page_by_value_goes_on_after_its_last_trial_while_others_arrive(told: Api) -> None:
    page = told.call("GET", f"{told.base}/trials?order_by=value&limit=3", status=200)
    told.tell(7, value=0.0)
    told.add(params={"x": 0.5}, value=1.0)
    rest = told.call("GET", f"{told.base}/trials?order_by=value&after={page['next']}", status=200)["items"]
    assert [trial["number"] for trial in rest] == [6, 9, 5, 1, 3]


def test_trials_are_filtered_by_states(told: Api) -> None:
    assert pages(told, "state=running", 5) == [7]
    assert pages(told, "state=failed&state=running", 1) == [3, 7]
    assert pages(told, "state=complete&order_by=-value", 2) == [1, 5, 2, 4, 6, 8]
    for state in ("removed", "done", ""):
        told.call("GET", f"{told.base}/trials?state={state}", status=422)


FOREIGN = (
    "x",
    "WzFd",
    "WyJhIl0",
    "W251bGwsbnVsbF0",
    "WzEsMS41XQ",
    "WzFlOTk5LDFd",
    "WzEsMTAwMDAwMDAwMDAwMDAwMDAwMDAwMF0",
    "%00",
)


def test_a_foreign_cursor_is_422(told: Api) -> None:
    for order, after in itertools.product(("value", "-value"), FOREIGN):
        told.call("GET", f"{told.base}/trials?order_by={order}&after={after}", status=422)
    told.call("GET", f"{told.base}/trials?after=WzEwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMF0", status=422)


def test_several_objectives_have_no_order_by_value(api: Api) -> None:
    api.create(objectives=TWO)
    assert "pareto" in api.call("GET", f"{api.base}/trials?order_by=value", status=422)["detail"]


# --- bringing trials along --------------------------------------------------------------------------------------


def test_an_import_keeps_its_reports_noise_cost_metadata_and_times(api: Api) -> None:
    api.create()
    times = {
        f"{name}_at": f"2026-01-0{day}T12:00:00.000001Z"
        for day, name in enumerate(("created", "started", "finished"), 1)
    }
    trial = api.add(
        params={"x": 0.5}, value=0.25, noise=0.1, cost=3, metadata={"a": [1, "b"]},
        reports=[{"step": 1, "value": 0.5}, {"step": 2, "value": "inf"}], **times,
    )  # fmt: skip
    assert (trial["state"], trial["values"], trial["noise"], trial["cost"]) == ("complete", {"value": 0.25}, 0.1, 3.0)
    assert trial["origin"]["source"] == "imported"
    assert {name: trial[name] for name in times} == times
    assert [(r["step"], r["values"]) for r in api.trial(1)["reports"]] == [(1, {"value": 0.5}), (2, {"value": "inf"})]


def test_a_pruned_import_has_the_value_of_its_last_report(api: Api) -> None:
    api.create()
    reports = [{"step": 2, "value": 0.5}, {"step": 1, "value": 0.75}]
    assert api.add(params={"x": 0.5}, state="pruned", reports=reports)["values"] == {"value": 0.5}


def test_many_trials_are_added_all_or_none(api: Api) -> None:
    api.create()
    problem = api.add(trials=[{"params": {"x": 0.5}}, {"params": {"x": 2}, "value": 1.0}], status=422)
    assert problem["errors"][0]["pointer"] == "/trials/1/params/x"
    assert api.counts() == {}
    made = api.add(trials=[{"params": {"x": 0.5}}, {"params": {"x": 0.75}, "value": 1.0}])["trials"]
    assert [(trial["number"], trial["state"]) for trial in made] == [(1, "waiting"), (2, "complete")]


def test_params_outside_the_space_are_imported_only_when_asked_to_keep_them(api: Api) -> None:
    api.create()
    assert api.add(params={"x": 7}, value=-1.0, status=422)["code"] == "space-violation"
    kept = api.add(params={"x": 7, "other": "y"}, value=-1.0, outside="keep")
    assert kept["params"] == {"x": 7, "other": "y"}
    assert api.get()["best"] is None
    assert api.call("GET", f"{api.base}/best?all=true", status=200)["number"] == 1
    api.call("GET", f"{api.base}/best", status=404)


def test_non_finite_params_are_refused_also_when_kept_outside(api: Api) -> None:
    api.create()
    for x, outside in itertools.product(
        ("NaN", "Infinity", "1e400", "-1e400", "1" + "0" * 400, "1" + "0" * 18), ("refuse", "keep")
    ):
        body = f'{{"params": {{"x": {x}}}, "value": 1, "outside": "{outside}"}}'
        response = api.client.post(f"{api.base}/trials", content=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 422, (x, outside, response.text)
    assert api.counts() == {}


NONSENSE: list[dict[str, Any]] = [
    {"params": {"x": 0.5}, "noise": 1},
    {"params": {"x": 0.5}, "reports": [{"step": 1, "value": 1}]},
    {"params": {"x": 0.5}, "outside": "keep"},
    {"params": {"x": 0.5}, "value": 1, "reports": [{"step": 1, "value": 1}, {"step": 1, "value": 2}]},
    {"params": {"x": 0.5}, "state": "complete"},
    {"params": {"x": 0.5}, "state": "running"},
    {"params": {"x": 0.5}, "state": "failed", "value": 1},
    {"params": {"x": 0.5}, "value": 1, "values": {"value": 1}},
    {"params": {"x": 0.5}, "value": 1, "created_at": "yesterday"},
    {"params": {"x": 0.5}, "value": 1, "created_at": "2026-01-01T00:00:00"},
    {"params": {"x": 0.5}, "value": 1, "created_at": "0001-01-01T00:00:00+23:59"},
    {"params": {"x": 0.5}, "value": 1, "finished_at": 1700000000},
    {"params": {"x": 0.5}, "value": 1, "noise": -1},
    {"params": {"x": 0.5}, "value": 1, "cost": "inf"},
    {"params": {"x": True}},
    {"params": {"x": "0.5"}},
    {"params": {"x": None}},
    {"params": {"x": [0.5]}},
    {"params": {"y": 0.5}},
    {"trials": []},
    {"params": {"x": 0.5}, "trials": [{"params": {"x": 0.5}}]},
    {},
]


def test_a_trial_that_makes_no_sense_is_refused(api: Api) -> None:
    api.create()
    for body in NONSENSE:
        assert api.add(status=422, **body)["detail"], body
    assert api.counts() == {}


# --- the best ---------------------------------------------------------------------------------------------------


def test_best_is_the_best_feasible_trial_the_first_of_equals(told: Api) -> None:
    assert told.call("GET", f"{told.base}/best", status=200)["number"] == 8
    told.remove(8)
    assert told.call("GET", f"{told.base}/best", status=200)["number"] == 2
    assert told.get()["best"]["number"] == 2


def test_a_trial_that_breaks_an_outcome_is_complete_and_not_feasible(api: Api) -> None:
    api.create(outcomes=[{"name": "mb", "at_most": 512}, {"name": "acc", "at_least": 0.5}], algorithm="random")
    api.ask(count=3)
    assert api.tell(1, values={"value": 1, "mb": 513, "acc": 0.9})["feasible"] is False
    assert api.tell(2, values={"value": 2, "mb": 512, "acc": 0.5})["feasible"] is True
    assert api.tell(3, values={"value": 0, "mb": 1, "acc": 0.4})["feasible"] is False
    assert api.counts() == {"complete": 3}
    assert api.get()["best"]["number"] == 2


def test_best_without_a_result_is_404_and_with_several_objectives_points_to_the_front(api: Api) -> None:
    api.create()
    assert api.call("GET", f"{api.base}/best", status=404)["code"] == "no-result-yet"
    api.study = "two"
    api.create(objectives=TWO)
    assert "/pareto" in api.call("GET", f"{api.base}/best", status=422)["detail"]


def test_best_by_mean_is_not_fooled_by_one_lucky_noisy_trial(api: Api) -> None:
    api.create(space={"x": {"type": "float", "low": 0, "high": 1}})
    for k in range(15):
        x = k / 14
        api.add(params={"x": x}, value=(x - 0.3) ** 2, noise=0.001)
    api.add(params={"x": 0.95}, value=-0.5, noise=1.0)
    assert api.call("GET", f"{api.base}/best", status=200)["params"]["x"] == 0.95
    assert abs(api.call("GET", f"{api.base}/best?by=mean", status=200)["params"]["x"] - 0.3) < 0.1


def test_the_front_agrees_with_every_pairwise_comparison(api: Api) -> None:
    api.create(objectives=TWO, algorithm="random")
    points = {(k * 7 % 10 / 10, float(k * 3 % 11)) for k in range(20)}
    for acc, ms in sorted(points):
        api.add(params={"x": acc}, values={"acc": acc, "ms": ms})
    front = {p for p in points if not any(q != p and q[0] >= p[0] and q[1] <= p[1] for q in points)}
    answer = api.call("GET", f"{api.base}/pareto?reference=0,11", status=200)
    found = sorted((t["values"]["acc"], t["values"]["ms"]) for t in answer["trials"])
    assert found == sorted(front)
    assert answer["reference"] == {"acc": 0.0, "ms": 11.0}
    corners = [(0.0, 11.0), *sorted(front)]
    area = sum((b[0] - a[0]) * (11.0 - b[1]) for a, b in itertools.pairwise(corners))
    assert abs(answer["hypervolume"] - area) < 1e-9


def test_a_reference_that_does_not_go_with_the_objectives_is_422(api: Api) -> None:
    api.create(objectives=TWO)
    api.add(params={"x": 0.5}, values={"acc": 1, "ms": 1})
    for reference in ("1", "1,2,3", "a,b", "nan,1", "inf,1", ""):
        api.call("GET", f"{api.base}/pareto?reference={reference}", status=422)
