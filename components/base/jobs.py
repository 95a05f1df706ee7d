"""Beam pipelines run to their end, in this process or by a job server.

A worker's error arrives as it would in this process, and a job that nobody waits for any more is
cancelled: `running` sees to both, on every runner.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
)
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.portability.portable_runner import TERMINAL_STATES
from tfx import types
from tfx.dsl.components.base import base_beam_executor, base_executor
from tfx.dsl.io import fileio

from components.base.errors import DenoiseError, RunError, UsageError

JOB_FILE = "job.json"
"""Names the job that a step waits for, in the step's folder."""

_View = TypeVar("_View", bound=PipelineOptions)
_LOGGER = logging.getLogger(__name__)
_ANSWER_SECONDS = 10.0
"""Limit for a job server's answer."""
_SUBMISSION_SECONDS = 5.0
"""Limit for a job's way from the job server to Flink; after it nobody waits for the job."""
_FLINK_ENDED = ("FINISHED", "CANCELED", "FAILED")
_STEP_NOTE = re.compile(r" \[while running '[^']*'\]")
"""Text that Beam adds to the message of an exception."""
_TRACEBACK = "Traceback (most recent call last)"
_LOST = re.compile(
    r"TaskManager with id \S+ (?:is no longer reachable|timed out)"
    r"|[Hh]eartbeat of TaskManager with id \S+ timed out"
    r"|Connection unexpectedly closed by remote task manager"
    r"|ExecutorLostFailure"
    r"|SDK [Hh]arness \S+ disconnected"
    r"|Process died with exit code \d+"
    r"|Worker subprocess exited with return code -?\d+"
    r"|CANCELLED: client cancelled"
)
"""Words of Flink, Spark and Beam for a worker that is gone."""
_BUFFERS = "Insufficient number of network buffers"


class BeamExecutor(base_beam_executor.BaseBeamExecutor):
    """A step's executor whose pipeline is `running`.

    TFX's own would pack all of TFX for the workers of each step, in vain: they have it.
    """

    def __init__(self, context: base_executor.BaseExecutor.Context | None = None):
        base_executor.BaseExecutor.__init__(self, context)
        self._beam_pipeline_args = list(getattr(context, "beam_pipeline_args", None) or ())

    def running(self, output: types.Artifact) -> contextlib.AbstractContextManager[beam.Pipeline]:
        """`running` with the step's flags.

        Args:
          output: An output of the step; the job is recorded in the folder of all of its outputs.
        """
        folder = os.path.dirname(os.path.dirname(output.uri.rstrip("/")))
        return running(self._beam_pipeline_args, os.path.join(folder, JOB_FILE))


class _Options(PipelineOptions):
    """Beam's options, which make each view of themselves once.

    Beam looks at them 100 to 500 times in a step, and each time makes a parser and parses its flags
    anew, in a millisecond. A view holds no values of its own, so one is like another.
    """

    def view_as(self, cls: type[_View]) -> _View:
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        view: _View = views[cls]
        return view


@contextlib.contextmanager
def running(args: Sequence[str], record: str | None = None) -> Iterator[beam.Pipeline]:
    """A pipeline that runs to its end when the block is left.

    On KeyboardInterrupt its job is cancelled. While a job server runs it, `record` names it, so
    that it is found after this process was killed: the next call cancels it, and logs so.

    Args:
      args: Beam's flags.
      record: A file to write, local or in an object store; None: no record.

    Raises:
      UsageError: no job server answers at `--job_endpoint`.
      DenoiseError: what a worker raised, with the same message as in this process.
      RunError: another exception in a worker, or a worker was lost.
    """
    options = _Options(list(args))
    endpoint = options.view_as(PortableOptions).job_endpoint
    if endpoint == "embed":
        endpoint = None
    flink = options.view_as(FlinkRunnerOptions).flink_master.rpartition("//")[2]
    if flink.startswith("["):  # "[auto]", "[local]": nobody knows where
        flink = None
    if endpoint:
        check(endpoint)
        if record and (message := cancel_left(record)):
            _LOGGER.warning(message)
    pipeline = beam.Pipeline(options=options)
    yield pipeline
    try:
        result = pipeline.run()
        job = _Job(result._job_id, endpoint, flink) if endpoint else None
        with _waiting(result, job, record):
            result.wait_until_finish()
    except grpc.RpcError as error:
        raise RunError(
            f"--job_endpoint={endpoint}: the job server went away ({error.code().name}). If its "
            "job goes on, the next run cancels it."
        ) from error
    except Exception as error:
        found = explained(error)
        if found is None:
            raise
        raise found from error


def check(endpoint: str) -> None:
    """Asks a job server for its jobs, to know that there is one.

    Args:
      endpoint: HOST:PORT.

    Raises:
      UsageError: it does not answer; names the flag.
    """
    try:
        with _service(endpoint) as service:
            service.GetJobs(beam_job_api_pb2.GetJobsRequest(), timeout=_ANSWER_SECONDS)
    except grpc.RpcError as error:
        raise UsageError(
            f"--job_endpoint={endpoint}: no Beam job server answers there "
            f"({error.code().name}: {error.details()}). Start it, or give the HOST:PORT where it "
            "is (docs/scaling.md)."
        ) from error


@dataclasses.dataclass(frozen=True)
class _Job:
    """A job that a job server was given."""

    id: str
    endpoint: str
    flink: str | None
    """HOST:PORT of Flink itself, where it is known."""

    def cancel(self) -> tuple[str, bool]:
        """Cancels it, unless it has ended.

        Returns:
          What a person should know, if anything; and whether nothing more is to be done.
        """
        try:
            asked = self._cancel_on_job_server()
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return (
                    f"{self.endpoint} does not answer. If job {self.id} still runs, cancel it "
                    "there: nobody waits for its results."
                ), True
            asked = False  # The job server no longer knows it.
        cancelled = f"job {self.id} still ran on {self.endpoint}; it is cancelled."
        if self.flink is None:
            return (
                f"{cancelled} A job server of Flink leaves Flink's own job running all the same: "
                "cancel it on Flink's page, or give --flink_master=HOST:8081 with Beam's flags."
                if asked
                else ""
            ), True
        try:
            found = self._cancel_on_flink(wait=asked)
        except OSError as error:
            return f"--flink_master={self.flink}: cannot cancel job {self.id} there: {error}", True
        return (cancelled if found else ""), found or not asked

    def _cancel_on_job_server(self) -> bool:
        """Cancels the job if it has not ended; returns False if it has."""
        with _service(self.endpoint) as service:
            request = beam_job_api_pb2.GetJobStateRequest(job_id=self.id)
            if service.GetState(request, timeout=_ANSWER_SECONDS).state in TERMINAL_STATES:
                return False
            cancel = beam_job_api_pb2.CancelJobRequest(job_id=self.id)
            service.Cancel(cancel, timeout=_ANSWER_SECONDS)
            return True

    def _cancel_on_flink(self, wait: bool) -> bool:
        """Cancels the job on Flink; returns False if it is not there.

        Beam's job server takes a Cancel, but does not pass it on.

        Args:
          wait: It may not be there yet.
        """
        deadline = time.monotonic() + _SUBMISSION_SECONDS
        while True:
            with urllib.request.urlopen(
                f"http://{self.flink}/jobs/overview", timeout=_ANSWER_SECONDS
            ) as answer:
                jobs = json.load(answer)["jobs"]
            # Beam's job id is the name it gives the job on Flink, and a UUID.
            name = self.id.rpartition("_")[0]
            known = [job for job in jobs if job["name"] == name]
            for job in known:
                if job["state"] not in _FLINK_ENDED:
                    url = f"http://{self.flink}/jobs/{job['jid']}?mode=cancel"
                    request = urllib.request.Request(url, method="PATCH")
                    urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close()
                    return True
            if known or not wait or time.monotonic() > deadline:
                return False
            time.sleep(0.5)


def cancel_left(record: str) -> str:
    """Cancels the job of a step whose process was killed.

    Args:
      record: The file that `running` wrote; it is removed, unless the job is still on its way to
        Flink.

    Returns:
      What a person should know of it; empty if the job has ended, or there was none.
    """
    if not fileio.exists(record):
        return ""
    with fileio.open(record, "r") as file:
        job = _Job(**json.loads(file.read()))
    message, done = job.cancel()
    if done:
        fileio.remove(record)
    return f"A step was killed before its end: {message}" if message else ""


@contextlib.contextmanager
def _waiting(result: Any, job: _Job | None, record: str | None) -> Iterator[None]:
    """Keeps the record while the block waits; cancels the job when the waiting is broken off."""
    if job is None:
        record = None
    if record and job:
        fileio.makedirs(os.path.dirname(record))
        with fileio.open(record, "w") as file:
            file.write(json.dumps(dataclasses.asdict(job)))
    try:
        yield
    except Exception as error:
        # A job whose server is gone may go on: its record stays.
        if record and not isinstance(error, grpc.RpcError):
            fileio.remove(record)
        raise
    except BaseException:
        with contextlib.suppress(Exception):
            _, done = job.cancel() if job else (result.cancel(), True)
            if record and done:
                fileio.remove(record)
        raise
    if record:
        fileio.remove(record)


@contextlib.contextmanager
def _service(endpoint: str) -> Iterator[Any]:
    with grpc.insecure_channel(endpoint) as channel:
        yield beam_job_api_pb2_grpc.JobServiceStub(channel)


def explained(error: BaseException) -> DenoiseError | None:
    """The fault in a pipeline, out of what Beam and the runner made of it.

    Args:
      error: What running the pipeline raised: a worker's own exception if the worker is in this
        process, else a text with its traceback in it.

    Returns:
      None if Beam's error says it best.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DenoiseError):
            return type(cause)(_STEP_NOTE.sub("", str(cause)))
        cause = cause.__cause__ or cause.__context__
    text = str(error)
    ours = _classes()
    raised = re.findall(
        rf"^(?:\w+\.)*({'|'.join(ours)}): (.*?)(?= \[while running '|\n\n|\Z)", text, re.M | re.S
    )
    if raised:
        name, message = raised[-1]
        return ours[name](message)
    lost = _LOST.search(text)
    if lost:
        return RunError(
            f"a Beam worker was lost: {lost[0]}. Nothing half-written is taken for a result: run "
            "again. Flink gives a lost worker's share to another one if its own configuration has "
            "`restart-strategy: {type: fixed-delay}` (docs/scaling.md)."
        )
    if _BUFFERS in text:
        return RunError(
            f"Flink: {_BUFFERS.lower()}. Set `taskmanager.network.sort-shuffle.min-buffers: 16` "
            "in the configuration of its task managers (docs/scaling.md)."
        )
    if _TRACEBACK in text:
        lines = text.rpartition(_TRACEBACK)[2].splitlines()[1:]
        for line in lines:
            if line and not line[0].isspace():
                return RunError(f"a Beam worker raised {_STEP_NOTE.sub('', line)}")
    return None


def _classes() -> dict[str, type[DenoiseError]]:
    """Every error of the project that is loaded, by name."""
    found: dict[str, type[DenoiseError]] = {}
    waiting: list[type[DenoiseError]] = [DenoiseError]
    while waiting:
        each = waiting.pop()
        found[each.__name__] = each
        waiting += each.__subclasses__()
    return found
