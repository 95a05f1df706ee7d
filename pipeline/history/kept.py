"""The last run as a kept model: which file, which card, which images."""

from __future__ import annotations

import importlib.metadata
import pathlib
import shlex
from typing import TYPE_CHECKING, Any

from components.base import yaml_text
from components.base.errors import ModelError, UsageError, WorkspaceError
from components.base.settings import GIVEN, Settings
from components.csv_ingestion.result import STEPS as INGESTIONS
from components.evaluation.result import ALL
from components.pretrained import kept
from components.pretrained.card import Data, Figures
from components.training.result import KERAS_FILE
from pipeline import config
from pipeline.history import summary
from pipeline.history.lineage import Lineage
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

FASHION_MNIST = (
    "Fashion-MNIST: 70,000 grey images of clothes, 28x28 (Xiao, Rasul, Vollgraf, 2017)",
    "MIT, Copyright 2017 Zalando SE",
)
"""Name and licence of the data that a run without `--data` takes."""
_SHEET_VALUES = 64 * 28 * 28
"""Pixel values of a sheet, about: what is kept in a repository stays small."""
_PACKAGES = {"denoise": "denoise-pipeline", "tensorflow": "tensorflow", "keras": "keras"}
_NOTED = ("seconds", "cpu_seconds", "cores", "gpus", "precision", "images_per_second")
_DECIDE = ("plugins", "seed", "image", "data", "noise", "model", "training")
"""Sections that decide what a model becomes; what the Tuner found is laid over them."""
_OF_THE_FOLDER = ("data.format", "data.classes")
"""What the data folder says by itself, if nothing else is set."""


def keep(
    workspace: Workspace,
    name: str,
    folder: pathlib.Path,
    data: tuple[str, str] | None,
    licence: str,
) -> kept.Kept:
    """Keeps the model that the last run of a workspace pushed.

    Args:
      workspace: Where it ran.
      name: Of the model.
      folder: Where the files go.
      data: Name and licence of the data; None: those of Fashion-MNIST.
      licence: Of the model.

    Raises:
      WorkspaceError: nothing has run there, or the last run pushed nothing.
      ModelError: the pushed model is gone.
      UsageError: the data are not Fashion-MNIST, so that their name and licence are to be given.
    """
    from components.evaluation.measure import load_denoiser

    run = summary.read(workspace)
    if run.outcome not in ("pushed", "unchanged") or run.model is None:
        raise WorkspaceError(
            f"--workspace {workspace.root}: its last run pushed no model ({run.outcome}). Only a "
            "model that was blessed is kept: call `denoise run` until one is pushed."
        )
    keras_file = pathlib.Path(run.model) / KERAS_FILE
    if not keras_file.is_file():
        raise ModelError(f"{keras_file}: is not there any more. Call `denoise run` again.")
    settings = _trained_with(run)
    images = _images(workspace, run, settings)
    card: dict[str, Any] = {
        "description": settings.description,
        "licence": licence,
        "data": _data(workspace, run, data),
        **{name: getattr(settings, name) for name in ("image", "model", "noise", "seed")},
        "plugins": settings.plugins,
        "parameters": run.training["parameters"],
        "training": {
            **settings.training.model_dump(mode="json"),
            **{name: run.training[name] for name in _NOTED if run.training.get(name) is not None},
        },
        "commands": (command(settings, fashion_mnist=data is None), f"denoise keep {name}"),
        "figures": tuple(
            Figures.of(row.model_dump())
            for row in run.metrics
            if row.label == ALL and row.noise != ALL
        ),
        # Noise that pairs have is not there to be drawn.
        "sample": ()
        if GIVEN in settings.noise.evaluation
        else kept.measure(load_denoiser(run.model), images, settings.noise),
        "versions": {
            name: importlib.metadata.version(package) for name, package in _PACKAGES.items()
        },
    }
    return kept.keep(keras_file, images, folder, name, **card)


def _trained_with(run: summary.Summary) -> Settings:
    """The settings, with what the Tuner found laid over them."""
    from components.training.hyperparameters import lay_over

    values = lay_over(run.settings.model_dump(mode="json"), run.training.get("tuned", {}))
    return config.validate(values, source="what the Tuner found")


def _data(workspace: Workspace, run: summary.Summary, given: tuple[str, str] | None) -> Data:
    steps = Lineage.of_runs(workspace).steps(run.run)
    ingestion = [step for step in steps if step.component in INGESTIONS][-1]
    folder = pathlib.Path(str(ingestion.parameters.get("input_base", "")))
    if given is None and folder.resolve() != workspace.data.resolve():
        raise UsageError(
            f"--data-name, --data-licence: expected the name and the licence of what is in "
            f"{folder}: who uses the model needs to know."
        )
    name, licence = given or FASHION_MNIST
    return Data(name=name, licence=licence, images=run.data["examples"])


def _images(workspace: Workspace, run: summary.Summary, settings: Settings) -> np.ndarray:
    """Test images for the sheet: uint8 (N, H, W, C), a number that fills its rows."""
    import numpy as np

    from components.base import records
    from components.image.pixels import quantise_array

    transformed = (
        Lineage.of_runs(workspace).steps(run.run).output("Transform", "transformed_examples")
    )
    if transformed is None or not pathlib.Path(transformed.uri).is_dir():
        raise WorkspaceError(
            f"--workspace {workspace.root}: what Transform wrote is gone. Call `denoise run` again."
        )
    import tensorflow as tf

    shape = settings.image.shape
    rows = max(1, _SHEET_VALUES // settings.image.pixels // kept.COLUMNS)
    spec = {"clean": tf.io.FixedLenFeature(shape, tf.float32)}
    examples = records.records([f"{transformed.uri}/Split-test/*"]).take(rows * kept.COLUMNS)
    clean = [
        tf.io.parse_single_example(serialised, spec)["clean"].numpy() for serialised in examples
    ]
    whole_rows = len(clean) // kept.COLUMNS * kept.COLUMNS
    if not whole_rows:
        raise WorkspaceError(
            f"--workspace {workspace.root}: {len(clean)} test images are fewer than the "
            f"{kept.COLUMNS} that are kept with a model."
        )
    return quantise_array(np.stack(clean[:whole_rows]))


def command(settings: Settings, fashion_mnist: bool) -> str:
    """The `denoise run` that makes such a model, for a shell: a preset and what differs from it.

    Args:
      settings: The run's, with what the Tuner found.
      fashion_mnist: Whether the data are what a run without `--data` takes.
    """
    preset = settings.preset if settings.preset in config.preset_names() else "default"
    given = config.load(preset).model_dump(mode="json")
    parts = ["denoise run", *([f"--preset {preset}"] if preset != "default" else [])]
    parts += [] if fashion_mnist else ["--data DIR"]
    for section, values in settings.model_dump(mode="json").items():
        if section not in _DECIDE:
            continue
        fields = (
            {f"{section}.{name}": (value, given[section][name]) for name, value in values.items()}
            if isinstance(values, dict)
            else {section: (values, given[section])}
        )
        for field, (value, default) in fields.items():
            if value != default and field not in _OF_THE_FOLDER:
                text = yaml_text.written(value, default_flow_style=True, width=10**9)
                text = text.removesuffix("\n").removesuffix("\n...")
                parts.append(f"--set {shlex.quote(f'{field}={text}')}")
    return " ".join(parts)
