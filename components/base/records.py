"""Serialised Examples in TFRecord files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from components.base.errors import DataError


def records(files: Sequence[str]) -> tf.data.Dataset:
    """Serialised Examples of gzipped TFRecord files, in the files' order.

    Args:
      files: Paths or glob patterns.

    Raises:
      DataError: no file matches.
    """
    paths = sorted(path for pattern in files for path in tf.io.gfile.glob(pattern))
    if not paths:
        raise DataError(
            f"training: no transformed Examples match {list(files)}; the split is empty. "
            "Check data.validation_fraction and the number of rows."
        )
    return tf.data.TFRecordDataset(paths, compression_type="GZIP", buffer_size=1 << 20)


def count(files: Sequence[str]) -> int:
    """Number of Examples in the files."""
    return int(records(files).reduce(np.int64(0), lambda number, _: number + 1))
