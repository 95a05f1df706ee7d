"""Ingestion against an independent reader of its rules, on rows made to mislead it.

The reader here goes byte by byte and field by field, knows nothing of blocks, ranges or NumPy, and
shares no code with the component.
"""

from __future__ import annotations

import collections
import dataclasses
import gzip
import pathlib
import random

import pytest

from components.csv_ingestion import ingest, reader
from tests.components.csv_ingestion.test_executor import IMAGE, LENIENT, ingested

PIXELS = IMAGE.pixels
CLASSES = 10
LONGEST = 64 + 16 * (PIXELS + 1)
DIGITS = b"0123456789"


@dataclasses.dataclass
class Found:
    """What the rules say of a file."""

    rows: list[tuple[int, bytes]]
    """Label and pixels of the good ones, in order."""
    bad: list[tuple[int, str]]
    """Line and reason of the others."""


def whole_number(field: bytes) -> int | None:
    """The value of a field that is one, spelled as the rules allow."""
    field = field.strip(b" \t")
    if len(field) > 1 and field[:1] == field[-1:] == b'"':
        field = field[1:-1].strip(b" \t")
    sign, digits = 1, field
    if field[:1] in (b"+", b"-"):
        sign, digits = (-1 if field[:1] == b"-" else 1), field[1:]
    if not digits or any(byte not in DIGITS for byte in digits):
        return None
    value = 0
    for byte in digits:
        value = min(value * 10 + DIGITS.index(byte), 10**6)
    return sign * value


def is_empty(field: bytes) -> bool:
    field = field.strip(b" \t")
    return not field or (
        len(field) > 1 and field[:1] + field[-1:] == b'""' and not field[1:-1].strip()
    )


def read(content: bytes, order: list[int], extra: int, header: bool) -> Found:
    """Reads a file.

    Args:
      content: Its bytes, unpacked.
      order: Column of the label and of each pixel.
      extra: How many columns are passed over.
      header: Whether the first line is one.
    """
    found = Found([], [])
    content = content.removeprefix(b"\xef\xbb\xbf")
    columns = 1 + PIXELS + extra
    for number, line in enumerate(content.split(b"\n"), start=1):
        if header and number == 1:
            continue
        line = line.removesuffix(b"\r")
        too_long = len(line) > LONGEST + 16 * extra
        if not too_long and not line.strip(b" \t\r"):
            continue
        reason = fault(line, order, columns, too_long)
        if reason:
            found.bad.append((number, reason))
        else:
            fields = line.split(b",")
            values = [whole_number(fields[at]) for at in order]
            found.rows.append((values[0], bytes(values[1:])))
    return found


def fault(line: bytes, order: list[int], columns: int, too_long: bool) -> str | None:
    if too_long:
        return "line_too_long"
    fields = line.split(b",")
    if len(fields) != columns:
        return "wrong_columns"
    label = whole_number(fields[order[0]])
    if label is None or not 0 <= label < CLASSES:
        return "missing_label" if is_empty(fields[order[0]]) else "unknown_label"
    for at in order[1:]:
        value = whole_number(fields[at])
        if value is None:
            return "not_an_integer"
        if not 0 <= value <= 255:
            return "out_of_range"
    return None


NUMBERS = [b"0", b"7", b"255", b"007", b"+12", b"-0", b'"200"', b'" 3 "', b"\t9 ", b"0" * 20 + b"5"]
OTHERS = [
    *(b"256", b"-1", b"1" * 30, b"99999999999999999999", b"", b" ", b'""', b'"', b'"1', b'1"'),
    *(b"1.0", b"1e2", b"0x1F", b"nan", b"inf", b"1_0", b"1 2", b"+", b"--1", b"1-", b"T-shirt"),
    *("١".encode(), "１".encode(), b"\xff", b"\x00", b"3\x00", b"4\r", b"\r4", b"\xef\xbb\xbf1"),
    *(b"\x0b5", b"\xa05", b"5;6", b"5\t6", b"=1+1", b"'5", b"\x1b[31m5"),
]


def hostile(random: random.Random, order: list[int], extra: int) -> bytes:
    """A line: good, oddly spelled, or broken."""
    values = [b"%d" % random.randrange(256) for _ in range(1 + PIXELS + extra)]
    values[order[0]] = b"%d" % random.randrange(CLASSES)
    for at in set(range(len(values))) - set(order):
        values[at] = random.choice([b"70000", b"row 5", b"", b"-3", b"1.5"])
    kind = random.random()
    if kind < 0.25:
        for _ in range(random.randrange(1, 4)):
            values[random.choice(order)] = random.choice(NUMBERS)
    elif kind < 0.5:
        values[random.choice(order)] = random.choice(OTHERS)
    elif kind < 0.56:
        del values[random.randrange(len(values)) :]
    elif kind < 0.6:
        values.insert(random.randrange(len(values)), random.choice(NUMBERS))
    line = b",".join(values)
    if kind < 0.65:
        return line
    if kind < 0.68:
        return random.choice([b"", b" ", b"\t \r", b",", b"," * (len(values) - 1), b'"', b"oops"])
    if kind < 0.7:
        return line + b" " * (LONGEST + 16 * extra - len(line) + random.randrange(-1, 3))
    if kind < 0.71:
        return b"1" * random.choice([LONGEST, 5000, 70_000])
    if kind < 0.73:
        return b",".join(b'"%s"' % value for value in values)
    if kind < 0.75:
        return b", ".join(values)
    return line


IN_ORDER = list(range(PIXELS + 1))
NAMES = [b"label", *(b"pixel%d" % number for number in range(1, PIXELS + 1))]


def shuffled(random: random.Random) -> tuple[bytes, list[int]]:
    names = [b"Unnamed: 0", *NAMES]
    random.shuffle(names)
    return b",".join(names), [names.index(name) for name in NAMES]


def write(folder: pathlib.Path, rows: int, seed: int) -> dict[str, Found]:
    """Writes a data folder and returns what the rules say of each file."""
    source = random.Random(seed)
    kinds = [
        (b"", IN_ORDER, 0),
        (b",".join(NAMES), IN_ORDER, 0),
        (b",".join([*NAMES[1:], b"Class"]), [PIXELS, *range(PIXELS)], 0),
        (*shuffled(source), 1),
    ]
    found = {}
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        for number, (header, order, extra) in enumerate(kinds):
            end = source.choice([b"\n", b"\r\n"])
            good = [b"1"] * (1 + PIXELS + extra)
            lines = [header] if header else [b",".join(good)]
            lines += [hostile(source, order, extra) for _ in range(rows // (2 * len(kinds)))]
            # Enough that are good for every split to have some.
            lines += [b",".join([b"%d" % source.randrange(10) for _ in good]) for _ in range(30)]
            content = source.choice([b"", b"\xef\xbb\xbf"]) + end.join(lines)
            content += source.choice([b"", end])
            packed = number == 1
            name = f"{split}/{number}.csv{'.gz' * packed}"
            (folder / name).write_bytes(gzip.compress(content) if packed else content)
            found[name] = read(content, order, extra, bool(header))
    return found


@pytest.mark.parametrize("rows", [4000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_every_row_is_counted_kept_or_set_aside_as_the_rules_say(tmp_path, monkeypatch, rows):
    expected = write(tmp_path / "data", rows, seed=rows)
    # Borders of ranges and blocks everywhere.
    monkeypatch.setattr(ingest, "_RANGE_BYTES", 10_007)
    monkeypatch.setattr(reader, "_BLOCK_BYTES", 1999)
    result = ingested(tmp_path / "data", LENIENT)

    assert [(row.file, row.line, row.reason) for row in result.quarantine] == [
        (name, line, reason)
        for name in sorted(expected, key=lambda name: (name.startswith("test"), name))
        for line, reason in expected[name].bad
    ]
    for split, parts in (("train", ("train", "validation")), ("test", ("test",))):
        kept = collections.Counter(row[1:] for part in parts for row in result.rows(part))
        of_split = [found for name, found in expected.items() if name.startswith(split)]
        assert kept == collections.Counter(row for found in of_split for row in found.rows)
    for file in result.summary.files:
        found = expected[file.file]
        assert file.rows == len(found.rows) + len(found.bad)
        reasons = collections.Counter(reason for _, reason in found.bad)
        assert file.quarantined == dict(sorted(reasons.items()))
    reasons = set(result.summary.quarantined)
    assert reasons == set(reader.Reason.__args__)
    train = {row for name, of in expected.items() if name.startswith("train") for row in of.rows}
    test = [row for name, of in expected.items() if name.startswith("test") for row in of.rows]
    assert result.summary.overlap == sum(row in train for row in test) > 0
