"""Paused trials and their promotion: ASHA by rungs, as workers meet it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import Api

ASHA = {"rule": "asha", "min_step": 1, "max_step": 9, "eta": 3, "promote": True}


def numbers(asked: dict[str, Any]) -> list[int]:
    return [trial["number"] for trial in asked["trials"]]


def run(api: Api, trial: dict[str, Any], value: float, **told: Any) -> dict[str, Any]:
    """What a worker does: to `until_step`, then pause there; without one, to the end."""
    until, lease = trial["until_step"], trial["lease"]["token"]
    api.report(trial["number"], step=until or 9, value=value, lease=lease)
    body = {"value": value} if until is None else {"state": "paused"}
    return api.tell(trial["number"], **body, lease=lease, **told)


def at_first_rung(api: Api, values: list[float], **definition: Any) -> None:
    """A study whose trials 1, 2, … all paused at the first rung with these values."""
    api.create(algorithm="random", pruning=ASHA, **definition)
    for trial, value in zip(api.ask(count=len(values))["trials"], values, strict=True):
        run(api, trial, value)


def test_a_trial_runs_to_its_rung_and_pauses_there(api: Api) -> None:
    api.create(algorithm="random", pruning=ASHA)
    trial = api.one(worker="w")
    assert (trial["until_step"], trial["attempt"]) == (1, 1)
    token = trial["lease"]["token"]
    api.do("heartbeat", 1, checkpoint="s3://c/1", lease=token)
    word = api.report(1, step=1, value=0.5, lease=token)
    assert (word["prune"], word["rung"]) == (False, 0)
    paused = api.tell(1, state="paused", reason="at its rung", lease=token)
    assert (paused["state"], paused["values"], paused["lease"]) == ("paused", None, None)
    assert (paused["checkpoint"], paused["finished_at"], paused["reason"]) == ("s3://c/1", None, "at its rung")
    assert api.counts() == {"paused": 1}


def test_the_best_third_goes_on_under_its_own_number_with_reports_and_checkpoint(api: Api) -> None:
    at_first_rung(api, [0.3, 0.1])
    third = api.one()
    api.do("heartbeat", third["number"], checkpoint="s3://c/3")
    run(api, third, 0.2)
    promoted = api.one(worker="next")
    assert (promoted["number"], promoted["attempt"], promoted["until_step"]) == (2, 2, 3)
    assert [(report["step"], report["attempt"]) for report in promoted["reports"]] == [(1, 1)]
    assert (promoted["state"], promoted["worker"], promoted["params"]) == ("running", "next", api.trial(2)["params"])
    assert api.trial(3)["checkpoint"] == "s3://c/3"
    assert api.one()["number"] == 4, "one of three may go on, and it has"


def test_directions_are_minded(api: Api) -> None:
    at_first_rung(api, [0.3, 0.1, 0.2], direction="maximize")
    assert api.one()["number"] == 1


def test_a_trial_climbs_rung_by_rung_and_completes_at_the_end(api: Api) -> None:
    at_first_rung(api, [k / 10 for k in range(9)])
    first = api.ask(count=3)["trials"]
    assert [(trial["number"], trial["until_step"]) for trial in first] == [(1, 3), (2, 3), (3, 3)]
    for trial in first:
        run(api, trial, trial["number"] / 10)
    last = api.one()
    assert (last["number"], last["until_step"], last["attempt"]) == (1, None, 3)
    assert run(api, last, 0.05)["state"] == "complete"
    assert api.get()["best"]["number"] == 1
    assert [report["step"] for report in api.trial(1)["reports"]] == [1, 3, 9]


def test_the_highest_rung_is_promoted_first(api: Api) -> None:
    at_first_rung(api, [k / 10 for k in range(12)])
    for trial in api.ask(count=3)["trials"]:
        run(api, trial, trial["number"] / 10)
    assert [(trial["number"], trial["until_step"]) for trial in api.ask(count=2)["trials"]] == [(1, None), (4, 3)]


def test_waiting_trials_come_before_promotions_and_promotions_before_new_ones(api: Api) -> None:
    at_first_rung(api, [0.1, 0.2, 0.3])
    enqueued = api.add(params={"x": 0.5})["number"]
    asked = api.ask(count=3)
    assert numbers(asked) == [enqueued, 1, 5]
    assert [trial["until_step"] for trial in asked["trials"]] == [1, 3, 1]


def test_promotions_leave_an_ask_with_fixed_values_alone(api: Api) -> None:
    at_first_rung(api, [0.1, 0.2, 0.3])
    assert api.one(fixed={"x": 0.5})["number"] == 4


def test_an_ask_with_fixed_values_is_not_done_while_others_would_be_promoted(api: Api) -> None:
    at_first_rung(api, [0.1, 0.2, 0.3], stop={"max_trials": 3})
    answer = api.ask(fixed={"x": 0.5})
    assert (answer["trials"], answer["done"], answer["reason"]) == ([], False, "max_trials")
    assert api.one()["number"] == 1


def test_a_modelled_study_promotes_too_and_computes_only_what_is_new(api: Api) -> None:
    api.create(pruning=ASHA, seed=1)
    for trial in api.ask(count=3)["trials"]:
        run(api, trial, trial["params"]["x"])
    asked = api.ask(count=2)["trials"]
    assert [(trial["attempt"], trial["until_step"]) for trial in asked] == [(2, 3), (1, 1)]
    assert asked[1]["origin"]["source"] != "fallback"


# --- the end ----------------------------------------------------------------------------------------------------


def test_max_trials_counts_paused_trials_and_promotions_run_on_to_the_end(api: Api) -> None:
    api.create(algorithm="random", pruning=ASHA, stop={"max_trials": 9})
    n_asked = 0
    while (answer := api.ask())["trials"]:
        (trial,) = answer["trials"]
        run(api, trial, trial["number"] / 10)
        n_asked += 1
    assert (answer["done"], answer["reason"]) == (True, "max_trials")
    assert n_asked == 9 + 3 + 1
    assert api.counts() == {"paused": 8, "complete": 1}
    assert api.get()["best"]["number"] == 1


def test_a_study_that_could_promote_nobody_still_ends_with_a_result(api: Api) -> None:
    api.create(algorithm="random", pruning=ASHA, stop={"max_trials": 2})
    for trial, value in zip(api.ask(count=2)["trials"], (0.9, 0.4), strict=True):
        run(api, trial, value)
    for until_step in (3, None):
        trial = api.one()
        assert (trial["number"], trial["until_step"]) == (2, until_step)
        run(api, trial, 0.4)
    assert api.ask()["done"] is True
    assert api.counts() == {"paused": 1, "complete": 1}


def test_while_a_trial_runs_the_others_wait_for_what_it_may_change(api: Api) -> None:
    at_first_rung(api, [0.1, 0.2], stop={"max_trials": 3})
    third = api.one()
    answer = api.ask()
    assert (answer["trials"], answer["done"], answer["reason"]) == ([], False, "waiting-for-running")
    run(api, third, 0.3)
    assert api.one()["number"] == 1


def test_an_exhausted_space_promotes_on_and_is_then_done(api: Api) -> None:
    space = {"k": {"type": "categorical", "choices": ["a", "b", "c"]}}
    api.create(space=space, algorithm="random", pruning=ASHA)
    while (answer := api.ask())["trials"]:
        for trial in answer["trials"]:
            run(api, trial, trial["number"] / 10)
    assert (answer["done"], answer["reason"]) == (True, "space-exhausted")
    assert api.counts() == {"paused": 2, "complete": 1}


@pytest.mark.parametrize("stop", [{"target": 0.5}, {"max_cost": 1}])
def test_the_other_stop_conditions_end_promotions_as_well(api: Api, stop: dict[str, Any]) -> None:
    at_first_rung(api, [0.1, 0.2, 0.3], stop=stop)
    api.add(params={"x": 0.5}, value=0.4, cost=2)
    answer = api.ask()
    assert (answer["trials"], answer["done"], answer["reason"]) == ([], True, next(iter(stop)))


def test_a_stopped_or_paused_study_promotes_nobody(api: Api) -> None:
    at_first_rung(api, [0.1, 0.2, 0.3])
    for state in ("paused", "stopped"):
        api.patch(state=state)
        assert api.ask()["trials"] == []
    api.patch(state="active")
    assert api.one()["number"] == 1


def test_what_a_paused_trial_cost_counts_and_stands_until_told_anew(api: Api) -> None:
    api.create(algorithm="random", pruning=ASHA, stop={"max_cost": 10})
    trials = api.ask(count=3)["trials"]
    for trial, value in zip(trials, (0.1, 0.2, 0.3), strict=True):
        run(api, trial, value, cost=2)
    assert api.tell(1, state="paused")["cost"] == 2, "told again without it, it stands"
    promoted = api.one()
    assert run(api, promoted, 0.1)["cost"] == 2
    assert run(api, api.one(), 0.5, cost=6)["cost"] == 6
    assert api.ask()["reason"] == "max_cost"


# --- retries, refusals, crashes ---------------------------------------------------------------------------------


def test_pausing_again_changes_nothing_also_with_the_old_token(api: Api) -> None:
    api.create(algorithm="random", pruning=ASHA)
    trial = api.one()
    run(api, trial, 0.5)
    revision = api.call("GET", f"{api.base}/export", status=200)["revision"]
    for lease in ({}, {"lease": trial["lease"]["token"]}):
        assert api.tell(1, state="paused", **lease)["state"] == "paused"
    assert api.call("GET", f"{api.base}/export", status=200)["revision"] == revision
    assert api.tell(1, state="paused", cost=3, status=409)["code"] == "trial-finished-differently"
    assert api.report(1, step=1, value=0.5)["prune"] is False, "a report that comes again after the pause"


def test_a_worker_of_an_earlier_rung_speaks_no_more_after_the_promotion(api: Api) -> None:
    at_first_rung(api, [0.2, 0.3])
    third = api.one()
    run(api, third, 0.1)
    assert api.one()["number"] == 3
    token = third["lease"]["token"]
    assert api.tell(3, state="paused", lease=token, status=409)["code"] == "lease-lost"
    assert api.do("heartbeat", 3, lease=token, status=409)["code"] == "lease-lost"
    problem = api.tell(3, state="paused", status=409)
    assert (problem["code"], "step 3" in problem["detail"]) == ("illegal-state", True)
    assert api.trial(3)["state"] == "running"


def test_a_trial_that_did_not_report_its_rung_cannot_pause(api: Api) -> None:
    api.create(algorithm="random", pruning=ASHA | {"min_step": 2})
    api.one()
    assert "step 2" in api.tell(1, state="paused", status=409)["detail"]
    api.report(1, step=1, value=0.5)
    assert api.tell(1, state="paused", status=409)["code"] == "illegal-state"
    api.report(1, step=3, value=0.5)
    assert api.tell(1, state="paused")["state"] == "paused"


def test_a_trial_on_its_last_leg_cannot_pause(api: Api) -> None:
    api.create(algorithm="random", pruning=ASHA | {"max_step": 1})
    assert api.one()["until_step"] is None
    api.report(1, step=1, value=0.5)
    assert "to the end" in api.tell(1, state="paused", status=409)["detail"]


@pytest.mark.parametrize("pruning", ["off", {"rule": "median"}, {"rule": "asha", "max_step": 9}])
def test_a_study_that_promotes_nobody_takes_no_pauses(api: Api, pruning: Any) -> None:
    api.create(algorithm="random", pruning=pruning)
    assert api.one()["until_step"] is None
    api.report(1, step=1, value=0.5)
    problem = api.tell(1, state="paused", status=409)
    assert (problem["code"], "promote" in problem["detail"]) == ("illegal-state", True)
    assert api.counts() == {"running": 1}


def test_a_paused_trial_is_told_reported_stopped_or_given_back_by_nobody(api: Api) -> None:
    at_first_rung(api, [0.5])
    assert api.tell(1, value=1.0, status=409)["code"] == "illegal-state"
    assert api.report(1, step=2, value=1.0, status=409)["code"] == "illegal-state"
    for verb in ("heartbeat", "release", "stop", "retry"):
        assert api.do(verb, 1, status=409)["code"] == "illegal-state"
    assert api.counts() == {"paused": 1}


def test_a_paused_trial_with_values_is_refused(api: Api) -> None:
    api.create(algorithm="random", pruning=ASHA)
    api.one()
    problem = api.tell(1, state="paused", value=0.5, status=422)
    assert problem["errors"][0]["pointer"] == "/value"


def test_a_paused_trial_is_never_counted_as_expired(api: Api, age_leases: Callable[[], None]) -> None:
    at_first_rung(api, [0.5], max_retries=1)
    age_leases()
    assert api.counts() == {"paused": 1}


def test_a_promoted_trial_whose_lease_runs_out_comes_again_with_the_same_until_step(
    api: Api, age_leases: Callable[[], None]
) -> None:
    at_first_rung(api, [0.1, 0.2, 0.3])
    assert api.one()["until_step"] == 3
    age_leases()
    again = api.one()
    assert (again["number"], again["attempt"], again["until_step"]) == (1, 3, 3)
    assert run(api, again, 0.1)["state"] == "paused"


def test_a_slow_worker_may_still_pause_its_trial_while_nobody_took_it(api: Api, age_leases: Callable[[], None]) -> None:
    api.create(algorithm="random", pruning=ASHA)
    token = api.one()["lease"]["token"]
    api.report(1, step=1, value=0.5)
    age_leases()
    assert api.counts() == {"waiting": 1}
    assert api.tell(1, state="paused", status=409)["code"] == "illegal-state"
    assert api.tell(1, state="paused", lease=token)["state"] == "paused"
    assert api.counts() == {"paused": 1}


def test_a_trial_that_was_asked_to_stop_is_not_promoted(api: Api) -> None:
    at_first_rung(api, [0.2, 0.3])
    third = api.one()
    api.do("stop", 3)
    run(api, third, 0.1)
    assert api.one()["number"] == 4


def test_a_value_that_is_not_finite_asks_to_prune_and_is_never_promoted(api: Api) -> None:
    at_first_rung(api, [0.2, 0.3])
    third = api.one()
    word = api.report(3, step=1, value="nan")
    assert (word["prune"], word["reason"]) == (True, "the value is nan")
    api.tell(3, state="paused", lease=third["lease"]["token"])
    assert api.one()["number"] == 1, "it counts as the worst of three"


def test_a_removed_trial_leaves_its_rung(api: Api) -> None:
    at_first_rung(api, [0.1, 0.2, 0.3])
    api.remove(1)
    assert api.one()["number"] == 4, "two at the rung promote nobody"
    api.report(4, step=1, value=0.5)
    assert api.one()["number"] == 2


def test_a_paused_trial_outside_the_edited_space_is_not_promoted_until_it_is_inside_again(api: Api) -> None:
    api.create(algorithm="random", pruning=ASHA)
    for x in (0.9, 0.1, 0.2):
        api.add(params={"x": x})
    for trial in api.ask(count=3)["trials"]:
        run(api, trial, 1.0 - trial["params"]["x"])
    api.call("PATCH", f"{api.base}/space", {"x": {"high": 0.5}}, status=200)
    assert api.counts() == {"paused": 3}
    assert api.one()["number"] == 4
    api.call("PATCH", f"{api.base}/space", {"x": {"high": 1.0}}, status=200)
    assert api.one()["number"] == 1


def test_asks_at_once_promote_each_trial_once(api: Api) -> None:
    at_first_rung(api, [k / 10 for k in range(9)])
    with ThreadPoolExecutor(6) as pool:
        asked = list(pool.map(lambda k: api.ask(worker=f"w{k}"), range(6)))
    found = sorted(number for answer in asked for number in numbers(answer))
    assert found == [1, 2, 3, 10, 11, 12]


def test_a_retried_ask_promotes_once(api: Api) -> None:
    at_first_rung(api, [0.1, 0.2, 0.3])
    key = {"Idempotency-Key": "k"}
    first, again = (
        api.call("POST", f"{api.base}/ask", {"count": 1}, status=200, headers=key)["trials"] for _ in range(2)
    )
    assert first == again
    assert (first[0]["number"], first[0]["attempt"]) == (1, 2)


def test_pauses_are_told_in_batches(api: Api) -> None:
    api.create(algorithm="random", pruning=ASHA)
    for trial in api.ask(count=3)["trials"][:2]:
        api.report(trial["number"], step=1, value=0.5)
    results = [{"number": number, "state": "paused"} for number in (1, 2, 3)]
    answers = api.call("POST", f"{api.base}/tell", {"results": results}, status=200)["results"]
    assert [answer["status"] for answer in answers] == [200, 200, 409]
    assert api.counts() == {"paused": 2, "running": 1}


# --- hyperband, several objectives, going elsewhere -------------------------------------------------------------


def test_hyperbands_brackets_begin_at_rungs_of_their_own(api: Api) -> None:
    api.create(algorithm="random", pruning=ASHA | {"rule": "hyperband"})
    stops = [trial["until_step"] for trial in api.ask(count=40)["trials"]]
    assert set(stops) == {1, 3, None}
    assert stops.count(1) > stops.count(3)


def test_hyperband_promotes_within_a_bracket(api: Api) -> None:
    api.create(algorithm="random", pruning=ASHA | {"rule": "hyperband"})
    trials = api.ask(count=30)["trials"]
    low = [trial for trial in trials if trial["until_step"] == 1][:2]
    high = [trial for trial in trials if trial["until_step"] == 3][:3]
    for trial in low + high:
        run(api, trial, trial["number"] / 100)
    promoted = api.one()
    assert (promoted["number"], promoted["until_step"]) == (high[0]["number"], None)
    assert api.one()["attempt"] == 1, "two of the other bracket are not enough"


def test_with_several_objectives_the_front_is_promoted(api: Api) -> None:
    api.create(
        algorithm="random",
        pruning=ASHA | {"eta": 2},
        objectives=[{"name": "accuracy", "direction": "maximize"}, {"name": "ms"}],
    )
    for trial, (accuracy, ms) in zip(api.ask(count=4)["trials"], [(0.5, 9), (0.9, 5), (0.6, 2), (0.4, 8)], strict=True):
        api.report(trial["number"], step=1, values={"accuracy": accuracy, "ms": ms})
        api.tell(trial["number"], state="paused")
    assert sorted(numbers(api.ask(count=2))) == [2, 3]
    assert api.one()["number"] == 5


def test_an_export_carries_paused_trials_and_the_import_promotes_them(api: Api) -> None:
    at_first_rung(api, [0.3, 0.1, 0.2], seed=3)
    whole = api.call("GET", f"{api.base}/export", status=200)
    assert [trial["until_step"] for trial in whole["trials"]] == [1, 1, 1]
    api.call("POST", "/v1/studies/import?name=twin", whole, status=201)
    here = api.one()
    api.study = "twin"
    assert api.counts() == {"paused": 3}
    there = api.one()
    assert (there["number"], there["attempt"], there["until_step"]) == (2, 2, 3)
    assert (there["number"], there["params"]) == (here["number"], here["params"])
    assert api.one()["number"] == 4


def test_a_document_whose_paused_trial_reached_no_rung_lets_it_wait(api: Api) -> None:
    at_first_rung(api, [0.3])
    whole = api.call("GET", f"{api.base}/export", status=200)
    whole["trials"][0]["reports"] = []
    api.call("POST", "/v1/studies/import?name=twin", whole, status=201)
    api.study = "twin"
    assert api.counts() == {"waiting": 1}
    assert (api.one()["number"], api.counts()) == (1, {"running": 1})


def test_events_tell_of_pauses_and_promotions(api: Api) -> None:
    at_first_rung(api, [0.3, 0.1, 0.2])
    api.one()
    events = api.call("GET", f"{api.base}/export", status=200)["events"]
    of_two = [(event["type"], event["state"]) for event in events if event["number"] == 2]
    assert of_two == [
        ("trial.created", "running"),
        ("trial.reported", "running"),
        ("trial.released", "paused"),
        ("trial.started", "running"),
    ]


def test_paused_trials_are_listed_by_their_state(api: Api) -> None:
    at_first_rung(api, [0.3, 0.1])
    api.one()
    items = api.call("GET", f"{api.base}/trials?state=paused", status=200)["items"]
    assert [item["number"] for item in items] == [1, 2]
