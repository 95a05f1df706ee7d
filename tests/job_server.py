"""A Beam job server in this process, whose workers are in it too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from apache_beam.runners.portability import local_job_service


@contextlib.contextmanager
def running() -> Iterator[local_job_service.LocalJobServicer]:
    """Yields the server; its attribute `endpoint` is where it answers."""
    made = local_job_service.LocalJobServicer()
    made.endpoint = f"localhost:{made.start_grpc_server()}"
    yield made
    made.stop()


def flags(service: local_job_service.LocalJobServicer) -> tuple[str, ...]:
    """Beam's, for jobs of the server."""
    return (
        "--runner=PortableRunner",
        f"--job_endpoint={service.endpoint}",
        "--environment_type=LOOPBACK",
    )


def states(service: local_job_service.LocalJobServicer) -> dict[str, int]:
    """The state of every job, a JobState.Enum."""
    return {job: made.get_state()[0] for job, made in service._jobs.items()}
