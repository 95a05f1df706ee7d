"""The benchmarks measure what they say."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.serving import endurance, h2load, run, subject
from components.base.errors import UsageError
from components.export.requests import requests
from serving.client import grpc_wire
from serving.client.target import Target
from tests.serving.saved_models import CHANNELS, HEIGHT, WIDTH

SHAPE = (HEIGHT, WIDTH, CHANNELS)
needs_h2load = pytest.mark.skipif(not shutil.which("h2load"), reason="needs h2load")


@needs_h2load
@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_h2load_sends_requests_that_are_answered(target, transport):
    inputs = requests(subject.example_pixels(2, SHAPE), SHAPE)["predict_pixels"]
    if transport == "grpc":
        call = grpc_wire.predict(Target.parse("x", "denoiser", None), "predict_pixels", inputs, ())
        url = f"http://{target.grpc}{h2load.PREDICT}"
        body = call.body
    else:
        url = f"{target.rest}/v1/models/denoiser/metadata"
        body = b"{}"
    before = subject.request_counts(target.rest).get("OK", 0)
    load = h2load.run(url, body, 0.5, clients=3, warm_up=0.2, grpc=transport == "grpc")
    assert load.requests > 3
    assert load.percentile(50) > 0
    if transport == "grpc":
        assert load.failed == 0
        assert subject.request_counts(target.rest)["OK"] - before >= load.requests
    else:
        assert load.failed == load.requests  # a POST of what is a GET


def test_h2load_must_be_installed(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UsageError, match="apt-get install nghttp2-client"):
        h2load.run("http://localhost", b"", 1)


def test_ratios():
    figures = {
        "in_process_single_p50_ms": 2.0,
        "in_process_batch_images_per_s": 1000.0,
        "grpc_single_p50_ms": 3.0,
        "grpc_batch_images_per_s": 900.0,
        "grpc_clients_images_per_s": 500.0,
        "grpc_encoded_images_per_s": 400.0,
        "rest_encoded_images_per_s": 300.0,
    }
    assert [reached for _, reached, _, _ in run.ratios(figures)] == [1.0, 0.9, 0.5, 0.75]


@needs_h2load
@pytest.mark.slow
def test_nothing_fails_while_versions_change():
    figures = endurance.endure(None, 0.3, 64, 4)
    assert figures["failed_requests"] == figures["failed_connections"] == 0
    assert figures["swaps"] >= 3
