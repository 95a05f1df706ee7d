"""Groups of image files to TFRecord shards of patches: the Beam step, and the plan of it.

Each file is read, cut, serialised and written by the worker that has its group: no image crosses
the runner. Files are decoded in threads while the worker's own thread compresses.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import io
import os
import re
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import IO, Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pydantic

from components.base import progress
from components.base.errors import DataError
from components.base.files import check_file
from components.base.in_order import THREADS, map_in_order
from components.csv_ingestion import examples, parts
from components.csv_ingestion.parts import TRAIN, VALIDATION
from components.csv_ingestion.result import FileSummary, QuarantinedRow
from components.image.reader import SmallImageError, read_patches
from components.image_ingestion import patches
from components.image_ingestion.folder import CLEAN, NOISY, ImageName

MOST_BYTES = 1 << 30
"""Files that are larger are set aside unread: a worker holds some decoded images at a time."""
_GROUP_BYTES = 32 << 20
"""The most that one worker takes at a time, but for a single file."""
_LEAST_GROUP_BYTES = 1 << 20
_GROUP_FILES = 512
_BATCH_VALUES = 1 << 19
"""Pixel values serialised at a time."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Files that one worker takes at a time."""

    number: int
    """Of the group, over both splits."""
    input_split: str
    folder: str
    """The data folder."""
    images: tuple[ImageName, ...]


@dataclasses.dataclass(frozen=True)
class Cutting:
    """How files are cut."""

    size: tuple[int, int, int]
    """(H, W, C) of a patch."""
    number: int
    """Patches of a file, if it has so many places."""
    classes: tuple[str, ...]
    """Names of the folders that are labels; empty: there are no labels."""
    validation_below: int
    """Files of `train` whose key, as a number, is less are validated with; 0 to 2^64."""


class GroupReport(pydantic.BaseModel):
    """What became of a group."""

    folders: dict[str, FileSummary] = {}
    """By the path of the folder that files lie in."""
    notes: dict[str, int] = {}
    """Number of files by what was not taken from them as it is."""
    keys: int = 0
    """Sum of the keys of the Examples that are trained on, modulo 2^64."""
    least: int | None = None
    most: int | None = None
    """The least and the greatest key of its cut files, as numbers."""


def plan(folder: str, images: Sequence[ImageName], parallelism: int) -> list[Group]:
    """Divides files into groups, so that each worker has one of each split.

    Examples, their order and keys do not depend on it.

    Args:
      folder: The data folder.
      images: In order of split.
      parallelism: How many workers there are.
    """
    groups: list[Group] = []
    for split in parts.INPUT_SPLITS:
        sized = [
            (image, sum(_size(os.path.join(folder, path)) for path in image.paths))
            for image in images
            if image.split == split and not image.alone
        ]
        alone = [(image, 0) for image in images if image.split == split and image.alone]
        total = sum(size for _, size in sized)
        most = min(_GROUP_BYTES, max(_LEAST_GROUP_BYTES, -(-total // parallelism)))
        group: list[ImageName] = []
        size = 0
        for image, bytes_ in sorted([*sized, *alone], key=lambda item: item[0].name):
            if group and (size + bytes_ > most or len(group) == _GROUP_FILES):
                groups.append(Group(len(groups), split, folder, tuple(group)))
                group, size = [], 0
            group.append(image)
            size += bytes_
        groups.append(Group(len(groups), split, folder, tuple(group)))
    return groups


def _size(path: str) -> int:
    """Bytes; 0 for what is not there any more, which its worker finds out."""
    if "://" not in path:
        with contextlib.suppress(OSError):
            return os.stat(path).st_size
        return 0
    from tfx.dsl.io import fileio

    return int(fileio.stat(path).length)


class SetAside(Exception):
    """A file that is not cut.

    Attributes:
      reason: A word.
      detail: What was found and what was expected.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclasses.dataclass(frozen=True)
class Cut:
    """What is cut from an image."""

    image: ImageName
    key: int
    """The file's, as a number."""
    label: int
    keys: np.ndarray
    """int64 (n,)."""
    pixels: np.ndarray
    """uint8 (n, H*W*C)."""
    noisy: np.ndarray | None
    """The same of the noisy image of a pair."""
    notes: tuple[str, ...]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The Examples."""
        size = max(1, _BATCH_VALUES // self.pixels.shape[1])
        for first in range(0, len(self.keys), size):
            part = slice(first, first + size)
            keys = self.keys[part]
            labels = np.full(len(keys), self.label, np.int64)
            noisy = None if self.noisy is None else self.noisy[part]
            yield examples.record_batch(labels, self.pixels[part], keys, noisy)


def cut(image: ImageName, folder: str, how: Cutting) -> Cut:
    """Cuts a file, or a pair of them at the same places.

    Raises:
      SetAside: it cannot be cut.
    """
    label = _label(image, how.classes)
    if image.alone:
        there = NOISY if image.alone == CLEAN else CLEAN
        raise SetAside(
            "no_twin", f"no image of this name in {image.split}/{image.alone}/, as in {there}/"
        )
    height, width, channels = how.size
    notes: dict[str, None] = {}
    sizes: list[tuple[int, int]] = []
    corners: list[tuple[int, int]] = []
    cuts: list[np.ndarray] = []
    file_keys: list[bytes] = []
    for name in image.paths:

        def places(tall: int, wide: int) -> Sequence[tuple[int, int]]:
            # Those of the clean image, for both.
            sizes.append((tall, wide))
            if len(sizes) == 1:
                corners.extend(
                    patches.places(file_keys[0], tall, wide, (height, width), how.number)
                )
            elif sizes[0] != sizes[1]:
                (a, b), (c, d) = sizes
                raise DataError(f"{d}x{c} pixels, its clean twin has {b}x{a}")
            return corners

        with _opened(os.path.join(folder, name)) as stream:
            file_keys.append(patches.file_key(stream))
            try:
                found = read_patches(stream, name, channels, (height, width), places)
            except SmallImageError as error:
                raise SetAside("too_small", _without(name, error)) from error
            except DataError as error:
                reason = "other_size" if len(set(sizes)) > 1 else "unreadable"
                raise SetAside(reason, _without(name, error)) from error
        notes |= dict.fromkeys(found.notes)
        cuts.append(found.pixels.reshape(len(found.pixels), -1))
    return Cut(
        image,
        patches.as_number(file_keys[0]),
        label,
        patches.keys(b"".join(file_keys), len(corners)),
        cuts[0],
        cuts[1] if len(cuts) > 1 else None,
        tuple(_NUMBER.sub("several", note) for note in notes),
    )


_NUMBER = re.compile(r"\b\d+\b")


def _without(name: str, error: Exception) -> str:
    return str(error).removeprefix(f"{name}: ")


def _label(image: ImageName, classes: tuple[str, ...]) -> int:
    if not classes:
        return examples.NO_LABEL
    if image.label not in classes:
        where = f"in the folder {image.label}" if image.label else "in no folder of a label"
        known = ", ".join(classes[:10]) + ", ..." * (len(classes) > 10)
        raise SetAside("unknown_label", f"{where}, expected one of data.classes: {known}")
    return classes.index(image.label)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """A file, seekable.

    Raises:
      SetAside: it is too large or, on a local disk, cannot be read. What a remote store raises is
        raised, for the runner to try again.
    """
    size = _size(path)
    if size > MOST_BYTES:
        raise SetAside(
            "too_large", f"{size / 2**30:.1f} GiB, more than the {MOST_BYTES >> 30} that are read"
        )
    if "://" in path:
        from tfx.dsl.io import fileio

        with fileio.open(path, "rb") as remote:
            content = remote.read()
        yield io.BytesIO(content)
        return
    try:
        check_file(path)
    except DataError as error:
        raise SetAside("unreadable", str(error).partition(" cannot be read: ")[2]) from error
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise SetAside("unreadable", f"cannot be read: {error.strerror or error}") from error


class CutGroup(beam.DoFn):
    """Writes a group's shards, what is set aside of it and its report; yields its number.

    Safe to run twice: shards and reports are renamed to their names when they are complete,
    and are the same each time.
    """

    def __init__(self, how: Cutting, examples_uri: str, groups: int):
        self._how = how
        self._examples_uri = examples_uri
        self._groups = groups

    def setup(self) -> None:
        self._done = 0
        self._threads = futures.ThreadPoolExecutor(THREADS)

    def teardown(self) -> None:
        self._threads.shutdown()

    def process(self, element: Group) -> Iterator[int]:
        report = GroupReport()
        with parts.Shards(self._examples_uri, element.number) as shards:
            encode = functools.partial(_encode, folder=element.folder, how=self._how)
            done = map_in_order(self._threads, encode, element.images, ahead=THREADS)
            for image, outcome in zip(element.images, done, strict=True):
                _account(image, outcome, shards, report)
            shards.publish()
        parts.write_report(self._examples_uri, element.number, report)
        self._done += 1
        progress.tell("ImageIngestion", self._done, self._groups)
        yield element.number


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """A file on its way out."""

    split: str
    key: int
    keys: np.ndarray
    records: list[bytes]
    notes: tuple[str, ...]


def _encode(image: ImageName, folder: str, how: Cutting) -> _Encoded | SetAside:
    try:
        found = cut(image, folder, how)
    except SetAside as reason:
        return reason
    split = image.split
    if split == TRAIN and found.key < how.validation_below:
        split = VALIDATION
    records = [record for batch in found.batches() for record in examples.serialise(batch)]
    return _Encoded(split, found.key, found.keys, records, found.notes)


def _account(
    image: ImageName, outcome: _Encoded | SetAside, shards: parts.Shards, report: GroupReport
) -> None:
    folder = os.path.dirname(image.shown)
    of_folder = report.folders.setdefault(
        folder, FileSummary(file=f"{folder}/", input_split=image.split)
    )
    of_folder.rows += 1
    if isinstance(outcome, SetAside):
        shards.quarantine(
            QuarantinedRow(
                file=image.shown, line=0, reason=outcome.reason, detail=outcome.detail, row=""
            )
        )
        counts = collections.Counter(of_folder.quarantined)
        counts[outcome.reason] += 1
        of_folder.quarantined = dict(counts)
        return
    shards.write(outcome.split, outcome.records)
    # The file's own, once for each patch: two splits must not share a file.
    shards.add_keys(np.full(len(outcome.keys), outcome.key, np.uint64).view(np.int64))
    counts = collections.Counter(of_folder.examples)
    counts[outcome.split] += len(outcome.records)
    of_folder.examples = dict(counts)
    of_folder.cut += 1
    for note in outcome.notes:
        report.notes[note] = report.notes.get(note, 0) + 1
    if image.split == TRAIN:
        report.keys = (report.keys + int(outcome.keys.view(np.uint64).sum())) % 2**64
    keys = [outcome.key, *(key for key in (report.least, report.most) if key is not None)]
    report.least, report.most = min(keys), max(keys)


class ReadGroup(beam.DoFn):
    """Yields the patches of a group as `examples.record_batch`es; files that cannot be cut are
    passed over."""

    def __init__(self, how: Cutting):
        self._how = how

    def process(self, element: Group) -> Iterator[pa.RecordBatch]:
        for image in element.images:
            with contextlib.suppress(SetAside):
                yield from cut(image, element.folder, self._how).batches()


def read(
    folder: str, images: Sequence[ImageName], how: Cutting
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Cuts files here, one after the other.

    Yields:
      Of each file that can be cut, labels int64 (n,), pixels uint8 (n, H*W*C), keys int64 (n,),
      and of pairs the pixels of the noisy image.
    """
    with futures.ThreadPoolExecutor(THREADS) as threads:

        def attempt(image: ImageName) -> Any:
            try:
                return cut(image, folder, how)
            except SetAside:
                return None

        for found in map_in_order(threads, attempt, images, ahead=THREADS):
            if found is not None:
                labels = np.full(len(found.keys), found.label, np.int64)
                yield labels, found.pixels, found.keys, found.noisy
