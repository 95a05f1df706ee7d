"""The tone curve rises, and takes back a bias."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from components.filters import tone_curve

VALUES = st.floats(-0.5, 1.5, width=32)
CLEAN = st.floats(0, 1, width=32)


@given(st.data(), st.integers(1, 60))
def test_a_curve_rises_within_the_clean_values(data, count):
    denoised = data.draw(arrays.arrays(np.float32, count, elements=VALUES))
    clean = data.draw(arrays.arrays(np.float32, count, elements=CLEAN))
    curve = tone_curve.fit(denoised, clean)
    assert curve.shape == (tone_curve.LEVELS,)
    assert (np.diff(curve) >= -1e-12).all()
    assert curve.min() >= clean.min() - 1e-6
    assert curve.max() <= clean.max() + 1e-6


@given(st.data(), st.integers(1, 60))
def test_on_the_pixels_it_was_made_from_it_is_no_worse_than_their_mean(data, count):
    denoised = data.draw(arrays.arrays(np.float32, count, elements=VALUES))
    clean = data.draw(arrays.arrays(np.float32, count, elements=CLEAN))
    # On the curve's own points, so that nothing is interpolated.
    denoised = np.rint(np.clip(denoised, 0, 1) * 255).astype(np.float32) / 255
    after = tone_curve.apply(tone_curve.fit(denoised, clean), denoised)
    assert np.square(after - clean).mean() <= clean.var() + 1e-6


def test_it_takes_back_what_clipping_did():
    random = np.random.default_rng(1)
    clean = np.where(random.random(20_000) < 0.5, 0.0, random.random(20_000)).astype(np.float32)
    noise = random.normal(0, 0.5, (9, clean.size))
    brightened = np.clip(clean + noise, 0, 1).mean(axis=0).astype(np.float32)
    assert brightened[clean == 0].mean() > 0.15
    half = clean.size // 2
    curve = tone_curve.fit(brightened[:half], clean[:half])
    after = tone_curve.apply(curve, brightened[half:])
    rest = clean[half:]
    assert after.dtype == np.float32
    assert after.mean() == pytest.approx(rest.mean(), abs=0.01)
    assert np.square(after - rest).mean() < 0.6 * np.square(brightened[half:] - rest).mean()


def test_a_known_curve_is_found():
    denoised = np.linspace(0, 1, 256, dtype=np.float32)
    curve = tone_curve.fit(denoised, denoised**2)
    np.testing.assert_allclose(curve, denoised**2, atol=1e-6)
    np.testing.assert_allclose(
        tone_curve.apply(curve, np.float32([-1, 0.5, 2])), [0, 0.25, 1], atol=1e-3
    )
