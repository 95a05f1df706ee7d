"""The embedded model server: what `denoise serve` runs.

It speaks TF Serving's gRPC and REST APIs and takes tensorflow_model_server's flags, so that
a client, or a script that starts the server, cannot tell the two apart:

    python -m serving.server --model_name=denoiser --model_base_path=workspace/serving/denoiser
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import gc
import logging
import math
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from components.base import libraries
from components.base.errors import DenoiseError
from serving.server.options import ServerOptions, parse_flags, server_options

__all__ = [
    "Addresses",
    "ServerOptions",
    "parse_flags",
    "running_server",
    "serve",
    "server_options",
]

_log = logging.getLogger(__name__)
_M_ARENA_MAX = -8  # malloc.h


@dataclasses.dataclass(frozen=True)
class Addresses:
    """Where a server listens."""

    host: str
    port: int
    rest_port: int | None
    tls: bool = False
    rest_tls: bool = False

    @property
    def grpc(self) -> str:
        """URL of the gRPC port, as DenoiseClient takes it."""
        return f"{'grpcs' if self.tls else 'grpc'}://{self._host}:{self.port}"

    @property
    def rest(self) -> str:
        """URL of the REST port, or an empty string."""
        if self.rest_port is None:
            return ""
        return f"{'https' if self.rest_tls else 'http'}://{self._host}:{self.rest_port}"

    @property
    def _host(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host


async def _serve(
    options: ServerOptions,
    stop: asyncio.Event,
    started: Callable[[Addresses], None],
) -> None:
    from serving.server.core import Core
    from serving.server.grpc_server import GrpcServer
    from serving.server.rest_server import RestServer

    core = Core(options)
    rest: RestServer | None = None
    grpc_server: GrpcServer | None = None
    watcher: asyncio.Task[None] | None = None
    try:
        if options.rest_api_port is not None:
            rest = RestServer(core)
        # Both ports open when the models are loaded, as the real binary's do.
        await asyncio.to_thread(core.load)
        grpc_server = GrpcServer(core)
        port = await grpc_server.start()
        rest_port = await rest.start() if rest is not None else None
        tls = options.ssl_config_file is not None
        started(Addresses(options.host, port, rest_port, tls, options.rest_api_tls))
        if options.model_config_file and options.model_config_file_poll_wait_seconds:
            watcher = asyncio.create_task(_watch_configuration(core))
        await stop.wait()
        _log.info("draining: finishing the requests in progress")
    finally:
        if watcher is not None:
            watcher.cancel()
        core.manager.refuse_changes()
        stops = [rest.stop()] if rest is not None else []
        if grpc_server is not None:
            stops.append(grpc_server.stop(options.drain_seconds))
        await asyncio.gather(*stops)
        await asyncio.to_thread(core.close)


async def _watch_configuration(core: object) -> None:
    """Reloads --model_config_file when it changes
    (PollFilesystemAndReloadConfig in tensorflow_serving/model_servers/server.cc)."""
    from serving.protocol.codes import StatusError
    from serving.server.core import Core

    assert isinstance(core, Core)
    current = core.configuration()
    while True:
        await asyncio.sleep(core.options.model_config_file_poll_wait_seconds)
        try:
            config = core.configuration()
            if config != current:
                current = config
                await core.take(config)
        except (DenoiseError, StatusError) as error:
            _log.error("the model config file was not taken: %s", error)


def serve(options: ServerOptions, started: Callable[[Addresses], None] | None = None) -> int:
    """Serves until SIGTERM or SIGINT, then finishes what was begun.

    A second signal ends the process now, and so does the first while the models are loaded.

    Args:
      options: Which models, where, how.
      started: Called once both ports answer.

    Returns:
      The exit status: 0 after SIGTERM, by which a server is asked to end when it has served, so
      systemd, Docker and Kubernetes count it as done; 130 after Ctrl-C, so that a script in
      which it was pressed does not go on.

    Raises:
      UsageError: the options name a file that is wrong, or an address in use.
    """
    stopped_by: list[signal.Signals] = []
    serving = False

    _prepare_process()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal(number: signal.Signals) -> None:
            stopped_by.append(number)
            if stop.is_set() or not serving:
                _log.info("stopped by %s", number.name)
                os._exit(128 + number)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal, number)

        def on_start(addresses: Addresses) -> None:
            nonlocal serving
            serving = True
            # A JSON body is many small lists, whose number starts garbage collections, each
            # of which would walk through all of TensorFlow's modules: milliseconds each.
            gc.collect()
            gc.freeze()
            # Few objects then, of which some hold a batch of images: Python's own thresholds.
            gc.set_threshold(700, 10, 10)
            (started or _announce)(addresses)

        await _serve(options, stop, on_start)

    libraries.load_tensorflow()
    asyncio.run(main())
    return 128 + signal.SIGINT if stopped_by[0] is signal.SIGINT else 0


def _prepare_process() -> None:
    """What is right for a process that only serves. Before it has threads."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        # glibc makes eight arenas for each CPU, and each keeps tens of megabytes that one large
        # request took in one of its threads: a server would grow with all that was ever sent.
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, max(2, os.cpu_count() or 1))
    # A thread that reads a large request lets the event loop have its turn after so long; five
    # times as long is Python's default.
    sys.setswitchinterval(0.001)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logging.getLogger("asyncio").addFilter(_OncePerMinute())


class _OncePerMinute(logging.Filter):
    """Lets a message through once a minute: at the limit of descriptors, asyncio logs the same
    error thousands of times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        seen = now - self._last.get(record.msg, -math.inf) < 60
        if not seen:
            self._last[record.msg] = now
        return not seen


def _announce(addresses: Addresses) -> None:
    _log.info("gRPC %s", addresses.grpc)
    if addresses.rest:
        _log.info("REST %s", addresses.rest)


@contextlib.contextmanager
def running_server(options: ServerOptions) -> Iterator[Addresses]:
    """A server on a thread of this process, for a check, a benchmark or a test.

    Use port 0 for free ports.

    Raises:
      UsageError: as `serve`.
    """
    ready = threading.Event()
    result: list[Addresses] = []
    errors: list[BaseException] = []
    control: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def started(addresses: Addresses) -> None:
        result.append(addresses)
        ready.set()

    async def main() -> None:
        stop = asyncio.Event()
        control.append((asyncio.get_running_loop(), stop))
        await _serve(options, stop, started)

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            errors.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="model-server")
    thread.start()
    ready.wait()
    try:
        if errors:
            raise errors[0]
        yield result[0]
    finally:
        if control:
            loop, stop = control[0]
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(stop.set)
        thread.join()
    if errors:
        raise errors[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m serving.server`, with tensorflow_model_server's flags alone."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s"
    )
    libraries.spare_processor()
    libraries.calm()
    try:
        return serve(parse_flags(sys.argv[1:] if arguments is None else arguments))
    except DenoiseError as error:
        print(error, file=sys.stderr)
        return error.exit_status
