"""Gathers what the steps of a run wrote into one typed object."""

from __future__ import annotations

import itertools
import math
import pathlib
import sys
from importlib import metadata
from typing import Any

import numpy as np

from components.csv_ingestion.result import read_quarantine, read_summary
from components.evaluation.measure import METRICS
from components.report.choose import pick
from components.report.contents import (
    ALL,
    Contents,
    Distribution,
    Drift,
    FeatureStatistics,
    MetricsRow,
    Provenance,
    SchemaFeature,
    SplitStatistics,
)
from components.report.inputs import Artifacts
from components.report.result import outcome
from components.tuning.trials import read as read_tuning

EQUAL = 99.0
"""PSNR in dB from which images are as good as equal; components.image.metrics ends at 100."""
QUARANTINED_SHOWN = 5
BINS = 40
_MEASURES = {
    "JENSEN_SHANNON_DIVERGENCE": "Jensen-Shannon divergence",
    "L_INFTY": "L∞ distance",
}
_LIBRARIES = ("tfx", "tensorflow", "keras", "apache-beam", "numpy")


def gather(
    artifacts: Artifacts, settings: dict[str, Any], data_folder: str, code: dict[str, str]
) -> Contents:
    """Reads everything but images.

    Args:
      artifacts: Where the steps' outputs are.
      settings: The run's, as plain values.
      data_folder: Where the data were.
      code: Fingerprint of the sources, by step.

    Returns:
      The contents, without `classifier`.
    """
    from components.evaluation import result
    from components.serving_check.result import read_check
    from components.training.hyperparameters import lay_over
    from components.training.result import Training

    run_folder = pathlib.Path(artifacts.model_run)
    training = Training.read(run_folder).model_dump(mode="json")
    # What was trained with: the Tuner's findings, and the epochs, which an operator may have set
    # when starting a compiled pipeline.
    settings = lay_over(settings, {**training["tuned"], "training.epochs": training["epochs"]})
    check = read_check(artifacts.infra_blessing)
    misses = [str(miss) for miss in result.misses(artifacts.evaluation)]
    table = result.per_image(artifacts.evaluation)
    per_image = {
        name: np.asarray(table[name].to_numpy())
        for name in ("key", "label", "psnr", "noisy_psnr", "ssim")
    }
    per_image["noise"] = np.asarray(table["noise"].cast("string").to_numpy())
    noises = settings["noise"]["evaluation"]
    anomalies, drift = _anomalies(artifacts)
    return Contents(
        outcome=outcome(artifacts.pushed_version, misses),
        version=artifacts.pushed_version,
        misses=misses,
        settings=settings,
        provenance=Provenance(
            data_folder=data_folder,
            code=code,
            libraries={
                "python": sys.version.split()[0],
                **{name: metadata.version(name) for name in _LIBRARIES},
            },
        ),
        ingestion=read_summary(artifacts.examples),
        quarantine=list(itertools.islice(read_quarantine(artifacts.examples), QUARANTINED_SHOWN)),
        expected_schema=_schema(artifacts.schema),
        anomalies=anomalies,
        drift=drift,
        statistics=[
            _statistics(folder / "FeatureStats.pb", folder.name.removeprefix("Split-"))
            for name in ("train", "validation", "test")
            if (folder := pathlib.Path(artifacts.statistics) / f"Split-{name}").is_dir()
        ],
        transformed=_transformed(artifacts.transformed_statistics),
        training=training,
        history=_history(run_folder),
        learning_rate=_schedule(run_folder),
        metrics=_metrics(artifacts.evaluation, settings),
        distributions=distributions(per_image, noises),
        pictures=pick(per_image, noises),
        serving_check=check,
        tuning=read_tuning(artifacts.tuner_results) if artifacts.tuner_results else None,
    )


def _history(run_folder: pathlib.Path) -> list[dict[str, float]]:
    from components.training.result import HISTORY_FILE

    rows = np.genfromtxt(run_folder / HISTORY_FILE, delimiter=",", names=True)
    rows = np.atleast_1d(rows)
    # JSON knows no NaN.
    return [
        {
            name: float(row[name])
            for name in rows.dtype.names or ()
            if math.isfinite(float(row[name]))
        }
        for row in rows
    ]


def _schedule(run_folder: pathlib.Path) -> list[tuple[float, float]]:
    from components.training.result import SCHEDULE_FILE

    file = run_folder / SCHEDULE_FILE
    if not file.exists():
        return []
    return [(epoch, rate) for epoch, rate in np.loadtxt(file, delimiter=",", skiprows=1).tolist()]


def _metrics(evaluation: str, settings: dict[str, Any]) -> list[MetricsRow]:
    from components.evaluation import result

    candidate = result.metrics(evaluation, "candidate")
    baseline = result.metrics(evaluation, "baseline")
    thresholds = settings["evaluation"]["thresholds"]
    rows = []
    for (noise, label), values in sorted(candidate.items()):
        before = baseline.get((noise, label))
        bounds: dict[str, float] = {}
        if label == ALL:
            for name, value in thresholds.get(noise, {}).items():
                if value is not None:
                    bounds[name] = value
            if noise != ALL:
                bounds["psnr_gain"] = settings["evaluation"]["min_gain"]
        rows.append(
            MetricsRow(
                noise=noise,
                label=label,
                images=int(values["images"]),
                denoised={name: values[name] for name in METRICS},
                noisy={name: values[f"noisy_{name}"] for name in METRICS},
                baseline={name: before[name] for name in METRICS} if before else None,
                bounds=bounds,
            )
        )
    return rows


def _quantiles(values: np.ndarray) -> dict[str, float]:
    shares = (1, 5, 25, 50, 75, 95, 99)
    return {
        str(share): float(value)
        for share, value in zip(shares, np.percentile(values, shares), strict=True)
    }


def distributions(per_image: dict[str, np.ndarray], noises: list[str]) -> list[Distribution]:
    """Histograms and quantiles of per-image PSNR, by noise.

    Args:
      per_image: `noise`, `psnr` and `noisy_psnr`, each (images * noises,).
      noises: In the order wanted.
    """
    both = np.concatenate([per_image["psnr"], per_image["noisy_psnr"]])
    # Where the model's answer holds what is no number, neither the figure is one.
    both = both[~np.isnan(both)]
    # An image that is as it was has a PSNR of 100 dB, far off: it is counted in the last bin.
    finite = both[both < EQUAL]
    low = math.floor(np.min(both, initial=EQUAL))
    high = math.ceil(np.max(finite, initial=low))
    edges = np.linspace(low, max(high, low + 1), BINS + 1)
    distributions = []
    for noise in noises:
        here = per_image["noise"] == noise
        denoised, noisy = per_image["psnr"][here], per_image["noisy_psnr"][here]
        distributions.append(
            Distribution(
                noise=noise,
                edges=edges.tolist(),
                denoised=np.histogram(np.minimum(denoised, edges[-1]), edges)[0].tolist(),
                noisy=np.histogram(np.minimum(noisy, edges[-1]), edges)[0].tolist(),
                denoised_quantiles=_quantiles(denoised),
                noisy_quantiles=_quantiles(noisy),
                worsened=int(np.count_nonzero(denoised < noisy)),
            )
        )
    return distributions


def _feature(feature: Any) -> FeatureStatistics:
    name = feature.path.step[0] if feature.path.step else feature.name
    if feature.WhichOneof("stats") == "string_stats":
        stats = feature.string_stats
        counts = {bucket.label: int(bucket.sample_count) for bucket in stats.rank_histogram.buckets}
        return FeatureStatistics(
            name=name, values=int(stats.common_stats.tot_num_values), counts=counts
        )
    stats = feature.num_stats
    values = int(stats.common_stats.tot_num_values)
    standard = next((item for item in stats.histograms if item.type == item.STANDARD), None)
    buckets = list(standard.buckets) if standard else []
    edges = [buckets[0].low_value, *(item.high_value for item in buckets)] if buckets else []
    return FeatureStatistics(
        name=name,
        values=values,
        mean=stats.mean,
        sd=stats.std_dev,
        least=stats.min,
        median=stats.median,
        greatest=stats.max,
        zeros=stats.num_zeros / values if values else None,
        edges=edges,
        histogram=[bucket.sample_count for bucket in buckets],
    )


def _statistics(file: pathlib.Path, split: str) -> SplitStatistics:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    read = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes())
    dataset = read.datasets[0]
    features = [_feature(feature) for feature in dataset.features]
    return SplitStatistics(
        split=split,
        examples=int(dataset.num_examples),
        features={feature.name: feature for feature in features},
    )


def _transformed(folder: str | None) -> SplitStatistics | None:
    file = pathlib.Path(folder or "") / "FeatureStats.pb"
    return _statistics(file, "all") if folder and file.exists() else None


def _schema(folder: str) -> list[SchemaFeature]:
    from tensorflow_metadata.proto.v0 import schema_pb2

    from components.data_validation.schema import read_schema

    (file,) = pathlib.Path(folder).glob("*.pbtxt")
    rows = []
    for feature in read_schema(file).feature:
        domain = ""
        if feature.HasField("int_domain"):
            domain = f"{feature.int_domain.min} to {feature.int_domain.max}"
        comparator = feature.drift_comparator
        drift = ""
        if comparator.HasField("jensen_shannon_divergence"):
            drift = f"Jensen-Shannon ≤ {comparator.jensen_shannon_divergence.threshold:g}"
        elif comparator.HasField("infinity_norm"):
            drift = f"L∞ ≤ {comparator.infinity_norm.threshold:g}"
        rows.append(
            SchemaFeature(
                name=feature.name,
                type=schema_pb2.FeatureType.Name(feature.type).lower(),
                shape=" × ".join(str(dim.size) for dim in feature.shape.dim),
                domain=domain,
                drift=drift,
            )
        )
    return rows


def _anomalies(artifacts: Artifacts) -> tuple[list[str], list[Drift]]:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    from components.data_validation.result import ANOMALIES_FILE, DRIFT_FILE

    found: dict[str, Any] = {}
    for file in sorted(pathlib.Path(artifacts.anomalies).glob(f"Split-*/{ANOMALIES_FILE}")):
        split = file.parent.name.removeprefix("Split-")
        found[f"split {split}"] = anomalies_pb2.Anomalies.FromString(file.read_bytes())
    drifts = []
    for file in sorted(pathlib.Path(artifacts.drift).glob(f"*/{DRIFT_FILE}")):
        compared = file.parent.name.replace("_", " ")
        found[compared] = text_format.Parse(
            file.read_text(encoding="utf-8"), anomalies_pb2.Anomalies()
        )
        for info in found[compared].drift_skew_info:
            for item in (*info.drift_measurements, *info.skew_measurements):
                drifts.append(
                    Drift(
                        compared=compared,
                        feature=info.path.step[0],
                        measure=_MEASURES.get(name := item.Type.Name(item.type), name),
                        value=item.value,
                        threshold=item.threshold,
                    )
                )
    lines = [
        f"{where}, {feature}: {info.description}"
        for where, anomalies in found.items()
        for feature, info in sorted(anomalies.anomaly_info.items())
    ]
    return lines, drifts
