"""Searches, and writes what was found: the best settings, and every trial."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from tfx import types
from tfx.components.tuner import executor
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_component_specs

from components.base import unfinished
from components.base.errors import RunError
from components.base.files import whole
from components.tuning.trials import TRIALS_FILE


class Executor(base_executor.BaseExecutor):
    """Like TFX's, but trials are kept beside the outputs: a killed search goes on."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `tfx.components.tuner.component.Tuner` for inputs, outputs and parameters.

        Raises:
          RunError: no trial could be trained.
        """
        results = output_dict[standard_component_specs.TUNER_RESULTS_KEY]
        folder = pathlib.Path(os.fspath(artifact_utils.get_single_uri(results)))
        step_folder = folder.parent.parent
        try:
            # Its summaries say less than TRIALS_FILE does.
            tuner = executor.search(
                input_dict,
                exec_properties,
                working_dir=str(step_folder),
                print_tuning_summary=False,
            )
        except RuntimeError as error:
            # keras-tuner gives up after three failed trials in a row; its message ends with
            # the last one's traceback.
            from components.tuning.search import last_line

            raise RunError(
                f"three trials in a row failed, the last with: {last_line(str(error))}"
            ) from error
        found = tuner.found()
        with whole(folder / TRIALS_FILE, "w") as file:
            file.write(found.model_dump_json(indent=2) + "\n")
        executor.write_best_hyperparameters(tuner, output_dict)
        unfinished.done(pathlib.Path(tuner.directory))
