"""The linear map: problems whose answer is known."""

import numpy as np
import pytest

from components.filters import ridge

SHAPE = (3, 4, 1)
PIXELS = 12


def _images(count, seed=1):
    return np.random.default_rng(seed).random((count, *SHAPE), np.float32)


def _fit(noisy, clean, regularisation, batch=50):
    moments = ridge.Moments(PIXELS)
    for start in range(0, len(noisy), batch):
        moments.add(noisy[start : start + batch], clean[start : start + batch])
    return moments.solve([regularisation])[0]


def test_a_linear_distortion_is_undone():
    clean = _images(400)
    noisy = 0.5 * clean[:, ::-1] + 0.1
    undo = _fit(noisy, clean, 1e-6)
    np.testing.assert_allclose(undo(noisy), clean, atol=2e-3)


def test_it_is_the_textbook_solution():
    clean = _images(200)
    noisy = clean + np.random.default_rng(2).normal(0, 0.3, clean.shape).astype(np.float32)
    x, y = noisy.reshape(200, -1).astype(float), clean.reshape(200, -1).astype(float)
    centred = x - x.mean(axis=0)
    penalty = 0.1 * np.mean(centred.var(axis=0)) * len(x)
    weights = np.linalg.solve(
        centred.T @ centred + penalty * np.eye(PIXELS), centred.T @ (y - y.mean(axis=0))
    )
    expected = np.clip(centred @ weights + y.mean(axis=0), 0, 1)
    np.testing.assert_allclose(_fit(noisy, clean, 0.1)(noisy).reshape(200, -1), expected, atol=1e-4)


def test_regularised_without_end_it_gives_the_mean_image():
    clean = _images(300)
    noisy = _images(300, seed=3)
    mean = _fit(noisy, clean, 1e9)(noisy)
    np.testing.assert_allclose(mean, np.broadcast_to(clean.mean(axis=0), mean.shape), atol=1e-4)


def test_pixels_that_never_change_do_no_harm():
    clean = _images(100)
    noisy = clean.copy()
    noisy[:, 0] = 0.0
    assert np.isfinite(_fit(noisy, clean, 1e-6)(noisy)).all()


@pytest.mark.parametrize("batch", [7, 100])
def test_batches_do_not_matter(batch):
    clean, noisy = _images(100), _images(100, seed=4)
    np.testing.assert_allclose(
        _fit(noisy, clean, 0.01, batch).weights, _fit(noisy, clean, 0.01, 33).weights, atol=1e-4
    )
