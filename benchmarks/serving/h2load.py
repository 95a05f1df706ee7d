"""Load from h2load (Debian: nghttp2-client), which takes little of the CPUs it shares with
the server: a request is recorded once and sent again and again, answers are not decoded.

It speaks HTTP/2, so a gRPC call is a POST of a length-prefixed message
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile

import numpy as np

from components.base.errors import UsageError

PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclasses.dataclass(frozen=True)
class Load:
    """The answers to a load, and their times."""

    requests: int
    failed: int
    """Requests without an answer, or with an HTTP status other than 2xx. A gRPC error is a
    200: the server's own count has those."""
    seconds: float
    latencies: np.ndarray
    """Milliseconds of each answered request."""

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return (self.requests - self.failed) / self.seconds

    def percentile(self, percent: float) -> float:
        """A percentile of the latencies, in milliseconds."""
        return float(np.percentile(self.latencies, percent))


def run(
    url: str,
    body: bytes,
    seconds: float,
    clients: int = 1,
    warm_up: float = 1.0,
    grpc: bool = False,
) -> Load:
    """Sends one request from several clients, each waiting for its answer before the next.

    Args:
      url: http://host:port/path.
      body: A serialised message for gRPC, else the HTTP body.
      seconds: For how long, after `warm_up` seconds.
      clients: Connections.
      warm_up: Seconds that do not count.
      grpc: Send it as a gRPC call.

    Raises:
      UsageError: h2load is not installed.
      RuntimeError: h2load failed.
    """
    program = shutil.which("h2load")
    if program is None:
        raise UsageError("h2load is not installed: apt-get install nghttp2-client")
    if grpc:
        body = struct.pack(">BI", 0, len(body)) + body
    with tempfile.TemporaryDirectory() as folder:
        data, log = pathlib.Path(folder, "body"), pathlib.Path(folder, "log")
        data.write_bytes(body)
        headers = (
            ["content-type: application/grpc", "te: trailers"]
            if grpc
            else ["content-type: application/json"]
        )
        command = [
            program,
            "-c",
            str(clients),
            "-m",
            "1",
            "-t",
            "1",
            "-D",
            f"{seconds * 1000:.0f}ms",
        ]
        command += [f"--warm-up-time={warm_up * 1000:.0f}ms", "-d", str(data), f"--log-file={log}"]
        command += [] if grpc else ["--h1"]
        for header in headers:
            command += ["-H", header]
        done = subprocess.run([*command, url], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"h2load: {done.stderr or done.stdout}")
        rows = np.loadtxt(log, dtype=np.int64, ndmin=2)
    counts = re.search(
        r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed",
        done.stdout,
    )
    if counts is None:
        raise RuntimeError(f"h2load said {done.stdout!r}")
    _, _, succeeded, failed = map(int, counts.groups())
    if not len(rows):
        raise RuntimeError(f"no request was answered: {done.stdout}")
    return Load(succeeded + failed, failed, seconds, rows[:, 2] / 1000)
