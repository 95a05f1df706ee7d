"""The card of a kept model: what it is, what made it, how good it is, and what may be done."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import pydantic

from components.base import yaml_text
from components.base.errors import ModelError
from components.base.files import shown, signed, whole
from components.base.settings import ImageSettings, ModelSettings, NoiseSettings


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Figures(_Part):
    """Means over images of one noise: of the denoised images and of the noisy ones."""

    noise: str
    images: int
    psnr: float
    """dB, mean of per-image values, as all of these."""
    ssim: float
    mse: float
    """For pixels in [0, 1]."""
    mae: float
    noisy_psnr: float
    noisy_ssim: float

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Figures:
        """Takes its fields from more values, rounded to what can be told apart."""
        return cls(
            **{
                name: round(float(values[name]), 5) if field.annotation is float else values[name]
                for name, field in cls.model_fields.items()
            }
        )


class Data(_Part):
    """What it was trained and measured on."""

    name: str
    licence: str
    images: dict[str, int]
    """By split: train, validation, test."""


class Card(_Part):
    """What `NAME.yaml` holds."""

    name: str
    description: str
    licence: str
    """Of the model itself."""
    data: Data
    image: ImageSettings
    model: ModelSettings
    parameters: int
    noise: NoiseSettings
    training: dict[str, Any]
    """The section of the settings, and what was noted: seconds, cores, precision."""
    seed: int
    plugins: tuple[str, ...] = ()
    """Modules without which it cannot be loaded."""
    commands: tuple[str, ...]
    """What makes it again."""
    figures: tuple[Figures, ...]
    """On all test images."""
    sample: tuple[Figures, ...]
    """On the images of `NAME.png`, with the noise of their numbers: what a test can measure. None
    of noise that pairs have."""
    versions: dict[str, str]
    """Of the packages that made it."""
    bytes: int
    """Size of the Keras file."""
    sha256: str
    """Of the Keras file."""


def read(path: pathlib.Path) -> Card:
    """Reads a card.

    Raises:
      ModelError: there is none, or it is none.
    """
    try:
        values = yaml_text.read(path.read_text(encoding="utf-8"))
        return Card.model_validate(values)
    except OSError as error:
        raise ModelError(
            f"{shown(path)}: the card of the model cannot be read: {error.strerror}. "
            "`denoise keep` writes it beside the Keras file."
        ) from error
    except ValueError as error:
        raise ModelError(f"{shown(path)}: is no card of a model: {error}") from error


def write(card: Card, path: pathlib.Path) -> None:
    """Writes a card, whole or not at all, with a first line that tells whether it was changed."""
    with whole(path, "w") as file:
        file.write(signed(text(card)))


def text(card: Card) -> str:
    """A card as YAML."""
    values = card.model_dump(mode="json")
    return yaml_text.written(values, width=100, default_flow_style=None)
