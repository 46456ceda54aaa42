"""Few-shot adaptation with the client, against a real server that starts its worker by itself."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import metatune
from benchmarks.server import Server
from metatune.job import JobFailed
from metatune.npz import packed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("fewshot")) as server:
        yield server


def glyphs() -> tuple[Any, Any]:
    """Twelve random pictures, eight noisy copies of each."""
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 2, (12, 1, 5, 5)).repeat(4, axis=2).repeat(4, axis=3) * 200
    return (clean + rng.integers(0, 50, (12, 8, 20, 20))).astype(np.uint8), np.arange(12).repeat(8).reshape(12, 8)


@pytest.mark.slow
def test_a_dataset_is_uploaded_a_learner_trained_adapted_kept_and_judged(server: Server, tmp_path: Path) -> None:
    x, y = glyphs()
    np.savez(tmp_path / "glyphs.npz", x=x.reshape(-1, 20, 20), y=y.ravel())
    with metatune.Client(server.url) as client:
        there = client.fewshot.upload("glyphs", x=x.reshape(-1, 20, 20), y=y.ravel())
        assert (there["classes"], there["shape"], there["dtype"]) == (12, [20, 20], "uint8")
        assert client.fewshot.upload("glyphs", tmp_path / "glyphs.npz")["created_at"] == there["created_at"]
        assert [one["name"] for one in client.fewshot.datasets()] == ["glyphs"]
        learner = client.fewshot.train("one", method="prototypical", dataset="glyphs", backbone="hog", ways=2)
        assert learner.wait(lambda info: None) is learner
        assert [one.name for one in client.fewshot] == ["one"]

        of_arrays = learner.adapt((x[:2, 0], np.array(["a", "b"])), x[:2, 1])
        assert [one["label"] for one in of_arrays] == ["a", "b"]
        assert learner.adapt((x[:2, 0].tolist(), ["a", "b"]), x[:2, 1].tolist()) == of_arrays
        mixed = learner.adapt((x[:2, 0].tolist(), [1, True]), x[:2, 1].tolist())
        assert [one["label"] for one in mixed] == [1, True]

        kept = learner.keep("mine", (x[:2, 0], np.array(["a", "b"])))
        assert kept.extend((x[2:3, 0], np.array(["c"])))["labels"] == ["a", "b", "c"]
        assert [one["label"] for one in kept.predict(x[:3, 1])] == ["a", "b", "c"]
        assert all(one["unknown"] for one in kept.predict(x[:3, 1], unknown_distance=1e-9))
        assert [one.info()["counts"] for one in learner.adaptations()] == [[1, 1, 1]]
        kept.delete()
        with pytest.raises(metatune.NotFound):
            learner.adaptation("mine")

        judged = learner.evaluate("glyphs", ways=2, episodes=5).wait(lambda info: None)
        assert judged.info()["result"]["tasks"] == 5
        assert learner.download(tmp_path / "one.zip").stat().st_size > 0
        learner.delete()
        client.fewshot.delete_dataset("glyphs")
        assert list(client.fewshot.datasets()) == []


def test_arrays_are_packed_as_numpy_reads_them() -> None:
    arrays = {
        "x": np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::2].T,  # neither order of memory
        "y": np.array(["alpha", "é"]),
        "n": np.array(7),
    }
    with np.load(io.BytesIO(packed(arrays)), allow_pickle=False) as file:
        assert set(file) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(file[name], array)
            assert file[name].dtype == array.dtype
    with pytest.raises(TypeError, match="y must hold numbers or text"):
        packed({"y": np.array([None, {}])})


def test_an_upload_is_sent_again_whole_and_more_examples_only_once(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("y,a\n0,1\n")
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        requests.append(request)
        if len(requests) == 1 or request.method == "PATCH":
            return httpx.Response(503, headers={"Retry-After": "0"}, json={"title": "away"})
        return httpx.Response(201, json={"name": "data"})

    with metatune.Client(transport=httpx.MockTransport(answer), outbox=False) as client:
        assert client.fewshot.upload("data", path) == {"name": "data"}
        assert all(b"y,a\n0,1\n" in one.content and b"data.csv" in one.content for one in requests)
        assert len(requests) == 2
        with pytest.raises(metatune.Unavailable):
            client.fewshot.get("one").adaptation("mine").extend(([[1.0]], ["a"]))
        assert [one.method for one in requests[2:]] == ["GET", "GET", "PATCH"]
        with pytest.raises(TypeError, match="path of a file, or the arrays"):
            client.fewshot.upload("data", path, x=np.zeros(2), y=np.zeros(2))
        with pytest.raises(TypeError, match="x must be an array"):
            client.fewshot.upload("data", x=[1.0], y=[1])


def test_a_learner_without_a_result_says_why_with_asyncio_too() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"name": "one", "state": "failed", "progress": 0.1, "error": "too few"})

    async def waited() -> None:
        async with metatune.AsyncClient(transport=httpx.MockTransport(answer), outbox=False) as client:
            learner = await client.fewshot.get("one")
            await learner.wait(lambda info: None)

    with pytest.raises(JobFailed, match="learner 'one' is failed: too few"):
        asyncio.run(waited())
