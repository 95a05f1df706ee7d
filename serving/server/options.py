"""The embedded server's options: tensorflow_model_server's flags and files, under their names.

Flags and defaults as in tensorflow_serving/model_servers/main.cc and server.h. What differs
is said at the field.
"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Sequence
from typing import Any, TypeVar

import pydantic
from pydantic import Field

from components.base.errors import UsageError

_log = logging.getLogger(__name__)

# Flags of the real binary that steer what this server does not have. They are accepted, so
# that a script for one starts the other, and named once in the log.
IGNORED_FLAGS = frozenset(
    {
        "flush_filesystem_caches",
        "platform_config_file",
        "thread_pool_factory_config_file",
        "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled",
        "enable_per_model_batching_parameters",
        "mixed_precision",
        "skip_initialize_tpu",
        "use_tflite_model",
        "num_tflite_interpreters_per_pool",
        "num_tflite_pools",
        "tensor_rt_engine_cache",
        "remove_unused_fields_from_bundle_metagraph",
        "num_load_threads",
        "num_unload_threads",
        "rest_api_num_threads",
        "tensorflow_session_config_file",
    }
)
# Names of the real binary's for what is named otherwise in its own ServerOptions.
_OTHER_NAMES = {"rest_api_enable_cors_support": "enable_cors_support"}


class ServerOptions(pydantic.BaseModel):
    """How the embedded server runs. Immutable."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    host: str = "127.0.0.1"
    """Address both ports listen on. The real binary listens on all: here that is asked for."""
    port: int = Field(8500, ge=0, le=65535)
    """gRPC; 0 for a free one."""
    grpc_socket_path: pathlib.Path | None = None
    """A UNIX socket gRPC listens on as well."""
    rest_api_port: int | None = Field(8501, ge=0, le=65535)
    """REST; 0 for a free one, None (`--rest_api_port=off`) for no REST. The real binary's
    default is none."""
    rest_api_timeout_in_ms: int = Field(30_000, ge=1)
    enable_cors_support: bool = False
    model_name: str = "default"
    model_base_path: pathlib.Path | None = None
    model_config_file: pathlib.Path | None = None
    model_config_file_poll_wait_seconds: float = Field(0, ge=0)
    file_system_poll_wait_seconds: float = 1
    """Negative: never; 0: once."""
    saved_model_tags: str = "serve"
    prefer_tflite_model: bool = False
    """Serve the `model.tflite` in a version's folder, where there is one."""
    max_num_load_retries: int = Field(0, ge=0)
    """5 in the real binary, which shows a broken version as LOADING meanwhile. Here it is
    END with its error at once, and loaded again when its files change."""
    load_retry_interval_micros: int = Field(60_000_000, ge=0)
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = Field(1, ge=1)
    enable_batching: bool = False
    batching_parameters_file: pathlib.Path | None = None
    monitoring_config_file: pathlib.Path | None = None
    ssl_config_file: pathlib.Path | None = None
    """TLS for gRPC, as in the real binary; see `rest_api_tls`."""
    allow_version_labels_for_unavailable_models: bool = False
    force_allow_any_version_labels_for_unavailable_models: bool = False
    grpc_max_threads: int = Field(0, ge=0)
    """Calls computed at the same time; 0: 4 for each CPU. Calls that wait hold no thread."""
    grpc_channel_arguments: str = ""
    enable_grpc_healthcheck_service: bool = True
    """Off in the real binary by default."""
    enable_profiler: bool = False
    """TensorFlow's profiler over gRPC. On in the real binary by default; it writes where a request
    says."""
    enable_serialization_as_tensor_content: bool = False
    enable_signature_method_name_check: bool = False
    tensorflow_session_parallelism: int = Field(0, ge=0)
    tensorflow_intra_op_parallelism: int = Field(0, ge=0)
    tensorflow_inter_op_parallelism: int = Field(0, ge=0)
    per_process_gpu_memory_fraction: float = Field(0, ge=0, le=1)

    # Ours alone.
    page: bool = True
    """The page at `/` of the REST port."""
    rest_api_tls: bool = False
    """Use ssl_config_file for REST too."""
    max_message_bytes: int = Field(32 * 2**20, ge=1024, le=2**31 - 1)
    """Largest request, after decompression and with its tensors filled up: 10,000 images of
    28x28 as float32, or ten of 512x512x3. The real binary takes 2 GiB, with which one request
    could take all memory."""
    max_request_rows: int = Field(10_000, ge=1)
    """Images or tf.Examples of one request (size of the first dimension)."""
    max_pending_bytes: int = Field(256 * 2**20, ge=1024)
    """Of all requests being read, waiting or computed, before more are refused with
    RESOURCE_EXHAUSTED."""
    max_connections: int = Field(1000, ge=1)
    """REST connections; a new one takes the place of the one that has been idle longest."""
    connection_idle_seconds: float = Field(60, gt=0)
    """A connection without a request for so long is closed, and so is one whose request's head
    takes so long to arrive."""
    rest_body_seconds: float = Field(120, gt=0)
    """How long the body of a REST request may take to arrive."""
    allowed_hosts: str = ""
    """Names, comma-separated, by which a REST port on a loopback address may be called besides
    `localhost` and IP addresses; `*` for any. Under any other name it could be a page on the
    web that calls, by DNS rebinding."""
    model_roots: tuple[pathlib.Path, ...] = ()
    """Folders, comma-separated, in which HandleReloadConfigRequest may name base paths; any as
    in the real binary where there is none."""
    max_pending_requests: int = Field(1024, ge=1)
    """Calls waiting for a thread before more are refused with RESOURCE_EXHAUSTED."""
    drain_seconds: float = Field(25, ge=0)
    """How long calls in progress may take to finish after SIGTERM."""

    @pydantic.field_validator("model_roots", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _check(self) -> ServerOptions:
        if self.model_base_path is None and self.model_config_file is None:
            raise ValueError("give --model_base_path or --model_config_file")
        if self.batching_parameters_file and not self.enable_batching:
            raise ValueError("--batching_parameters_file needs --enable_batching")
        if self.rest_api_tls and not self.ssl_config_file:
            raise ValueError("--rest_api_tls needs --ssl_config_file")
        if self.rest_api_port and self.rest_api_port == self.port:
            raise ValueError("--rest_api_port cannot be the same as --port")
        return self

    @property
    def channel_arguments(self) -> list[tuple[str, Any]]:
        """gRPC channel arguments, from `key=value,key=value`."""
        pairs: list[tuple[str, Any]] = []
        for argument in filter(None, self.grpc_channel_arguments.split(",")):
            key, equals, value = argument.partition("=")
            if not equals:
                raise UsageError(
                    f"--grpc_channel_arguments: {argument!r} is not key=value, "
                    "for example grpc.max_connection_age_ms=2000"
                )
            pairs.append((key, int(value) if value.lstrip("-").isdigit() else value))
        return pairs


def server_options(**values: Any) -> ServerOptions:
    """Checked options.

    Raises:
      UsageError: names each wrong flag and what it expects.
    """
    try:
        return ServerOptions.model_validate(values)
    except pydantic.ValidationError as error:
        lines = []
        for problem in error.errors():
            flag = "--" + str(problem["loc"][0]) + ": " if problem["loc"] else ""
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{flag}{message}" + (f" (was {problem['input']!r})" if flag else ""))
        raise UsageError("\n".join(lines)) from error


def parse_flags(arguments: Sequence[str], **defaults: Any) -> ServerOptions:
    """Options from flags in tensorflow_model_server's syntax.

    `--flag=value`, `--flag value`, and for booleans `--flag` alone; `-` may stand for `_`.

    Args:
      arguments: What follows the command's name.
      **defaults: Values that flags override.

    Raises:
      UsageError: an unknown flag, or a value its flag does not take.
    """
    fields = ServerOptions.model_fields
    values = dict(defaults)
    ignored = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.lstrip("-").partition("=")
        name = name.replace("-", "_")
        name = _OTHER_NAMES.get(name, name)
        if not argument.startswith("--") or name not in {*fields, *IGNORED_FLAGS}:
            raise UsageError(f"{argument}: no such flag. See `denoise serve --help`.")
        if not equals:
            takes_value = name not in fields or fields[name].annotation is not bool
            if takes_value and rest and not rest[0].startswith("--"):
                value = rest.pop(0)
            elif takes_value and name in fields:
                raise UsageError(f"--{name}: expected a value, as in --{name}=VALUE.")
            else:
                value = "true"
        if name in IGNORED_FLAGS:
            ignored.append(name)
        elif name == "rest_api_port" and value == "off":
            values[name] = None
        else:
            values[name] = value
    if ignored:
        _log.warning("flags without an effect here: %s", ", ".join(f"--{f}" for f in ignored))
    return server_options(**values)


_Message = TypeVar("_Message")


def read_text_proto(path: pathlib.Path, message: _Message) -> _Message:
    """Reads a protobuf text file, as tensorflow_model_server's config files are.

    Raises:
      UsageError: the file cannot be read, or is not such a message; says the line.
    """
    from google.protobuf import text_format

    parse: Any = text_format.Parse
    try:
        return parse(path.read_text(encoding="utf-8"), message)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        # The first line is the real binary's, which prints it on stderr and ends.
        kind = f"tensorflow.serving.{type(message).__name__}"
        raise UsageError(
            f"Error parsing text-format {kind}: {error}\nInvalid protobuf file: '{path}'"
        ) from error
