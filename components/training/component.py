"""The TFX step that trains: TFX's own Trainer."""

from __future__ import annotations

from typing import Any

from tfx.components.trainer.component import Trainer
from tfx.proto import trainer_pb2

from components.base import code
from components.base.settings import Settings


def step(settings: Settings, transform: Any, start: Any | None, tuner: Any | None) -> Any:
    """The Trainer, as the DAG has it.

    Args:
      settings: The run's.
      transform: Its images are trained on.
      start: WarmStart, which brings the model to start from; None: from new weights.
      tuner: The Tuner, whose best settings are laid over; None: as the settings are.
    """
    return Trainer(
        examples=transform.outputs["transformed_examples"],
        run_fn="components.training.entry.run_fn",
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["validation"]),
        base_model=start.outputs["model"] if start else None,
        hyperparameters=tuner.outputs["best_hyperparameters"] if tuner else None,
        custom_config={
            **settings.sections("image", "noise", "model", "training", "seed", "plugins"),
            "code": code.fingerprint(__name__, plugins=settings.plugins),
        },
    )
