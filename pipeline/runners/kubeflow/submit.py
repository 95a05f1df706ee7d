"""Starts a compiled pipeline through the API of Kubeflow Pipelines."""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import sys
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
    job = f"{name} {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M:%S}"
    # The client prints links to standard output, which belongs to the caller.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            client = kfp.Client(host=endpoint, existing_token=os.environ.get("KFP_TOKEN"))
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
                run = client.wait_for_run_completion(run.run_id, wait_seconds, sleep_duration=1)
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError, TimeoutError) as error:
            reason = getattr(error, "body", None) or error or "no end in time"
            raise RunError(f"--endpoint {endpoint}: {reason}") from error
    result["state"] = run.state
    if wait_seconds is not None and str(run.state).upper() != "SUCCEEDED":
        raise RunError(f"The run ended as {run.state}: {result['url']}")
    return result
