"""Beam: every step's work is spread over the workers, and any engine gives what this process does.

`local` runs the Beam steps in this process and keeps their pipelines; `strict` is an engine that
is not Flink but as strict: Beam's local job service, whose workers are processes of their own
that `denoise beam-worker` starts, each in an empty folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time

import apache_beam as beam
import grpc
import keras
import numpy as np
import psutil
import pytest
import tensorflow as tf
from apache_beam.internal import pickler
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.components.statistics_gen import executor as stock_statistics
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from benchmarks.scale import subject
from components.base import jobs
from components.base.errors import UsageError
from components.base.places import Places
from components.csv_ingestion.ingest import IngestRange
from components.data_validation.statistics import ReadShard
from components.evaluation import executor as evaluation
from components.evaluation import result
from components.export import signatures
from components.transform.executor import TransformShard
from pipeline import dag
from pipeline.commands.beam_worker import beam_worker
from pipeline.config import load
from pipeline.runners import local as local_runner
from tests import clothing
from tests.ports import free_ports

ROOT = pathlib.Path(__file__).parents[2]
STEPS = ("CsvIngestion", "StatisticsGen", "Transform", "QualityEvaluator")
READERS = (IngestRange, ReadShard, TransformShard, evaluation._Measure)
"""What opens the data, by step."""
SPLITS = ("test", "train", "validation")
IMAGE_BYTES = 784


class Recording(FnApiRunner):
    """Runs a pipeline in this process, and keeps it."""

    pipelines: list[beam_runner_api_pb2.Pipeline] = []  # noqa: RUF012

    def run_pipeline(self, pipeline, options):
        Recording.pipelines.append(pipeline.to_runner_api())
        return super().run_pipeline(pipeline, options)


def _run(data: pathlib.Path, folder: pathlib.Path, flags: list[str]) -> pathlib.Path:
    """Every Beam step of the DAG, on a model that returns what it is given."""
    folder.mkdir()
    model = standard_artifacts.Model()
    model.uri = str(folder / "model")
    inputs = keras.Input((28, 28, 1))
    same = keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs))
    signatures.export_servable(
        same, path_utils.serving_model_path(model.uri), (28, 28, 1), np.zeros((2, 784), np.uint8)
    )
    nothing = standard_artifacts.Model()
    nothing.uri = str(folder / "nothing")
    subject.keep(folder, "Trainer", "model", model)
    subject.keep(folder, "PushedModel", "model", nothing)
    for name in STEPS:
        subject.step(name, str(data), str(folder), flags)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return clothing.write_csvs(tmp_path_factory.mktemp("data"), train=120, test=40, files=2)


@pytest.fixture(scope="module")
def local(data, tmp_path_factory):
    Recording.pipelines.clear()
    runner = f"--runner={Recording.__module__}.{Recording.__qualname__}"
    return _run(data, tmp_path_factory.mktemp("local") / "artifacts", [runner])


@pytest.fixture(scope="module")
def pipelines(local):
    return dict(zip(STEPS, Recording.pipelines, strict=True))


@contextlib.contextmanager
def _process(command: list[str], port: int, folder: pathlib.Path):
    """A server in an empty folder that is not ours, once it listens."""
    folder.mkdir()
    with open(folder.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            for _ in range(600):
                assert process.poll() is None, folder.with_suffix(".log").read_text()
                with socket.socket() as probe:
                    if not probe.connect_ex(("localhost", port)):
                        break
                time.sleep(0.2)
            yield process
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """Beam's flags for it."""
    folder = tmp_path_factory.mktemp("strict")
    job_port, pool_port = free_ports(2)
    denoise = pathlib.Path(sys.executable).with_name("denoise")
    service = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"]
    with (
        _process([*service, "--port", str(job_port)], job_port, folder / "service"),
        _process(
            [str(denoise), "beam-worker", "--worker_pool", "--port", str(pool_port)],
            pool_port,
            folder / "pool",
        ),
    ):
        yield [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{job_port}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool_port}",
        ]


def test_a_pool_that_is_stopped_stops_its_workers(tmp_path):
    (port,) = free_ports(1)
    command = [
        sys.executable,
        "-m",
        "pipeline.cli",
        "beam-worker",
        "--worker_pool",
        "--port",
        str(port),
    ]
    with (
        _process(command, port, tmp_path / "pool") as pool,
        grpc.insecure_channel(f"localhost:{port}") as channel,
    ):
        service = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        # It waits for an answer to come from there.
        with socket.create_server(("localhost", 0)) as silent:
            at = endpoints_pb2.ApiServiceDescriptor(url=f"localhost:{silent.getsockname()[1]}")
            service.StartWorker(
                beam_fn_api_pb2.StartWorkerRequest(worker_id="1", provision_endpoint=at)
            )
            (worker,) = psutil.Process(pool.pid).children()
            pool.terminate()
            assert pool.wait(60) == 128 + signal.SIGTERM
            assert not worker.is_running()


def _leaves(pipeline):
    """Transforms that do something by themselves: name, URN, payload, inputs and outputs.

    A Reshuffle is one of them, whatever it is made of.
    """
    found = []
    of_a_reshuffle = set()
    transforms = pipeline.components.transforms
    for transform in transforms.values():
        if transform.spec.urn == common_urns.composites.RESHUFFLE.urn:
            waiting = list(transform.subtransforms)
            while waiting:
                of_a_reshuffle.add(waiting[-1])
                waiting += transforms[waiting.pop()].subtransforms
    for id, transform in transforms.items():
        whole = transform.spec.urn == common_urns.composites.RESHUFFLE.urn
        if id not in of_a_reshuffle and (whole or not transform.subtransforms):
            found.append(transform)
    return found


def _dofn(transform):
    """The DoFn of a ParDo, and its payload; None of another transform."""
    if transform.spec.urn != common_urns.primitives.PAR_DO.urn:
        return None
    payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
    if payload.do_fn.urn != python_urns.PICKLED_DOFN_INFO:
        return None
    return pickler.loads(payload.do_fn.payload)[0], payload


def _upstream(transform, leaves):
    """The transforms from one back to the pipeline's beginning, where each has one input."""
    made = {output: leaf for leaf in leaves for output in leaf.outputs.values()}
    while transform.inputs:
        (taken,) = transform.inputs.values()
        transform = made[taken]
        yield transform


@pytest.mark.parametrize("step", STEPS)
def test_between_an_impulse_and_what_reads_the_data_is_a_reshuffle(pipelines, step):
    leaves = _leaves(pipelines[step])
    readers = [leaf for leaf in leaves if (found := _dofn(leaf)) and isinstance(found[0], READERS)]
    assert len(readers) == 1
    way = list(_upstream(readers[0], leaves))
    assert way[-1].spec.urn == common_urns.primitives.IMPULSE.urn
    urns = [leaf.spec.urn for leaf in way]
    assert common_urns.composites.RESHUFFLE.urn in urns


@pytest.mark.parametrize("step", STEPS)
def test_what_crosses_that_reshuffle_names_the_data_and_holds_none(pipelines, step):
    """All that lies before it is a Create, whose elements are in its payload."""
    leaves = _leaves(pipelines[step])
    (reader,) = (leaf for leaf in leaves if (made := _dofn(leaf)) and isinstance(made[0], READERS))
    before = list(_upstream(reader, leaves))
    names = {leaf.unique_name.partition("/")[0] for leaf in before}
    assert names in ({"Ranges", "Spread"}, {"Shards", "Spread"})
    planned = 6
    assert sum(len(leaf.spec.payload) for leaf in before) < planned * IMAGE_BYTES * 4


@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_read_by_beams_own_sources(pipelines, step):
    """Those read where they split: on Flink all of it in one worker."""
    for leaf in _leaves(pipelines[step]):
        found = _dofn(leaf)
        assert found is None or not found[1].restriction_coder_id, leaf.unique_name


def _examples(folder: pathlib.Path, step: str, output: str) -> dict[str, list[tf.train.Example]]:
    """Examples by the shard's path: a process serialises their features in an order of its own."""
    shards = sorted((folder / step / output).glob("Split-*/*.gz"))
    return {
        str(shard.relative_to(folder)): [
            tf.train.Example.FromString(record)
            for record in tf.data.TFRecordDataset(str(shard), "GZIP").as_numpy_iterator()
        ]
        for shard in shards
    }


def _statistics(
    folder: pathlib.Path, split: str
) -> dict[str, statistics_pb2.FeatureNameStatistics]:
    (file,) = folder.glob(f"Split-{split}/*.pb")
    found = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes())
    (dataset,) = found.datasets
    assert dataset.name == ""
    return {feature.path.step[0]: feature for feature in dataset.features}


def _same_statistics(one: pathlib.Path, other: pathlib.Path) -> None:
    """Equal but for the order of additions."""
    for split in SPLITS:
        expected, found = _statistics(one, split), _statistics(other, split)
        assert set(found) == set(expected) == {"image", "key", "label"}
        for name, feature in found.items():
            if feature.HasField("num_stats"):
                for field in ("mean", "std_dev"):
                    value = getattr(expected[name].num_stats, field)
                    assert getattr(feature.num_stats, field) == pytest.approx(value, rel=1e-12)
                    setattr(feature.num_stats, field, value)
            assert feature == expected[name]


def test_statistics_are_those_of_tfx(local, tmp_path):
    examples = subject.kept(local, "CsvIngestion", "examples")
    made = standard_artifacts.ExampleStatistics()
    made.uri = str(tmp_path)
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=none"]
    )
    stock_statistics.Executor(context).Do(
        {"examples": [examples], "schema": [subject.kept(local, "ImportSchemaGen", "schema")]},
        {"statistics": [made]},
        {},
    )
    _same_statistics(tmp_path, local / "StatisticsGen" / "statistics")
    ours = subject.kept(local, "StatisticsGen", "statistics")
    assert ours.split_names == made.split_names
    assert ours.span == made.span


@pytest.mark.ci
def test_workers_of_a_strict_engine_give_what_this_process_gives(data, local, strict, tmp_path):
    found = _run(data, tmp_path / "artifacts", strict)
    for step, output in (("CsvIngestion", "examples"), ("Transform", "transformed_examples")):
        expected = _examples(local, step, output)
        assert len(expected) == 6
        assert _examples(found, step, output) == expected
    _same_statistics(*(place / "StatisticsGen" / "statistics" for place in (local, found)))
    evaluations = [str(place / "QualityEvaluator" / "evaluation") for place in (local, found)]
    expected, metrics = (result.metrics(evaluation) for evaluation in evaluations)
    assert metrics.keys() == expected.keys()
    for of, figures in metrics.items():
        assert figures == pytest.approx(expected[of], rel=1e-9)
    # As values: dictionaries of the noises' names differ by which batch was the first.
    expected, per_image = (result.per_image(each).to_pylist() for each in evaluations)
    assert per_image == expected
    # Each step's job has ended, and no record of it is left.
    assert not list(found.glob("**/job.json"))


def _where(element: str, file: str) -> None:
    lines = [str(os.getpid()), os.getcwd(), *os.listdir(".")]
    pathlib.Path(file).write_text(json.dumps(lines))


def test_a_worker_stands_in_an_empty_folder_of_its_own(strict, tmp_path):
    found = []
    for number in range(2):
        file = tmp_path / f"{number}.json"
        with jobs.running(strict) as pipeline:
            _ = pipeline | beam.Create(["once"]) | beam.Map(_where, str(file))
        found.append(json.loads(file.read_text()))
    (one, other) = found
    assert len(one) == len(other) == 2, "the folder is not empty"
    assert len({os.getpid(), int(one[0]), int(other[0])}) == 3
    assert len({os.getcwd(), one[1], other[1]}) == 3
    assert not pathlib.Path(one[1]).exists()


def test_a_worker_that_no_runner_called_says_who_calls_it():
    with pytest.raises(UsageError, match="--provision_endpoint"):
        beam_worker()


def _flags(overrides: list[str]) -> dict[str, list[str]]:
    places = Places(data="/d", schema="/s", serving="/v", pipeline_root="/p")
    settings = load("default", overrides)
    workers = local_runner._worker_package(settings.beam.runner)
    found = {}
    for step in dag.build(settings, places, metadata="/m", workers=workers).components:
        spec = step.executor_spec.encode()
        if hasattr(spec, "beam_pipeline_args"):
            found[step.id] = list(spec.beam_pipeline_args)
    return found


def test_runner_and_flags_reach_every_beam_step():
    found = _flags(
        ["beam.runner=PortableRunner", "beam.args=[--job_endpoint=localhost:8099, --parallelism=4]"]
    )
    flags = ["--runner=PortableRunner", "--job_endpoint=localhost:8099", "--parallelism=4"]
    assert found == dict.fromkeys(STEPS, flags)


def test_only_dataflow_gets_a_package_to_install():
    for flags in _flags(["beam.runner=DataflowRunner"]).values():
        assert flags == [f"--setup_file={ROOT / 'setup.py'}", "--runner=DataflowRunner"]
    # The last of two counts.
    own = _flags(["beam={runner: DataflowRunner, args: [--setup_file=mine.py]}"])
    for flags in own.values():
        assert flags[-1] == "--setup_file=mine.py"


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
