"""Places and keys of patches: a matter of the file alone."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from components.image_ingestion import patches


@example(bytes(8), 1, 1, 7, 4, 40)  # the last places are not drawn, but counted
@given(
    st.binary(min_size=8, max_size=8),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 12),
    st.integers(0, 12),
    st.integers(1, 40),
)
def test_as_many_different_places_inside_the_image_as_there_are(key, tall, wide, down, over, n):
    found = patches.places(key, tall + down, wide + over, (tall, wide), n)
    assert len(set(found)) == len(found) == min(n, (down + 1) * (over + 1))
    assert all(0 <= top <= down and 0 <= left <= over for top, left in found)
    more = patches.places(key, tall + down, wide + over, (tall, wide), n + 5)
    assert set(found) <= set(more)


def test_places_are_even():
    keys = (number.to_bytes(8, "little") for number in range(300))
    found = np.array([place for key in keys for place in patches.places(key, 19, 29, (10, 10), 8)])
    assert np.abs(found.mean(axis=0) - [4.5, 9.5]).max() < 0.4
    counts = np.histogram2d(*found.T, bins=(5, 5))[0]
    assert counts.min() > 0.7 * counts.mean()


def test_keys_are_of_the_bytes():
    stream = io.BytesIO(b"some bytes" * 300_000)
    key = patches.file_key(stream)
    assert stream.tell() == 0
    assert key != patches.file_key(io.BytesIO(b"other bytes"))
    keys = patches.keys(key, 5)
    assert keys.dtype == np.int64
    assert len(set(keys.tolist())) == 5
    np.testing.assert_array_equal(patches.keys(key, 3), keys[:3])
