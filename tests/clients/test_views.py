"""What a person sees of a study: a table, a picture, a bar."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import pandas
import pytest

import metatune
from benchmarks.server import Server
from metatune.picture import Point, history_svg, study_html


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as server, metatune.Client(server.url) as client:
        study = client.study(
            "<digits>".strip("<>"), {"x": metatune.float_(0, 1), "k": metatune.categorical(["a<b", "c"])}
        )
        for n, value in enumerate([3.0, 1.0, 2.0]):
            study.add({"x": n / 10, "k": "a<b"}, value)
        study.enqueue({"x": 0.5})
        yield study


def test_a_dataframe_has_a_row_for_each_trial(study):
    frame = study.dataframe()
    assert list(frame.index) == [1, 2, 3, 4]
    assert list(frame["values.value"])[:3] == [3.0, 1.0, 2.0]
    assert list(frame["state"]) == ["complete"] * 3 + ["waiting"]
    assert frame["params.x"].dtype == float
    assert isinstance(frame["finished_at"].dtype, pandas.DatetimeTZDtype)


def test_without_pandas_it_says_what_to_install(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        study.dataframe()


def test_a_notebook_shows_the_study_with_its_history(study):
    html = study._repr_html_()
    assert "best: trial 2, value = 1<br>" in html
    assert "3 complete" in html
    assert "a&lt;b" in html
    assert "a<b" not in html
    [svg] = re.findall(r"<svg.*</svg>", html)
    assert len(re.findall("<circle", svg)) == 3


def test_the_picture_is_well_formed_and_draws_the_best_so_far():
    root = ElementTree.fromstring(history_svg([Point(1, 2.0), Point(2, 3.0), Point(5, 1.0)], "minimize"))
    line = root.find("{http://www.w3.org/2000/svg}polyline")
    heights = [float(place.split(",")[1]) for place in line.get("points").split()]
    assert heights[0] == heights[1] == heights[2] < heights[-1]
    upward = ElementTree.fromstring(history_svg([Point(1, 2.0), Point(2, 3.0)], "maximize"))
    heights = [
        float(p.split(",")[1]) for p in upward.find("{http://www.w3.org/2000/svg}polyline").get("points").split()
    ]
    assert heights[-1] < heights[0]


def test_one_point_or_none_or_several_objectives_make_no_trouble():
    assert "<circle" in history_svg([Point(4, 0.0)], "minimize")
    assert "<svg" not in study_html({"name": "s", "counts": {}}, [], "minimize")
    assert "<svg" not in study_html({"name": "s", "counts": {}}, [Point(1, 1.0)], None)


def test_a_user_of_the_package_passes_mypy_strict(tmp_path):
    """What is typed for us must also be typed for those who install it."""
    (tmp_path / "user.py").write_text(
        """
import asyncio
from dataclasses import dataclass
from typing import Annotated

import metatune


@dataclass
class Config:
    lr: Annotated[float, metatune.float_(1e-5, 1, scale="log")]


def objective(trial: metatune.Trial) -> float:
    config = trial.config(Config)
    if trial.report(1, config.lr):
        raise metatune.Pruned
    return config.lr


with metatune.Client("http://127.0.0.1:8000", retry_seconds=1.0) as client:
    study = client.study("s", Config, direction="minimize", stop={"max_trials": 3})
    study.optimize(objective, n_trials=3)
    study.optimize(lambda trial: {"a": trial.params["lr"]}, n_jobs=2, worker="w", resume=True)
    best: float | None = study.best.value
    numbers: list[int] = [trial.number for trial in study.trials(state="complete")]
    for trial in study.ask(2):
        trial.tell(1.0, noise=0.1).release()
    for event in client.watch(study):
        reveal_type(event)
        break


async def main() -> None:
    async with metatune.AsyncClient() as client:
        study = await client.study("s", {"x": metatune.int_(1, 2)})
        async with study.trial() as trial:
            await trial.tell(1)
        reveal_type((await study.best).params)
        reveal_type((await study.ask())[0])
        async for event in client.watch("s", after=0):
            print(event.revision)

asyncio.run(main())
"""
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout.replace("builtins.", ""))
    assert revealed == ["metatune.events.Event", "dict[str, Any]", "metatune.trial.AsyncTrial"]
