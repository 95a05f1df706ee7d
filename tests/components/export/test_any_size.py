"""A model of any size, exported: images of any size in, each answered in its own."""

from __future__ import annotations

import io

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from components.export import signatures
from components.export.requests import requests
from components.export.signatures import SIGNATURES, export_servable
from serving.models.servable import Servable
from serving.protocol.codes import Code, StatusError, from_exception
from tests.any_size import any_size_model

SHAPE = (28, 20, 3)
PIXELS = 28 * 20 * 3


@pytest.fixture(scope="module")
def model():
    return any_size_model(3)


@pytest.fixture(scope="module")
def servable(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "1"
    export_servable(model, path, SHAPE, np.zeros((2, PIXELS), np.uint8))
    servable = Servable("denoiser", 1, path)
    yield servable
    servable.close()


def ask(servable, signature, values):
    definition = servable.signatures[signature]
    ((feed,), (fetch,)) = (
        [info.name for info in infos.values()] for infos in (definition.inputs, definition.outputs)
    )
    return servable.run({feed: values}, (fetch,))[0]


def shapes(infos):
    return {name: [dim.size for dim in info.tensor_shape.dim] for name, info in infos.items()}


def test_the_signatures_say_so(servable):
    assert set(servable.signatures) == set(SIGNATURES)
    image = servable.signatures["serving_default"]
    assert shapes(image.inputs) == {"image": [-1, -1, -1, 3]}
    assert shapes(image.outputs) == {"denoised": [-1, -1, -1, 3]}
    assert shapes(servable.signatures["predict_pixels"].inputs) == {"pixels": [-1, PIXELS]}
    examples = servable.signatures["predict_examples"]
    assert shapes(examples.outputs) == {"denoised": [-1, *SHAPE]}


@pytest.mark.parametrize("shape", [(1, 1, 1), (0, 5, 7), (3, 40, 33), (2, 600, 600), (40, 100, 90)])
def test_any_number_of_any_size(servable, model, shape):
    """The last ones are computed in parts."""
    images = np.random.default_rng(0).random((*shape, 3), np.float32)
    found = ask(servable, "serving_default", images)
    assert found.shape == images.shape
    if len(images):
        expected = np.clip(model(images, training=False), 0, 1)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_all_signatures_agree_on_the_settings_size(servable, model, count):
    pixels = np.random.default_rng(2).integers(0, 256, (count, PIXELS), np.uint8)
    images = pixels.reshape(-1, *SHAPE).astype(np.float32) / np.float32(255)
    expected = np.zeros((0, *SHAPE)) if not count else np.clip(model(images, training=False), 0, 1)
    answers = {n: ask(servable, n, *v.values()) for n, v in requests(pixels, SHAPE).items()}
    for name in ("serving_default", "predict_examples"):
        np.testing.assert_allclose(answers[name], expected, atol=1e-5)
    rounded = np.rint(expected * 255).reshape(count, PIXELS)
    assert np.abs(answers["predict_pixels"] - rounded).max(initial=0) <= 1
    decoded = [tf.io.decode_png(png).numpy() for png in answers["predict_encoded"]]
    assert np.abs(np.reshape(decoded, (count, PIXELS)).astype(int) - rounded).max(initial=0) <= 1


def test_encoded_images_of_different_sizes(servable, model):
    random = np.random.default_rng(3)
    files, expected = [], []
    for kind, size in (("PNG", (5, 9)), ("JPEG", (40, 31)), ("PNG", (1, 1))):
        file = io.BytesIO()
        PIL.Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(file, kind)
        files.append(file.getvalue())
        images = np.asarray(tf.io.decode_image(files[-1]), np.float32)[None] / 255
        expected.append(np.clip(model(images, training=False)[0], 0, 1))
    found = ask(servable, "predict_encoded", np.array(files, object))
    for png, image in zip(found, expected, strict=True):
        pixels = np.asarray(PIL.Image.open(io.BytesIO(png)))
        assert pixels.shape == image.shape
        assert np.abs(pixels - 255 * image).max() <= 1.01


@pytest.mark.parametrize(
    "shape",
    [(2, 0, 5, 3), (2, 5, 0, 3), (2, 5, 5, 1), (5, 5, 3), (), (1, 1, 5, 5, 3), (1, 5, 5, 3, 2)],
)
def test_what_is_no_image_is_told_what_was_expected(servable, shape):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"shape \(N, height, width, 3\)"):
        ask(servable, "serving_default", np.zeros(shape, np.float32))


def test_wrong_values(servable):
    for wrong in (1.5, -0.1, np.nan):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected values in \[0, 1\]"):
            ask(servable, "serving_default", np.full((1, 5, 6, 3), wrong, np.float32))


def test_an_image_may_not_be_larger_than_a_server_can_bear(servable):
    side = int(signatures.MAX_PIXELS**0.5) + 1
    refused = f"expected {signatures.MAX_PIXELS} pixels"
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"image: {refused}"):
        ask(servable, "serving_default", np.zeros((1, side, side, 3), np.float32))
    for kind in ("PNG", "JPEG"):
        file = io.BytesIO()
        PIL.Image.new("L", (side, side)).save(file, kind)
        # By its head: what follows need not be there.
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"image_bytes: {refused}"):
            ask(servable, "predict_encoded", np.array([file.getvalue()[:1000]], object))


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_bytes_that_are_no_image(servable, content):
    with pytest.raises((tf.errors.InvalidArgumentError, StatusError)) as raised:
        ask(servable, "predict_encoded", np.array([content], object))
    assert from_exception(raised.value).code == Code.INVALID_ARGUMENT


def test_a_model_of_one_size_stays_as_it_is(tmp_path):
    fixed = keras.Sequential([keras.Input((6, 4, 1)), keras.layers.Conv2D(1, 1)])
    export_servable(fixed, tmp_path / "1", (6, 4, 1), np.zeros((2, 24), np.uint8))
    servable = Servable("denoiser", 1, tmp_path / "1")
    image = servable.signatures["serving_default"]
    assert shapes(image.inputs) == {"image": [-1, 6, 4, 1]}
    servable.close()
