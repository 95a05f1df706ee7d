"""Transformed Examples for tests, made by the project's own preprocessing function."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf

from components.base.settings import Settings
from components.transform.preprocessing import preprocessing_fn
from tests import clothing


def _feature(value: np.ndarray) -> tf.train.Feature:
    value = np.asarray(value)
    if value.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=value.ravel()))
    if value.dtype.kind == "i":
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value.ravel()))
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.item()]))


def write(folder: pathlib.Path, count: int, settings: Settings, seed: int = 1) -> str:
    """Writes one shard and returns a pattern that finds it."""
    images, labels = clothing.images(count, seed=seed, shape=settings.image.shape)
    outputs = preprocessing_fn(
        {
            "image": images.reshape(count, -1).astype(np.int64),
            "label": labels[:, None],
            "key": (np.arange(count, dtype=np.int64) * 7919 + seed)[:, None],
        },
        settings.model_dump(mode="json"),
    )
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    folder.mkdir(parents=True, exist_ok=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(folder / "shard-0.gz"), options) as writer:
        for row in range(count):
            features = {name: _feature(array[row]) for name, array in arrays.items()}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return str(folder / "shard-*")
