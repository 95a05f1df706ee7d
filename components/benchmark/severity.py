"""At which strengths the robustness curve of a noise is taken."""

from __future__ import annotations

from components.noise import Noise, parse
from components.noise.chain import Chain

FACTORS = (0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
"""Of the severity in noise.evaluation: salt_pepper(rate=0.1) goes from 0.02 to 0.5."""
GAUSSIAN_FACTORS = (0.1, 0.2, 0.4, 0.6, 1.0, 1.4, 2.0)
"""gaussian(sd=0.5) goes from 0.05 to 1, beyond which nothing is left to be seen."""
CHAIN_FACTORS = (0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
"""Of every noise in a chain: gaussian(sd=0.2) + salt_pepper(rate=0.05) goes to 1 and 0.25."""


def severities(expression: str) -> list[tuple[float, str]]:
    """Factors and the noise at each, rising; none for a noise that has no single severity."""
    noise = parse(expression)
    if isinstance(noise, Chain):
        factors = CHAIN_FACTORS
    elif noise.kind == "gaussian":
        factors = GAUSSIAN_FACTORS
    else:
        factors = FACTORS
    scaled = [(factor, _scaled(noise, factor)) for factor in factors]
    return [(factor, str(other)) for factor, other in scaled if other is not None]


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
