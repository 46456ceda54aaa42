"""The studies under load: each hands out its numbers and configurations in another way."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Draw = Callable[[random.Random], Any]


@dataclass(frozen=True)
class Load:
    definition: Mapping[str, Any]
    draws: Mapping[str, Draw] = field(default_factory=dict)

    @property
    def is_enqueued(self) -> bool:
        """Do clients bring trials of their own along?"""
        return bool(self.draws)


_UNIT = {"type": "float", "low": 0.0, "high": 1.0}
_UNLIMITED = {"max_retries": 1000}

STUDIES: dict[str, Load] = {
    "random": Load(
        {
            "space": {"x": _UNIT, "kernel": {"type": "categorical", "choices": ["rbf", "poly"]}},
            "algorithm": "random",
            **_UNLIMITED,
        },
        {"x": lambda rng: rng.random(), "kernel": lambda rng: rng.choice(["rbf", "poly"])},
    ),
    "sobol": Load({"space": {"x": _UNIT, "y": _UNIT}, "algorithm": "sobol", **_UNLIMITED}),
    "whole": Load(  # few enough that free points meet taken ones
        {
            "space": {"i": {"type": "int", "low": 1, "high": 200}, "j": {"type": "int", "low": 1, "high": 100}},
            "algorithm": "random",
            **_UNLIMITED,
        }
    ),
    "gp": Load(
        {"space": {"x": _UNIT, "y": _UNIT}, "algorithm": "gp", "seed": 1, "stop": {"max_trials": 60}, **_UNLIMITED}
    ),
}
