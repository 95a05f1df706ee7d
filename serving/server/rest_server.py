"""The REST front end, and the page.

Paths as in tensorflow_serving/model_servers/http_rest_api_util.cc, the JSON in json_answers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import pathlib
import re
import ssl
import tempfile
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import orjson
from aiohttp import web
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from components.base.errors import UsageError
from serving.calls import inference, json_answers, warmup
from serving.calls.json_requests import ExamplesBody, Predict
from serving.calls.proto_requests import Examples, ExamplesRequest
from serving.models.servable import DEFAULT_SIGNATURE, Loaded
from serving.protocol import messages
from serving.protocol.codes import HTTP_STATUS, Code, StatusError, from_exception, invalid_argument
from serving.protocol.metrics import DEFAULT_PATH
from serving.server import bodies
from serving.server.bodies import within
from serving.server.connections import Connections
from serving.server.core import Core
from serving.server.json_reader import JsonReader
from serving.server.options import ServerOptions, read_text_proto

_log = logging.getLogger(__name__)
_ENTRYPOINT = "REST"

_PREDICTION_PATH = re.compile(
    r"/v1/models/([^/:]+)(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?"
    r":(classify|regress|predict)",
    re.IGNORECASE,
)
_MODEL_PATH = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?(?:/(metadata))?",
    re.IGNORECASE,
)
_CORS_HEADERS = {  # AddCORSHeaders in http_rest_api_util.cc
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_PAGE = pathlib.Path(__file__).parent / "page"
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}
_MAX_SAMPLES = 12
_LARGE_ANSWER = 16 * 1024
"""Values from which on an answer is written on a thread: the event loop has other clients."""


def _spec(path: re.Match[str]) -> model_pb2.ModelSpec:
    name, version, label = path.group(1), path.group(2), path.group(3)
    spec = model_pb2.ModelSpec(name=urllib.parse.unquote(name))
    if version:
        if len(version) > 19 or int(version) >= 2**63:
            raise invalid_argument(f"Failed to convert version: {version[:40]} to numeric.")
        spec.version.value = int(version)
    if label:
        spec.version_label = urllib.parse.unquote(label)
    return spec


def tls_context(options: ServerOptions) -> ssl.SSLContext | None:
    """TLS for REST from the ssl_config_file; None without --rest_api_tls.

    Raises:
      UsageError: the file is not an SSLConfig with a fitting key and certificate.
    """
    if not options.rest_api_tls or options.ssl_config_file is None:
        return None
    config = read_text_proto(options.ssl_config_file, messages.SSLConfig())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".pem") as pair:  # mode 600
            pair.write(config.server_key + "\n" + config.server_cert + "\n")
            pair.flush()
            context.load_cert_chain(pair.name)
        if config.client_verify:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=config.custom_ca)
    except ssl.SSLError as error:
        raise UsageError(f"--ssl_config_file {options.ssl_config_file}: {error}") from error
    return context


class RestServer:
    """The REST port."""

    def __init__(self, core: Core) -> None:
        """Not listening yet.

        Raises:
          UsageError: a file the options name is wrong.
        """
        self._core = core
        self._options = core.options
        self._headers = _CORS_HEADERS if core.options.enable_cors_support else {}
        options = core.options
        self._json_reader = JsonReader(options.max_message_bytes)
        self._connections = Connections(options.max_connections, options.connection_idle_seconds)
        self._listener: asyncio.Server | None = None
        app = web.Application(middlewares=[self._connections.middleware, self._guarded])
        metrics_path = self._metrics_path()
        if metrics_path:
            app.router.add_get(metrics_path, self._metrics)
        if core.options.page:
            app.router.add_get("/", self._page)
            app.router.add_get("/page/samples.json", self._samples)
            app.router.add_static("/page/", _PAGE)
        app.router.add_route("*", "/{path:.*}", self._api)
        self._runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            auto_decompress=False,  # it would unpack any number of bytes
            shutdown_timeout=core.options.drain_seconds,
            # A client that has gone must not keep its request computed for nobody.
            handler_cancellation=True,
        )

    def _metrics_path(self) -> str:
        path = self._options.monitoring_config_file
        if path is None:
            return ""
        config = read_text_proto(path, messages.MonitoringConfig()).prometheus_config
        if not config.enable:
            return ""
        metrics_path = config.path or DEFAULT_PATH
        if not metrics_path.startswith("/"):
            raise UsageError(f"--monitoring_config_file {path}: the path must start with /")
        return metrics_path

    async def start(self) -> int:
        """Listens.

        Returns:
          The port.

        Raises:
          UsageError: the address is in use, or the TLS files are wrong.
        """
        options = self._options
        assert options.rest_api_port is not None
        await self._runner.setup()
        assert self._runner.server is not None
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._connections.start(self._runner.server),
                options.host,
                options.rest_api_port,
                ssl=tls_context(options),
            )
        except OSError as error:
            raise UsageError(
                f"REST cannot listen on {options.host}:{options.rest_api_port}: {error.strerror}"
            ) from error
        return self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuses new connections and lets requests in progress finish."""
        if self._listener is not None:
            self._listener.close()
        self._connections.stop()
        await self._runner.cleanup()
        await self._json_reader.close()

    @web.middleware
    async def _guarded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not _is_own_name(request.headers.get("Host", ""), self._options):
            error = (
                f"The server is called {request.headers['Host'][:200]!r}, which is none of its "
                "names: a page on the web might have sent this (--allowed_hosts)."
            )
            return self._json(403, json_answers.error_response(error))
        response = await handler(request)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    async def _api(self, request: web.Request) -> web.Response:
        """HttpRestApiHandler::ProcessRequest."""
        path = urllib.parse.urlsplit(request.raw_path).path
        if not path.lower().startswith("/v1/"):
            return self._json(404, json_answers.error_response(f"Not found: {path}"))
        if request.method == "OPTIONS":
            # RestApiRequestDispatcher::ProcessRequest in http_server.cc
            if re.search("https?://", request.headers.get("Origin", "")):
                return web.Response(headers=self._headers)
            message = "Origin header is missing in CORS preflight"
            return self._json(400, json_answers.error_response(message))
        try:
            return self._json(200, await self._answer(request, path))
        except asyncio.CancelledError:
            raise
        except web.HTTPRequestEntityTooLarge:
            limit = self._options.max_message_bytes
            message = f"Received message larger than max ({limit} bytes)"
            return self._json(413, json_answers.error_response(message))
        except web.HTTPException as error:
            return self._json(error.status, json_answers.error_response(error.reason))
        except Exception as error:
            return self._failed(error)

    def _failed(self, error: Exception) -> web.Response:
        # Not where the error was caught: a frame in its traceback that refers to it is a cycle.
        status = from_exception(error)
        if status.code == Code.INTERNAL:
            _log.error("a request failed", exc_info=error)
        body = json_answers.error_response(status.message)
        return self._json(HTTP_STATUS[status.code], body)

    def _json(self, status: int, body: bytes) -> web.Response:
        return web.Response(
            status=status, body=body, content_type="application/json", headers=self._headers
        )

    async def _answer(self, request: web.Request, path: str) -> bytes:
        if request.method == "POST" and (match := _PREDICTION_PATH.fullmatch(path)):
            return await self._prediction(request, _spec(match), match.group(4).lower())
        if request.method == "GET" and (match := _MODEL_PATH.fullmatch(path)):
            if not match.group(1):
                raise invalid_argument("Missing model name in request.")
            return self._metadata(_spec(match)) if match.group(4) else self._status(_spec(match))
        raise invalid_argument(f"Malformed request: {request.method} {path}")

    async def _prediction(
        self, request: web.Request, spec: model_pb2.ModelSpec, method: str
    ) -> bytes:
        with self._core.manager.use(spec):
            pass  # a body for a model that is not there is not read
        options = self._options
        with self._core.holding() as hold:
            body = await bodies.read(
                request, options.max_message_bytes, options.rest_body_seconds, hold
            )
            calls = {"predict": self._predict, "classify": self._classify, "regress": self._regress}
            return await within(options.rest_api_timeout_in_ms / 1000, calls[method](spec, body))

    async def _predict(self, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
        asked: list[Predict] = []

        async def read(servable: Loaded) -> tuple[str, dict[str, np.ndarray]]:
            signatures = {
                name: {alias: info.dtype for alias, info in signature.inputs.items()}
                for name, signature in servable.signatures.items()
            }
            asked.append(
                await self._json_reader.read(
                    "read_predict", body, signatures, DEFAULT_SIGNATURE, self._core.limits
                )
            )
            return asked[0].signature_name, asked[0].arrays

        outputs = await self._core.predict_arrays(spec, read, _ENTRYPOINT)
        write, form = json_answers.predict_response, asked[0].format
        if sum(np.size(output) for output in outputs.values()) > _LARGE_ANSWER:
            return await asyncio.to_thread(write, outputs, form)
        return write(outputs, form)

    async def _classify(self, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
        response = await self._examples(spec, body, inference.CLASSIFY_METHOD, "Classify")
        return json_answers.classification_response(response.result)

    async def _regress(self, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
        response = await self._examples(spec, body, inference.REGRESS_METHOD, "Regress")
        return json_answers.regression_response(response.result)

    async def _examples(self, spec: model_pb2.ModelSpec, body: bytes, method: str, api: str) -> Any:
        async def read(servable: Loaded) -> ExamplesRequest:
            takers = inference.example_signatures(servable)
            asked: ExamplesBody = await self._json_reader.read(
                "read_examples", body, takers, DEFAULT_SIGNATURE, self._core.limits
            )
            named = model_pb2.ModelSpec(signature_name=asked.signature_name)
            return ExamplesRequest(named, Examples.read([memoryview(asked.input)]))

        return await self._core.examples(spec, read, method, api, _ENTRYPOINT)

    def _status(self, spec: model_pb2.ModelSpec) -> bytes:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
        return json_answers.status_response(self._core.model_status(request))

    def _metadata(self, spec: model_pb2.ModelSpec) -> bytes:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=[inference.METADATA_FIELD]
        )
        response = self._core.model_metadata(request)
        signatures = messages_of(response)
        return json_answers.metadata_response(response.model_spec, signatures)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=self._core.metrics.page(), content_type="text/plain")

    # The page.

    async def _page(self, _: web.Request) -> web.StreamResponse:
        return web.FileResponse(_PAGE / "index.html", headers=_PAGE_HEADERS)

    async def _samples(self, _: web.Request) -> web.Response:
        """Each model the page can use, its image shape, and images to try: those its warm-up
        requests were made of."""
        models = []
        for name in self._core.manager.names():
            try:
                with self._core.manager.use(model_pb2.ModelSpec(name=name)) as servable:
                    models.append(await asyncio.to_thread(_page_model, servable))
            except StatusError:
                continue  # not available now
        body = orjson.dumps([model for model in models if model])
        return web.Response(body=body, content_type="application/json", headers=_PAGE_HEADERS)


def _is_own_name(host: str, options: ServerOptions) -> bool:
    """Whether a request is for this server by its Host header.

    A page on the web may have its own name resolve to 127.0.0.1, and then call what listens
    there as if it were its own server; but it cannot choose an address or `localhost` as that
    name (DNS rebinding).
    """
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    allowed = options.allowed_hosts.split(",")
    if not name or not _is_loopback(options.host) or "*" in allowed:
        return True
    name = name.lower().rstrip(".")
    own = ("localhost", options.host.lower(), *(entry.strip().lower() for entry in allowed))
    return _is_address(name.strip("[]")) or name in own or name.endswith(".localhost")


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def messages_of(response: get_model_metadata_pb2.GetModelMetadataResponse) -> dict[str, Any]:
    """The SignatureDefs in a metadata response, by name."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[inference.METADATA_FIELD].Unpack(signatures)
    return dict(signatures.signature_def)


def _page_model(servable: Any) -> dict[str, Any] | None:
    pixels = servable.signatures.get(warmup.SAMPLES_SIGNATURE)
    image = servable.signatures.get("serving_default")
    examples = servable.signatures.get("predict_examples")
    if pixels is None or image is None or "image" not in image.inputs or examples is None:
        return None
    sizes = [d.size for d in image.inputs["image"].tensor_shape.dim]
    if len(sizes) != 4 or "denoised" not in examples.outputs:
        return None
    _, height, width, channels = sizes
    sample_shape = [height, width, channels]
    if min(height, width) < 0:  # it takes any size, and rows of one
        height = width = None
        sample_shape = [d.size for d in examples.outputs["denoised"].tensor_shape.dim][1:]
    samples = warmup.sample_pixels(servable)
    return {
        "model": servable.name,
        "height": height,
        "width": width,
        "channels": channels,
        "sample_shape": sample_shape,
        "samples": [] if samples is None else samples[:_MAX_SAMPLES].tolist(),
    }
