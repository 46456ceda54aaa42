"""The next point, computed before anybody asks for it: the same as without, or not served."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import keys, studies
from app.db.session import EVERY_PROJECT, Store
from app.db.studies import Address
from app.db.tables import Trial
from app.main import create_app
from app.search.suggest import Suggestion
from app.services import ask as asking
from app.services import plan as planning
from app.services.ask import AskCall, Asked, ask, hand_out
from app.services.expected import STUDIES_KEPT, Expected
from app.services.memory import Memory
from app.services.priors import is_open
from app.services.speculate import Speculation, speculate
from app.settings import Settings
from tests.conftest import Api

MODELLED = ["gp", "tpe", "cmaes", "nsga2"]


@pytest.fixture
def client(database_url: str) -> Iterator[TestClient]:
    """A server that does not compute ahead itself."""
    settings = Settings(database=database_url, sweep_seconds=3600, speculate=False)
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture
def place(store: Store) -> Address:
    with store.read(EVERY_PROJECT) as session:
        return Address(keys.project(session, "default").id, "study")


def prepared(api: Api, algorithm: str = "gp", n: int = 24, **definition: Any) -> None:
    """A study whose next point comes from the model, with a trial that is out."""
    api.create(algorithm=algorithm, seed=3, **definition)
    api.add(trials=[{"params": {"x": k / n}, "value": (k / n - 0.4) ** 2} for k in range(n)])
    api.one()


def asked(store: Store, place: Address, memory: Memory | None = None, count: int = 1) -> list[Trial]:
    (answer,) = ask(store, place, [AskCall(count=count)], memory)
    assert isinstance(answer, Asked), answer
    return list(answer.trials)


def without(api: Api, store: Store, place: Address) -> dict[str, Any]:
    """The next point of a copy of the study, computed when it is asked for."""
    api.call("POST", f"{api.base}/copy", {"name": "twin"}, status=201)
    # the trial that runs here waits in the copy, and is handed out first
    return dict(asked(store, Address(place.project_id, "twin"), count=2)[-1].params)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers whose points were computed."""
    numbers: list[int] = []
    points = planning._points

    def counting(definition: Any, history: Any, first_number: int, *others: Any) -> Iterator[Suggestion]:
        for number, point in enumerate(points(definition, history, first_number, *others), start=first_number):
            numbers.append(number)
            yield point

    monkeypatch.setattr(planning, "_points", counting)
    return numbers


@pytest.mark.parametrize("algorithm", MODELLED)
def test_a_point_computed_ahead_is_the_one_that_would_be_computed_now(
    api: Api, store: Store, place: Address, algorithm: str, computed: list[int]
) -> None:
    prepared(api, algorithm)
    expected = without(api, store, place)
    memory = Memory()
    speculate(store, place, memory)
    computed.clear()
    (trial,) = asked(store, place, memory)
    assert computed == []
    assert trial.params == expected
    assert (trial.origin["source"], trial.origin["speculated"]) == (algorithm, True)


@pytest.mark.parametrize(
    "change",
    [
        lambda api: api.tell(25, value=1.0),
        lambda api: api.add(params={"x": 0.77}, value=2.0),
        lambda api: api.call("PATCH", f"{api.base}/trials/3", {"value": -5.0}, status=200),
        lambda api: api.remove(10),
        lambda api: api.one(),
        lambda api: api.call("PATCH", f"{api.base}/space", {"x": {"high": 2}}, status=200),
    ],
)
def test_a_point_computed_ahead_is_not_served_once_the_log_has_changed(
    api: Api, store: Store, place: Address, change: Callable[[Api], Any], computed: list[int]
) -> None:
    prepared(api)
    memory = Memory()
    speculate(store, place, memory)
    change(api)
    n_before = len(computed)
    (trial,) = asked(store, place, memory)
    assert trial.origin["speculated"] is False
    assert computed[n_before:] == [trial.number]


@pytest.mark.parametrize(
    "change",
    [
        lambda api: api.report(25, step=1, value=0.5),
        lambda api: api.do("heartbeat", 25),
        lambda api: api.patch(description="another"),
    ],
)
def test_what_the_model_does_not_hear_of_leaves_it_standing(
    api: Api, store: Store, place: Address, change: Callable[[Api], Any]
) -> None:
    prepared(api)
    memory = Memory()
    speculate(store, place, memory)
    change(api)
    assert asked(store, place, memory)[0].origin["speculated"] is True


def test_asks_one_after_the_other_go_on_from_the_points_before(api: Api, store: Store, place: Address) -> None:
    prepared(api)
    memory = Memory()
    numbers = [asked(store, place, memory)[0].number for _ in range(3)]
    (line,) = memory.lines._lines.values()
    assert len(line._computed) == len(numbers) == 3


def test_a_batch_is_what_its_elements_are_one_by_one(api: Api, store: Store, place: Address) -> None:
    prepared(api)
    api.call("POST", f"{api.base}/copy", {"name": "twin"}, status=201)
    asked(store, Address(place.project_id, "twin"))
    batch = [trial.params for trial in asked(store, Address(place.project_id, "twin"), count=3)]
    memory = Memory()
    speculate(store, place, memory)
    first = asked(store, place, memory)
    assert [trial.params for trial in (*first, *asked(store, place, memory, count=2))] == batch


def test_nobody_looks_for_points_that_the_last_ask_did_not_find_until_some_are_prepared(
    api: Api, store: Store, place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(api)
    looks: list[int] = []

    def looking(here: Any, needs: Any, lines: Any) -> Any:
        looks.append(here.study.next_number)
        return planning.ready(here, needs, lines)

    monkeypatch.setattr(asking, "ready", looking)
    memory = Memory()
    numbers = [asked(store, place, memory)[0].number for _ in range(3)]
    assert looks == numbers[:1]
    speculate(store, place, memory)
    (trial,) = asked(store, place, memory)
    assert looks == [numbers[0], trial.number]
    assert trial.origin["speculated"] is True


def test_an_ask_that_does_not_look_first_settles_what_the_study_builds_on(
    api: Api, store: Store, place: Address
) -> None:
    prepared(api, warm_start="auto")
    api.call("POST", f"{api.base}/copy", {"name": "another"}, status=201)
    memory = Memory()
    asked(store, place, memory)
    assert memory.expected.are_missing(place)
    api.patch(warm_start=["another"])
    with store.read(place.project_id) as session:
        assert is_open(studies.open_study(session, place))
    asked(store, place, memory)
    with store.read(place.project_id) as session:
        assert not is_open(studies.open_study(session, place))


def test_a_study_without_a_model_under_an_old_name_is_looked_at_again(api: Api, store: Store, place: Address) -> None:
    prepared(api)
    memory = Memory()
    asked(store, place, memory)
    api.call("DELETE", api.base, status=204)
    api.create(algorithm="random", seed=3)
    for _ in range(2):
        assert asked(store, place, memory)[0].origin["source"] == "random"
        assert not memory.expected.are_missing(place)


def test_of_many_studies_without_points_the_oldest_are_forgotten() -> None:
    expected = Expected()
    for k in range(STUDIES_KEPT + 1):
        expected.note(Address(1, str(k)), 1)
    assert not expected.are_missing(Address(1, "0"))
    assert expected.are_missing(Address(1, "1"))


def test_who_came_too_late_does_not_part_the_others() -> None:
    expected, place = Expected(), Address(1, "study")
    numbers = []
    for n in (1, 4, 1, 1, 6, 5, 1, 0, 1):
        expected.note(place, n)
        numbers.append(expected.n_askers(place))
    assert numbers == [1, 4, 3, 2, 6, 5, 4, 0, 1]


@pytest.mark.parametrize(
    ("definition", "change"),
    [
        ({}, lambda api: api.patch(state="paused")),
        ({}, lambda api: api.patch(state="stopped")),
        ({"stop": {"max_trials": 1}}, lambda api: None),
        ({}, lambda api: api.add(params={"x": 0.99})),
        ({"algorithm": "random"}, lambda api: None),
    ],
)
def test_nothing_is_prepared_where_the_next_ask_gets_no_new_point_of_a_model(
    api: Api,
    store: Store,
    place: Address,
    definition: dict[str, Any],
    change: Callable[[Api], Any],
    computed: list[int],
) -> None:
    prepared(api, **definition)
    change(api)
    computed.clear()
    speculate(store, place, Memory())
    assert computed == []


def test_an_ask_waits_for_the_point_that_is_being_computed(
    api: Api, store: Store, place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(api)
    began, go_on = threading.Event(), threading.Event()
    computations: list[int] = []
    points = planning._points

    def slow(definition: Any, history: Any, first_number: int, *others: Any) -> Iterator[Suggestion]:
        computations.append(first_number)
        began.set()
        assert go_on.wait(30)
        yield from points(definition, history, first_number, *others)

    monkeypatch.setattr(planning, "_points", slow)
    memory = Memory()
    with ThreadPoolExecutor(2) as pool:
        ahead = pool.submit(speculate, store, place, memory)
        assert began.wait(30)
        answer = pool.submit(asked, store, place, memory)
        go_on.set()
        ahead.result(timeout=60)
        (trial,) = answer.result(timeout=60)
    assert computations == [26]
    assert trial.origin["speculated"] is True


def test_an_ask_whose_deadline_passed_gets_the_point_that_was_computed_ahead(
    api: Api, store: Store, place: Address
) -> None:
    prepared(api)
    memory = Memory()
    speculate(store, place, memory)
    (answer,) = hand_out(store, place, [AskCall()], memory, why="the deadline came")
    assert isinstance(answer, Asked)
    assert answer.trials[0].origin["source"] == "gp"


def test_a_computation_that_fails_is_heard_by_all_who_wait_and_tried_again(
    api: Api, store: Store, place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(api)
    memory = Memory()

    def wrong(*_: Any) -> Iterator[Suggestion]:
        raise ZeroDivisionError
        yield

    with monkeypatch.context() as patched:
        patched.setattr(planning, "_points", wrong)
        with pytest.raises(ZeroDivisionError):
            asked(store, place, memory)
    assert asked(store, place, memory)[0].origin["source"] == "gp"


# --- the thread -------------------------------------------------------------------------------------------------


def test_a_result_of_a_study_that_somebody_asks_for_is_followed_by_its_next_point(
    api: Api, store: Store, place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(api)
    memory, done = Memory(), threading.Event()

    def noted(*arguments: Any) -> None:
        speculate(*arguments)
        done.set()

    monkeypatch.setattr("app.services.speculate.speculate", noted)
    speculation = Speculation(store, memory)
    speculation.start()
    speculation.asked(place)
    api.tell(25, value=0.3)
    speculation.told(place)
    assert done.wait(60)
    speculation.stop()
    assert asked(store, place, memory)[0].origin["speculated"] is True


def test_results_of_a_study_that_nobody_asks_for_prepare_nothing(store: Store, place: Address) -> None:
    speculation = Speculation(store, Memory())
    speculation.told(place)
    assert place not in speculation.due


def test_an_ask_takes_over_what_was_to_be_prepared_and_results_in_a_row_prepare_one_point(
    store: Store, place: Address
) -> None:
    speculation = Speculation(store, Memory())
    speculation.asked(place)
    for _ in range(5):
        speculation.told(place)
    assert place in speculation.due
    speculation.asked(place)
    assert place not in speculation.due


def test_a_study_that_is_gone_or_a_point_that_fails_does_not_end_the_thread(
    store: Store, place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = threading.Semaphore(0)

    def wrong(*_: Any) -> None:
        calls.release()
        raise ZeroDivisionError

    monkeypatch.setattr("app.services.speculate.speculate", wrong)
    speculation = Speculation(store, Memory())
    speculation.start()
    for _ in range(2):
        speculation.asked(place)
        speculation.told(place)
        assert calls.acquire(timeout=60)
    speculation.stop()


def test_no_thread_is_left_when_the_server_stops(database_url: str) -> None:
    app = create_app(Settings(database=database_url, sweep_seconds=3600))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        api = Api(client)
        prepared(api)
        assert "speculation" in {thread.name for thread in threading.enumerate()}
        for _ in range(3):
            api.tell(api.one()["number"], value=0.5)
    assert "speculation" not in {thread.name for thread in threading.enumerate()}


def test_it_can_be_turned_off(database_url: str) -> None:
    app = create_app(Settings.from_environment({"METATUNE_DATABASE": database_url, "METATUNE_SPECULATE": "false"}))
    with TestClient(app, base_url="http://127.0.0.1:8000"):
        assert "speculation" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("algorithm", ["gp", "tpe"])
def test_sixteen_askers_at_once_get_points_of_their_own(api: Api, algorithm: str) -> None:
    prepared(api, algorithm)

    def work(_: int) -> list[float]:
        found = []
        for _ in range(3):
            trial = api.one()
            found.append(trial["params"]["x"])
            api.tell(trial["number"], value=trial["params"]["x"])
        return found

    with ThreadPoolExecutor(16) as pool:
        points = [x for found in pool.map(work, range(16)) for x in found]
    assert len(set(points)) == 48
    assert api.counts() == {"running": 1, "complete": 72}
