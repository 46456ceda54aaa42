"""When a study is over: stop conditions, budgets, pauses, exhausted spaces, pruning rules."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Study
from tests.conftest import Api

SMALL = {"k": {"type": "categorical", "choices": ["a", "b", "c"]}}


def said(answer: dict[str, Any]) -> tuple[int, bool, str | None]:
    return len(answer["trials"]), answer["done"], answer["reason"]


def test_max_trials_waits_for_the_running_and_is_done_with_the_last(api: Api) -> None:
    api.create(algorithm="random", stop={"max_trials": 2})
    assert said(api.ask(count=5)) == (2, False, None)
    answer = api.ask()
    assert said(answer) == (0, False, "waiting-for-running")
    assert answer["retry_after_seconds"] > 0
    api.tell(1, value=1.0)
    assert said(api.ask()) == (0, False, "waiting-for-running")
    api.tell(2, state="failed")
    answer = api.ask()
    assert said(answer) == (0, True, "max_trials")
    assert answer["retry_after_seconds"] is None


@pytest.mark.parametrize("ending", [{"value": 1.0}, {"state": "failed"}, {"state": "infeasible"}, {"state": "pruned"}])
def test_every_ending_of_a_trial_that_was_handed_out_counts_towards_max_trials(
    api: Api, ending: dict[str, Any]
) -> None:
    api.create(algorithm="random", stop={"max_trials": 1})
    api.one()
    api.tell(1, **ending)
    assert said(api.ask()) == (0, True, "max_trials")


def test_imported_trials_do_not_count_towards_max_trials(api: Api) -> None:
    api.create(algorithm="random", stop={"max_trials": 1})
    api.add(trials=[{"params": {"x": 0.5}, "value": 1.0}, {"params": {"x": 0.6}, "state": "failed"}])
    assert said(api.ask()) == (1, False, None)
    assert said(api.ask()) == (0, False, "waiting-for-running")


def test_enqueued_trials_count_when_they_are_handed_out(api: Api) -> None:
    api.create(algorithm="random", stop={"max_trials": 2})
    for x in (0.1, 0.2, 0.3):
        api.add(params={"x": x})
    assert said(api.ask(count=2)) == (2, False, None)
    for number in (1, 2):
        api.tell(number, value=1.0)
    assert said(api.ask()) == (0, True, "max_trials")
    assert api.counts() == {"complete": 2, "waiting": 1}


def test_lost_and_removed_trials_give_their_place_in_max_trials_back(api: Api, age_leases: Callable[[], None]) -> None:
    api.create(algorithm="random", stop={"max_trials": 1}, max_retries=1)
    api.one()
    age_leases()
    assert api.one()["number"] == 2
    api.tell(2, value=1.0)
    assert api.ask()["done"] is True
    api.remove(2)
    assert api.one()["number"] == 3


def test_a_released_trial_keeps_its_place_and_comes_again(api: Api) -> None:
    api.create(algorithm="random", stop={"max_trials": 1})
    api.one()
    api.do("release", 1)
    assert api.one()["number"] == 1


def test_the_budget_is_the_studys_however_many_ask_at_once(api: Api) -> None:
    api.create(algorithm="random", stop={"max_trials": 7})
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda k: api.ask(count=3, worker=f"w{k}"), range(6)))
    assert sum(len(answer["trials"]) for answer in answers) == 7


@pytest.mark.parametrize(("direction", "near", "reached"), [("minimize", 0.11, 0.1), ("maximize", 0.09, 0.1)])
def test_target_is_in_the_objectives_own_direction(api: Api, direction: str, near: float, reached: float) -> None:
    api.create(algorithm="random", direction=direction, stop={"target": 0.1})
    api.ask(count=2)
    api.tell(1, value=near)
    assert said(api.ask()) == (1, False, None)
    api.tell(2, value=reached)
    assert said(api.ask()) == (0, False, "waiting-for-running")
    api.tell(3, value=5.0)
    assert said(api.ask()) == (0, True, "target")


def test_target_of_several_objectives_is_reached_by_one_trial_good_enough_in_each(api: Api) -> None:
    api.create(
        algorithm="random",
        objectives=[{"name": "acc", "direction": "maximize"}, {"name": "ms", "direction": "minimize"}],
        stop={"target": {"acc": 0.9, "ms": 10}},
    )
    api.ask(count=3)
    api.tell(1, values={"acc": 0.95, "ms": 20})
    api.tell(2, values={"acc": 0.5, "ms": 5})
    assert said(api.ask()) == (1, False, None)
    api.tell(3, values={"acc": 0.9, "ms": 10})
    api.tell(4, values={"acc": 0, "ms": 99})
    assert said(api.ask()) == (0, True, "target")


def test_a_target_that_does_not_go_with_the_objectives_is_refused(api: Api) -> None:
    two = [{"name": "a"}, {"name": "b"}]
    for objectives, target in ((two, 1.0), (two, {"c": 1.0}), ([{"name": "a"}], {"b": 1.0})):
        problem = api.call(
            "PUT", api.base, {"space": SMALL, "objectives": objectives, "stop": {"target": target}}, status=422
        )
        assert problem["errors"][0]["pointer"] == "/stop/target"


def test_a_trial_that_breaks_an_outcome_does_not_reach_the_target(api: Api) -> None:
    api.create(algorithm="random", outcomes=[{"name": "mb", "at_most": 512}], stop={"target": 1.0})
    api.ask(count=1)
    api.tell(1, values={"value": 0.5, "mb": 513})
    assert said(api.ask()) == (1, False, None)


def test_patience_counts_complete_trials_since_the_last_improvement(api: Api) -> None:
    api.create(algorithm="random", stop={"patience": 3})
    api.ask(count=6)
    for number, value in ((1, 1.0), (2, 2.0), (3, 2.0), (4, 0.5), (5, 0.5), (6, 0.6)):
        assert api.get()["state"] == "active"
        api.tell(number, value=value)
    assert said(api.ask()) == (1, False, None), "an equal value is no improvement, so 5 and 6 are two without"
    api.tell(7, state="failed")
    assert said(api.ask()) == (1, False, None), "a failure is not a complete trial"
    api.tell(8, value=0.5)
    assert said(api.ask()) == (0, True, "patience")


def test_a_tie_by_a_lower_number_is_no_improvement(api: Api) -> None:
    api.create(algorithm="random", stop={"patience": 2})
    api.ask(count=3)
    api.tell(3, value=1.0)
    api.tell(2, value=2.0)
    api.tell(1, value=1.0)
    assert said(api.ask()) == (0, True, "patience")


def test_max_cost_sums_what_was_told(api: Api) -> None:
    api.create(algorithm="random", stop={"max_cost": 3})
    api.ask(count=3)
    api.tell(1, value=1.0, cost=1.5)
    api.tell(2, state="failed", cost=1.25)
    assert said(api.ask()) == (1, False, None)
    api.tell(3, value=1.0, cost=0.25)
    api.tell(4, value=1.0)
    assert said(api.ask()) == (0, True, "max_cost")


def shift(store: Store, **by_seconds: float) -> None:
    """Moves the study's clocks into the past."""
    with store.write(EVERY_PROJECT) as session:
        study = session.scalars(select(Study)).one()
        for column, seconds in by_seconds.items():
            setattr(study, column, getattr(study, column) - timedelta(seconds=seconds))


def test_max_seconds_counts_from_the_first_ask(api: Api, store: Store) -> None:
    api.create(algorithm="random", stop={"max_seconds": 100})
    shift(store, created_at=1000)
    api.one()
    api.tell(1, value=1.0)
    shift(store, first_ask_at=99)
    api.tell(api.one()["number"], value=1.0)
    shift(store, first_ask_at=1)
    assert said(api.ask()) == (0, True, "max_seconds")


def test_max_seconds_leaves_pauses_out(api: Api, store: Store) -> None:
    api.create(algorithm="random", stop={"max_seconds": 100})
    api.one()
    api.tell(1, value=1.0)
    api.patch(state="paused")
    shift(store, first_ask_at=500, paused_at=500)
    api.patch(state="active")
    assert said(api.ask()) == (1, False, None)
    api.tell(2, value=1.0)
    shift(store, first_ask_at=100)
    assert said(api.ask()) == (0, True, "max_seconds")


def test_a_paused_study_hands_nothing_out_and_takes_results(api: Api) -> None:
    api.create(algorithm="random")
    api.one(worker="w")
    api.patch(state="paused")
    answer = api.ask()
    assert said(answer) == (0, False, "paused")
    assert answer["retry_after_seconds"] > 0
    api.report(1, step=1, value=1)
    assert api.tell(1, value=1.0)["state"] == "complete"
    api.patch(state="active")
    assert said(api.ask()) == (1, False, None)


def test_a_stopped_study_is_done_at_once_and_keeps_later_tells(api: Api) -> None:
    api.create(algorithm="random")
    api.one()
    api.patch(state="stopped")
    assert said(api.ask()) == (0, True, "stopped")
    assert api.tell(1, value=1.0)["state"] == "complete"
    api.patch(state="active")
    assert said(api.ask()) == (1, False, None)


def test_a_tell_after_a_stop_condition_is_kept(api: Api) -> None:
    api.create(algorithm="random", stop={"target": 0.0})
    api.ask(count=2)
    api.tell(1, value=0.0)
    assert api.tell(2, value=-1.0)["state"] == "complete"
    assert api.get()["best"]["number"] == 2


@pytest.mark.parametrize("algorithm", ["auto", "gp", "tpe", "cmaes", "nsga2", "sobol", "random", "grid"])
def test_a_small_space_is_exhausted_after_its_last_configuration(api: Api, algorithm: str) -> None:
    api.create(space=SMALL, algorithm=algorithm)
    trials = api.ask(count=9)["trials"]
    assert sorted(trial["params"]["k"] for trial in trials) == ["a", "b", "c"]
    assert said(api.ask()) == (0, False, "waiting-for-running")
    for trial in trials:
        api.tell(trial["number"], value=1.0)
    assert said(api.ask()) == (0, True, "space-exhausted")


def test_an_exhausted_space_that_is_widened_goes_on(api: Api) -> None:
    api.create(space=SMALL, algorithm="random")
    for trial in api.ask(count=3)["trials"]:
        api.tell(trial["number"], value=1.0)
    assert api.ask()["done"] is True
    api.call("PATCH", f"{api.base}/space", {"k": {"choices": ["a", "b", "c", "d"]}}, status=200)
    assert api.one()["params"] == {"k": "d"}


def test_a_grid_ends_with_its_last_point(api: Api) -> None:
    api.create(algorithm={"name": "grid", "resolution": 3})
    trials = api.ask(count=9)["trials"]
    assert [trial["params"]["x"] for trial in trials] == [0.0, 0.5, 1.0]
    for trial in trials:
        api.tell(trial["number"], value=1.0)
    assert said(api.ask()) == (0, True, "space-exhausted")


def test_raising_max_trials_reopens_a_study_that_was_done(api: Api) -> None:
    api.create(algorithm="random", stop={"max_trials": 1})
    api.tell(api.one()["number"], value=1.0)
    assert api.ask()["done"] is True
    assert api.patch(stop={"max_trials": 2})["stop"] == {"max_trials": 2}
    assert said(api.ask()) == (1, False, None)


def test_asha_prunes_a_trial_outside_the_best_third_at_its_rung(api: Api) -> None:
    api.create(algorithm="random", pruning={"rule": "asha", "min_step": 1, "max_step": 27, "eta": 3})
    api.ask(count=4)
    words = [api.report(number, step=1, value=value) for number, value in ((1, 0.1), (2, 0.2), (3, 0.3), (4, 0.05))]
    assert [word["prune"] for word in words] == [False, False, True, False]
    assert [word["rung"] for word in words] == [0, 0, 0, 0]
    assert words[2]["reason"]
    assert api.report(1, step=9, value=0.1)["rung"] == 2


def test_the_median_rule_needs_enough_trials_and_then_prunes(api: Api) -> None:
    api.create(algorithm="random", direction="maximize", pruning={"rule": "median", "min_trials": 2})
    api.ask(count=3)
    for number, value in ((1, 0.8), (2, 0.9)):
        assert api.report(number, step=1, value=value)["prune"] is False
    assert api.report(3, step=1, value=0.1)["prune"] is True
