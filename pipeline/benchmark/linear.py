"""The best linear map, fitted for each noise on all training images."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from components.base.code import fingerprint
from components.base.files import whole
from components.filters import best_parameters as tuning
from components.filters import ridge
from pipeline.benchmark import workers as work
from pipeline.benchmark.contender import Contender, Told
from pipeline.benchmark.contents import Method, Tuning
from pipeline.benchmark.findings import Findings
from pipeline.benchmark.images import NoisyImages, batches
from pipeline.benchmark.subject import Subject, tell

NAME = "ridge"
HELD_OUT = 10
"""One training image in this many chooses the regularisation."""
_BATCH = 2_000


def left_out(subject: Subject) -> dict[str, str]:
    """Reason by name where there is no linear map; empty where there is one."""
    if subject.settings.image.pixels > ridge.MAX_PIXELS:
        return {NAME: f"images of more than {ridge.MAX_PIXELS} values"}
    return {}


def contender(subject: Subject, findings: Findings) -> Contender:
    """The linear map; fits those that are not known."""
    pixels = subject.settings.image.pixels
    method = Method(
        name=NAME,
        title=NAME,
        kind="linear",
        source="Hoerl, Kennard, Technometrics 12(1), 1970",
        parameters=(pixels + 1) * pixels,
    )
    key = {
        "train": subject.train.fingerprint(),
        "ridge": fingerprint("components.filters.ridge", "components.filters.best_parameters"),
    }
    fitted = {
        noise: _known(subject, findings, noise, number, key)
        for number, noise in enumerate(subject.noises)
    }

    def denoise(
        images: NoisyImages, noise: str, made_for: str, told: Told
    ) -> tuple[np.ndarray, float]:
        return images.denoised(fitted[made_for][0], noise)

    tunings = {noise: tuned for noise, (_, tuned) in fitted.items()}
    return Contender(method, key, denoise, work.cores(), tunings)


def _known(
    subject: Subject, findings: Findings, noise: str, number: int, key: dict[str, Any]
) -> tuple[ridge.LinearMap, Tuning]:
    """The linear map of a noise, from its files or fitted and kept there."""
    key = {**subject.key(subject.tuning.images), **key, "noise": noise}
    weights = findings.file(f"{NAME}-weights", key).with_suffix(".npz")
    fit = functools.cache(lambda: _fit(subject, noise, number))
    if not weights.is_file():
        with whole(weights) as file:
            np.savez(file, weights=fit()[0].weights, offset=fit()[0].offset)
    tuned = findings.known(Tuning, f"{NAME}-tuning", key, lambda: fit()[1])
    with np.load(weights) as kept:
        return ridge.LinearMap(kept["weights"], kept["offset"]), tuned


def _fit(subject: Subject, noise: str, number: int) -> tuple[ridge.LinearMap, Tuning]:
    from components.evaluation.measure import Measurement

    train = subject.train
    measurement = Measurement([noise], subject.settings.noise.seed)
    held_out: list[tuple[np.ndarray, np.ndarray]] = []
    moments = ridge.Moments(subject.settings.image.pixels)
    parts = list(batches(len(train), _BATCH))
    for done, part in enumerate(parts):
        tell(number + done / len(parts), len(subject.noises), f"{NAME}, {noise}")
        clean = train.clean(part)
        noisy = np.asarray(measurement.noisy(noise, clean, train.keys[part], train.noisy(part))[0])
        chosen = np.arange(len(clean)) % HELD_OUT == 0
        held_out.append((noisy[chosen], clean[chosen]))
        moments.add(noisy[~chosen], clean[~chosen])
    noisy, clean = (np.concatenate(images) for images in zip(*held_out, strict=True))
    maps = moments.solve(ridge.REGULARISATIONS)
    scores = [float(tuning.psnr(clean, candidate(noisy)).mean()) for candidate in maps]
    best = int(np.argmax(scores))
    return maps[best], Tuning(
        parameters={"regularisation": ridge.REGULARISATIONS[best]},
        curve=None,
        images=len(train),
        psnr=scores[best],
        trials=len(scores),
    )
