"""PSNR against the severity of each noise: blind model, specialist, best filter, noisy input."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.benchmark.contender import NOISY, Contender
from pipeline.benchmark.contents import Benchmark, Curve, Point
from pipeline.benchmark.findings import Findings
from pipeline.benchmark.severity import axis, severities
from pipeline.benchmark.subject import Subject, tell

IMAGES = 1_000
"""Test images of the curves, with the smallest keys."""


def curves(
    subject: Subject,
    found: Benchmark,
    contenders: Mapping[str, Contender],
    findings: Findings,
) -> list[Curve]:
    """A curve for each noise that has a severity.

    Args:
      subject: Its noises are varied.
      found: Who did best decides whose curves there are.
      contenders: By name.
      findings: What is known.
    """
    images = subject.test.first(IMAGES)
    about = subject.key(images)
    curves = []
    for number, noise in enumerate(subject.noises):
        places = severities(noise)
        if not places:
            continue
        lines = _lines(found, noise)
        noisy = subject.under([place.noise for place in places], images)
        psnr: dict[str, dict[str, float]] = {place.noise: {} for place in places}
        for method in lines:
            for done, varied in enumerate(psnr):
                tell(number + done / len(places), len(subject.noises), f"robustness, {varied}")
                result = contenders[method].result(
                    noisy, varied, noise, about, findings, part="-robustness"
                )
                psnr[varied][method] = result.total.psnr
        points = [
            Point(severity=place.value, noise=place.noise, psnr=psnr[place.noise])
            for place in places
        ]
        curves.append(
            Curve(noise=noise, axis=axis(noise), images=len(images), lines=lines, points=points)
        )
    return curves


def _lines(found: Benchmark, noise: str) -> dict[str, str]:
    """The methods of a curve, and what each is there for."""
    lines = {NOISY: "noisy input"}
    best = found.best("filter", noise)
    if best is not None:
        lines[best.method] = f"{found.method(best.method).title}, tuned for {noise}"
    specialist, blind = found.specialist(noise), found.blind()
    if specialist is not None:
        lines[specialist.name] = f"{specialist.title}: specialist for {noise}"
    if blind is not None:
        lines[blind.name] = f"{blind.title}: blind"
    return lines
