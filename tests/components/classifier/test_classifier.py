"""The reference classifier."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from components.base import records
from components.base.errors import RunError
from components.classifier import classifier, result
from components.csv_ingestion import examples
from components.image.pixels import normalise
from tests import clothing

SHAPE = (28, 28, 1)


@pytest.fixture(scope="module")
def trained():
    pixels, labels = clothing.images(1500, seed=3)
    return classifier.train(pixels, labels, clothing.CLASSES, epochs=5, seed=1)


def test_it_recognises_clean_images(trained):
    pixels, labels = clothing.images(300, seed=4)
    predicted = result.predict(trained)(normalise(pixels, SHAPE)).numpy()
    assert np.mean(predicted == labels) > 0.8


@pytest.mark.parametrize("shape", [(28, 28, 1), (5, 9, 3), (64, 48, 3)])
def test_it_takes_images_of_any_size(shape):
    model = classifier.build(shape, 4)
    assert model.output_shape == (None, 4)
    # Whatever the size, its dense layer sees 8 x 8 pixels at most.
    assert model.count_params() < 600_000


def test_the_same_seed_trains_the_same(traced_steps):
    pixels, labels = clothing.images(256, seed=5)
    first, second = (classifier.train(pixels, labels, 10, epochs=1, seed=7) for _ in range(2))
    assert len(traced_steps) == 2, "each training traces its step once"
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_of_too_many_examples_every_nth_is_read(tmp_path):
    pixels, labels = clothing.images(25, seed=6)
    batch = examples.record_batch(labels, pixels.reshape(25, -1), np.arange(25, dtype=np.int64))
    folder = tmp_path / "Split-train"
    folder.mkdir()
    with tf.io.TFRecordWriter(f"{folder}/data-0.gz", "GZIP") as writer:
        for serialised in examples.serialise(batch):
            writer.write(serialised)
    read, read_labels = classifier.load(str(folder), SHAPE, limit=10)
    np.testing.assert_array_equal(read, pixels[::3])
    np.testing.assert_array_equal(read_labels, labels[::3])
    records.write_counts(str(tmp_path), {"train": 24})
    with pytest.raises(RunError, match="25 Examples were read, but 24 were written"):
        classifier.load(str(folder), SHAPE, limit=10)
