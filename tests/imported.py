"""What `tests.warm` forks from: importing this imports all that the steps of a run need.

Nothing may be computed here: TensorFlow's threads would not be in the fork.
"""

import gc
import importlib
import os

from components.base import code, libraries

# As in `tests.end_to_end.conftest.environment`, and before TensorFlow looks for devices.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
libraries.spare_processor()
libraries.calm()

for name in (
    *(name for name in code.modules() if name.startswith("components.")),
    "pipeline.runners.local",
    "pipeline.history.status",
    "pipeline.runners.kubeflow.compile",
    "pipeline.runners.kubeflow.container",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "scipy.special",
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
    "tensorflow_transform.beam",
    "tfx.dsl.compiler.compiler",
    "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor",
    "tfx.orchestration.local.runner_utils",
    "tfx.orchestration.portable.launcher",
):
    importlib.import_module(name)

# Of every module, once for all runs.
for name in code.modules():
    if name.startswith("components."):
        code.fingerprint(name)
gc.collect()
gc.freeze()
