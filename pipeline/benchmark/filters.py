"""The classical filters, tuned for each noise on training images."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from components.base.code import fingerprint
from components.filters import FILTERS
from components.filters import best_parameters as tuning
from pipeline.benchmark import workers as work
from pipeline.benchmark.contender import Contender, Told
from pipeline.benchmark.contents import Method, Tuning
from pipeline.benchmark.findings import Findings
from pipeline.benchmark.images import NoisyImages
from pipeline.benchmark.subject import Subject, tell

_LIBRARIES = ("numpy", "scikit-image", "scipy")


TUNING_SHARE = 0.5
"""Part of the work on a filter that is tuning, of 1."""


def available() -> list[str]:
    """The filters that can run here."""
    return [name for name in FILTERS if work.unavailable(name) is None]


def left_out() -> dict[str, str]:
    """The filters that cannot run here, by title, and why."""
    reasons = {FILTERS[name].title: work.unavailable(name) for name in FILTERS}
    return {title: reason for title, reason in reasons.items() if reason is not None}


def key(name: str) -> list[str]:
    """All that decides what a filter makes of images, but for its parameters."""
    code = fingerprint(
        type(FILTERS[name]).__module__,
        "pipeline.benchmark.workers",
        "components.filters.best_parameters",
    )
    return [code, *(metadata.version(library) for library in _LIBRARIES)]


def contenders(
    names: Sequence[str],
    subject: Subject,
    findings: Findings,
    pool: concurrent.futures.Executor,
) -> Iterator[Contender]:
    """The filters, each tuned when it is asked for.

    Args:
      names: Those of `available`.
      subject: Its tuning images decide the parameters.
      findings: What is known.
      pool: Runs `workers.trial` and `workers.denoise`.
    """
    for number, name in enumerate(names):

        def told(share: float, message: str, number: int = number) -> None:
            tell(number + TUNING_SHARE * share, len(names), message)

        yield _Tuned(name, subject, findings, pool).contender(told)


class _Tuned:
    """One filter."""

    def __init__(
        self,
        name: str,
        subject: Subject,
        findings: Findings,
        pool: concurrent.futures.Executor,
    ):
        self._name = name
        self._filter = FILTERS[name]
        self._subject = subject
        self._findings = findings
        self._pool = pool
        self._key = key(name)
        self._tunings: dict[str, Tuning] = {}

    def contender(self, told: Callable[[float, str], None]) -> Contender:
        noises = self._subject.noises
        for number, noise in enumerate(noises):

            def told_of_noise(share: float, number: int = number, noise: str = noise) -> None:
                told((number + share) / len(noises), f"{self._filter.title}, {noise}: tuning")

            self._tunings[noise] = self._tuning(noise, told_of_noise)
        method = Method(
            name=self._name, title=self._filter.title, kind="filter", source=self._filter.source
        )
        return Contender(method, {"filter": self._key}, self._denoise, 1, self._tunings)

    def _tuning(self, noise: str, told: Told) -> Tuning:
        candidates = self._filter.candidates(self._subject.settings.image.shape)
        images = self._subject.tuning

        def find() -> Tuning:
            noisy, clean = images.noisy(noise), images.clean
            futures = [
                self._pool.submit(work.trial, self._name, parameters, noisy, clean)
                for parameters in candidates
            ]
            trials = []
            for done, future in enumerate(futures):
                told(done / len(futures))
                trials.append(future.result())
            tuned = tuning.choose(self._filter, trials, noisy, clean)
            curve = tuned.curve
            return Tuning(
                parameters=tuned.parameters,
                curve=None if curve is None else [round(value, 5) for value in curve.tolist()],
                images=len(clean),
                psnr=tuned.psnr,
                plain_psnr=tuned.plain_psnr,
                trials=tuned.trials,
            )

        key = {
            **self._subject.key(images.images),
            "noise": noise,
            "candidates": candidates,
            "filter": self._key,
        }
        return self._findings.known(Tuning, f"{self._name}-tuning", key, find)

    def _denoise(
        self, images: NoisyImages, noise: str, made_for: str, told: Told
    ) -> tuple[np.ndarray, float]:
        tuned = self._tunings[made_for]
        return denoised(
            self._pool, self._name, tuned.parameters, tuned.curve, images.noisy(noise), told
        )


def denoised(
    pool: concurrent.futures.Executor,
    name: str,
    parameters: dict[str, Any],
    curve: Sequence[float] | None,
    noisy: np.ndarray,
    told: Told,
) -> tuple[np.ndarray, float]:
    """Denoises in the worker processes, as `workers.denoise`; the seconds are those of one core."""
    size = max(1, work.CHUNK_VALUES // noisy[0].size)
    futures = [
        pool.submit(work.denoise, name, parameters, curve, noisy[start : start + size])
        for start in range(0, len(noisy), size)
    ]
    results = []
    for done, future in enumerate(futures):
        told(done / len(futures))
        results.append(future.result())
    return np.concatenate([part for part, _ in results]), sum(seconds for _, seconds in results)
