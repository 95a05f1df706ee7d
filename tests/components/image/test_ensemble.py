"""Eight orientations, and that a denoiser's mean over them has no preferred one."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.image.ensemble import ORIENTATIONS, ensembled, oriented, upright

IMAGES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3])),
    elements=st.floats(0, 1, width=32),
)


def leaning(images: np.ndarray) -> np.ndarray:
    """Something that knows up from down and left from right."""
    _, height, width, _ = images.shape
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    across = np.linspace(0, 0.5, width, dtype=np.float32)[None, :, None]
    return np.maximum(images * down, across)


@given(IMAGES)
def test_an_orientation_is_undone(images):
    for orientation in ORIENTATIONS:
        np.testing.assert_array_equal(upright(oriented(images, *orientation), *orientation), images)


def test_there_are_eight_and_no_two_are_the_same():
    images = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    seen = {oriented(images, *orientation).tobytes() for orientation in ORIENTATIONS}
    assert len(seen) == 8
    assert oriented(images, 1, True).shape == (1, 4, 3, 1)
    assert oriented(images, 1, True).flags.c_contiguous


@given(IMAGES)
def test_no_orientation_is_preferred(images):
    result = ensembled(images, leaning)
    assert result.dtype == np.float32
    for orientation in ORIENTATIONS:
        turned = ensembled(oriented(images, *orientation), leaning)
        np.testing.assert_allclose(upright(turned, *orientation), result, atol=1e-6)


@given(IMAGES)
def test_it_is_the_mean_of_eight_results(images):
    wanted = np.mean([upright(leaning(oriented(images, *o)), *o) for o in ORIENTATIONS], axis=0)
    told: list[float] = []
    np.testing.assert_allclose(ensembled(images, leaning, told.append), wanted, atol=1e-6)
    assert told == [number / 8 for number in range(1, 9)]


def test_what_has_no_preferred_orientation_stays_itself():
    images = np.random.default_rng(1).random((2, 5, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(ensembled(images, lambda them: them), images, atol=1e-7)
