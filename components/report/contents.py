"""What the report says, as plain values: report.json, and what its page is made of."""

from __future__ import annotations

from typing import Any

import pydantic

from components.csv_ingestion.result import IngestionSummary, QuarantinedRow
from components.evaluation.result import ALL
from components.tuning.trials import Tuning


class Provenance(pydantic.BaseModel):
    """What made the model."""

    data_folder: str
    code: dict[str, str]
    """Fingerprint of the sources, by step."""
    libraries: dict[str, str]
    """Version by name, where the report was made."""


class MetricsRow(pydantic.BaseModel):
    """Means over test images of one noise and label, ALL for either."""

    noise: str
    label: str
    images: int
    denoised: dict[str, float]
    """By `measure.METRICS`."""
    noisy: dict[str, float]
    baseline: dict[str, float] | None
    """Of the model that was pushed before, if there was one."""
    bounds: dict[str, float]
    """The thresholds on this row, by metric; `psnr_gain` is the least gain over the noisy input."""


class Distribution(pydantic.BaseModel):
    """Per-image PSNR of one noise, in dB."""

    noise: str
    edges: list[float]
    """BINS + 1 of them, the same for every noise."""
    denoised: list[int]
    noisy: list[int]
    denoised_quantiles: dict[str, float]
    """At 1, 5, 25, 50, 75, 95 and 99 %."""
    noisy_quantiles: dict[str, float]
    worsened: int
    """Images whose denoised PSNR is less than their noisy one's."""


class Picture(pydantic.BaseModel):
    """A test image the report shows."""

    kind: str
    """`typical`: of its class, the median of the mean PSNR over noises; `worst`: the least PSNR.
    Without classes: those at QUANTILES of the mean PSNR, and as many with the least."""
    noise: str
    label: str
    key: int
    psnr: float
    noisy_psnr: float
    ssim: float


class FeatureStatistics(pydantic.BaseModel):
    """A feature of one split, as TFDV counted it."""

    name: str
    values: int
    mean: float | None = None
    sd: float | None = None
    least: float | None = None
    median: float | None = None
    greatest: float | None = None
    zeros: float | None = None
    """Share of values that are 0."""
    edges: list[float] = []
    histogram: list[float] = []
    """Number of values between edges."""
    counts: dict[str, int] = {}
    """By value, of a categorical feature."""


class SplitStatistics(pydantic.BaseModel):
    """TFDV's statistics of one split."""

    split: str
    examples: int
    features: dict[str, FeatureStatistics]


class SchemaFeature(pydantic.BaseModel):
    """What the schema asks of a feature."""

    name: str
    type: str
    shape: str
    domain: str
    drift: str


class Drift(pydantic.BaseModel):
    """How far two distributions of a feature are apart."""

    compared: str
    feature: str
    measure: str
    value: float
    threshold: float


class Confusion(pydantic.BaseModel):
    """What the reference classifier takes images for."""

    noise: str
    """`none` for clean images."""
    images: str
    """clean, noisy or denoised."""
    accuracy: float
    counts: list[list[int]]
    """True label by predicted label."""


class Classifier(pydantic.BaseModel):
    """The downstream classifier: trained on clean images, shown others."""

    training: dict[str, Any]
    images: int
    """Test images it was shown, of each noise."""
    confusions: list[Confusion]

    def accuracy(self, noise: str, images: str) -> float:
        """Of one kind of images."""
        return next(
            confusion.accuracy
            for confusion in self.confusions
            if (confusion.noise, confusion.images) == (noise, images)
        )


class Contents(pydantic.BaseModel):
    """Everything the report says; pictures apart."""

    outcome: str
    """pushed; not blessed; not servable."""
    version: str | None
    misses: list[str]
    """Thresholds the model did not keep, each with by how much."""
    settings: dict[str, Any]
    provenance: Provenance
    ingestion: IngestionSummary
    quarantine: list[QuarantinedRow]
    """The first ones."""
    expected_schema: list[SchemaFeature]
    anomalies: list[str]
    drift: list[Drift]
    statistics: list[SplitStatistics]
    transformed: SplitStatistics | None
    training: dict[str, Any]
    history: list[dict[str, float]]
    """loss, psnr, val_loss, val_psnr and learning_rate by epoch."""
    learning_rate: list[tuple[float, float]]
    """Epochs done and the learning rate then; empty where the training did not note it."""
    metrics: list[MetricsRow]
    distributions: list[Distribution]
    pictures: list[Picture]
    serving_check: dict[str, Any]
    tuning: Tuning | None = None
    classifier: Classifier | None = None

    def row(self, noise: str = ALL, label: str = ALL) -> MetricsRow:
        """The metrics of one noise and label."""
        return next(row for row in self.metrics if (row.noise, row.label) == (noise, label))

    @property
    def noises(self) -> list[str]:
        """In the order of the settings."""
        return list(self.settings["noise"]["evaluation"])

    @property
    def labels(self) -> list[str]:
        """Those of the test images, in order."""
        return sorted({row.label for row in self.metrics if row.label != ALL}, key=int)

    @property
    def worst(self) -> MetricsRow:
        """The noise, and the label if there are any, with the least PSNR after denoising."""
        rows = [self.row(noise, label) for noise in self.noises for label in self.labels or [ALL]]
        return min(rows, key=lambda row: row.denoised["psnr"])

    def class_name(self, label: str) -> str:
        """Of a label, or of ALL; "image" where images have no label."""
        if label == ALL:
            return "all"
        if int(label) < 0:
            return "image"
        classes = self.settings["data"]["classes"]
        return classes[int(label)] if int(label) < len(classes) else label
