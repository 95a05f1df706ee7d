"""KFP's launcher: a task's command between the store and the disk (component/launcher_v2.go)."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from components.base import object_store
from components.base.errors import RunError
from components.base.files import write_json
from pipeline.runners.kubeflow import names
from pipeline.runners.kubeflow.dry_run.state import Artifact, Outputs, State

LOG = "log.txt"
_RETRY = 0
"""Number of the try, which the log's name ends in; nothing is tried again here."""
_PASSED_ON = (
    "AWS_",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "STORAGE_EMULATOR_HOST",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
)
"""Environment a pod would be given too: access to the stores, the network and the GPUs."""
_LOG_LINES = 30
"""Last lines of a failed task's log that an error shows."""


class Launcher:
    """One task, with a disk of its own.

    Args:
      task: Its name.
      executor_input: As the driver made it.
      folder: A new folder; it keeps the task's log and `executor_input.json`.
      state: Where outputs are recorded.
    """

    def __init__(
        self,
        task: str,
        executor_input: dict[str, Any],
        folder: pathlib.Path,
        state: State,
    ):
        self._task = task
        self._inputs = executor_input["inputs"]
        self._outputs = executor_input["outputs"]
        self._folder = folder
        self._disk = folder / "disk"
        self._state = state
        (log,) = self._outputs["artifacts"][names.LOGS]["artifacts"]
        log["uri"] += f"-{_RETRY}"
        self._log_uri = log["uri"]
        self._text = _as_kfp_writes_it(executor_input)

    def run(self, container: Mapping[str, Any]) -> Outputs:
        """Runs a container's command, and records what it put out.

        Raises:
          RunError: it failed, or KFP would refuse what it put out.
        """
        write_json(self._folder / "executor_input.json", json.loads(self._text))
        self._prepare_disk()
        self._execute(container)
        output = self._executor_output()
        parameters = self._parameters(output.get("parameterValues", {}))
        artifacts = {
            name: self._record(name, artifact, output.get("artifacts", {}).get(name, {}))
            for name, artifact in _artifacts(self._outputs)
        }
        for name in ("disk", "work", "home"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        return Outputs(artifacts, parameters)

    def _local(self, location: str) -> pathlib.Path:
        return pathlib.Path(names.local_path(location, str(self._disk)))

    def _prepare_disk(self) -> None:
        for folder in (self._folder / "work", self._folder / "home", self._disk / "tmp"):
            folder.mkdir(parents=True)
        for _, artifact in _artifacts(self._inputs):
            object_store.download(artifact["uri"], self._local(artifact["uri"]))
        for _, artifact in _artifacts(self._outputs):
            self._local(artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
        for parameter in self._outputs["parameters"].values():
            self._local(parameter["outputFile"]).parent.mkdir(parents=True, exist_ok=True)

    def _execute(self, container: Mapping[str, Any]) -> None:
        command = [
            argument.replace("{{$}}", self._text)
            for argument in [*container["command"], *container.get("args", [])]
        ]
        kept = self._folder / LOG
        log = self._local(self._log_uri)
        with kept.open("wb") as stream:
            # It outlives the disk.
            log.symlink_to(kept)
            status = self._wait_for(command, stream)
        if status:
            object_store.upload(log, self._log_uri)
            lines = kept.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
            raise RunError(
                f"{self._task} failed: its command ended with status {status}. The whole log: "
                f"{kept}\n" + "\n".join(f"  {line}" for line in lines)
            )

    def _wait_for(self, command: list[str], stream: Any) -> int:
        try:
            process = subprocess.Popen(
                command,
                cwd=self._folder / "work",
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise RunError(f"{self._task}: its command cannot be started: {error}") from error
        try:
            return process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise

    def _environment(self) -> dict[str, str]:
        passed_on = {
            name: value
            for name, value in os.environ.items()
            if name == object_store.STAND_IN or name.startswith(_PASSED_ON)
        }
        own = pathlib.Path(sys.executable).parent
        return {
            **passed_on,
            "PATH": os.pathsep.join([str(own), os.defpath]),
            "HOME": str(self._folder / "home"),
            "TMPDIR": str(self._disk / "tmp"),
            "LANG": "C.UTF-8",
            names.ROOT: str(self._disk),
        }

    def _executor_output(self) -> dict[str, Any]:
        from google.protobuf import json_format
        from kfp.pipeline_spec import pipeline_spec_pb2

        file = self._local(self._outputs["outputFile"])
        if not file.exists():
            return {}
        text = file.read_text(encoding="utf-8")
        try:
            json_format.Parse(text, pipeline_spec_pb2.ExecutorOutput())
        except json_format.ParseError as error:
            raise RunError(f"{self._task}: KFP would refuse its output file: {error}") from error
        return json.loads(text)

    def _parameters(self, written: Mapping[str, Any]) -> dict[str, Any]:
        for name in self._outputs["parameters"]:
            if name not in written:
                raise RunError(f"{self._task}: the parameter {name} was not put out.")
        return dict(written)

    def _record(self, name: str, artifact: dict[str, Any], written: Mapping[str, Any]) -> Artifact:
        """Uploads an output, unless it is missing, and records it."""
        for change in written.get("artifacts", [])[:1] if name != names.LOGS else []:
            artifact["uri"] = change.get("uri") or artifact["uri"]
            artifact["metadata"] = {**artifact.get("metadata", {}), **change.get("metadata", {})}
        uri = artifact["uri"]
        if not object_store.is_remote(uri):
            self._note(f"{name}: {uri} is no URI KFP could upload to")
        elif self._local(uri).exists():
            object_store.upload(self._local(uri), uri)
        else:
            self._note(f"{name}: nothing was written to {names.local_path(uri, '/')}")
        session = {"Provider": uri.partition("://")[0], "Params": {"fromEnv": "true"}}
        metadata = {
            "display_name": name,
            "store_session_info": json.dumps(session),
            **artifact.get("metadata", {}),
        }
        try:
            return self._state.add(_title(artifact["type"]), uri, metadata)
        except ValueError as error:
            raise RunError(f"{self._task}: KFP refuses the output {name}: {error}.") from error

    def _note(self, warning: str) -> None:
        with (self._folder / LOG).open("a") as log:
            log.write(f"launcher: {warning}\n")


def _artifacts(side: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The artifacts of an ExecutorInput's inputs or outputs, by name."""
    for name, of_name in side["artifacts"].items():
        yield name, of_name["artifacts"][0]


def _as_kfp_writes_it(executor_input: dict[str, Any]) -> str:
    """An ExecutorInput as JSON. What the message does not know would reach no container."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    message = json_format.ParseDict(executor_input, pipeline_spec_pb2.ExecutorInput())
    # Go's protojson writes whole numbers without a point.
    return json.dumps(json.loads(json_format.MessageToJson(message), parse_float=_number))


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() else value


def _title(artifact_type: Mapping[str, str]) -> str:
    import yaml

    if "schemaTitle" in artifact_type:
        return artifact_type["schemaTitle"]
    return yaml.safe_load(artifact_type["instanceSchema"])["title"]
