"""KFP's driver: what a task is given (backend/src/v2/driver), and its cache key (cacheutils)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from components.base.errors import RunError
from components.base.files import digest
from pipeline.runners.kubeflow import names
from pipeline.runners.kubeflow.dry_run.state import Artifact, Outputs


class Driver:
    """Resolves the tasks of one run.

    Args:
      spec: The compiled pipeline.
      parameters: Of the run, by name.
      run: Id of the run.
    """

    def __init__(self, spec: Mapping[str, Any], parameters: Mapping[str, Any], run: str):
        self._spec = spec
        self._parameters = parameters
        self._pipeline = spec["pipelineInfo"]["name"]
        self._root = f"{spec['defaultPipelineRoot'].rstrip('/')}/{self._pipeline}/{run}"

    def _component(self, task: str) -> Mapping[str, Any]:
        """The ComponentSpec of a task."""
        return self._spec["components"][self._task(task)["componentRef"]["name"]]

    def container(self, task: str) -> Mapping[str, Any]:
        """The PipelineContainerSpec of a task."""
        label = self._component(task)["executorLabel"]
        return self._spec["deploymentSpec"]["executors"][label]["container"]

    def _task(self, name: str) -> Mapping[str, Any]:
        return self._spec["root"]["dag"]["tasks"][name]

    def executor_input(
        self, task: str, finished: Mapping[str, Outputs], salt: str | None = None
    ) -> dict[str, Any]:
        """The ExecutorInput of a task, as plain values.

        Args:
          task: Its name.
          finished: Outputs of the tasks before it.
          salt: The part of its outputs' URIs that no other task has; default: a fresh one.

        Raises:
          RunError: a parameter has no value, or one of another type.
        """
        root = f"{self._root}/{task}/{salt or uuid.uuid4()}"
        return {"inputs": self._inputs(task, finished), "outputs": self._outputs(task, root)}

    def _inputs(self, task: str, finished: Mapping[str, Outputs]) -> dict[str, Any]:
        given = self._task(task).get("inputs", {})
        declared = self._component(task).get("inputDefinitions", {}).get("parameters", {})
        values = {
            name: self._parameter(task, value, finished)
            for name, value in given.get("parameters", {}).items()
        }
        for name, declaration in declared.items():
            if name not in values:
                raise RunError(f"{task}: the parameter {name} has no value.")
            kind = declaration["parameterType"]
            if not isinstance(values[name], str if kind == "STRING" else (int, float)):
                raise RunError(f"{task}: {name}={values[name]!r} is no {kind}.")
        artifacts = {}
        for name, value in given.get("artifacts", {}).items():
            source = value["taskOutputArtifact"]
            outputs = finished[source["producerTask"]].artifacts
            artifacts[name] = _artifact_list(_known(outputs[source["outputArtifactKey"]]))
        return {"parameterValues": values, "artifacts": artifacts}

    def _parameter(
        self, task: str, given: Mapping[str, Any], finished: Mapping[str, Outputs]
    ) -> Any:
        if "componentInputParameter" in given:
            wanted = given["componentInputParameter"]
            if wanted not in self._parameters:
                raise RunError(f"{task}: the run has no parameter {wanted}.")
            return self._parameters[wanted]
        if "taskOutputParameter" in given:
            source = given["taskOutputParameter"]
            return finished[source["producerTask"]].parameters[source["outputParameterKey"]]
        return given["runtimeValue"]["constant"]

    def _outputs(self, task: str, root: str) -> dict[str, Any]:
        declared = self._component(task).get("outputDefinitions", {})
        artifacts = {**declared.get("artifacts", {}), names.LOGS: _LOGS}
        return {
            "artifacts": {
                name: _artifact_list(
                    {
                        "name": name,
                        "type": declaration["artifactType"],
                        "uri": f"{root}/{name}",
                        **{key: declaration[key] for key in ("metadata",) if key in declaration},
                    }
                )
                for name, declaration in artifacts.items()
            },
            "parameters": {
                name: {"outputFile": f"/tmp/kfp/outputs/{name}"}
                for name in declared.get("parameters", {})
            },
            "outputFile": f"{names.local_path(root, '/')}/output_metadata.json",
        }

    def cache_key(self, task: str, executor_input: Mapping[str, Any]) -> str | None:
        """Key of a task's outputs; None where they are not to be cached."""
        if not self._task(task).get("cachingOptions", {}).get("enableCache"):
            return None
        inputs, outputs = executor_input["inputs"], executor_input["outputs"]
        container = self.container(task)
        decides = [
            self._pipeline,
            inputs["parameterValues"],
            {name: [a["name"] for a in v["artifacts"]] for name, v in inputs["artifacts"].items()},
            {
                name: [{**artifact, "uri": ""} for artifact in v["artifacts"]]
                for name, v in outputs["artifacts"].items()
            },
            self._component(task).get("outputDefinitions", {}).get("parameters", {}),
            container["image"],
            [*container["command"], *container.get("args", [])],
        ]
        return digest(decides)


_LOGS = {"artifactType": {"schemaTitle": "system.Artifact"}}
"""Every task has this output: what its command printed."""


def _artifact_list(artifact: dict[str, Any]) -> dict[str, Any]:
    return {"artifacts": [artifact]}


def _known(artifact: Artifact) -> dict[str, Any]:
    return {
        "name": str(artifact.id),
        # The store does not keep an artifact's schema.
        "type": {"instanceSchema": ""},
        "uri": artifact.uri,
        "metadata": artifact.metadata,
    }
