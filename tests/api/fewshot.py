"""Few-shot learners over HTTP: the calls, and data that take a second to learn; jobs are run by the test."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from sqlalchemy import func, select
from starlette.testclient import TestClient

from app.db import jobs
from app.db.session import EVERY_PROJECT, Store
from app.worker.kinds import KINDS
from app.worker.unit import Unit, begin
from tests.conftest import Api

DATASETS, LEARNERS = "/v1/fewshot/datasets", "/v1/fewshot/learners"
SMALL = {"width": 8, "training_ways": 3, "training_shots": 1, "training_queries": 2, "tasks_per_update": 1}


def clusters(n_classes: int = 12, n_examples: int = 8, seed: int = 0, spread: float = 0.3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_classes, 1, 4)) + spread * rng.standard_normal((n_classes, n_examples, 4))
    return {"x": x.reshape(-1, 4).astype(np.float32), "y": np.repeat(np.arange(n_classes), n_examples)}


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


class FewShot(Api):
    """The calls of this part; `worker` is the application as a worker serves it."""

    def __init__(self, client: TestClient, worker: TestClient, store: Store) -> None:
        super().__init__(client)
        self.worker, self.store = worker, store

    def upload(self, name: str = "clusters", status: int = 201, content: bytes | None = None) -> dict[str, Any]:
        files = {"file": ("data", npz(**clusters()) if content is None else content)}
        response = self.client.post(DATASETS, data={"name": name}, files=files)
        assert response.status_code == status, response.text
        return dict(response.json())

    def train(self, name: str = "one", status: int = 202, **body: Any) -> dict[str, Any]:
        whole = {"name": name, "method": "prototypical", "dataset": "clusters", "ways": 3, "episodes": 4} | body
        whole["options"] = SMALL | body.get("options", {})
        return self.call("POST", LEARNERS, whole, status=status)

    def begun(self, kind: str, name: str) -> Unit:
        with self.store.read(EVERY_PROJECT) as session:
            uid = jobs.get(session, jobs.Address(1, kind, name)).job.uid
        unit = begin(self.store, "test", uid, None, 2**28)
        assert unit is not None
        return unit

    def run(self, name: str = "one", kind: str = "learner") -> dict[str, Any]:
        unit = self.begun(kind, name)
        unit.finish(KINDS[kind].run(unit))
        return self.call("GET", f"/v1/fewshot/{kind}s/{name}", status=200)

    def ask(self, method: str, path: str, body: Any, status: int = 200) -> dict[str, Any]:  # type: ignore[override]
        """Of the worker."""
        response = self.worker.request(method, f"{LEARNERS}/one{path}", json=body)
        assert response.status_code == status, response.text
        return dict(response.json())


def support(ways: int = 3, shots: int = 2) -> dict[str, Any]:
    data = clusters(seed=1, spread=0.01)
    rows = [8 * way + shot for way in range(ways) for shot in range(shots)]
    return {"x": data["x"][rows].tolist(), "y": [f"class {data['y'][row]}" for row in rows]}


def queries(ways: int = 3) -> dict[str, Any]:
    return {"x": clusters(seed=1, spread=0.01)["x"][[8 * way + 5 for way in range(ways)]].tolist()}


def count(store: Store, table: Any) -> int:
    with store.read(EVERY_PROJECT) as session:
        return int(session.execute(select(func.count()).select_from(table)).scalar_one())
