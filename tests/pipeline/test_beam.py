"""Beam: the settings reach every Beam step, and its workers get the whole project."""

from __future__ import annotations

import pathlib
import shutil
import socket
import subprocess
import sys
import tarfile
import time

import pytest

from benchmarks.scale import subject
from pipeline import dag
from pipeline.config import load
from tests import clothing
from tests.ports import free_ports

ROOT = pathlib.Path(__file__).parents[2]
BEAM_STEPS = {"CsvIngestion", "StatisticsGen", "Transform", "QualityEvaluator"}


@pytest.fixture(scope="module")
def steps():
    settings = load(
        "default",
        [
            "beam.runner=PortableRunner",
            "beam.args=[--job_endpoint=localhost:8099, --parallelism=4]",
        ],
    )
    places = dag.Places(data="/d", schema="/s", serving="/v", pipeline_root="/p")
    return dag.build(settings, places, metadata="/m").components


def test_runner_and_flags_reach_every_beam_step(steps):
    found = {}
    for step in steps:
        spec = step.executor_spec.encode()
        if hasattr(spec, "beam_pipeline_args"):
            found[step.id] = list(spec.beam_pipeline_args)
    assert set(found) == BEAM_STEPS
    for flags in found.values():
        assert flags == [
            "--runner=PortableRunner",
            "--job_endpoint=localhost:8099",
            "--parallelism=4",
            f"--setup_file={ROOT / 'setup.py'}",
        ]


def test_the_setup_file_packs_all_that_a_worker_imports_and_reads(tmp_path):
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    packages = ("pipeline", "components", "serving")
    for package in packages:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    subprocess.run(
        [sys.executable, "setup.py", "-q", "sdist"], cwd=tmp_path, check=True, capture_output=True
    )
    (archive,) = (tmp_path / "dist").iterdir()
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    for package in packages:
        for suffix in (".py", ".pbtxt", ".j2", ".css", ".js", ".html"):
            for path in (ROOT / package).rglob(f"*{suffix}"):
                assert str(path.relative_to(ROOT)) in names
    assert "pipeline/presets/default.yaml" in names


@pytest.mark.slow
def test_the_portable_runner_runs_the_steps(tmp_path):
    """As on Flink or Spark, with the job service that comes with Beam in their place."""
    data = clothing.write_csvs(tmp_path / "data", train=60, test=20)
    (port,) = free_ports(1)
    module = "apache_beam.runners.portability.local_job_service_main"
    service = subprocess.Popen([sys.executable, "-m", module, "--port", str(port)])
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if not probe.connect_ex(("localhost", port)):
                    break
            time.sleep(0.2)
        flags = [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{port}",
            "--environment_type=LOOPBACK",
        ]
        (tmp_path / "artifacts").mkdir()
        for name in subject.STEPS:
            subject.step(name, str(data), str(tmp_path / "artifacts"), flags)
    finally:
        service.terminate()
        service.wait()
    written = tmp_path / "artifacts" / "Transform" / "transformed_examples"
    assert len(list(written.glob("Split-*/*.gz"))) == 3
