"""Requests that cost a server far more than their sender: refused at once, and the others are
answered meanwhile."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import gzip
import json
import socket
import sys
import threading
import time
import weakref
import zlib

import grpc
import httpx
import numpy as np
import psutil
import pytest
import tensorflow as tf
from aiohttp import web
from google.protobuf import text_format
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.calls.limits import NO_LIMITS
from serving.models import tensors
from serving.protocol.codes import Code, StatusError
from serving.server import bodies
from serving.server.connections import Connections
from serving.server.core import Core
from serving.server.json_reader import JsonReader
from serving.server.running import running_server, server_options
from tests.serving.saved_models import CHANNELS, HEIGHT, PIXELS, WIDTH

PREDICT = "/v1/models/denoiser:predict"
SHAPE = (HEIGHT, WIDTH, CHANNELS)
ROWS, BYTES = 2000, 2**20


@pytest.fixture(scope="module")
def server(models):
    options = server_options(
        port=0,
        rest_api_port=0,
        model_name="denoiser",
        model_base_path=models / "denoiser",
        max_request_rows=ROWS,
        max_message_bytes=BYTES,
        max_pending_bytes=3 * BYTES,
    )
    with running_server(options) as addresses:
        yield addresses


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.grpc.partition("://")[2]) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict(signature: str, **inputs) -> predict_pb2.PredictRequest:
    """A request of tensors of a type, a shape and one value."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "denoiser"
    request.model_spec.signature_name = signature
    for alias, (dtype, shape, field, value) in inputs.items():
        tensor = request.inputs[alias]
        tensor.dtype = dtype
        for size in shape:
            tensor.tensor_shape.dim.add().size = size
        getattr(tensor, field).append(value)
    return request


IMAGE = (types_pb2.DT_FLOAT, (1, *SHAPE), "float_val", 0.5)
GOOD = predict("serving_default", image=IMAGE)


def test_tiny_requests_cannot_ask_for_gigabytes(stub):
    memory = psutil.Process()
    before = memory.memory_info().rss
    many = [(types_pb2.DT_FLOAT, [2**26], "float_val", 1.0)] * 8
    for request, code, message in (
        (
            predict(
                "predict_encoded", image_bytes=(types_pb2.DT_STRING, [2**25], "string_val", b"x")
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Task size 33554432 is larger than maximum input batch size 2000",
        ),
        (
            predict("serving_default", **{f"a{i}": tensor for i, tensor in enumerate(many)}),
            grpc.StatusCode.INVALID_ARGUMENT,
            "input size does not match signature: 8!=1",
        ),
        (
            predict(
                "serving_default",
                image=(types_pb2.DT_FLOAT, [20000, *SHAPE], "float_val", 0.5),
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Task size 20000",
        ),
        (
            predict(
                "serving_default",
                image=(types_pb2.DT_FLOAT, [1, 2**20, 2**10], "float_val", 0.5),
            ),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Inputs of 4294967296 bytes are larger than max",
        ),
        (
            predict("serving_default", image=(types_pb2.DT_INT32, [2**20], "int_val", 1)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "to be float but int32 is provided",
        ),
    ):
        start = time.perf_counter()
        with pytest.raises(grpc.RpcError) as raised:
            stub.Predict(request)
        assert (raised.value.code(), message in raised.value.details()) == (code, True)
        assert time.perf_counter() - start < 5
    assert memory.memory_info().rss - before < 100 * 2**20
    stub.Predict(GOOD)


def test_a_request_of_many_rows_is_answered_as_a_whole(stub):
    """In parts, of which a client sees nothing."""
    pixels = np.random.default_rng(1).integers(0, 256, (ROWS, PIXELS)).astype(np.int32)
    request = predict("predict_pixels")
    request.inputs["pixels"].CopyFrom(tf.make_tensor_proto(pixels))
    answer = tf.make_ndarray(stub.Predict(request).outputs["denoised"])
    np.testing.assert_array_equal(answer, np.round(pixels / 2).astype(np.int32))


def test_a_failed_request_leaves_nothing_behind(server, stub, monkeypatch):
    arrays = []
    whole = tensors.SentTensor.array

    def remembered(self):
        array = whole(self)
        arrays.append(weakref.ref(array))
        return array

    monkeypatch.setattr(tensors.SentTensor, "array", remembered)
    request = predict("serving_default")
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(np.full((3, *SHAPE[1:]), 2, np.float32)))
    gc.collect()
    gc.disable()
    try:
        for _ in range(6):
            with pytest.raises(grpc.RpcError):
                stub.Predict(request)
        stub.Predict(GOOD)  # whatever held the last one is done
        assert len(arrays) == 7
        deadline = time.monotonic() + 5
        while any(array() is not None for array in arrays):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        gc.enable()


def test_a_failed_rest_request_leaves_nothing_behind(server, monkeypatch):
    bodies_read = []
    whole = bodies.read

    async def remembered(*arguments):
        bodies_read.append(await whole(*arguments))
        return bodies_read[-1]

    def others() -> list[int]:
        """How often each is referred to from elsewhere."""
        return [sys.getrefcount(bodies_read[position]) - 2 for position in range(4)]

    monkeypatch.setattr(bodies, "read", remembered)
    gc.collect()
    gc.disable()
    try:
        for content in (b'{"instances":[[1],[2,3]]}', b"[ ", b'{"signature_name":"absent"}'):
            assert httpx.post(server.rest + PREDICT, content=content).status_code == 400
        httpx.post(server.rest + PREDICT, content=BODY).raise_for_status()
        assert len(bodies_read) == 4
        deadline = time.monotonic() + 5
        while others() != [0, 0, 0, 0]:
            assert time.monotonic() < deadline, others()
            time.sleep(0.01)
    finally:
        gc.enable()


# Bodies.


def large_body(rows: int = 3000) -> dict:
    """More than is read in the server's own process."""
    pixels = np.random.default_rng(1).integers(100, 256, (rows, PIXELS))
    return {"signature_name": "predict_pixels", "instances": pixels.tolist()}


def test_a_large_body_is_read_in_another_process(server):
    body = large_body(ROWS)
    content = json.dumps({**body, "padding": " " * 2**18}).encode()
    assert 2**18 < len(content) < BYTES
    response = httpx.post(server.rest + PREDICT, content=content, timeout=60)
    expected = np.round(np.array(body["instances"]) / 2)
    np.testing.assert_array_equal(response.json()["predictions"], expected)
    body["instances"][-1] = [1]
    content = json.dumps(body).encode()
    response = httpx.post(server.rest + PREDICT, content=content, timeout=60)
    assert response.status_code == 400
    assert f"Failed to process element: {ROWS - 1}" in response.json()["error"]


def readers() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "serving.calls.json_worker" in child.cmdline()
    ]


def test_the_reading_process_may_die(server):
    content = json.dumps(large_body(ROWS)).encode().replace(b" ", b"  ")
    assert httpx.post(server.rest + PREDICT, content=content, timeout=60).status_code == 200
    [reader] = readers()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reader.suspend()
        answer = pool.submit(httpx.post, server.rest + PREDICT, content=content, timeout=60)
        start = time.perf_counter()
        assert httpx.get(server.rest + "/v1/models/denoiser").status_code == 200
        assert time.perf_counter() - start < 2  # whatever the reader does
        time.sleep(0.2)
        reader.kill()
        assert answer.result().status_code == 429
        assert "memory" in answer.result().json()["error"]
    assert httpx.post(server.rest + PREDICT, content=content, timeout=60).status_code == 200
    assert readers() != [reader]


def test_a_body_that_takes_too_much_memory_to_read():
    async def main(memory: int):
        reader = JsonReader(BYTES)
        reader._memory = memory
        body = b'{"inputs":[' + b"[[]]," * 2_000_000 + b"[]]}"
        try:
            return await reader.read("read_predict", body, {"s": {"x": 1}}, "s", NO_LIMITS)
        finally:
            await reader.close()

    with pytest.raises(StatusError) as raised:
        asyncio.run(main(300 * 2**20))
    assert raised.value.code == Code.RESOURCE_EXHAUSTED
    with pytest.raises(StatusError) as raised:
        asyncio.run(main(4 * 2**30))
    assert raised.value.code == Code.INVALID_ARGUMENT


def encoded(how: str, content: bytes) -> bytes:
    if how == "deflate":
        return zlib.compress(content)
    if how == "raw":
        compress = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return compress.compress(content) + compress.flush()
    if how == "two members":
        return gzip.compress(content[:10]) + gzip.compress(content[10:])
    return gzip.compress(content)


BODY = json.dumps({"signature_name": "predict_pixels", "instances": [[8] * PIXELS]}).encode()


@pytest.mark.parametrize(
    ("encoding", "how"),
    [
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip", "two members"),
        ("deflate", "deflate"),
        ("deflate", "raw"),
    ],
)
def test_bodies_are_unpacked(server, encoding, how):
    headers = {"Content-Encoding": encoding}
    content = encoded(how, BODY)
    response = httpx.post(server.rest + PREDICT, content=content, headers=headers)
    assert response.json() == {"predictions": [[4] * PIXELS]}
    response = httpx.post(server.rest + PREDICT, content=content[:-9], headers=headers)
    assert response.status_code == 400
    assert "body cannot be read" in response.json()["error"]


def test_an_unknown_encoding_is_told_in_json(server):
    for encoding in (b"br", b"zstd", b"compress", "é".encode()):
        response = httpx.post(
            server.rest + PREDICT, content=BODY, headers={b"Content-Encoding": encoding}
        )
        assert response.status_code == 415
        assert "gzip, deflate" in response.json()["error"]


def test_a_bomb_is_unpacked_no_further_than_allowed(server):
    bomb = gzip.compress(b" " * 200 * BYTES)
    memory = psutil.Process()
    before = memory.memory_info().rss
    for _ in range(3):
        response = httpx.post(
            server.rest + PREDICT, content=bomb, headers={"Content-Encoding": "gzip"}
        )
        assert response.status_code == 413
    assert memory.memory_info().rss - before < 50 * 2**20


def test_a_body_for_a_model_that_is_not_there_is_not_read(server):
    with socket.create_connection(("127.0.0.1", server.rest_port)) as connection:
        head = (
            "POST /v1/models/absent:predict HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: {BYTES}\r\n\r\n"
        )
        connection.sendall(head.encode())
        connection.settimeout(10)
        assert connection.recv(1000).startswith(b"HTTP/1.1 404")


def _answers_to_four_bodies(server) -> list[bytes]:
    """The beginnings of the answers to four clients that have almost sent their bodies."""
    connections, answers = [], []
    try:
        for _ in range(4):
            connection = socket.create_connection(("127.0.0.1", server.rest_port))
            connection.settimeout(1)
            connections.append(connection)
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BYTES}\r\n\r\n"
            connection.sendall(head.encode() + b" " * (BYTES - 1))
        for connection in connections:
            try:
                answers.append(connection.recv(12))
            except TimeoutError:
                answers.append(b"")
    finally:
        for connection in connections:
            connection.close()
    return answers


def test_one_is_refused_for_bytes_that_fit_without_it(tmp_path):
    """Of three that come in step the first has to go, and not the others for what it held."""

    async def three() -> list[Code | None]:
        refused: list[Code | None] = []
        with contextlib.ExitStack() as stack:
            adds = [stack.enter_context(core.holding()) for _ in range(3)]
            for add in adds:
                add(1000)
            for add in adds:
                try:
                    add(1)
                    refused.append(None)
                except StatusError as error:
                    refused.append(error.code)
        with core.holding() as add:
            add(4000)  # Alone it is taken, whatever it is.
        return refused

    core = Core(server_options(model_base_path=tmp_path, max_pending_bytes=3000))
    assert asyncio.run(three()) == [Code.RESOURCE_EXHAUSTED, None, None]


def test_more_bytes_than_are_taken_at_once(server):
    """Four clients have almost sent their bodies: the fourth is told that it is too many."""
    deadline = time.monotonic() + 30
    # What the tests before this one sent may still be held for a moment.
    while (answers := _answers_to_four_bodies(server)).count(b"HTTP/1.1 429") != 1:
        assert time.monotonic() < deadline, answers
        time.sleep(0.5)
    assert httpx.get(server.rest + "/v1/models/denoiser").status_code == 200
    deadline = time.monotonic() + 10
    while httpx.post(server.rest + PREDICT, content=BODY).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_status_is_answered_while_hostile_bodies_are_read(server):
    ragged = json.dumps({**large_body(ROWS), "more": True}).encode()
    ragged = ragged.replace(b"[[", b"[[1],[", 1)
    nothing = b'{"examples":[' + b'{"x":[1,1,1,1]},' * 1500 + b"{}]}"
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [
            pool.submit(httpx.post, server.rest + path, content=content, timeout=60)
            for path, content in 4 * [(PREDICT, ragged), ("/v1/models/denoiser:classify", nothing)]
        ]
        waits = []
        while not all(answer.done() for answer in answers):
            start = time.perf_counter()
            assert httpx.get(server.rest + "/v1/models/denoiser").status_code == 200
            waits.append(time.perf_counter() - start)
    assert {answer.result().status_code for answer in answers} == {400}
    assert max(waits) < 2


def test_reloads_that_nobody_waits_for_any_more_keep_no_other_work_from_its_thread(
    tmp_path, monkeypatch
):
    """A script with a short deadline tries again and again while a folder is still copied."""
    go_on = threading.Event()

    async def other_work() -> str:
        reloads = [asyncio.create_task(core.take(None)) for _ in range(40)]
        await asyncio.sleep(0.1)
        for reload in reloads:
            reload.cancel()
        await asyncio.gather(*reloads, return_exceptions=True)
        try:
            return await asyncio.wait_for(asyncio.to_thread(str, "done"), 20)
        finally:
            go_on.set()

    core = Core(server_options(model_base_path=tmp_path))
    monkeypatch.setattr(core.manager, "reload", lambda *_: go_on.wait(60))
    assert asyncio.run(other_work()) == "done"


# Connections.


@pytest.fixture
def impatient(models):
    options = server_options(
        port=0,
        rest_api_port=0,
        model_name="denoiser",
        model_base_path=models / "denoiser",
        connection_idle_seconds=0.4,
        rest_body_seconds=0.4,
        max_connections=5,
        allowed_hosts="denoiser.example",
        model_roots=str(models),
    )
    with running_server(options) as addresses:
        yield addresses


def closed(connection: socket.socket, seconds: float = 5) -> bytes:
    """What was received until the server closed it."""
    connection.settimeout(seconds)
    received = b""
    while part := connection.recv(4096):
        received += part
    return received


def test_connections_without_a_request_are_closed(impatient):
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode()
    for sent, answer in (
        (b"", b""),
        (b"POST /v1", b""),
        (head[:-2], b""),
        (head, b"504"),
        (head + b'{"inst', b"504"),
        (b"GET /v1/models/denoiser HTTP/1.1\r\nHost: localhost\r\n\r\n", b"200"),
    ):
        with socket.create_connection(("127.0.0.1", impatient.rest_port)) as connection:
            connection.sendall(sent)
            received = closed(connection)
            assert received[9:12] == answer, sent
    with httpx.Client() as client:
        for _ in range(12):  # a connection that is used stays
            assert client.get(impatient.rest + "/v1/models/denoiser").status_code == 200
            time.sleep(0.1)


def test_a_new_connection_takes_the_place_of_an_idle_one(impatient):
    idle = [socket.create_connection(("127.0.0.1", impatient.rest_port)) for _ in range(20)]
    try:
        response = httpx.get(impatient.rest + "/v1/models/denoiser")
        assert response.status_code == 200
    finally:
        for connection in idle:
            connection.close()


def test_a_client_that_does_not_take_its_answer_is_let_go_with_it():
    async def let_go() -> bool:
        connections = Connections(3, idle_seconds=0.2)

        async def large(_: web.Request) -> web.Response:
            return web.Response(body=bytes(32 << 20))

        application = web.Application(middlewares=[connections.middleware])
        application.router.add_get("/", large)
        runner = web.AppRunner(application)
        await runner.setup()
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(connections.start(runner.server), "127.0.0.1", 0)
        clients = []
        for _ in range(6):
            client = socket.create_connection(listening.sockets[0].getsockname())
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            clients.append(client)
            await asyncio.sleep(0.05)
        deadline = time.monotonic() + 20
        while runner.server.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        left = len(runner.server.connections)
        for client in clients:
            client.close()
        connections.stop()
        listening.close()
        await runner.cleanup()
        return not left

    assert asyncio.run(let_go())


def test_connections_with_a_request_keep_their_place(impatient):
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode()
    busy = [socket.create_connection(("127.0.0.1", impatient.rest_port)) for _ in range(5)]
    try:
        for connection in busy:
            connection.sendall(head)
        time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", impatient.rest_port)) as connection:
            assert closed(connection).startswith(b"HTTP/1.1 503")
    finally:
        for connection in busy:
            connection.close()


def test_a_grpc_connection_without_a_call_is_closed(impatient):
    with socket.create_connection(("127.0.0.1", impatient.port)) as connection:
        closed(connection, 10)


def http2(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """A frame (RFC 9113, section 4.1)."""
    head = len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + content


def begin_calls(address: str, number: int, content: bytes, end: bool = False) -> socket.socket:
    """Calls of Predict on one connection, each with a part of its message."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/tensorflow.serving.PredictionService/Predict",
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(  # RFC 7541, section 6.2.2
        b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in pair)
        for pair in headers.items()
    )
    host, port = address.split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2(4, 0, 0, b""))
    for stream in range(1, 2 * number, 2):
        connection.sendall(http2(1, 5 if end else 4, stream, block))
        if not end:
            connection.sendall(http2(0, 0, stream, content))
    return connection


def test_messages_that_never_end_hold_up_nobody(server, stub):
    """More of them than are received at once; the places are for those who send."""
    address = server.grpc.partition("://")[2]
    half = b"\0" + (BYTES // 2).to_bytes(4, "big") + bytes(1000)
    slow = [begin_calls(address, 10, half) for _ in range(2)]
    try:
        time.sleep(0.3)
        for _ in range(5):
            start = time.perf_counter()
            stub.Predict(predict("serving_default", image=IMAGE), timeout=30)
            assert time.perf_counter() - start < 10
        received = b""
        for connection in slow:
            connection.settimeout(5)
            received += connection.recv(2**16)
        assert b"slower than others" in received
    finally:
        for connection in slow:
            connection.close()


def test_a_slow_message_is_received_while_nobody_waits(server, stub):
    message = predict("serving_default", image=IMAGE).SerializeToString()
    whole = b"\0" + len(message).to_bytes(4, "big") + message
    with begin_calls(server.grpc.partition("://")[2], 1, whole[:20]) as connection:
        time.sleep(1.5)
        connection.sendall(http2(0, 1, 1, whole[20:]))
        connection.settimeout(10)
        received = b""
        while b"denoised" not in received:
            received += connection.recv(2**16)


def test_a_call_without_a_message(server, stub):
    with begin_calls(server.grpc.partition("://")[2], 1, b"", end=True) as connection:
        connection.settimeout(10)
        received = b""
        while b"no message" not in received:
            part = connection.recv(2**16)
            assert part
            received += part


# Who may call, and what they are told.


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8501", 200),
        ("localhost.", 200),
        ("box.localhost:1", 200),
        ("127.0.0.1:8501", 200),
        ("[::1]:8501", 200),
        ("[::1]", 200),
        ("10.1.2.3", 200),
        ("denoiser.example:8501", 200),
        ("elsewhere.example", 403),
        ("elsewhere.example:8501", 403),
        ("localhost.elsewhere.example", 403),
        ("127.0.0.1.elsewhere.example", 403),
    ],
)
def test_a_page_on_the_web_cannot_call_by_a_name_of_its_own(impatient, host, status):
    for path in ("/v1/models/denoiser", "/"):
        response = httpx.get(impatient.rest + path, headers={"Host": host})
        assert response.status_code == status
    if status == 403:
        assert host in response.json()["error"]


def test_an_old_client_without_a_host_is_answered(impatient):
    with socket.create_connection(("127.0.0.1", impatient.rest_port)) as connection:
        connection.sendall(b"GET /v1/models/denoiser HTTP/1.0\r\n\r\n")
        assert closed(connection).startswith(b"HTTP/1.0 200")


def test_the_page_is_framed_by_nobody_and_nothing_is_guessed(impatient):
    for path in ("/", "/page/page.js", "/page/page.css", "/page/samples.json"):
        response = httpx.get(impatient.rest + path)
        assert response.status_code == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = httpx.get(impatient.rest + "/").headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    response = httpx.get(impatient.rest + "/v1/models/denoiser")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_preflight_is_answered_as_the_real_server_does(impatient):
    response = httpx.options(impatient.rest + PREDICT, headers={"Origin": "https://a.example"})
    assert response.status_code == 200
    response = httpx.options(impatient.rest + PREDICT)
    assert response.status_code == 400
    assert response.json() == {"error": "Origin header is missing in CORS preflight"}


def test_only_folders_in_the_roots_may_be_configured(impatient, models):
    request = model_management_pb2.ReloadConfigRequest()
    with grpc.insecure_channel(impatient.grpc.partition("://")[2]) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        for path in ("/proc", f"{models}/../..", f"{models}x"):
            text_format.Parse(
                f'model_config_list {{ config {{ name: "denoiser" base_path: "{path}" '
                'model_platform: "tensorflow" } }',
                request.config,
            )
            with pytest.raises(grpc.RpcError) as raised:
                stub.HandleReloadConfigRequest(request)
            assert raised.value.code() == grpc.StatusCode.PERMISSION_DENIED
            assert path in raised.value.details()
            request.Clear()
        text_format.Parse(
            f'model_config_list {{ config {{ name: "denoiser" base_path: "{models}/denoiser" '
            'model_platform: "tensorflow" } }',
            request.config,
        )
        stub.HandleReloadConfigRequest(request, timeout=60)


def test_a_message_that_is_no_ascii_arrives(stub):
    """Every byte of it takes three in a trailer, of which 8 KiB are taken."""
    request = predict("serving_default", image=IMAGE)
    request.output_filter.append("😀" * 5000)
    with pytest.raises(grpc.RpcError) as raised:
        stub.Predict(request)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "output tensor alias not found in signature: 😀" in raised.value.details()


def test_a_message_that_quotes_bytes_arrives(stub):
    request = predict(
        "predict_examples", examples=(types_pb2.DT_STRING, [1], "string_val", b"\xff\xff")
    )
    with pytest.raises(grpc.RpcError) as raised:
        stub.Predict(request)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Could not parse example input" in raised.value.details()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/denoiser/versions/" + "9" * 5000 + ":predict", BODY),
        ("/v1/models/denoiser/versions/9223372036854775808:predict", BODY),
        (PREDICT, b'{"signature_name":"\\ud800","instances":["a"]}'),
        (PREDICT, b'{"signature_name":"predict_pixels","instances":[{"\\ud800":1}]}'),
        ("/v1/models/denoiser:classify", b'{"examples":[{"\\ud800":1}]}'),
        ("/v1/models/denoiser:classify", b'{"examples":[{"x":[-99999999999999999999,NaN]}]}'),
        (PREDICT, b'{"inputs":[]}'),
    ],
)
def test_the_clients_mistakes_are_the_clients(server, path, body):
    response = httpx.post(server.rest + path, content=body)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]


def test_overload_is_told_as_overload(models, tmp_path):
    """By 2,000 calls at once, of which gRPC itself would cancel those beyond a thousand."""
    options = server_options(
        port=0,
        rest_api_port=None,
        model_name="denoiser",
        model_base_path=models / "denoiser",
        max_pending_requests=5,
        grpc_max_threads=1,
    )
    with (
        running_server(options) as addresses,
        grpc.insecure_channel(addresses.grpc.partition("://")[2]) as channel,
    ):
        call = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        answers = [call.future(GOOD) for _ in range(2000)]
        codes = {answer.code() for answer in answers}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert grpc.StatusCode.OK in codes


def test_nothing_is_left_of_a_server_that_has_ended(models):
    options = server_options(
        port=0, rest_api_port=0, model_name="denoiser", model_base_path=models / "denoiser"
    )
    content = json.dumps(large_body()).encode() + b" " * 2**18
    others = readers()
    with running_server(options) as addresses:
        httpx.post(addresses.rest + PREDICT, content=content, timeout=60).raise_for_status()
        [reader] = [child for child in readers() if child not in others]
    with pytest.raises(psutil.NoSuchProcess):
        reader.cmdline()
