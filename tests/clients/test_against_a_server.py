"""The client against a real server, over a real socket."""

import threading
import time
from collections import Counter

import pytest

import metatune
from benchmarks.server import Server

SPACE = {
    "x": metatune.float_(1e-3, 1e3, scale="log"),
    "n": metatune.int_(1, 9),
    "kernel": metatune.categorical(["rbf", "poly"]),
    "degree": metatune.int_(2, 6, when={"kernel": ["poly"]}),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with metatune.Client(server.url, retry_seconds=60) as client:
        yield client


@pytest.fixture
def study(client, request):
    name = request.node.name.replace("[", "-").replace("]", "")
    return client.study(name, SPACE, algorithm="random", seed=1)


def objective(trial):
    return trial.params["x"] + trial.params["n"]


def test_a_study_is_optimised_and_listed(study):
    study.optimize(objective, n_trials=7, progress=False)
    trials = list(study.trials())
    assert [trial.number for trial in trials] == [1, 2, 3, 4, 5, 6, 7]
    assert study.best.value == min(trial.value for trial in trials) == objective(study.best)
    assert study.info()["best"]["number"] == study.best.number


def test_a_conditional_parameter_is_absent_where_it_has_no_meaning(study):
    trials = study.ask(20)
    assert {"degree" in trial.params for trial in trials if trial.params["kernel"] == "rbf"} == {False}
    assert {"degree" in trial.params for trial in trials if trial.params["kernel"] == "poly"} == {True}


def test_a_study_is_joined_by_the_same_definition_and_by_its_name(client, study):
    assert client.study(study.name, SPACE, seed=1).uid == study.uid == client.study(study.name).uid


def test_another_definition_is_refused_with_its_differences(client, study):
    with pytest.raises(metatune.StudyDiffers, match="/seed: the study has 1, you gave 2"):
        client.study(study.name, SPACE, seed=2)


def test_a_study_may_be_left_unnamed(client):
    first, second = client.study(space=SPACE), client.study(space=SPACE)
    assert first.name != second.name
    assert {first.name, second.name} <= {study.name for study in client.studies()}


def test_a_wrong_space_is_refused_with_its_place(client):
    with pytest.raises(metatune.Invalid, match="/space/x"):
        client.study("wrong", {"x": metatune.float_(2, 1)})


def test_a_study_without_results_has_no_best(study):
    with pytest.raises(metatune.NoResultYet):
        _ = study.best


def test_the_same_result_may_be_told_again_and_another_not(study):
    [trial] = study.ask()
    assert trial.tell(1.5).state == "complete"
    assert trial.tell(1.5).value == 1.5
    with pytest.raises(metatune.TrialFinishedDifferently):
        trial.tell(2.5)
    assert study.get_trial(trial.number).value == 1.5


def test_a_result_that_is_no_number_fails_the_trial(study):
    [trial] = study.ask()
    assert trial.tell(float("nan")).state == "failed"


@pytest.mark.parametrize("outcome", ["failed", "infeasible", "pruned"])
def test_a_trial_without_a_result_says_why(study, outcome):
    [trial] = study.ask()
    trial.report(1, 0.5)
    {"failed": trial.fail, "infeasible": trial.infeasible, "pruned": trial.pruned}[outcome]("because")
    there = study.get_trial(trial.number)
    assert (there.state, there.document["reason"]) == (outcome, "because")


def test_reports_are_kept(study):
    [trial] = study.ask()
    assert not trial.report(1, 0.5)
    assert not trial.report(1, 0.5)
    assert len(study.get_trial(trial.number).document["reports"]) == 1


def test_a_released_trial_goes_to_the_next_who_asks(study):
    [trial] = study.ask()
    assert trial.release().state == "waiting"
    [again] = study.ask()
    assert (again.number, again.params) == (trial.number, trial.params)


def test_a_worker_that_died_resumes_its_trial(study):
    [trial] = study.ask(worker="node-1")
    [other] = study.ask(worker="node-2", resume=True)
    [again] = study.ask(worker="node-1", resume=True)
    assert again.number == trial.number != other.number


def test_a_trial_whose_lease_ran_out_is_anothers(study):
    [trial] = study.ask(lease_seconds=1)
    time.sleep(1.3)
    [again] = study.ask()
    assert (again.number, again.attempt) == (trial.number, trial.attempt + 1)
    with pytest.raises(metatune.LeaseLost):
        trial.tell(1.0)
    assert again.tell(2.0).value == 2.0


def test_heartbeats_outlast_the_lease(study):
    with study.trial(lease_seconds=1) as trial:
        time.sleep(2.0)
        assert trial.tell(1.0).attempt == 1


def test_enqueued_parameters_come_first_and_foreign_results_count(study):
    study.add({"x": 0.5, "n": 1, "kernel": "rbf"}, 0.25)
    study.enqueue({"x": 2.0, "n": 3})
    [trial] = study.ask()
    assert (trial.params["x"], trial.params["n"]) == (2.0, 3)
    assert study.best.value == 0.25


def test_fixed_parameters_are_kept(study):
    assert {trial.params["n"] for trial in study.ask(5, fixed={"n": 4})} == {4}


def test_a_stopped_study_is_done(study):
    study.update(state="stopped")
    asked = study.ask()
    assert (len(asked), asked.done) == (0, True)
    with pytest.raises(metatune.StudyDone), study.trial():
        pass


def test_a_budget_belongs_to_the_study_however_many_ask(client):
    study = client.study("budget", SPACE, algorithm="random", stop={"max_trials": 12})
    study.optimize(objective, n_jobs=4, progress=False)
    assert len(list(study.trials(state="complete"))) == 12


def test_several_objectives_are_told_by_name(client):
    objectives = [{"name": "loss", "direction": "minimize"}, {"name": "speed", "direction": "maximize"}]
    study = client.study("two", SPACE, objectives=objectives, algorithm="random")
    study.optimize(lambda trial: {"loss": objective(trial), "speed": 1.0}, n_trials=3, progress=False)
    assert all(trial.values["speed"] == 1.0 for trial in study.trials())


def test_power_cuts_lose_nothing_and_double_nothing(tmp_path):
    """Three SIGKILLs while four workers ask and tell: every trial is handed out once, and every result is kept."""
    n_trials, n_cuts = 80, 3
    evaluated: Counter[int] = Counter()
    results: dict[int, float] = {}
    lock = threading.Lock()

    def work(trial):
        time.sleep(0.02)
        with lock:
            evaluated[trial.number] += 1
            results[trial.number] = objective(trial)
        return results[trial.number]

    with Server(tmp_path) as server, metatune.Client(server.url, retry_seconds=120) as client:
        study = client.study("s", SPACE, algorithm="random", stop={"max_trials": n_trials})
        run = threading.Thread(target=study.optimize, args=(work,), kwargs={"n_jobs": 4, "progress": False})
        run.start()
        for cut in range(1, n_cuts + 1):
            while sum(evaluated.values()) < cut * n_trials // (n_cuts + 1):
                time.sleep(0.005)
            server.kill()
            server.start()
        run.join(timeout=120)
        kept = {trial.number: trial for trial in study.trials()}

    assert sorted(kept) == list(range(1, n_trials + 1))
    assert {trial.state for trial in kept.values()} == {"complete"}
    assert {number: trial.value for number, trial in kept.items()} == results
    assert set(evaluated.values()) == {1}
    assert {trial.attempt for trial in kept.values()} == {1}
