"""What `/metrics` counts, and the dashboard that draws it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app.api.operations import _forget_dead_processes
from tests.conftest import Api

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana" / "metatune.json"


def figures(client: TestClient) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Values by labels, by the name of the sample."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def value(client: TestClient, name: str, **labels: str) -> float:
    return figures(client).get(name, {}).get(frozenset(labels.items()), 0.0)


@pytest.fixture
def grown(api: Api) -> Callable[..., float]:
    """By how much a figure grew since it was asked for last: the process counts for every test in it."""
    before: dict[tuple[str, frozenset[tuple[str, str]]], float] = {
        (name, labels): number
        for name, by_labels in figures(api.client).items()
        for labels, number in by_labels.items()
    }

    def since(name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        now = value(api.client, name, **labels)
        growth, before[key] = now - before.get(key, 0.0), now
        return growth

    return since


def test_asks_are_counted_and_timed_by_where_the_point_came_from(api: Api, grown: Callable[..., float]) -> None:
    api.create(algorithm={"name": "sobol"}, stop={"max_trials": 3})
    api.ask(count=2)
    api.add(params={"x": 0.5})
    api.ask(count=2)
    api.ask()
    assert grown("metatune_trials_handed_out_total", source="sobol") == 2
    assert grown("metatune_trials_handed_out_total", source="enqueued") == 1
    assert grown("metatune_ask_seconds_count", source="sobol") == 1
    assert grown("metatune_ask_seconds_count", source="enqueued") == 1
    assert grown("metatune_ask_seconds_count", source="none") == 1
    assert value(api.client, "metatune_asks_open") == 0


def test_an_ask_past_its_deadline_is_a_fallback(api: Api, grown: Callable[..., float]) -> None:
    api.create(algorithm={"name": "gp"})
    while api.ask(deadline_seconds=0)["trials"][0]["origin"]["source"] != "fallback":
        continue  # now and then the computation is faster
    assert grown("metatune_trials_handed_out_total", source="fallback") == 1


def test_a_models_points_are_timed_and_the_first_includes_the_fit(api: Api, grown: Callable[..., float]) -> None:
    api.create(algorithm={"name": "gp"})
    for k in range(12):
        api.add(params={"x": (k + 0.5) / 12}, value=k * (11 - k))
    assert [trial["origin"]["source"] for trial in api.ask(count=2)["trials"]] == ["gp", "gp"]
    assert grown("metatune_model_seconds_count", source="gp", point="first") == 1
    assert grown("metatune_model_seconds_count", source="gp", point="next") == 1


def test_tells_are_counted_by_state_and_refusals_apart(api: Api, grown: Callable[..., float]) -> None:
    api.create()
    api.ask(count=2)
    api.tell(1, value=1.0)
    api.tell(2, state="failed")
    api.tell(1, status=409, value=2.0)
    assert grown("metatune_tells_total", state="complete") == 1
    assert grown("metatune_tells_total", state="failed") == 1
    assert grown("metatune_tells_total", state="refused") == 1


def test_leases_that_ran_out_are_counted_once_by_what_became_of_the_trial(
    api: Api, grown: Callable[..., float], age_leases: Callable[[], None]
) -> None:
    api.create(max_retries=2)
    api.ask()
    age_leases()
    api.counts()
    assert api.one()["attempt"] == 2
    age_leases()
    assert api.counts() == {"lost": 1}
    assert grown("metatune_lease_expiries_total", state="waiting") == 1
    assert grown("metatune_lease_expiries_total", state="lost") == 1
    assert grown("metatune_trials_handed_out_total", source="again") == 1


def test_trials_to_do_and_under_way_are_those_of_all_studies(api: Api) -> None:
    for api.study in ("one", "other"):
        api.create()
        api.ask(count=2)
        api.add(params={"x": 0.5})
    assert value(api.client, "metatune_trials", state="running") == 4
    assert value(api.client, "metatune_trials", state="waiting") == 2


def test_open_asks_of_a_killed_process_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    for process_id in (gone.pid, os.getpid()):
        (tmp_path / f"gauge_livesum_{process_id}.db").touch()
    _forget_dead_processes(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"gauge_livesum_{os.getpid()}.db"]


def test_every_query_of_the_dashboard_names_figures_and_labels_that_are_served(
    api: Api, age_leases: Callable[[], None]
) -> None:
    api.create(max_retries=1)
    api.ask(count=2)
    api.tell(1, value=1.0)
    age_leases()
    api.counts()
    api.ask()
    served = figures(api.client)
    queries = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]
    assert len(queries) >= 10
    for query in queries:
        names = re.findall(r"\bmetatune_\w+", query)
        assert names, query
        assert set(names) <= set(served), query
        used = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(",")}
        used |= set(re.findall(r"[{,]\s*(\w+)\s*[=!]", query))
        for name in names:
            labels = {label for labelled in served[name] for label, _ in labelled}
            assert used <= labels | {"instance"}, query  # Prometheus itself adds the instance


def test_every_figure_of_ours_is_drawn(client: TestClient) -> None:
    text = DASHBOARD.read_text()
    for family in text_string_to_metric_families(client.get("/metrics").text):
        if family.name.startswith("metatune_") and not family.name.endswith("_created"):
            assert family.name in text, family.name
