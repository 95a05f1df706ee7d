"""Every registered filter: shapes, no side effects, and better than doing nothing."""

import sys
import types

import numpy as np
import pytest

from components.filters import FILTERS
from components.filters import best_parameters as tuning
from pipeline.benchmark import workers as work
from tests import clothing

AVAILABLE = [name for name in FILTERS if work.unavailable(name) is None]
SEED = 5


def _noisy(shape, count=12, sd=0.2):
    pixels, _ = clothing.images(count, seed=SEED, shape=shape)
    clean = pixels.astype(np.float32) / 255
    noise = np.random.default_rng(SEED).normal(0, sd, clean.shape)
    return clean, np.clip(clean + noise, 0, 1).astype(np.float32)


def test_the_classical_filters_are_registered():
    assert set(FILTERS) == {
        "anisotropic_diffusion",
        "bilateral",
        "bm3d",
        "gaussian_blur",
        "median",
        "nl_means",
        "switching_median",
        "total_variation",
        "wavelet",
    }


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_says_what_it_is(name):
    filter_ = FILTERS[name]
    assert filter_.title
    assert filter_.source
    assert filter_.__doc__
    assert filter_.candidates((28, 28, 1))


@pytest.mark.parametrize("shape", [(28, 28, 1), (17, 20, 3)])
@pytest.mark.parametrize("name", AVAILABLE)
def test_every_candidate_gives_finite_images_and_leaves_its_input_alone(name, shape):
    _, noisy = _noisy(shape, count=2)
    before = noisy.copy()
    for parameters in FILTERS[name].candidates(shape):
        denoised = FILTERS[name](noisy, **parameters)
        assert denoised.shape == noisy.shape
        assert denoised.dtype == np.float32
        assert np.isfinite(denoised).all(), parameters
    np.testing.assert_array_equal(noisy, before)


@pytest.mark.parametrize("name", AVAILABLE)
def test_a_black_image_stays_black(name):
    black = np.zeros((2, 28, 28, 1), np.float32)
    for parameters in FILTERS[name].candidates((28, 28, 1)):
        np.testing.assert_allclose(FILTERS[name](black, **parameters), 0, atol=1e-6)


@pytest.mark.parametrize("name", AVAILABLE)
def test_each_image_is_filtered_alone(name):
    _, noisy = _noisy((28, 28, 1), count=3)
    parameters = FILTERS[name].candidates((28, 28, 1))[0]
    together = FILTERS[name](noisy, **parameters)
    alone = np.concatenate([FILTERS[name](noisy[at : at + 1], **parameters) for at in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("name", AVAILABLE)
def test_a_tuned_filter_is_better_than_doing_nothing(name):
    clean, noisy = _noisy((28, 28, 1), count=40)
    filter_ = FILTERS[name]
    trials = [
        tuning.attempt(filter_, parameters, noisy[:20], clean[:20])
        for parameters in filter_.candidates((28, 28, 1))
    ]
    tuned = tuning.choose(filter_, trials, noisy[:20], clean[:20])
    denoised, _ = work.denoise(name, tuned.parameters, tuned.curve, noisy[20:])
    before = tuning.psnr(clean[20:], noisy[20:]).mean()
    assert tuning.psnr(clean[20:], denoised).mean() > before + 1


def test_medians_on_an_image_one_can_count():
    image = np.full((1, 5, 5, 1), 0.5, np.float32)
    image[0, 2, 2, 0] = 1.0
    median = FILTERS["median"](image, size=3, border="nearest")
    np.testing.assert_array_equal(median, np.full_like(image, 0.5))
    kept = FILTERS["switching_median"](image, size=3, border="nearest", threshold=0.6)
    np.testing.assert_array_equal(kept, image)
    replaced = FILTERS["switching_median"](image, size=3, border="nearest", threshold=0.4)
    np.testing.assert_array_equal(replaced, median)


@pytest.mark.parametrize(("wavelet", "levels"), [("db1", 2), ("db2", 1), ("db2", 2)])
def test_without_shifts_wavelets_do_what_scikit_image_does(wavelet, levels):
    from skimage.restoration import denoise_wavelet

    _, noisy = _noisy((28, 28, 1), count=2)
    ours = FILTERS["wavelet"](noisy, wavelet=wavelet, levels=levels, sigma=0.2, shifts=1)
    for image, result in zip(noisy, ours, strict=True):
        theirs = denoise_wavelet(
            image[..., 0], sigma=0.2, wavelet=wavelet, wavelet_levels=levels, mode="soft"
        )
        np.testing.assert_allclose(result[..., 0], theirs, atol=1e-5)


def test_diffusion_keeps_the_mean_and_spares_edges():
    step = np.zeros((1, 8, 8, 1), np.float32)
    step[:, :, 4:] = 1.0
    step += np.float32(0.02) * np.random.default_rng(1).standard_normal(step.shape).astype("f4")
    diffuse = FILTERS["anisotropic_diffusion"]
    smooth = diffuse(step, kappa=0.1, iterations=16)
    assert smooth.mean() == pytest.approx(step.mean(), abs=1e-6)
    assert smooth[:, :, :4].std() < step[:, :, :4].std() / 2
    assert (smooth[:, :, 4] - smooth[:, :, 3]).min() > 0.9
    assert (diffuse(step, kappa=1.6, iterations=16)[:, :, 4] < 0.8).all()


def test_bm3d_is_left_out_unless_its_package_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "not installed" in work.unavailable("bm3d")
    asked = []

    def bm3d(image, sigma_psd):
        asked.append((image.shape, sigma_psd))
        return np.full((*image.shape, 1), 0.25)

    monkeypatch.setitem(sys.modules, "bm3d", types.SimpleNamespace(bm3d=bm3d, bm3d_rgb=bm3d))
    denoised = FILTERS["bm3d"](np.zeros((2, 6, 6, 1), np.float32), sigma=0.2)
    assert asked == [((6, 6), 0.2)] * 2
    np.testing.assert_array_equal(denoised, np.full((2, 6, 6, 1), 0.25, np.float32))
