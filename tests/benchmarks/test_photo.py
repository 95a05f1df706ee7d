"""The comparison on photographs: the same noise for all, and figures that are told apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.photo import __main__ as photo
from components import models
from components.base.errors import DataError


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "test"
    made.mkdir()
    random = np.random.default_rng(3)
    for name in ("hill", "lake"):
        coarse = random.integers(0, 256, (6, 9, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((60, 40)).save(made / f"{name}.png")
    (made / "notes.txt").write_text("no picture")
    return made


def test_the_middle_is_taken_in_the_models_channels(folder):
    grey = photo.crops(folder, 32, 1)
    assert {name: crop.shape for name, crop in grey.items()} == dict.fromkeys(
        ("hill", "lake"), (1, 32, 32, 1)
    )
    expected = np.asarray(Image.open(folder / "hill.png"))[4:36, 14:46] / np.float32(255)
    np.testing.assert_allclose(photo.crops(folder, 32, 3)["hill"][0], expected, atol=1e-6)


def test_a_photograph_that_is_too_small_and_a_folder_without_any_are_named(folder, tmp_path):
    with pytest.raises(DataError, match=r"hill\.png has 40x60 pixels; 41x41"):
        photo.crops(folder, 41, 1)
    with pytest.raises(DataError, match=r"denoise data --photographs"):
        photo.crops(tmp_path / "nowhere", 32, 1)


def test_every_method_gets_the_same_noise_and_the_summary_compares_them(folder):
    seen = {"model": [], "bm3d": []}

    def method(name, share):
        def denoise(noisy, deviation):
            seen[name].append((noisy.copy(), deviation))
            return noisy * (1 - share) + 0.5 * share

        return denoise

    methods = {"model": method("model", 0.3), "bm3d": method("bm3d", 0.0)}
    rows = photo.measure(photo.crops(folder, 32, 1), methods, [25, 50])
    for (ours, sd), (theirs, sd_too) in zip(seen["model"], seen["bm3d"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert sd == sd_too
    low, high = photo.summary(rows)
    assert low["methods"]["noisy"]["psnr"] > high["methods"]["noisy"]["psnr"]
    # A method that returns its input has the input's figures.
    assert low["methods"]["bm3d"]["psnr"] == low["methods"]["noisy"]["psnr"]
    gain = high["methods"]["model"]["psnr"] - high["methods"]["bm3d"]["psnr"]
    assert high["mean_gain"] == pytest.approx(gain)
    assert high["photographs"] == 2


def test_the_noise_has_its_deviation_and_stays_in_range():
    noisy = photo.corrupt(np.full((1, 200, 200, 1), 0.5, np.float32), 0.1, seed=1)
    assert noisy.std() == pytest.approx(0.1, rel=0.02)
    noisy = photo.corrupt(np.ones((1, 8, 8, 1), np.float32), 0.1, seed=1)
    assert noisy.max() <= 1


def test_a_keras_file_is_measured(folder, tmp_path, capsys):
    models.build("photo_unet", (None, None, 1), widths=[8], blocks=0).save(tmp_path / "m.keras")
    arguments = [str(tmp_path / "m.keras"), "--data", str(folder), "--crop", "32"]
    assert photo.main([*arguments, "--without-bm3d", "--output", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / photo.RESULT_FILE).read_text())
    assert [line["deviation"] for line in figures["summary"]] == [15, 25, 50]
    assert "model" in capsys.readouterr().out
