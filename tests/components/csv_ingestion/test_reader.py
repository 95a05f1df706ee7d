"""The CSV reader, against a slow and obvious one."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.csv_ingestion import reader

ROW = reader.RowFormat(pixels=3, classes=10)


def reference(content: bytes, row: reader.RowFormat):
    """(good rows, bad line numbers), one line and one field at a time."""
    good, bad = [], []
    for number, line in enumerate(content.split(b"\n"), start=1):
        line = line.removesuffix(b"\r")
        if len(line) <= row.longest and not line.strip(b" \t\r"):
            continue
        values = []
        for field in line.split(b","):
            match = re.fullmatch(rb'[ \t]*("?)[ \t]*([+-]?[0-9]+)[ \t]*("?)[ \t]*', field)
            if match and match[1] == match[3]:
                values.append(int(match[2]))
        right = (
            len(line) <= row.longest
            and line.count(b",") == row.pixels
            and len(values) == row.columns
            and 0 <= values[0] < row.classes
            and all(0 <= value <= 255 for value in values)
        )
        if right:
            good.append(values)
        else:
            bad.append(number)
    return good, bad


def found(rows: reader.Rows):
    table = np.column_stack([rows.labels, rows.pixels]).tolist()
    return table, [fault.line for fault in rows.bad]


def read(content: bytes, row: reader.RowFormat = ROW) -> reader.Rows:
    return reader.parse(content if content.endswith(b"\n") else content + b"\n", row)


def one_bad_row(line: bytes, row: reader.RowFormat = ROW) -> reader.BadRow:
    rows = read(b"1,2,3,4\n" + line + b"\n5,6,7,8\n", row)
    assert rows.labels.tolist() == [1, 5]
    (fault,) = rows.bad
    assert fault.line == 2
    assert rows.read == 3
    return fault


FIELDS = st.one_of(
    st.integers(-3, 260).map(str),
    st.sampled_from(["", " ", "0", "007", "+7", "-0", '"12"', '" 3 "', '"', '"1', "1.5", "1e2"]),
    st.sampled_from(["0x1F", "nan", "١", "é", "1_0", "\ufeff1", "1 2", "9" * 30, "\x00", "4\r"]),
)
LINES = st.one_of(
    st.lists(st.integers(0, 255), min_size=4, max_size=4).map(lambda row: ",".join(map(str, row))),
    st.lists(st.integers(0, 9), min_size=4, max_size=4).map(
        lambda row: ",".join(f'"{value}"' for value in row)
    ),
    st.lists(FIELDS, min_size=0, max_size=6).map(",".join),
    st.sampled_from([" " * 120 + "1,2,3,4", "1, 2 ,3,4\t", '"1",2,"3",4', "1 2,3,4,5"]),
    st.sampled_from(["", " ", "\r", "\t \r", "1, 2, 3, 4", "1,2,3,4\r", '"1,2",3,4', "," * 3]),
    st.text(alphabet='0123456789,," \t\r-', max_size=16),
)
CONTENTS = st.one_of(
    st.lists(LINES, max_size=60).map("\n".join).map(str.encode),
    st.binary(max_size=80),
    st.lists(st.sampled_from([b"1,2,3,4\n", b'"1","2","3","4"\r\n', b"\n", b'"', b", "])).map(
        b"".join
    ),
)


@settings(max_examples=500, deadline=None)
@given(CONTENTS)
def test_parse_agrees_with_the_reference(content):
    rows = read(content)
    good, bad = reference(content, ROW)
    assert found(rows) == (good, bad)
    assert rows.read == len(good) + len(bad)
    assert rows.lines == content.count(b"\n") + (not content.endswith(b"\n"))
    assert rows.pixels.dtype == np.uint8
    assert rows.labels.dtype == np.int64


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(LINES.map(str.encode), st.just(b"7" * 200)), max_size=12).map(b"\n".join),
    st.lists(st.integers(0, 120), max_size=6),
    st.integers(1, 40),
)
def test_ranges_yield_every_line_once(content, borders, block_bytes):
    borders = sorted({0, *(border for border in borders if border < len(content))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_BLOCK_BYTES", block_bytes)
        found_lines = []
        for start, end in zip(borders, [*borders[1:], len(content)], strict=True):
            for block in reader.read_blocks(io.BytesIO(content), ROW, start, end):
                assert block.endswith(b"\n")
                found_lines += block.split(b"\n")[:-1]
        whole = b"".join(reader.read_blocks(io.BytesIO(content), ROW)).split(b"\n")[:-1]
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    assert len(found_lines) == len(whole) == len(lines)
    for line, *kept in zip(lines, found_lines, whole, strict=True):
        for shortened in kept:
            if len(line) <= ROW.longest:
                assert shortened == line
            else:
                assert len(shortened) > ROW.longest


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", b"label,pixel1,pixel2,pixel3\n", b"\xef\xbb\xbf"]),
    st.lists(LINES.map(str.encode), max_size=12).map(b"\n".join),
    st.integers(1, 40),
)
def test_rows_of_many_blocks_are_numbered_through(head, content, block_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_BLOCK_BYTES", block_bytes)
        blocks = list(reader.read_blocks(io.BytesIO(head + content), ROW))
        # Who reads blocks looks for a header in the first one.
        passed_over, first = reader.split_header(blocks[0], ROW) if blocks else (b"", b"")
        rest = first + b"".join(blocks[1:])
        good, bad = reference(rest.removesuffix(b"\n"), ROW)
        found = list(reader.read_rows(io.BytesIO(head + content), ROW))
    numbers = [before + row.line for before, rows in found for row in rows.bad]
    assert numbers == [passed_over.count(b"\n") + number for number in bad]
    labels = [label for _, rows in found for label in rows.labels.tolist()]
    assert labels == [row[0] for row in good]


def test_memory_holds_no_endless_line():
    class Endless:
        asked = 0

        def read(self, size):
            self.asked += size
            return b"1," * (size // 2) if self.asked < 50_000_000 else b""

        def seek(self, offset):
            raise AssertionError

    blocks = list(reader.read_blocks(Endless(), ROW))
    assert [len(block) for block in blocks] == [ROW.longest + 2]
    assert read(blocks[0]).bad[0].reason == "line_too_long"


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (b"1,2,3", "wrong_columns", "3 columns, expected 4"),
        (b"1,2,3,4,5", "wrong_columns", "5 columns, expected 4"),
        (b'1,"2,3",4', "not_an_integer", "pixel 1 is '\"2', expected 0 to 255"),
        (b"1,2,x,4", "not_an_integer", "pixel 2 is 'x', expected 0 to 255"),
        (b"1,2,3.5,4", "not_an_integer", "pixel 2 is '3.5', expected 0 to 255"),
        (b"1,2,,4", "not_an_integer", "pixel 2 is '', expected 0 to 255"),
        (b"1,2,0x1F,4", "not_an_integer", "pixel 2 is '0x1F', expected 0 to 255"),
        (b"1,2,3,\xff\xfe", "not_an_integer", r"pixel 3 is '\\xff\\xfe', expected 0 to 255"),
        (b"1,2,3,256", "out_of_range", "pixel 3 is 256, expected 0 to 255"),
        (b"1,-1,3,4", "out_of_range", "pixel 1 is -1, expected 0 to 255"),
        (b",2,3,4", "missing_label", "no label, expected 0 to 9"),
        (b"10,2,3,4", "unknown_label", "label '10', expected 0 to 9"),
        (b"Bag,2,3,4", "unknown_label", "label 'Bag', expected 0 to 9"),
        (b"1,2,3," + b" " * 200 + b"4", "line_too_long", f"longer than {ROW.longest} bytes"),
        (b" " * 200, "line_too_long", f"longer than {ROW.longest} bytes"),
    ],
)
def test_each_fault_is_named(line, reason, detail):
    fault = one_bad_row(line)
    assert (fault.reason, fault.detail) == (reason, detail)
    assert fault.text == line.decode(errors="backslashreplace")


def test_a_long_bad_row_is_shown_cut():
    fault = one_bad_row(b"x" * 9000, reader.RowFormat(pixels=3, classes=10))
    assert len(fault.text) == 4096
    assert fault.text.endswith("…")


@pytest.mark.parametrize(
    "line",
    [
        b"1,2,3,255",
        b"1, 2, 3, 255",
        b"  1,  2,\t3 ,255 ",
        b'"1","2","3","255"',
        b'"1",2,"3",255',
        b'1, "2", 3 ,255',
        b"1,2,+3,0255",
        b'1,"2"," 3 ",255',
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_tolerated_spellings(line, end):
    rows = read(b"\n" + (line + end) * 3 + end)
    assert found(rows) == ([[1, 2, 3, 255]] * 3, [])


def test_many_classes():
    rows = read(b"999,1,2,3\n3,1,2,3\n1000,1,2,3\n", reader.RowFormat(pixels=3, classes=1000))
    assert rows.labels.tolist() == [999, 3]
    assert [fault.line for fault in rows.bad] == [3]


def test_one_bad_row_among_many_keeps_order_and_numbers():
    lines = [f"{i % 10},{i % 256},0,1" for i in range(1000)]
    lines[123], lines[777] = "oops", ""
    rows = read("\n".join(lines).encode())
    assert [fault.line for fault in rows.bad] == [124]
    good = [i for i in range(1000) if i not in (123, 777)]
    assert rows.labels.tolist() == [i % 10 for i in good]
    assert rows.pixels[:, 0].tolist() == [i % 256 for i in good]


@pytest.mark.parametrize(
    ("first", "is_header"),
    [
        (b"label,pixel1,pixel2,pixel3", True),
        (b'"label","pixel1","pixel2","pixel3"', True),
        (b"label,1x1,1x2,1x3", True),
        (b"label,0,1,2", True),
        (b"label,1,2,3", True),
        (b"0,1,2,3", False),  # also a row
        (b"label,5,5,5", False),
        (b"label,pixel1,pixel2", True),
        (b"oops", False),
        (b"0.5,0.1,0.2,0.3", False),
        (b",,,", False),
        (b"1,2,3,4", False),
    ],
)
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n \n"])
def test_header(first, is_header, before):
    block = before + first + b"\r\n1,2,3,4\n"
    head, rest = reader.split_header(block, ROW)
    assert head == before + (first + b"\r\n" if is_header else b"")
    assert head + rest == block


def test_header_that_counts_and_cannot_be_a_row():
    row = reader.RowFormat(pixels=784, classes=10)
    line = ",".join(map(str, range(785))).encode() + b"\n"
    assert reader.split_header(line, row) == (line, b"")


@pytest.mark.parametrize("block", [b"\n", b"\xef\xbb\xbf\n", b" \n\n"])
def test_no_header_in_blank_lines(block):
    head, rest = reader.split_header(block, ROW)
    assert head + rest == block
    assert reader.parse(rest, ROW).read == 0
