"""Anything may be sent: a mistake is the client's, and the next request is answered right."""

from __future__ import annotations

import json

import grpc
import httpx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import classification_pb2, predict_pb2

from serving.server.running import running_server, server_options
from tests.serving.fuzz import messages
from tests.serving.fuzz.test_wire import classifications, parsed
from tests.serving.saved_models import PIXELS

QUICK = settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
LONG = settings(QUICK, max_examples=1_000_000)
MINE = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
MINE |= {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED}
SERVICE = "/tensorflow.serving.PredictionService/"


@pytest.fixture(scope="module")
def server(models):
    options = server_options(
        port=0,
        rest_api_port=0,
        model_config_file=models / "models.config",
        allow_version_labels_for_unavailable_models=True,
        max_message_bytes=2**20,
    )
    with (
        running_server(options) as addresses,
        httpx.Client(base_url=addresses.rest) as rest,
        grpc.insecure_channel(addresses.grpc.partition("://")[2]) as channel,
    ):
        yield rest, channel


leaves = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(0, 255),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(st.characters(), max_size=4),
    st.builds(lambda text: {"b64": text}, st.text("AB=+/ \n", max_size=8)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["image", "pixels", "x", "", "é"]), inner, max_size=2),
    ),
    max_leaves=25,
)
names = st.sampled_from(
    ["serving_default", "predict_pixels", "predict_encoded", "predict_examples", "classify"]
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.one_of(names, leaves),
        "instances": trees,
        "inputs": trees,
        "examples": trees,
        "context": trees,
    },
)
paths = st.sampled_from(
    [
        f"/v1/models/{model}{version}:{method}"
        for model in ("denoiser", "half_plus", "two_tasks", "absent", "%ff", "%00")
        for version in ("", "/versions/1", "/versions/99999999999999999999", "/labels/stable")
        for method in ("predict", "classify", "regress", "guess")
    ]
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """JSON of a request, or not quite."""
    text = json.dumps(draw(documents), ensure_ascii=draw(st.booleans()))
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(
            st.one_of(
                st.binary(max_size=3), st.sampled_from([b"\\ud800", b"[[[", b"NaN", b"1e999"])
            )
        )
    return bytes(body)


def right_answer(rest: httpx.Client) -> None:
    body = {"signature_name": "predict_pixels", "instances": [[8] * PIXELS]}
    answer = rest.post("/v1/models/denoiser:predict", json=body)
    assert answer.json() == {"predictions": [[4] * PIXELS]}


def check_rest(rest: httpx.Client, path: str, body: bytes) -> None:
    answer = rest.post(path, content=body)
    assert answer.status_code in {200, 400, 404, 413, 429, 501}, answer.text
    parse = json.loads(answer.text)  # NaN is a token of TF Serving's JSON
    assert list(parse) in (["error"], ["predictions"], ["outputs"], ["results"])
    assert ("error" in parse) == (answer.status_code != 200)


def check_grpc(channel: grpc.Channel, method: str, kind: type, content: bytes) -> None:
    try:
        channel.unary_unary(SERVICE + method)(content, timeout=30)
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
    else:
        return
    try:
        parsed(kind, content)
    except DecodeError:
        assert code in MINE | {grpc.StatusCode.INTERNAL}, details
    else:
        assert code in MINE, details


@QUICK
@given(paths, bodies())
def test_any_body(server, path, body):
    check_rest(server[0], path, body)


@QUICK
@given(st.one_of(messages.mangled(messages.requests()), messages.fields()))
def test_any_predict_request(server, content):
    check_grpc(server[1], "Predict", predict_pb2.PredictRequest, content)


@QUICK
@given(messages.mangled(classifications()))
def test_any_classify_request(server, content):
    check_grpc(server[1], "Classify", classification_pb2.ClassificationRequest, content)


def test_and_the_next_one_is_answered_right(server):
    right_answer(server[0])


@pytest.mark.slow
@pytest.mark.timeout(0)
@LONG
@given(
    paths,
    bodies(),
    st.one_of(messages.mangled(messages.requests()), messages.fields()),
    messages.mangled(classifications()),
)
def test_all_of_them_for_hours(server, path, body, request, examples):
    check_rest(server[0], path, body)
    check_grpc(server[1], "Predict", predict_pb2.PredictRequest, request)
    check_grpc(server[1], "Classify", classification_pb2.ClassificationRequest, examples)
    right_answer(server[0])
