"""The model for photographs: any size with the same weights, nothing that knows a place."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from components.base.errors import UsageError
from components.models import MODELS, build
from tests.components.models.test_every_model import randomise

every_any_size = pytest.mark.parametrize(
    "name", [name for name, architecture in MODELS.items() if architecture.any_size]
)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).random(shape, np.float32)


@every_any_size
@pytest.mark.parametrize("channels", [1, 3])
def test_the_weights_are_those_of_any_size(name, channels, tmp_path):
    fixed, free = build(name, (64, 40, channels)), build(name, (None, None, channels))
    randomise(fixed)
    free.set_weights(fixed.get_weights())
    images = noise(2, 64, 40, channels)
    np.testing.assert_allclose(free(images), fixed(images), atol=1e-6)
    free.save(tmp_path / "free.keras")
    loaded = keras.models.load_model(tmp_path / "free.keras")
    for height, width in [(1, 1), (37, 90), (64, 40)]:
        assert loaded(noise(1, height, width, channels)).shape == (1, height, width, channels)
    np.testing.assert_array_equal(loaded(images), free(images))


@every_any_size
def test_one_graph_takes_every_size(name):
    tf = pytest.importorskip("tensorflow")
    model = build(name, (None, None, 1))
    randomise(model)
    graph = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 1), tf.float32)])
    for height, width in [(16, 16), (9, 30)]:
        images = noise(2, height, width, 1)
        np.testing.assert_allclose(graph(images), model(images), atol=1e-5)


@every_any_size
def test_what_is_far_from_the_border_does_not_know_where_it_is(name):
    model = build(name, (None, None, 1))
    randomise(model)
    images = noise(1, 256, 256, 1)
    # 8 rows and columns further: the network halves three times.
    whole, part = np.asarray(model(images)), np.asarray(model(images[:, 8:, 8:]))
    np.testing.assert_allclose(whole[:, 136:-96, 136:-96], part[:, 128:-96, 128:-96], atol=1e-4)


def test_a_model_of_one_size_is_not_built_for_any():
    with pytest.raises(UsageError, match=r"unet is built for images of one size.*photo_unet"):
        build("unet", (None, None, 1))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"widths": []}, "photo_unet's widths"), ({"blocks": -1}, "photo_unet's blocks is 0 or more")],
)
def test_a_wrong_argument_is_named(arguments, said):
    with pytest.raises(UsageError, match=said):
        build("photo_unet", (64, 64, 1), **arguments)
