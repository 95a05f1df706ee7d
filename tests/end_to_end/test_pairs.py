"""A run on pairs of a noisy and a clean image."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.benchmark.contents import Benchmark
from tests import textures
from tests.end_to_end.conftest import Denoise

pytestmark = pytest.mark.ci
SETTINGS = (
    "image={height: 16, width: 16, channels: 1}",
    "data={patches: 8, max_drift: 1}",
    "noise={training: given, evaluation: [given]}",
    "training.epochs=1",
    "evaluation={min_gain: -99, thresholds: {}}",
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(1)
    for number in range(10):
        split = "test" if number < 3 else "train"
        clean = textures.texture(number, 40, 44, channels=1)
        noisy = np.clip(clean + random.normal(0, 25, clean.shape), 0, 255).astype(np.uint8)
        textures.write(folder / split / "clean" / f"{number}.png", clean)
        textures.write(folder / split / "noisy" / f"{number}.png", noisy)
    textures.write(folder / "train" / "noisy" / "alone.png", textures.texture(50, 40, 44, 1))
    textures.write(folder / "train" / "noisy" / "other.png", textures.texture(51, 40, 44, 1))
    textures.write(folder / "train" / "clean" / "other.png", textures.texture(51, 40, 43, 1))
    denoise = Denoise(tmp_path_factory.mktemp("workspace"), folder)
    return denoise, denoise.run(*SETTINGS)


def test_it_is_trained_and_measured_on_the_given_noise(ran):
    denoise, done = ran
    assert done.returncode == 0, done.stderr[-4000:]
    summary = denoise.summary()
    data = summary["data"]
    assert (data["format"], data["rows"], data["cut"]) == ("pairs", 12, 10)
    assert data["quarantined"] == {"no_twin": 1, "other_size": 1}
    assert summary["settings"]["training"]["noise"] == "fixed"
    given = next(row for row in summary["metrics"] if row["noise"] == "given")
    # Of sd 25/255, less what is clipped away: 20 log10(255/25) = 20.2 dB.
    assert given["noisy_psnr"] == pytest.approx(20.3, abs=0.5)
    assert "12 = 10 cut into 80 patches" in done.stderr


def test_the_report_shows_the_given_noise(ran):
    denoise, _ = ran
    (page,) = denoise.workspace.glob("reports/*/report.html")
    text = page.read_text()
    assert "Trained on pairs of a noisy and a clean image" in text
    assert "44x40 pixels, its clean twin has 43x40" in text
    contents = json.loads(page.with_name("report.json").read_text())
    assert {picture["noise"] for picture in contents["pictures"]} == {"given"}
    assert all(15 < picture["noisy_psnr"] < 25 for picture in contents["pictures"])


def test_filters_are_measured_on_the_given_noise(ran):
    denoise, _ = ran
    overrides = [part for value in SETTINGS for part in ("--set", value)]
    arguments = ("benchmark", "--no-photographs", "--data", denoise.data, *overrides)
    done = denoise.call(*arguments, "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    found = Benchmark.model_validate_json(done.stdout)
    assert (found.noises, found.images, found.robustness) == (["given"], 24, [])
    [model] = [method for method in found.methods if method.kind == "model"]
    assert model.specialist_for == "given"
    row = next(row for row in denoise.summary()["metrics"] if row["noise"] == "given")
    noisy, denoised = (found.result(name, "given").total for name in ("noisy", model.name))
    assert noisy.psnr == pytest.approx(row["noisy_psnr"], rel=1e-5)
    assert denoised.psnr == pytest.approx(row["psnr"], rel=1e-5)
    best = found.best("filter", "given")
    assert best.tuning.images == 56, "parts of the pairs to train on"
    assert best.total.psnr > noisy.psnr + 1
    assert found.result("ridge", "given").total.psnr > noisy.psnr + 1


def test_a_model_is_measured_on_them_without_a_run(ran):
    denoise, _ = ran
    overrides = [part for value in SETTINGS for part in ("--set", value)]
    done = denoise.call("evaluate", "--data", denoise.data, "--json", *overrides)
    assert done.returncode == 0, done.stderr[-4000:]
    measured = denoise.summary()["metrics"][0]
    first = json.loads(done.stdout)[0]
    assert first["noisy_psnr"] == pytest.approx(measured["noisy_psnr"], abs=1e-4)
    assert first["psnr"] == pytest.approx(measured["psnr"], abs=1e-3)
