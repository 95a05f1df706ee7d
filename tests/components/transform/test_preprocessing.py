"""Transform: clean and noisy images, the noise fixed by the image's key."""

import numpy as np
import pytest
import tensorflow as tf

from components.transform.preprocessing import preprocessing_fn
from pipeline.config import load
from tests import clothing


def _inputs(images, labels, order):
    return {
        "image": images.reshape(len(images), -1).astype(np.int64)[order],
        "label": labels[order][:, None],
        "key": (np.arange(len(images), dtype=np.int64) * 104729)[order][:, None],
    }


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 5, 3)])
def test_outputs_are_images_in_the_unit_range(shape):
    settings = load(
        "default", [f"image={{height: {shape[0]}, width: {shape[1]}, channels: {shape[2]}}}"]
    )
    images, labels = clothing.images(20, seed=1, shape=shape)
    outputs = preprocessing_fn(_inputs(images, labels, slice(None)), settings.model_dump())
    np.testing.assert_allclose(outputs["clean"], images / 255, atol=1e-6)
    noisy = np.asarray(outputs["noisy"])
    assert noisy.shape == (20, *shape)
    assert noisy.dtype == np.float32
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    assert (noisy != np.asarray(outputs["clean"])).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(outputs["label"], labels)
    names = {name.decode() for name in outputs["noise"].numpy()}
    assert names <= set(settings.noise.evaluation)
    assert outputs["noise_level"].shape == (20,)


def test_an_images_noise_is_its_own_whatever_the_batch_and_the_graph():
    config = load().model_dump()
    images, labels = clothing.images(12, seed=2)
    whole = preprocessing_fn(_inputs(images, labels, slice(None)), config)
    order = np.random.default_rng(0).permutation(12)
    graph = tf.function(lambda inputs: preprocessing_fn(inputs, config), reduce_retracing=True)
    for part in (order[:5], order[5:]):
        again = graph({k: tf.constant(v) for k, v in _inputs(images, labels, part).items()})
        for name in ("clean", "noisy", "noise", "noise_level", "key"):
            np.testing.assert_array_equal(
                again[name].numpy(), np.asarray(whole[name])[part], err_msg=name
            )


def test_the_seed_and_the_list_of_noises_decide():
    images, labels = clothing.images(30, seed=3)
    inputs = _inputs(images, labels, slice(None))
    one = preprocessing_fn(inputs, load("default", ["noise.seed=1"]).model_dump())
    other = preprocessing_fn(inputs, load("default", ["noise.seed=2"]).model_dump())
    assert not np.array_equal(one["noisy"], other["noisy"])
    only = load("default", ["noise.evaluation=['gaussian(sd=0.3)']", "evaluation.thresholds={}"])
    outputs = preprocessing_fn(inputs, only.model_dump())
    assert set(outputs["noise"].numpy()) == {b"gaussian(sd=0.3)"}
    np.testing.assert_allclose(outputs["noise_level"], 0.3)
