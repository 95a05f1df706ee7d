"""What runs in a step's container on Kubeflow Pipelines: TFX's run_executor, in the launcher's
world.

KFP's launcher copies every input artifact to a local path (`s3://B/K` to `/s3/B/K`), starts
this with the ExecutorInput as JSON, reads the output file it names, and uploads each output
artifact from its local path (kubeflow/pipelines, backend/src/v2/component/launcher_v2.go).
TFX's own entry point opens the URIs themselves, for which TensorFlow would need a file system
for each store. So here

- URIs of artifacts become the launcher's local paths, and paths become URIs again in the output;
- input artifacts, which KFP's driver hands over with an empty type (tensorflow/tfx#7768), get the
  type the step declares;
- the data location, when it lies in an object store, is copied to the local disk, and so is the
  schema, which the compiled pipeline carries within itself;
- `preset` and `epochs`, which an operator may give when starting a run, replace the settings the
  pipeline was compiled with;
- metadata without a value, which KFP refuses, is left out of the output.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import re
import sys
import tempfile
import urllib.request
import warnings
from collections.abc import Mapping
from typing import Any

from components.base import object_store
from components.base.errors import DenoiseError, UsageError
from components.csv_ingestion import data_folder

COMMAND = ("python", "-m", "pipeline.runners.kubeflow.container")
ROOT = "DENOISE_LAUNCHER_ROOT"
"""Environment variable: the folder that stands for `/` in the launcher's local paths."""
FOLDERS = {"s3": "s3", "minio": "minio", "gs": "gcs"}
"""Where the launcher keeps a scheme's artifacts: LocalPathForURI of launcher_v2.go."""
DATA_VERSION = "data_version"
"""Parameter of ingestion that only KFP's cache looks at."""
PRESET, EPOCHS = "preset", "epochs"
"""Parameters an operator may change when starting a run."""
_SPAN = re.compile(r"span-(\d+)")
_SPAN_PREFIX = "span-{SPAN}/"
AS_COMPILED: dict[str, Any] = {PRESET: "", EPOCHS: 0}
"""Their defaults, which change nothing."""


def local_path(uri: str) -> str:
    """Where KFP's launcher has an artifact on the container's disk."""
    scheme, bucket, key = object_store.split(uri)
    return os.path.join(os.environ.get(ROOT, "/"), FOLDERS[scheme], bucket, key)


def to_uris(value: Any) -> Any:
    """Replaces local paths of artifacts by their URIs in every string of a JSON value."""
    if isinstance(value, dict):
        return {key: to_uris(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [to_uris(item) for item in value]
    if isinstance(value, str):
        for scheme, folder in FOLDERS.items():
            prefix = os.path.join(os.environ.get(ROOT, "/"), folder, "")
            if value.startswith(prefix):
                return f"{scheme}://{value.removeprefix(prefix)}"
    return value


def _to_local(executor_input: dict[str, Any], inputs_spec: dict[str, Any]) -> None:
    """Makes URIs local paths and gives each input artifact its declared type."""
    declared = inputs_spec.get("artifacts", {})
    for name, of_input in executor_input.get("inputs", {}).get("artifacts", {}).items():
        for artifact in of_input.get("artifacts", []):
            artifact["uri"] = local_path(artifact["uri"])
            if not any(artifact.get("type", {}).values()):
                artifact["type"] = declared[name]["artifactType"]
    for of_output in executor_input.get("outputs", {}).get("artifacts", {}).values():
        for artifact in of_output.get("artifacts", []):
            artifact["uri"] = local_path(artifact["uri"])
            pathlib.Path(artifact["uri"]).mkdir(parents=True, exist_ok=True)
    output_file = executor_input.get("outputs", {}).get("outputFile", "")
    if object_store.is_remote(output_file):
        # Vertex AI names it in Cloud Storage, which is mounted.
        executor_input["outputs"]["outputFile"] = local_path(output_file)


def _with_settings(step: str, parameters: dict[str, Any]) -> None:
    """Applies `preset` and `epochs` to the step's parameters, in place.

    The parameters under another preset are those the DAG itself gives the step.
    """
    preset = parameters.pop(PRESET, "")
    epochs = int(parameters.pop(EPOCHS, 0))
    if preset:
        from pipeline import config
        from pipeline.runners.kubeflow import compile as kubeflow

        parameters |= kubeflow.step_parameters(step, config.load(preset), keep=parameters)
    if epochs and "custom_config" in parameters:
        custom_config = json.loads(parameters["custom_config"])
        if "training" in custom_config:
            custom_config["training"]["epochs"] = epochs
            parameters["custom_config"] = json.dumps(custom_config)


def _with_local_data(parameters: dict[str, Any], folder: str) -> None:
    """Points ingestion at the data folder, or at a local copy of its newest span.

    Whether the folder holds spans is seen here: an operator may give another folder than the
    pipeline was compiled for.
    """
    location = parameters.get("input_base")
    if location is None:
        return
    if object_store.is_remote(location):
        newest = _newest_span(object_store.files(location))
        names = object_store.download(f"{location}/{newest}", os.path.join(folder, newest))
        print(f"{location}/{newest}: {len(names)} files copied", flush=True)
        location = parameters["input_base"] = folder
    spans = data_folder.has_spans(location)
    input_config = json.loads(parameters["input_config"])
    for split in input_config["splits"]:
        pattern = split["pattern"].removeprefix(_SPAN_PREFIX)
        split["pattern"] = f"{_SPAN_PREFIX}{pattern}" if spans else pattern
    parameters["input_config"] = json.dumps(input_config)


def _with_local_schema(parameters: dict[str, Any], folder: str) -> None:
    """Writes the schema, which the compiled pipeline carries as a `data:` URI, to a file."""
    uri = parameters.get("schema_file", "")
    if uri.startswith("data:"):
        file = pathlib.Path(folder, "schema.pbtxt")
        with urllib.request.urlopen(uri) as schema:
            file.write_bytes(schema.read())
        parameters["schema_file"] = str(file)


def _newest_span(names: list[str]) -> str:
    """The folder `span-N` with the highest N, or an empty string without spans."""
    folders = {name.partition("/")[0] for name in names}
    if folders & {"train", "test"}:
        return ""
    numbers = {folder: _SPAN.fullmatch(folder) for folder in folders}
    found = {int(match[1]): folder for folder, match in numbers.items() if match}
    return found[max(found)] if found else ""


def version(step: str, parameters: Mapping[str, Any], artifacts: Mapping[str, Any]) -> str:
    """What a step depends on besides its inputs, for KFP's cache.

    Args:
      step: `CsvIngestion`, `PushedModel` or `WarmStart`.
      parameters: The step's.
      artifacts: The step's input artifacts, with local paths.

    Returns:
      A fingerprint of the data files; or the version of the pushed model.
    """
    if step == "WarmStart":
        from components.csv_ingestion.result import read_summary
        from components.push import versions

        rows = read_summary(artifacts["examples"]["artifacts"][0]["uri"])
        return versions.start_version(parameters["serving"], rows.fingerprint)
    if step == "PushedModel":
        from tfx.utils import path_utils

        from components.push import versions

        candidate = artifacts["candidate"]["artifacts"][0]["uri"]
        return versions.latest(parameters["serving"], path_utils.serving_model_path(candidate))
    location = parameters["input_base"]
    if object_store.is_remote(location):
        newest = _newest_span(object_store.files(location))
        return object_store.fingerprint(f"{location}/{newest}".rstrip("/"))
    digest = hashlib.sha256()
    folder = data_folder.latest_span(location)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        stat = file.stat()
        digest.update(f"{file} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _rewrite_output(output_file: str) -> None:
    path = pathlib.Path(output_file)
    path.write_text(json.dumps(to_uris(json.loads(path.read_text()))))


def run(arguments: list[str]) -> None:
    """Runs one step.

    Args:
      arguments: `--step NAME`, then what TFX's run_executor takes; with `--version-as PARAMETER`
        the step is not run, but what it depends on is put out as that parameter.

    Raises:
      DenoiseError: the step found something to refuse; other errors pass through.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--step", required=True)
    parser.add_argument("--version-as", metavar="PARAMETER")
    parser.add_argument("--executor_class_path")
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", required=True)
    options, beam_args = parser.parse_known_args(arguments)
    try:
        executor_input = json.loads(options.json_serialized_invocation_args)
    except json.JSONDecodeError as error:
        raise UsageError(
            "--json_serialized_invocation_args: expected an ExecutorInput as JSON, which KFP's "
            f"launcher puts in place of {{{{$}}}}: {error}"
        ) from error

    _to_local(executor_input, json.loads(options.json_serialized_inputs_spec_args))
    with tempfile.TemporaryDirectory(prefix="data-") as folder:
        parameters = executor_input.get("inputs", {}).get("parameterValues", {})
        _with_settings(options.step, parameters)
        if options.version_as:
            artifacts = executor_input.get("inputs", {}).get("artifacts", {})
            value = version(options.step, parameters, artifacts)
            print(f"{options.step}: {options.version_as} is {value}", flush=True)
            output_file = pathlib.Path(executor_input["outputs"]["outputFile"])
            output_file.parent.mkdir(parents=True, exist_ok=True)
            output_file.write_text(json.dumps({"parameterValues": {options.version_as: value}}))
            return
        parameters.pop(DATA_VERSION, None)
        _with_local_data(parameters, folder)
        _with_local_schema(parameters, folder)
        options.json_serialized_invocation_args = json.dumps(executor_input)

        from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

        kubeflow_v2_run_executor.main((options, beam_args))
    _rewrite_output(executor_input["outputs"]["outputFile"])


def main() -> None:
    """Entry point; a DenoiseError ends it with its message and exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore")
    try:
        run(sys.argv[1:])
    except DenoiseError as error:
        print(f"denoise: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
