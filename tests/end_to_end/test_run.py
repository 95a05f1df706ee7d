"""From a newcomer's first command to a pushed model: what a run leaves behind."""

import json

import numpy as np
import pytest
import tensorflow as tf

from components.evaluation.measure import Measurement, load_denoiser
from components.export import signatures
from components.image.pixels import normalise
from tests import clothing
from tests.end_to_end.conftest import LEFT_ALONE, PRESET, STEPS, TEST, TRAIN
from tests.end_to_end.served import assert_every_signature_answers_as_keras


@pytest.fixture(scope="module")
def summary(finished):
    # The first run's, whatever other tests ran in the workspace since.
    return json.loads((finished.workspace / LEFT_ALONE).read_text())


def test_every_step_ran_and_the_model_was_pushed(finished, summary):
    assert [step["name"] for step in summary["steps"]] == STEPS
    assert {step["state"] for step in summary["steps"]} == {"done"}
    assert summary["outcome"] == "pushed"
    assert summary["settings"]["preset"] == PRESET
    assert summary["training"]["epochs"] == 1
    assert finished.versions() == [summary["pushed_version"]]


def test_no_row_is_lost(summary):
    data = summary["data"]
    assert data["rows"] == TRAIN + TEST
    assert sum(data["examples"].values()) + sum(data["quarantined"].values()) == data["rows"]
    assert data["examples"]["test"] == TEST
    assert data["examples"]["validation"] > 0


def test_every_noise_is_measured_on_every_test_image(summary):
    noises = summary["settings"]["noise"]["evaluation"]
    rows = {(row["noise"], row["label"]): row for row in summary["metrics"]}
    assert {noise for noise, _ in rows} == {*noises, "*"}
    for noise in noises:
        assert rows[noise, "*"]["images"] == TEST
        assert rows[noise, "*"]["psnr"] > rows[noise, "*"]["noisy_psnr"]
        per_class = [rows[noise, str(label)] for label in range(clothing.CLASSES)]
        assert sum(row["images"] for row in per_class) == TEST
        mean = sum(row["images"] * row["psnr"] for row in per_class) / TEST
        assert mean == pytest.approx(rows[noise, "*"]["psnr"], abs=1e-6)


def test_the_pushed_model_has_every_signature(summary):
    loaded = tf.saved_model.load(summary["model"])
    assert set(signatures.SIGNATURES) <= set(loaded.signatures)


def test_served_equals_eager_equals_graph(summary):
    """One image through every signature, and through the Keras model itself."""
    images, _ = clothing.images(5, seed=99)
    assert_every_signature_answers_as_keras(summary["model"], images.reshape(5, -1), (28, 28, 1))


@pytest.mark.parametrize(
    ("signature", "name", "value", "message"),
    [
        ("serving_default", "image", np.full((1, 28, 28, 1), 2.0, np.float32), "expected values"),
        ("serving_default", "image", np.full((1, 28, 28, 1), np.nan, np.float32), "expected"),
        ("predict_pixels", "pixels", np.full((1, 784), 256, np.int32), "from 0 to 255"),
        ("predict_pixels", "pixels", np.full((1, 784), -1, np.int32), "from 0 to 255"),
        ("predict_encoded", "image_bytes", np.array([b"not a picture"]), "image"),
        (
            "predict_encoded",
            "image_bytes",
            np.array([tf.io.encode_png(np.zeros((5, 5, 1), np.uint8)).numpy()], object),
            "PNG or JPEG of 28x28",
        ),
        ("predict_examples", "examples", np.array([b"garbage"]), "parse"),
    ],
)
def test_a_wrong_input_says_what_was_expected(summary, signature, name, value, message):
    function = tf.saved_model.load(summary["model"]).signatures[signature]
    tensor = tf.constant(value.tolist() if value.dtype == object else value)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        function(**{name: tensor})


def test_transform_and_evaluator_see_the_same_noise(finished, summary):
    """The noisy image Transform made is, bit for bit, what the Evaluator measures."""
    shape = (28, 28, 1)
    files = sorted(
        map(
            str,
            finished.workspace.glob("pipeline_root/Transform/transformed_examples/*/Split-test/*"),
        )
    )
    spec = {
        "clean": tf.io.FixedLenFeature(shape, tf.float32),
        "noisy": tf.io.FixedLenFeature(shape, tf.float32),
        "noise": tf.io.FixedLenFeature((), tf.string),
        "noise_level": tf.io.FixedLenFeature((), tf.float32),
        "key": tf.io.FixedLenFeature((), tf.int64),
    }
    records = list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())
    examples = tf.io.parse_example(records, spec)
    assert len(records) == TEST
    settings = summary["settings"]["noise"]
    measurement = Measurement(settings["evaluation"], settings["seed"])
    seen = set()
    for noise in settings["evaluation"]:
        noisy, level = measurement.noisy(noise, examples["clean"], examples["key"])
        chosen = examples["noise"].numpy() == noise.encode()
        seen.add(noise) if chosen.any() else None
        np.testing.assert_array_equal(noisy.numpy()[chosen], examples["noisy"].numpy()[chosen])
        np.testing.assert_array_equal(level[chosen], examples["noise_level"].numpy()[chosen])
    assert seen == set(settings["evaluation"])


def test_evaluate_gives_the_evaluators_figures(finished, summary):
    done = finished.call("evaluate", "--data", str(finished.data), "--json")
    assert done.returncode == 0, done.stderr
    again = {(row["noise"], row["label"]): row for row in json.loads(done.stdout)}
    for row in summary["metrics"]:
        for name in ("psnr", "ssim", "mse", "mae", "noisy_psnr", "images"):
            assert again[row["noise"], row["label"]][name] == pytest.approx(row[name], rel=1e-5)


def test_evaluate_names_what_is_not_a_model(finished, tmp_path):
    done = finished.call("evaluate", "--data", str(finished.data), "--model", str(tmp_path))
    assert done.returncode == 1
    assert "expected a SavedModel" in done.stderr


def test_load_denoiser_is_what_was_measured(summary):
    denoise = load_denoiser(summary["model"])
    images, _ = clothing.images(3, seed=5)
    result = np.asarray(denoise(normalise(images.reshape(3, -1), (28, 28, 1))))
    assert result.shape == (3, 28, 28, 1)
    assert result.min() >= 0
    assert result.max() <= 1


def test_status_traces_the_model_to_its_data_settings_and_code(finished, summary):
    done = finished.call("status", "--json")
    assert done.returncode == 0, done.stderr
    history = json.loads(done.stdout)
    assert history["runs"][0]["state"] == "done"
    (model,) = history["models"]
    assert model["data"] == str(finished.data)
    assert model["data_fingerprint"]
    assert model["code"]
    assert model["settings"]["training"]["epochs"] == 1
    assert model["blessed"]
    assert model["servable"]
    assert model["pushed_version"] == summary["pushed_version"]
    assert model["served"]


def test_a_second_run_is_answered_from_the_cache(finished):
    before = finished.versions()
    done = finished.run()
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(done.stdout)
    assert {step["state"] for step in summary["steps"]} == {"cached"}
    assert summary["outcome"] == "unchanged"
    assert finished.versions() == before
    # Every step is told once, as its number, its name and that nothing changed, and nothing else.
    told = [line.split(None, 3)[1:] for line in done.stderr.splitlines() if "/13 " in line]
    # Of two that run at once the second may end first.
    assert sorted(told, key=lambda line: int(line[0].partition("/")[0])) == [
        [f"{number}/13", step, "unchanged, from the cache"]
        for number, step in enumerate(STEPS, start=1)
    ]
    others = [line for line in done.stderr.splitlines() if line.strip() and "/13 " not in line]
    assert others[0].startswith("Test images, denoised against noisy")


def test_a_model_that_misses_a_threshold_is_not_pushed(finished):
    before = finished.versions()
    done = finished.run(
        "evaluation.thresholds={gaussian(sd=0.5): {psnr: 90}}", "report.classifier=false"
    )
    assert done.returncode == 1
    assert "psnr on gaussian(sd=0.5) is" in done.stderr
    assert "below the threshold 90.0000 dB" in done.stderr
    assert finished.versions() == before
    summary = finished.summary()
    assert summary["outcome"] == "not blessed"
    retrained = [step for step in summary["steps"] if step["name"] == "Trainer"]
    assert retrained[0]["state"] == "cached"


def test_a_model_worse_than_the_pushed_one_is_not_pushed(finished):
    before = finished.versions()
    done = finished.run("training.learning_rate=1.0e-6", "report.classifier=false")
    assert done.returncode == 1
    assert "worse than the last pushed model's" in done.stderr
    assert finished.versions() == before
    rows = finished.summary()["baseline_metrics"]
    assert any(row["noise"] == "*" and row["images"] == 3 * TEST for row in rows)
