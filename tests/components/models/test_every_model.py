"""What every registered architecture must do; a new one is tested as soon as it is registered."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from components import models
from components.base.errors import UsageError
from components.models import MODELS, build, encoder
from components.training import weights
from tests import bfloat16, clothing

every_model = pytest.mark.parametrize("name", MODELS)

# design.md's table, and what the sources' own summaries give.
PARAMETERS = {
    "windsor_cae": 49_761,
    "windsor_cnn": 541_912,
    "dense_ae_1": 2_353,
    "dense_ae_2": 3_922,
    "dense_ae_8": 13_336,
    "dense_ae_32": 50_992,
    "dense_dae_16": 25_888,
    "deep_conv_dae": 3_217,
    "keras_blog_cae": 28_353,
    "strided_cae": 3_217,
}

CODES = {
    "windsor_cae": (4, 4, 16),
    "dense_ae_1": (1,),
    "dense_ae_2": (2,),
    "dense_ae_8": (8,),
    "dense_ae_32": (32,),
    "dense_dae_16": (16,),
    "keras_blog_cae": (7, 7, 32),
    "strided_cae": (7, 7, 8),
}


def photos(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    return clothing.images(count, seed=8, shape=shape)[0].astype(np.float32) / 255


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_parameter_count_is_the_published_one(name):
    assert build(name, (28, 28, 1)).count_params() == PARAMETERS[name]


@every_model
@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28, 3), (33, 26, 1), (40, 31, 3)])
def test_images_of_any_size_keep_their_shape_and_are_float32(name, shape):
    denoised = build(name, shape)(photos(3, shape))
    assert denoised.shape == (3, *shape)
    assert keras.backend.standardize_dtype(denoised.dtype) == "float32"
    assert np.all(np.isfinite(denoised))


@every_model
def test_small_images_work_or_are_refused_with_the_size(name):
    if name == "windsor_cnn":
        with pytest.raises(UsageError, match=r"26x26.*25x30"):
            build(name, (25, 30, 1))
    else:
        assert build(name, (5, 3, 1))(photos(2, (5, 3, 1))).shape == (2, 5, 3, 1)


@every_model
def test_a_saved_model_answers_the_same(name, tmp_path):
    model, images = build(name, (28, 28, 1)), photos(4, (28, 28, 1))
    randomise(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), model(images))
    built = build(name, (28, 28, 1))
    weights.load(built, tmp_path / "model.keras")
    np.testing.assert_array_equal(built(images), model(images))


@every_model
def test_mixed_precision_computes_in_bfloat16_and_answers_in_float32(name):
    bfloat16.require()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(name, (28, 28, 1))
    finally:
        keras.config.set_dtype_policy("float32")
    computed = {layer.compute_dtype for layer in model.layers if layer.weights}
    assert "bfloat16" in computed
    assert all(weight.dtype == "float32" for weight in model.weights)
    reference = build(name, (28, 28, 1))
    randomise(model)
    reference.set_weights(model.get_weights())
    images = photos(4, (28, 28, 1))
    denoised = model(images)
    assert keras.backend.standardize_dtype(denoised.dtype) == "float32"
    exact = np.asarray(reference(images))
    assert np.abs(denoised - exact).mean() < 0.05 * exact.std()


@every_model
def test_training_lowers_the_loss(name):
    keras.utils.set_random_seed(1)
    model, clean = build(name, (28, 28, 1)), photos(16, (28, 28, 1))
    noisy = np.clip(clean + np.random.default_rng(1).normal(0, 0.3, clean.shape), 0, 1)
    # Eager: to trace and optimise a graph takes longer than these few steps.
    model.compile(keras.optimizers.Adam(1e-3), "mse", run_eagerly=True)
    losses = model.fit(noisy, clean, batch_size=16, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@every_model
def test_all_weights_are_trained_or_are_batch_statistics(name):
    model = build(name, (28, 28, 1))
    frozen = [weight.path for weight in model.non_trainable_weights]
    assert all("batch_normalization" in path or "seed" in path for path in frozen)


@every_model
def test_the_encoder_makes_the_code_and_shares_the_weights(name):
    model = build(name, (28, 28, 1))
    code_model = encoder(model)
    if name not in CODES:
        assert code_model is None
        return
    images = photos(3, (28, 28, 1))
    before = np.asarray(code_model(images))
    assert before.shape == (3, *CODES[name])
    # Positive, so that no relu hides the change.
    model.set_weights([np.abs(weight) + 0.5 for weight in model.get_weights()])
    assert not np.array_equal(code_model(images), before)


@every_model
def test_a_graph_takes_any_number_of_images(name):
    tf = pytest.importorskip("tensorflow")
    model, images = build(name, (28, 28, 1)), photos(5, (28, 28, 1))
    graph = tf.function(model, input_signature=[tf.TensorSpec((None, 28, 28, 1), tf.float32)])
    np.testing.assert_allclose(graph(images), model(images), atol=1e-5)
    np.testing.assert_allclose(graph(images[:1]), model(images[:1]), atol=1e-5)


def test_the_listing_names_each_model_with_its_count_preset_and_source():
    listed = {entry["name"]: entry for entry in models.listing()}
    assert listed.keys() == MODELS.keys()
    assert all(entry["source"] for entry in listed.values())
    assert {name: listed[name]["parameters"] for name in PARAMETERS} == PARAMETERS
    assert listed["unet"]["preset"] == "default"


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("resnet", {}, "no model 'resnet'.*unet"),
        ("unet", {"depth": 3}, "unet has no argument depth; it takes widths="),
        ("windsor_cae", {"widths": [1]}, "windsor_cae has no argument widths; it takes none"),
    ],
)
def test_an_unknown_name_or_argument_is_named_with_what_is_known(name, arguments, said):
    with pytest.raises(UsageError, match=said):
        build(name, (28, 28, 1), **arguments)


def randomise(model: keras.Model) -> None:
    """Weights such that every layer matters: the default model starts as the identity."""
    random = np.random.default_rng(2)
    for weight in model.trainable_weights:
        scale = 0.5 / np.sqrt(max(1, np.prod(weight.shape[:-1])))
        weight.assign(np.asarray(weight) + random.normal(0, scale, weight.shape))
