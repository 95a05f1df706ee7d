"""CSVs of any number of rows, quickly: real rows, each shifted and dimmed in its own way."""

from __future__ import annotations

import pathlib

import numpy as np

_BLOCK = 5_000
_TEXT = np.array([f",{value}".encode() for value in range(256)])


def csv(labels: np.ndarray, pixels: np.ndarray) -> bytes:
    """Rows of `label,p1,...,pN`.

    Args:
      labels: (n,), 0 to 9.
      pixels: uint8 (n, N).
    """
    characters = np.zeros((len(pixels), 1 + pixels.shape[1] * 4 + 1), np.uint8)
    characters[:, 0] = labels + ord("0")
    table = np.zeros((256, 4), np.uint8)
    for value, text in enumerate(_TEXT):
        table[value, : len(text)] = np.frombuffer(text, np.uint8)
    characters[:, 1:-1] = table[pixels].reshape(len(pixels), -1)
    characters[:, -1] = ord("\n")
    return characters[characters != 0].tobytes()


def varied(
    labels: np.ndarray, pixels: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """`count` rows drawn from those given, no two alike: each image is dimmed by its own factor
    and gets four pixels of its own.

    Args:
      labels: (n,).
      pixels: uint8 (n, N).
      count: How many to draw.
      seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(pixels), count)
    factor = random.integers(180, 257, (count, 1), np.uint16)
    made = ((pixels[drawn] * factor) >> 8).astype(np.uint8)
    places = random.integers(0, pixels.shape[1], (count, 4))
    np.put_along_axis(made, places, random.integers(0, 256, (count, 4), np.uint8), axis=1)
    return labels[drawn], made


def write(
    source: tuple[np.ndarray, np.ndarray], folder: pathlib.Path, rows: int, shard_rows: int
) -> int:
    """Writes a data folder, a seventh of the rows in `test`.

    Args:
      source: Labels and pixels to draw from.
      folder: To write.
      rows: In all.
      shard_rows: In one file; 0: all of a split in one.

    Returns:
      Bytes written.
    """
    header = ",".join(["label", *(f"pixel{n + 1}" for n in range(source[1].shape[1]))])
    seed = written = 0
    for split, count in (("train", rows - rows // 7), ("test", rows // 7)):
        (folder / split).mkdir(parents=True)
        of_shard = shard_rows or count
        for shard, start in enumerate(range(0, count, of_shard)):
            with (folder / split / f"{shard:05d}.csv").open("wb") as file:
                file.write(f"{header}\n".encode())
                left = min(of_shard, count - start)
                while left:
                    seed += 1
                    file.write(csv(*varied(*source, min(left, _BLOCK), seed)))
                    left -= min(left, _BLOCK)
                written += file.tell()
    return written
