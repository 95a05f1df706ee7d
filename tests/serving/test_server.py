"""What is the embedded server's own: flags, files, TLS, overload, and how it ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gzip
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from components.base.errors import UsageError
from serving.protocol.wire import field, varint
from serving.server.running import ServerOptions, parse_flags, running_server, server_options
from tests.serving.certificates import Authority, ssl_config
from tests.serving.saved_models import PIXELS

PREDICT = "/v1/models/denoiser:predict"
BODY = {"signature_name": "predict_pixels", "instances": [[8] * PIXELS]}


def request(rows: int = 1) -> predict_pb2.PredictRequest:
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "denoiser"
    message.model_spec.signature_name = "predict_pixels"
    pixels = np.full((rows, PIXELS), 8, np.int32)
    message.inputs["pixels"].CopyFrom(tf.make_tensor_proto(pixels))
    return message


def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def options(models: pathlib.Path, **values) -> ServerOptions:
    defaults = {
        "port": 0,
        "rest_api_port": 0,
        "model_name": "denoiser",
        "model_base_path": models / "denoiser",
        "file_system_poll_wait_seconds": 0.05,
    }
    return server_options(**{**defaults, **values})


def address(addresses) -> str:
    return addresses.grpc.partition("://")[2]


# Flags.


def test_flags_are_those_of_the_real_binary():
    found = parse_flags(
        [
            "--port=9000",
            "--rest_api_port",
            "9001",
            "--model_name=m",
            "--model_base_path=/models/m",
            "--enable_batching",
            "--file_system_poll_wait_seconds=0",
            "--allow-version-labels-for-unavailable-models=true",
            "--enable_grpc_healthcheck_service=false",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,a=b",
            "--tensorflow_session_parallelism=2",
            "--flush_filesystem_caches=false",
        ]
    )
    assert (found.port, found.rest_api_port, found.enable_batching) == (9000, 9001, True)
    assert found.model_base_path == pathlib.Path("/models/m")
    assert found.allow_version_labels_for_unavailable_models
    assert not found.enable_grpc_healthcheck_service
    assert found.channel_arguments == [("grpc.max_connection_age_ms", 2000), ("a", "b")]
    assert found.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model_base_path=/m", "--prot=1"], "--prot=1: no such flag"),
        (["--model_base_path=/m", "--port=many"], "--port: .*'many'"),
        (["--model_base_path=/m", "--port"], "--port: expected a value"),
        ([], "give --model_base_path or --model_config_file"),
        (["--model_base_path=/m", "--batching_parameters_file=/b"], "needs --enable_batching"),
        (["--model_base_path=/m", "--port=9", "--rest_api_port=9"], "cannot be the same"),
    ],
)
def test_a_wrong_flag_is_named(flags, message):
    with pytest.raises(UsageError, match=message):
        parse_flags(flags)


@pytest.mark.parametrize(
    ("flag", "content", "message"),
    [
        ("model_config_file", "model_config_list { config { nam: 1 } }", "ModelServerConfig.*nam"),
        ("batching_parameters_file", "max_batch_size { value: 0 }", "max_batch_size"),
        ("monitoring_config_file", "prometheus_config { enable: maybe }", "MonitoringConfig"),
        ("ssl_config_file", 'server_key: "k"', "expected server_key and server_cert"),
    ],
)
def test_a_wrong_file_is_named(models, tmp_path, flag, content, message):
    file = tmp_path / "file.config"
    file.write_text(content)
    values = {flag: file, "enable_batching": flag == "batching_parameters_file"}
    with pytest.raises(UsageError, match=message), running_server(options(models, **values)):
        pass


def test_a_port_in_use_is_an_error(models):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for flag in ("port", "rest_api_port"):
            with (
                pytest.raises(UsageError, match="cannot listen on"),
                running_server(options(models, **{flag: port})),
            ):
                pass


# One server with batching, health, reflection, CORS and a small message limit.

LIMIT = 200_000


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    parameters = tmp_path_factory.mktemp("batching") / "batching.config"
    parameters.write_text(
        "max_batch_size { value: 16 } batch_timeout_micros { value: 1000 } "
        "num_batch_threads { value: 2 } max_enqueued_batches { value: 100 } "
        "allowed_batch_sizes: 1 allowed_batch_sizes: 16"
    )
    socket_path = tmp_path_factory.mktemp("socket") / "grpc"
    values = options(
        models,
        enable_batching=True,
        batching_parameters_file=parameters,
        enable_cors_support=True,
        max_message_bytes=LIMIT,
        grpc_socket_path=socket_path,
    )
    with running_server(values) as addresses:
        yield addresses, socket_path


def test_batched_answers_are_the_single_ones(server):
    addresses, _ = server
    with (
        grpc.insecure_channel(address(addresses)) as channel,
        concurrent.futures.ThreadPoolExecutor(16) as pool,
    ):
        predict = stub(channel).Predict

        def ask(value: int):
            message = request()
            pixels = np.full((1, PIXELS), value, np.int32)
            message.inputs["pixels"].CopyFrom(tf.make_tensor_proto(pixels))
            try:
                return tf.make_ndarray(predict(message).outputs["denoised"])[0, 0]
            except grpc.RpcError as error:
                return error.code()

        values = [*range(0, 200, 4), 300, *range(2, 200, 4), -1]
        answers = list(pool.map(ask, values))
    for value, answer in zip(values, answers, strict=True):
        wanted = value // 2 if 0 <= value <= 255 else grpc.StatusCode.INVALID_ARGUMENT
        assert answer == wanted


def test_grpc_on_a_unix_socket(server):
    with grpc.insecure_channel(f"unix:{server[1]}") as channel:
        assert stub(channel).Predict(request()).model_spec.version.value == 2


def test_health_and_reflection(server):
    with grpc.insecure_channel(address(server[0])) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "tensorflow.serving.PredictionService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        [answer] = reflection.ServerReflectionInfo(iter([asked]))
        services = {service.name for service in answer.list_services_response.service}
    assert {
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "grpc.health.v1.Health",
    } <= services


def test_the_profiler_writes_where_its_client_looks(models, server, tmp_path):
    """As TensorBoard asks (tsl/profiler/protobuf/profiler_service.proto)."""
    method = "/tensorflow.ProfilerService/Profile"

    def asked(milliseconds: int, session: str) -> bytes:
        names = field(5, str(tmp_path).encode()) + field(6, session.encode())
        return b"\x08" + varint(milliseconds) + names + field(7, b"localhost:8500")

    with grpc.insecure_channel(address(server[0])) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(method)(asked(10, "run"))
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    with (
        running_server(options(models, rest_api_port=None, enable_profiler=True)) as addresses,
        grpc.insecure_channel(address(addresses)) as channel,
    ):
        profile = channel.unary_unary(method)
        first = profile.future(asked(2000, "run"))
        assert stub(channel).Predict(request()).model_spec.version.value == 2
        with pytest.raises(grpc.RpcError) as raised:
            profile(asked(10, "other"))
        assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert first.result() == b""
        for wrong in (b"", b"\xff", asked(0, "run"), asked(1, "../run"), asked(10**6, "run")):
            with pytest.raises(grpc.RpcError) as raised:
                profile(wrong)
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = (tmp_path / "run" / "localhost_8500.xplane.pb").read_bytes()
    assert b"/host:CPU" in found


def test_messages_beyond_the_limit_are_refused(server):
    addresses, _ = server
    with grpc.insecure_channel(address(addresses)) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            stub(channel).Predict(request(rows=LIMIT // PIXELS))
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        stub(channel).Predict(request())
    large = {"instances": [[8] * PIXELS] * (LIMIT // PIXELS)}
    response = httpx.post(addresses.rest + PREDICT, json=large)
    assert response.status_code == 413
    assert "larger than max" in response.json()["error"]
    # A small body that grows when it is unpacked counts by what it becomes.
    bomb = gzip.compress(b" " * 50 * LIMIT)
    response = httpx.post(
        addresses.rest + PREDICT, content=bomb, headers={"Content-Encoding": "gzip"}
    )
    assert response.status_code == 413
    assert httpx.post(addresses.rest + PREDICT, json=BODY).status_code == 200


def test_a_body_that_is_not_what_it_says(server):
    response = httpx.post(
        server[0].rest + PREDICT, content=b"not gzip", headers={"Content-Encoding": "gzip"}
    )
    assert response.status_code == 400
    assert response.json()["error"]


def test_cors_when_it_is_asked_for(server):
    response = httpx.get(server[0].rest + "/v1/models/denoiser")
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    response = httpx.options(server[0].rest + PREDICT)
    assert response.headers["Access-Control-Allow-Methods"] == "POST, GET"


def test_other_paths_are_not_found(server):
    response = httpx.get(server[0].rest + "/etc/passwd")
    assert (response.status_code, list(response.json())) == (404, ["error"])
    response = httpx.get(server[0].rest + "/page/..%2f..%2foptions.py")
    assert response.status_code in (403, 404)


def test_slow_and_vanished_clients_leave_the_server_up(server):
    addresses, _ = server
    host, port = "127.0.0.1", addresses.rest_port
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode()
    connections = []
    for partial in (
        b"",
        b"POST /v1",
        head,
        head + b'{"instances"',
        b"\x16\x03\x01nonsense\r\n\r\n",
    ):
        connection = socket.create_connection((host, port))
        connection.sendall(partial)
        connections.append(connection)
    for connection in connections:
        connection.close()
    with grpc.insecure_channel(address(addresses)) as channel:
        for _ in range(20):
            stub(channel).Predict.future(request()).cancel()
        assert httpx.post(addresses.rest + PREDICT, json=BODY).status_code == 200
        stub(channel).Predict(request())


def test_new_versions_arrive_while_requests_run(models, tmp_path):
    base_path = tmp_path / "denoiser"
    shutil.copytree(models / "denoiser" / "1", base_path / "1")
    os.utime(base_path / "1")
    with running_server(options(models, model_base_path=base_path)) as addresses:
        stopped = False

        def ask() -> set[int]:
            versions = set()
            with grpc.insecure_channel(address(addresses)) as channel:
                while not stopped:
                    versions.add(stub(channel).Predict(request()).model_spec.version.value)
            return versions

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(ask) for _ in range(4)]
            for version in (2, 3):
                temporary = tmp_path / "temporary"
                shutil.copytree(models / "denoiser" / "2", temporary)
                temporary.rename(base_path / str(version))
                url = f"{addresses.rest}/v1/models/denoiser/versions/{version}"
                deadline = time.monotonic() + 20
                while "AVAILABLE" not in httpx.get(url).text:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                time.sleep(0.1)
            stopped = True
            assert set.union(*(answer.result() for answer in answers)) == {1, 2, 3}


# Time.


@pytest.fixture(scope="module")
def slow_server(models, tmp_path_factory):
    """Each request waits 1.5 s for a batch to fill."""
    parameters = tmp_path_factory.mktemp("slow") / "batching.config"
    parameters.write_text("max_batch_size { value: 999 } batch_timeout_micros { value: 1500000 }")
    values = options(
        models,
        enable_batching=True,
        batching_parameters_file=parameters,
        rest_api_timeout_in_ms=200,
        page=False,
    )
    with running_server(values) as addresses:
        yield addresses


def test_rest_requests_time_out(slow_server):
    response = httpx.post(slow_server.rest + PREDICT, json=BODY)
    assert response.status_code == 504
    assert "Timed out" in response.json()["error"]


def test_grpc_deadlines(slow_server):
    with grpc.insecure_channel(address(slow_server)) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            stub(channel).Predict(request(), timeout=0.1)
        assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_the_page_can_be_switched_off(server, slow_server):
    assert httpx.get(slow_server.rest + "/").status_code == 404
    assert httpx.get(slow_server.rest + "/page/samples.json").status_code == 404
    assert httpx.get(server[0].rest + "/").status_code == 200


# Files that change.


def test_the_model_config_file_is_watched(models, tmp_path):
    config = tmp_path / "models.config"

    def write(*names: str) -> None:
        entries = [
            f'config {{ name: "{name}" base_path: "{models}/denoiser" '
            'model_platform: "tensorflow" }'
            for name in names
        ]
        config.write_text(f"model_config_list {{ {' '.join(entries)} }}")

    write("a")
    values = options(
        models,
        model_base_path=None,
        model_config_file=config,
        model_config_file_poll_wait_seconds=0.05,
    )

    def wait_for(url: str, status: int) -> None:
        deadline = time.monotonic() + 20
        while httpx.get(url).status_code != status:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    with running_server(values) as addresses:
        assert httpx.get(addresses.rest + "/v1/models/a").status_code == 200
        config.write_text("nonsense")
        time.sleep(0.2)
        assert httpx.get(addresses.rest + "/v1/models/a").status_code == 200
        write("b")
        wait_for(addresses.rest + "/v1/models/b", 200)
        wait_for(addresses.rest + "/v1/models/a", 404)


def test_a_server_may_start_before_its_model(models, tmp_path):
    base_path = tmp_path / "later"
    with running_server(options(models, model_base_path=base_path)) as addresses:
        response = httpx.post(addresses.rest + PREDICT, json=BODY)
        assert response.status_code == 404
        shutil.copytree(models / "denoiser" / "1", base_path / "1")
        deadline = time.monotonic() + 20
        while httpx.post(addresses.rest + PREDICT, json=BODY).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_warmup_requests_are_replayed_and_a_wrong_one_keeps_a_model_back(models, tmp_path):
    from tests.serving.saved_models import write_denoiser, write_warmup

    write_denoiser(tmp_path / "m" / "1")
    wrong = request()
    wrong.model_spec.signature_name = "absent"
    write_warmup(tmp_path / "m" / "1", wrong)
    with running_server(options(models, model_base_path=tmp_path / "m")) as addresses:
        [entry] = httpx.get(addresses.rest + "/v1/models/denoiser").json()["model_version_status"]
        assert entry["state"] == "END"
        assert 'Serving signature key "absent" not found.' in entry["status"]["error_message"]
        write_warmup(tmp_path / "m" / "1", request())
        deadline = time.monotonic() + 20
        while httpx.post(addresses.rest + PREDICT, json=BODY).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)


# TLS.


@pytest.mark.parametrize("mutual", [False, True])
def test_tls(models, tmp_path, mutual):
    authority = Authority()
    server, client = authority.sign("server"), authority.sign("client")
    file = tmp_path / "ssl.config"
    file.write_text(ssl_config(server, authority if mutual else None))
    values = options(models, ssl_config_file=file, rest_api_tls=True)
    key_file, certificate_file = tmp_path / "key.pem", tmp_path / "certificate.pem"
    key_file.write_text(client.key)
    certificate_file.write_text(client.certificate)
    with running_server(values) as addresses:
        assert addresses.grpc.startswith("grpcs://")
        assert addresses.rest.startswith("https://")
        trust = authority.certificate.encode()
        known = grpc.ssl_channel_credentials(
            trust, client.key.encode(), client.certificate.encode()
        )
        with grpc.secure_channel(address(addresses), known) as channel:
            stub(channel).Predict(request(), timeout=10)
        context = ssl.create_default_context(cadata=authority.certificate)
        if mutual:
            anonymous = grpc.ssl_channel_credentials(trust)
            with grpc.secure_channel(address(addresses), anonymous) as channel:
                with pytest.raises(grpc.RpcError) as raised:
                    stub(channel).Predict(request(), timeout=10)
                assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
            with pytest.raises(httpx.HTTPError):
                httpx.get(addresses.rest + "/v1/models/denoiser", verify=context)
        context.load_cert_chain(certificate_file, key_file)
        response = httpx.get(addresses.rest + "/v1/models/denoiser", verify=context)
        assert response.status_code == 200


# The end.


def test_sigterm_finishes_what_was_begun(models, tmp_path):
    parameters = tmp_path / "batching.config"
    parameters.write_text("max_batch_size { value: 99 } batch_timeout_micros { value: 1000000 }")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "serving.server",
            "--port=0",
            "--rest_api_port=0",
            "--model_name=denoiser",
            f"--model_base_path={models}/denoiser",
            "--enable_batching",
            f"--batching_parameters_file={parameters}",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        urls = {}
        log = []
        assert process.stderr is not None
        while len(urls) < 2:
            line = process.stderr.readline()
            assert line, log
            log.append(line)
            for kind in ("gRPC", "REST"):
                if f" {kind} " in line:
                    urls[kind] = line.split()[-1]

        async def ask():
            async with httpx.AsyncClient() as client:
                rest = asyncio.create_task(client.post(urls["REST"] + PREDICT, json=BODY))
                channel = grpc.aio.insecure_channel(urls["gRPC"].removeprefix("grpc://"))
                predict = channel.unary_unary(
                    "/tensorflow.serving.PredictionService/Predict",
                    predict_pb2.PredictRequest.SerializeToString,
                    predict_pb2.PredictResponse.FromString,
                )
                call = predict(request())
                await asyncio.sleep(0.4)
                process.send_signal(signal.SIGTERM)
                answers = (await rest).status_code, (await call).model_spec.version.value
                await channel.close()
                return answers

        assert asyncio.run(ask()) == (200, 2)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        rest_of_log = process.stderr.read() if process.stderr else ""
    assert "Traceback" not in rest_of_log, rest_of_log


def test_a_wrong_start_exits_with_2():
    done = subprocess.run(
        [sys.executable, "-c", "from serving.server.running import main; exit(main(['--port=x']))"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
