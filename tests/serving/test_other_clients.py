"""Clients that nobody here wrote, and what they do that ours does not."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess

import httpx
import pytest

from tests.serving.saved_models import PIXELS

BODY = {"signature_name": "predict_pixels", "instances": [[8] * PIXELS]}
ANSWER = {"predictions": [[4] * PIXELS]}

CLIENTS = pathlib.Path(__file__).parents[2] / ".venv-clients"
MAKE = "sh tests/serving/clients/make.sh has not been called"

curl = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")


def run_curl(*arguments: str, stdin: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Status, head and body."""
    command = ["curl", "--silent", "--show-error", "--max-time", "30", "--include", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=True)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    first, *lines = head.decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


@curl
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--http1.0"],
        ["--header", "Transfer-Encoding: chunked"],
        ["--header", "Expect: 100-continue"],
        ["--header", "Content-Type: text/plain"],
        ["--header", "Content-Type:"],
        ["--header", "Connection: close"],
        ["--compressed"],
    ],
)
def test_curl_posts_as_it_likes(target, options):
    url = f"{target.rest}/v1/models/denoiser:predict"
    body = json.dumps(BODY).encode()
    status, headers, answer = run_curl(*options, "--data-binary", "@-", url, stdin=body)
    assert (status, json.loads(answer)) == (200, ANSWER)
    assert headers["content-type"].startswith("application/json")


@curl
def test_curl_gets(target):
    url = f"{target.rest}/v1/models/denoiser"
    for options in ([], ["--http1.0"], ["--get", "--data", "a=b"]):
        status, _, answer = run_curl(*options, url)
        assert status == 200
        assert json.loads(answer)["model_version_status"][0]["state"] == "AVAILABLE"


@curl
@pytest.mark.parametrize(
    ("options", "path"),
    [
        (["--request", "PUT", "--data", "{}"], ":predict"),
        (["--request", "DELETE"], ""),
        ([], ":predict"),
        ([], "/"),
        ([], "/versions/1/"),
        (["--data", "{}"], ":predict/"),
    ],
)
def test_a_malformed_request_is_told(target, options, path):
    status, _, answer = run_curl(*options, f"{target.rest}/v1/models/denoiser{path}")
    assert status == 400
    assert "Malformed request" in json.loads(answer)["error"]


@curl
@pytest.mark.parametrize("path", ["", ":predict", "/versions/1/metadata"])
def test_head_is_no_method_of_the_api(target, path):
    """Nor of the real server's; the answer has no body whatever it is."""
    status, _, body = run_curl("--head", f"{target.rest}/v1/models/denoiser{path}")
    assert (status, body) == (400, b"")


FETCH = """
const [url, body] = process.argv.slice(1);
const options = {method: "POST", body, headers: {"Content-Type": "application/json"}};
const answers = [];
for (const where of [url, url, url + "/"]) {
  const response = await fetch(where, options);
  answers.push([response.status, await response.json()]);
}
const head = await fetch(url, {method: "HEAD"});
answers.push([head.status, await head.text()]);
console.log(JSON.stringify(answers));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_a_browsers_fetch(target):
    """The same function in node, with its connections that stay open."""
    url = f"{target.rest}/v1/models/denoiser:predict"
    command = ["node", "--input-type=module", "--eval", FETCH, url, json.dumps(BODY)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    *answers, malformed, head = json.loads(done.stdout)
    assert answers == [[200, ANSWER]] * 2
    assert (malformed[0], head) == (400, [400, ""])


@pytest.mark.skipif(not (CLIENTS / "ovms" / "bin" / "python").exists(), reason=MAKE)
def test_ovmsclient(target):
    program = pathlib.Path(__file__).parent / "clients" / "ovms.py"
    rest = target.rest.removeprefix("http://")
    command = [CLIENTS / "ovms" / "bin" / "python", "-I", program, target.grpc, rest]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    expected = {
        "status": {"1": "AVAILABLE"},
        "metadata": {"image": [-1, 4, 6, 1]},
        "predict": [[3.0], [4.0]],
        "two outputs": ["denoised", "mean"],
        "unknown version": "ModelNotFoundError",
        "unknown model": "ModelNotFoundError",
        "unknown input": "InvalidInputError",
        "wrong type": "InvalidInputError",
        "wrong shape": "InvalidInputError",
    }
    assert json.loads(done.stdout) == {"grpc": expected, "rest": expected}


@pytest.mark.skipif(not (CLIENTS / "go" / "client").exists(), reason=f"{MAKE}, or without Go")
def test_a_client_in_go(target):
    command = [CLIENTS / "go" / "client", target.grpc]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120, text=True)
    assert done.stdout.splitlines() == [
        "1 y [3 4]",
        "1 mean [0.5 0.5]",
        "NotFound",
        "InvalidArgument",
        "1 AVAILABLE",
    ]


def test_a_browsers_preflight(target):
    """Before a page of another origin may post JSON; whether it may read the answer is CORS'."""
    url = f"{target.rest}/v1/models/denoiser:predict"
    response = httpx.options(
        url,
        headers={
            "Origin": "https://elsewhere.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


def test_the_stubs_of_the_package(target):
    """tensorflow-serving-api's own, with their own (de)serialisers."""
    import grpc
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import (
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    with grpc.insecure_channel(target.grpc) as channel:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "denoiser"
        request.model_spec.signature_name = "predict_pixels"
        pixels = np.full((2, PIXELS), 8, np.int32)
        for tensor in (tf.make_tensor_proto(pixels), tf.make_tensor_proto(8, shape=pixels.shape)):
            request.inputs["pixels"].CopyFrom(tensor)
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = tf.make_ndarray(stub.Predict(request).outputs["denoised"])
            np.testing.assert_array_equal(answer, pixels // 2)
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "denoiser"
        found = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status)
        assert {entry.version for entry in found.model_version_status} == {1, 2}
