"""Ask and tell, as a caller meets them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Study, Trial
from tests.conftest import Api

Ageing = Callable[[], None]
SMALL = {"k": {"type": "categorical", "choices": ["a", "b", "c"]}}


def numbers(asked: dict[str, Any]) -> list[int]:
    return [trial["number"] for trial in asked["trials"]]


def test_a_trial_is_handed_out_and_told(api: Api) -> None:
    api.create()
    trial = api.one(worker="node-3")
    assert (trial["number"], trial["state"], trial["attempt"], trial["worker"]) == (1, "running", 1, "node-3")
    told = api.tell(1, value=0.5, lease=trial["lease"]["token"])
    assert (told["state"], told["values"], told["lease"]) == ("complete", {"value": 0.5}, None)
    assert api.get()["best"]["number"] == 1


# --- the order of hand-out --------------------------------------------------------------------------------------


def test_trials_are_handed_out_own_live_then_expired_then_enqueued_oldest_first_then_new(
    api: Api, age_leases: Ageing
) -> None:
    api.create(algorithm="random")
    expired = api.one(worker="other", lease_seconds=60)["number"]
    age_leases()
    api.get()
    first, second = api.add(params={"x": 0.25})["number"], api.add(params={"x": 0.75})["number"]
    own = api.one(worker="me")
    assert own["number"] == expired, "without resume nothing is live yet, so the expired one comes"
    api.do("release", expired)
    mine = api.ask(worker="me", fixed={"x": 0.5})["trials"][0]["number"]
    asked = api.ask(worker="me", resume=True, count=5)
    assert numbers(asked) == [mine, expired, first, second, max(mine, second) + 1]
    assert [trial["attempt"] for trial in asked["trials"]] == [2, 3, 1, 1, 1]


def test_an_expired_trial_is_handed_out_before_a_new_one_though_nobody_looked_meanwhile(
    api: Api, age_leases: Ageing
) -> None:
    api.create(algorithm="random")
    first = api.one()
    age_leases()
    again = api.one()
    assert (again["number"], again["params"], again["attempt"]) == (1, first["params"], 2)


def test_expired_trials_are_handed_out_in_the_order_of_their_expiry(api: Api, store: Store) -> None:
    api.create(algorithm="random")
    api.ask(count=3)

    with store.write(EVERY_PROJECT) as session:
        for number, day in ((1, 3), (2, 1), (3, 2)):
            session.execute(
                update(Trial).where(Trial.number == number).values(lease_expires_at=datetime(2000, 1, day, tzinfo=UTC))
            )
    assert numbers(api.ask(count=4)) == [2, 3, 1, 4]


def test_resume_takes_an_expired_trial_of_the_worker_up_once(api: Api, age_leases: Ageing) -> None:
    api.create(algorithm="random")
    api.one(worker="w")
    age_leases()
    asked = api.ask(worker="w", resume=True, count=1)
    assert numbers(asked) == [1]
    assert asked["trials"][0]["state"] == "running"
    assert api.counts() == {"running": 1}


def test_resume_gives_new_tokens_and_the_old_ones_no_longer_hold(api: Api) -> None:
    api.create(algorithm="random")
    before = api.one(worker="w")
    (after,) = api.ask(worker="w", resume=True)["trials"]
    assert after["lease"]["token"] != before["lease"]["token"]
    assert api.do("heartbeat", 1, lease=before["lease"]["token"], status=409)["code"] == "lease-lost"
    api.do("heartbeat", 1, lease=after["lease"]["token"])


def test_resume_leaves_the_trials_of_other_workers_alone(api: Api) -> None:
    api.create(algorithm="random")
    api.one(worker="a")
    assert numbers(api.ask(worker="b", resume=True)) == [2]


def test_resume_without_a_worker_is_refused(api: Api) -> None:
    api.create()
    assert "worker" in api.ask(resume=True, status=422)["detail"]


def test_a_trial_taken_up_again_brings_its_reports_and_checkpoint(api: Api, age_leases: Ageing) -> None:
    api.create(algorithm="random")
    token = api.one()["lease"]["token"]
    api.report(1, step=1, value=0.5, lease=token)
    api.report(1, step=2, value=0.25, lease=token)
    api.do("heartbeat", 1, checkpoint="s3://bucket/1", lease=token)
    age_leases()
    again = api.one()
    assert [(r["step"], r["attempt"], r["values"]) for r in again["reports"]] == [
        (1, 1, {"value": 0.5}),
        (2, 1, {"value": 0.25}),
    ]
    assert (again["checkpoint"], again["attempt"]) == ("s3://bucket/1", 2)


# --- enqueued ones ----------------------------------------------------------------------------------------------


def test_a_partial_enqueued_trial_is_completed_when_it_is_handed_out(api: Api) -> None:
    api.create(space={"x": {"type": "float", "low": 0, "high": 1}, "n": {"type": "int", "low": 1, "high": 9}})
    waiting = api.add(params={"n": 4})
    assert (waiting["state"], waiting["params"], waiting["origin"]["source"]) == ("waiting", {"n": 4}, "enqueued")
    trial = api.one()
    assert trial["number"] == waiting["number"]
    assert trial["params"]["n"] == 4
    assert 0 <= trial["params"]["x"] <= 1
    assert api.trial(1)["params"] == trial["params"]


CONDITIONAL = {
    "kernel": {"type": "categorical", "choices": ["rbf", "poly"]},
    "degree": {"type": "int", "low": 2, "high": 6, "when": {"kernel": ["poly"]}},
    "coef": {"type": "float", "low": 0, "high": 1, "when": {"degree": [3, 4]}},
}


def test_an_enqueued_child_selects_its_parents_values(api: Api) -> None:
    api.create(space=CONDITIONAL)
    api.add(params={"coef": 0.5})
    params = api.one()["params"]
    assert params["kernel"] == "poly"
    assert params["degree"] in (3, 4)
    assert params["coef"] == 0.5


def test_an_enqueued_child_that_contradicts_its_parent_is_refused(api: Api) -> None:
    api.create(space=CONDITIONAL)
    problem = api.add(params={"kernel": "rbf", "degree": 3}, status=422)
    assert problem["code"] == "space-violation"
    assert problem["errors"][0]["pointer"] == "/params/degree"


def test_a_partial_trial_that_nothing_completes_is_refused_and_holds_nobody_up(api: Api) -> None:
    api.create(
        space={"x": {"type": "float", "low": 0, "high": 1}, "y": {"type": "float", "low": 0.5, "high": 1}},
        constraints=["x + y <= 1"],
    )
    assert api.add(params={"x": 0.9}, status=422)["code"] == "space-violation"
    assert api.one()["number"] == 1


def test_partial_trials_left_without_a_completion_by_a_space_edit_do_not_block_the_study(api: Api) -> None:
    api.create(
        space={"x": {"type": "float", "low": 0, "high": 1}, "y": {"type": "float", "low": 0, "high": 1}},
        constraints=["x + y <= 1"],
        algorithm="random",
    )
    api.add(params={"x": 0.9})
    api.call("PATCH", f"{api.base}/space", {"y": {"low": 0.5}}, status=200)
    assert numbers(api.ask()) == [2]
    assert "constraints" in api.trial(1)["reason"]
    assert api.counts() == {"infeasible": 1, "running": 1}


def test_an_enqueued_configuration_is_not_suggested_again(api: Api) -> None:
    api.create(space=SMALL)
    api.add(params={"k": "b"})
    assert sorted(trial["params"]["k"] for trial in api.ask(count=3)["trials"]) == ["a", "b", "c"]


# --- fixed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["gp", "tpe", "cmaes", "nsga2", "random", "sobol", "grid"])
def test_fixed_values_are_kept_by_new_trials(api: Api, algorithm: str) -> None:
    space = {"x": {"type": "float", "low": 0, "high": 1}, "k": SMALL["k"], "n": {"type": "int", "low": 1, "high": 9}}
    api.create(space=space, algorithm=algorithm)
    for _ in range(8):
        for trial in api.ask(count=1)["trials"]:
            api.tell(trial["number"], value=trial["params"]["x"])
    asked = api.ask(count=3, fixed={"k": "c", "n": 2})
    assert [(t["params"]["k"], t["params"]["n"]) for t in asked["trials"]] == [("c", 2)] * 3


@pytest.mark.parametrize("algorithm", ["gp", "tpe", "cmaes", "nsga2", "random"])
def test_a_fixed_child_selects_its_parent_also_where_the_model_speaks(api: Api, algorithm: str) -> None:
    api.create(space=CONDITIONAL, algorithm=algorithm, seed=1)
    for k in range(6):
        api.add(params={"kernel": "rbf"} if k == 0 else {"kernel": "poly", "degree": 2}, value=float(k))
    for trial in api.ask(count=3, fixed={"degree": 5})["trials"]:
        assert trial["params"] == {"kernel": "poly", "degree": 5} or trial["params"]["degree"] == 5


@pytest.mark.parametrize("fixed", [{"x": 2.0}, {"x": "a"}, {"nothing": 1}, {"x": True}])
def test_fixed_values_outside_the_space_are_refused_and_other_asks_go_on(api: Api, fixed: dict[str, Any]) -> None:
    api.create()
    for k in range(7):
        api.add(params={"x": k / 7}, value=float(k))
    problem = api.ask(fixed=fixed, status=422)
    assert problem["code"] == "space-violation"
    assert api.one()["number"] == 8


def test_a_waiting_trial_is_not_given_to_an_ask_that_fixes_values(api: Api) -> None:
    api.create(algorithm="random")
    api.add(params={"x": 0.25})
    assert api.one(fixed={"x": 0.5})["params"] == {"x": 0.5}
    assert api.trial(1)["state"] == "waiting"


# --- leases and late words --------------------------------------------------------------------------------------


def test_a_lease_that_ran_out_is_handed_out_again_with_one_attempt_more(api: Api, age_leases: Ageing) -> None:
    api.create()
    first = api.one()
    age_leases()
    assert api.trial(1)["state"] == "waiting"
    again = api.one()
    assert (again["number"], again["params"], again["attempt"]) == (1, first["params"], 2)
    lost = api.tell(1, value=1.0, lease=first["lease"]["token"], status=409)
    assert lost["code"] == "lease-lost"


def test_a_trial_whose_lease_ran_out_counts_as_waiting_at_once(api: Api, age_leases: Ageing) -> None:
    api.create()
    api.one()
    age_leases()
    assert api.counts() == {"waiting": 1}
    assert [t["number"] for t in api.call("GET", f"{api.base}/trials?state=waiting", status=200)["items"]] == [1]


def test_the_slow_holder_may_still_tell_with_its_token_while_nobody_took_the_trial(
    api: Api, age_leases: Ageing
) -> None:
    api.create()
    token = api.one()["lease"]["token"]
    age_leases()
    api.get()
    assert api.tell(1, value=1.0, lease=token)["state"] == "complete"


def test_a_heartbeat_takes_an_expired_trial_up_again_while_nobody_else_did(api: Api, age_leases: Ageing) -> None:
    api.create()
    token = api.one()["lease"]["token"]
    age_leases()
    api.get()
    assert api.do("heartbeat", 1, lease=token)["stop"] is False
    trial = api.trial(1)
    assert (trial["state"], trial["attempt"]) == ("running", 1)
    assert api.counts() == {"running": 1}


def test_a_late_tell_without_token_is_kept_and_the_holder_learns_of_it(api: Api, age_leases: Ageing) -> None:
    api.create()
    api.one(worker="slow")
    age_leases()
    token = api.one(worker="quick")["lease"]["token"]
    assert api.tell(1, value=0.5)["state"] == "complete"
    assert api.tell(1, value=0.75, lease=token, status=409)["code"] == "trial-finished-differently"
    assert api.do("heartbeat", 1, lease=token, status=409)["code"] == "trial-finished-differently"
    assert api.report(1, step=1, value=1.0, lease=token, status=409)["code"] == "trial-finished-differently"
    assert api.tell(1, value=0.5, lease=token)["values"] == {"value": 0.5}


def test_a_trial_is_lost_after_max_retries_expiries(api: Api, age_leases: Ageing) -> None:
    api.create(max_retries=2, algorithm="random")
    for attempt in (1, 2):
        assert api.one()["attempt"] == attempt
        age_leases()
    assert api.trial(1)["state"] == "lost"
    assert api.one()["number"] == 2, "a lost trial is not handed out again"


def test_a_lost_trial_takes_a_late_tell_without_token_and_none_with_one(api: Api, age_leases: Ageing) -> None:
    api.create(max_retries=1, algorithm="random")
    token = api.one()["lease"]["token"]
    age_leases()
    assert api.trial(1)["state"] == "lost"
    assert api.tell(1, value=1.0, lease=token, status=409)["code"] == "lease-lost"
    assert api.tell(1, value=1.0)["state"] == "complete"
    assert api.counts() == {"complete": 1}


def test_a_lost_trial_is_enqueued_again_by_retry_with_a_fresh_count_of_expiries(api: Api, age_leases: Ageing) -> None:
    api.create(max_retries=2, algorithm="random")
    for _ in range(2):
        api.one()
        age_leases()
    assert api.trial(1)["state"] == "lost"
    assert api.do("retry", 1)["state"] == "waiting"
    again = api.one()
    assert (again["number"], again["attempt"]) == (1, 3)
    age_leases()
    assert api.trial(1)["state"] == "waiting"


def test_retry_brings_back_a_failed_trial_and_refuses_others(api: Api) -> None:
    api.create(algorithm="random")
    api.ask(count=2)
    api.tell(1, state="failed", reason="no memory")
    api.tell(2, value=1.0)
    trial = api.do("retry", 1)
    assert (trial["state"], trial["reason"], trial["finished_at"]) == ("waiting", None, None)
    assert api.do("retry", 2, status=409)["code"] == "illegal-state"
    assert api.do("retry", 1, status=409)["code"] == "illegal-state"


def test_a_released_trial_waits_and_release_again_changes_nothing(api: Api) -> None:
    api.create(algorithm="random")
    token = api.one()["lease"]["token"]
    for _ in range(2):
        assert api.do("release", 1, lease=token)["state"] == "waiting"
    assert api.counts() == {"waiting": 1}
    assert numbers(api.ask()) == [1]
    assert api.do("release", 1, lease=token, status=409)["code"] == "lease-lost"


def test_a_heartbeat_on_its_way_does_not_revive_a_released_trial(api: Api) -> None:
    api.create(algorithm="random")
    token = api.one()["lease"]["token"]
    api.do("release", 1, lease=token)
    assert api.do("heartbeat", 1, lease=token, status=409)["code"] in ("lease-lost", "illegal-state")
    assert api.counts() == {"waiting": 1}


def test_heartbeats_and_reports_extend_the_lease(api: Api, age_leases: Ageing, store: Store) -> None:
    api.create(algorithm="random")
    trial = api.one(lease_seconds=100)
    for k, beat in enumerate((lambda: api.do("heartbeat", 1), lambda: api.report(1, step=1, value=0.5))):
        ends = datetime.fromisoformat(trial["lease"]["expires_at"]) - timedelta(seconds=50)
        with store.write(EVERY_PROJECT) as session:
            session.execute(update(Trial).values(lease_expires_at=ends))
        assert datetime.fromisoformat(beat()["lease"]["expires_at"]) > ends + timedelta(seconds=40), k


def test_a_waiting_trial_may_be_told_without_token(api: Api) -> None:
    api.create()
    api.add(params={"x": 0.5})
    assert api.tell(1, value=2.0)["state"] == "complete"
    assert api.counts() == {"complete": 1}


def test_a_report_or_heartbeat_on_a_trial_that_nobody_runs_is_refused(api: Api) -> None:
    api.create()
    api.add(params={"x": 0.5})
    assert api.do("heartbeat", 1, status=409)["code"] == "illegal-state"
    assert api.report(1, step=1, value=1, status=409)["code"] == "illegal-state"


def test_stop_is_heard_by_the_next_heartbeat_and_report(api: Api) -> None:
    api.create(algorithm="random")
    api.one()
    api.do("stop", 1)
    assert api.do("heartbeat", 1)["stop"] is True
    word = api.report(1, step=1, value=1)
    assert (word["stop"], word["reason"]) == (True, "stop-requested")
    api.tell(1, value=1.0)
    assert api.do("stop", 1, status=409)["code"] == "illegal-state"


def test_a_stopped_study_tells_its_running_trials_to_stop_and_keeps_their_results(api: Api) -> None:
    api.create(algorithm="random")
    api.one()
    api.patch(state="stopped")
    assert api.report(1, step=1, value=1.0)["stop"] is True
    assert api.tell(1, value=1.0)["state"] == "complete"


# --- telling ----------------------------------------------------------------------------------------------------


def test_the_same_result_again_is_200_and_changes_nothing(api: Api) -> None:
    api.create()
    token = api.one()["lease"]["token"]
    first = api.tell(1, value=0.5, noise=0.1, cost=2, metadata={"gpu": 1}, lease=token)
    assert api.tell(1, value=0.5, noise=0.1, cost=2.0, lease=token) == first
    assert api.tell(1, values={"value": 0.5}, noise=0.1, cost=2) == first


@pytest.mark.parametrize(
    "other", [{"value": 0.6}, {"value": 0.5, "noise": 0.1}, {"value": 0.5, "cost": 1}, {"state": "failed"}]
)
def test_a_different_result_is_a_conflict_and_the_first_stands(api: Api, other: dict[str, Any]) -> None:
    api.create()
    api.one()
    first = api.tell(1, value=0.5)
    problem = api.tell(1, status=409, **other)
    assert problem["code"] == "trial-finished-differently"
    assert problem["here"]["values"] == {"value": 0.5}
    assert api.trial(1) | {"reports": None} == first | {"reports": None}


def test_telling_of_many_answers_in_order_and_each_fails_by_itself(api: Api) -> None:
    api.create()
    api.ask(count=3)
    results = [
        {"number": 3, "value": 1.2},
        {"number": 9, "value": 1.0},
        {"number": 1, "state": "failed", "reason": "no memory"},
        {"number": 2, "value": "x"},
        {"number": 2, "value": 0.5, "typo": 1},
        {"number": 3, "value": 1.2},
        {"number": 3, "value": 1.3},
        {"value": 1.0},
        {"number": 2, "state": "paused"},
    ]
    answers = api.call("POST", f"{api.base}/tell", {"results": results}, status=200)["results"]
    assert [answer["number"] for answer in answers] == [3, 9, 1, 2, 2, 3, 3, None, 2]
    assert [answer["status"] for answer in answers] == [200, 404, 200, 422, 422, 200, 409, 422, 409]
    assert [(a["problem"] or {}).get("code") for a in answers] == [
        None, "trial-not-found", None, "invalid", "invalid", None, "trial-finished-differently", "invalid",
        "illegal-state",
    ]  # fmt: skip
    assert api.counts() == {"complete": 1, "failed": 1, "running": 1}


def test_a_thousand_results_are_taken_at_once_and_no_more(api: Api) -> None:
    api.create()
    results = [{"number": 1, "value": 1.0}] * 1000
    assert len(api.call("POST", f"{api.base}/tell", {"results": results}, status=200)["results"]) == 1000
    api.call("POST", f"{api.base}/tell", {"results": [*results, results[0]]}, status=422)


def test_a_pruned_trial_has_the_values_of_its_last_report(api: Api) -> None:
    api.create(algorithm="random")
    api.one()
    for step, value in ((1, 0.9), (2, 0.8), (3, "nan")):
        api.report(1, step=step, value=value)
    told = api.tell(1, state="pruned", reason="slow")
    assert (told["state"], told["values"], told["reason"]) == ("pruned", {"value": 0.8}, "slow")
    assert api.tell(1, state="pruned")["state"] == "pruned"
    assert api.get()["best"] is None


def test_a_report_is_kept_once_and_another_value_at_its_step_is_a_conflict(api: Api) -> None:
    api.create(algorithm="random")
    api.one()
    for _ in range(2):
        api.report(1, step=3, value=0.81)
    problem = api.report(1, step=3, value=0.82, status=409)
    assert (problem["code"], problem["here"]) == ("report-differs", {"value": 0.81})
    assert [r["step"] for r in api.trial(1)["reports"]] == [3]


def test_a_repeated_report_is_200_also_when_the_trial_is_finished(api: Api) -> None:
    api.create(algorithm="random")
    api.one()
    api.report(1, step=1, value=0.5)
    api.tell(1, value=0.4)
    api.report(1, step=1, value=0.5)
    assert api.report(1, step=2, value=0.5, status=409)["code"] == "trial-finished-differently"


def test_who_overslept_hears_so_and_not_that_the_reports_of_its_successor_differ(api: Api, age_leases: Ageing) -> None:
    api.create(algorithm="random")
    old = api.one()["lease"]["token"]
    age_leases()
    new = api.one()["lease"]["token"]
    api.report(1, step=1, value=0.5, lease=new)
    assert api.report(1, step=1, value=0.6, lease=old, status=409)["code"] == "lease-lost"
    assert api.report(1, step=1, value=0.6, lease=new, status=409)["code"] == "report-differs"
    api.tell(1, value=0.4, lease=new)
    assert api.report(1, step=1, value=0.6, lease=old, status=409)["code"] == "trial-finished-differently"


def test_a_new_attempt_supersedes_the_older_ones_steps(api: Api) -> None:
    api.create(algorithm="random")
    api.one()
    api.report(1, step=1, value=0.5)
    api.report(1, step=2, value=0.4)
    api.do("release", 1)
    api.one()
    api.report(1, step=1, value=0.7)
    assert [(r["step"], r["attempt"], r["values"]["value"]) for r in api.trial(1)["reports"]] == [
        (1, 2, 0.7),
        (2, 1, 0.4),
    ]


def test_a_report_of_a_trial_with_several_objectives_names_all_of_them(api: Api) -> None:
    api.create(
        objectives=[{"name": "a"}, {"name": "b", "direction": "maximize"}], outcomes=[{"name": "mb", "at_most": 1}]
    )
    api.one()
    api.report(1, step=1, values={"a": 1, "b": 2})
    problem = api.report(1, step=2, values={"a": 1}, status=422)
    assert problem["errors"][0]["pointer"] == "/values/b"
    api.report(1, step=2, value=1, status=422)


# --- correcting and removing ------------------------------------------------------------------------------------


def test_a_removed_trial_is_404_everywhere_and_its_number_is_never_used_again(api: Api) -> None:
    api.create(algorithm="random")
    api.ask(count=2)
    api.tell(2, value=1.0)
    api.remove(2)
    for problem in (
        api.trial(2, status=404),
        api.tell(2, value=1.0, status=404),
        api.do("release", 2, status=404),
        api.do("stop", 2, status=404),
        api.do("retry", 2, status=404),
        api.call("PATCH", f"{api.base}/trials/2", {"value": 1}, status=404),
        api.call("DELETE", f"{api.base}/trials/2", status=404),
    ):
        assert problem["code"] == "trial-removed"
    assert numbers(api.ask()) == [3]
    assert [t["number"] for t in api.call("GET", f"{api.base}/trials", status=200)["items"]] == [1, 3]
    assert api.get()["best"] is None


def test_the_holder_of_a_removed_trial_hears_stop(api: Api) -> None:
    api.create(algorithm="random")
    token = api.one()["lease"]["token"]
    api.remove(1)
    for word in (api.do("heartbeat", 1, lease=token), api.report(1, step=1, value=1, lease=token)):
        assert (word["stop"], word["reason"]) == (True, "trial-removed")


def test_a_finished_trial_is_corrected_and_the_log_keeps_what_it_said(api: Api) -> None:
    api.create()
    api.one()
    api.tell(1, value=1.0, noise=0.5)
    corrected = api.call("PATCH", f"{api.base}/trials/1", {"value": 2.0, "noise": None, "reason": "typo"}, status=200)
    assert (corrected["values"], corrected["noise"], corrected["reason"]) == ({"value": 2.0}, None, "typo")
    (entry,) = api.call("GET", f"{api.base}/export", status=200)["log"]
    assert (entry["kind"], entry["reason"]) == ("corrected", "typo")
    assert (entry["before"]["values"], entry["after"]["values"]) == ({"value": 1.0}, {"value": 2.0})


def test_only_finished_trials_are_corrected(api: Api) -> None:
    api.create()
    api.one()
    assert api.call("PATCH", f"{api.base}/trials/1", {"value": 2.0}, status=409)["code"] == "illegal-state"


def test_a_correction_that_says_nothing_is_refused(api: Api) -> None:
    api.create()
    api.one()
    api.tell(1, value=1.0)
    for body in ({}, {"reason": "why not"}):
        api.call("PATCH", f"{api.base}/trials/1", body, status=422)


def test_metadata_cannot_be_corrected_to_nothing_but_to_an_empty_object(api: Api) -> None:
    api.create()
    api.one()
    api.tell(1, value=1.0, metadata={"a": 1})
    assert api.call("PATCH", f"{api.base}/trials/1", {"metadata": {}}, status=200)["metadata"] == {}
    api.call("PATCH", f"{api.base}/trials/1", {"metadata": None}, status=422)


def test_a_correction_moves_a_failed_trial_to_complete_and_the_counters_with_it(api: Api) -> None:
    api.create()
    api.one()
    api.tell(1, value="nan")
    assert api.counts() == {"failed": 1}
    api.call("PATCH", f"{api.base}/trials/1", {"value": 3}, status=200)
    assert api.counts() == {"complete": 1}
    assert api.get()["best"]["values"] == {"value": 3.0}


# --- no two alike -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["auto", "random", "sobol", "grid"])
def test_asks_at_once_never_hand_out_the_same_configuration(api: Api, algorithm: str) -> None:
    api.create(
        space={"a": {"type": "int", "low": 1, "high": 4}, "b": {"type": "int", "low": 1, "high": 4}},
        algorithm=algorithm,
    )
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: api.ask(count=2), range(8)))
    trials = [trial for answer in asked for trial in answer["trials"]]
    assert sorted(trial["number"] for trial in trials) == list(range(1, 17))
    assert len({tuple(sorted(trial["params"].items())) for trial in trials}) == 16


def test_numbers_have_no_gap_after_refused_and_failed_asks(api: Api, store: Store) -> None:
    api.create(algorithm="random")
    api.ask(count=1)
    api.ask(count=1, fixed={"nope": 1}, status=422)
    api.ask(count=0, status=422)
    api.add(params={"x": 7}, status=422)
    api.add(trials=[{"params": {"x": 0.5}}, {"params": {"x": 5}}], status=422)
    assert numbers(api.ask(count=2)) == [2, 3]
    with store.read(EVERY_PROJECT) as session:
        assert session.query(Study).one().next_number == 4


def test_waiting_trials_leave_less_room_for_new_ones_within_max_trials(api: Api) -> None:
    api.create(algorithm="random", stop={"max_trials": 2})
    for x in (0.25, 0.75):
        api.add(params={"x": x})
    assert numbers(api.ask(count=5)) == [1, 2]


def test_a_removed_trial_s_configuration_is_not_handed_out_again(api: Api) -> None:
    api.create(space={"b": {"type": "bool"}}, algorithm="random")
    first = api.one()
    api.tell(1, value=1.0)
    api.call("DELETE", f"{api.base}/trials/1", status=204)
    assert api.one()["params"] != first["params"]
    api.tell(2, value=1.0)
    assert api.ask()["reason"] == "space-exhausted"


def test_a_fixed_part_that_is_used_up_does_not_end_the_study(api: Api) -> None:
    api.create(space={"a": {"type": "bool"}, "b": {"type": "bool"}}, algorithm="random")
    for number in (1, 2):
        assert api.one(fixed={"a": True})["params"]["a"] is True
        api.tell(number, value=1.0)
    answer = api.ask(fixed={"a": True})
    assert (answer["trials"], answer["done"], answer["reason"]) == ([], False, "space-exhausted")
    assert api.one()["params"]["a"] is False


def test_a_finished_trial_cannot_be_given_back(api: Api) -> None:
    api.create()
    token = api.one()["lease"]["token"]
    api.tell(1, value=0.5)
    refused = api.call("POST", f"{api.base}/trials/1/release", {"lease": token}, status=409)
    assert refused["code"] == "trial-finished-differently"


def test_metadata_has_a_limit_over_all_messages(api: Api) -> None:
    api.create()
    api.one()
    for name in "ab":
        status = 200 if name == "a" else 422
        body = {"metadata": {name: "x" * 40_000}}
        answer = api.call("POST", f"{api.base}/trials/1/heartbeat", body, status=status)
    assert answer["errors"][0]["pointer"] == "/metadata"
    assert api.tell(1, value=0.5)["state"] == "complete"


def test_an_inactive_parameter_leaves_nothing_behind_in_a_shell(api: Api) -> None:
    api.create(
        space={
            "kernel": {"type": "categorical", "choices": ["rbf", "poly"]},
            "degree": {"type": "int", "low": 2, "high": 3, "when": {"kernel": ["poly"]}},
        }
    )
    api.call("POST", f"{api.base}/trials", {"params": {"kernel": "rbf"}}, status=201)
    lines = api.client.post(f"{api.base}/ask", headers={"Accept": "text/plain"}).text.splitlines()
    assert lines[-2:] == ["kernel='rbf'", "degree=''"]
