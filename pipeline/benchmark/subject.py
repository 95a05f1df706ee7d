"""The data that everything is measured on: the images of the data folder, and their fixed noise."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

from components.base import progress
from components.base.code import fingerprint
from components.base.errors import DataError
from components.base.settings import GIVEN, Settings
from components.ingestion import formats
from pipeline.benchmark.images import Images, NoisyImages

TUNING_IMAGES = 256
"""Training images a filter's parameters are chosen by, for each noise."""
_STEP = "benchmark"


def tell(done: float, total: int, message: str) -> None:
    """Says how many of a step's `total` units are done; the bar shows hundredths of them."""
    progress.tell(_STEP, int(100 * done), 100 * total, message)


@dataclasses.dataclass(frozen=True)
class Subject:
    """Images and noises.

    Attributes:
      settings: The noises are `noise.evaluation`, made of `noise.seed`.
      train: All training images.
      test: The test images that are measured on.
      pictured: Whether results have pictures.
    """

    settings: Settings
    train: Images
    test: Images
    pictured: bool = True

    @classmethod
    def read(cls, settings: Settings, folder: pathlib.Path, limit: int | None) -> Subject:
        """Reads a data folder.

        Args:
          settings: Of the folder; `image`, `data`, `noise` and
            `evaluation.batch_size` count.
          folder: Holds `train` and `test`.
          limit: Test images; None: all.

        Raises:
          DataError: it cannot be read, or has too few images to tune a filter by.
        """

        def images(split: str) -> Images:
            rows = formats.rows(folder, split, settings)
            wanted = 4 if GIVEN in settings.noise.evaluation else 3
            return Images.gather((block[:wanted] for block in rows), settings.image.shape)

        tell(0, 2, "reading the training images")
        train = images("train")
        if len(train) < 2:
            raise DataError(f"{folder}: train has too few images to tune a filter by.")
        tell(1, 2, "reading the test images")
        return cls(settings, train, images("test").first(limit))

    @property
    def noises(self) -> list[str]:
        """The noise expressions, in the order of the settings."""
        return list(self.settings.noise.evaluation)

    @functools.cached_property
    def noisy(self) -> NoisyImages:
        """The test images under every noise."""
        return self.under(self.noises, self.test)

    @functools.cached_property
    def tuning(self) -> NoisyImages:
        """The training images that filters are tuned by, under every noise."""
        return self.under(self.noises, self.train.first(TUNING_IMAGES))

    def under(self, noises: list[str], images: Images) -> NoisyImages:
        """Images under noises."""
        seed, batch_size = self.settings.noise.seed, self.settings.evaluation.batch_size
        return NoisyImages(images, noises, seed, batch_size, self.pictured)

    def key(self, images: Images) -> dict[str, Any]:
        """Everything that decides a figure on some images, except the method and the noise."""
        return {
            "images": images.fingerprint(),
            "shape": self.settings.image.shape,
            "seed": self.settings.noise.seed,
            "code": fingerprint("pipeline.benchmark.images", "components.evaluation.measure"),
        }
