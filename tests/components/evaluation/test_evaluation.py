"""Evaluation: TFMA's means are the plain means, and its verdict follows the thresholds."""

import glob
import json
import shutil

import apache_beam as beam
import keras
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.base import records
from components.base.errors import ModelError, RunError
from components.evaluation import executor, result
from components.evaluation.executor import Executor, evaluate
from components.evaluation.measure import FIGURES, load_denoiser
from components.export import signatures
from components.image import metrics
from components.noise import fixed_noise, parse
from pipeline.config import load
from tests import clothing, transformed

COUNT = 40
SHAPE = (28, 28, 1)
OVERRIDES = ("evaluation.min_gain=-100", "evaluation.thresholds={}")


def _model(folder, scale, offset):
    """A denoiser that only scales: its figures are easy to work out."""
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, keras.layers.Rescaling(scale, offset)(inputs))
    pixels = clothing.images(2, seed=1)[0].reshape(2, -1)
    signatures.export_servable(model, folder, SHAPE, pixels)
    return str(folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    settings = load("default", OVERRIDES)
    pattern = transformed.write(folder / "test", COUNT, settings, seed=3)
    return folder, pattern, _model(folder / "inverted", -1, 1), _model(folder / "same", 1, 0)


def _evaluate(world, name, candidate, baseline=None, overrides=()):
    folder, pattern, *_ = world
    settings = load("default", [*OVERRIDES, *overrides])
    models = {"candidate": candidate, **({"baseline": baseline} if baseline else {})}
    output = str(folder / name)
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        evaluate(
            *(pipeline, sorted(glob.glob(pattern)), models),
            *(settings.image, settings.noise, settings.evaluation, output),
        )
    import tensorflow_model_analysis as tfma

    return output, tfma.load_validation_result(output).validation_ok


@pytest.fixture(scope="module")
def compared(world):
    _, _, inverted, same = world
    return _evaluate(world, "compared", inverted, same)


def test_means_are_those_of_every_noise_on_every_image(compared):
    output, _ = compared
    settings = load()
    images, labels = clothing.images(COUNT, seed=3)
    clean = images / np.float32(255)
    keys = np.arange(COUNT, dtype=np.int64) * 7919 + 3
    table = result.metrics(output)
    overall = []
    for expression in settings.noise.evaluation:
        noisy, _ = fixed_noise(parse(expression), clean, keys, settings.noise.seed)
        for name in ("mse", "mae", "psnr", "ssim"):
            measure = getattr(metrics, name)
            denoised = np.asarray(measure(clean, 1 - np.asarray(noisy)))
            row = table[expression, result.ALL]
            assert row[name] == pytest.approx(denoised.mean(), rel=1e-4)
            assert row[f"noisy_{name}"] == pytest.approx(
                np.asarray(measure(clean, noisy)).mean(), rel=1e-4
            )
            if name == "psnr":
                overall.append(denoised.mean())
                chosen = denoised[labels == 4].mean()
                assert table[expression, "4"]["psnr"] == pytest.approx(chosen, rel=1e-4)
        assert row["images"] == COUNT
        assert row["psnr_gain"] == pytest.approx(row["psnr"] - row["noisy_psnr"], abs=1e-4)
    assert table[result.ALL, result.ALL]["psnr"] == pytest.approx(np.mean(overall), rel=1e-4)
    assert table[result.ALL, result.ALL]["images"] == 3 * COUNT


def test_the_baseline_is_measured_beside_the_candidate(compared):
    table = result.metrics(compared[0], "baseline")
    row = table[result.ALL, result.ALL]
    assert row["psnr_gain"] == pytest.approx(0, abs=1e-4)
    assert row["images"] == 3 * COUNT


def test_worse_than_the_baseline_is_one_miss_with_the_margin(world, compared):
    output, blessed = compared
    candidate = result.metrics(output)[result.ALL, result.ALL]["psnr"]
    baseline = result.metrics(output, "baseline")[result.ALL, result.ALL]["psnr"]
    worse = baseline - candidate
    assert worse > 0.2
    assert not blessed
    (miss,) = result.misses(output)
    assert (miss.metric, miss.noise, miss.against) == ("psnr", result.ALL, "last pushed model")
    assert miss.value == pytest.approx(-worse, abs=1e-4)
    assert f"{worse:.4f} dB worse than the last pushed model's" in str(miss)
    assert f"{worse - 0.2:.4f} dB more than the 0.2000 dB allowed" in str(miss)


def test_an_equal_model_is_blessed(world):
    _, _, _, same = world
    output, blessed = _evaluate(world, "equal", same, same)
    assert blessed
    assert result.misses(output) == []


def test_each_threshold_is_checked_on_its_own_slice(world):
    _, _, inverted, _ = world
    thresholds = (
        "evaluation.thresholds={'salt_pepper(rate=0.1)': {psnr: 50, mse: 1}, "
        "'*': {mae: 0.0001}, 'gaussian(sd=0.5)': {ssim: -1}}"
    )
    output, blessed = _evaluate(world, "thresholds", inverted, overrides=[thresholds])
    assert not blessed
    missed = {(miss.metric, miss.noise): miss for miss in result.misses(output)}
    assert set(missed) == {("psnr", "salt_pepper(rate=0.1)"), ("mae", result.ALL)}
    assert "below the threshold 50.0000 dB" in str(missed["psnr", "salt_pepper(rate=0.1)"])
    assert "above the threshold 0.0001" in str(missed["mae", result.ALL])


def test_better_than_the_noisy_input_is_required(world):
    _, _, inverted, _ = world
    output, blessed = _evaluate(world, "gain", inverted, overrides=["evaluation.min_gain=0"])
    table = result.metrics(output)
    losing = {
        noise
        for (noise, label), row in table.items()
        if label == result.ALL and noise != result.ALL and row["psnr_gain"] < 0
    }
    assert {miss.noise for miss in result.misses(output)} == losing
    assert blessed is (not losing)


def test_per_image_figures_are_one_row_per_image_and_noise(compared):
    table = result.per_image(compared[0]).to_pandas()
    assert len(table) == 3 * COUNT
    assert set(FIGURES) <= set(table.columns)
    means = result.metrics(compared[0])
    for noise, rows in table.groupby("noise", observed=True):
        assert rows["key"].is_unique
        assert rows["psnr"].mean() == pytest.approx(means[noise, result.ALL]["psnr"], rel=1e-4)


def test_a_folder_that_is_no_model_is_named(tmp_path):
    with pytest.raises(ModelError, match=str(tmp_path)):
        load_denoiser(str(tmp_path))


def test_a_model_without_the_signature_is_named(tmp_path):
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ModelError, match="serving_default"):
        load_denoiser(str(tmp_path))


def test_other_examples_than_were_written_are_not_measured(world, tmp_path, monkeypatch):
    settings = load("default", OVERRIDES)
    transformed.write(tmp_path / "examples [1]" / "Split-test", 20, settings)
    model = tmp_path / "model"
    shutil.copytree(world[-1], path_utils.serving_model_dir(str(model)))
    artifacts = {}
    for name, kind in (
        ("examples [1]", standard_artifacts.Examples),
        ("model", standard_artifacts.Model),
        ("baseline", standard_artifacts.Model),
        ("evaluation", standard_artifacts.ModelEvaluation),
        ("blessing", standard_artifacts.ModelBlessing),
    ):
        artifacts[name] = kind()
        artifacts[name].uri = str(tmp_path / name)
    artifacts["examples [1]"].split_names = artifact_utils.encode_split_names(["test"])
    sections = settings.model_dump(mode="json")
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner"]
    )

    def run(written):
        records.write_counts(str(tmp_path / "examples [1]"), {"test": written})
        Executor(context).Do(
            {
                "examples": [artifacts["examples [1]"]],
                "model": [artifacts["model"]],
                "baseline_model": [artifacts["baseline"]],
            },
            {name: [artifacts[name]] for name in ("evaluation", "blessing")},
            {"sections": json.dumps(sections)},
        )

    run(20)
    assert (tmp_path / "blessing" / "BLESSED").exists()
    shutil.rmtree(tmp_path / "blessing")
    # What it would write is there.
    monkeypatch.setattr(executor, "evaluate", lambda *_: None)
    with pytest.raises(RunError, match="20 Examples were read, but 21 were written"):
        run(21)
    assert not (tmp_path / "blessing").exists()
