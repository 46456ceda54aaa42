"""Export, import, copy."""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Api

SPACE = {
    "x": {"type": "float", "low": 0, "high": 1},
    "k": {"type": "categorical", "choices": ["a", 1, True]},
    "d": {"type": "int", "low": 1, "high": 3, "when": {"k": ["a"]}},
}


def lived(api: Api) -> dict[str, Any]:
    """A study with every kind of trial; returns its export."""
    api.create(
        space=SPACE, algorithm="random", seed=3, description="d", tags={"t": "v"}, stop={"max_trials": 50},
        metafeatures={"n": 3}, pruning={"rule": "median"}, outcomes=[{"name": "mb", "at_most": 8}], max_retries=5,
        constraints=["x <= 0.99"],
    )  # fmt: skip
    api.ask(count=6, worker="w")
    api.report(1, step=1, value=0.5)
    api.report(1, step=2, value="nan")
    api.do("heartbeat", 1, checkpoint="s3://c", metadata={"a": [None, {"b": 1}]})
    api.tell(1, values={"value": 0.1 + 0.2, "mb": 4}, noise=0.5, cost=2, metadata={"m": 1})
    api.tell(2, values={"value": 1e-300, "mb": 9})
    api.tell(3, state="failed", reason="naïve ☃")
    api.tell(4, state="infeasible")
    api.report(5, step=1, value=3)
    api.tell(5, state="pruned")
    api.add(params={"x": 0.5})
    api.add(params={"x": 0.25, "k": 1}, values={"value": 7, "mb": 1})
    api.remove(2)
    api.call("PATCH", f"{api.base}/trials/1", {"cost": 3, "reason": "bill"}, status=200)
    api.call("PATCH", f"{api.base}/space", {"x": {"high": 0.9}}, status=200)
    return export(api)


def export(api: Api) -> dict[str, Any]:
    return api.call("GET", f"{api.base}/export", status=200)


def bring(api: Api, whole: Any, *, status: int = 201, query: str = "") -> dict[str, Any]:
    return api.call("POST", f"/v1/studies/import{query}", whole, status=status)


def test_an_export_imports_back_to_the_same_study(api: Api) -> None:
    whole = lived(api)
    assert whole["format"] == 1
    before = api.get()
    trials = api.call("GET", f"{api.base}/trials", status=200)["items"]
    api.call("DELETE", f"{api.base}?purge=true", status=204)
    study = bring(api, whole)
    assert study["uid"] == before["uid"]
    again = export(api)
    running = again["trials"][5]
    assert (running["number"], running["state"]) == (6, "waiting")
    whole["trials"][5]["state"] = "waiting"
    assert again == whole
    assert study["counts"] == before["counts"] | {"running": 0, "waiting": 2}
    after = api.call("GET", f"{api.base}/trials", status=200)["items"]
    assert [t for t in after if t["number"] != 6] == [t for t in trials if t["number"] != 6]
    assert api.trial(2, status=404)["code"] == "trial-removed"
    assert api.one()["number"] == 6


def test_an_imported_study_goes_on_as_the_first_would_have(api: Api) -> None:
    api.create(space=SPACE, algorithm="gp", seed=11, warm_start="off")  # or the second learns from the first
    for k in range(8):
        trial = api.one()
        api.tell(trial["number"], value=trial["params"]["x"] * (k % 3))
    bring(api, export(api), query="?name=twin")
    here = [api.one()["params"] for _ in range(3)]
    api.study = "twin"
    assert [api.one()["params"] for _ in range(3)] == here


def test_an_export_holds_no_tokens(api: Api) -> None:
    api.create()
    token = api.one()["lease"]["token"]
    assert token not in api.client.get(f"{api.base}/export").text


def test_an_import_under_a_taken_name_is_a_conflict_and_name_renames(api: Api) -> None:
    whole = lived(api)
    assert bring(api, whole, status=409)["code"] == "name-taken"
    twin = bring(api, whole, query="?name=twin")
    assert (twin["name"], twin["uid"] != whole["uid"]) == ("twin", True)
    assert twin["best"]["values"] == api.get()["best"]["values"]


def test_a_changed_document_under_the_old_uid_is_read_as_it_is(api: Api) -> None:
    api.create(space={"x": {"type": "float", "low": 0, "high": 1}})
    api.one()
    whole = export(api)
    api.call("DELETE", f"{api.base}?purge=true", status=204)
    whole["spaces"][0]["space"]["x"] |= {"low": 5, "high": 6}
    whole["trials"] = []
    bring(api, whole)
    assert api.get()["space"]["x"]["high"] == 6.0
    assert 5 <= api.one()["params"]["x"] <= 6


def change(whole: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(whole)
    place: Any = changed
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    for step in steps:
        place = place[step]
    place[last] = value
    return changed


BROKEN: list[tuple[str, Any]] = [
    ("format", 2),
    ("name", "-"),
    ("uid", "x"),
    ("state", "gone"),
    ("seed", -1),
    ("stop", {"max_trials": "many"}),
    ("stop", {"target": {"nothing": 1}}),
    ("objectives", []),
    ("objectives", [{"name": "value", "direction": "up"}]),
    ("objectives", [{"direction": "minimize"}]),
    ("outcomes", [{"name": "mb", "at_most": "x"}]),
    ("outcomes", [{"name": "mb"}]),
    ("algorithm", {}),
    ("algorithm", {"name": "magic"}),
    ("pruning", {"rule": "magic"}),
    ("spaces", []),
    ("spaces/0/space/x/low", 7),
    ("spaces/1/version", 1),
    ("space_version", 3),
    ("tags", {"t": 1}),
    ("tags", {"": "v"}),
    ("metafeatures", {"n": "x"}),
    ("paused_seconds", -1),
    ("created_at", "2026-01-01"),
    ("created_at", "0001-01-01T00:00:00+23:59"),
    ("trials/0/number", 3),
    ("trials/0/state", "done"),
    ("trials/0/values", None),
    ("trials/0/values", {"value": "nan"}),
    ("trials/0/origin", {}),
    ("trials/0/origin", {"source": "magic"}),
    ("trials/0/params", {"x": [1]}),
    ("trials/0/noise", -1),
    ("trials/0/reports/1/step", 1),
    ("trials/0/typo", 1),
    ("events/0/type", "x" * 33),
    ("events/0/state", "x" * 17),
    ("events/1/revision", 1),
    ("events/0/revision", 10**6),
    ("log/0/kind", "x" * 33),
    ("log/0/revision", 10**6),
]


def test_a_document_that_does_not_fit_together_is_refused_whole(api: Api) -> None:
    whole = lived(api)
    api.call("DELETE", f"{api.base}?purge=true", status=204)
    for path, value in BROKEN:
        response = api.client.post("/v1/studies/import", json=change(whole, path, value))
        assert response.status_code == 422, (path, value, response.text)
    for key in ("uid", "spaces", "trials", "events"):
        bring(api, {name: value for name, value in whole.items() if name != key}, status=422)
    assert api.call("GET", "/v1/studies", status=200)["items"] == []
    bring(api, whole)


def test_a_document_with_nan_tokens_is_refused(api: Api) -> None:
    whole = lived(api)
    for path in ("trials/0/metadata/m", "trials/0/params/x", "metafeatures/n", "log/0/before/cost", "paused_seconds"):
        text = json.dumps(change(whole, path, float("nan")))
        response = api.client.post(
            "/v1/studies/import?name=twin", content=text, headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 422, (path, response.text)


def test_a_copy_is_a_study_of_its_own(api: Api) -> None:
    whole = lived(api)
    twin = api.call("POST", f"{api.base}/copy", {"name": "twin"}, status=201)
    assert (twin["name"], twin["uid"] != whole["uid"]) == ("twin", True)
    assert twin["counts"]["complete"] == api.get()["counts"]["complete"]
    before = api.get()
    api.study = "twin"
    api.ask(count=3)
    api.study = "study"
    assert api.get() == before
    api.call("POST", f"{api.base}/copy", {"name": "twin"}, status=409)
    api.call("POST", f"{api.base}/copy", {"name": "-"}, status=422)
    api.call("POST", "/v1/studies/nobody/copy", {"name": "x"}, status=404)


def test_the_pause_of_a_copied_study_does_not_count(api: Api, store: Any) -> None:
    from tests.api.test_stopping import shift

    api.create(algorithm="random", stop={"max_seconds": 100})
    api.tell(api.one()["number"], value=1.0)
    api.patch(state="paused")
    shift(store, first_ask_at=500, paused_at=500)
    api.call("POST", f"{api.base}/copy", {"name": "twin"}, status=201)
    api.study = "twin"
    api.patch(state="active")
    assert len(api.ask()["trials"]) == 1


def test_leases_that_ran_out_are_counted_in_an_export(api: Api, age_leases: Callable[[], None]) -> None:
    api.create()
    api.one()
    age_leases()
    assert export(api)["trials"][0]["state"] == "waiting"


def test_csv_has_a_line_for_every_trial_with_params_and_values(api: Api) -> None:
    lived(api)
    response = api.client.get(f"{api.base}/export?format=csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [int(row["number"]) for row in rows] == [1, 3, 4, 5, 6, 7, 8]
    by_number = {int(row["number"]): row for row in rows}
    assert float(by_number[1]["values.value"]) == 0.1 + 0.2
    assert float(by_number[1]["params.x"]) == api.trial(1)["params"]["x"]
    assert by_number[8]["params.d"] == ""
    assert by_number[3]["reason"] == "naïve ☃"


def test_a_text_that_a_spreadsheet_would_run_is_quoted_in_csv(api: Api) -> None:
    api.create()
    api.one()
    api.tell(1, state="failed", reason="=cmd()")
    (row,) = csv.DictReader(io.StringIO(api.client.get(f"{api.base}/export?format=csv").text))
    assert row["reason"] == "'=cmd()"


@pytest.mark.parametrize(("kind", "code"), [("parquet", "not-available-yet"), ("xml", "invalid")])
def test_other_formats_are_refused(api: Api, kind: str, code: str) -> None:
    api.create()
    assert api.call("GET", f"{api.base}/export?format={kind}", status=422)["code"] == code
