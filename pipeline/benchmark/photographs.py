"""Photographs that no model was trained on: models of any size beside BM3D and the other filters.

They are the middles of those that scikit-image and scikit-learn ship, with the noise of the
registry. BM3D is told how strong that is; the other filters are tuned on what lies beside the
middles; the models are told nothing.
"""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from components.base.errors import DataError
from components.base.settings import (
    DataSettings,
    EvaluationSettings,
    ImageSettings,
    NoiseSettings,
    Settings,
)
from components.evaluation.measure import Denoise
from components.filters import FILTERS
from components.image.ensemble import ensembled
from components.image.reader import SUFFIXES, read_image
from components.noise import parse
from components.pretrained import kept
from components.pretrained.card import Card
from pipeline import photographs
from pipeline.benchmark import filters, models
from pipeline.benchmark import workers as work
from pipeline.benchmark.contender import Contender, Told, noisy_input
from pipeline.benchmark.contents import BM3D, Method, Photographs
from pipeline.benchmark.findings import Findings
from pipeline.benchmark.images import Images, NoisyImages
from pipeline.benchmark.measuring import Measuring
from pipeline.benchmark.subject import Subject
from pipeline.workspace import Workspace

DEVIATIONS = (15, 25, 50)
"""Of the noise, in grey levels of 255."""
SIZE = 256
"""Side of what is measured of each, in pixels."""
_TUNING_SIZE = 64


def compared(
    workspace: Workspace,
    findings: Findings,
    pool: concurrent.futures.Executor,
    seed: int,
    limit: int | None,
) -> tuple[list[Photographs], dict[str, str]]:
    """Measures the models that come with this package and the workspace's own, and the filters.

    Args:
      workspace: Whose models of any size are measured, too.
      findings: What is known.
      pool: As of `filters.contenders`.
      seed: Of the noise.
      limit: Photographs of each kind; None: all.

    Returns:
      Those in grey and those in colour, where there are models for them; and what could not be
      measured, with the reason.
    """
    files, left_out = shipped_files()
    found = []
    for channels in (1, 3) if files else ():
        noises = [noise_of(deviation) for deviation in DEVIATIONS]
        contenders = [
            *(
                contender
                for one in map(kept.find, kept.names())
                if one.card.image.channels == channels and models.any_size(one.card.model.name)
                for contender in of_file(one)
            ),
            *models.contenders(
                workspace, ImageSettings(channels=channels), noises, of_any_size=True
            ),
        ]
        if contenders:
            subject = read(files, channels, noises, seed, SIZE, limit)
            found.append(measured(subject, contenders, findings, pool))
    return found, left_out


def shipped_files() -> tuple[dict[str, pathlib.Path], dict[str, str]]:
    """The test photographs by name, and the packages that are not there, with the reason."""
    files, left_out = {}, {}
    for module, (_, names) in photographs.TESTED.items():
        folder = photographs.test_folder(module)
        if folder is None:
            left_out[f"photographs of {module}"] = "the Python package is not installed"
            continue
        for name in names:
            files[pathlib.Path(name).stem] = folder / name
    return files, left_out


def files_in(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The image files of a folder, by name.

    Raises:
      DataError: there is none.
    """
    found = {
        file.stem: file
        for file in sorted(folder.iterdir() if folder.is_dir() else ())
        if file.suffix.lower() in SUFFIXES
    }
    if not found:
        raise DataError(
            f"{folder} holds no photographs. `denoise data --photographs DIR` brings some, those "
            "to test with to DIR/test."
        )
    return found


def noise_of(deviation: float) -> str:
    """Gaussian noise, as the presets write it.

    Args:
      deviation: Its standard deviation, in grey levels of 255.
    """
    return f"gaussian(sd={round(deviation / 255, 4)})"


def read(
    files: Mapping[str, pathlib.Path],
    channels: int,
    noises: Sequence[str],
    seed: int,
    size: int,
    limit: int | None = None,
) -> Subject:
    """The middles of photographs, and parts beside them as training images.

    Args:
      files: By name. For 3 channels those without colour are left out.
      channels: 1: converted to grey.
      noises: Expressions.
      seed: Of the noise.
      size: Side of the middle, in pixels.
      limit: Photographs; None: all.

    Raises:
      DataError: one cannot be read, or is smaller than its middle.
    """
    names: list[str] = []
    tested, beside = [], []
    for name, file in list(files.items()):
        pixels = read_image(file, channels).pixels
        if channels == 3 and (pixels == pixels[..., :1]).all():
            continue
        height, width = pixels.shape[:2]
        if min(height, width) < size:
            raise DataError(f"{file} has {width}x{height} pixels; {size}x{size} are measured.")
        top, left = (height - size) // 2, (width - size) // 2
        tested.append((len(names), pixels[top : top + size, left : left + size]))
        top = (height - _TUNING_SIZE) // 2
        for column in (left - _TUNING_SIZE, left + size):
            if 0 <= column <= width - _TUNING_SIZE:
                part = pixels[top : top + _TUNING_SIZE, column : column + _TUNING_SIZE]
                beside.append((len(names), part))
        names.append(name)
    settings = Settings(
        image=ImageSettings(height=size, width=size, channels=channels),
        data=DataSettings(classes=tuple(names)),
        noise=NoiseSettings(evaluation=tuple(noises), seed=seed),
        evaluation=EvaluationSettings(batch_size=1, thresholds={}),
    )
    train = _images(beside, (_TUNING_SIZE, _TUNING_SIZE, channels))
    return Subject(settings, train, _images(tested, settings.image.shape).first(limit), False)


def _images(parts: Iterable[tuple[int, np.ndarray]], shape: tuple[int, int, int]) -> Images:
    """Images of labels and pixels; their keys follow from the pixels, as those of files do."""

    def block(label: int, pixels: np.ndarray) -> tuple[np.ndarray, ...]:
        digest = hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=8).digest()
        return np.array([label]), pixels.reshape(1, -1), np.frombuffer(digest, np.int64)

    none = (np.empty(0, np.int64), np.empty((0, int(np.prod(shape))), np.uint8))
    return Images.gather(
        iter([(*none, none[0]), *(block(label, pixels) for label, pixels in parts)]), shape
    )


def measured(
    subject: Subject,
    contenders: Sequence[Contender],
    findings: Findings,
    pool: concurrent.futures.Executor,
    names: Sequence[str] | None = None,
) -> Photographs:
    """Measures models and filters on photographs.

    Args:
      subject: What `read` gives.
      contenders: The models.
      findings: What is known.
      pool: As of `filters.contenders`.
      names: Of the filters; None: all that can run.
    """
    names = filters.available() if names is None else names
    tuned = [name for name in names if name != BM3D]
    told = [_told(pool)] if BM3D in names else []
    measuring = Measuring(subject, findings)
    known = [noisy_input(), *contenders, *told]
    total = len(known) + len(tuned)
    for number, contender in enumerate(known):
        measuring.measure(contender, number, total)
    # Tuning parts are smaller than what is measured, and hardly take time.
    for number, contender in enumerate(
        filters.contenders(tuned, subject, findings, pool), len(known)
    ):
        measuring.measure(contender, number, total)
    image = subject.settings.image
    return Photographs(
        images=len(subject.test),
        tuning_images=len(subject.tuning.images),
        classes=list(subject.settings.data.classes),
        noises=subject.noises,
        methods=[contender.method for contender in measuring.contenders],
        results=measuring.results,
        channels=image.channels,
        size=image.height,
        seed=subject.settings.noise.seed,
    )


def of_file(found: kept.Kept) -> list[Contender]:
    """A kept model, as `contenders` gives it; it is loaded when it is first called."""
    key = {"kept": found.card.sha256}
    return contenders(found.card.name, key, lambda: kept.load(found), found.card)


def contenders(
    name: str, key: dict[str, Any], load: Any, card: Card | None = None
) -> list[Contender]:
    """A Keras model as two contenders: as it is, and in all eight orientations (`--ensemble`).

    Args:
      name: For people.
      key: Which model it is.
      load: Gives it, when it is first called.
      card: What is known of it.
    """
    load = functools.cache(load)

    def once() -> Denoise:
        return load().predict_on_batch

    def ensemble() -> Denoise:
        return functools.partial(ensembled, denoise=once())

    several = {**key, "ensemble": True}
    return [
        _contender(name, name, key, once, card),
        _contender(f"{name}_ensemble", f"{name} --ensemble", several, ensemble, card),
    ]


def _contender(
    name: str, title: str, key: dict[str, Any], model: Callable[[], Denoise], card: Card | None
) -> Contender:
    def denoise(
        images: NoisyImages, noise: str, made_for: str, told: Told
    ) -> tuple[np.ndarray, float]:
        return images.denoised(model(), noise)

    facts: dict[str, Any] = {}
    if card is not None:
        facts = {
            "source": card.description,
            "trained_on": str(parse(card.noise.training)),
            "epochs": card.training.get("epochs"),
            "training_seconds": card.training.get("seconds"),
            "training_cpu_seconds": card.training.get("cpu_seconds"),
            "training_precision": card.training.get("precision"),
            "parameters": card.parameters,
            "data": card.data.name,
        }
    return Contender(
        Method(name=name, title=title, kind="model", **facts), key, denoise, work.cores()
    )


def _told(pool: concurrent.futures.Executor) -> Contender:
    """BM3D, which is told the standard deviation of the noise."""
    filter_ = FILTERS[BM3D]
    assert filter_.package is not None

    def denoise(
        images: NoisyImages, noise: str, made_for: str, told: Told
    ) -> tuple[np.ndarray, float]:
        parameters = {"sigma": parse(noise).sd}  # type: ignore[attr-defined]  # gaussian
        return filters.denoised(pool, BM3D, parameters, None, images.noisy(noise), told)

    key = {"told": filters.key(BM3D), "version": metadata.version(filter_.package)}
    title = f"{filter_.title}, told the noise"
    return Contender(
        Method(name=BM3D, title=title, kind="filter", source=filter_.source), key, denoise, 1
    )
