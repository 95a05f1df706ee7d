"""The TFX step that tunes: TFX's own Tuner, with an executor that goes on after a kill."""

from __future__ import annotations

from tfx.components.tuner import component
from tfx.dsl.components.base import executor_spec

from components.tuning import executor


class Tuner(component.Tuner):
    """TFX's Tuner; its `tuner_results` also hold every trial with its time and its error."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
