"""`denoise beam-worker`: a Beam worker without Docker, for clusters such as Flink's.

It follows Beam's container contract (the `boot` program of Beam's own images) as far as a machine
needs that has the project: it asks the provision endpoint what to do, and runs Beam's harness.
It installs nothing.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
from typing import Annotated

import typer

from components.base.errors import UsageError

_SECONDS = 60.0
"""Limit for a runner's word on what is to be done."""
_END_SECONDS = 5.0
"""Limit for the pool's workers to end by themselves; the pool has GRACE (pipeline/stopping.py)."""


def beam_worker(
    id: Annotated[str, typer.Option("--id", help="The worker's id, of the runner.")] = "",
    provision_endpoint: Annotated[
        str, typer.Option("--provision_endpoint", metavar="HOST:PORT", help="Says the rest.")
    ] = "",
    logging_endpoint: Annotated[
        str, typer.Option("--logging_endpoint", metavar="HOST:PORT", help="Takes the log.")
    ] = "",
    control_endpoint: Annotated[
        str, typer.Option("--control_endpoint", metavar="HOST:PORT", help="Gives the work.")
    ] = "",
    artifact_endpoint: Annotated[
        str, typer.Option("--artifact_endpoint", metavar="HOST:PORT", help="Not used.")
    ] = "",
    semi_persist_dir: Annotated[
        pathlib.Path | None,
        typer.Option("--semi_persist_dir", metavar="DIR", help="Where workers keep files."),
    ] = None,
    worker_pool: Annotated[
        bool, typer.Option("--worker_pool", help="Start workers whenever a runner asks for one.")
    ] = False,
    port: Annotated[int, typer.Option("--port", help="Of the pool.")] = 50000,
) -> None:
    """Work for a Beam runner: as its process, container or pool of workers.

    A runner is given the path of `denoise` and calls it with Beam's flags alone, which is this
    command (docs/scaling.md). Each worker stands in an empty folder of its own. A pool listens on
    all interfaces and runs what it is sent: a private network only.

    Example: `denoise beam-worker --worker_pool`, on each machine of a cluster.
    """
    if worker_pool:
        _pool(port)
    elif not id or not provision_endpoint:
        raise UsageError(
            "beam-worker: a Beam runner calls it, with --id and --provision_endpoint. "
            "--worker_pool starts workers for runners that ask for them (docs/scaling.md)."
        )
    else:
        # Whoever starts it may have a pipe for the output that nobody empties.
        os.dup2(2, 1)
        with tempfile.TemporaryDirectory(prefix="denoise-worker-", dir=semi_persist_dir) as folder:
            os.chdir(folder)
            os.environ.update(contract(id, provision_endpoint, logging_endpoint, control_endpoint))
            os.environ["SEMI_PERSISTENT_DIRECTORY"] = folder
            from apache_beam.runners.worker import sdk_worker_main

            try:
                sdk_worker_main.main(None)
            finally:
                os.chdir("/")


def _pool(port: int) -> None:
    import psutil
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    denoise = pathlib.Path(sys.executable).with_name("denoise")
    _, server = BeamFnExternalWorkerPoolServicer.start(
        use_process=True, port=port, container_executable=str(denoise)
    )
    print(f"Workers are started by those who ask at port {port}.", flush=True)
    try:
        server.wait_for_termination()
    finally:
        # Beam's own way, when the interpreter ends, is not come to (pipeline/stopping.py).
        server.stop(None)
        workers = psutil.Process().children()
        for worker in workers:
            worker.terminate()
        for worker in psutil.wait_procs(workers, _END_SECONDS)[1]:
            worker.kill()


def contract(
    worker: str, provision_endpoint: str, logging_endpoint: str = "", control_endpoint: str = ""
) -> dict[str, str]:
    """The environment that Beam's harness reads.

    Args:
      worker: The worker's id.
      provision_endpoint: HOST:PORT of the service that has the pipeline's options.
      logging_endpoint, control_endpoint: HOST:PORT, unless the service says so itself.

    Raises:
      UsageError: nothing answers at the provision endpoint.
    """
    import grpc
    from apache_beam.portability.api import (
        beam_provision_api_pb2,
        beam_provision_api_pb2_grpc,
        endpoints_pb2,
    )
    from google.protobuf import json_format, text_format

    with grpc.insecure_channel(provision_endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        try:
            info = service.GetProvisionInfo(
                beam_provision_api_pb2.GetProvisionInfoRequest(),
                metadata=[("worker_id", worker)],
                timeout=_SECONDS,
                wait_for_ready=True,
            ).info
        except grpc.RpcError as error:
            raise UsageError(
                f"--provision_endpoint={provision_endpoint}: no Beam runner answers there "
                f"({error.code().name}: {error.details()})."
            ) from error

    def endpoint(said: endpoints_pb2.ApiServiceDescriptor, given: str) -> str:
        return text_format.MessageToString(
            said if said.url else endpoints_pb2.ApiServiceDescriptor(url=given)
        )

    environment = {
        "WORKER_ID": worker,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "LOGGING_API_SERVICE_DESCRIPTOR": endpoint(info.logging_endpoint, logging_endpoint),
        "CONTROL_API_SERVICE_DESCRIPTOR": endpoint(info.control_endpoint, control_endpoint),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    if info.status_endpoint.url:
        environment["STATUS_API_SERVICE_DESCRIPTOR"] = endpoint(info.status_endpoint, "")
    return environment
