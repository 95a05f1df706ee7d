"""The compiled pipeline as a file."""

from __future__ import annotations

import pathlib
from typing import Any

import yaml

from components.base.errors import UsageError
from components.base.files import signed, whole
from pipeline.runners.kubeflow.check import check


def to_yaml(spec: dict[str, Any]) -> str:
    """The PipelineSpec as KFP's pages and client take it."""
    lines = [f"# PIPELINE DEFINITION\n# Name: {spec['pipelineInfo']['name']}\n# Inputs:\n"]
    for name, parameter in sorted(spec["root"]["inputDefinitions"]["parameters"].items()):
        lines.append(f"#    {name}: {parameter['description']}\n")
    return "".join(lines) + yaml.safe_dump(spec, sort_keys=True, width=100)


def write(spec: dict[str, Any], output: pathlib.Path) -> None:
    """Writes a PipelineSpec, once the KFP SDK has loaded it as a client would.

    Raises:
      UsageError: the file has no .yaml name, or the SDK does not take it.
    """
    from kfp import components

    if output.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--output {output}: Kubeflow Pipelines takes names in .yaml only.")
    text = signed(to_yaml(spec))
    try:
        components.load_component_from_text(text)
    except Exception as error:
        raise UsageError(f"{output}: the KFP SDK does not load it: {error}") from error
    with whole(output, "w") as file:
        file.write(text)


def read(path: pathlib.Path) -> dict[str, Any]:
    """Reads a compiled pipeline.

    Raises:
      UsageError: there is no such file, or it is no PipelineSpec KFP runs.
    """
    try:
        documents = [
            document
            for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
            if document
        ]
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as a compiled pipeline: {error}") from error
    found = [document for document in documents if "pipelineInfo" in document]
    if len(found) != 1:
        raise UsageError(f"{path}: holds {len(found)} pipelines, expected 1.")
    check(found[0])
    return found[0]
