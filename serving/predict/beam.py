"""`denoise predict --beam`: large CSVs and many pictures on any Beam runner.

CSVs are cut into byte ranges; each becomes one output shard with its rows in order, so that
the shards one after the other are the input, denoised. A picture becomes one file. Who reads a
range or a picture writes what comes of it: only their names go from worker to worker.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import secrets
from collections.abc import Iterator, Sequence
from typing import IO

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils.shared import Shared

from components.base import jobs
from components.base.errors import DataError, UsageError
from components.base.files import digest, shown
from components.csv_ingestion.reader import RowFormat, read_head, read_rows
from components.image.picture import read_picture, write_picture
from components.image.reader import SUFFIXES
from serving.predict.denoisers import Denoiser, Source
from serving.predict.files import (
    DOT_FILE,
    Passed,
    claimed,
    find_inputs,
    format_rows,
    output_names,
)
from serving.predict.run import ANY_LABEL, suffixes

_RANGE_BYTES = 16 << 20
_ROWS = 256
_FAILED = ".failed.json"
_AS_IT_IS = CompressionTypes.UNCOMPRESSED


def absolute(location: str) -> str:
    """A path as a worker in a folder of its own finds it; a URI as it is."""
    return location if "://" in location else os.path.abspath(location)


@dataclasses.dataclass(frozen=True)
class Shards:
    """What was done."""

    output: str
    shards: int
    """Files written."""
    pictures: int = 0
    """Pictures denoised."""
    failed: tuple[Passed, ...] = ()
    """Pictures that could not be read rightly, and why."""
    ignored: tuple[Passed, ...] = ()
    """Files of a folder, or that fit a pattern, that are neither CSV nor picture."""
    notes: tuple[str, ...] = ()
    """What became of the job of a call that was killed."""


@dataclasses.dataclass(frozen=True)
class _Range:
    path: str
    start: int
    end: int | None
    shard: str
    """Name of the file that it becomes."""

    def open(self) -> IO[bytes]:
        packed = self.path.lower().endswith(".gz")
        kind = CompressionTypes.GZIP if packed else CompressionTypes.UNCOMPRESSED
        return FileSystems.open(self.path, compression_type=kind)


@dataclasses.dataclass(frozen=True)
class _Picture:
    path: str
    name: str
    """Of the file that it becomes, without its suffix."""


@dataclasses.dataclass
class _Inputs:
    csvs: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    """(path or URI, size in bytes)."""
    pictures: list[str] = dataclasses.field(default_factory=list)
    ignored: list[Passed] = dataclasses.field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.csvs] + self.pictures


def _find(inputs: Sequence[str]) -> _Inputs:
    """The CSVs and pictures that are named, lie in the folders that are, or fit the patterns.

    Raises:
      UsageError: there is none, or an input is neither.
    """
    found = _Inputs()
    for location in inputs:
        # What exists under this very name is no pattern, whatever characters are in it.
        if os.path.exists(location):
            here = find_inputs([pathlib.Path(location)])
            found.pictures += [absolute(str(path)) for path in here.images]
            found.csvs += [(absolute(str(path)), path.stat().st_size) for path in here.csvs]
            found.ignored += here.ignored
            continue
        [match] = FileSystems.match([absolute(location)])
        files = {file.path: file.size_in_bytes for file in match.metadata_list}
        taken = [path for path in sorted(files) if not path.rpartition("/")[2].startswith(".")]
        if not taken:
            raise UsageError(f"{shown(location)}: there is no such file.")
        for path in taken:
            if pathlib.PurePath(path).suffix.lower() in SUFFIXES:
                found.pictures.append(path)
            else:
                found.csvs.append((path, files[path]))
        found.ignored += [Passed(path, DOT_FILE) for path in sorted(files.keys() - set(taken))]
    return found


def _ranges(csvs: Sequence[tuple[str, int]]) -> list[_Range]:
    parts: list[tuple[str, int, int | None]] = []
    for path, size in csvs:
        if path.lower().endswith(".gz") or size <= _RANGE_BYTES:
            parts.append((path, 0, None))
            continue
        for start in range(0, size, _RANGE_BYTES):
            parts.append((path, start, min(start + _RANGE_BYTES, size)))
    return [
        _Range(*part, f"denoised-{number:05d}-of-{len(parts):05d}.csv")
        for number, part in enumerate(parts)
    ]


@contextlib.contextmanager
def _whole(folder: str, name: str, kind: str) -> Iterator[IO[bytes]]:
    """A file that takes its name when the block ends without an error."""
    path = FileSystems.join(folder, name)
    # Under another name first, and one of its own: a bundle may be tried again, even while
    # its first attempt is still under way.
    partial = FileSystems.join(folder, f".{secrets.token_hex(8)}.partial")
    try:
        with FileSystems.create(partial, kind) as stream:
            yield stream
        if FileSystems.exists(path):
            FileSystems.delete([path])
        FileSystems.rename([partial], [path])
    except BaseException:
        if FileSystems.exists(partial):
            FileSystems.delete([partial])
        raise


class _Denoise(beam.DoFn):
    """What denoises; the model is loaded once in each process."""

    def __init__(self, source: Source, output: str, shared: Shared) -> None:
        self._source = source
        self._output = output
        self._shared = shared
        self._denoiser: Denoiser | None = None

    def setup(self) -> None:
        self._denoiser = self._shared.acquire(self._source.open)


class _DenoisePicture(_Denoise):
    """A picture to a picture; yields nothing. One that cannot be read leaves a file of its own
    that says why: what a step yields does not come back from every runner."""

    def process(self, element: _Picture) -> Iterator[str]:  # type: ignore[override]
        assert self._denoiser is not None
        try:
            with FileSystems.open(element.path, compression_type=_AS_IT_IS) as stream:
                picture = read_picture(element.path, stream.read())
        except DataError as error:
            reason = str(error).removeprefix(shown(element.path)).lstrip(": ")
            with _whole(self._output, element.name + _FAILED, "application/json") as stream:
                stream.write(json.dumps([element.path, reason]).encode())
            return
        pixels = self._denoiser.denoise(picture.pixels[None])[0]
        picture = dataclasses.replace(picture, pixels=pixels)
        with _whole(self._output, element.name + picture.suffix, "image/png") as stream:
            content = io.BytesIO()
            write_picture(picture, content)
            stream.write(content.getvalue())
        yield element.name


class _DenoiseRange(_Denoise):
    """A range of a CSV to a shard of the output."""

    def __init__(
        self, source: Source, shape: tuple[int, int, int], output: str, shared: Shared
    ) -> None:
        super().__init__(source, output, shared)
        height, width, channels = shape
        self._shape = shape
        self._row = RowFormat(height * width * channels, ANY_LABEL, width)

    def process(self, element: _Range) -> Iterator[str]:  # type: ignore[override]
        with _whole(self._output, element.shard, "text/csv") as stream:
            for rows in self._denoised(element):
                stream.write(rows)
        yield FileSystems.join(self._output, element.shard)

    def _denoised(self, element: _Range) -> Iterator[bytes]:
        assert self._denoiser is not None
        with element.open() as stream:
            row = read_head(stream, self._row, element.path, label="optional")
        with element.open() as stream:
            for before, found in read_rows(stream, row, element.start, element.end):
                if found.bad:
                    bad = found.bad[0]
                    raise DataError(
                        f"{element.path}, line {before + bad.line} of the bytes from "
                        f"{element.start}: {bad.reason}: {bad.detail} in {bad.text[:80]!r}"
                    )
                for start in range(0, len(found.pixels), _ROWS):
                    pixels = found.pixels[start : start + _ROWS]
                    labels = found.labels[start : start + _ROWS] if row.labelled else None
                    denoised = self._denoiser.denoise(pixels.reshape(-1, *self._shape))
                    yield format_rows(labels, denoised.reshape(pixels.shape))


def predict_with_beam(
    inputs: Sequence[str],
    output: str,
    source: Source,
    pipeline_args: Sequence[str] = (),
    overwrite: bool = False,
    records: pathlib.Path | None = None,
) -> Shards:
    """Denoises CSVs of `label,p1,...,pN` rows, or of `p1,...,pN`, and pictures of any size.

    Args:
      inputs: Paths, folders, or patterns with * and ?, in any file system Beam knows.
      output: The folder for `denoised-NNNNN-of-NNNNN.csv`, and `NAME.png` of each picture, as
        `run.predict` writes it.
      source: The denoiser.
      pipeline_args: Beam's flags, such as `--runner=FlinkRunner`.
      overwrite: Whether files that this command did not make may be replaced. In an object
        store nothing tells who made a file: there it is needed for any that exists.
      records: A folder that keeps, while a job server works, which job writes what, so that the
        job of a call that was killed is cancelled by the next one for the same files; else it
        would go on and replace what that one wrote. None: nothing is kept.

    Raises:
      UsageError: there is no such file, the output is an input or a file of somebody else, or no
        job server answers.
      DataError: a row is not one.
      ModelError, NotDenoisedError: the denoiser cannot be used.
      RunError: a worker was lost, or raised another error.
    """
    found = _find(inputs)
    ranges = _ranges(found.csvs)
    reserved = [part.shard.removesuffix(".csv") for part in ranges]
    names = output_names(map(pathlib.PurePath, found.pictures), reserved)
    pictures = [_Picture(path, names[pathlib.PurePath(path)]) for path in found.pictures]
    planned = [part.shard for part in ranges]
    planned += [names[file] + suffix for file in names for suffix in (*suffixes(file), _FAILED)]
    output = absolute(output)
    if source.model is not None:
        source = dataclasses.replace(source, model=source.model.absolute())
    denoiser = source.open()
    shape = denoiser.row_shape if ranges else None
    denoiser.close()
    shared = Shared()
    record = str(records / f"{digest([output, planned])}.json") if records else None
    with _claimed(output, planned, inputs, found.paths, overwrite):
        left = jobs.cancel_left(record) if record else ""
        with jobs.running(["--runner=FnApiRunner", *pipeline_args], record) as pipeline:
            if shape is not None:
                _ = (
                    pipeline
                    | "Ranges" >> beam.Create(ranges)
                    | "Spread" >> beam.Reshuffle()
                    | "Denoise" >> beam.ParDo(_DenoiseRange(source, shape, output, shared))
                )
            if pictures:
                _ = (
                    pipeline
                    | "Pictures" >> beam.Create(pictures)
                    | "SpreadPictures" >> beam.Reshuffle()
                    | "DenoisePictures" >> beam.ParDo(_DenoisePicture(source, output, shared))
                )
        failed = _failed(output, [picture.name for picture in pictures])
    return Shards(
        output,
        len(ranges),
        len(pictures) - len(failed),
        tuple(failed),
        tuple(found.ignored),
        (left,) if left else (),
    )


def _failed(output: str, names: Sequence[str]) -> list[Passed]:
    """What the workers say could not be read, which is then no longer in the output."""
    failed = []
    for path in [FileSystems.join(output, name + _FAILED) for name in names]:
        if FileSystems.exists(path):
            with FileSystems.open(path) as stream:
                failed.append(Passed(*json.loads(stream.read())))
            FileSystems.delete([path])
    return failed


def _claimed(
    output: str,
    planned: Sequence[str],
    inputs: Sequence[str],
    files: Sequence[str],
    overwrite: bool,
) -> contextlib.AbstractContextManager[None]:
    """As `files.claimed`, for a folder in any file system."""
    if "://" not in output:
        read = [*inputs, *files]
        local = [pathlib.Path(path) for path in read if "://" not in path]
        return claimed(pathlib.Path(output), planned, local, overwrite)
    paths = [FileSystems.join(output, name) for name in planned]
    for path in paths:
        if path in files or (not overwrite and FileSystems.exists(path)):
            raise UsageError(f"{path} exists. Give another -o DIR, or --overwrite.")
    if not FileSystems.exists(output):
        FileSystems.mkdirs(output)
    return contextlib.nullcontext()
