"""Shards: the files of Examples that a Beam worker takes one at a time.

    Create(shards) | Reshuffle() | ParDo(...)      each shard is read where it is worked on

Beam's own reads (ReadFromTFRecord, TFXIO) have no shuffle between finding the files and reading
them, so on Flink one worker reads them all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.base.errors import DataError
from components.base.files import escape_pattern


def shards(examples: types.Artifact, split: str) -> list[str]:
    """The files of a split, in order.

    Raises:
      DataError: it has none.
    """
    folder = artifact_utils.get_split_uri([examples], split)
    paths = sorted(fileio.glob(os.path.join(escape_pattern(folder), "*")))
    if not paths:
        raise DataError(f"{folder}: no Examples in it.")
    return paths


def batches(shard: str, size: int) -> Iterator[Any]:
    """Reads a shard.

    Args:
      shard: A gzipped TFRecord file.
      size: Examples in a batch.

    Yields:
      Serialised Examples, a string tensor (n,); n is `size` but in the last one.

    Raises:
      DataError: it cannot be read to its end.
    """
    import tensorflow as tf

    records = tf.data.TFRecordDataset(shard, "GZIP", buffer_size=1 << 20)
    try:
        yield from records.batch(size).prefetch(1)
    except tf.errors.OpError as error:
        raise DataError(
            f"{shard} cannot be read to its end: {error.message} Expected a gzipped TFRecord file "
            "of Examples, as an earlier step wrote it; it is damaged or was removed since."
        ) from error
