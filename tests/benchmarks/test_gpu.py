"""benchmarks/gpu measures what it says, here on a CPU."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import data, limits
from components.csv_ingestion import examples
from pipeline import config
from tests import clothing

SETTINGS = config.load(
    overrides=["image={height: 28, width: 28}", "data.validation_fraction=0.25"],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    clothing.write_csvs(folder, train=120, test=40)
    return folder


def test_the_splits_are_the_pipelines(folder):
    train, validation, test = data.read(folder, SETTINGS)
    assert len(train.images) + len(validation.images) == 120
    assert len(test.images) == 40
    assert train.images.dtype == np.float32
    assert examples.is_validation(validation.keys, 0.25).all()
    assert not examples.is_validation(train.keys, 0.25).any()


def test_operations_are_counted():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(4, 3, padding="same"),
            keras.layers.Conv2DTranspose(2, 2, strides=2),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    forward = 2 * (64 * 3 * 3 * 2 * 4 + 64 * 2 * 2 * 4 * 2 + 16 * 16 * 2 * 10)
    assert limits.operations(model) == 3 * forward
    assert limits.least_bytes(model) == 12 * (8 * 8 * 4 + 16 * 16 * 2 + 10)


def test_it_trains_and_reports(folder, tmp_path):
    output = tmp_path / "gpu.json"
    status = gpu.main(
        [
            *("--data", str(folder), "--preset", "default", "--matrix", "64"),
            *("--images", "64", "--output", str(output)),
            *("--set", "model.arguments={widths: [4, 4], mixer_blocks: 0}"),
            *("--set", "training={epochs: 2, batch_size: 16, precision: float32}"),
            *("--set", "training.jit_compile=off"),
        ]
    )
    assert status == 0
    figures = json.loads(output.read_text())
    assert figures["images"] == 64
    assert [point["epoch"] for point in figures["curve"]] == [1, 2]
    assert figures["images_per_second"] > 0
    assert figures["seconds_to_targets"] is None
    noises = set(config.load().noise.evaluation)
    assert set(figures["test"]) == set(figures["curve"][-1]["psnr"]) == noises
    assert all(5 < row["psnr"] < 40 for row in figures["test"].values())


def test_a_missing_data_folder_is_named(tmp_path, capsys):
    assert gpu.main(["--data", str(tmp_path), "--preset", "default"]) == 1
    assert "has no train/*.csv" in capsys.readouterr().err
