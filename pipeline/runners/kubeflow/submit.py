"""Starts a compiled pipeline through the API of Kubeflow Pipelines."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

from components.base.errors import RunError
from pipeline.runners.kubeflow.file import read
from pipeline.runners.kubeflow.parameters import runtime_parameters


def submit(
    path: pathlib.Path,
    endpoint: str,
    parameters: Mapping[str, str],
    experiment: str,
    wait_seconds: float | None,
    cron: str | None = None,
) -> dict[str, Any]:
    """Uploads a compiled pipeline and starts it.

    A pipeline of that name gets a new version. A token, where the endpoint asks for one, comes
    from the environment variable KFP_TOKEN.

    Args:
      path: The compiled pipeline.
      endpoint: URL of KFP's API.
      parameters: Of the run.
      experiment: Made if it is missing.
      wait_seconds: How long to wait for the end; None: not at all.
      cron: Start it again and again: six fields, seconds first, as KFP has them.

    Returns:
      `pipeline_id`, `version_id`, `run_id` or `recurring_run_id`, `url`, and `state` as far as
      it was waited for.

    Raises:
      RunError: the endpoint does not answer or refuses, or the run did not succeed.
    """
    import kfp
    import kfp_server_api
    import urllib3

    spec = read(path)
    name = spec["pipelineInfo"]["name"]
    values = runtime_parameters(spec, parameters)
    # Of a version, too: KFP may keep it as a Kubernetes resource, whose names are lower case.
    job = f"{name}-{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S}"
    token = os.environ.get("KFP_TOKEN")
    # The client prints links to standard output, which belongs to the caller.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            _ask_health(endpoint, token)
            client = kfp.Client(host=endpoint, existing_token=token)
            pipeline_id = client.get_pipeline_id(name)
            if pipeline_id is None:
                pipeline_id = client.upload_pipeline(str(path), pipeline_name=name).pipeline_id
                versions = client.list_pipeline_versions(pipeline_id, page_size=1)
                version_id = versions.pipeline_versions[0].pipeline_version_id
            else:
                version_id = client.upload_pipeline_version(
                    str(path), pipeline_version_name=job, pipeline_id=pipeline_id
                ).pipeline_version_id
            experiment_id = client.create_experiment(experiment).experiment_id
            common = {
                "pipeline_id": pipeline_id,
                "version_id": version_id,
                "params": values,
                "pipeline_root": spec.get("defaultPipelineRoot"),
            }
            result: dict[str, Any] = {"pipeline_id": pipeline_id, "version_id": version_id}
            if cron:
                recurring = client.create_recurring_run(
                    experiment_id, job, cron_expression=cron, no_catchup=True, **common
                )
                return result | {"recurring_run_id": recurring.recurring_run_id}
            run = client.run_pipeline(experiment_id, job, **common)
            result |= {
                "run_id": run.run_id,
                "url": f"{endpoint.rstrip('/')}/#/runs/details/{run.run_id}",
            }
            if wait_seconds is not None:
                run = _wait(client, run.run_id, wait_seconds)
        except kfp_server_api.ApiException as error:
            if error.status in (401, 403):
                raise RunError(
                    f"--endpoint {endpoint}: refused with status {error.status}. Set KFP_TOKEN to "
                    "a bearer token that is valid, and may start runs there."
                ) from error
            raise RunError(f"--endpoint {endpoint}: {error.body or error}") from error
        except urllib3.exceptions.HTTPError as error:
            raise RunError(f"--endpoint {endpoint}: {error}") from error
    result["state"] = run.state
    if wait_seconds is not None and run.state not in _FINISHED:
        raise RunError(
            f"The run is {run.state} after {wait_seconds:g} seconds (--wait), and goes on: "
            f"{result['url']}"
        )
    if wait_seconds is not None and run.state != "SUCCEEDED":
        raise RunError(f"The run ended as {run.state}: {result['url']}")
    return result


_FINISHED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
"""The states of V2beta1RuntimeState that do not change any more."""
_POLL_SECONDS = 1.0


def _wait(client: Any, run_id: str, seconds: float) -> Any:
    """The run as it ended, or as it is after so long; the SDK's own waiting knows no CANCELED."""
    deadline = time.monotonic() + seconds
    run = client.get_run(run_id)
    while run.state not in _FINISHED and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        run = client.get_run(run_id)
    return run


def _ask_health(endpoint: str, token: str | None) -> None:
    """Asks once whether KFP's API is there: the SDK asks five times, and says not what is wrong.

    Raises:
      RunError: something else answers, such as a login page.
    """
    import kfp_server_api

    url = f"{endpoint.rstrip('/')}/apis/v2beta1/healthz"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    client = kfp_server_api.ApiClient(kfp_server_api.Configuration(host=endpoint))
    answer = client.rest_client.GET(url, headers=headers, _request_timeout=_HEALTH_SECONDS)
    try:
        json.loads(answer.data)
    except ValueError as error:
        raise RunError(
            f"--endpoint {endpoint}: {url} answers with a page, not with KFP's API. If it is a "
            "login page, set KFP_TOKEN to a bearer token, or forward the port of the API itself."
        ) from error


_HEALTH_SECONDS = 30
