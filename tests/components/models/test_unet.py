"""components.models.unet, the default model."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from components.base.errors import UsageError
from components.models import build
from components.models.unet import DepthToSpace, FlatDense, MarkLimits
from tests import bfloat16

IMAGES = np.random.default_rng(3).uniform(size=(3, 28, 28, 1)).astype(np.float32)


def test_a_new_model_is_the_identity_exactly_even_in_mixed_precision():
    bfloat16.require()
    np.testing.assert_array_equal(build("unet", (28, 28, 1))(IMAGES), IMAGES)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build("unet", (28, 28, 1))
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(model(IMAGES), IMAGES)


def test_the_default_is_small():
    assert 350_000 < build("unet", (28, 28, 1)).count_params() < 450_000


@pytest.mark.parametrize(
    "arguments",
    [
        {"widths": [8]},
        {"widths": [4, 8]},
        {"widths": [4, 4, 8, 8]},
        {"widths": [4, 8], "blocks": 2, "mixer_blocks": 0},
        {"widths": [4, 8], "blocks": 0, "position": False, "limits": False, "activation": "gelu"},
    ],
)
@pytest.mark.parametrize("shape", [(28, 28, 1), (13, 22, 3)])
def test_arguments_change_the_network_not_its_interface(arguments, shape):
    images = np.zeros((2, *shape), np.float32)
    assert build("unet", shape, **arguments)(images).shape == (2, *shape)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"widths": []}, "widths"),
        ({"widths": 16}, "widths"),
        ({"widths": [16, -1]}, "widths"),
        ({"widths": "16"}, "widths"),
        ({"blocks": -1}, "blocks is 0 or more, was -1"),
        ({"mixer_blocks": 1.5}, "mixer_blocks is 0 or more, was 1.5"),
        ({"mixer_channels": 0}, "mixer_channels is 1 or more, was 0"),
        ({"activation": "sharp"}, "activation.*'sharp'"),
        ({"activation": "glu"}, "activation.*'glu'"),
        ({"activation": "threshold"}, "activation.*'threshold'"),
        ({"widths": [True]}, "widths"),
        ({"blocks": True}, "blocks is 0 or more, was True"),
        ({"position": "no"}, "position is true or false, was 'no'"),
        ({"limits": 0}, "limits is true or false, was 0"),
    ],
)
def test_wrong_arguments_are_named(arguments, said):
    with pytest.raises(UsageError, match=said):
        build("unet", (28, 28, 1), **arguments)


def test_too_many_places_to_mix_are_refused_with_the_way_out():
    with pytest.raises(UsageError, match=r"128x128 places.*mixer_blocks=0"):
        build("unet", (512, 512, 1))
    assert build("unet", (512, 512, 1), widths=[4, 4, 4], mixer_blocks=0)


def test_token_mixing_lets_every_pixel_see_the_whole_image():
    images = IMAGES[:1].copy()
    for arguments, reached in (({}, True), ({"mixer_blocks": 0}, False)):
        model = build("unet", (28, 28, 1), widths=[4, 4], **arguments)
        for weight in model.weights:  # nothing may stay zero, or nothing gets through
            weight.assign(np.random.default_rng(5).uniform(0.01, 0.2, weight.shape))
        changed = images.copy()
        changed[0, 0, 0] = 1 - changed[0, 0, 0]
        far = np.asarray(model(changed) - model(images))[0, -1, -1, 0]
        assert (far != 0) == reached


def test_depth_to_space_orders_channels_as_tensorflow_does():
    tf = pytest.importorskip("tensorflow")
    features = np.random.default_rng(4).normal(size=(2, 3, 5, 12)).astype(np.float32)
    np.testing.assert_array_equal(DepthToSpace(2)(features), tf.nn.depth_to_space(features, 2))


def test_limits_are_marked_exactly_even_in_mixed_precision():
    bfloat16.require()
    images = np.array([-0.5, 0, 1e-6, 0.999, 1, 1.5], np.float32).reshape(1, 3, 2, 1)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        maps = np.asarray(MarkLimits(dtype="float32")(images))
    finally:
        keras.config.set_dtype_policy("float32")
    assert maps.dtype == np.float32
    np.testing.assert_array_equal(maps[..., :1], images)
    np.testing.assert_array_equal(maps[..., 1].ravel(), [1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(maps[..., 2].ravel(), [0, 0, 0, 0, 1, 1])
    assert MarkLimits()(np.zeros((2, 4, 5, 3), np.float32)).shape == (2, 4, 5, 9)


@pytest.mark.parametrize("shape", [(2, 3), (2, 5, 3), (2, 4, 5, 3)])
def test_one_matrix_gives_what_keras_gives(shape):
    images = np.random.default_rng(6).normal(size=shape).astype(np.float32)
    mine, theirs = FlatDense(7, activation="relu"), keras.layers.Dense(7, activation="relu")
    assert mine(images).shape == theirs(images).shape == (*shape[:-1], 7)
    mine.set_weights(theirs.get_weights())
    np.testing.assert_allclose(mine(images), theirs(images), atol=1e-5)
    inputs = keras.Input((None, *shape[2:]) if len(shape) > 2 else shape[1:])
    assert mine(inputs).shape == theirs(inputs).shape
