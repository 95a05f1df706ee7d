"""Bytes of a CSV file to rows of pixels, and to a diagnosis of each row that is not one.

A row is `label,p1,...,pN`, or `p1,...,pN` in a file without labels: integers, the pixels in
0-255, the label below the number of classes. Spaces and tabs around a value, a pair of double
quotes around it, leading zeros, a plus sign, CRLF line ends and blank lines are tolerated;
anything else is set aside as a `BadRow`. A line is a row: a quoted line break is not CSV that
could hold pixels. A header says which column holds what (`read_head`).

Whole blocks are parsed at once with numpy when every byte is a digit, a comma or a line end
and every line has the right number of columns, which three vector operations establish. That
is 2.5 times as fast as `pyarrow.csv` into the same matrix, costs the same per pixel for
images of any width, and takes no text that the diagnosis below would refuse.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import gzip
import itertools
import pathlib
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Literal, Protocol

import numpy as np

from components.base.errors import DataError
from components.base.files import check_file

_BLOCK_BYTES = 1 << 20
_GROUP_LINES = 16
"""Lines tried at once in a block with a bad row, before each is looked at alone."""
_TEXT_CHARACTERS = 4096
"""Limit of what is kept of a bad row."""
_BLANK = b" \t\r"
_GZIP_MAGIC = b"\x1f\x8b"

Reason = Literal[
    "wrong_columns",
    "missing_label",
    "unknown_label",
    "not_an_integer",
    "out_of_range",
    "line_too_long",
]


@dataclasses.dataclass(frozen=True)
class RowFormat:
    """The values of a row, and the columns of a file they are in.

    `RowFormat(pixels, classes)` is what is asked for: a label and then the pixels, in a file
    that begins with its first row. `read_head` returns the format of one file.
    """

    pixels: int
    """Values in 0-255."""
    classes: int
    """A label is one of 0..`classes`-1."""
    width: int | None = None
    """Pixels in a row of the image: a header may name it too. None: not compared."""
    labelled: bool = True
    chosen: tuple[int, ...] | None = None
    """0-based columns of a row's values: of the label, if the file has one, and of the pixels in
    their order. None: all columns, as they stand."""
    passed_over: tuple[str, ...] = ()
    """Names of the columns that hold neither: an index."""
    named: bool = False
    """True if the file has a header."""
    header: bytes = b""
    """The header's fields in the order of a row's values, with the line end; none without one."""
    begins: int = 0
    """Bytes before the first row."""
    lines_before: int = 0
    """Physical lines before the first row."""

    @property
    def columns(self) -> int:
        """Values in a line."""
        return self.labelled + self.pixels + len(self.passed_over)

    @property
    def expected(self) -> str:
        """The columns, for people: `a label and 784 pixels`."""
        return f"{'a label and ' * self.labelled}{self.pixels} pixels"

    @property
    def longest(self) -> int:
        """Bytes of the longest line taken for a row: room for spaces and quotes, not for a
        file without line ends to fill the memory."""
        return 64 + 16 * self.columns


@dataclasses.dataclass(frozen=True)
class BadRow:
    """A row that is set aside."""

    line: int
    """1-based, physical, counted from where the bytes given began."""
    reason: Reason
    detail: str
    """The value found and the one expected, for people."""
    text: str
    """The row; undecodable bytes as \\xNN, cut to 4096 characters."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """The content of some lines; `read` = rows in `labels` + rows in `bad`."""

    labels: np.ndarray
    """int64 (n,); -1 throughout in a file without labels."""
    pixels: np.ndarray
    """uint8 (n, pixels)."""
    bad: tuple[BadRow, ...]
    read: int
    """Lines that are not blank."""
    lines: int
    """Physical lines."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, /) -> object: ...


def read_blocks(
    stream: _Readable, row: RowFormat, start: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """Yields the lines that begin in the byte range [start, end), many at a time.

    What comes before the first row (`row.begins`) is left out. Ranges that cover a file yield
    each of its other lines exactly once, whatever their borders. Memory stays within a few
    blocks: of a line longer than `row.longest` only so much is kept that it is still too long.

    Args:
      stream: At its beginning; seekable unless the file begins with its first row and `start`
        is 0.
      row: The format of this file.
      start: Offset in bytes.
      end: Offset in bytes; None: the end of the stream.

    Yields:
      Blocks of about 1 MiB, or of one line; each ends with a line end, which is added to
      the last line of the file where it has none.
    """
    size = max(_BLOCK_BYTES, 4 * row.columns)
    keep = row.longest + 1
    whole_line = start <= row.begins
    position = row.begins if whole_line else start - 1
    rest = b""
    if end is not None and end <= row.begins:
        return

    def read_within() -> bytes:
        nonlocal position
        within = size if end is None else min(size, end - position)
        chunk = stream.read(within) if within > 0 else b""
        position += len(chunk)
        return chunk

    if position:
        stream.seek(position)
    if not whole_line:
        # The line under way belongs to the range before, unless it ends just before `start`.
        line_end = b""
        while not line_end:
            chunk = read_within()
            if not chunk:
                return
            _, line_end, rest = chunk.partition(b"\n")

    while True:
        lines = rest.rfind(b"\n") + 1
        if lines:
            yield rest[:lines]
        rest = rest[lines:][:keep]
        chunk = read_within()
        if not chunk:
            break
        rest += chunk

    # The line under way at `end` is this range's to finish.
    while rest and not rest.endswith(b"\n"):
        chunk = b"" if end is None else stream.read(1 << 16)
        line, line_end, _ = chunk.partition(b"\n")
        rest = rest + line + b"\n" if line_end or not chunk else (rest + line)[:keep]
    if rest:
        yield rest


def read_head(
    stream: _Readable, row: RowFormat, name: str, label: Literal["required", "optional"]
) -> RowFormat:
    """Finds out which column of a file holds what, from its first line that is not blank.

    A header is a first line of two or more fields none of which is a number; or one with a name
    that a label or an index has; or one that counts its columns, 0, 1, 2, ... or 1, 2, 3, ...
    (pandas' names for unnamed columns), and cannot be a row. Its names decide, wherever the
    columns stand and in whatever order: `label`, `class`, `target` or `y` in any case is the
    label; pixels are numbered from 0 or 1 after the same text (`pixel1`, `0`), or named row by
    row (`1x1`, `1x2`); `index`, `id`, `Unnamed: 0` or no name is an index, which is passed over.
    Without a header the label comes first, if the number of columns leaves room for one.

    Args:
      stream: At its beginning, and again when this returns; seekable.
      row: What a row holds, as asked for.
      name: The file's, for messages.
      label: Whether a file without labels is refused.

    Raises:
      DataError: the file is no CSV of commas and line ends, or its header does not fit the rows
        that are asked for; names the file and the line, what was found and what was expected.
    """
    longest = 64 + 64 * row.columns
    text = b""
    while True:
        chunk = stream.read(max(1 << 16, len(text)))
        text += chunk
        before = _BEFORE_FIRST_LINE.match(text)
        assert before is not None
        begin = before.end()
        rest, line_end, _ = text[begin:].partition(b"\n")
        if line_end or not chunk or len(rest) > longest or begin > _BLOCK_BYTES:
            break
    stream.seek(0)
    line = rest.rstrip(b"\r")
    lines = text.count(b"\n", 0, begin)
    where = f"{name}:{lines + 1}"
    _refuse_other_formats(line, bool(line_end), row, where)
    row = dataclasses.replace(row, begins=begin, lines_before=lines)
    names = [_value(field) for field in line.split(b",")]
    columns = len(names)
    if _is_header(line, names, row, where):
        row = dataclasses.replace(
            _by_names(line, row, where),
            begins=begin + len(rest) + len(line_end),
            lines_before=lines + 1,
        )
        if label == "required" and not row.labelled:
            raise DataError(
                f"{where}: the header names {row.pixels} pixels and no label, expected a column "
                f"{_LABEL_NAMES_SHOWN}."
            )
    elif label == "optional" and line.strip(_BLANK):
        if columns == row.pixels:
            row = dataclasses.replace(row, labelled=False)
        elif columns != row.columns:
            raise DataError(
                f"{where}: wrong_columns: {columns} columns, expected {row.pixels} pixels, with or "
                "without a label in front of them."
            )
    return row


_BEFORE_FIRST_LINE = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t\r]*\n)*")
_OTHER_FORMATS = (
    (b"\xff\xfe", "UTF-16 or UTF-32 text"),
    (b"\xfe\xff", "UTF-16 text"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    (b"PAR1", "a Parquet file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (b"<", "an HTML or XML page"),
    (b"{", "JSON"),
)


def _refuse_other_formats(line: bytes, ended: bool, row: RowFormat, where: str) -> None:
    """Refuses what is no CSV by the name of what it is.

    Args:
      line: The first line that is not blank.
      ended: Whether a line end was found after it.
      row: What a row holds.
      where: The file and the line.
    """
    found = next((kind for magic, kind in _OTHER_FORMATS if line.startswith(magic)), None)
    if found is None and line[:64].count(b"\0") > len(line[:64]) // 3:
        found = "UTF-16 or UTF-32 text without a byte order mark"
    if found is not None:
        raise DataError(f"{where}: {found}. Expected CSV as ASCII or UTF-8 text.")
    before, lone, _ = line.strip(b"\r").partition(b"\r")
    if lone and (not ended or before.count(b",") + 1 in (row.pixels, row.pixels + 1)):
        raise DataError(
            f"{where}: the line ends of old Macs, CR alone. Expected LF or CRLF; convert them, "
            "for example with `tr '\\r' '\\n'`."
        )
    if b"," not in line:
        for separator, shown in ((b";", "semicolons"), (b"\t", "tabs"), (b" ", "spaces")):
            if row.pixels > 1 and line.strip().count(separator) + 1 >= row.pixels:
                raise DataError(f"{where}: values separated by {shown}, expected commas.")


_LABEL_NAMES = ("label", "class", "target", "y")
_LABEL_NAMES_SHOWN = "named label, class, target or y"
_INDEX_NAME = re.compile(r"|index|id|unnamed: ?\d+", re.IGNORECASE)
_NUMBERED_NAME = re.compile(r"(|.*\D)(\d{1,9})", re.DOTALL)
_GRID_NAME = re.compile(r"(\d{1,4})x(\d{1,4})", re.IGNORECASE)
_LEAST_COUNT = 16
"""A first line that counts so many columns is no image that happens to be a ramp."""


def _is_header(line: bytes, names: Sequence[bytes], row: RowFormat, where: str) -> bool:
    if not any(map(_is_number, names)):
        return len(names) > 1 and any(names)
    texts = [name.decode("utf-8", "backslashreplace") for name in names]
    if any(text and (_is_label(text) or _INDEX_NAME.fullmatch(text)) for text in texts):
        return True
    counted = texts[next((at for at, text in enumerate(texts) if text), 0) :]
    first = counted[0]
    if first not in ("0", "1") or len(counted) not in (row.pixels, row.pixels + 1):
        return False
    if counted != [str(number) for number in range(int(first), int(first) + len(counted))]:
        return False
    as_row = dataclasses.replace(row, labelled=len(names) != row.pixels)
    if len(names) != as_row.columns or parse(line + b"\n", as_row).bad:
        return True
    if len(counted) >= _LEAST_COUNT:
        raise DataError(
            f"{where}: {first}, {int(first) + 1}, {int(first) + 2}, ... may be the names of the "
            f"columns or a row. Expected a header that names them, such as label,pixel1,pixel2,..."
        )
    return False


def _is_label(name: str) -> bool:
    return name.lower() in _LABEL_NAMES


def _by_names(line: bytes, row: RowFormat, where: str) -> RowFormat:
    """The format of a file with this header.

    Raises:
      DataError: it names no such rows.
    """
    fields = line.split(b",")
    names = [_value(field).decode("utf-8", "backslashreplace") for field in fields]
    labels = [at for at, name in enumerate(names) if _is_label(name)]
    index = [at for at, name in enumerate(names) if _INDEX_NAME.fullmatch(name)]
    pixels = [at for at in range(len(names)) if at not in {*labels, *index}]
    if len(labels) > 1:
        shown = ", ".join(repr(names[at]) for at in labels)
        raise DataError(
            f"{where}: the header names {len(labels)} columns {shown}, expected one "
            f"{_LABEL_NAMES_SHOWN}."
        )
    place = _places([names[at] for at in pixels], row, where)
    ordered = [at for _, at in sorted(zip(place, pixels, strict=True))]
    if not labels and len(ordered) == row.pixels + 1 and all(names[at].isdigit() for at in ordered):
        # Counted by who did not know what they are: then as without a header.
        labels, ordered = ordered[:1], ordered[1:]
    if len(ordered) != row.pixels:
        raise DataError(
            f"{where}: the header names {len(ordered)} pixels{' and a label' * bool(labels)} in "
            f"{len(names)} columns, expected {row.pixels} pixels: the shape of the "
            "settings (image.height, width and channels) or of the model."
        )
    chosen = (*labels, *ordered)
    return dataclasses.replace(
        row,
        labelled=bool(labels),
        chosen=None if chosen == tuple(range(len(names))) else chosen,
        passed_over=tuple(names[at] for at in index),
        named=True,
        header=b",".join(fields[at] for at in chosen) + b"\n",
    )


def _places(names: Sequence[str], row: RowFormat, where: str) -> list[tuple[int, ...]]:
    """Each pixel's sort key, from its name.

    Raises:
      DataError: a name is no pixel's, or the numbers leave one out or have one twice.
    """
    grid = [_GRID_NAME.fullmatch(name) for name in names]
    if names and all(grid):
        places: list[tuple[int, ...]] = [(int(m[1]), int(m[2])) for m in grid if m is not None]
        lines, columns = ({place[axis] for place in places} for axis in (0, 1))
        whole = [
            (line, column)
            for line in range(min(lines), max(lines) + 1)
            for column in range(min(columns), max(columns) + 1)
        ]
        if sorted(places) != whole or min(lines) > 1 or min(columns) > 1:
            raise DataError(
                f"{where}: the header names pixels from {names[0]!r} to {names[-1]!r}, but not "
                f"each of {len(lines)} x {len(columns)} once."
            )
        if row.width is not None and len(places) == row.pixels and len(columns) != row.width:
            raise DataError(
                f"{where}: the header names images {len(columns)} pixels wide, expected "
                f"{row.width}. Set image.height and image.width to what the file holds."
            )
        return places
    numbered = [_NUMBERED_NAME.fullmatch(name) for name in names]
    prefixes = collections.Counter(match[1].lower() for match in numbered if match)
    usual = prefixes.most_common(1)[0][0] if prefixes else ""
    others = [
        name
        for name, match in zip(names, numbered, strict=True)
        if match is None or match[1].lower() != usual
    ]
    if others or not names:
        shown = ", ".join(repr(name) for name in others[:3])
        more = f" and {len(others) - 3} more" * (len(others) > 3)
        raise DataError(
            f"{where}: the header names {shown or 'no pixel'}{more}. Expected a label "
            f"{_LABEL_NAMES_SHOWN}, and pixels by their numbers: pixel1 to pixel{row.pixels}, "
            f"pixel0 to pixel{row.pixels - 1}, 0 to {row.pixels - 1}, or 1x1, 1x2, ...; an index "
            "named index, id, 'Unnamed: 0' or not at all is passed over."
        )
    numbers = sorted(int(match[2]) for match in numbered if match)
    for before, after in itertools.pairwise(numbers):
        if after != before + 1:
            fault = (
                f"{usual}{before} twice"
                if after == before
                else f"no pixel between {usual}{before} and {usual}{after}"
            )
            raise DataError(f"{where}: the header names {fault}, expected each once.")
    if numbers[0] > 1:
        raise DataError(
            f"{where}: the header's first pixel is {usual}{numbers[0]}, expected {usual}0 or "
            f"{usual}1."
        )
    return [(int(match[2]),) for match in numbered if match]


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


@contextlib.contextmanager
def open_csv(path: str | pathlib.Path) -> Iterator[IO[bytes]]:
    """A local CSV's bytes, unpacked if they are gzipped, whatever its name.

    Raises:
      DataError: it is no regular file.
      OSError: it cannot be opened.
    """
    check_file(path)
    with open(path, "rb") as file:
        if file.peek(2)[:2] != _GZIP_MAGIC:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked  # type: ignore[misc]


def read_csv(
    path: str | pathlib.Path, row: RowFormat, label: Literal["required", "optional"] = "required"
) -> tuple[RowFormat, Iterator[Rows]]:
    """Reads a local CSV whose rows are all good.

    Args:
      path: Gzipped or not.
      row: What a row holds, as asked for.
      label: Whether a file without labels is refused.

    Returns:
      The file's format, and its rows in blocks.

    Raises:
      DataError: the file cannot be read, does not hold such rows (`read_head`), or holds none;
        or, while iterating, is broken or has a bad row. Names the file and the line.
    """
    with _told(path), open_csv(path) as stream:
        found = read_head(stream, row, str(path), label)
        stream.seek(found.begins)
        chunks = iter(functools.partial(stream.read, 1 << 16), b"")
        if not any(chunk.strip(_BLANK + b"\n") for chunk in chunks):
            raise DataError(f"{path} is empty: it holds no rows.")

    def rows() -> Iterator[Rows]:
        with _told(path), open_csv(path) as stream:
            for before, block in read_rows(stream, found):
                if block.bad:
                    bad = block.bad[0]
                    raise DataError(
                        f"{path}:{before + bad.line}: {bad.reason}: {bad.detail}: {bad.text[:60]!r}"
                    )
                yield block

    return found, rows()


@contextlib.contextmanager
def _told(path: str | pathlib.Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def parse(block: bytes, row: RowFormat) -> Rows:
    """Parses whole lines.

    Args:
      block: Lines, each with its line end.
      row: What a row holds.

    Returns:
      The good rows in the order of the lines, and the bad ones.
    """
    lines = block.count(b"\n")
    table = _parse_plain(block, row)
    if table is not None:
        return Rows(*_divided(table, row), (), read=len(table), lines=lines)

    parts: list[Rows] = []
    texts = block.split(b"\n")[:-1]
    if len(texts) <= _GROUP_LINES:
        return _diagnose(texts, row)
    for begin in range(0, len(texts), _GROUP_LINES):
        group = texts[begin : begin + _GROUP_LINES]
        part = parse(b"\n".join(group) + b"\n", row)
        bad = tuple(dataclasses.replace(found, line=begin + found.line) for found in part.bad)
        parts.append(dataclasses.replace(part, bad=bad))
    return Rows(
        labels=np.concatenate([part.labels for part in parts]),
        pixels=np.concatenate([part.pixels for part in parts]),
        bad=tuple(found for part in parts for found in part.bad),
        read=sum(part.read for part in parts),
        lines=lines,
    )


def _divided(table: np.ndarray, row: RowFormat) -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 (n,) and pixels uint8 (n, pixels) of a table of both."""
    if not row.labelled:
        return np.full(len(table), -1, np.int64), table.astype(np.uint8, copy=False)
    return table[:, 0].astype(np.int64), table[:, 1:].astype(np.uint8, copy=False)


def read_rows(
    stream: _Readable, row: RowFormat, start: int = 0, end: int | None = None
) -> Iterator[tuple[int, Rows]]:
    """Yields the rows of the lines that begin in a byte range, a block at a time.

    Args:
      stream, row, start, end: As for `read_blocks`.

    Yields:
      (lines of the range before these, the rows): a bad row's line is the sum of both.
    """
    lines = row.lines_before if start <= row.begins else 0
    for block in read_blocks(stream, row, start, end):
        rows = parse(block, row)
        yield lines, rows
        lines += rows.lines


def _parse_plain(block: bytes, row: RowFormat) -> np.ndarray | None:
    """The values, uint8 (rows, values), or None when a line needs a closer look."""
    block = _plain(block, row)
    raw = np.frombuffer(block, np.uint8)
    if not len(raw):
        return np.empty((0, row.labelled + row.pixels), np.uint8)
    # Digits become 0-9, all other bytes more; three bytes in front, so that each separator
    # has three bytes before it.
    digits = np.empty(len(raw) + 3, np.uint8)
    digits[:3] = 255
    np.subtract(raw, ord("0"), out=digits[3:])
    at = np.flatnonzero(digits[3:] > 9)
    rows, remainder = divmod(len(at), row.columns)
    if remainder or not rows:
        return None
    separators = raw.take(at).reshape(rows, row.columns)
    if (separators[:, -1] != ord("\n")).any() or (separators[:, :-1] != ord(",")).any():
        return None
    width = np.diff(at, prepend=-1) - 1
    if row.chosen is not None:
        at = at.reshape(rows, row.columns)[:, row.chosen].ravel()
        width = width.reshape(rows, row.columns)[:, row.chosen].ravel()
    if width.min() < 1 or width.max() > 3:
        return None
    ones = digits[2:].take(at)
    tens = digits[1:].take(at)
    hundreds = digits.take(at)
    tens[width < 2] = 0
    hundreds[width < 3] = 0
    tens *= 10
    tens += ones
    if ((hundreds > 2) | ((hundreds == 2) & (tens > 55))).any():
        return None
    hundreds *= 100
    hundreds += tens
    table = hundreds.reshape(rows, -1)
    return None if row.labelled and (table[:, 0] >= row.classes).any() else table


def _plain(block: bytes, row: RowFormat) -> bytes:
    """Takes away what is tolerated, as far as a look at the whole block is enough for it."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    if b" " in block or b"\t" in block:
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
        short = np.diff(ends, prepend=-1).max() <= row.longest
        if short and not _SPACE_WITHIN_A_VALUE.search(block):
            block = block.translate(None, b" \t")
    if b'"' in block:
        lines = block.count(b"\n")
        between = block.count(b'","')
        every_field_is_quoted = (
            block.startswith(b'"')
            and block.endswith(b'"\n')
            and b'""' not in block
            and between == block.count(b",")
            and block.count(b'"\n"') == lines - 1
            and block.count(b'"') == 2 * (between + lines)
        )
        if every_field_is_quoted:
            block = block.translate(None, b'"')
        else:
            block = _QUOTED_VALUE.sub(rb"\1", b"\n" + block)[1:]
    if b"\n\n" in block or block.startswith(b"\n"):
        block = re.sub(rb"\n{2,}", b"\n", block).lstrip(b"\n")
    return block


_SPACE_WITHIN_A_VALUE = re.compile(rb"[^,\n \t][ \t]+[^,\n \t]")
# The quote comes first so that the search can skip from one to the next.
_QUOTED_VALUE = re.compile(rb'"(?<=[,\n]")([0-9]+)"(?=[,\n])')
_INTEGER = re.compile(rb"[+-]?[0-9]+")


def _value(field: bytes) -> bytes:
    """A field without the spaces and the pair of quotes around it."""
    field = field.strip(b" \t")
    if len(field) >= 2 and field.startswith(b'"') and field.endswith(b'"'):
        field = field[1:-1].strip(b" \t")
    return field


def _diagnose(texts: list[bytes], row: RowFormat) -> Rows:
    good: list[list[int]] = []
    bad: list[BadRow] = []
    for number, line in enumerate(texts, start=1):
        line = line.removesuffix(b"\r")
        if len(line) <= row.longest and not line.strip(_BLANK):
            continue
        row_or_fault = _row(line, row)
        if isinstance(row_or_fault, list):
            good.append(row_or_fault)
        else:
            bad.append(BadRow(number, *row_or_fault, _text(line)))
    table = np.array(good, np.int64).reshape(len(good), row.labelled + row.pixels)
    return Rows(
        *_divided(table, row),
        bad=tuple(bad),
        read=len(good) + len(bad),
        lines=len(texts),
    )


def _row(line: bytes, row: RowFormat) -> list[int] | tuple[Reason, str]:
    """The values of a line, or what is wrong with it."""
    if len(line) > row.longest:
        return "line_too_long", f"longer than {row.longest} bytes"
    columns = line.count(b",") + 1
    if columns != row.columns:
        return "wrong_columns", f"{columns} columns, expected {row.columns}"
    values = []
    fields = line.split(b",")
    if row.chosen is not None:
        fields = [fields[at] for at in row.chosen]
    for column, field in enumerate(map(_value, fields), start=not row.labelled):
        limit = 255 if column else row.classes - 1
        value = _integer(field)
        if value is not None and 0 <= value <= limit:
            values.append(value)
        elif column:
            shown = _text(field, 40)
            if value is None:
                return "not_an_integer", f"pixel {column} is {shown!r}, expected 0 to 255"
            return "out_of_range", f"pixel {column} is {shown}, expected 0 to 255"
        elif not field:
            return "missing_label", f"no label, expected 0 to {limit}"
        else:
            return "unknown_label", f"label {_text(field, 40)!r}, expected 0 to {limit}"
    return values


def _integer(field: bytes) -> int | None:
    if not _INTEGER.fullmatch(field):
        return None
    # int() refuses thousands of digits; so many are out of range whatever they are.
    significant = field.lstrip(b"+-").lstrip(b"0")[:9] or b"0"
    return -int(significant) if field.startswith(b"-") else int(significant)


def _text(line: bytes, characters: int = _TEXT_CHARACTERS) -> str:
    text = line[: characters + 1].decode("utf-8", errors="backslashreplace")
    return text if len(text) <= characters else text[: characters - 1] + "…"
