"""One training as a value."""

from __future__ import annotations

import pathlib
from typing import Any

import pydantic

from components.base.errors import UsageError
from components.base.files import digest
from components.base.settings import ImageSettings, ModelSettings, NoiseSettings, TrainingSettings
from components.training import hyperparameters


class Job(pydantic.BaseModel, frozen=True):
    """What is trained, on what, from what, and where the outcome goes."""

    image: ImageSettings
    noise: NoiseSettings
    model: ModelSettings
    training: TrainingSettings
    seed: int
    """Of the weights, the shuffling and the noise."""
    plugins: tuple[str, ...] = ()
    """Modules that register what the settings name."""
    code: str = ""
    """Fingerprint of the code that trains."""
    train_files: tuple[str, ...]
    eval_files: tuple[str, ...]
    """Transformed Examples: paths or glob patterns."""
    start: str | None = None
    """Folder of a SavedModel exported here, whose weights to start from, beside a `start.Start`;
    where nothing was pushed yet it holds no SavedModel."""
    tuned: dict[str, Any] = {}
    """The settings among these, by field, that the Tuner found; only noted."""
    saved_model: str = ""
    """Where the SavedModel goes."""
    run_folder: pathlib.Path
    """Where what is noted of the training goes."""

    @classmethod
    def of(cls, fn_args: Any) -> Job:
        """What TFX's Trainer asks for; `custom_config` holds the sections as plain values.

        What the Tuner found, if it ran, is laid over them.

        Raises:
          UsageError: a warm start in a pipeline that was compiled without one.
        """
        found = (fn_args.hyperparameters or {}).get("values", {})
        tuned = hyperparameters.tuned(found)
        config = hyperparameters.lay_over(fn_args.custom_config, tuned)
        warm = TrainingSettings.model_validate(config["training"]).warm_start
        if warm and fn_args.base_model is None:
            raise UsageError(
                "training.warm_start: this pipeline was compiled without it. Compile it with "
                "--set training.warm_start=true."
            )
        return cls(
            **config,
            train_files=tuple(map(str, fn_args.train_files)),
            eval_files=tuple(map(str, fn_args.eval_files)),
            start=fn_args.base_model if warm else None,
            tuned=tuned,
            saved_model=fn_args.serving_model_dir,
            run_folder=fn_args.model_run_dir,
        )

    @property
    def fingerprint(self) -> str:
        """Fingerprint of everything that decides the result."""
        decides = self.model_dump(mode="json", exclude={"tuned", "saved_model", "run_folder"})
        return digest(decides)

    @property
    def step_folder(self) -> pathlib.Path:
        """The Trainer's folder, which other runs of it have too."""
        return self.run_folder.parent.parent

    def with_training(self, **values: Any) -> Job:
        """The same with other values of the section `training`."""
        return self.model_copy(update={"training": self.training.model_copy(update=values)})
