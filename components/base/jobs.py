"""Beam pipelines run to their end, in this process or by a job server.

A worker's error arrives as it would in this process, and a job that nobody waits for any more is
cancelled: `running` sees to both, on every runner.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.portability.portable_runner import TERMINAL_STATES
from tfx import types
from tfx.dsl.components.base import base_beam_executor, base_executor
from tfx.dsl.io import fileio

from components.base.errors import DenoiseError, RunError, UsageError

JOB_FILE = "job.json"
"""Names the job that a step waits for, in the step's folder."""

_LOGGER = logging.getLogger(__name__)
_ANSWER_SECONDS = 10.0
"""How long a job server may take to answer."""
_STEP_NOTE = re.compile(r" \[while running '[^']*'\]")
"""What Beam adds to the message of an exception."""
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
"""How Flink, Spark and Beam say that a worker is gone."""
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
    options = PipelineOptions(list(args))
    endpoint = options.view_as(PortableOptions).job_endpoint
    if endpoint == "embed":
        endpoint = None
    if endpoint:
        check(endpoint)
        if record and (message := cancel_left(record)):
            _LOGGER.warning(message)
    pipeline = beam.Pipeline(options=options)
    yield pipeline
    try:
        result = pipeline.run()
        with _waiting(result, endpoint, record):
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


def cancel_left(record: str) -> str:
    """Cancels the job of an earlier run that was killed.

    Args:
      record: The file that `running` wrote; it is removed.

    Returns:
      What a person should know of it; empty if the job has ended, or there was none.
    """
    if not fileio.exists(record):
        return ""
    with fileio.open(record, "r") as file:
        left = json.loads(file.read())
    job, endpoint = left["job"], left["endpoint"]
    message = ""
    with _service(endpoint) as service:
        try:
            event = service.GetState(
                beam_job_api_pb2.GetJobStateRequest(job_id=job), timeout=_ANSWER_SECONDS
            )
            if event.state not in TERMINAL_STATES:
                service.Cancel(
                    beam_job_api_pb2.CancelJobRequest(job_id=job), timeout=_ANSWER_SECONDS
                )
                message = (
                    f"job {job} of an earlier run that was killed still ran on {endpoint}; it is "
                    "cancelled."
                )
        except grpc.RpcError as error:
            # Another code says that the job server no longer knows the job.
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                message = (
                    f"an earlier run was killed and left job {job} to {endpoint}, which does not "
                    "answer. If it still runs, cancel it there: nobody waits for its results."
                )
    fileio.remove(record)
    return message


@contextlib.contextmanager
def _waiting(result: Any, endpoint: str | None, record: str | None) -> Iterator[None]:
    """Keeps the record while the block waits; cancels the job when the waiting is broken off."""
    if not endpoint:
        record = None
    if record:
        fileio.makedirs(os.path.dirname(record))
        with fileio.open(record, "w") as file:
            file.write(json.dumps({"endpoint": endpoint, "job": result._job_id}))
    try:
        yield
    except Exception as error:
        # A job whose server is gone may go on: its record stays.
        if record and not isinstance(error, grpc.RpcError):
            fileio.remove(record)
        raise
    except BaseException:
        with contextlib.suppress(Exception):
            result.cancel()
            if record:
                fileio.remove(record)
        raise
    if record:
        fileio.remove(record)


@contextlib.contextmanager
def _service(endpoint: str) -> Iterator[Any]:
    with grpc.insecure_channel(endpoint) as channel:
        yield beam_job_api_pb2_grpc.JobServiceStub(channel)


def explained(error: BaseException) -> DenoiseError | None:
    """What went wrong in a pipeline, out of what Beam and the runner made of it.

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
