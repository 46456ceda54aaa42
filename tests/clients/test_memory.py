"""What past studies lend, as a user of the client and of the command meets it, against a real server."""

import json
import math

import pytest
from typer.testing import CliRunner

import metatune
from benchmarks.server import Server
from metatune.cli.main import app

SPACE = {"lr": metatune.float_(1e-4, 1.0, scale="log"), "depth": metatune.int_(1, 8)}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as server, metatune.Client(server.url) as client:
        past = client.study("past", SPACE, description="a network on digits", metafeatures={"rows": 100}, seed=1)
        past.add_many(
            {"params": {"lr": 10 ** -(n / 4), "depth": 1 + n % 8}, "value": abs(n / 4 - 2) + n % 8 / 100}
            for n in range(1, 16)
        )
        past.update(state="stopped")  # which is when it is learnt at once
        yield client


@pytest.fixture
def cli(client, monkeypatch):
    monkeypatch.setenv("METATUNE_URL", client.url)

    def call(*words, code=0):
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == code, (done.output, done.stderr, done.exception)
        return done

    return call


def test_a_new_study_starts_where_the_past_one_ended_and_says_so(client):
    study = client.study("new", SPACE, description="a network on letters", seed=2)
    [trial] = study.ask()
    assert math.log10(trial.params["lr"]) == pytest.approx(-2, abs=0.3)
    trial.tell(0.1)
    assert "past studies put it first" in trial.explanation()["why"]
    [source] = study.prior()["sources"]
    assert (source["study"], source["is_taken"], source["matched"]) == ("past", True, {"lr": "lr", "depth": "depth"})
    assert study.prior()["portfolio"]


def test_a_source_is_capped_left_out_and_taken_in_again(client):
    study = client.study("choosy", SPACE, warm_start=["past"], seed=2)
    study.ask()
    assert study.edit_prior(caps={"past": 0.25})["sources"][0]["cap"] == 0.25
    assert study.edit_prior(exclude=["past"])["sources"][0]["is_excluded"]
    assert not study.edit_prior(include=["past"])["sources"][0]["is_excluded"]
    with pytest.raises(metatune.Invalid):
        study.edit_prior()


def test_a_study_that_wants_nothing_of_the_past_gets_nothing(client):
    study = client.study("alone", SPACE, warm_start="off")
    assert study.ask()[0].document["origin"]["source"] != "warm_start"
    assert study.prior()["sources"] == []


def test_configurations_are_recommended_with_no_study_made(client):
    before = [study.name for study in client.studies()]
    found = client.recommend({"learning_rate": SPACE["lr"]}, aliases={"learning_rate": ["lr"]}, count=1)
    assert math.log10(found["items"][0]["params"]["learning_rate"]) == pytest.approx(-2, abs=0.3)
    assert found["items"][0]["from"] == ["past"]
    assert client.recommend(description="digits", metafeatures={"rows": 90})["space"] == client.study("past").space
    assert [study.name for study in client.studies()] == before


def test_knowledge_is_listed_and_carried_to_another_server(client, tmp_path):
    assert [(one["study"], one["n_results"]) for one in client.knowledge()] == [("past", 15)]
    document = client.export_knowledge(raw=False)
    assert "values" not in document["entries"][0]["objectives"][0]["lesson"]
    with Server(tmp_path) as other, metatune.Client(other.url) as there:
        assert [there.import_knowledge(document) for _ in range(2)] == [1, 1]
        assert [one["is_imported"] for one in there.knowledge()] == [True]
        there.forget_knowledge("past")
        assert list(there.knowledge()) == []
        with pytest.raises(metatune.NotFound):
            there.forget_knowledge("past")


def test_the_command_shows_what_the_past_lends_and_changes_it(cli, client):
    space = json.dumps(SPACE)
    cli("study", "create", "typed", "--space", space, "--warm-start", "past", "--metafeature", "rows=90")
    assert client.study("typed").document["metafeatures"] == {"rows": 90.0}
    client.study("typed").ask()
    shown = cli("study", "prior", "typed")
    assert shown.stdout.split("\t")[:2] == ["past", "taken"]
    assert "guard: " in shown.stderr
    assert json.loads(cli("study", "prior", "typed", "--cap", "past=0.5", "--json").stdout)["sources"][0]["cap"] == 0.5
    assert cli("study", "prior", "typed", "--exclude", "past").stdout.split("\t")[1] == "excluded"
    assert cli("study", "prior", "typed", "--include", "past").stdout.split("\t")[1] == "taken"
    assert "name=number" in cli("study", "prior", "typed", "--cap", "past=much", code=2).stderr
    cli("study", "edit", "typed", "--warm-start", "off")
    assert client.study("typed").document["warm_start"] == "off"
    assert "past studies put it first" in cli("trial", "explain", "typed", "1").stdout


def test_the_command_recommends_and_carries_knowledge(cli, client, tmp_path):
    assert cli("recommend", "--description", "digits", "--count", "1").stdout.rstrip().endswith("past")
    assert json.loads(cli("recommend", "--space", json.dumps(SPACE), "--count", "2", "--json").stdout)["items"][1]
    assert "recommend nothing" in cli("recommend", "--description", "zebra").stderr
    assert cli("knowledge", "ls").stdout.startswith("past\t15\t15\tlr, depth\tno\t")
    file = tmp_path / "knowledge.json"
    cli("knowledge", "export", "--ranks", "-o", str(file))
    assert cli("knowledge", "import", str(file)).stdout == "imported\t1\n"
    cli("knowledge", "forget", "past")
    assert "no imported study" in cli("knowledge", "forget", "past", code=1).stderr


def test_the_command_copies_deletes_and_restores_a_study_and_removes_a_trial(cli, client):
    assert "complete=15" in cli("study", "copy", "past", "copied").stdout
    cli("trial", "rm", "copied", "3", "--reason", "by mistake")
    assert client.study("copied").info()["counts"]["complete"] == 14
    assert "brings it back" in cli("study", "rm", "copied").stderr
    assert "copied" not in cli("study", "ls").stdout
    assert "complete=14" in cli("study", "restore", "copied").stdout
    cli("study", "rm", "copied", "--purge")
    cli("study", "restore", "copied", code=1)


def test_many_results_are_taken_over_all_or_none(client):
    study = client.study("many", SPACE, warm_start="off")
    with pytest.raises(metatune.Invalid, match="/trials/1"):
        study.add_many([{"params": {"lr": 0.1, "depth": 2}, "value": 1.0}, {"params": {"lr": 5.0}, "value": 2.0}])
    assert list(study.trials()) == []
    made = study.add_many([{"params": {"lr": 0.1, "depth": 2}, "value": 1.0}, {"params": {"lr": 0.2}}])
    assert [trial.state for trial in made] == ["complete", "waiting"]
    made[0].remove("by mistake")
    made[0].remove()  # it is gone: nothing to complain of
    assert [trial.number for trial in study.trials()] == [2]


def test_the_best_of_a_noisy_study_goes_by_the_mean_on_request(client):
    study = client.study("noisy", {"x": metatune.float_(0, 1)}, direction="minimize", warm_start="off", seed=1)
    study.add_many({"params": {"x": x / 20}, "value": abs(x / 20 - 0.5), "noise": 0.01} for x in range(21))
    study.add({"x": 0.9}, -5.0, noise=100.0)
    assert study.best.params == {"x": 0.9}
    assert study.find_best(by="mean").params["x"] == pytest.approx(0.5, abs=0.15)
