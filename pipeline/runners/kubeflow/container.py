"""The entry point of a step's container on Kubeflow Pipelines: TFX's run_executor, in the
launcher's world.

KFP's launcher copies every input artifact to a local path (`s3://B/K` to `/s3/B/K`), starts
this with the ExecutorInput as JSON, reads the output file it names, and uploads each output
artifact from its local path (kubeflow/pipelines, backend/src/v2/component/launcher_v2.go).
TFX's own entry point opens the URIs themselves, for which TensorFlow would need a file system
for each store. So here

- URIs of artifacts become the launcher's local paths, and paths become URIs again in the output;
- input artifacts, which KFP's driver hands over with an empty type (tensorflow/tfx#7768), get the
  type the step declares;
- output artifacts that the step does not declare are KFP's own, such as its log: they are neither
  touched, nor shown to TFX, nor put out;
- the folder of each other output is made empty: a task that KFP tries again starts anew;
- the data location, when it lies in an object store, is copied to the local disk, and so is the
  schema, which the compiled pipeline carries within itself;
- `preset` and `epochs`, which an operator may give when starting a run, replace the settings the
  pipeline was compiled with;
- metadata without a value, which KFP refuses, is left out of the output;
- an error's message is the last line of the log, since KFP loses the exit status.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile
import traceback
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any

from components.base import errors, libraries, object_store
from components.base.errors import DenoiseError, UsageError
from pipeline.runners.failure import explained
from pipeline.runners.kubeflow.names import (
    EPOCHS,
    FOLDERS,
    PRESET,
    VERSION_TASK,
    local_path,
)


def to_uris(value: Any) -> Any:
    """Replaces local paths of artifacts by their URIs in every string of a JSON value."""
    if isinstance(value, dict):
        return {key: to_uris(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [to_uris(item) for item in value]
    if isinstance(value, str):
        for scheme, folder in FOLDERS.items():
            prefix = os.path.join(local_path(folder), "")
            if value.startswith(prefix):
                return f"{scheme}://{value.removeprefix(prefix)}"
    return value


def _to_local(
    executor_input: dict[str, Any], inputs_spec: Mapping[str, Any], outputs: Iterable[str]
) -> None:
    """Makes URIs local paths, gives inputs their declared type, and makes the step's outputs.

    Args:
      executor_input: Changed in place.
      inputs_spec: The inputs that the step declares.
      outputs: Names of the output artifacts that the step declares.
    """
    declared = inputs_spec.get("artifacts", {})
    for name, of_input in executor_input.get("inputs", {}).get("artifacts", {}).items():
        for artifact in of_input.get("artifacts", []):
            artifact["uri"] = local_path(artifact["uri"])
            if not any(artifact.get("type", {}).values()):
                artifact["type"] = declared[name]["artifactType"]
    given = executor_input["outputs"]
    artifacts = given.get("artifacts", {})
    for name in outputs:
        if name not in artifacts:
            raise UsageError(
                f"KFP gave no output {name}. The pipeline.yaml and the image are of different "
                "versions: compile it with the same image that it names."
            )
    given["artifacts"] = {name: artifacts[name] for name in outputs}
    for of_output in given["artifacts"].values():
        for artifact in of_output["artifacts"]:
            artifact["uri"] = local_path(artifact["uri"])
            if os.path.isdir(artifact["uri"]):
                shutil.rmtree(artifact["uri"])
            os.makedirs(artifact["uri"])
    file = pathlib.Path(local_path(given["outputFile"]))
    given["outputFile"] = str(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    # TFX would take what a first try has put out for parameters that a driver changed.
    file.unlink(missing_ok=True)


def _with_settings(step: str, parameters: dict[str, Any]) -> None:
    """Applies `preset` and `epochs` to the step's parameters, in place.

    The parameters under another preset are those the DAG itself gives the step.
    """
    preset = parameters.pop(PRESET, "")
    epochs = int(parameters.pop(EPOCHS, 0))
    if preset:
        from pipeline import config
        from pipeline.runners.kubeflow.parameters import step_parameters

        parameters |= step_parameters(step, config.load(preset), keep=parameters)
    if epochs and "custom_config" in parameters:
        custom_config = json.loads(parameters["custom_config"])
        if "training" in custom_config:
            custom_config["training"]["epochs"] = epochs
            parameters["custom_config"] = json.dumps(custom_config)


def _with_local_data(parameters: dict[str, Any], folder: str) -> None:
    """Points ingestion at the data folder, or at a local copy of its latest span.

    Whether the folder holds spans is seen here: an operator may give another folder than the
    pipeline was compiled for.
    """
    location = parameters.get("input_base")
    if location is None:
        return
    from tfx.utils import proto_utils

    from components.csv_ingestion import component, data_folder
    from components.image_ingestion import folder as image_folder

    csvs = "input_config" in parameters
    if csvs:
        taken = data_folder.to_take(location)
    else:
        kind = json.loads(parameters["sections"])["data"]["format"]
        taken = image_folder.to_take(location, kind)
    if object_store.is_remote(location):
        below = taken.removeprefix(location.rstrip("/")).lstrip("/")
        here = os.path.join(folder, below)
        names = object_store.download(taken, here)
        print(f"{taken}: {len(names)} files copied", flush=True)
        taken = here
    parameters["input_base"] = taken
    if csvs:
        parameters["input_config"] = proto_utils.proto_to_json(component.input_config(taken))


def _with_local_schema(parameters: dict[str, Any], folder: str) -> None:
    """Writes the schema, which the compiled pipeline carries as a `data:` URI, to a file."""
    uri = parameters.get("schema_file", "")
    if uri.startswith("data:"):
        file = pathlib.Path(folder, "schema.pbtxt")
        with urllib.request.urlopen(uri) as schema:
            file.write_bytes(schema.read())
        parameters["schema_file"] = str(file)


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--step", required=True)
    parser.add_argument("--output", metavar="NAME", action="append", default=[])
    parser.add_argument("--version-as", metavar="PARAMETER")
    parser.add_argument("--executor_class_path")
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", required=True)
    return parser.parse_known_args(arguments)


def run(arguments: list[str]) -> None:
    """Runs one step.

    Args:
      arguments: `--step NAME` and `--output NAME` for each output artifact that it declares, then
        what TFX's run_executor takes; with `--version-as PARAMETER` the step is not run, but what
        it depends on is put out as that parameter.

    Raises:
      DenoiseError: the step failed; it names the step.
    """
    options, beam_args = _parse(arguments)
    task = options.step + (VERSION_TASK if options.version_as else "")
    location = None
    with tempfile.TemporaryDirectory(prefix="data-") as folder:
        try:
            executor_input = _read(options.json_serialized_invocation_args)
            parameters = executor_input.get("inputs", {}).get("parameterValues", {})
            location = parameters.get("input_base")
            _to_local(
                executor_input, json.loads(options.json_serialized_inputs_spec_args), options.output
            )
            _with_settings(options.step, parameters)
            if options.version_as:
                _put_out_version(options.step, options.version_as, executor_input)
                return
            _with_local_data(parameters, folder)
            _with_local_schema(parameters, folder)
            options.json_serialized_invocation_args = json.dumps(executor_input)

            from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

            kubeflow_v2_run_executor.main((options, beam_args))
            file = pathlib.Path(executor_input["outputs"]["outputFile"])
            file.write_text(
                json.dumps(to_uris(json.loads(file.read_text(encoding="utf-8")))), encoding="utf-8"
            )
        except Exception as error:
            failure = explained(task, error)
            if location is not None:
                # What is wrong with a local copy is wrong with the data at its location.
                failure.args = (str(failure).replace(folder, location.rstrip("/")),)
            raise failure from error


def _read(text: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            "--json_serialized_invocation_args: expected an ExecutorInput as JSON, which KFP's "
            f"launcher puts in place of {{{{$}}}}: {error}"
        ) from error


def _put_out_version(step: str, parameter: str, executor_input: dict[str, Any]) -> None:
    from pipeline.dag import LATE

    inputs = executor_input.get("inputs", {})
    folders = {
        name: of_input["artifacts"][0]["uri"]
        for name, of_input in inputs.get("artifacts", {}).items()
    }
    value = LATE[step].find(inputs.get("parameterValues", {}), folders)
    print(f"{step}: {parameter} is {value}", flush=True)
    file = pathlib.Path(executor_input["outputs"]["outputFile"])
    file.write_text(json.dumps({"parameterValues": {parameter: value}}), encoding="utf-8")


def main() -> None:
    """Entry point; the last lines of a failed step's log say which step failed, and why."""
    libraries.spare_processor()
    libraries.calm(heard=True)
    try:
        run(sys.argv[1:])
    except DenoiseError as error:
        sys.stdout.flush()
        if unexpected := error.__cause__ is None or errors.explained(error.__cause__) is None:
            traceback.print_exception(error.__cause__)
        print(f"denoise: {error}", file=sys.stderr)
        if unexpected:
            print(_UNEXPECTED, file=sys.stderr)
        sys.exit(error.exit_status)


_UNEXPECTED = (
    "denoise: the traceback above says where. `denoise compile --dry-run` runs the same step "
    "without a cluster."
)


if __name__ == "__main__":
    main()
