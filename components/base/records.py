"""Serialised Examples in TFRecord files, and how many a step wrote for the next one to find.

    <examples>/Split-<name>/...gz
    <examples>/counts.json          the number of Examples by split

Who reads Examples counts them, and stops on another number than the writer's: files that an
earlier run left in the folder, or that are missing, would otherwise decide the result unseen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from components.base.errors import DataError, RunError
from components.base.files import escape_pattern

COUNTS_FILE = "counts.json"
_SPLIT = "Split-"


def write_counts(examples: str, counts: Mapping[str, int]) -> None:
    """Notes what was written.

    Args:
      examples: The folder of an Examples artifact.
      counts: Number of Examples by split.
    """
    with tf.io.gfile.GFile(os.path.join(examples, COUNTS_FILE), "w") as file:
        file.write(json.dumps(dict(counts), indent=2) + "\n")


def check_read(folder: str, number: int) -> None:
    """Compares what was read with what was written.

    Args:
      folder: A split's, `<examples>/Split-<name>`; without counts beside it nothing is compared.
      number: Of Examples that were read of it.

    Raises:
      RunError: another number was written.
    """
    examples, name = os.path.split(folder.rstrip("/"))
    file = os.path.join(examples, COUNTS_FILE)
    if not tf.io.gfile.exists(file):
        return
    with tf.io.gfile.GFile(file) as stream:
        written = json.loads(stream.read()).get(name.removeprefix(_SPLIT), 0)
    if number != written:
        raise RunError(
            f"{folder}: {number} Examples were read, but {written} were written ({file}). Files of "
            f"an earlier run lie there, or some are missing: remove {examples} and run again."
        )


def records(files: Sequence[str]) -> tf.data.Dataset:
    """Serialised Examples of gzipped TFRecord files, in the files' order.

    Args:
      files: Paths or glob patterns; of a pattern only what follows the last slash is one.

    Raises:
      DataError: no file matches.
    """
    found = (tf.io.gfile.glob(_pattern(pattern)) for pattern in files)
    paths = sorted(path for of_pattern in found for path in of_pattern)
    if not paths:
        raise DataError(
            f"training: no transformed Examples match {list(files)}; the split is empty. "
            "Check data.validation_fraction and the number of rows."
        )
    return tf.data.TFRecordDataset(paths, compression_type="GZIP", buffer_size=1 << 20)


def _pattern(pattern: str) -> str:
    folder, name = os.path.split(pattern)
    return os.path.join(escape_pattern(folder), name)


def count(files: Sequence[str]) -> int:
    """Number of Examples in the files of one split.

    Args:
      files: Paths or glob patterns, which together name everything in the split's folder.

    Raises:
      DataError: no file matches.
      RunError: it is not the number that was written (`check_read`).
    """
    number = int(records(files).reduce(np.int64(0), lambda number, _: number + 1))
    for folder in {os.path.dirname(pattern) for pattern in files}:
        check_read(folder, number)
    return number
