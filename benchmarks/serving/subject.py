"""The subject of the measurements: one model, and a server of it in a process of its own."""

from __future__ import annotations

import collections
import contextlib
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

import httpx
import numpy as np

from components.base.places import SERVABLE
from components.export.signatures import export_servable
from components.push.versions import versions

SHAPE = (28, 28, 1)
_MODEL = "unet"


def example_pixels(number: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Seeded uint8 (number, H*W*C) without structure: what a pixel is does not change what
    it costs."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (number, int(np.prod(shape))), np.uint8)


def newest(model: pathlib.Path | None, folder: pathlib.Path) -> pathlib.Path:
    """The SavedModel to measure: the newest version under `model`, or the default
    architecture, untrained, exported into `folder`."""
    if model is not None:
        pushed = versions(model)
        return model / pushed[-1].name if pushed else model
    from components import models

    path = folder / SERVABLE / "1"
    export_servable(models.build(_MODEL, SHAPE), path, SHAPE, example_pixels(8))
    return path


@contextlib.contextmanager
def server(base_path: pathlib.Path, flags: Sequence[str] = ()) -> Iterator[tuple[str, str, int]]:
    """A server of its own process.

    Yields:
      Its gRPC port as http://host:port, its REST URL, its process id.

    Raises:
      RuntimeError: it did not start; has its log.
    """
    with tempfile.TemporaryDirectory() as folder:
        monitoring = pathlib.Path(folder, "monitoring.config")
        monitoring.write_text("prometheus_config { enable: true }")
        log_path = pathlib.Path(folder, "log")
        with log_path.open("w") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "serving.server",
                    "--port=0",
                    "--rest_api_port=0",
                    f"--model_name={SERVABLE}",
                    f"--model_base_path={base_path}",
                    f"--monitoring_config_file={monitoring}",
                    *flags,
                ],
                stderr=log,
            )
        try:
            urls: dict[str, str] = {}
            while len(urls) < 2:
                try:
                    process.wait(0.2)
                except subprocess.TimeoutExpired:
                    urls = dict(re.findall(r"(gRPC|REST) (\S+)$", log_path.read_text(), re.M))
                else:
                    raise RuntimeError(f"the server did not start: {log_path.read_text()}")
            yield urls["gRPC"].replace("grpc://", "http://"), urls["REST"], process.pid
        finally:
            process.terminate()
            process.wait()


def request_counts(rest_url: str) -> dict[str, int]:
    """The server's own count of its requests of all models and methods, by status."""
    text = httpx.get(f"{rest_url}/monitoring/prometheus/metrics").text
    found = re.findall(r':request_count\{.*?status="(\w+)"\} ([\d.e+]+)', text)
    counts: collections.Counter[str] = collections.Counter()
    for status, count in found:
        counts[status] += int(float(count))
    return dict(counts)
