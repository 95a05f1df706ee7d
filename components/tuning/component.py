"""The TFX step that tunes: TFX's own Tuner, with an executor that goes on after a kill."""

from __future__ import annotations

from typing import Any

from tfx.components.tuner import component
from tfx.dsl.components.base import executor_spec
from tfx.proto import trainer_pb2

from components.base import code
from components.base.settings import Settings
from components.tuning import executor

_NO_TRIAL = {"epochs", "early_stopping_patience", "warm_start"}
"""Fields of `training` that change no trial: how long the Trainer trains, and from what."""


class Tuner(component.Tuner):
    """TFX's Tuner; its `tuner_results` also hold every trial with its time and its error."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)


def step(settings: Settings, transform: Any) -> Any | None:
    """The Tuner, as the DAG has it. None: `tuner.enabled` is not set."""
    if not settings.tuner.enabled:
        return None
    return Tuner(
        examples=transform.outputs["transformed_examples"],
        tuner_fn="components.tuning.entry.tuner_fn",
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["validation"]),
        custom_config={
            **settings.sections("image", "model", "seed", "tuner", "plugins"),
            "noise": settings.noise.model_dump(mode="json", include={"training"}),
            "training": settings.training.model_dump(mode="json", exclude=_NO_TRIAL),
            "code": code.fingerprint(__name__, plugins=settings.plugins),
        },
    )
