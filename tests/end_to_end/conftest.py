"""The whole pipeline, as a user calls it, on small generated data."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from pipeline import clothing
from tests import warm

PRESET = "smoke"
TRAIN, TEST = 400, 80
"""Images that the preset draws."""
LEFT_ALONE = "left_alone.json"
"""In the workspace of `finished`: the summary of its first run."""


def options(*settings: str) -> list[str]:
    """The preset, with settings laid over it."""
    return ["--preset", PRESET, *(part for value in settings for part in ("--set", value))]


@dataclasses.dataclass(frozen=True)
class Denoise:
    """The `denoise` command, always on one workspace."""

    workspace: pathlib.Path
    data: pathlib.Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pipeline.cli", *arguments, "--workspace", self.workspace]

    def run_command(self, *settings: str) -> list[str]:
        return self.command("run", "--data", self.data, "--json", *options(*settings))

    def call(self, *arguments: str) -> subprocess.CompletedProcess:
        return self._finish(self.command(*arguments))

    def run(self, *settings: str) -> subprocess.CompletedProcess:
        return self._finish(self.run_command(*settings))

    def start(self, *settings: str) -> warm.Process:
        """Starts a run."""
        return warm.Process("pipeline.cli", self.run_command(*settings)[3:], environment())

    def run_killed_in(self, step: str, *settings: str) -> str:
        """Kills a run, without a chance to clean up, while `step` is running.

        Returns:
          What it said on standard error.
        """
        process = self.start(*settings)
        try:
            self._wait_until_finished(STEPS[: STEPS.index(step)], process)
            self._wait_until_begun(step, process)
        finally:
            process.kill()
        return process.said()[1]

    def run_killed_after(self, step: str, *settings: str) -> str:
        """As `run_killed_in`, once `step` has ended."""
        process = self.start(*settings)
        try:
            self._wait_until_finished(STEPS[: STEPS.index(step) + 1], process)
        finally:
            process.kill()
        return process.said()[1]

    def _wait_until_finished(self, steps: list[str], process: warm.Process) -> None:
        while not set(steps) <= set(self.finished(process)):
            assert process.poll() is None, process.said()[1]
            time.sleep(0.02)

    @staticmethod
    def finished(process: warm.Process) -> list[str]:
        """A run's steps that have ended."""
        ended = re.findall(r"^ [✓=] +\d+/\d+ (\w+) ", process.said()[1], re.MULTILINE)
        return [name for name in ended if name in STEPS]

    def _wait_until_begun(self, step: str, process: warm.Process) -> None:
        # In the middle of training: after an epoch was backed up.
        begun = {"Trainer": "resume/*/epoch-*"}.get(step, "*/*")
        deadline = time.monotonic() + 120
        while not list(self.workspace.glob(f"pipeline_root/{step}/{begun}")):
            assert process.poll() is None, f"the run ended before {step}"
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def summary(self) -> dict:
        return json.loads((self.workspace / "summary.json").read_text())

    def versions(self) -> list[str]:
        serving = self.workspace / "serving" / "denoiser"
        return sorted(child.name for child in serving.iterdir()) if serving.exists() else []

    def _finish(self, command: list) -> subprocess.CompletedProcess:
        return warm.call("pipeline.cli", command[3:], environment())


STEPS = [
    "CsvIngestion",
    "ImportSchemaGen",
    "StatisticsGen",
    "ExampleValidator",
    "AnomalyGate",
    "Transform",
    "Trainer",
    "PushedModel",
    "ServingCheck",
    "QualityEvaluator",
    "AtomicPusher",
    "ReferenceClassifier",
    "Report",
]


def assert_same_but_for_rounding(
    measured: Iterable[Mapping[str, Any]], expected: Iterable[Mapping[str, Any]]
) -> None:
    """Compares metrics, slice by slice, of two trainings of the same recipe.

    TensorFlow promises no last digit: in which order sums are taken may depend on how busy the
    processors are. Another order of the images, another noise or seed moves the fourth.
    """
    for one, other in zip(measured, expected, strict=True):
        nearly = {
            name: pytest.approx(value, rel=1e-5) if isinstance(value, float) else value
            for name, value in other.items()
        }
        assert one == nearly


def environment() -> dict[str, str]:
    root = pathlib.Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """What the preset draws."""
    return clothing.clothing(tmp_path_factory.mktemp("data"), TRAIN + TEST, (28, 28, 1))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A workspace in which a newcomer's first run has ended well; tests that come later may run on
    in it."""
    workspace = tmp_path_factory.mktemp("workspace")
    denoise = Denoise(workspace, workspace / "generated" / f"{TRAIN + TEST}x28x28x1")
    done = denoise.call("run", "--preset", PRESET, "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    shutil.copy(denoise.workspace / "summary.json", denoise.workspace / LEFT_ALONE)
    return denoise
