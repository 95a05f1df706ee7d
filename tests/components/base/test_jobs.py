"""Pipelines that go wrong, in a worker or at a job server: what is said, and what is cancelled."""

from __future__ import annotations

import contextlib
import copy
import http.server
import json
import os
import pickle
import signal
import socket
import threading
import time
from collections import Counter

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    TypeOptions,
)
from apache_beam.portability.api import beam_job_api_pb2

from components.base import jobs, shards
from components.base.errors import DataError, RunError, UsageError
from tests import job_server
from tests.job_server import states
from tests.ports import free_ports

LOCAL = ("--runner=FnApiRunner",)


@pytest.fixture(scope="module")
def service():
    with job_server.running() as made:
        yield made


@pytest.fixture
def served(service):
    """Flags of a job server's jobs."""
    return job_server.flags(service)


def _count(shard: str) -> int:
    return sum(int(tf.shape(batch)[0]) for batch in shards.batches(shard, 10))


def _no_shard(shard: str) -> int:
    raise KeyError(f"no {shard}")


def _wait(path: str) -> None:
    """Says that it was begun, and takes a while."""
    with open(path, "w"):
        time.sleep(20)


def run(args, function, element, record=None):
    with jobs.running(args, record) as pipeline:
        _ = pipeline | beam.Create([element]) | beam.Reshuffle() | beam.Map(function)


def test_an_error_of_the_data_is_told_by_a_worker_as_in_this_process(served, tmp_path):
    file = tmp_path / "shard.gz"
    shard = str(file)
    with tf.io.TFRecordWriter(shard, "GZIP") as writer:
        # The same bytes each time: a cut just between two records would be a whole, shorter file.
        random = np.random.default_rng(5)
        for _ in range(1000):
            writer.write(random.bytes(100))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    messages = []
    for args in (LOCAL, served):
        with pytest.raises(DataError) as raised:
            run(args, _count, shard)
        messages.append(str(raised.value))
    assert messages[0].startswith(f"{shard} cannot be read to its end: ")
    assert messages[0].endswith("it is damaged or was removed since.")
    assert messages[0] == messages[1]


def test_a_fault_of_ours_in_a_worker_keeps_its_name_and_message(served):
    with pytest.raises(RunError, match=r"a Beam worker raised KeyError: ['\"]+no such"):
        run(served, _no_shard, "such")


DATA_ERROR = """java.lang.RuntimeException: Error received from SDK harness for instruction 4: \
Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1498, in apache_beam.runners.common.DoFnRunner.process
components.base.errors.DataError: /data/train/a.csv, line 7: bad row:
  784 pixels expected, 3 found

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/opt/apache_beam/runners/worker/sdk_worker.py", line 312, in _execute
    response = task()
components.base.errors.DataError: /data/train/a.csv, line 7: bad row:
  784 pixels expected, 3 found [while running 'Read-ptransform-32']

\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient.onNext(FnApiControlClient.java)
"""
LOST = """org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTime\
Strategy
Caused by: java.util.concurrent.TimeoutException: TaskManager with id tm-2 is no longer reachable.
"""


def test_what_flink_wraps_around_an_error_is_taken_off():
    found = jobs.explained(RuntimeError(DATA_ERROR))
    assert isinstance(found, DataError)
    assert str(found) == ("/data/train/a.csv, line 7: bad row:\n  784 pixels expected, 3 found")


@pytest.mark.parametrize(
    ("text", "cause", "cure"),
    [
        (LOST, "TaskManager with id tm-2 is no longer reachable", "restart-strategy"),
        ("java.io.IOException: Process died with exit code 137", "exit code 137", "run again"),
        (
            "java.io.IOException: Insufficient number of network buffers: required 512",
            "network buffers",
            "taskmanager.network.sort-shuffle.min-buffers",
        ),
    ],
)
def test_a_fault_of_the_cluster_is_told_with_the_setting_that_cures_it(text, cause, cure):
    found = jobs.explained(RuntimeError(text))
    assert type(found) is RunError
    assert cause in str(found)
    assert cure in str(found)


def test_other_errors_stay_as_they_are():
    assert jobs.explained(RuntimeError("Pipeline failed in state FAILED")) is None


def test_nothing_at_the_job_endpoint_ends_at_once_and_names_the_flag():
    (port,) = free_ports(1)
    started = time.monotonic()
    with pytest.raises(UsageError, match=rf"--job_endpoint=localhost:{port}: no Beam job server"):
        run(("--runner=PortableRunner", f"--job_endpoint=localhost:{port}"), str, "element")
    assert time.monotonic() - started < 5


def test_something_else_at_the_job_endpoint_ends_within_seconds_too(monkeypatch):
    monkeypatch.setattr(jobs, "_ANSWER_SECONDS", 1.0)
    with socket.create_server(("localhost", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(UsageError, match=f"--job_endpoint=localhost:{port}.*DEADLINE_EXCEEDED"):
            jobs.check(f"localhost:{port}")


def _once_begun(file, do) -> threading.Thread:
    def wait() -> None:
        while not file.exists():
            time.sleep(0.05)
        do()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.fixture
def interruptible():
    """A shell's & has SIGINT ignored."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_run_cancels_its_job(service, served, tmp_path):
    before = set(states(service))
    begun, record = tmp_path / "begun", tmp_path / "Step" / "job.json"
    seen = []

    def interrupt() -> None:
        seen.append(json.loads(record.read_text()))
        os.kill(os.getpid(), signal.SIGINT)

    thread = _once_begun(begun, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(served, _wait, str(begun), str(record))
    thread.join()
    (job,) = set(states(service)) - before
    assert seen == [{"id": job, "endpoint": service.endpoint, "flink": None}]
    assert states(service)[job] == beam_job_api_pb2.JobState.CANCELLED
    assert not record.exists()


def test_the_job_of_a_run_that_was_killed_is_cancelled_by_the_next_one(
    service, served, tmp_path, caplog
):
    before = set(states(service))
    begun, record = tmp_path / "begun", tmp_path / "job.json"
    killed = beam.Pipeline(argv=list(served))
    _ = killed | beam.Create([str(begun)]) | beam.Map(_wait)
    killed.run()
    (job,) = set(states(service)) - before
    record.write_text(json.dumps({"id": job, "endpoint": service.endpoint, "flink": None}))
    with caplog.at_level("WARNING", jobs.__name__):
        run(served, str, "element", str(record))
    assert states(service)[job] == beam_job_api_pb2.JobState.CANCELLED
    assert f"A step was killed before its end: job {job} still ran" in caplog.text
    assert not record.exists()


@pytest.mark.parametrize("state", ["unknown", "unreachable"])
def test_a_job_that_cannot_be_cancelled_keeps_nobody_from_running(service, tmp_path, state):
    endpoint = service.endpoint if state == "unknown" else f"localhost:{free_ports(1)[0]}"
    record = tmp_path / "job.json"
    record.write_text(json.dumps({"id": "job-1", "endpoint": endpoint, "flink": None}))
    message = jobs.cancel_left(str(record))
    assert not record.exists()
    assert ("does not answer" in message) == (state == "unreachable")


class _Flink(http.server.BaseHTTPRequestHandler):
    """What Flink's REST API answers for jobs; a job is known from the second question on."""

    def do_GET(self):
        assert self.path == "/jobs/overview"
        self.server.asked += 1
        jobs = [{"jid": "f0", "name": "BeamApp-a", "state": "FINISHED"}]
        if self.server.asked > 1:
            jobs.append({"jid": "f1", "name": "BeamApp-b", "state": "RUNNING"})
        self._answer(json.dumps({"jobs": jobs}).encode())

    def do_PATCH(self):
        self.server.cancelled.append(self.path)
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(("job", "cancelled"), [("a", []), ("b", ["/jobs/f1?mode=cancel"])])
def test_flink_is_told_itself_since_beams_job_server_does_not_pass_it_on(
    service, tmp_path, monkeypatch, job, cancelled
):
    monkeypatch.setattr(jobs._Job, "_cancel_on_job_server", lambda self: True)
    record = tmp_path / "job.json"
    with http.server.ThreadingHTTPServer(("localhost", 0), _Flink) as flink:
        flink.asked, flink.cancelled = 0, []
        threading.Thread(target=flink.serve_forever, daemon=True).start()
        master = f"localhost:{flink.server_port}"
        left = {"id": f"BeamApp-{job}_0-1-2", "endpoint": service.endpoint, "flink": master}
        record.write_text(json.dumps(left))
        message = jobs.cancel_left(str(record))
        flink.shutdown()
    assert flink.cancelled == cancelled
    assert ("it is cancelled" in message) == bool(cancelled)
    # Of one that the job server took and Flink ended, nothing is known: the next run asks again.
    assert record.exists() == (not cancelled)


def test_a_step_in_this_process_leaves_no_record(tmp_path):
    record = tmp_path / "Step" / "job.json"
    run(LOCAL, str, "element", str(record))
    with contextlib.suppress(FileNotFoundError):
        assert not os.listdir(record.parent)


FLAGS = ["--direct_num_workers=3", "--job_endpoint=embed", "--experiments=one"]


def test_options_are_seen_alike_in_every_view_and_read_by_each_but_once(monkeypatch):
    options = jobs._Options(FLAGS)
    direct = options.view_as(DirectOptions)
    assert direct.direct_num_workers == 3
    direct.direct_num_workers = 7
    assert options.view_as(PortableOptions).view_as(DirectOptions).direct_num_workers == 7
    copied = copy.deepcopy(options)
    copied.view_as(DirectOptions).direct_num_workers = 5
    copied.view_as(DebugOptions).experiments.append("two")
    assert direct.direct_num_workers == 7
    assert options.view_as(DebugOptions).experiments == ["one"]
    assert copied.get_all_options() == {
        **PipelineOptions(FLAGS).get_all_options(),
        "direct_num_workers": 5,
        "experiments": ["one", "two"],
    }
    assert pickle.loads(pickle.dumps(copied)).get_all_options() == copied.get_all_options()
    monkeypatch.setattr(PipelineOptions, "__init__", None)
    assert options.view_as(DirectOptions) is direct


def test_a_pipeline_reads_its_flags_once_for_each_view(monkeypatch):
    parsed = Counter()
    parse = PipelineOptions.__init__

    def counted(self, *arguments, **others):
        parsed[type(self)] += 1
        parse(self, *arguments, **others)

    monkeypatch.setattr(PipelineOptions, "__init__", counted)
    with jobs.running([]) as pipeline:
        for number in range(20):
            _ = pipeline | str(number) >> beam.Create([number]) | f"map {number}" >> beam.Map(str)
    assert parsed[TypeOptions] <= 3
