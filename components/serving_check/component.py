"""ServingCheck: the exported model must answer, in a process of its own, as the trainer's did.

It emits an InfraBlessing, so Pusher obeys it. TFX's InfraValidator needs the
TF Serving container, and cannot be compiled for Kubeflow.
"""

# The component decorator reads annotations as objects: no `from __future__ import annotations`.
import json
import os
import subprocess
import sys
from typing import Any

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import io_utils, path_utils

from components.base import code as sources
from components.base.settings import Settings
from components.serving_check.result import CHECK_FILE
from components.training.result import REFERENCE_FILE

_BLESSED, _NOT_BLESSED = "INFRA_BLESSED", "INFRA_NOT_BLESSED"


@component
def ServingCheck(  # a component is named as a class
    model: InputArtifact[standard_artifacts.Model],
    model_run: InputArtifact[standard_artifacts.ModelRun],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
    tolerance: Parameter[float],
    examples: Parameter[int],
    code: Parameter[str],
) -> None:
    """Loads the SavedModel in a fresh process, on the CPU, and calls every signature.

    Args:
      model: What Trainer exported.
      model_run: Holds real examples and the trainer's own outputs.
      blessing: Blessed if every signature answered as the trainer did.
      tolerance: Largest difference of an output in [0, 1].
      examples: How many examples to send.
      code: Fingerprint of the code, so that a change of it is not answered from the cache.
    """
    command = [
        sys.executable,
        "-m",
        "components.serving_check.check",
        path_utils.serving_model_path(model.uri),
        os.path.join(model_run.uri, REFERENCE_FILE),
        str(tolerance),
        str(examples),
    ]
    # A GPU's TF32 would differ from the trainer's reference, which is of a CPU.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode == 0:
        result = json.loads(done.stdout.splitlines()[-1])
    else:
        ending = "\n".join(done.stderr.strip().splitlines()[-20:])
        reason = f"the process that loaded the model ended with status {done.returncode}:\n{ending}"
        result = {"failures": [reason], "signatures": {}}
    io_utils.write_string_file(os.path.join(blessing.uri, CHECK_FILE), json.dumps(result, indent=2))
    blessed = not result["failures"]
    io_utils.write_string_file(
        os.path.join(blessing.uri, _BLESSED if blessed else _NOT_BLESSED), ""
    )
    blessing.set_int_custom_property("blessed", int(blessed))


def step(settings: Settings, trainer: Any) -> Any:
    """The serving check, as the DAG has it."""
    return ServingCheck(
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        tolerance=settings.serving.tolerance,
        examples=settings.serving.check_examples,
        code=sources.fingerprint(__name__, plugins=settings.plugins),
    )
