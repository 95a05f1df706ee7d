"""A run killed at any moments ends, when it is called again, as one that nobody killed."""

from __future__ import annotations

import json
import random
import subprocess
import time

import pytest

from pipeline.workspace import Workspace
from tests.end_to_end.conftest import LEFT_ALONE, Denoise

KILLS = 2
MANY_KILLS = 8


def _killed_after(denoise: Denoise, seconds: float) -> bool:
    """Kills a run and all its processes; whether it was not over by then."""
    process = denoise.start()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return True
    assert process.poll() == 0
    return False


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


def _chaos(denoise: Denoise, left_alone: dict, served: set[str], seed: int, kills: int) -> None:
    moments = random.Random(seed)
    for _ in range(kills):
        moment = moments.uniform(0, left_alone["seconds"])
        if not _killed_after(denoise, moment):
            break
        print(f"killed after {moment:.1f} s")
        _check_what_is_left(denoise, served)
    done = denoise.run()
    assert done.returncode == 0, done.stderr[-4000:]
    summary = denoise.summary()
    assert summary["outcome"] in ("pushed", "unchanged")
    assert {step["state"] for step in summary["steps"]} <= {"done", "cached"}
    assert summary["metrics"] == left_alone["metrics"]
    assert denoise.versions() == [summary["pushed_version"]]
    _check_what_is_left(denoise, served)
    assert not list(denoise.workspace.glob("pipeline_root/Trainer/resume/*"))
    assert not list(denoise.workspace.glob("**/*.partial"))


@pytest.fixture(scope="module")
def left_alone(finished) -> tuple[dict, set[str]]:
    """The summary of a run that nobody killed, and the files of the version it pushed."""
    summary = json.loads((finished.workspace / LEFT_ALONE).read_text())
    folder = finished.workspace / "serving" / "denoiser" / summary["pushed_version"]
    return summary, {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.timeout(1800)
def test_killed_at_some_moments(tmp_path, data, left_alone):
    _chaos(Denoise(tmp_path / "workspace", data), *left_alone, seed=0, kills=KILLS)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(1, 41))
def test_killed_at_many_moments(tmp_path, data, left_alone, seed):
    _chaos(Denoise(tmp_path / "workspace", data), *left_alone, seed=seed, kills=MANY_KILLS)
