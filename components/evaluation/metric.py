"""ImageQuality: the TFMA metric that averages per-image figures.

TFMA would unroll images into pixels, one prediction each. Here a batch is
measured vectorised and arrives as sums, one row per noise and class, so TFMA
only slices and adds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types

from components.evaluation.measure import FIGURES


def _computations(
    name: str = "image_quality",
    model_names: list[str] | None = None,
    output_names: list[str] | None = None,
) -> list[metric_types.MetricComputation]:
    computations = []
    for model_name in model_names or [""]:
        keys = [
            metric_types.MetricKey(name=figure, model_name=model_name, example_weighted=None)
            for figure in (*FIGURES, "images")
        ]
        computations.append(
            metric_types.MetricComputation(
                keys=keys, preprocessors=None, combiner=_MeanFigures(model_name, keys)
            )
        )
    return computations


class ImageQuality(tfma.metrics.Metric):
    """Means of `measure.FIGURES` over images, and `images`, their number."""

    def __init__(self, name: str = "image_quality"):
        super().__init__(_computations, name=name)


metric_types.register_metric(ImageQuality)


class _MeanFigures(beam.CombineFn):
    """Adds vectors of (sum of each figure, number of images) in float64."""

    def __init__(self, model_name: str, keys: list[metric_types.MetricKey]):
        self._model_name = model_name
        self._keys = keys

    def create_accumulator(self) -> np.ndarray:
        return np.zeros(len(self._keys), np.float64)

    def add_input(self, accumulator: np.ndarray, element: Any) -> np.ndarray:
        predictions = element.predictions
        if isinstance(predictions, dict):
            predictions = predictions[self._model_name]
        return accumulator + predictions

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return np.sum(list(accumulators), axis=0)

    def extract_output(self, accumulator: np.ndarray) -> dict[metric_types.MetricKey, float]:
        images = accumulator[-1]
        values = [*(accumulator[:-1] / images), images]
        return {key: float(value) for key, value in zip(self._keys, values, strict=True)}
