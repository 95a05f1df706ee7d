"""What a command writes where the user says: never over what it reads, nor over what others made.

Every refusal is an exit status 2, and leaves every file as it was.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from components.base.errors import UsageError
from components.base.files import is_signed
from pipeline.commands.benchmark import benchmark
from pipeline.commands.compile import compile
from pipeline.commands.data import data
from pipeline.commands.report import report
from pipeline.config import PRESETS
from pipeline.history import reports
from tests import clothing, warm


@pytest.fixture
def folder(tmp_path):
    clothing.write_csvs(tmp_path / "data", train=3, test=2, seed=1)
    return tmp_path / "data"


def _names(path: pathlib.Path, tmp_path: pathlib.Path) -> list[pathlib.Path]:
    """A file by its path, another path, a link and a hard link."""
    link, hard = tmp_path / "link.yaml", tmp_path / "hard.yaml"
    link.symlink_to(path)
    os.link(path, hard)
    return [path, path.parent / ".." / path.parent.name / path.name, link, hard]


def _snapshot(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_schema_is_not_inferred_over_a_csv(folder, tmp_path):
    (csv,) = (folder / "train").glob("*.csv")
    before = _snapshot(folder)
    for path in _names(csv, tmp_path):
        with pytest.raises(UsageError, match="is an input"):
            data(workspace=tmp_path / "ws", data=folder, infer_schema=path, overwrite=True)
    assert _snapshot(folder) == before


def test_a_pipeline_is_not_compiled_over_its_preset(tmp_path, monkeypatch):
    """`denoise compile --preset pipeline.yaml`, whose default output has that name."""
    monkeypatch.chdir(tmp_path)
    preset = tmp_path / "pipeline.yaml"
    preset.write_text((PRESETS / "default.yaml").read_text())
    before = preset.read_bytes()
    call = {"image": "i", "pipeline_root": "s3://b/p", "overwrite": True}
    for output in (None, *_names(preset, tmp_path)):
        with pytest.raises(UsageError, match="is an input"):
            compile(preset=str(preset), output=output, dry_run_folder=tmp_path / "dry", **call)
    assert preset.read_bytes() == before


def test_a_benchmark_is_not_written_into_its_data(folder):
    before = _snapshot(folder)
    workspace = folder.parent
    (workspace / "benchmark").symlink_to(folder)
    with pytest.raises(UsageError, match="is an input"):
        benchmark(workspace=workspace, data=folder, overwrite=True)
    assert _snapshot(folder) == before


def test_a_page_of_somebody_else_is_not_overwritten(folder, tmp_path):
    page = tmp_path / "benchmark" / "benchmark.html"
    page.parent.mkdir()
    page.write_text("mine")
    with pytest.raises(UsageError, match=r"benchmark\.html exists.*--overwrite"):
        benchmark(workspace=tmp_path, data=folder)
    assert page.read_text() == "mine"


def test_a_compiled_pipeline_is_replaced_until_somebody_changes_it(tmp_path):
    output = tmp_path / "pipeline.yaml"
    call = {"image": "i", "pipeline_root": "s3://b/p", "output": output}
    call["dry_run_folder"] = tmp_path / "dry"
    output.write_text("mine\n")
    with pytest.raises(UsageError, match=r"pipeline\.yaml exists.*--overwrite"):
        compile(**call)
    assert output.read_text() == "mine\n"
    compile(**call, overwrite=True)
    assert is_signed(output)
    compile(**call)
    changed = output.read_text() + "# by hand\n"
    output.write_text(changed)
    with pytest.raises(UsageError, match="--overwrite"):
        compile(**call)
    assert output.read_text() == changed


def test_a_schema_that_was_looked_over_is_not_inferred_again(folder, tmp_path):
    """As the command line has it: the exit status, and how to go on."""
    schema = tmp_path / "schema.pbtxt"
    call = ["data", "--workspace", tmp_path / "ws", "--data", folder, "--infer-schema", schema]
    assert warm.call("pipeline.cli", call, os.environ).returncode == 0
    assert is_signed(schema)
    curated = schema.read_text().replace("int_domain", "# looked over\n  int_domain", 1)
    schema.write_text(curated)
    done = warm.call("pipeline.cli", call, os.environ)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert schema.read_text() == curated


def test_an_output_that_is_a_folder_is_wrong_usage(folder, tmp_path):
    call = [sys.executable, "-m", "pipeline.cli", "data", "--data", str(folder)]
    call += ["--workspace", str(tmp_path / "ws"), "--infer-schema", str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--infer-schema" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["20260101T000000.000000", "before_after.png"])
def test_a_report_does_not_replace_what_is_no_report(tmp_path, monkeypatch, name):
    run = "20260101T000000.000000"
    monkeypatch.setattr(reports, "find", lambda place, wanted: (run, []))
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / name).write_text("mine")
    with pytest.raises(UsageError, match=f"{name} exists.*--overwrite"):
        report(workspace=tmp_path, remake=True)
    assert (tmp_path / "reports" / name).read_text() == "mine"


def test_a_report_is_not_written_over_what_a_step_wrote(tmp_path, monkeypatch):
    step = tmp_path / "pipeline_root" / "Report" / "before_after.png"
    step.parent.mkdir(parents=True)
    step.write_text("the step's")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "before_after.png").symlink_to(step)
    monkeypatch.setattr(reports, "find", lambda place, wanted: ("run", []))
    with pytest.raises(UsageError, match="is an input"):
        report(workspace=tmp_path, remake=True, overwrite=True)
    assert step.read_text() == "the step's"
