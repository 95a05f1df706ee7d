"""On a machine with a GPU a process that has started its driver must not be forked: the driver
answers CUDA_ERROR_NOT_INITIALIZED in the fork, and every run ended so before its first step.

Held on any machine, with a driver that only notes who starts it.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from pipeline import bootstrap

COMPILER = shutil.which("cc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    folder = tmp_path_factory.mktemp("driver")
    source = pathlib.Path(__file__).with_name("driver.c")
    command = [COMPILER, "-shared", "-fPIC", "-o", folder / "libcuda.so.1", source]
    subprocess.run(command, check=True)
    return folder


def _run(driver, log, *arguments):
    """Runs Python with the driver, and returns (process, parent) of all that started it."""
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    environment |= {
        "LD_LIBRARY_PATH": str(driver),
        "DRIVER_LOG": str(log),
        "PYTHONPATH": str(bootstrap.ROOT),
    }
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        cwd=log.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    lines = log.read_text().splitlines() if log.exists() else []
    return [tuple(map(int, line.split())) for line in lines]


def test_asking_whether_a_process_may_fork_starts_no_driver(driver, tmp_path):
    log = tmp_path / "log"
    code = "import os, tensorflow, keras; from components.base import libraries; "
    code += f"assert libraries.untouched(); assert not os.path.exists({str(log)!r}); "
    code += "tensorflow.config.list_physical_devices(); assert libraries.untouched()"
    assert len(_run(driver, log, "-c", code)) == 1


@pytest.mark.ci
def test_no_process_of_a_run_is_forked_from_one_that_started_the_driver(driver, tmp_path):
    arguments = ("-m", "pipeline.cli", "run", "--preset", "smoke", "--workspace", tmp_path / "w")
    started = _run(driver, tmp_path / "log", *arguments)
    processes = {process for process, _ in started}
    # Transform, Trainer, ServingCheck, QualityEvaluator and Report, at the least.
    assert len(processes) >= 5
    assert not processes & {parent for _, parent in started}
