"""A run killed at any moments ends, when it is called again, as one that nobody killed."""

from __future__ import annotations

import bisect
import json
import pathlib
import random
import time
from collections import Counter

import pytest

from pipeline import clothing
from pipeline.workspace import Workspace
from tests.end_to_end.conftest import LEFT_ALONE, STEPS, Denoise, assert_same_but_for_rounding

KILLS = 2
MANY_KILLS = 16
SMALL = (
    "training.epochs=3",
    "model.name=dense_ae_2",
    "model.arguments={}",
    "noise.evaluation=[gaussian(sd=0.5)]",
    "report.classifier_epochs=1",
    "evaluation.min_gain=-100",
)
"""A run whose time is that of its steps' beginnings and ends, for a few seconds a kill."""


def _position(moment: float, left_alone: dict) -> tuple[int, float]:
    """The number of steps that had ended after so many seconds of a run, and since when."""
    ends = sorted(step["began"] + step["seconds"] for step in left_alone["steps"])
    imports = left_alone["seconds"] - ends.pop()
    ends = [imports + end for end in ends]
    ended = bisect.bisect(ends, moment)
    return ended, moment - (ends[ended - 1] if ended else 0.0)


def _killed_at(
    denoise: Denoise, settings: tuple[str, ...], moment: float, left_alone: dict
) -> str | None:
    """Kills a run when it is as far as one left alone was after `moment` seconds.

    The steps that have ended count, and the seconds since: it may go on from an earlier kill, and
    the machine may be busier than it was.

    Returns:
      The step it was in, or the first of two; None if it ended before.
    """
    ended, seconds = _position(moment, left_alone)
    process = denoise.start(*settings)
    begun = time.monotonic() if ended == 0 else None
    while process.poll() is None:
        finished = denoise.finished(process)
        if len(finished) == ended and begun is None:
            begun = time.monotonic()
        if len(finished) > ended or (begun is not None and time.monotonic() - begun > seconds):
            process.kill()
            return next((step for step in STEPS if step not in finished), "the end")
        time.sleep(0.02)
    assert process.poll() == 0, process.said()[1][-4000:]
    return None


def _check_what_is_left(denoise: Denoise, served: set[str]) -> None:
    """No half version is visible, and nobody holds the workspace."""
    deadline = time.monotonic() + 10
    while Workspace(denoise.workspace).in_use:
        assert time.monotonic() < deadline, "a process of the killed run still holds the lock"
        time.sleep(0.05)
    for version in denoise.versions():
        if version.isdigit():
            folder = denoise.workspace / "serving" / "denoiser" / version
            found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
            assert found == served


def _chaos(
    denoise: Denoise,
    settings: tuple[str, ...],
    left_alone: tuple[dict, set[str]],
    seed: int,
    kills: int,
) -> Counter:
    """Kills a run at moments drawn over the whole length of one left alone, and lets it end then.

    Returns:
      The kills by step.
    """
    alone, served = left_alone
    drawn = random.Random(seed)
    killed: Counter = Counter()
    for moment in sorted(drawn.uniform(0, alone["seconds"]) for _ in range(kills)):
        step = _killed_at(denoise, settings, moment, alone)
        if step is None:
            break
        killed[step] += 1
        _check_what_is_left(denoise, served)
    done = denoise.run(*settings)
    assert done.returncode == 0, done.stderr[-4000:]
    summary = denoise.summary()
    assert summary["outcome"] in ("pushed", "unchanged")
    assert {step["state"] for step in summary["steps"]} <= {"done", "cached"}
    assert_same_but_for_rounding(summary["metrics"], alone["metrics"])
    assert denoise.versions() == [summary["pushed_version"]]
    _check_what_is_left(denoise, served)
    assert not list(denoise.workspace.glob("pipeline_root/Trainer/resume/*"))
    assert not list(denoise.workspace.glob("**/*.partial"))
    return killed


def _left_alone(denoise: Denoise, summary: str) -> tuple[dict, set[str]]:
    """The summary of a run that nobody killed, and the files of the version it pushed."""
    alone = json.loads((denoise.workspace / summary).read_text())
    folder = denoise.workspace / "serving" / "denoiser" / alone["pushed_version"]
    return alone, {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.ci
@pytest.mark.timeout(1800)
def test_killed_at_some_moments(tmp_path, data, finished):
    left_alone = _left_alone(finished, LEFT_ALONE)
    _chaos(Denoise(tmp_path / "workspace", data), (), left_alone, seed=0, kills=KILLS)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[pathlib.Path, tuple[dict, set[str]]]:
    """A few images, and what came of a run on them that nobody killed."""
    folder = tmp_path_factory.mktemp("small")
    clothing.write_csvs(folder / "data", train=150, test=20, seed=7)
    denoise = Denoise(folder / "workspace", folder / "data")
    done = denoise.run(*SMALL)
    assert done.returncode == 0, done.stderr[-4000:]
    return denoise.data, _left_alone(denoise, "summary.json")


@pytest.fixture(scope="module")
def kills() -> Counter:
    """The kills of all seeds so far, by step."""
    return Counter()


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(1, 41))
def test_killed_at_many_moments(tmp_path, small, kills, seed):
    data, left_alone = small
    denoise = Denoise(tmp_path / "workspace", data)
    kills.update(_chaos(denoise, SMALL, left_alone, seed, MANY_KILLS))
    print(f"{sum(kills.values())} kills:", dict(kills))
