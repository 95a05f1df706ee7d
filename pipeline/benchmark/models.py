"""The models that were trained in a workspace, each with what it was trained for."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from components.base.settings import GIVEN, ImageSettings, TrainingSettings
from components.models import MODELS
from pipeline.benchmark import workers as work
from pipeline.benchmark.contender import Contender
from pipeline.benchmark.contents import Method
from pipeline.history import status
from pipeline.workspace import Workspace

_HOW_FAST = {"cache", "jit_compile", "steps_per_execution", "strategy"}
"""Training settings that decide how fast a model is trained, not which."""


def fingerprint(saved_model: pathlib.Path) -> str:
    """Of a SavedModel's graph and weights."""
    digest = hashlib.sha256()
    for file in sorted([saved_model / "saved_model.pb", *saved_model.glob("variables/*")]):
        digest.update(file.relative_to(saved_model).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def any_size(name: str) -> bool:
    """Whether an architecture takes images of any size."""
    return name in MODELS and MODELS[name].any_size


def trained_models(
    workspace: Workspace, image: ImageSettings, noises: Sequence[str], of_any_size: bool = False
) -> list[Method]:
    """The newest of each: architecture, training noise, training settings and data.

    Args:
      workspace: Where they were trained.
      image: Models of other images are left out.
      noises: Expressions; a model trained on one of them alone is a specialist for it.
      of_any_size: Models that take images of any size, whatever they were trained on, with the
        channels of `image`.
    """

    def wanted(settings: dict[str, Any]) -> bool:
        if of_any_size:
            same = settings.get("image", {}).get("channels") == image.channels
            return same and any_size(settings["model"]["name"])
        return bool(settings.get("image") == image.model_dump())

    from tfx.utils import path_utils

    from components.training.result import Training

    if not workspace.metadata.exists():
        return []
    by_expression = {_canonical(noise): noise for noise in noises}
    newest: dict[str, Method] = {}
    for model in status.history(workspace).models:
        saved_model = pathlib.Path(path_utils.serving_model_path(model.uri))
        settings = model.settings
        if not wanted(settings) or not saved_model.is_dir():
            continue
        trained_on = _canonical(settings["noise"]["training"])
        training: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError):
            training = Training.read(model.model_run).model_dump()
        how = TrainingSettings.model_construct(**settings["training"]).model_dump(exclude=_HOW_FAST)
        matters = (settings["model"], trained_on, how, model.data)
        newest[json.dumps(matters, sort_keys=True)] = Method(
            name=f"model-{model.id}",
            title=settings["model"]["name"],
            kind="model",
            trained_on=trained_on,
            specialist_for=by_expression.get(trained_on),
            preset=model.preset,
            epochs=training.get("epochs"),
            training_seconds=training.get("seconds"),
            training_cpu_seconds=training.get("cpu_seconds"),
            resumed_from_epoch=training.get("resumed_from_epoch", 0),
            training_precision=training.get("precision"),
            parameters=training.get("parameters"),
            trained=model.trained,
            settings=settings,
            saved_model=str(saved_model),
            data=model.data,
        )
    return titled(list(newest.values()))


def contenders(
    workspace: Workspace, image: ImageSettings, noises: Sequence[str], of_any_size: bool = False
) -> list[Contender]:
    """The `trained_models`; each is loaded when it is first called."""
    return [_contender(method) for method in trained_models(workspace, image, noises, of_any_size)]


def _contender(method: Method) -> Contender:
    from components.evaluation.measure import load_denoiser

    assert method.saved_model is not None
    path = pathlib.Path(method.saved_model)
    load = functools.cache(lambda: load_denoiser(str(path)))
    return Contender(
        method,
        {"model": fingerprint(path)},
        lambda images, noise, made_for, told: images.denoised(load(), noise),
        work.cores(),
    )


def titled(methods: list[Method]) -> list[Method]:
    """Gives models of the same architecture titles that tell them apart.

    The architecture; what it was trained on; the epochs; the id: only as much as it takes.
    """
    for add in (
        lambda method: f", {_short(method.trained_on or '')}",
        lambda method: f", {method.epochs} epochs",
        lambda method: f", {method.name}",
    ):
        titles = [method.title for method in methods]
        methods = [
            method.model_copy(update={"title": method.title + add(method)})
            if titles.count(method.title) > 1
            else method
            for method in methods
        ]
    return methods


def _canonical(noise: str) -> str:
    from components.noise import parse

    return noise if noise == GIVEN else str(parse(noise))


def _short(noise: str) -> str:
    return "blind" if noise.startswith("mixture(") else noise
