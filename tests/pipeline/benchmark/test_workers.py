"""Worker processes give what this process would, and do not outlive it."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np

from components.filters import FILTERS
from pipeline.benchmark import workers as work

ROOT = pathlib.Path(__file__).resolve().parents[3]


def test_a_worker_gives_the_same_images_clipped_and_curved():
    noisy = np.random.default_rng(1).random((5, 9, 9, 1), np.float32)
    curve = np.linspace(0, 1, 256) ** 2
    with work.workers() as pool:
        denoised, seconds = pool.submit(
            work.denoise, "gaussian_blur", {"sigma": 1.0}, curve.tolist(), noisy
        ).result()
    np.testing.assert_allclose(denoised, FILTERS["gaussian_blur"](noisy, sigma=1.0) ** 2, atol=1e-4)
    assert seconds > 0


def test_a_worker_ends_when_its_parent_is_killed():
    code = (
        "import os, time\n"
        "from pipeline.benchmark import workers as work\n"
        "if __name__ == '__main__':\n"
        "    with work.workers() as pool:\n"
        "        print(pool.submit(os.getpid).result(), flush=True)\n"
        "        time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        worker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while _runs(worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(process: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
