"""The comparison of a Keras file on photographs."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from benchmarks.photo import __main__ as photo
from components import models


def test_a_keras_file_is_measured(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "test"
    folder.mkdir()
    coarse = np.random.default_rng(3).integers(0, 256, (6, 9), np.uint8)
    Image.fromarray(coarse).resize((60, 40)).save(folder / "hill.png")
    monkeypatch.setattr(photo.filters, "available", lambda: ["median"])
    models.build("photo_unet", (None, None, 1), widths=[8], blocks=0).save(tmp_path / "m.keras")
    arguments = [str(tmp_path / "m.keras"), "--data", str(folder), "--crop", "32"]
    assert photo.main([*arguments, "--output", str(tmp_path), "--pictures", "hill"]) == 0
    found = json.loads((tmp_path / photo.RESULT_FILE).read_text())
    assert [method["name"] for method in found["methods"]] == ["noisy", "m", "m_ensemble"]
    assert found["noises"] == ["gaussian(sd=0.0588)", "gaussian(sd=0.098)", "gaussian(sd=0.1961)"]
    # New, it adds nothing.
    psnr = {(row["method"], row["noise"]): row["rows"]["*"]["psnr"] for row in found["results"]}
    for noise in found["noises"]:
        for method in ("m", "m_ensemble"):
            assert abs(psnr[method, noise] - psnr["noisy", noise]) < 1e-3
    picture = np.asarray(Image.open(tmp_path / photo.PICTURE_FILE))
    noisy, denoised, clean = (picture[:, start : start + 32] for start in (0, 40, 80))
    assert picture.shape == (32, 112, 4)
    np.testing.assert_array_equal(denoised, noisy)
    middle = np.asarray(Image.open(folder / "hill.png"))[4:36, 14:46]
    np.testing.assert_array_equal(clean[..., 0], middle)
    assert np.abs(noisy.astype(int) - clean).mean() > 10
    told = capsys.readouterr()
    assert "Photographs in grey" in told.out
    assert "the package bm3d is not installed" in told.err


def test_what_is_wrong_is_said(tmp_path, capsys):
    models.build("photo_unet", (None, None, 1), widths=[8], blocks=0).save(tmp_path / "m.keras")
    assert photo.main([str(tmp_path / "m.keras"), "--data", str(tmp_path / "nowhere")]) == 1
    assert "holds no photographs" in capsys.readouterr().err
    assert photo.main([str(tmp_path / "m.keras"), "--pictures", "astronaut", "unknown"]) == 1
    assert "--pictures unknown: expected some of astronaut, " in capsys.readouterr().err
