"""Architecture search with the client, against a real server that starts its worker by itself."""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

import metatune
from benchmarks.server import Server

SPACE = {"type": "cell", "nodes": 3, "operations": ["none", "skip", "conv1x1"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("nas")) as server:
        yield server


@pytest.mark.slow
def test_a_search_is_submitted_waited_for_ranked_again_and_listed(server: Server) -> None:
    X = np.array(list(itertools.product(range(3), repeat=3)))
    file = io.BytesIO()
    np.savez(file, X=X, y=X.sum(axis=1) / 10, parameters=1.0 + X.sum(axis=1))
    uploaded = httpx.post(f"{server.url}/v1/nas/tables", data={"name": "t"}, files={"file": ("t.npz", file.getvalue())})
    assert uploaded.status_code == 201, uploaded.text
    said: list[str] = []
    with metatune.Client(server.url) as client:
        search = client.nas.search(
            "one", space=SPACE, evaluator={"name": "table", "table": "t"}, budget={"evaluations": 12}, strategy="random"
        )
        assert search.wait(lambda info: said.append(info["state"])) is search
        assert said[-1] == "succeeded"
        best = search.best
        assert best is not None
        assert len(list(search.architectures())) == 12
        assert search.pareto()[0]["parameters"] <= search.pareto()[-1]["parameters"]
        assert [one.name for one in client.nas] == ["one"]
        assert client.nas.get("one").cancel()["state"] == "succeeded"
        with pytest.raises(metatune.Conflict):
            search.download("nowhere.zip")
        search.delete()
        with pytest.raises(metatune.NotFound):
            search.info()


def test_a_network_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("network.json", "{}")

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.params.get("format") == "onnx":
            return httpx.Response(200, content=b"onnx", headers={"Content-Type": "application/octet-stream"})
        if request.url.path.endswith("/model"):
            return httpx.Response(200, content=packed.getvalue(), headers={"Content-Type": "application/zip"})
        return httpx.Response(200, json={"name": "one", "state": "cancelled", "progress": 0.5, "error": None})

    with metatune.Client(transport=httpx.MockTransport(answer), outbox=False) as client:
        search = client.nas.get("one")
        with zipfile.ZipFile(search.download(tmp_path / "network.zip")) as file:
            assert file.namelist() == ["network.json"]
        assert search.download(tmp_path / "network.onnx").read_bytes() == b"onnx"
        with pytest.raises(metatune.MetatuneError, match="cancelled"):
            search.wait(lambda info: None)
