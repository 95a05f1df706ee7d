"""The strengths at which the robustness curve of a noise is taken."""

from __future__ import annotations

import dataclasses

from components.base.settings import GIVEN
from components.noise import Noise, parse
from components.noise.chain import Chain

FACTORS = (0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
"""Multiples of the severity in noise.evaluation: salt_pepper(rate=0.1) goes from 0.02 to 0.5."""
GAUSSIAN_FACTORS = (0.1, 0.2, 0.4, 0.6, 1.0, 1.4, 2.0)
"""gaussian(sd=0.5) goes from 0.05 to 1, beyond which nothing is left to be seen."""
CHAIN_FACTORS = (0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
"""Multiples of a chain's noises: gaussian(sd=0.2) + salt_pepper(rate=0.05) goes to 1 and 0.25."""


@dataclasses.dataclass(frozen=True)
class Severity:
    """One place on the curve."""

    value: float
    """Position on the axis."""
    noise: str
    """The noise at this strength."""


def axis(expression: str) -> str:
    """The unit of a noise's severities: its first parameter, or times a chain's own."""
    noise = parse(expression)
    if isinstance(noise, Chain):
        return f"times {noise}"
    severity = noise.parameters[0]
    return f"{severity.name}: {severity.unit}"


def severities(expression: str) -> list[Severity]:
    """The severities to measure at, rising; none for a noise that has no single severity."""
    if expression == GIVEN:
        return []
    noise = parse(expression)
    factors = FACTORS
    if isinstance(noise, Chain):
        factors = CHAIN_FACTORS
    elif noise.kind == "gaussian":
        factors = GAUSSIAN_FACTORS
    found = []
    for factor in factors:
        other = _scaled(noise, factor)
        if other is not None:
            chain = isinstance(other, Chain)
            value = factor if chain else getattr(other, other.parameters[0].name)
            found.append(Severity(value, str(other)))
    return found


def _scaled(noise: Noise, factor: float) -> Noise | None:
    if isinstance(noise, Chain):
        parts = [_scaled(part, factor) for part in noise.noises]
        known = [part for part in parts if part is not None]
        return Chain(*known) if len(known) == len(parts) else None
    if not noise.parameters:
        return None
    severity = noise.parameters[0]
    value = getattr(noise, severity.name)
    if severity.is_switch or isinstance(value, tuple):
        return None
    stronger = float(f"{value * factor:.6g}")
    if not severity.low <= stronger <= severity.high:
        return None
    own = {parameter.name: getattr(noise, parameter.name) for parameter in noise.parameters}
    return type(noise)(**{**own, severity.name: stronger})
