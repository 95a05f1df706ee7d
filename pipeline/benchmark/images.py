"""Test images, their fixed noise, and the figures of what a method makes of them."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from components.csv_ingestion import result as ingested
from components.evaluation.measure import METRICS, Denoise, Measurement
from components.image.pixels import normalise_array
from pipeline.benchmark.contents import ALL, CleanImages, Figures, Result, Tuning

_SHOWN = 8
"""Images without a class that are looked at."""
Classify = Callable[[np.ndarray], np.ndarray]
"""float32 (N, H, W, C) in [0, 1] to labels, int64 (N,)."""


@dataclasses.dataclass(frozen=True)
class Images:
    """Images of one split, in the order of their keys: the order of files and rows is forgotten.

    Attributes:
      labels: int64 (N,).
      pixels: uint8 (N, H*W*C).
      keys: int64 (N,), rising.
      shape: (H, W, C).
      given: The noisy images of pairs, as `pixels`.
    """

    labels: np.ndarray
    pixels: np.ndarray
    keys: np.ndarray
    shape: tuple[int, int, int]
    given: np.ndarray | None = None

    @classmethod
    def gather(cls, blocks: Iterator[tuple[Any, ...]], shape: tuple[int, int, int]) -> Images:
        """Makes one of blocks of labels, pixels, keys and, of pairs, the noisy images' pixels, in
        the order of the keys."""
        labels, pixels, keys, *given = (
            np.concatenate(parts) for parts in zip(*blocks, strict=True)
        )
        order = np.argsort(keys, kind="stable")
        return cls(labels[order], pixels[order], keys[order], shape, *(one[order] for one in given))

    def __len__(self) -> int:
        return len(self.keys)

    def first(self, number: int | None) -> Images:
        """The images with the smallest keys: a random sample, always the same. None: all."""
        part = slice(number)
        given = None if self.given is None else self.given[part]
        return Images(self.labels[part], self.pixels[part], self.keys[part], self.shape, given)

    def clean(self, part: slice = slice(None)) -> np.ndarray:
        """float32 (N, H, W, C) in [0, 1]."""
        return normalise_array(self.pixels[part], self.shape)

    def noisy(self, part: slice = slice(None)) -> np.ndarray | None:
        """The noisy images of pairs, as `clean`; None where there are none."""
        return None if self.given is None else normalise_array(self.given[part], self.shape)

    def fingerprint(self) -> str:
        """Fingerprint of the images and labels; a key is a hash of its row, or pair."""
        digest = hashlib.sha256(np.ascontiguousarray(self.keys).tobytes())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()[:16]

    def summed_keys(self) -> str:
        """What ingestion calls the fingerprint of these rows (`IngestionSummary.fingerprint`)."""
        return ingested.fingerprint(self.keys.tolist())


def batches(number: int, size: int) -> Iterator[slice]:
    """Slices of `size` and a rest."""
    return (slice(start, start + size) for start in range(0, number, size))


class NoisyImages:
    """Images under the fixed noises of an evaluation: what the Evaluator measures on, exactly.

    Args:
      images: Which.
      noises: Expressions.
      seed: `noise.seed`.
      batch_size: Images at a time.
      pictured: Whether results have pictures.
    """

    def __init__(
        self,
        images: Images,
        noises: Sequence[str],
        seed: int,
        batch_size: int,
        pictured: bool = True,
    ):
        self.images = images
        self.noises = tuple(noises)
        self._batch_size = batch_size
        self._pictured = pictured
        self._measurement = Measurement(self.noises, seed)
        self._clean: np.ndarray | None = None
        self._noisy: dict[str, np.ndarray] = {}

    @property
    def clean(self) -> np.ndarray:
        """float32 (N, H, W, C) in [0, 1]."""
        if self._clean is None:
            self._clean = self.images.clean()
        return self._clean

    def noisy(self, noise: str) -> np.ndarray:
        """float32 (N, H, W, C) in [0, 1]."""
        if noise not in self._noisy:
            self._noisy[noise] = np.concatenate(
                [
                    np.asarray(
                        self._measurement.noisy(
                            noise,
                            self.clean[part],
                            self.images.keys[part],
                            self.images.noisy(part),
                        )[0]
                    )
                    for part in self.parts()
                ]
            )
        return self._noisy[noise]

    def parts(self) -> Iterator[slice]:
        """The batches."""
        return batches(len(self.images), self._batch_size)

    def denoised(self, denoise: Denoise, noise: str) -> tuple[np.ndarray, float]:
        """All images denoised, clipped to [0, 1], and the seconds that took after a warm-up."""
        noisy = self.noisy(noise)
        # Traced and compiled outside the time.
        np.asarray(denoise(noisy[next(self.parts())]))
        started = time.perf_counter()
        results = [np.asarray(denoise(noisy[part])) for part in self.parts()]
        return np.clip(np.concatenate(results), 0, 1), time.perf_counter() - started

    def figures(self, images: np.ndarray, classify: Classify | None = None) -> dict[str, Figures]:
        """Figures of images against the clean ones, by label and for ALL.

        Args:
          images: float32 (N, H, W, C) in [0, 1].
          classify: To see which are recognised.
        """
        parts = []
        for part in self.parts():
            values = self._measurement.figures(self.clean[part], images[part])
            if classify is not None:
                values["accuracy"] = classify(images[part]) == self.images.labels[part]
            parts.append(values)
        by_name = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        labels = self.images.labels
        chosen = {ALL: np.ones(len(labels), bool)}
        chosen |= {str(label): labels == label for label in np.unique(labels)}
        return {
            label: Figures(
                images=int(np.count_nonzero(here)),
                **{
                    name: float(values[here].mean(dtype=np.float64))
                    for name, values in by_name.items()
                },
            )
            for label, here in chosen.items()
        }

    def shown(self) -> list[int]:
        """Positions of the images to be looked at: of each class the one with the least key; some,
        where there are no classes."""
        labels = self.images.labels
        if (labels < 0).all():
            return list(range(min(_SHOWN, len(labels))))
        return [int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels)]

    def strip(self, images: np.ndarray) -> str:
        """The shown ones of images, float32 (N, H, W, C), side by side: a PNG as a data URI."""
        from components.image.png import rgba, side_by_side

        return side_by_side([rgba(images[position]) for position in self.shown()])

    def result(
        self,
        method: str,
        noise: str,
        denoised: np.ndarray,
        seconds: float | None,
        cores: int,
        classify: Classify | None,
        tuning: Tuning | None = None,
    ) -> Result:
        """The figures of what a method made of the images.

        Args:
          method: Its name.
          noise: One of the noises.
          denoised: float32 (N, H, W, C) in [0, 1].
          seconds: It took; None: there is nothing to be timed.
          cores: That worked on it.
          classify: To see which are recognised.
          tuning: How its parameters were found.
        """
        return Result(
            method=method,
            noise=noise,
            rows=self.figures(denoised, classify),
            images_per_second=len(denoised) / seconds if seconds else None,
            cores=cores,
            tuning=tuning,
            strip=self.strip(denoised) if self._pictured else None,
        )

    def clean_images(self, classify: Classify | None) -> CleanImages:
        """The clean images themselves."""
        labels = self.images.labels
        right = None
        if classify is not None:
            right = np.concatenate([classify(self.clean[part]) for part in self.parts()]) == labels
        values = np.unique(labels)
        return CleanImages(
            images=len(labels),
            by_label={str(value): int(np.count_nonzero(labels == value)) for value in values},
            accuracy=None if right is None else float(right.mean()),
            accuracy_by_label=(
                {}
                if right is None
                else {str(value): float(right[labels == value].mean()) for value in values}
            ),
            shown=[str(labels[position]) for position in self.shown()],
            strip=self.strip(self.clean),
        )


__all__ = ["METRICS", "Classify", "Images", "NoisyImages", "batches"]
