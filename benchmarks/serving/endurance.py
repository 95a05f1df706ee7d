"""Does the server hold under load while its model is replaced again and again?

    python -m benchmarks.serving.endurance [--minutes 5] [--clients 64] [--swap-seconds 10]

Sends single images from many clients with batching on, puts a new version in its place every
few seconds, and reports failed requests, versions served and the server's memory.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import httpx
import numpy as np
import psutil

from benchmarks.serving import h2load, subject
from benchmarks.serving.run import _BATCHING, _bodies
from components.base.errors import DenoiseError
from components.base.places import SERVABLE

_SETTLE_SECONDS = 5.0


class _Swapper(threading.Thread):
    """Puts version after version in its place, and takes the one before the last away."""

    def __init__(self, source: pathlib.Path, base_path: pathlib.Path, seconds: float) -> None:
        super().__init__(daemon=True)
        self._source, self._base_path, self._seconds = source, base_path, seconds
        self.stop = threading.Event()
        self.last = 1

    def run(self) -> None:
        while not self.stop.wait(self._seconds):
            temporary = self._base_path.parent / "next"
            shutil.copytree(self._source, temporary)
            self.last += 1
            temporary.rename(self._base_path / str(self.last))
            shutil.rmtree(self._base_path / str(self.last - 2), ignore_errors=True)


def _versions(rest_url: str) -> dict[int, str]:
    answer = httpx.get(f"{rest_url}/v1/models/{SERVABLE}").json()
    return {int(e["version"]): e["state"] for e in answer["model_version_status"]}


def endure(
    model: pathlib.Path | None, minutes: float, clients: int, swap_seconds: float
) -> dict[str, float]:
    """Figures by name; memory in MiB.

    Raises:
      UsageError: h2load is not installed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        source = subject.newest(model, folder / "source")
        body = _bodies(source)["serving_default", 1, "grpc"]
        base_path = folder / SERVABLE
        shutil.copytree(source, base_path / "1")
        batching = folder / "batching.config"
        batching.write_text(_BATCHING)
        flags = ["--enable_batching", f"--batching_parameters_file={batching}"]
        with subject.server(base_path, flags) as (grpc_url, rest_url, pid):
            process = psutil.Process(pid)
            url = grpc_url + h2load.PREDICT
            # Pools, threads and the first swap take their memory before it is first read.
            swapper = _Swapper(source, base_path, swap_seconds)
            swapper.start()
            h2load.run(url, body, swap_seconds + _SETTLE_SECONDS, clients, grpc=True)
            memory = []
            stop = threading.Event()

            def watch() -> None:
                while not stop.is_set():
                    memory.append(process.memory_info().rss / 2**20)
                    stop.wait(1.0)

            watcher = threading.Thread(target=watch)
            watcher.start()
            first_version = swapper.last
            load = h2load.run(url, body, minutes * 60, clients, grpc=True)
            stop.set()
            watcher.join()
            swapper.stop.set()
            swapper.join()
            deadline = time.monotonic() + 300
            while _versions(rest_url).get(swapper.last) != "AVAILABLE":
                if time.monotonic() > deadline:
                    raise RuntimeError(f"version {swapper.last}: {_versions(rest_url)}")
                time.sleep(0.2)
            counts = subject.request_counts(rest_url)
            return {
                "minutes": minutes,
                "requests": load.requests,
                "images_per_s": load.rate,
                "p50_ms": load.percentile(50),
                "p99_ms": load.percentile(99),
                "max_ms": load.percentile(100),
                "failed_connections": load.failed,
                # A client that stops while it waits is a CANCELLED, which is no failure.
                "failed_requests": sum(
                    n for s, n in counts.items() if s not in ("OK", "CANCELLED")
                ),
                "swaps": swapper.last - first_version,
                "rss_first_mib": memory[0],
                "rss_last_mib": memory[-1],
                "rss_highest_mib": max(memory),
                # It rises and falls with every swap: whether it grows shows in the means.
                **{
                    f"rss_mean_{fifth + 1}_of_5_mib": statistics.fmean(part)
                    for fifth, part in enumerate(np.array_split(memory, 5))
                    if len(part)
                },
                "threads": process.num_threads(),
                "open_files": process.num_fds(),
            }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=pathlib.Path, help="a SavedModel or a folder of versions")
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--swap-seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    try:
        figures = endure(
            arguments.model, arguments.minutes, arguments.clients, arguments.swap_seconds
        )
    except DenoiseError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}, indent=1))
    return 1 if figures["failed_requests"] or figures["failed_connections"] else 0


if __name__ == "__main__":
    sys.exit(main())
