"""Figures that the predecessors reported of themselves: own noise, own data, not measured here."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Published:
    """One published figure."""

    model: str
    """Name in the list of `denoise models`."""
    noise: str
    mse: float
    """MSE of the validation images, for pixels in [0, 1]."""
    training_mse: float
    setting: str
    source: str


_WINDSOR = "University of Windsor, COMP 4740 report, 2022"

PUBLISHED = (
    Published(
        "windsor_cae",
        "salt_pepper(rate=0.1)",
        0.01255,
        0.01824,
        "Fashion-MNIST, its own validation split, 1000 epochs",
        _WINDSOR,
    ),
    Published(
        "windsor_cnn",
        "salt_pepper(rate=0.1)",
        0.0132,
        0.0187,
        "Fashion-MNIST, its own validation split, 600 epochs",
        _WINDSOR,
    ),
)
"""The other predecessors published pictures and loss curves, no figure."""
