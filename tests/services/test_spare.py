"""An ask whose deadline passes gets a free point, and its computation serves the next one."""

from __future__ import annotations

from app.db.session import Store
from app.db.studies import Address
from app.services import ask as asking
from app.services.ask import AskCall, Asked, ask, hand_out
from app.services.define_study import Given, put
from app.services.memory import Memory
from app.services.plan import Plan


def test_the_fit_of_an_ask_that_could_not_wait_serves_the_next_one(store: Store, monkeypatch: object) -> None:
    space = {"x": {"type": "float", "low": 0, "high": 1}, "y": {"type": "float", "low": 0, "high": 1}}
    address, memory = Address(1, "hurry"), Memory()
    put(store, address, Given("hurry", {"space": space, "algorithm": "gp", "seed": 3}))
    call = AskCall()
    computed: list[Plan] = []
    compute = asking.compute

    def slow(*arguments: object) -> Plan:
        (first,) = hand_out(store, address, [call], memory, why="the deadline came")
        assert isinstance(first, Asked)
        assert first.trials[0].origin["source"] == "fallback"
        computed.append(compute(*arguments))  # type: ignore[arg-type]
        return computed[-1]

    monkeypatch.setattr(asking, "compute", slow)  # type: ignore[attr-defined]
    assert ask(store, address, [call], memory) == [None]
    (second,) = hand_out(store, address, [AskCall()], memory, why="the deadline came")
    assert isinstance(second, Asked)
    assert second.trials[0].params == computed[0].fresh[1].suggestion.params
    assert second.trials[0].origin["source"] != "fallback"
