"""Latency as complexity: layers are timed once, kept before anything builds on them, and added up."""

from __future__ import annotations

from typing import Any, cast

import pytest

from app.db import jobs
from app.db.jobs import Address
from app.db.session import EVERY_PROJECT
from app.nas.network import Builder, Network
from app.services.basis import Basis, basis_of
from app.worker import latency
from app.worker.latency import Latencies
from app.worker.unit import Unit
from tests.conftest import Api
from tests.worker.conftest import Worker


class Kept:
    """Of a unit, what keeps timings."""

    def __init__(self, **latencies: float) -> None:
        self.basis = Basis(None, (), latencies)
        self.writes = 0

    def look(self, read: Any) -> Basis:
        return self.basis

    def within(self, write: Any) -> None:
        self.writes += 1


def network(*widths: int) -> Network:
    build = Builder((6, 6, 1))
    here = 0
    for width in widths:
        here = build.add("conv", here, units=width, kernel=3, activation="relu")
    build.add("dense", build.add("global", here), units=2)
    return build.network()


def test_each_layer_is_timed_once_and_the_sum_is_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[str] = []

    def measured(layer: Any, before: Any) -> float:
        timed.append(layer.op)
        return {"conv": 1.0, "global": 0.25, "dense": 0.5}[layer.op]

    monkeypatch.setattr(latency, "measured", measured)
    unit = Kept()
    latencies = Latencies(cast(Unit, unit))
    assert latencies.of(network(4, 4, 4)) == 3.75
    assert timed == ["conv", "conv", "global", "dense"]  # the third is like the second
    latencies.keep()
    assert latencies.of(network(4, 4)) == 2.75
    latencies.keep()
    assert (len(timed), unit.writes) == (4, 1)
    again = Latencies(cast(Unit, Kept(**latencies.known)))
    assert again.of(network(4, 4, 4)) == 3.75
    assert len(timed) == 4


def test_every_layer_of_a_network_can_be_timed() -> None:
    shapes = network(4).shapes()
    for layer in network(4).layers[1:]:
        assert 0.0 < latency.measured(layer, [shapes[i] for i in layer.inputs]) < float("inf")


def test_a_search_knows_how_long_its_networks_take_before_they_are_trained(api: Api, worker: Worker) -> None:
    body = {
        "name": "one",
        "space": {"type": "cell", "nodes": 3},
        "strategy": {"name": "random"},
        "evaluator": {"name": "external", "shape": [6, 6, 1], "classes": 2},
        "reward": {"complexity": "latency", "penalty": 0.1},
        "budget": {"evaluations": 6, "parallel": 6},
    }
    api.call("POST", "/v1/nas/searches", body, status=202)
    found: list[dict[str, Any]] = []

    def is_asked_for() -> bool:
        found[:] = api.call("GET", "/v1/nas/searches/one/architectures", status=200)["items"]
        return len(found) > 1

    worker.until(is_asked_for)
    assert all(0.0 <= one["complexity"] <= 1.0 for one in found)
    assert len({one["complexity"] for one in found}) > 1
    with worker.store.read(EVERY_PROJECT) as session:
        kept = basis_of(jobs.get(session, Address(worker.project_id, "search", "one"))).latencies
    assert {name.split()[0] for name in kept} > {"conv", "global", "dense"}
    assert min(kept.values()) > 0.0
