"""The work of the benchmark's worker processes: chunks of images, candidates of a tuning."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.util
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from components.base import libraries
from components.filters import tone_curve
from components.filters.base import FILTERS
from components.filters.best_parameters import Trial, attempt

CHUNK_VALUES = 100 * 28 * 28
"""Pixel values of the images a worker is given at a time."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def _begin() -> None:
    """Has a worker end when its parent was killed: it would wait for ever for more work."""
    libraries.spare_processor()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def workers() -> Iterator[concurrent.futures.Executor]:
    """One process a core, started when there is work; what has not begun is dropped on errors."""
    # Spawned: TensorFlow's threads do not survive a fork.
    pool = concurrent.futures.ProcessPoolExecutor(
        cores(),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def unavailable(name: str) -> str | None:
    """Reason why a filter cannot run here; None: it can."""
    package = FILTERS[name].package
    if package is not None and importlib.util.find_spec(package) is None:
        return f"not installed: the package {package}, an optional extra of this project"
    return None


def denoise(
    name: str, parameters: dict[str, Any], curve: Sequence[float] | None, noisy: np.ndarray
) -> tuple[np.ndarray, float]:
    """Denoises a chunk.

    Args:
      name: Of a filter.
      parameters: Its.
      curve: The tone curve of its results, if any.
      noisy: float32, (N, H, W, C), in [0, 1].

    Returns:
      float32 (N, H, W, C) in [0, 1], and the seconds it took.
    """
    started = time.perf_counter()
    denoised = FILTERS[name](noisy, **parameters)
    if curve is not None:
        denoised = tone_curve.apply(np.asarray(curve), denoised)
    return np.clip(denoised, 0, 1), time.perf_counter() - started


def trial(name: str, parameters: dict[str, Any], noisy: np.ndarray, clean: np.ndarray) -> Trial:
    """Tries one candidate of a filter."""
    return attempt(FILTERS[name], parameters, noisy, clean)
