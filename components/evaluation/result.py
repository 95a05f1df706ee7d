"""Reads what the evaluation wrote."""

from __future__ import annotations

import dataclasses
import glob
import os
from typing import Any

import numpy as np

PER_IMAGE_FILE = "per_image"
"""Prefix of the Parquet files beside TFMA's results: one row per image and noise."""
METRICS = ("mse", "mae", "psnr", "ssim")
SMALLER_IS_BETTER = ("mse", "mae")
"""The other metrics are better when larger."""
FIGURES = (*METRICS, *(f"noisy_{name}" for name in METRICS), "psnr_gain")
"""mse, mae: pixels in [0, 1]; psnr, psnr_gain: dB; `noisy_`: the same of the noisy input."""
ALL = "*"
"""Stands in place of a noise or label for the mean over all of them."""


@dataclasses.dataclass(frozen=True)
class Miss:
    """A threshold the model did not keep."""

    metric: str
    noise: str
    value: float
    bound: float
    against: str
    """`threshold` or `last pushed model`."""

    def __str__(self) -> str:
        unit = " dB" if "psnr" in self.metric else ""
        where = "all noises" if self.noise == ALL else self.noise
        by = abs(self.value - self.bound)
        if self.against == "threshold":
            side = "below" if self.value < self.bound else "above"
            return (
                f"{self.metric} on {where} is {self.value:.4f}{unit}, "
                f"{by:.4f}{unit} {side} the threshold {self.bound:.4f}{unit}"
            )
        return (
            f"{self.metric} on {where} is {-self.value:.4f}{unit} worse than the last pushed "
            f"model's, {by:.4f}{unit} more than the {-self.bound:.4f}{unit} allowed"
        )


Table = dict[tuple[str, str], dict[str, float]]
"""(noise, label) to means of FIGURES and `images`; ALL for either."""


def metrics(evaluation: str, model_name: str | None = None) -> Table:
    """Means by noise and label.

    Args:
      evaluation: The folder of a ModelEvaluation.
      model_name: `candidate` or `baseline`; None: the candidate.

    Returns:
      Empty where that model was not evaluated.
    """
    import tensorflow_model_analysis as tfma

    table: Table = {}
    for metrics_for_slice in tfma.load_metrics(evaluation):
        keys = metrics_for_slice.slice_key.single_slice_keys
        by_column = {key.column: key for key in keys}
        noise = by_column["noise"].bytes_value.decode() if "noise" in by_column else ALL
        label = str(by_column["label"].int64_value) if "label" in by_column else ALL
        for item in metrics_for_slice.metric_keys_and_values:
            name = item.key.model_name or "candidate"
            if item.key.is_diff or name != (model_name or "candidate"):
                continue
            value = item.value.double_value.value
            table.setdefault((noise, label), {})[item.key.name] = value
    return table


def misses(evaluation: str) -> list[Miss]:
    """Every threshold the model did not keep, in TFMA's own verdict."""
    import tensorflow_model_analysis as tfma

    found = []
    for per_slice in tfma.load_validation_result(evaluation).metric_validations_per_slice:
        keys = {key.column: key for key in per_slice.slice_key.single_slice_keys}
        noise = keys["noise"].bytes_value.decode() if "noise" in keys else ALL
        for failure in per_slice.failures:
            threshold = failure.metric_threshold
            if threshold.HasField("change_threshold"):
                bound, against = threshold.change_threshold.absolute.value, "last pushed model"
            else:
                bounds = threshold.value_threshold
                lower = bounds.HasField("lower_bound")
                bound = bounds.lower_bound.value if lower else bounds.upper_bound.value
                against = "threshold"
            found.append(
                Miss(
                    failure.metric_key.name,
                    noise,
                    failure.metric_value.double_value.value,
                    bound,
                    against,
                )
            )
    return found


def _per_image_files(evaluation: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(evaluation), PER_IMAGE_FILE + "*.parquet")))


def images(evaluation: str) -> int:
    """Number of rows of `per_image`: of each test image as many as there are noises."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(file).num_rows for file in _per_image_files(evaluation))


def per_image(evaluation: str) -> Any:
    """One row per test image and noise: key, label, noise, level and FIGURES.

    Returns:
      A pyarrow Table sorted by noise and key.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(file) for file in _per_image_files(evaluation)]
    table = pa.concat_tables(tables).unify_dictionaries()
    noise = np.asarray(table["noise"].cast(pa.string()).to_pylist())
    return table.take(np.lexsort((table["key"].to_numpy(), noise)))
