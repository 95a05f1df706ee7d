"""Killed runs go on, bad data stops a run before training, two runs do not meet."""

import gzip
import json
import os
import re
import shutil
import subprocess

import pytest

from components.base import records
from components.csv_ingestion.result import read_summary
from pipeline.workspace import Workspace
from tests import clothing
from tests.end_to_end.conftest import STEPS, TEST, TRAIN, Denoise, environment


@pytest.fixture
def fresh(tmp_path, data):
    return Denoise(tmp_path / "workspace", data)


def _states(denoise: Denoise) -> dict[str, str]:
    return {step["name"]: step["state"] for step in denoise.summary()["steps"]}


def test_a_killed_run_goes_on_where_it_stopped(fresh):
    """Killed in three of its steps in turn, a run still ends as one that was left alone."""
    fresh.run_killed_in("CsvIngestion")
    fresh.run_killed_in("Transform")
    fresh.run_killed_in("Trainer", "training.epochs=4")
    done = fresh.run("training.epochs=4")
    assert done.returncode == 0, done.stderr[-4000:]
    states = _states(fresh)
    before = STEPS[: STEPS.index("Trainer")]
    assert {states[step] for step in before} == {"cached"}
    assert {states[step] for step in STEPS[len(before) :]} == {"done"}
    summary = fresh.summary()
    assert summary["training"]["resumed_from_epoch"] >= 1
    assert summary["outcome"] == "pushed"
    assert fresh.versions() == [summary["pushed_version"]]
    assert not list(fresh.workspace.glob("pipeline_root/Trainer/resume/*"))

    status = json.loads(fresh.call("status", "--json").stdout)
    assert [run["state"] for run in status["runs"]] == ["failed", "failed", "failed", "done"]
    assert len(status["models"]) == 1


@pytest.mark.ci
def test_what_a_forgotten_run_left_is_not_read(tmp_path, data):
    """The metadata is lost, so the steps' folders are numbered anew; and a cached file changed."""
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    other = clothing.write_csvs(tmp_path / "other", train=300, test=40, seed=11)
    (other / "train" / "clothing-1.csv").rename(folder / "train" / "b.csv")
    fresh = Denoise(tmp_path / "workspace", folder)
    fresh.run_killed_in("StatisticsGen")
    (fresh.workspace / "metadata.sqlite").unlink()
    (folder / "train" / "b.csv").unlink()

    said = fresh.run_killed_after("Transform")
    assert "folders in it are of runs that metadata.sqlite does not know" in said
    [examples] = fresh.workspace.glob("pipeline_root/CsvIngestion/examples/*")
    rows = read_summary(str(examples))
    assert rows.rows == TRAIN + TEST == sum(rows.examples.values())
    [transformed] = fresh.workspace.glob("pipeline_root/Transform/transformed_examples/*")
    for split, number in rows.examples.items():
        for folder in (examples, transformed):
            assert records.count([f"{folder}/Split-{split}/*"]) == number
    [left] = fresh.workspace.glob("set_aside/*/CsvIngestion/examples/*")
    assert records.count([f"{left}/Split-test/*"]) == TEST

    [shard] = transformed.glob("Split-test/*")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    again = fresh.run_killed_after("Transform")
    changed = f"{transformed}: Split-test/{shard.name} was changed since it was written"
    assert f"Transform: {changed}" in again
    assert "the step runs again" in again
    assert re.search(r"= +1/\d+ CsvIngestion ", again)
    assert re.search(r"✓ +6/\d+ Transform ", again)


@pytest.mark.slow
def test_a_byte_that_the_disk_changed_is_found_when_a_step_fails(fresh):
    """Neither the size nor the time of change tells of it."""
    assert fresh.run("training.epochs=1", "report.classifier=false").returncode == 0
    [shard] = fresh.workspace.glob("pipeline_root/CsvIngestion/examples/*/Split-test/*")
    before = shard.stat()
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))

    changed = ("training.epochs=1", "report.classifier=false", "noise.seed=12345")
    failed = fresh.run(*changed)
    assert failed.returncode == 1
    told = f"CsvIngestion: {shard.parents[1]}: Split-test/{shard.name} was changed since"
    assert told in failed.stderr
    assert "run again, and it is made again" in failed.stderr
    assert "Traceback" not in failed.stderr
    done = fresh.run(*changed)
    assert done.returncode == 0, done.stderr[-4000:]
    assert _states(fresh)["CsvIngestion"] == "done"


def _run_by(code: str, denoise: Denoise) -> subprocess.CompletedProcess:
    """A run by a program that changes something before."""
    command = denoise.run_command()
    command[1:3] = ["-c", code]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=400)


DIES = """
import os, signal, sys
from components.training import trainer
trainer.train = lambda job, tried=(): os.kill(os.getpid(), signal.SIGILL)
from pipeline.cli import main
main()
"""


@pytest.mark.ci
def test_a_step_that_a_signal_ends_is_named(fresh):
    """As on a CPU that does not run an instruction that it lists."""
    done = _run_by(DIES, fresh)
    assert done.returncode == 1
    assert "Trainer: its process was ended by SIGILL" in done.stderr
    assert "training.precision=float32" in done.stderr
    assert "Traceback" not in done.stderr
    assert _states(fresh)["Trainer"] == "failed"
    assert fresh.versions() == []
    status = json.loads(fresh.call("status", "--json").stdout)
    assert [run["state"] for run in status["runs"]] == ["failed"]


CHECK_DIES = """
import os, pathlib, signal, sys, time, types
from components.serving_check import component
workspace = pathlib.Path(sys.argv[sys.argv.index("--workspace") + 1])
def die(*arguments, **others):
    while not list(workspace.glob("pipeline_root/QualityEvaluator/*/*")):
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)
component.subprocess = types.SimpleNamespace(run=die)
from pipeline.cli import main
main()
"""


@pytest.mark.ci
def test_what_ran_beside_a_step_that_died_is_kept(fresh):
    done = _run_by(CHECK_DIES, fresh)
    assert done.returncode == 1
    assert "ServingCheck: its process was ended by SIGKILL" in done.stderr
    assert "QualityEvaluator: runs to its end, and is kept." in done.stderr
    states = _states(fresh)
    assert (states["ServingCheck"], states["QualityEvaluator"]) == ("failed", "done")
    assert "AtomicPusher" not in states
    assert fresh.versions() == []
    again = fresh.run()
    assert again.returncode == 0, again.stderr[-4000:]
    states = _states(fresh)
    assert (states["ServingCheck"], states["QualityEvaluator"]) == ("done", "cached")
    assert fresh.summary()["outcome"] == "pushed"


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_killed_in_any_step(fresh, step):
    fresh.run_killed_in(step)
    done = fresh.run()
    assert done.returncode == 0, done.stderr[-4000:]
    states = _states(fresh)
    assert {states[name] for name in STEPS[: STEPS.index(step)]} <= {"cached"}
    pushed_before = STEPS.index(step) > STEPS.index("AtomicPusher")
    assert fresh.summary()["outcome"] == ("unchanged" if pushed_before else "pushed")
    assert len(fresh.versions()) == 1


def test_a_second_run_in_one_workspace_is_refused(fresh):
    with Workspace(fresh.workspace).lock():
        done = fresh.run()
    assert done.returncode == 1
    assert "another run" in done.stderr
    assert "--workspace" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_truncated_file_stops_the_run_before_training(fresh, data, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(data, broken)
    (file,) = (broken / "train").glob("*.csv")
    whole = gzip.compress(file.read_bytes())
    (broken / "train" / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    done = Denoise(fresh.workspace, broken).run()
    assert done.returncode == 1
    assert "cut.csv.gz" in done.stderr
    log = fresh.workspace / "logs" / "run.log"
    assert done.stderr.endswith(f"The whole log: {log}\n")
    assert "DataError" in log.read_text()
    assert "Traceback" not in done.stderr
    # The schema is written beside it.
    assert _states(fresh) == {"CsvIngestion": "failed", "ImportSchemaGen": "done"}
    assert fresh.versions() == []


def test_bad_rows_are_set_aside_up_to_the_limit(fresh, data, tmp_path):
    dirty = tmp_path / "dirty"
    shutil.copytree(data, dirty)
    (file,) = (dirty / "train").glob("*.csv")
    with open(file, "a") as stream:
        stream.write("3,1,2\n")
    done = Denoise(fresh.workspace, dirty).run()
    assert done.returncode == 1
    assert f"{file.name}, line {len(file.read_text().splitlines())}" in done.stderr
    assert "data.max_bad_rows" in done.stderr


def test_data_of_another_kind_is_an_anomaly(fresh, data, tmp_path):
    """All test images black: the split is readable, but not like train."""
    drifted = tmp_path / "drifted"
    shutil.copytree(data, drifted)
    (file,) = (drifted / "test").glob("*.csv")
    header, *rows = file.read_text().splitlines()
    blackened = [row.split(",")[0] + ",0" * 784 for row in rows]
    file.write_text("\n".join([header, *blackened]) + "\n")
    done = Denoise(fresh.workspace, drifted).run()
    assert done.returncode == 1
    assert "AnomalyGate" in done.stderr
    assert "split test against train, feature image" in done.stderr
    assert "Traceback" not in done.stderr
    assert _states(fresh)["AnomalyGate"] == "failed"
    assert "Trainer" not in _states(fresh)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "training.epochs=none"), "training.epochs"),
        (("--set", "training.epoch=3"), "training.epoch"),
        (("--set", "epochs"), "section.field=value"),
        (("--preset", "nosuch"), "there is no such preset"),
        (("--set", "noise.training='fog(0.1)'"), "fog"),
        (("--set", "model.name=resnet"), "resnet"),
    ],
)
def test_wrong_settings_end_with_status_2_before_anything_runs(fresh, arguments, message):
    done = fresh.call("run", "--data", str(fresh.data), *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (fresh.workspace / "metadata.sqlite").exists()


def test_a_folder_without_data_is_named(fresh, tmp_path):
    done = Denoise(fresh.workspace, tmp_path).run()
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert "train/*.csv" in done.stderr
