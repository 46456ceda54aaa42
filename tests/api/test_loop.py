"""Ask and tell, as a caller meets them."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import Api


def test_a_trial_is_handed_out_and_told(api: Api) -> None:
    api.create()
    trial = api.one(worker="node-3")
    assert (trial["number"], trial["state"], trial["attempt"], trial["worker"]) == (1, "running", 1, "node-3")
    told = api.tell(1, value=0.5, lease=trial["lease"]["token"])
    assert (told["state"], told["values"], told["lease"]) == ("complete", {"value": 0.5}, None)
    assert api.get()["best"]["number"] == 1


def test_a_lease_that_ran_out_is_handed_out_again_with_one_attempt_more(api: Api, age_leases: Callable[[], None]) -> None:
    api.create()
    first = api.one()
    age_leases()
    assert api.trial(1)["state"] == "waiting"
    again = api.one()
    assert (again["number"], again["params"], again["attempt"]) == (1, first["params"], 2)
    lost = api.tell(1, value=1.0, lease=first["lease"]["token"], status=409)
    assert lost["code"] == "lease-lost"
