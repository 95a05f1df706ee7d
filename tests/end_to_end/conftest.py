"""The whole pipeline, as a user calls it, on small generated data."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests import clothing

SETTINGS = (
    # The default preset's bounds are Fashion-MNIST's.
    "evaluation.thresholds={}",
    "training.epochs=2",
    "training.batch_size=32",
    "training.precision=float32",
    "model.arguments={widths: [8, 8, 8], mixer_blocks: 1, mixer_tokens: 8, mixer_channels: 8}",
)
TRAIN, TEST = 400, 60
LEFT_ALONE = "left_alone.json"
"""In the workspace of `finished`: the summary of its first run."""


@dataclasses.dataclass(frozen=True)
class Denoise:
    """The `denoise` command, always on one workspace."""

    workspace: pathlib.Path
    data: pathlib.Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pipeline.cli", *arguments, "--workspace", self.workspace]

    def run_command(self, *settings: str) -> list[str]:
        overrides = [part for value in (*SETTINGS, *settings) for part in ("--set", value)]
        return self.command("run", "--data", self.data, "--json", *overrides)

    def call(self, *arguments: str) -> subprocess.CompletedProcess:
        return self._finish(self.command(*arguments))

    def run(self, *settings: str) -> subprocess.CompletedProcess:
        return self._finish(self.run_command(*settings))

    def run_killed_in(self, step: str, *settings: str) -> None:
        """Kills a run, without a chance to clean up, while `step` is running."""
        process = subprocess.Popen(
            self.run_command(*settings),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            finished = 0
            position = STEPS.index(step)
            while finished < position:
                line = process.stderr.readline()
                assert line, f"the run ended before {step}"
                finished += "✓" in line or "=" in line[:3]
            self._wait_until_begun(step, process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stderr.close()

    def _wait_until_begun(self, step: str, process: subprocess.Popen) -> None:
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
        return subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=400
        )


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


def environment() -> dict[str, str]:
    root = pathlib.Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    clothing.write_csvs(folder, train=TRAIN, test=TEST, seed=7)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory, data):
    """A workspace in which a run has ended well; tests that come later may run on in it."""
    denoise = Denoise(tmp_path_factory.mktemp("workspace"), data)
    done = denoise.run()
    assert done.returncode == 0, done.stderr[-4000:]
    shutil.copy(denoise.workspace / "summary.json", denoise.workspace / LEFT_ALONE)
    return denoise
