"""How long a network takes for one example, told before it is trained: the sum over its layers, each measured once.

Layers of one kind on inputs of one shape take the same time wherever they are (Cai et al. 2019 add up a table, too).
They are timed as `predict` computes them, in NumPy on one example. What was timed is kept with the search before
anything builds on it, and not timed again: sizes that changed while a search runs would change what it does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from app.nas.network import Layer, Network, Shape
from app.nas.weights import forward, initial
from app.services.basis import basis_of, keep_latencies
from app.worker.unit import Unit

#: Timings of a layer, of which the shortest counts: other work on the machine makes them longer, nothing shorter.
TIMINGS = 7


class Latencies:
    """Milliseconds by layer; grows as networks with other layers are asked for."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.known = unit.look(basis_of).latencies
        self._kept = len(self.known)

    def keep(self) -> None:
        """To be called before a proposal is written.  Raises: Ended."""
        if len(self.known) > self._kept:
            self.unit.within(lambda here: keep_latencies(here, self.known))
            self._kept = len(self.known)

    def of(self, network: Network) -> float:
        """Milliseconds of one example."""
        shapes = network.shapes()
        total = 0.0
        for layer in network.layers[1:]:
            before = [shapes[i] for i in layer.inputs]
            name = _name(layer, before)
            if name not in self.known:
                self.known[name] = measured(layer, before)
            total += self.known[name]
        return total


def measured(layer: Layer, before: Sequence[Shape]) -> float:
    """The shortest of some timings, in milliseconds."""
    network = Network(before[0], (Layer("input"), replace(layer, inputs=(0,) * len(before))))
    rng = np.random.default_rng(0)
    weights = initial(network, rng)
    x = rng.standard_normal((1, *before[0])).astype(np.float32)
    forward(network, weights, x)  # the first time something is loaded
    shortest = np.inf
    for _ in range(TIMINGS):
        started_at = time.perf_counter()
        forward(network, weights, x)
        shortest = min(shortest, time.perf_counter() - started_at)
    return 1000.0 * float(shortest)


def _name(layer: Layer, before: Sequence[Shape]) -> str:
    words = [layer.op, str(layer.units), str(layer.kernel), layer.activation]
    return " ".join([*words, *("x".join(map(str, shape)) for shape in before)])
