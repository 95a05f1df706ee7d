"""A small run's contents, made by hand: two noises, two classes, one missed threshold."""

from __future__ import annotations

import numpy as np
import pytest

from components.csv_ingestion.result import FileSummary, IngestionSummary, QuarantinedRow
from components.report import choose, contents, gather
from pipeline import config

NOISES = ("gaussian(sd=0.5)", "salt_pepper(rate=0.1)")
METRICS = ("mse", "mae", "psnr", "ssim")


def _row(noise: str, label: str, psnr: float, bounds: dict[str, float]) -> contents.MetricsRow:
    def values(decibels: float) -> dict[str, float]:
        return {"mse": 10 ** (-decibels / 10), "mae": 0.05, "psnr": decibels, "ssim": 0.7}

    return contents.MetricsRow(
        noise=noise,
        label=label,
        images=20 if contents.ALL in (noise, label) else 10,
        denoised=values(psnr),
        noisy=values(psnr - 8),
        baseline=values(psnr - 0.5),
        bounds=bounds,
    )


@pytest.fixture(scope="session")
def per_image() -> dict[str, np.ndarray]:
    """Five images of two classes under two noises, sorted by noise and key as `per_image` is."""
    return {
        "key": np.array([1, 2, 3, 4, 5] * 2),
        "label": np.array([0, 0, 0, 1, 1] * 2),
        "psnr": np.array([10.0, 20.0, 30.0, 25.0, 26.0, 28.0, 24.0, 20.0, 22.0, 21.0]),
        "noisy_psnr": np.array([9.0, 9.0, 9.0, 9.0, 100.0, 15.0, 15.0, 15.0, 15.0, 15.0]),
        "ssim": np.full(10, 0.5),
        "noise": np.repeat(NOISES, 5),
    }


@pytest.fixture(scope="session")
def small_contents(per_image: dict[str, np.ndarray]) -> contents.Contents:
    settings = config.validate(
        {
            "noise": {"evaluation": NOISES},
            "data": {"classes": ["<b>Shirt</b>", "Bag & co"]},
        },
        source="test",
    ).model_dump(mode="json", exclude={"beam", "kubeflow"})
    pixels = contents.FeatureStatistics(
        name="image",
        values=784,
        mean=70.0,
        sd=80.0,
        least=0.0,
        median=1.0,
        greatest=255.0,
        zeros=0.5,
        edges=[0.0, 128.0, 255.0],
        histogram=[500.0, 284.0],
    )
    label = contents.FeatureStatistics(name="label", values=10, counts={"0": 6, "1": 4})
    splits = [
        contents.SplitStatistics(
            split=split, examples=10, features={"image": pixels, "label": label}
        )
        for split in ("train", "test")
    ]
    transformed = contents.SplitStatistics(
        split="all", examples=20, features={"clean": pixels, "noisy": pixels}
    )
    rows = [_row(contents.ALL, contents.ALL, 22.0, {"psnr": 25.0})]
    for noise in NOISES:
        rows.append(_row(noise, contents.ALL, 22.0, {"psnr_gain": 1.0, "mse": 0.1}))
        rows.extend(_row(noise, label, 21.0 + int(label), {}) for label in ("0", "1"))
    confusions = [
        contents.Confusion(noise=noise, images=images, accuracy=0.75, counts=[[6, 2], [0, 0]])
        for noise, images in (
            ("none", "clean"),
            *((noise, images) for noise in NOISES for images in ("noisy", "denoised")),
        )
    ]
    return contents.Contents(
        outcome="not blessed",
        version=None,
        misses=["psnr on all noises is 22.0000 dB, 3.0000 dB below the threshold 25.0000 dB"],
        settings=settings,
        provenance=contents.Provenance(
            data_folder="/data/<clothing>", code={"training": "0123"}, libraries={"numpy": "1.26"}
        ),
        ingestion=IngestionSummary(
            rows=21,
            examples={"train": 10, "test": 10},
            quarantined={"pixel": 1},
            span=0,
            files=[
                FileSummary(
                    file="train/a.csv",
                    input_split="train",
                    rows=11,
                    examples={"train": 10},
                    quarantined={"pixel": 1},
                )
            ],
            ignored={"train/<b>.txt": "not named .csv or .csv.gz"},
            overlap=3,
        ),
        quarantine=[
            QuarantinedRow(
                file="train/a.csv",
                line=3,
                reason="pixel",
                detail="pixel 1 is 999",
                row="0,<script>alert(1)</script>",
            )
        ],
        expected_schema=[
            contents.SchemaFeature(
                name="image", type="int", shape="784", domain="0 to 255", drift="L∞ ≤ 0.1"
            )
        ],
        anomalies=[],
        drift=[
            contents.Drift(
                compared="split test against train",
                feature="label",
                measure="L∞ distance",
                value=0.01,
                threshold=0.1,
            )
        ],
        statistics=splits,
        transformed=transformed,
        training={
            "images": 10,
            "epochs": 2,
            "steps_per_epoch": 1,
            "batch_size": 10,
            "parameters": 1234,
            "precision": "float32",
            "candidates": [
                {"precision": "float32", "environment": {}, "images_per_second": 401.6},
                {
                    "precision": "mixed_bfloat16",
                    "environment": {"ISA": "LOW"},
                    "images_per_second": None,
                    "error": "ended by SIGILL (Illegal instruction)",
                },
            ],
            "gpus": 0,
            "cores": 2,
            "resumed_from_epoch": 0,
            "seconds": 3.0,
            "images_per_second": 6.7,
        },
        history=[
            {"loss": 1.0, "val_loss": 1.1, "psnr": 20.0, "val_psnr": 21.0, "learning_rate": 0.1},
            {"loss": 0.5, "val_loss": 0.6, "psnr": 21.0, "val_psnr": 22.0, "learning_rate": 0.0},
        ],
        learning_rate=[(0.0, 0.0), (1.0, 0.1), (2.0, 0.0)],
        metrics=rows,
        distributions=gather.distributions(per_image, list(NOISES)),
        pictures=choose.pick(per_image, list(NOISES)),
        serving_check={
            "failures": [],
            "signatures": {"serving_default": {"max_difference": 0.0, "milliseconds": 1.5}},
        },
        classifier=contents.Classifier(
            training={"images": 10, "parameters": 99, "validation_accuracy": 0.9},
            images=8,
            confusions=confusions,
        ),
    )
