"""The CSV reader, against a slow and obvious one."""

from __future__ import annotations

import gzip
import io
import pathlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.base.errors import DataError
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


@settings(max_examples=500)
@given(CONTENTS)
def test_parse_agrees_with_the_reference(content):
    rows = read(content)
    good, bad = reference(content, ROW)
    assert found(rows) == (good, bad)
    assert rows.read == len(good) + len(bad)
    assert rows.lines == content.count(b"\n") + (not content.endswith(b"\n"))
    assert rows.pixels.dtype == np.uint8
    assert rows.labels.dtype == np.int64


@settings(max_examples=300)
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


@settings(max_examples=200)
@given(
    st.sampled_from([b"", b"label,pixel1,pixel2,pixel3\n", b"\xef\xbb\xbf"]),
    st.lists(LINES.map(str.encode), max_size=12).map(b"\n".join),
    st.integers(1, 40),
)
def test_rows_of_many_blocks_are_numbered_through(head, content, block_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_BLOCK_BYTES", block_bytes)
        try:
            row = reader.read_head(io.BytesIO(head + content), ROW, "rows.csv", "required")
        except DataError:
            return
        kept = (head + content)[row.begins :]
        good, bad = reference(kept.removesuffix(b"\n"), row)
        found = list(reader.read_rows(io.BytesIO(head + content), row))
    numbers = [before + fault.line for before, rows in found for fault in rows.bad]
    assert numbers == [row.lines_before + number for number in bad]
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


def head_of(content: bytes, row: reader.RowFormat = ROW, label="required") -> reader.RowFormat:
    return reader.read_head(io.BytesIO(content), row, "rows.csv", label)


def all_rows(content: bytes, row: reader.RowFormat = ROW, label="required") -> list[list[int]]:
    """Label and pixels of each row; of pixels alone in a file without labels."""
    found = head_of(content, row, label)
    table = []
    for _, rows in reader.read_rows(io.BytesIO(content), found):
        assert not rows.bad
        columns = [rows.labels, rows.pixels] if found.labelled else [rows.pixels]
        table += np.column_stack(columns).tolist()
    return table


BEFORE = pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n \n"])


@pytest.mark.parametrize(
    ("first", "is_header"),
    [
        (b"label,pixel1,pixel2,pixel3", True),
        (b'"label","pixel1","pixel2","pixel3"', True),
        (b"label,1x1,1x2,1x3", True),
        (b"label,0,1,2", True),
        (b"label,1,2,3", True),
        (b"0,1,2,3", False),  # also a row
        (b"oops", False),
        (b"0.5,0.1,0.2,0.3", False),
        (b",,,", False),
        (b",2,3,4", False),
        (b"1,2,3,4", False),
        (b"pixel1,7,8,9", False),
    ],
)
@BEFORE
def test_header(first, is_header, before):
    row = head_of(before + first + b"\r\n1,2,3,4\n")
    assert row.named == is_header
    assert row.begins == len(before) + is_header * len(first + b"\r\n")
    assert row.lines_before == before.count(b"\n") + is_header
    assert row.header == is_header * (first + b"\n")


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("pixel1,pixel2,pixel3,class", "11,12,13,5"),
        ("pixel0,pixel1,pixel2,Label", "11,12,13,5"),
        ("pixel3,TARGET,pixel1,pixel2", "13,5,11,12"),
        ('"y","0","1","2"', "5,11,12,13"),
        ("2,0,1,class", "13,11,12,5"),
        ("V1,V2,V3,class", "11,12,13,5"),
        ("pixel0000,pixel0001,pixel0002,label", "11,12,13,5"),
        ("label,1x3,1x2,1x1", "5,13,12,11"),
        ("label,2x1,1x1,3x1", "5,12,11,13"),
        ("Unnamed: 0,label,pixel1,pixel2,pixel3", "70000,5,11,12,13"),
        (",label,pixel1,pixel2,pixel3", "0,5,11,12,13"),
        ('"",label,0,1,2', "0,5,11,12,13"),
        ("label,pixel1,pixel2,pixel3,ID", "5,11,12,13,test_1.png"),
        ("index,pixel3,pixel2,pixel1,label", "-1,13,12,11,5"),
        (",0,1,2,3", "0,5,11,12,13"),
    ],
)
@BEFORE
def test_the_header_says_which_column_is_what(header, line, before):
    content = before + f"{header}\n{line}\n{line}\n".encode()
    assert all_rows(content) == [[5, 11, 12, 13]] * 2
    [row] = [rows for _, rows in reader.read_rows(io.BytesIO(content), head_of(content))]
    assert row.labels.dtype == np.int64
    assert row.pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("label,a,b,c", "names 'a', 'b', 'c'. Expected a label named label, class, target or y"),
        ("a,b,c,d", r"names 'a', 'b', 'c' and 1 more\. Expected .* pixel1 to pixel3"),
        ("label,pixel1,pixel2", "names 2 pixels and a label in 3 columns, expected 3 pixels"),
        ("label,pixel1,pixel2,pixel3,pixel4", "names 4 pixels and a label in 5 columns"),
        ("label,pixel1,pixel2,pixel4", "no pixel between pixel2 and pixel4"),
        ("label,pixel1,pixel2,pixel2", "names pixel2 twice"),
        ("label,pixel2,pixel3,pixel4", "first pixel is pixel2, expected pixel0 or pixel1"),
        ("label,5,5,5", "names 5 twice"),
        ("label,class,pixel1,pixel2,pixel3", "names 2 columns 'label', 'class', expected one"),
        ("label,1x1,1x2,2x1", "not each of 2 x 2 once"),
        ("label,1x1,2x1,3x1", "names images 1 pixels wide, expected 3"),
        ("label,pixel1,pixel1.1,pixel2", "names 'pixel1.1'"),
        ("pixel1,pixel2,pixel3", "names 3 pixels and no label, expected a column named label"),
        ("id,pixel1,pixel2,pixel3", "names 3 pixels and no label"),
        ("label,index", "names no pixel"),
    ],
)
@BEFORE
def test_a_header_that_does_not_fit_is_refused(header, message, before):
    row = reader.RowFormat(pixels=3, classes=10, width=3)
    line = before.count(b"\n") + 1
    with pytest.raises(DataError, match=f"^rows.csv:{line}: .*{message}"):
        head_of(before + header.encode() + b"\n1,2,3,4\n", row)


def test_header_that_counts_and_cannot_be_a_row():
    row = reader.RowFormat(pixels=784, classes=10)
    line = ",".join(map(str, range(785))).encode() + b"\n"
    assert head_of(line, row).begins == len(line)


@pytest.mark.parametrize(("label", "columns"), [("required", 17), ("optional", 16)])
def test_a_first_line_that_could_be_either_is_refused(label, columns):
    row = reader.RowFormat(pixels=16, classes=10)
    with pytest.raises(DataError, match=r"^rows.csv:1: 0, 1, 2, \.\.\. may be the names"):
        head_of(",".join(map(str, range(columns))).encode(), row, label)


@pytest.mark.parametrize("block", [b"", b"\n", b"\xef\xbb\xbf\n", b" \n\n"])
def test_no_header_in_blank_lines(block):
    row = head_of(block)
    assert not row.named
    assert not list(reader.read_rows(io.BytesIO(block), row))


HEADERS = {
    "none": "",
    "pandas": ",".join(map(str, range(300))) + "\n",
    "quoted": ",".join(f'"pixel{number}"' for number in range(300)) + "\n",
    "kaggle": ",".join(f"pixel{number}" for number in range(1, 301)) + "\r\n",
}


@pytest.mark.parametrize("before", ["", "\ufeff", "\n", "\ufeff \r\n"])
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("spelling", ["{}", '"{}"', " {}"])
def test_a_file_without_labels_is_read_by_the_same_rules(header, before, spelling):
    row = reader.RowFormat(pixels=300, classes=10)
    values = [[0, *range(200, 211), *[7] * 288], [9] * 300]
    lines = [",".join(spelling.format(value) for value in line) for line in values]
    content = (before + HEADERS[header] + "\n\n".join(lines)).encode()
    found = head_of(content, row, "optional")
    assert not found.labelled
    assert found.named == (header != "none")
    assert all_rows(content, row, "optional") == values
    name = "label," if header != "none" else ""
    labelled = before + name + HEADERS[header] + "\n\n".join("3," + line for line in lines)
    assert all_rows(labelled.encode(), row, "optional") == [[3, *line] for line in values]


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b"1,2", "2 columns, expected 3"),
        (b"1,x,3", "pixel 2 is 'x', expected 0 to 255"),
        (b"256,2,3", "pixel 1 is 256, expected 0 to 255"),
    ],
)
def test_messages_name_no_label_that_is_not_in_the_file(line, detail):
    content = b"7,8,9\n" + line + b"\n"
    row = head_of(content, label="optional")
    [(before, rows)] = reader.read_rows(io.BytesIO(content), row)
    [bad] = rows.bad
    assert (before + bad.line, bad.detail) == (2, detail)


def test_neither_with_nor_without_a_label():
    with pytest.raises(DataError, match=r"5 columns, expected 3 pixels, with or without a label"):
        head_of(b"1,2,3,4,5\n", label="optional")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"1,2,3,4\r5,6,7,8\r", "the line ends of old Macs"),
        (b"label,pixel1,pixel2,pixel3\r1,2,3,4\r5,6,7,8", "the line ends of old Macs"),
        (b"\xef\xbb\xbf1,2,3,4\r5,6,7,8\r\n", "the line ends of old Macs"),
        (b"1,2,3,4\r" * 100_000, "the line ends of old Macs"),
        ("1,2,3,4\n".encode("utf-16"), "UTF-16"),
        ("1,2,3,4\n".encode("utf-16-le"), "UTF-16"),
        ("1,2,3,4\n".encode("utf-16-be"), "UTF-16"),
        ("1,2,3,4\n".encode("utf-32"), "UTF-32"),
        (b"PK\x03\x04\n", "ZIP archive"),
        (b"\x89PNG\r\n\x1a\n", "PNG image"),
        (b"<!DOCTYPE html>\n<html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"1;2;3;4\n", "separated by semicolons, expected commas"),
        (b"1\t2\t3\t4\n", "separated by tabs"),
    ],
)
def test_what_is_no_csv_is_named(content, what):
    with pytest.raises(DataError, match=f"^rows.csv:1: .*{what}"):
        head_of(content)


def test_a_header_does_not_fill_the_memory():
    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size=-1):
            self.asked += size
            return b"a" * size

        def seek(self, offset, whence=0):
            return 0

    stream = Endless()
    assert not reader.read_head(stream, ROW, "rows.csv", "required").named
    assert stream.asked < 1 << 20


@pytest.mark.parametrize("packed", [False, True])
def test_read_csv(tmp_path, packed):
    path = tmp_path / "rows.csv"
    content = b"pixel2,pixel1,pixel3,class\n2,1,3,7\n\n5,4,6,8\n"
    path.write_bytes(gzip.compress(content) if packed else content)
    row, blocks = reader.read_csv(path, ROW)
    [rows] = blocks
    assert row.header == b"class,pixel1,pixel2,pixel3\n"
    assert rows.labels.tolist() == [7, 8]
    assert rows.pixels.tolist() == [[1, 2, 3], [4, 5, 6]]
    path.write_bytes(content + b"oops\n")
    with pytest.raises(DataError, match=f"{path}:5: wrong_columns: 1 columns, expected 4: 'oops'"):
        list(reader.read_csv(path, ROW)[1])
    for empty in (b"", b"\n \n", content.split(b"\n")[0]):
        path.write_bytes(empty)
        with pytest.raises(DataError, match=f"{path} is empty"):
            reader.read_csv(path, ROW)
    path.write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(DataError, match=f"{path} cannot be read"):
        list(reader.read_csv(path, ROW)[1])


def test_other_orders_are_read_at_once(monkeypatch):
    """Not line by line: only the columns are taken in another order."""
    monkeypatch.setattr(reader, "_diagnose", None)
    values = np.random.default_rng(1).integers(0, 256, (500, 12))
    labels = np.arange(500) % 10
    names = [*(f"pixel{number}" for number in range(12, 0, -1)), "class", "id"]
    table = np.column_stack([values[:, ::-1], labels, np.arange(70_000, 70_500)]).tolist()
    text = "\n".join(",".join(map(str, row)) for row in [names, *table]) + "\n"
    row = head_of(text.encode(), reader.RowFormat(pixels=12, classes=10))
    [(_, rows)] = reader.read_rows(io.BytesIO(text.encode()), row)
    np.testing.assert_array_equal(rows.pixels, values)
    np.testing.assert_array_equal(rows.labels, labels)


CASES = pathlib.Path(__file__).parents[2] / "cases"


@pytest.mark.parametrize("name", ["bom", "leading_blank", "pandas_header", "quoted_header"])
def test_files_as_people_have_them(name):
    row = reader.RowFormat(pixels=784, classes=10, width=28)
    labelled, [rows] = reader.read_csv(CASES / "label_last.csv", row)
    assert labelled.header.startswith(b"class,pixel1,pixel2,")
    assert rows.labels.tolist() == [0, 1, 2]
    unlabelled, [same] = reader.read_csv(CASES / f"nolabel_{name}.csv", row, "optional")
    assert not unlabelled.labelled
    np.testing.assert_array_equal(same.pixels, rows.pixels)


@pytest.mark.parametrize(
    ("name", "what"), [("cr_only", "line ends of old Macs"), ("utf16", "UTF-16")]
)
def test_files_that_are_refused_by_the_name_of_what_they_are(name, what):
    path = CASES / f"{name}.csv"
    with pytest.raises(DataError, match=f"^{path}:1: .*{what}"):
        reader.read_csv(path, reader.RowFormat(784, 10), "optional")
