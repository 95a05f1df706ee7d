"""What the report shows of a model that cleans perfectly."""

from __future__ import annotations

import base64
import dataclasses
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.classifier import classifier, result
from components.evaluation import measure
from components.evaluation.measure import load_denoiser
from components.image.pixels import normalise, quantise
from components.noise import fixed_noise, parse
from components.report import pictures
from components.report.contents import Picture
from components.report.inputs import Artifacts
from tests import clothing
from tests.components.report.conftest import NOISES

SHAPE = (28, 28, 1)


@pytest.fixture(scope="module")
def trained():
    pixels, labels = clothing.images(1500, seed=3)
    return classifier.train(pixels, labels, clothing.CLASSES, epochs=5, seed=1)


@pytest.fixture
def artifacts(tmp_path, trained) -> Artifacts:
    """Twelve transformed test Examples, a model that darkens by half, and the classifier."""
    pixels, labels = clothing.images(12, seed=8)
    clean = np.asarray(normalise(pixels, SHAPE))
    split = tmp_path / "transformed" / "Split-test"
    split.mkdir(parents=True)
    with tf.io.TFRecordWriter(f"{split}/data-0.gz", "GZIP") as writer:
        for key in range(12):
            features = {
                "clean": tf.train.Feature(float_list=tf.train.FloatList(value=clean[key].ravel())),
                "key": tf.train.Feature(int64_list=tf.train.Int64List(value=[key])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[labels[key]])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())

    module = tf.Module()
    module.denoise = tf.function(
        lambda image: {"denoised": image * 0.5},
        input_signature=[tf.TensorSpec((None, *SHAPE), tf.float32, name="image")],
    )
    tf.saved_model.save(module, str(tmp_path / "model" / "Format-Serving"), module.denoise)
    folder = tmp_path / "classifier"
    folder.mkdir()
    trained.save(folder / result.CLASSIFIER_FILE)
    figures = {"images": 1500, "parameters": 1, "validation_accuracy": 0.9}
    (folder / result.FIGURES_FILE).write_text(json.dumps(figures))
    unused = dict.fromkeys(
        (
            "examples",
            "statistics",
            "schema",
            "anomalies",
            "drift",
            "model_run",
            "evaluation",
            "infra_blessing",
        ),
        "",
    )
    return Artifacts(
        **unused,
        transformed_examples=str(tmp_path / "transformed"),
        model=str(tmp_path / "model"),
        pushed_version=None,
        classifier=str(folder),
    )


@pytest.fixture
def contents(small_contents):
    """Asks for image 5 under each noise, and for a sample of every third image."""
    shown = [
        Picture(kind="typical", noise=noise, label="0", key=5, psnr=20.0, noisy_psnr=10.0, ssim=0.5)
        for noise in NOISES
    ]
    settings = {
        **small_contents.settings,
        "report": {"classifier_images": 4},
        "data": {"classes": [str(label) for label in range(10)]},
    }
    total = small_contents.row().model_copy(update={"images": 12 * len(NOISES)})
    others = [row for row in small_contents.metrics if row != small_contents.row()]
    return small_contents.model_copy(
        update={"pictures": shown, "settings": settings, "metrics": [total, *others]}
    )


def _tiles(uri: str) -> list[np.ndarray]:
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    return [strip[:, 29 * number : 29 * number + 28, 0] for number in range(3)]


def test_a_strip_shows_the_evaluations_own_noise_and_the_models_answer(contents, artifacts):
    shown = pictures.Shown(contents, artifacts)
    pixels, _ = clothing.images(12, seed=8)
    clean = normalise(pixels[5:6], SHAPE)
    for picture in contents.pictures:
        tiles = _tiles(shown.strip(picture))
        seed = contents.settings["noise"]["seed"]
        noisy, _ = fixed_noise(parse(picture.noise), clean, np.array([5]), seed)
        for tile, expected in zip(tiles, (clean, noisy, noisy * 0.5), strict=True):
            np.testing.assert_array_equal(tile, np.asarray(quantise(expected))[0, ..., 0])


def test_the_classifier_is_shown_the_sample_clean_noisy_and_denoised(contents, artifacts):
    seen = pictures.Shown(contents, artifacts).classifier
    assert seen.images == 4
    assert len(seen.confusions) == 1 + 2 * len(NOISES)
    _, labels = clothing.images(12, seed=8)
    truth = np.bincount(labels[::3], minlength=10)
    for confusion in seen.confusions:
        np.testing.assert_array_equal(np.sum(confusion.counts, axis=1), truth)
        assert confusion.accuracy == np.trace(confusion.counts) / 4


def test_without_a_classifier_only_the_pictures_are_denoised(contents, artifacts):
    shown = pictures.Shown(contents, dataclasses.replace(artifacts, classifier=None))
    assert shown.classifier is None
    assert len(_tiles(shown.strip(contents.pictures[0]))) == 3


@pytest.mark.parametrize(("classified", "sizes"), [(True, {3}), (False, {1})])
def test_no_more_images_are_held_at_once_than_the_evaluation_holds(
    contents, artifacts, monkeypatch, classified, sizes
):
    evaluation = {**contents.settings["evaluation"], "batch_size": 3}
    settings = {**contents.settings, "evaluation": evaluation}
    asked = set()

    def load(path):
        denoise = load_denoiser(path)
        return lambda images: asked.add(len(images)) or denoise(images)

    monkeypatch.setattr(measure, "load_denoiser", load)
    given = artifacts if classified else dataclasses.replace(artifacts, classifier=None)
    shown = pictures.Shown(contents.model_copy(update={"settings": settings}), given)
    assert asked == sizes
    assert len(_tiles(shown.strip(contents.pictures[0]))) == 3


def test_names_are_drawn_as_they_are_written(contents, artifacts):
    settings = {**contents.settings, "data": {"classes": ["$HOME_$PATH"]}}
    named = contents.model_copy(update={"settings": settings})
    assert pictures.Shown(named, dataclasses.replace(artifacts, classifier=None)).before_after()


def test_before_after_is_a_png_of_every_noise(contents, artifacts):
    picture = Image.open(io.BytesIO(pictures.Shown(contents, artifacts).before_after()))
    assert picture.format == "PNG"
    assert picture.height > picture.width  # one class, five rows
