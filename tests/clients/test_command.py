"""`metatune run`: programs in other languages, and how each of their ends is told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import metatune
from benchmarks.server import Server
from metatune.command import filled_in, read_line
from tests.clients.programs import command

METATUNE = str(Path(sys.executable).parent / "metatune")
SPACE = {"x": metatune.float_(0.5, 3.0), "kind": metatune.categorical(["a b", "c"])}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def study(server):
    with metatune.Client(server.url) as client:
        yield client.study(None, SPACE, algorithm="random", seed=1)


def start(server, study, *words, **environment):
    return subprocess.Popen(
        [METATUNE, "run", study.name, *words],
        env={**os.environ, "METATUNE_URL": server.url, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(server, study, *words, code=0, **environment):
    """Runs to the end; returns standard output and standard error."""
    process = start(server, study, *words, **environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return out, err


def python(*lines):
    return ["--", sys.executable, "-c", "\n".join(("import json, os, signal, sys, time", *lines))]


def only(study):
    [trial] = study.trials()
    return study.get_trial(trial.number)


@pytest.mark.parametrize("language", ["python", "shell", "c"])
def test_programs_of_three_languages_are_driven(server, study, tmp_path, language):
    run(server, study, "--trials", "3", "--jobs", "2", "--", *command(language, tmp_path))
    trials = [study.get_trial(n) for n in (1, 2, 3)]
    for trial in trials:
        assert trial.state == "complete"
        assert trial.value == pytest.approx(trial.params["x"] ** 2, rel=1e-12)
        assert trial.reports[0]["values"]["value"] == pytest.approx(trial.params["x"] + 1, rel=1e-12)
    if language == "python":
        assert {trial.document["cost"] for trial in trials} == {2.0}
        assert [trial.document["metadata"]["kind"] for trial in trials] == [trial.params["kind"] for trial in trials]


def test_a_crash_fails_the_trial_with_its_last_words(server, study):
    run(server, study, "--trials", "1", *python("print(json.dumps({'value': 1}))", "raise SystemError('broken')"))
    trial = only(study)
    assert trial.state == "failed"
    assert trial.document["reason"].startswith("exit code 1\n\nThe end of standard error:")
    assert "SystemError: broken" in trial.document["reason"]


def test_a_failure_is_reported_in_one_line_and_not_with_our_own_traceback(server, study):
    _, err = run(server, study, "--trials", "1", *python("sys.exit(3)"))
    assert "trial 1 failed: exit code 3\n" in err
    assert "Traceback" not in err


def test_a_study_that_has_nothing_to_give_says_why(server, study):
    study.update(state="paused")
    process = start(server, study, "--", "true")
    assert "is paused; waiting" in process.stderr.readline()
    study.update(state="stopped")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert err == f"study '{study.name}' is done: stopped\n"


def test_a_program_that_is_killed_names_the_signal(server, study):
    run(server, study, "--trials", "1", *python("os.kill(os.getpid(), signal.SIGSEGV)"))
    assert only(study).document["reason"].startswith("killed by SIGSEGV")


def test_a_timeout_fails_the_trial_and_ends_what_the_program_started(server, study, tmp_path):
    child = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    lines = ["import subprocess", f"subprocess.Popen([sys.executable, '-c', {child!r}])", "time.sleep(600)"]
    run(server, study, "--trials", "1", "--timeout", "3", "--grace", "0.5", *python(*lines))
    assert only(study).document["reason"].startswith("timed out after 3 s")
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the program's child still runs")


@pytest.mark.parametrize(("number", "jobs"), [(signal.SIGINT, 1), (signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_an_interruption_gives_what_is_under_way_back(server, study, number, jobs):
    process = start(server, study, "--jobs", str(jobs), *python("print('started', flush=True)", "time.sleep(600)"))
    for _ in range(jobs):
        assert "started" in process.stderr.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "given back" in err
    assert [trial.state for trial in study.trials()] == ["waiting"] * jobs


@pytest.mark.parametrize(
    "garbage",
    [
        "sys.stdout.buffer.write(bytes(range(256)) * 100)",
        "print('[' * 100000)",
        "print('{' * 100000)",
        "print(json.dumps({'step': 1}))",
        "print(json.dumps({'value': 'much'}))",
        "print(json.dumps({'value': True}))",
        "print(json.dumps(['value', 1]))",
        "print('x' * 3000000, end='')",
        "print(json.dumps({'values': {'speed': 1.0}}))",
        "print(json.dumps({'value': 1, 'noise': -1}))",
        "pass",
    ],
)
def test_garbage_on_standard_output_fails_the_trial_and_says_what_was_missing(server, study, garbage):
    run(server, study, "--trials", "1", *python(garbage))
    trial = only(study)
    assert trial.state == "failed"
    assert "exit code 0, but no result: print a line" in trial.document["reason"] or (
        "does not take this result" in trial.document["reason"]
    )


def test_garbage_between_good_lines_does_no_harm(server, study):
    lines = [
        "print(json.dumps({'step': 1, 'value': 5}))",
        "sys.stdout.buffer.write(b'\\xff\\xfe{\\n'); sys.stdout.flush()",
        "print(json.dumps({'step': -4, 'value': 5}))",
        "print(json.dumps({'step': 'two', 'note': 5}))",
        'print(\'{"step": 2, "value": NaN}\')',
        "print(json.dumps({'value': 0.5}))",
        "print('bye')",
    ]
    run(server, study, "--trials", "1", *python(*lines))
    trial = only(study)
    assert (trial.state, trial.value) == ("complete", 0.5)
    assert [report["step"] for report in trial.reports] == [1, 2]


@pytest.mark.parametrize(("code", "state"), [(65, "infeasible"), (75, "waiting"), (3, "failed")])
def test_exit_codes_with_a_meaning(server, study, code, state):
    run(server, study, "--trials", "1", *python(f"sys.exit({code})"))
    assert only(study).state == state


@pytest.mark.parametrize("state", ["failed", "infeasible", "pruned"])
def test_a_state_in_place_of_a_result(server, study, state):
    line = json.dumps({"state": state, "reason": "because"})
    run(server, study, "--trials", "1", *python(f"print(json.dumps({{'step': 1, 'value': 2}})); print({line!r})"))
    assert (only(study).state, only(study).document["reason"]) == (state, "because")


def test_the_result_may_be_written_to_a_file(server, study):
    lines = ["print(json.dumps({'value': 9}))", "open(os.environ['METATUNE_RESULT_FILE'], 'w').write('{\"value\": 4}')"]
    run(server, study, "--trials", "1", *python(*lines))
    assert only(study).value == 4


def test_parameters_stand_in_the_environment_as_they_are(server, study):
    lines = [
        "params = json.loads(os.environ['METATUNE_PARAMS'])",
        "assert float(os.environ['METATUNE_PARAM_X']) == params['x']",
        "assert os.environ['METATUNE_PARAM_KIND'] == params['kind']",
        "print(params['x'])",
    ]
    run(server, study, "--trials", "1", *python(*lines), METATUNE_PARAM_STALE="1")
    assert only(study).value == only(study).params["x"]


def test_a_pruned_program_is_ended(server, tmp_path):
    with metatune.Client(server.url) as client:
        study = client.study(
            "pruned", SPACE, algorithm="random", pruning={"rule": "median", "min_step": 1, "min_trials": 2}
        )
        for value in (0.0, 0.1):
            study.add({"x": 1.0, "kind": "c"}, value, reports=[{"step": 1, "value": value}])
        lines = ["print(json.dumps({'step': 1, 'value': 9.0}), flush=True)", "time.sleep(600)"]
        run(server, study, "--trials", "1", "--grace", "1", *python(*lines))
        trial = study.get_trial(3)
    assert (trial.state, trial.value) == ("pruned", 9.0)


def test_several_objectives_and_outcomes_are_printed_by_name(server):
    with metatune.Client(server.url) as client:
        study = client.study(
            "several",
            SPACE,
            objectives=[{"name": "accuracy", "direction": "maximize"}, {"name": "ms", "direction": "minimize"}],
            outcomes=[{"name": "mb", "at_most": 10}],
            algorithm="random",
        )
        line = json.dumps({"accuracy": 0.9, "ms": 12, "mb": 3, "epochs": 4})
        run(server, study, "--trials", "1", *python(f"print({line!r})"))
        assert only(study).values == {"accuracy": 0.9, "ms": 12.0, "mb": 3.0}


def test_without_a_result_the_last_report_is_one(server, study):
    run(server, study, "--trials", "1", *python("print(json.dumps({'step': 7, 'value': 3.5}))", "print('bye')"))
    assert only(study).value == 3.5


def test_a_checkpoint_is_found_by_the_next_attempt(server, study):
    lines = [
        "before = os.environ['METATUNE_CHECKPOINT']",
        "print(json.dumps({'checkpoint': 's3://there/1'}), flush=True)",
        "time.sleep(0.3)",
        "print(json.dumps({'value': 1, 'metadata': {'before': before}})) if before else sys.exit(75)",
    ]
    run(server, study, "--trials", "1", *python(*lines))
    run(server, study, "--trials", "1", *python(*lines))
    assert only(study).document["metadata"]["before"] == "s3://there/1"
    assert only(study).attempt == 2


def test_a_worker_that_was_killed_takes_its_trial_up_again(server, study):
    sleeping = python("print('started', flush=True)", "time.sleep(600)")
    process = start(server, study, "--worker", "node", *sleeping)
    assert "started" in process.stderr.readline()
    process.kill()
    process.communicate(timeout=30)
    run(server, study, "--worker", "node", "--resume", "--trials", "1", *python("print(1)"))
    assert (only(study).state, only(study).attempt) == ("complete", 2)


def test_too_many_failures_in_a_row_end_the_run(server, study):
    _, err = run(server, study, "--max-failures", "3", *python("sys.exit(1)"), code=5)
    assert "failed in a row" in err
    assert len(list(study.trials())) == 3


def test_a_program_that_is_not_there_is_named(server, study):
    _, err = run(server, study, "--max-failures", "1", "--", "no-such-program", code=5)
    assert "cannot start 'no-such-program'" in err


def test_a_placeholder_that_is_no_parameter_is_refused_before_anything_is_asked(server, study):
    _, err = run(server, study, "--", "echo", "{learning_rate}", code=2)
    assert "{learning_rate}" in err.replace("\n", " ")
    assert list(study.trials()) == []


def test_json_has_a_line_for_each_trial(server, study):
    out, _ = run(server, study, "--trials", "2", "--json", "--quiet", *python("print('noise')", "print(2)"))
    assert [json.loads(line)["values"] for line in out.splitlines()] == [{"value": 2.0}] * 2


def test_arguments_are_filled_in_without_a_shell():
    params = {"x": 0.1, "kind": "a b; rm -rf /", "flag": True}
    words = ["--x={x}", "{kind}", "{{x}}", "{flag}", '{"a": {"b": 1}}']
    assert filled_in(words, params.keys(), params) == ["--x=0.1", "a b; rm -rf /", "{x}", "true", '{"a": {"b": 1}}']


def test_an_argument_of_a_parameter_that_is_not_active_is_left_out_with_its_flag():
    words = ["train", "--degree", "{degree}", "--x={x}", "--d={degree}", "--end"]
    assert filled_in(words, ["x", "degree"], {"x": 1}) == ["train", "--x=1", "--end"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"value": 1}', {"value": 1}),
        ('{"value": "inf"}', {"value": "inf"}),
        ('{"loss": 1}', None),
        ('{"state": "nonsense"}', None),
        ("3.5", None),
        ('"value"', None),
    ],
)
def test_a_line_is_read(line, said):
    assert read_line(line, ["value"]) == said
