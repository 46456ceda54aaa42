"""`metatune`: every command, as JSON, as plain lines, and on a terminal."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import metatune
from benchmarks.server import Server
from metatune.cli.main import app

METATUNE = str(Path(sys.executable).parent / "metatune")
SPACE = json.dumps(
    {"lr": {"type": "float", "low": 1e-5, "high": 1, "scale": "log"}, "n": {"type": "int", "low": 1, "high": 9}}
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def cli(server, monkeypatch):
    monkeypatch.setenv("METATUNE_URL", server.url)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words, code=0, stdin=None):
        done = CliRunner().invoke(app, list(words), input=stdin)
        assert done.exit_code == code, (done.output, done.stderr, done.exception)
        return done.stdout if code == 0 else done.stderr

    return call


@pytest.fixture
def name(request, cli):
    name = re.sub(r"\W", "-", request.node.name).strip("-")
    cli("study", "create", name, "--space", SPACE, "--direction", "minimize", "--seed", "3", "--algorithm", "random")
    return name


def ask(name):
    with metatune.Client() as client:
        client.study(name).ask()


def test_a_study_is_made_joined_and_shown(cli, name):
    again = json.loads(cli("study", "create", name, "--space", SPACE, "--seed", "3", "--json"))
    assert (again["name"], again["seed"]) == (name, 3)
    plain = dict(line.split("\t") for line in cli("study", "show", name).splitlines())
    assert plain["objectives"] == "value=minimize"
    assert plain["space.lr"] == "float [1e-05, 1] scale=log"
    assert json.loads(cli("study", "show", name, "--json"))["name"] == name


def test_a_refusal_gives_advice_for_the_command_and_not_for_python(cli):
    said = cli("study", "show", "no-such-study", code=1)
    assert "`metatune study ls` lists" in said
    assert "client." not in said


def test_a_study_that_differs_is_refused_with_the_difference(cli, name):
    assert "/seed: the study has 3, you gave 4" in cli("study", "create", name, "--space", SPACE, "--seed", "4", code=1)
    problem = json.loads(cli("study", "create", name, "--space", SPACE, "--seed", "4", "--json", code=1))
    assert problem["code"] == "study-differs"


def test_a_space_comes_from_a_file_or_standard_input_too(cli, tmp_path):
    (tmp_path / "space.json").write_text(SPACE)
    made = json.loads(cli("study", "create", "from-file", "--space", f"@{tmp_path / 'space.json'}", "--json"))
    assert set(made["space"]) == {"lr", "n"}
    assert (
        json.loads(cli("study", "create", "from-stdin", "--space", "-", "--json", stdin=SPACE))["space"]
        == made["space"]
    )
    whole = json.dumps({"space": json.loads(SPACE), "stop": {"max_trials": 4}, "name": "whole"})
    assert json.loads(cli("study", "create", "--definition", whole, "--json"))["stop"] == {"max_trials": 4}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study", "create", "x"], "--space"),
        (["study", "create", "x", "--space", "{"], "no JSON"),
        (["study", "create", "x", "--space", "@/no/such/file"], "cannot read"),
        (["study", "create", "x", "--space", "{}", "--objective", "loss"], "name:minimize"),
        (["study", "edit", "x"], "what to change"),
        (["trial", "tell", "x", "1"], "tell a number"),
        (["trial", "tell", "x", "1", "much"], "a result is a number"),
        (["trial", "enqueue", "x", "lr"], "name=value"),
        (["run", "x", "--resume", "--", "true"], "--worker"),
    ],
)
def test_wrong_usage_is_taught_with_code_2(cli, words, message):
    assert message in re.sub(r"[│\s]+", " ", cli(*words, code=2))


def test_several_objectives_tags_and_a_stop(cli):
    words = [
        "--objective",
        "loss:minimize",
        "--objective",
        "speed:maximize",
        "--tag",
        "team=vision",
        "--max-trials",
        "9",
    ]
    made = json.loads(cli("study", "create", "several", "--space", SPACE, *words, "--json"))
    assert [one["name"] for one in made["objectives"]] == ["loss", "speed"]
    assert (made["tags"], made["stop"]) == ({"team": "vision"}, {"max_trials": 9})
    cli("trial", "enqueue", "several", "lr=0.1", "n=2")
    ask("several")
    cli("trial", "tell", "several", "1", "loss=0.5", "speed=2")
    assert cli("study", "best", "several").split("\t")[:2] == ["1", "loss=0.5 speed=2"]
    assert json.loads(cli("study", "best", "several", "--json"))["trials"][0]["number"] == 1


def test_studies_are_listed(cli, name):
    rows = [line.split("\t") for line in cli("study", "ls").splitlines()]
    assert [name, "active", "0", "0", "-", "random"] in rows
    assert [one["name"] for one in json.loads(cli("study", "ls", "--prefix", name, "--json"))] == [name]


def test_trials_are_enqueued_told_retried_and_listed(cli, name):
    assert json.loads(cli("trial", "enqueue", name, "lr=0.5", "n=4", "--json"))["state"] == "waiting"
    assert json.loads(cli("trial", "tell", name, "1", "0.25", "--noise", "0.1", "--json"))["noise"] == 0.1
    cli("trial", "enqueue", name, "lr=0.25")
    ask(name)
    cli("trial", "tell", name, "2", "--state", "failed", "--reason", "no disk\nat all")
    rows = [line.split("\t") for line in cli("trial", "ls", name).splitlines()]
    assert [row[:3] for row in rows] == [["1", "complete", "value=0.25"], ["2", "failed", "-"]]
    assert rows[1][5] == "no disk"
    assert [one["number"] for one in json.loads(cli("trial", "ls", name, "--state", "failed", "--json"))] == [2]
    assert json.loads(cli("trial", "retry", name, "2", "--json"))["state"] == "waiting"
    assert "params\tlr=0.5 n=4" in cli("trial", "show", name, "1")
    assert "metatune trial correct" in cli("trial", "tell", name, "1", "0.5", code=1)
    assert json.loads(cli("trial", "correct", name, "1", "0.5", "--json"))["values"] == {"value": 0.5}
    assert "give a number" in cli("trial", "correct", name, "1", code=2)
    assert len(cli("trial", "ls", name, "--limit", "1").splitlines()) == 1


def test_best_is_shown_and_missing_has_a_code_of_its_own(cli, name):
    assert "best needs one complete, feasible trial" in cli("study", "best", name, code=4)
    cli("trial", "enqueue", name, "lr=0.5", "n=4")
    cli("trial", "tell", name, "1", "0.25")
    assert cli("study", "best", name).splitlines() == ["trial\t1", "value\t0.25", "lr\t0.5", "n\t4"]


def test_a_study_travels(cli, name, tmp_path):
    cli("trial", "enqueue", name, "lr=0.5", "n=4")
    cli("trial", "tell", name, "1", "0.25")
    file = tmp_path / "study.json"
    cli("study", "export", name, "-o", str(file))
    assert json.loads(cli("study", "import", str(file), "--name", f"{name}-2", "--json"))["best"]["values"] == {
        "value": 0.25
    }
    assert cli("study", "export", name, "--format", "csv").splitlines()[1].startswith("1,")
    assert cli("study", "import", "-", "--name", f"{name}-3", stdin=cli("study", "export", name))
    assert "is there already" in cli("study", "import", str(file), code=1)


def test_a_study_is_edited(cli, name):
    edited = json.loads(cli("study", "edit", name, "--state", "paused", "--max-trials", "7", "--json"))
    assert (edited["state"], edited["stop"]) == ("paused", {"max_trials": 7})
    assert json.loads(cli("study", "edit", name, "--patience", "3", "--json"))["stop"] == {
        "max_trials": 7,
        "patience": 3,
    }
    change = json.dumps({"n": {"type": "int", "low": 1, "high": 20}})
    told = json.loads(cli("study", "edit", name, "--space", change, "--dry-run", "--json"))
    assert json.loads(cli("study", "show", name, "--json"))["space"]["n"]["high"] == 9
    edited = json.loads(cli("study", "edit", name, "--space", change, "--json"))
    assert (edited["space"]["n"]["high"], edited["space_version"]) == (20, 2)
    assert told


def test_watch_prints_a_line_for_each_event(cli, name):
    cli("trial", "enqueue", name, "lr=0.5", "n=4")
    cli("trial", "tell", name, "1", "0.25")
    lines = [json.loads(line) for line in cli("watch", name, "--after", "1", "--count", "2", "--json").splitlines()]
    assert [line["type"] for line in lines] == ["trial.created", "trial.finished"]
    plain = cli("watch", name, "--after", "1", "--count", "1").split("\t")
    assert plain[:4] == ["trial.created", name, "1", "waiting"]


def test_doctor_finds_a_good_server_good(cli):
    findings = {one["what"]: one for one in json.loads(cli("doctor", "--json"))}
    assert {"client", "results", "server", "database", "version", "clock", "key"} <= findings.keys()
    assert {one["verdict"] for name, one in findings.items() if name != "proxy"} == {"ok"}


def test_doctor_says_what_is_wrong(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("METATUNE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    findings = {one["what"]: one for one in json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)}
    assert (findings["server"]["verdict"], findings["proxy"]["verdict"]) == ("wrong", "ok")
    cli("doctor", code=5)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("METATUNE_OUTBOX", str(tmp_path / "file" / "box"))
    findings = {one["what"]: one for one in json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)}
    assert findings["results"]["verdict"] == "wrong"


def test_doctor_counts_results_that_wait(cli, server):
    with metatune.Client(server.url, retry_seconds=0) as client:
        study = client.study("waits", {"x": metatune.float_(0, 1)}, algorithm="random")
        [trial] = study.ask()
        letter = study._connection.outbox.keep(study.uid, trial._telling(1.0, None, None, None))
        study._connection.outbox.leave(letter)
    assert "1 wait in" in cli("doctor")
    cli("study", "show", "waits")
    assert "none wait" in cli("doctor")
    assert "value=1" in cli("trial", "ls", "waits")


def test_a_server_that_is_away_has_a_code_of_its_own(cli, monkeypatch):
    monkeypatch.setenv("METATUNE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("metatune.cli.context.ANSWER_SECONDS", 0.0)
    monkeypatch.setattr("metatune.cli.studies.client", lambda: metatune.Client(retry_seconds=0))
    assert "is the server running there" in cli("study", "ls", code=3)


def on_a_terminal(server, *words):
    """What the command draws on a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "METATUNE_URL": server.url, "COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen([METATUNE, *words], stdout=theirs, stderr=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    drawn = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        drawn += piece
    os.close(ours)
    assert process.wait(timeout=60) == 0, drawn
    return drawn.decode()


def test_tables_are_drawn_on_a_terminal(cli, server, name):
    cli("trial", "enqueue", name, "lr=0.5", "n=4")
    drawn = on_a_terminal(server, "trial", "ls", name)
    assert "\x1b[1m" in drawn
    assert "waiting" in drawn
    live = on_a_terminal(server, "watch", name, "--after", "1", "--count", "1")
    assert f"{name} · active · waiting=1" in live


def test_lines_of_a_program_stand_above_the_bar(cli, server, name):
    drawn = on_a_terminal(server, "run", name, "--trials", "1", "--", "sh", "-c", "echo epoch; echo {lr}")
    assert "\r\x1b[Kepoch\r\n\r" in drawn
    assert drawn.rstrip().rpartition("\r")[2].startswith(f"{name} {'█' * 24} 1/1 ")
    drawn = on_a_terminal(server, "run", name, "--trials", "1", "--", "false")
    assert "\r\x1b[Ktrial 2 failed: exit code 1\r\n" in drawn


def test_watch_begins_with_what_is_there(cli, server, name):
    from metatune.cli.watching import _newest

    for value in range(14):
        cli("trial", "enqueue", name, f"lr={0.5 - value / 100}")
    with metatune.Client() as client:
        assert [*_newest(client.study(name))] == [*range(3, 15)]


def test_names_are_completed(cli, name):
    from metatune.cli.context import study_names

    assert name in study_names(name[:6])
    assert "metatune" in cli("--show-completion", "bash")


def test_the_version_is_printed(cli):
    assert cli("--version").strip() == metatune.__version__
