"""The search: keras-tuner proposes settings, the project's recipe trains with them.

A trial is a short training of its own, with a whole learning rate schedule, from the same
weights, on the same images in the same order and the same noise as every other one: trials
differ in their settings alone. It is scored on the validation split, never on test images.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine import base_tuner
from sklearn.exceptions import ConvergenceWarning
from tfx.components.tuner.component import TunerFnResult

from components import models
from components.base import plugins, progress, unfinished
from components.base.errors import ModelError, RunError, UsageError
from components.base.files import digest
from components.base.settings import Search, TrainingSettings, TunerSettings
from components.training import precision, recipe
from components.training.callbacks import Finite, Progress
from components.training.hyperparameters import encode, lay_over, tuned
from components.training.images import Images, gpus
from components.training.job import Job
from components.tuning.trials import Trial, Tuning

OBJECTIVE = "val_psnr"
SECONDS = "seconds"
_EPOCHS = "tuner/epochs"
"""Hyperband's name for the number of epochs of a trial."""
_LOG = logging.getLogger(__name__)
_PARTS = 1000
"""Parts a trial is divided into for the progress shown."""


def space(search: Mapping[str, Search], given: Mapping[str, Any]) -> tuple[Any, bool]:
    """The search space as keras-tuner's HyperParameters.

    Args:
      search: What to try, by field.
      given: The settings' own values of these fields, which become the defaults.

    Returns:
      The space, and whether it holds the settings' own values.
    """
    hyperparameters = keras_tuner.HyperParameters()
    holds_given = True
    for field, values in search.items():
        own = given[field]
        if values.choices is not None:
            choices: list[Any] = [encode(choice) for choice in values.choices]
            if len({type(choice) for choice in choices}) > 1:
                # keras-tuner takes choices of one type only.
                choices = [json.dumps(choice) for choice in values.choices]
                own = json.dumps(own)
            own = own if own in choices else encode(own)
            holds = own in choices
            hyperparameters.Choice(field, choices, default=own if holds else None)
        else:
            assert values.min is not None
            assert values.max is not None
            integers = isinstance(values.min, int) and isinstance(values.max, int)
            kind = hyperparameters.Int if integers else hyperparameters.Float
            holds = isinstance(own, (int, float)) and values.min <= own <= values.max
            kind(
                field,
                min_value=values.min,
                max_value=values.max,
                sampling=values.sampling,
                default=own if holds else None,
            )
        holds_given = holds_given and holds
    return hyperparameters, holds_given


class _GivenFirst:
    """Mixed into an oracle: the first trial has the settings as they are.

    So what is found is no worse than what was given, as far as such short trials can tell.
    """

    first: dict[str, Any] | None = None

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self.first is not None and not self.trials:  # type: ignore[attr-defined]
            return {"status": "RUNNING", "values": dict(self.first)}
        return super().populate_space(trial_id)  # type: ignore[misc]


class _Random(_GivenFirst, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class _Bayesian(_GivenFirst, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimisation with a Gaussian process."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            # How well the process fits a handful of trials is nothing a user could act on.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super().populate_space(trial_id)


def oracle(settings: TunerSettings, given: Mapping[str, Any]) -> Any:
    """keras-tuner's algorithm over the search space.

    Args:
      settings: The section `tuner`.
      given: The settings' own values of the search space's fields.
    """
    hyperparameters, holds_given = space(settings.search_space, given)
    common = {
        "objective": keras_tuner.Objective(OBJECTIVE, "max"),
        "hyperparameters": hyperparameters,
        "seed": settings.seed,
        "allow_new_entries": False,
        "tune_new_entries": False,
    }
    if settings.algorithm == "hyperband":
        return keras_tuner.oracles.HyperbandOracle(max_epochs=settings.epochs, **common)
    if settings.algorithm == "random":
        made = _Random(max_trials=settings.trials, **common)
    else:
        # A third at random, the rest where the Gaussian process expects more.
        made = _Bayesian(
            max_trials=settings.trials,
            num_initial_points=max(2, settings.trials // 3),
            **common,
        )
    if holds_given:
        made.first = dict(hyperparameters.values)
    return made


def last_line(message: str) -> str:
    """The last line of a traceback, without keras-tuner's own wrapping."""
    return message.strip().splitlines()[-1].rpartition("FailedTrialError: ")[2]


class Trials(base_tuner.BaseTuner):
    """Runs the trials an oracle proposes, one after the other.

    Args:
      oracle: See `oracle`.
      folder: Where trials are kept: a search in the folder of a killed one goes on with it.
      train: Trains with settings by field, for a number of epochs, and tells how far it is;
        returns the validation PSNR in dB.
      settings: The section `tuner`.
      images: Training images of a trial.
    """

    def __init__(
        self,
        oracle: Any,
        folder: pathlib.Path,
        train: Callable[[dict[str, Any], int, Callable[[float], None]], float],
        settings: TunerSettings,
        images: int,
    ):
        self._train, self._settings, self._images = train, settings, images
        super().__init__(oracle, directory=str(folder), project_name="trials")

    def _epochs(self, values: Mapping[str, Any]) -> int:
        return int(values.get(_EPOCHS, self._settings.epochs))

    def run_trial(self, trial: Any, *_: Any, **__: Any) -> dict[str, float]:
        """Trains with a trial's settings."""
        values = trial.hyperparameters.values
        number = len(self.oracle.trials)
        best = max((done.score for done in self.oracle.trials.values() if done.score), default=None)
        total = None if self._settings.algorithm == "hyperband" else self._settings.trials
        so_far = "" if best is None else f", best validation {best:.2f} dB"

        def tell(share: float) -> None:
            progress.tell(
                "tune",
                int(_PARTS * (number - 1 + share)),
                total and _PARTS * total,
                f"trial {number}{f'/{total}' if total else ''}{so_far}",
            )

        started = time.perf_counter()
        try:
            psnr = self._train(tuned(values), self._epochs(values), tell)
        except (UsageError, ModelError) as error:
            # Settings that do not go together, or lead nowhere: not to be tried again.
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        return {OBJECTIVE: psnr, SECONDS: time.perf_counter() - started}

    def found(self) -> Tuning:
        """Every trial, and which was best.

        Raises:
          RunError: none could be trained.
        """
        trials = []
        scores = {}
        for number, name in enumerate(self.oracle.start_order, start=1):
            trial = self.oracle.trials[name]
            values = trial.hyperparameters.values
            done = trial.status == "COMPLETED"
            if done:
                scores[number] = trial.score
            trials.append(
                Trial(
                    number=number,
                    settings=tuned(values),
                    epochs=self._epochs(values),
                    psnr=trial.score if done else None,
                    seconds=trial.metrics.get_last_value(SECONDS) if done else None,
                    error=None if done else last_line(trial.message or trial.status),
                )
            )
        if not scores:
            raise RunError(f"no trial could be trained, the last ended with {trials[-1].error}")
        return Tuning(
            algorithm=self._settings.algorithm,
            images=self._images,
            trials=trials,
            best=max(scores, key=lambda number: scores[number]),
        )


def _given(sections: Mapping[str, Any], fields: Mapping[str, Search]) -> dict[str, Any]:
    """The settings' own value of each field."""
    architecture = models.MODELS[sections["model"]["name"]]
    own = {f"model.arguments.{name}": value for name, value in architecture.arguments.items()}
    own |= {f"model.arguments.{n}": v for n, v in sections["model"]["arguments"].items()}
    training = TrainingSettings.model_validate(sections["training"]).model_dump(mode="json")
    own |= {f"training.{name}": value for name, value in training.items()}
    return {field: own[field] for field in fields}


def tuner_fn(fn_args: Any) -> TunerFnResult:
    """Unpacks TFX's arguments; `custom_config` holds the sections as plain values."""
    config = fn_args.custom_config
    folder = pathlib.Path(fn_args.working_dir)
    given = _job(config, fn_args, {})
    plugins.load(given.plugins)
    settings = TunerSettings.model_validate(config["tuner"])
    policy = recipe.precision(given.training, gpus())
    if policy is None:
        fastest = precision.fastest(precision.measured(given, folder))
        os.environ.update(fastest.environment)
        policy = fastest.precision
    if given.training.cache == "device":
        given = given.with_training(cache="memory")  # Each trial has a model of its own.
    images = Images(given, limit=settings.images)

    def train(fields: dict[str, Any], epochs: int, tell: Callable[[float], None]) -> float:
        job = _job(config, fn_args, {**fields, "training.epochs": epochs})
        return _trial(job, images.of(job), policy, tell)

    fingerprint = digest([config, given.train_files, given.eval_files])
    unfinished.forget(folder, but=fingerprint)
    kept = unfinished.place(folder, fingerprint)

    def trials() -> Trials:
        made = oracle(settings, _given(config, settings.search_space))
        return Trials(made, kept, train, settings, images.number)

    return TunerFnResult(tuner=restored(trials, kept), fit_kwargs={"verbose": 0})


def restored(make: Callable[[], Trials], folder: pathlib.Path) -> Trials:
    """The trials kept in a folder or, where they cannot be read, new ones.

    keras-tuner writes its files in place: a full disk, or a kill, leaves a half one.

    Args:
      make: Reads what is in the folder.
      folder: See `Trials`.
    """
    try:
        return make()
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        if not folder.exists():
            raise
        _LOG.warning(
            "The trials of an interrupted search in %s cannot be read (%s: %s). They are thrown "
            "away, and the search begins anew.",
            folder,
            type(error).__name__,
            error,
        )
        shutil.rmtree(folder)
        return make()


def _job(config: Mapping[str, Any], fn_args: Any, fields: Mapping[str, Any]) -> Job:
    """The training of a trial."""
    return Job(
        **lay_over(config, fields),
        train_files=tuple(map(str, fn_args.train_files)),
        eval_files=tuple(map(str, fn_args.eval_files)),
        run_folder=fn_args.working_dir,
    )


def _trial(job: Job, images: Images, policy: str, tell: Callable[[float], None]) -> float:
    """Trains, and returns the validation PSNR in dB of the epoch with the least loss."""
    # Without it every trial's graphs stay in memory.
    keras.utils.clear_session()
    keras.utils.set_random_seed(job.seed)
    total = images.steps * job.training.epochs
    model = recipe.training_model(
        recipe.denoiser(job.model.name, job.image.shape, job.model.arguments, policy),
        job.noise.training,
        job.training,
        total,
        job.seed,
        images.per_execution,
        gpus(),
    )
    progress = Progress(lambda done, _: tell(done / total), job.training.epochs, images.steps)
    history = model.fit(
        images.training(),
        epochs=job.training.epochs,
        steps_per_epoch=images.steps,
        shuffle=False,
        validation_data=images.validation,
        callbacks=[progress, Finite()],
        verbose=0,
    ).history
    return float(history["val_psnr"][int(np.argmin(history["val_loss"]))])
