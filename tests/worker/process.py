"""A worker as a process of its own, to be killed: `python -m tests.worker.process DATABASE LOG`.

Everything is the real one but training, which takes a moment and tells a number made of its seed: what is looked at is
who trained what, and how often. Each training writes a line to LOG when it starts and one when it ends.
"""

from __future__ import annotations

import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from app.db.session import Store
from app.nas.data import split_of
from app.nas.network import Network
from app.nas.weights import Trained
from app.settings import Settings

TRAINING_SECONDS = 0.15


def say(log: Path, *words: object) -> None:
    with log.open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def main() -> None:
    url, log = sys.argv[1], Path(sys.argv[2])

    def train(
        network: Network, split: Any, *, epochs: int, seed: int, patience: int | None, on_epoch: Callable[..., None]
    ) -> Any:
        say(log, "start", seed, os.getpid())
        for epoch in range(epochs):
            time.sleep(TRAINING_SECONDS / epochs)
            on_epoch(epoch + 1, 0.5)
        say(log, "end", seed, os.getpid())
        accuracy = float(np.random.default_rng([seed, network.parameters()]).uniform())
        shapes = network.shapes()
        weights = {}
        for number, layer in enumerate(network.layers):
            if layer.op == "dense":
                weights[f"{number}.kernel"] = np.zeros((shapes[layer.inputs[0]][0], layer.units), np.float32)
                weights[f"{number}.bias"] = np.zeros(layer.units, np.float32)
        trained = Trained(Network(network.input_shape, network.layers), weights, split.labels, 0.0, 1.0)
        return types.SimpleNamespace(accuracy=accuracy, curve=[accuracy], trained=trained)

    fake = types.ModuleType("app.nas.train")
    fake.train = train  # type: ignore[attr-defined]
    sys.modules["app.nas.train"] = fake

    from app.worker import searches
    from app.worker.engine import Engine
    from app.worker.watch import watch

    examples = split_of(np.zeros((40, 8, 8)) + np.arange(8.0), np.arange(40) % 10, list(range(10)))
    searches.split_for = lambda store, project_id, evaluator: examples  # type: ignore[attr-defined]
    engine = Engine(Store(url), Settings(database=url), address="http://127.0.0.1:1", version="test")
    engine.start()
    watch(engine).start()
    say(log, "up", os.getpid())
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
