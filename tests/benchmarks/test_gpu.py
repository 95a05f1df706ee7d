"""benchmarks/gpu measures what it says, here on a CPU."""

from __future__ import annotations

import json

import keras
import numpy as np
import PIL.Image
import pytest

from benchmarks import splits
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import limits
from components.csv_ingestion import examples
from components.image_ingestion import cut
from components.image_ingestion import folder as image_folder
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
    train, validation, test = splits.read(folder, SETTINGS)
    assert len(train.images) + len(validation.images) == 120
    assert len(test.images) == 40
    assert train.images.dtype == np.float32
    assert examples.is_validation(validation.keys, 0.25).all()
    assert not examples.is_validation(train.keys, 0.25).any()


def test_patches_of_images_are_the_pipelines(tmp_path):
    """The same places, keys and splits as ImageIngestion's."""
    random = np.random.default_rng(1)
    for split, files in (("train", 12), ("test", 2)):
        (tmp_path / split).mkdir()
        for number in range(files):
            pixels = random.integers(0, 256, (20, 24), np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / split / f"{number}.png")
    settings = config.load(
        "photo_grey",
        ["image={height: 8, width: 8}", "data={patches: 3, validation_fraction: 0.3}"],
    )
    train, validation, test = splits.read(tmp_path, settings)
    how = cut.Cutting((8, 8, 1), 3, (), int(0.3 * 2**64))
    expected = {"train": {}, "validation": {}, "test": {}}
    for image in image_folder.files(str(tmp_path), "images").images:
        found = cut.cut(image, str(tmp_path), how)
        split = image.split
        if split == "train" and found.key < how.validation_below:
            split = "validation"
        expected[split] |= dict(zip(found.keys.tolist(), found.pixels, strict=True))
    for name, split in (("train", train), ("validation", validation), ("test", test)):
        assert len(split.keys) == len(expected[name]) > 0
        for key, image in zip(split.keys.tolist(), split.images, strict=True):
            np.testing.assert_allclose(image.ravel() * 255, expected[name][key], atol=1e-4)


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
            *("--model", str(tmp_path / "denoiser.keras")),
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
    kept = keras.saving.load_model(tmp_path / "denoiser.keras")
    assert kept.dtype_policy.name == "float32"
    assert kept.count_params() == figures["parameters"]


def test_a_missing_data_folder_is_named(tmp_path, capsys):
    assert gpu.main(["--data", str(tmp_path), "--preset", "default"]) == 1
    assert "has no train/*.csv" in capsys.readouterr().err
