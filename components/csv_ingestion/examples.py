"""Rows to serialised tf.Examples: `image` (pixels int64), `label` (int64), `key` (int64), and of
pairs `noisy` (pixels int64)."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from components.csv_ingestion import reader

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE = "image"
LABEL = "label"
KEY = "key"
NOISY = "noisy"
"""The image as it was taken with its noise; `image` is the clean one."""
NO_LABEL = -1


def fingerprints(labels: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """64 bits of BLAKE2b of each row's values: the same wherever and however it is written.

    Args:
      labels: int64 (n,).
      pixels: uint8 (n, pixels).

    Returns:
      int64 (n,), uniform over all values.
    """
    table = np.concatenate([labels.astype("<i8").view(np.uint8).reshape(-1, 8), pixels], axis=1)
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in table)
    return np.frombuffer(digests, "<i8").astype(np.int64)


def read_file(
    path: str | pathlib.Path, row: reader.RowFormat
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Labels int64 (n,), pixels uint8 (n, pixels) and keys int64 (n,) of a local CSV, in blocks.

    Raises:
      DataError: as `reader.read_csv` does.
    """
    _, blocks = reader.read_csv(path, row, "required" if row.classes else "optional")
    for rows in blocks:
        yield rows.labels, rows.pixels, fingerprints(rows.labels, rows.pixels)


def is_validation(keys: np.ndarray, fraction: float) -> np.ndarray:
    """Whether each row belongs to validation rather than train.

    It depends on the row alone, so other rows can come, go or move and no row changes sides;
    a higher fraction only adds rows to validation.

    Args:
      keys: `fingerprints`, int64 (n,).
      fraction: Expected share of rows, in (0, 1).

    Returns:
      bool (n,).
    """
    return keys.view(np.uint64) < np.uint64(fraction * 2.0**64)


def record_batch(
    labels: np.ndarray, pixels: np.ndarray, keys: np.ndarray, noisy: np.ndarray | None = None
) -> pa.RecordBatch:
    """The rows as TFX-BSL and TFDV hold Examples: a column of int64 lists for each feature.

    Args:
      labels: int64 (n,); NO_LABEL throughout without labels.
      pixels: uint8 (n, pixels).
      keys: int64 (n,).
      noisy: The same of the noisy images of pairs.
    """
    import pyarrow as pa

    count, width = pixels.shape
    one_each = pa.array(np.arange(count + 1, dtype=np.int32))
    many_each = pa.array(np.arange(count + 1, dtype=np.int32) * np.int32(width))

    def values(images: np.ndarray) -> pa.ListArray:
        return pa.ListArray.from_arrays(many_each, pa.array(images.astype(np.int64).ravel()))

    columns = {
        IMAGE: values(pixels),
        LABEL: pa.ListArray.from_arrays(one_each, pa.array(labels)),
        KEY: pa.ListArray.from_arrays(one_each, pa.array(keys)),
    }
    if noisy is not None:
        columns[NOISY] = values(noisy)
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def serialise(batch: pa.RecordBatch) -> list[bytes]:
    """Serialises one tf.Example for each row of a `record_batch`."""
    from tfx_bsl.coders import example_coder

    return example_coder.RecordBatchToExamplesEncoder().encode(batch)
