"""Stand-ins for the measurement of a candidate, and a job to measure.

Without TensorFlow: a process that calls one of them begins in a moment.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import time

from components.base.errors import UsageError
from components.base.settings import (
    ImageSettings,
    ModelSettings,
    NoiseSettings,
    TrainingSettings,
)
from components.training.job import Job
from components.training.result import Candidate


def job(folder, **model):
    return Job(
        image=ImageSettings(height=8, width=8),
        noise=NoiseSettings(),
        model=ModelSettings(
            name="unet", arguments={"widths": [4], "blocks": 0, "mixer_blocks": 0, **model}
        ),
        training=TrainingSettings(batch_size=4),
        seed=1,
        train_files=(),
        eval_files=(),
        run_folder=folder / "model_run" / "1",
    )


def bfloat16_dies(job, candidate):
    """As on a CPU whose hypervisor does not let AMX run."""
    if candidate.precision == "mixed_bfloat16":
        faulthandler.disable()  # pytest's; its lines would look like a failure.
        os.kill(os.getpid(), signal.SIGILL)
    return 400.0


def bfloat16_dies_with_all_instructions(job, candidate):
    return 700.0 if candidate.environment else bfloat16_dies(job, candidate)


def bfloat16_is_slow(job, candidate):
    """As on a CPU without it."""
    return {"float32": 400.0, "mixed_bfloat16": 50.0}[candidate.precision]


def bfloat16_is_faster(job, candidate):
    return {"float32": 400.0, "mixed_bfloat16": 700.0}[candidate.precision]


def hangs(job, candidate):
    if candidate.precision == "mixed_bfloat16":
        time.sleep(60)
    return 1.0


def fails(job, candidate):
    raise ValueError("no kernel for this")


def refuses(job, candidate):
    raise UsageError("widths cannot be 0")


def main():
    """As a program, in place of tests.bfloat16."""
    bfloat16_dies(None, Candidate(precision="mixed_bfloat16"))
