"""Reading transformed Examples: every image once an epoch, the same after a resume."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from components.base import records
from components.base.errors import DataError
from components.base.settings import TrainingSettings
from components.training import images as training_input
from components.training import recipe
from components.training.job import Job

SHAPE = (2, 2, 1)


@pytest.fixture
def files(tmp_path):
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    for shard in range(2):
        with tf.io.TFRecordWriter(str(tmp_path / f"shard-{shard}.gz"), options) as writer:
            for number in range(5):
                value = (5 * shard + number) / 10
                features = {
                    name: tf.train.Feature(float_list=tf.train.FloatList(value=[value + add] * 4))
                    for name, add in (("clean", 0.0), ("noisy", 0.05))
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
    return [str(tmp_path / "shard-*")]


def test_load_reads_every_image_of_every_shard(files):
    noisy, clean = training_input.load(files, SHAPE, ("noisy", "clean"))
    assert records.count(files) == 10
    np.testing.assert_allclose(clean[:, 0, 0, 0], np.arange(10) / 10)
    np.testing.assert_allclose(noisy - clean, 0.05, atol=1e-6)


def test_no_files_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="split is empty"):
        records.records([str(tmp_path / "none-*")])


def _epochs(dataset, epochs, steps):
    batches = list(dataset.take(epochs * steps).as_numpy_iterator())
    return [batches[i * steps : (i + 1) * steps] for i in range(epochs)]


def test_an_epoch_is_a_permutation_and_each_another():
    images = np.arange(12, dtype=np.float32).reshape(12, 1, 1, 1)
    dataset = training_input.shuffled((images, images), batch_size=4, steps=3, seed=3, first_step=0)
    orders = [
        np.concatenate([batch[0].ravel() for batch in epoch]) for epoch in _epochs(dataset, 3, 3)
    ]
    for order in orders:
        assert sorted(order) == list(range(12))
    assert len({tuple(order) for order in orders}) == 3


def test_inputs_and_targets_stay_together():
    noisy = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1)
    dataset = training_input.shuffled(
        (noisy, noisy + 100), batch_size=3, steps=3, seed=0, first_step=0
    )
    for inputs, targets in dataset.take(6).as_numpy_iterator():
        assert inputs.shape == (3, 1, 1, 1)
        np.testing.assert_array_equal(targets, inputs + 100)


def test_a_resumed_run_sees_the_batches_it_would_have_seen():
    images = np.arange(12, dtype=np.float32).reshape(12, 1, 1, 1)
    whole = training_input.shuffled((images, images), batch_size=4, steps=3, seed=3, first_step=0)
    rest = training_input.shuffled((images, images), batch_size=4, steps=3, seed=3, first_step=7)
    for (expected, _), (found, _) in zip(
        whole.skip(7).take(3).as_numpy_iterator(), rest.take(3).as_numpy_iterator(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_streamed_gives_the_same_images_without_holding_them(files):
    dataset = training_input.streamed(
        files, SHAPE, ("noisy", "clean"), batch_size=5, steps=2, seed=1
    )
    batches = list(dataset.take(2).as_numpy_iterator())
    clean = np.concatenate([targets[:, 0, 0, 0] for _, targets in batches])
    np.testing.assert_allclose(np.sort(clean), np.arange(10) / 10)
    np.testing.assert_allclose(batches[0][0] - batches[0][1], 0.05, atol=1e-6)


def test_a_resumed_stream_gives_the_batches_it_would_have_given(files):
    def batches(first_step):
        dataset = training_input.streamed(
            files, SHAPE, ("noisy", "clean"), 5, steps=2, seed=1, first_step=first_step
        )
        return [targets[:, 0, 0, 0] for _, targets in dataset.take(6).as_numpy_iterator()]

    whole = batches(0)
    passes = [np.concatenate(whole[at : at + 2]) for at in (0, 2, 4)]
    for order in passes:
        np.testing.assert_allclose(np.sort(order), np.arange(10) / 10)
    assert len({order.tobytes() for order in passes}) == 3
    # In the middle of a pass too: epochs may be shorter.
    for first_step in (2, 3):
        np.testing.assert_array_equal(batches(first_step)[: 6 - first_step], whole[first_step:])


def test_a_stream_shorter_than_its_epoch_begins_again(files):
    """A worker's share of the images may be less than its part of every batch."""
    dataset = training_input.streamed(
        files, SHAPE, ("noisy", "clean"), 3, steps=2, seed=1, every=2, first=1
    )
    for epoch in _epochs(dataset, 2, 2):
        assert len(np.unique(np.concatenate([targets[:, 0, 0, 0] for _, targets in epoch]))) == 5


@pytest.mark.parametrize(
    ("cache", "images", "gpus", "expected"),
    [
        ("memory", 10**12, 1, "memory"),
        ("disk", 1, 1, "disk"),
        ("device", 1, 0, "device"),
        ("auto", 10**12, 1, "disk"),
        ("auto", 100, 0, "memory"),
        ("auto", 100, 1, "device"),
        # Every GPU would hold its own copy, and wait for its share of the batch all the same.
        ("auto", 100, 2, "memory"),
    ],
)
def test_the_cache_setting_decides_where_images_live(cache, images, gpus, expected):
    settings = TrainingSettings(cache=cache)
    assert training_input.place(settings, images, (28, 28, 1), gpus) == expected


def _turned(shape, first_step=0, steps=200):
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    batches = tf.data.Dataset.from_tensors((image, image + 100)).repeat()
    return image, list(
        training_input.turned(batches, 3, first_step).take(steps).as_numpy_iterator()
    )


@pytest.mark.parametrize(("shape", "ways"), [((3, 3, 2), 8), ((3, 4, 1), 4)])
def test_batches_are_seen_in_every_way_that_keeps_their_shape(shape, ways):
    image, batches = _turned(shape)
    seen = {inputs.tobytes() for inputs, _ in batches}
    kept = [image[:, ::down, ::across] for down in (1, -1) for across in (1, -1)]
    if ways == 8:
        kept += [way.transpose(0, 2, 1, 3) for way in kept]
    assert seen == {way.tobytes() for way in kept}
    for inputs, targets in batches:
        np.testing.assert_array_equal(targets, inputs + 100)


def test_a_resumed_run_turns_batches_as_it_would_have():
    _, whole = _turned((3, 3, 1), steps=30)
    _, rest = _turned((3, 3, 1), first_step=20, steps=10)
    for (expected, _), (found, _) in zip(whole[20:], rest, strict=True):
        np.testing.assert_array_equal(found, expected)


def _resident_bytes() -> int:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_batches_hold_no_copy_of_the_images():
    """As constants of TensorFlow they took three times their size; large ones, the machine's."""
    images = np.ones((1 << 13, 64, 64, 1), np.float32)
    before = _resident_bytes()
    dataset = training_input.shuffled((images, images), 8, steps=4, seed=1, first_step=0)
    batch, _ = next(dataset.as_numpy_iterator())
    assert batch.shape == (8, 64, 64, 1)
    assert _resident_bytes() - before < images.nbytes / 2


@pytest.mark.parametrize("noise", ["fresh", "fixed"])
def test_images_on_the_device_are_held_once(files, tmp_path, noise):
    """Those to train on, and pairs: to validate with, or of `training.noise=fixed` all."""
    images = training_input.Images(_job(files, tmp_path, cache="device", noise=noise))
    resident = images.resident
    pairs = 10 if noise == "fresh" else 20
    assert len(resident.images) == 10 + 10 + pairs
    lookup = recipe.ResidentImages(resident)
    inputs, targets = (
        np.concatenate(values)
        for values in zip(*(map(np.asarray, lookup(i)) for i, _ in images.validation), strict=True)
    )
    np.testing.assert_allclose(targets[:, 0, 0, 0], np.arange(10) / 10)
    np.testing.assert_allclose(inputs - targets, 0.05, atol=1e-6)
    seen = []
    for indices, _ in images.training().take(images.steps):
        inputs, targets = map(np.asarray, lookup(indices))
        np.testing.assert_allclose(inputs - targets, 0.05 * (noise == "fixed"), atol=1e-6)
        seen += list(targets[:, 0, 0, 0])
    np.testing.assert_allclose(np.sort(seen), np.arange(10) / 10)


def _job(files, tmp_path, **training):
    training = TrainingSettings(batch_size=5, steps_per_execution=1, **training)
    return Job(
        image={"height": 2, "width": 2},
        noise={},
        model={},
        training=training,
        seed=3,
        train_files=files,
        eval_files=files,
        run_folder=tmp_path,
    )


@pytest.mark.parametrize(("shape", "ways"), [((3, 3, 2), 8), ((3, 4, 1), 4)])
@pytest.mark.parametrize("compiled", [False, True])
def test_batches_on_the_device_are_turned_in_every_way_too(shape, ways, compiled):
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    noisy = np.repeat(image, 16, axis=0)
    resident = recipe.Resident(np.concatenate([noisy, noisy + 100]), paired_from=0, apart=16)
    layer = recipe.ResidentImages(resident, turned=True)
    layer(tf.constant([0]))
    call = tf.function(layer, jit_compile=True) if compiled else layer
    seen = set()
    for indices in [(first, second) for first in range(5) for second in range(5)]:
        inputs, targets = call(tf.constant(indices), training=True)
        np.testing.assert_array_equal(targets, inputs + 100)
        seen |= {one.numpy().tobytes() for one in inputs}
    kept = [image[0, ::down, ::across] for down in (1, -1) for across in (1, -1)]
    if ways == 8:
        kept += [way.transpose(1, 0, 2) for way in kept]
    assert seen == {way.tobytes() for way in kept}
    for images in call(tf.constant([5, 2]), training=False):
        assert (images.numpy() % 100 == image).all()
