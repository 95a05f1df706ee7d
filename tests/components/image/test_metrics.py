"""components.image.metrics against scikit-image and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.metrics
from keras import ops

from components.image import metrics
from components.image.pixels import normalise
from tests import clothing


def pairs(shape: tuple[int, int, int], noise: float) -> tuple[np.ndarray, np.ndarray]:
    pixels, _ = clothing.images(20, seed=3, shape=shape)
    clean = pixels.astype(np.float32) / 255
    noisy = clean + np.random.default_rng(4).normal(0, noise, clean.shape)
    return clean, np.clip(noisy, 0, 1).astype(np.float32)


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28, 3), (11, 11, 1), (33, 40, 3), (64, 17, 1)])
def test_ssim_is_that_of_scikit_image(shape, noise):
    clean, noisy = pairs(shape, noise)
    expected = [
        skimage.metrics.structural_similarity(
            one,
            other,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=-1,
        )
        for one, other in zip(clean, noisy, strict=True)
    ]
    np.testing.assert_allclose(metrics.ssim(clean, noisy), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 14, 3)])
def test_psnr_mse_mae_are_those_of_numpy(shape):
    clean, noisy = pairs(shape, 0.2)
    error = clean.astype(np.float64) - noisy
    expected = [
        skimage.metrics.peak_signal_noise_ratio(one, other, data_range=1.0)
        for one, other in zip(clean, noisy, strict=True)
    ]
    np.testing.assert_allclose(metrics.psnr(clean, noisy), expected, rtol=1e-5)
    np.testing.assert_allclose(metrics.mse(clean, noisy), (error**2).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(metrics.mae(clean, noisy), abs(error).mean((1, 2, 3)), rtol=1e-5)


def test_equal_images_score_the_best_values():
    clean, _ = pairs((28, 28, 1), 0.1)
    np.testing.assert_allclose(metrics.ssim(clean, clean), 1.0, atol=1e-6)
    np.testing.assert_allclose(metrics.psnr(clean, clean), metrics.MAX_PSNR, rtol=1e-6)
    assert np.all(metrics.mse(clean, clean) == 0)


@pytest.mark.parametrize("side", [1, 2, 7, 10])
def test_an_image_smaller_than_the_window_has_an_ssim(side):
    clean, noisy = pairs((side, 28, 1), 0.3)
    values = np.asarray(metrics.ssim(clean, noisy))
    assert np.all(np.isfinite(values))
    assert np.all(values < 1)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_a_graph_with_free_batch_size_gives_the_eager_values(name):
    tf = pytest.importorskip("tensorflow")
    clean, noisy = pairs((28, 28, 1), 0.3)
    image = tf.TensorSpec((None, 28, 28, 1), tf.float32)
    graph = tf.function(metrics.METRICS[name], input_signature=[image, image])
    eager = np.asarray(metrics.METRICS[name](clean, noisy))
    assert eager.shape == (20,)
    assert eager.dtype == np.float32
    np.testing.assert_allclose(graph(clean, noisy), eager, rtol=1e-5)
    np.testing.assert_allclose(graph(clean[:3], noisy[:3]), eager[:3], rtol=1e-5)


def test_metrics_take_what_normalise_gives():
    pixels, _ = clothing.images(2, seed=1)
    images = normalise(pixels.reshape(2, -1), (28, 28, 1))
    assert ops.shape(metrics.ssim(images, images)) == (2,)
