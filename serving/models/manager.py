"""Which versions of which models are served, and their way from folder to memory and back.

States, policies and messages are TF Serving's: versions come from the numeric folders under
a model's base path (tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc),
a new one is loaded and warmed before the old one goes
(tensorflow_serving/core/availability_preserving_policy.h), and configurations change as in
tensorflow_serving/model_servers/server_core.cc.

Two things are done besides. A folder that is still being written is not loaded: its files
must be complete and unchanged since the last look. And a version that failed to load is
tried again as soon as its files change.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import itertools
import logging
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from components.push import versions as pushed
from serving.models.folder import Folder, Snapshot, aspired
from serving.models.servable import Loaded
from serving.protocol.codes import Code, StatusError, from_exception, invalid_argument
from serving.protocol.metrics import Metrics

_log = logging.getLogger(__name__)

PLATFORM = "tensorflow"
_REMEMBERED_ENDS = 16
"""Versions that have ended which status still tells of, for each model."""


class State(enum.IntEnum):
    """ModelVersionStatus.State in tensorflow_serving/apis/get_model_status.proto."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass
class _Version:
    path: pathlib.Path
    state: State = State.START
    error: StatusError | None = None
    servable: Loaded | None = None
    failed_snapshot: Snapshot | None = None
    attempts: int = 0
    next_attempt: float = 0.0


@dataclasses.dataclass
class _Model:
    config: Any
    versions: dict[int, _Version] = dataclasses.field(default_factory=dict)
    seen: dict[pathlib.Path, Folder] = dataclasses.field(default_factory=dict)
    warned: str = ""


def single_model_config(name: str, base_path: pathlib.Path) -> Any:
    """The configuration --model_name and --model_base_path stand for."""
    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add()
    model.name = name
    model.base_path = str(base_path)
    model.model_platform = PLATFORM
    return config


def _validate(config: Any) -> None:
    """ValidateModelConfigList and CreateStoragePathRoutes in server_core.cc."""
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid_argument("ModelServer does not yet support custom model config.")
    names = set()
    for model in config.model_config_list.config:
        if model.name in names:
            raise invalid_argument(
                f"Illegal to list model {model.name} multiple times in config list"
            )
        names.add(model.name)
        if not model.name or not model.base_path:
            raise invalid_argument(f"A model needs a name and a base_path: {model}")
        platform = PLATFORM if model.model_type == model_server_config_pb2.TENSORFLOW else ""
        if platform and model.model_platform:
            raise invalid_argument(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                "ModelServerConfig::model_platform."
            )
        platform = platform or model.model_platform
        if not platform:
            raise invalid_argument(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                "ModelServerConfig::model_platform."
            )
        if model.HasField("logging_config"):
            # ServerRequestLogger::Update: neither server has anywhere to log requests to.
            raise invalid_argument("No request-logger-creator provided.")
        if platform != PLATFORM:
            raise invalid_argument(f"Model {model.name} requests unsupported platform {platform}")


class ModelManager:
    """The models being served. Safe to use from several threads."""

    def __init__(
        self,
        load: Callable[[str, int, pathlib.Path], Loaded],
        metrics: Metrics,
        poll_wait_seconds: float = 1.0,
        alternative: str | None = None,
        max_num_load_retries: int = 0,
        load_retry_interval: float = 60.0,
        allow_labels_for_unavailable: bool = False,
        force_allow_labels_for_unavailable: bool = False,
    ) -> None:
        """Starts with no model; see `reload`.

        Args:
          load: Loads and warms (name, version, path); called on the manager's thread.
          metrics: Counts the loads.
          poll_wait_seconds: Between two looks at the base paths; 0: look once; negative: only
            when the configuration changes.
          alternative: A file that makes a version complete without a SavedModel.
          max_num_load_retries: Attempts after the first, `load_retry_interval` seconds apart.
          load_retry_interval: Seconds.
          allow_labels_for_unavailable: A new label may name a version that is not available.
          force_allow_labels_for_unavailable: Any label may.
        """
        self._load = load
        self._metrics = metrics
        self._poll_wait = poll_wait_seconds
        self._alternative = alternative
        self._max_retries = max_num_load_retries
        self._retry_interval = load_retry_interval
        self._allow_labels = allow_labels_for_unavailable
        self._force_labels = force_allow_labels_for_unavailable
        self._models: dict[str, _Model] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._lock = threading.Lock()  # guards what requests read
        self._work = threading.Lock()  # one look, load or reload at a time
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._unloading: set[threading.Thread] = set()

    # Requests.

    @contextlib.contextmanager
    def use(self, spec: model_pb2.ModelSpec) -> Iterator[Loaded]:
        """The servable a ModelSpec means, kept loaded while the `with` block runs.

        Raises:
          StatusError: INVALID_ARGUMENT for no name or an unknown label, NOT_FOUND for a model
            or version that is not available.
        """
        servable = self._retain(spec)
        try:
            yield servable
        finally:
            servable.release()

    def _retain(self, spec: model_pb2.ModelSpec) -> Loaded:
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        with self._lock:
            choice = spec.WhichOneof("version_choice")
            number = spec.version.value if choice == "version" else None
            if choice == "version_label":
                number = self._version_of(spec.name, spec.version_label)
            model = self._models.get(spec.name)
            versions = model.versions if model else {}
            available = [n for n, v in versions.items() if v.state == State.AVAILABLE]
            if number is None and available:
                number = max(available)
            if number in available:
                servable = versions[number].servable
                assert servable is not None
                servable.retain()
                return servable
        wanted = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
        raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")

    def _version_of(self, name: str, label: str) -> int:
        version = self._labels.get(name, {}).get(label)
        if version is None:
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        return version

    def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """States of a model's versions, the newest first
        (tensorflow_serving/model_servers/get_model_status_impl.cc).

        Raises:
          StatusError: NOT_FOUND, or INVALID_ARGUMENT for an unknown label.
        """
        response = get_model_status_pb2.GetModelStatusResponse()
        with self._lock:
            model = self._models.get(spec.name)
            versions = dict(model.versions) if model else {}
            wanted = spec.version.value if spec.HasField("version") else None
            if spec.version_label:
                wanted = self._version_of(spec.name, spec.version_label)
            if wanted is not None and wanted not in versions:
                raise StatusError(
                    Code.NOT_FOUND, f"Could not find version {wanted} of model {spec.name}"
                )
            if not versions:
                raise StatusError(
                    Code.NOT_FOUND, f"Could not find any versions of model {spec.name}"
                )
            for number in sorted(versions, reverse=True):
                if wanted in (None, number):
                    version = versions[number]
                    entry = response.model_version_status.add()
                    entry.version = number
                    entry.state = int(version.state)
                    entry.status.error_code = version.error.code if version.error else Code.OK
                    entry.status.error_message = version.error.message if version.error else ""
        return response

    def names(self) -> list[str]:
        """Names of the configured models."""
        with self._lock:
            return sorted(self._models)

    def ready(self) -> bool:
        """Whether every configured model has a version to serve."""
        with self._lock:
            return all(
                any(version.state == State.AVAILABLE for version in model.versions.values())
                for model in self._models.values()
            )

    # Configuration.

    def reload(self, config: Any, timeout: float | None = None) -> None:
        """Serves this configuration's models and no others; returns when they are loaded.

        Args:
          config: A ModelServerConfig.
          timeout: Seconds to wait for new models' folders to be complete.

        Raises:
          StatusError: the configuration is wrong (nothing has changed then), UNKNOWN when a new
            model did not become available, or UNAVAILABLE after `refuse_changes`.
        """
        with self._work:
            if self._stopping.is_set():
                raise StatusError(Code.UNAVAILABLE, "The server is ending")
            if config.WhichOneof("config") is None:
                return  # "Taking no action for empty config" in server_core.cc
            with self._lock:
                old = set(self._models)
                _validate(config)
                labels = self._new_labels(config)
                self._labels = labels
                new = {model.name: model for model in config.model_config_list.config}
                for name, model_config in new.items():
                    if name in self._models:
                        self._models[name].config = model_config
                    else:
                        self._models[name] = _Model(model_config)
                removed = {n: self._models[n] for n in old if n not in new}
            for name, model in removed.items():
                self._unload(name, model, list(model.versions))
                with self._lock:
                    del self._models[name]
        added = [name for name in new if name not in old]
        deadline = None if timeout is None else time.monotonic() + timeout
        for name in new:
            self._settle(name, deadline)
        self._fail_unless_available(added)

    def _new_labels(self, config: Any) -> dict[str, dict[str, int]]:
        """UpdateModelVersionLabelMap in server_core.cc."""
        labels: dict[str, dict[str, int]] = {}
        for model_config in config.model_config_list.config:
            model = self._models.get(model_config.name)
            for label, version in model_config.version_labels.items():
                current = self._labels.get(model_config.name, {}).get(label, version)
                allowed = self._force_labels or (self._allow_labels and current == version)
                known = model.versions.get(version) if model else None
                if not allowed and (known is None or known.state != State.AVAILABLE):
                    raise StatusError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model "
                        f"{model_config.name}, which is not currently available for inference",
                    )
                labels.setdefault(model_config.name, {})[label] = version
        return labels

    def _settle(self, name: str, deadline: float | None) -> None:
        """Looks at one model until nothing of it is left to do."""
        while True:
            with self._work:
                if self._stopping.is_set() or not self._look(name):
                    return
            pause = min(0.25, self._poll_wait) if self._poll_wait > 0 else 0.25
            if deadline is not None and time.monotonic() + pause > deadline:
                return
            self._stopping.wait(pause)

    def _fail_unless_available(self, names: list[str]) -> None:
        with self._lock:
            failed = []
            for name in names:
                model = self._models.get(name)
                versions = model.versions if model else {}
                if not any(v.state == State.AVAILABLE for v in versions.values()):
                    failed += [
                        f"{{name: {name} version: {number}}} due to error: "
                        f"{version.error.code.name}: {version.error.message}"
                        for number, version in versions.items()
                        if version.error
                    ] or [f"{{name: {name} has no complete version}}"]
        if failed:
            raise StatusError(
                Code.UNKNOWN, f"Some models did not become available: {{{', '.join(failed)}}}"
            )

    # The folders.

    def start(self) -> None:
        """Starts looking at the folders, if they are to be looked at more than once."""
        if self._poll_wait > 0:
            self._thread = threading.Thread(target=self._poll, name="model-manager", daemon=True)
            self._thread.start()

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_wait):
            for name in self.names():
                if self._stopping.is_set():
                    return
                try:
                    with self._work:
                        self._look(name)
                except Exception:
                    _log.exception("looking for versions of %s failed", name)

    def _look(self, name: str) -> bool:
        """Loads and unloads what a model's folder asks for.

        Returns:
          Whether a version is not complete yet.
        """
        with self._lock:
            model = self._models.get(name)
        if model is None:
            return False
        base_path = pathlib.Path(model.config.base_path)
        try:
            folders = {found.number: base_path / found.name for found in pushed.folders(base_path)}
        except OSError as error:
            # A base path that is gone for a moment unloads nothing.
            self._warn(
                model,
                f"Could not find base path {base_path} for servable {name} with error {error}",
            )
            return False
        waiting = False

        def complete() -> Iterator[int]:
            nonlocal waiting
            for number in sorted(folders, reverse=True):
                folder = self._look_at_folder(model, number, folders[number])
                if not folder.lacking:
                    yield number
                else:
                    waiting |= not folder.steady

        wanted = aspired(model.config, complete())
        if wanted:
            model.warned = ""
        else:
            self._warn(
                model,
                f"No versions of servable {name} found under base path {base_path}. Did you "
                "forget to name your leaf directory as a number (eg. '/1/')?",
            )
        for number in wanted:
            waiting |= self._look_at_version(name, model, number, folders[number])
        paths = set(folders.values())
        model.seen = {path: seen for path, seen in model.seen.items() if path in paths}
        with self._lock:
            surplus = [
                number
                for number, version in model.versions.items()
                if number not in wanted and version.state == State.AVAILABLE
            ]
            served = any(
                version.state == State.AVAILABLE
                for number, version in model.versions.items()
                if number in wanted
            )
        if served or not wanted:
            self._unload(name, model, surplus)
        return waiting

    def _warn(self, model: _Model, message: str) -> None:
        if model.warned != message:
            model.warned = message
            _log.warning("%s", message)

    def _look_at_folder(self, model: _Model, number: int, path: pathlib.Path) -> Folder:
        version = model.versions.get(number)
        last = model.seen.get(path)
        if last and version and version.state == State.AVAILABLE:
            return last  # in memory: what its files do now does not matter
        still_after = 2 * max(self._poll_wait, 1)
        folder = model.seen[path] = Folder.look(path, last, still_after, self._alternative)
        if folder.lacking and (last is None or last.snapshot != folder.snapshot):
            _log.info("waiting for %s of %s", folder.lacking, path)
        return folder

    def _look_at_version(self, name: str, model: _Model, number: int, path: pathlib.Path) -> bool:
        """Loads a version if it should be and can be; returns whether it is still changing."""
        version = model.versions.get(number)
        if version is not None and version.state in (State.AVAILABLE, State.UNLOADING):
            return False
        folder = model.seen[path]
        if version is not None and version.error is not None:
            if folder.snapshot != version.failed_snapshot:
                version.attempts = 0
            elif version.attempts > self._max_retries or time.monotonic() < version.next_attempt:
                return False
        if not folder.steady:
            return True
        self._load_version(name, model, number, path, folder.snapshot)
        return False

    def _load_version(
        self, name: str, model: _Model, number: int, path: pathlib.Path, snapshot: Snapshot
    ) -> None:
        with self._lock:
            version = model.versions.setdefault(number, _Version(path))
            version.path, version.state = path, State.LOADING
        start = time.perf_counter()
        try:
            servable = self._load(name, number, path)
        except Exception as problem:
            error = from_exception(problem)
            self._metrics.load(str(path), False, 0)
            version.attempts += 1
            version.next_attempt = time.monotonic() + self._retry_interval
            retry = version.attempts <= self._max_retries
            with self._lock:
                version.failed_snapshot = snapshot
                version.error = error
                version.state = State.LOADING if retry else State.END
            _log.error("Loading servable: {name: %s version: %d} failed: %s", name, number, error)
            return
        self._metrics.load(str(path), True, time.perf_counter() - start)
        with self._lock:
            version.servable = servable
            version.error = version.failed_snapshot = None
            version.attempts = 0
            version.state = State.AVAILABLE
        _log.info("Successfully loaded servable version {name: %s version: %d}", name, number)

    def _unload(self, name: str, model: _Model, numbers: list[int]) -> None:
        for number in numbers:
            with self._lock:
                version = model.versions[number]
                servable, version.servable = version.servable, None
                version.state = State.UNLOADING if servable else State.END
            if servable is None:
                continue
            thread = threading.Thread(
                target=self._finish_unload, args=(name, model, number, servable), daemon=True
            )
            self._unloading.add(thread)
            thread.start()

    def _finish_unload(self, name: str, model: _Model, number: int, servable: Loaded) -> None:
        servable.close()  # waits for the calls in progress
        with self._lock:
            version = model.versions.get(number)
            if version is not None and version.state == State.UNLOADING:
                version.state = State.END
            ended = [n for n, v in sorted(model.versions.items()) if v.state == State.END]
            for old in itertools.islice(ended, max(len(ended) - _REMEMBERED_ENDS, 0)):
                del model.versions[old]
        self._unloading.discard(threading.current_thread())
        _log.info("Unloaded servable version {name: %s version: %d}", name, number)

    def refuse_changes(self) -> None:
        """Ends every wait for new models, and takes no more of them."""
        self._stopping.set()

    def stop(self) -> None:
        """Unloads everything."""
        self.refuse_changes()
        if self._thread is not None:
            self._thread.join()
        with self._work:
            for name in self.names():
                model = self._models[name]
                self._unload(name, model, list(model.versions))
        for thread in list(self._unloading):
            thread.join()
