"""The compiled pipeline as a file."""

from __future__ import annotations

import pathlib

import pytest
import yaml

from components.base.errors import UsageError
from pipeline.runners.kubeflow import file


def test_a_compiled_pipeline_is_read_strictly_and_by_the_sdk(spec, tmp_path):
    file.write(spec, tmp_path / "pipeline.yaml")

    assert file.read(tmp_path / "pipeline.yaml") == spec
    assert spec["schemaVersion"] == "2.1.0"
    assert {next(iter(e)) for e in spec["deploymentSpec"]["executors"].values()} == {"container"}


def test_only_yaml_is_written(spec, tmp_path):
    with pytest.raises(UsageError, match=r"\.yaml only"):
        file.write(spec, tmp_path / "pipeline.json")


def test_a_file_that_is_no_pipeline_is_refused(tmp_path):
    path = tmp_path / "pipeline.yaml"
    with pytest.raises(UsageError, match="cannot be read"):
        file.read(path)
    path.write_text(yaml.safe_dump({"apiVersion": "argoproj.io/v1alpha1"}))
    with pytest.raises(UsageError, match="holds 0 pipelines"):
        file.read(pathlib.Path(path))
