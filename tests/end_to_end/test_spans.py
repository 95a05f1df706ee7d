"""Scheduled retraining: the same command each time, on what is the newest span by then."""

from __future__ import annotations

import json

import numpy as np
import pytest

from components.training import start
from components.training.result import KERAS_FILE
from tests import clothing
from tests.end_to_end.conftest import TEST, TRAIN, Denoise

SETTINGS = ("training.warm_start=true", "report.classifier=false", "evaluation.max_regression=1")


def _weights(denoise, version):
    import keras

    from components import models  # noqa: F401  # registers the layers

    folder = denoise.workspace / "serving" / "denoiser" / version
    return keras.saving.load_model(folder / KERAS_FILE).get_weights()


@pytest.mark.ci
@pytest.mark.timeout(1200)
def test_a_newer_span_is_trained_on_from_the_pushed_model(tmp_path):
    denoise = Denoise(tmp_path / "workspace", tmp_path / "spans")
    clothing.write_csvs(denoise.data / "span-1", train=TRAIN, test=TEST, seed=7)
    first = denoise.run(*SETTINGS)
    assert first.returncode == 0, first.stderr[-4000:]
    before = denoise.summary()
    assert before["data"]["span"] == 1
    assert before["training"]["started_from"] == start.NONE
    assert not before["baseline_metrics"]

    clothing.write_csvs(denoise.data / "span-2", train=TRAIN, test=TEST, seed=8)
    # Steps so small that the weights stay where they started.
    settings = (*SETTINGS, "training.learning_rate=1.0e-9")
    second = denoise.run(*settings)
    assert second.returncode == 0, second.stderr[-4000:]
    after = denoise.summary()
    assert after["data"]["span"] == 2
    assert after["training"]["started_from"] == before["pushed_version"]
    assert f"from version {before['pushed_version']}" in second.stderr
    assert after["outcome"] == "pushed"
    assert denoise.versions() == [before["pushed_version"], after["pushed_version"]]
    pairs = zip(*(_weights(denoise, version) for version in denoise.versions()), strict=True)
    for old, new in pairs:
        np.testing.assert_allclose(new, old, atol=1e-6)
    (baseline,) = [row for row in after["baseline_metrics"] if row["noise"] == row["label"] == "*"]
    (candidate,) = [row for row in after["metrics"] if row["noise"] == row["label"] == "*"]
    assert candidate["psnr"] == pytest.approx(baseline["psnr"], abs=1e-2)

    # No newer span: the last push does not make it train on the same data again.
    third = denoise.run(*settings)
    assert third.returncode == 0, third.stderr[-4000:]
    assert {step["state"] for step in json.loads(third.stdout)["steps"]} == {"cached"}
    assert len(denoise.versions()) == 2
