"""A method that is measured: a model, a filter, the linear map, or the noisy input itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.benchmark.contents import Method, Result, Tuning
from pipeline.benchmark.findings import Findings
from pipeline.benchmark.images import Classify, NoisyImages

Told = Callable[[float], None]
"""Called with the share of the work that is done, 0 to 1."""
NOISY = "noisy"


@dataclasses.dataclass(frozen=True)
class Contender:
    """A method, and how it denoises."""

    method: Method
    key: dict[str, Any]
    """Everything that decides its results, except the images, their noise and the measurement."""
    denoise: Callable[[NoisyImages, str, str, Told], tuple[np.ndarray, float | None]]
    """Takes images, one of their noises, the noise that the method is made for, and `Told`.

    Gives float32 (N, H, W, C) in [0, 1], and the seconds it took; None: nothing to be timed.
    """
    cores: int
    """Number of cores it works on."""
    tunings: dict[str, Tuning] = dataclasses.field(default_factory=dict)
    """The searches for its parameters, by the noise it is made for."""

    def result(
        self,
        images: NoisyImages,
        noise: str,
        made_for: str,
        about: dict[str, Any],
        findings: Findings,
        classify: Classify | None = None,
        told: Told = lambda share: None,
        part: str = "",
    ) -> Result:
        """Its results on images under one noise: known, or measured now.

        Args:
          images: Which.
          noise: One of theirs.
          made_for: The noise its parameters were tuned for.
          about: What decides figures on these images.
          findings: What is known.
          classify: To see which images are recognised.
          told: Told how far it is.
          part: Of the benchmark; ends the name of the finding.
        """
        tuning = self.tunings.get(made_for)
        key = {**about, **self.key, "noise": noise}
        if tuning is not None:
            key["tuning"] = tuning.model_dump(mode="json")

        def measure() -> Result:
            denoised, seconds = self.denoise(images, noise, made_for, told)
            name = self.method.name
            return images.result(name, noise, denoised, seconds, self.cores, classify, tuning)

        return findings.known(Result, self.method.name + part, key, measure)


def noisy_input() -> Contender:
    """The noisy input, as it is."""
    return Contender(
        Method(name=NOISY, title="noisy input", kind="noisy"),
        {},
        lambda images, noise, made_for, told: (images.noisy(noise), None),
        cores=0,
    )
