"""Measures how much of a model's speed the server passes on.

    python -m benchmarks.serving.run [--model workspace/serving/denoiser] [--seconds 5] [--json]

In one run, with one model on one machine: the SavedModel called in this process as the limit,
then our gRPC and REST, with load from h2load. Needs h2load (nghttp2-client).
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks.serving import h2load, subject
from components.base.errors import DenoiseError
from components.base.places import SERVABLE
from components.export import requests
from components.image.pixels import normalise_array
from serving.client import grpc_wire, rest_wire
from serving.client.target import Target
from serving.protocol import messages

_BATCH = 64
_CLIENTS = 64
_BATCHING = """
max_batch_size { value: 64 }
batch_timeout_micros { value: 1000 }
num_batch_threads { value: 2 }
max_enqueued_batches { value: 1000 }
"""
_TARGET = Target.parse("grpc://localhost", SERVABLE, None)


def _repeat(call: Callable[[], object], seconds: float) -> np.ndarray:
    """Milliseconds of each call, for so long."""
    for _ in range(5):
        call()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return np.array(times)


def _in_process(path: pathlib.Path, seconds: float) -> dict[str, float]:
    """The SavedModel's own function, from numpy to numpy."""
    import tensorflow as tf

    function = tf.saved_model.load(str(path)).signatures["serving_default"]
    shape = tuple(function.structured_input_signature[1]["image"].shape[1:])
    pixels = subject.example_pixels(_BATCH, shape)
    images = normalise_array(pixels, shape)

    def call(batch: np.ndarray) -> np.ndarray:
        return function(image=tf.constant(batch))["denoised"].numpy()

    single = _repeat(lambda: call(images[:1]), seconds)
    batched = _repeat(lambda: call(images), seconds)
    return {
        "single_p50_ms": float(np.median(single)),
        "batch_images_per_s": _BATCH / float(np.mean(batched)) * 1e3,
    }


def _bodies(path: pathlib.Path) -> dict[tuple[str, int, str], bytes]:
    """Requests by (signature, images, transport)."""
    import tensorflow as tf

    function = tf.saved_model.load(str(path)).signatures["serving_default"]
    shape = tuple(function.structured_input_signature[1]["image"].shape[1:])
    bodies = {}
    for number in (1, _BATCH):
        pixels = subject.example_pixels(number, shape)
        for signature, inputs in requests.requests(pixels, shape).items():
            for transport, wire in (("grpc", grpc_wire), ("rest", rest_wire)):
                call = wire.predict(_TARGET, signature, inputs, ())
                bodies[signature, number, transport] = call.body
    return bodies


def _check(grpc_url: str, rest_url: str, bodies: dict[tuple[str, int, str], bytes]) -> None:
    """That the recorded requests are answered as they should be, before they are counted."""
    import grpc
    import httpx

    with grpc.insecure_channel(grpc_url.removeprefix("http://")) as channel:
        call = channel.unary_unary(h2load.PREDICT, None, messages.PredictResponse.FromString)
        for (signature, number, transport), body in bodies.items():
            if transport == "grpc":
                for output in call(body).outputs.values():
                    assert output.tensor_shape.dim[0].size == number, signature
            else:
                url = f"{rest_url}/v1/models/{SERVABLE}:predict"
                answer = httpx.post(url, content=body, timeout=60)
                assert answer.status_code == 200, (signature, answer.text[:200])


def measure(model: pathlib.Path | None, seconds: float) -> dict[str, float]:
    """All figures by name; rates in images per second, times in milliseconds.

    Raises:
      UsageError: h2load is not installed.
    """
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = subject.newest(model, pathlib.Path(folder))
        bodies = _bodies(path)
        figures |= {f"in_process_{k}": v for k, v in _in_process(path, seconds).items()}

        def load(urls: tuple[str, str], signature: str, number: int, transport: str, clients: int):
            grpc_url, rest_url = urls
            body = bodies[signature, number, transport]
            if transport == "grpc":
                return h2load.run(grpc_url + h2load.PREDICT, body, seconds, clients, grpc=True)
            url = f"{rest_url}/v1/models/{SERVABLE}:predict"
            return h2load.run(url, body, seconds, clients)

        with subject.server(path.parent) as (grpc_url, rest_url, _):
            urls = grpc_url, rest_url
            _check(grpc_url, rest_url, bodies)
            for transport in ("grpc", "rest"):
                single = load(urls, "serving_default", 1, transport, 1)
                figures[f"{transport}_single_p50_ms"] = single.percentile(50)
                figures[f"{transport}_single_p99_ms"] = single.percentile(99)
                batch = load(urls, "serving_default", _BATCH, transport, 2)
                figures[f"{transport}_batch_images_per_s"] = _BATCH * batch.rate
                encoded = load(urls, "predict_encoded", 1, transport, 2)
                figures[f"{transport}_encoded_images_per_s"] = encoded.rate
        batching = pathlib.Path(folder, "batching.config")
        batching.write_text(_BATCHING)
        flags = ["--enable_batching", f"--batching_parameters_file={batching}"]
        with subject.server(path.parent, flags) as (grpc_url, rest_url, _):
            urls = grpc_url, rest_url
            for transport in ("grpc", "rest"):
                many = load(urls, "serving_default", 1, transport, _CLIENTS)
                figures[f"{transport}_clients_images_per_s"] = many.rate
                figures[f"{transport}_clients_p99_ms"] = many.percentile(99)
            counts = subject.request_counts(rest_url)
            # h2load hangs up on what is on the way when its time is over.
            ended = ("OK", "CANCELLED")
            figures["failed_requests"] = sum(n for s, n in counts.items() if s not in ended)
    return figures


def ratios(figures: dict[str, float]) -> list[tuple[str, float, float, bool]]:
    """(what, reached, aim, whether more is better) of each aim."""
    limit = figures["in_process_batch_images_per_s"]
    single = figures["in_process_single_p50_ms"]
    return [
        (
            "single-image gRPC p50 less 1 ms / in-process",
            (figures["grpc_single_p50_ms"] - 1) / single,
            1.5,
            False,
        ),
        ("gRPC requests of 64 / in-process", figures["grpc_batch_images_per_s"] / limit, 0.8, True),
        (
            "64 single-image gRPC clients, batched / in-process",
            figures["grpc_clients_images_per_s"] / limit,
            0.4,
            True,
        ),
        (
            "REST predict_encoded / gRPC predict_encoded",
            figures["rest_encoded_images_per_s"] / figures["grpc_encoded_images_per_s"],
            0.5,
            True,
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=pathlib.Path, help="a SavedModel or a folder of versions")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement")
    parser.add_argument("--json", action="store_true", help="figures and ratios as JSON")
    arguments = parser.parse_args()
    try:
        figures = measure(arguments.model, arguments.seconds)
    except DenoiseError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    aims = ratios(figures)
    if arguments.json:
        named = {name: {"reached": reached, "aim": aim} for name, reached, aim, _ in aims}
        print(json.dumps({"figures": figures, "ratios": named}))
        return 0
    for name, value in figures.items():
        print(f"{name:36} {value:10.2f}")
    print()
    for name, reached, aim, more in aims:
        met = reached >= aim if more else reached <= aim
        bound = f"(aim {'>=' if more else '<='} {aim})"
        print(f"{name:52} {reached:6.2f}  {bound} {'' if met else 'MISSED'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
