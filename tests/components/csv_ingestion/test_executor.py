"""Ingestion through Beam, from CSVs on disk to Examples, quarantine and summary."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tfx.components.example_gen import driver
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from components.base.errors import DataError, RunError
from components.base.settings import DataSettings, ImageSettings
from components.csv_ingestion import component, data_folder, ingest, parts, reader
from components.csv_ingestion import result as summary
from tests import clothing

SHAPE = (4, 3, 1)
IMAGE = ImageSettings(height=4, width=3)
LENIENT = DataSettings(max_bad_rows=1, validation_fraction=0.25)
STRICT = DataSettings(max_bad_rows=0, validation_fraction=0.25)
BEAM = ("--runner=FnApiRunner", f"--setup_file={pathlib.Path(__file__).parents[3] / 'setup.py'}")


@pytest.fixture
def folder(tmp_path):
    return clothing.write_csvs(tmp_path / "data", train=120, test=30, shape=SHAPE)


class Ingested:
    """What one run of the executor left behind."""

    def __init__(self, artifact: standard_artifacts.Examples):
        self.artifact = artifact
        self.uri = pathlib.Path(artifact.uri)
        self.summary = summary.read_summary(artifact.uri)
        self.quarantine = list(summary.read_quarantine(artifact.uri))

    def rows(self, split: str) -> list[tuple[int, int, bytes]]:
        """(key, label, pixels) of each Example, sorted."""
        spec = {
            "image": tf.io.FixedLenFeature([IMAGE.pixels], tf.int64),
            "label": tf.io.FixedLenFeature([], tf.int64),
            "key": tf.io.FixedLenFeature([], tf.int64),
        }
        rows = []
        for path in sorted((self.uri / f"Split-{split}").iterdir()):
            for record in tf.data.TFRecordDataset(str(path), compression_type="GZIP"):
                example = tf.io.parse_single_example(record, spec)
                pixels = bytes(example["image"].numpy().astype(np.uint8))
                rows.append((int(example["key"]), int(example["label"]), pixels))
        return sorted(rows)

    def all_rows(self) -> dict[str, list[tuple[int, int, bytes]]]:
        return {split: self.rows(split) for split in ("train", "validation", "test")}


def ingested(
    folder: pathlib.Path,
    data: DataSettings = STRICT,
    *,
    with_driver: bool = True,
    image: ImageSettings = IMAGE,
    beam: tuple[str, ...] = BEAM,
    **arguments,
) -> Ingested:
    made = component.CsvIngestion(str(folder), image, data, **arguments)
    properties = {
        name: proto_utils.proto_to_json(value) if hasattr(value, "SerializeToString") else value
        for name, value in made.exec_properties.items()
    }
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder.parent / f"examples-{len(os.listdir(folder.parent))}")
    if with_driver:
        stock = made.driver_class(None)
        stock.resolve_exec_properties(properties, None, None)
        driver.update_output_artifact(properties, artifact.mlmd_artifact)
    context = base_beam_executor.BaseBeamExecutor.Context(beam_pipeline_args=list(beam))
    made.executor_spec.executor_class(context).Do({}, {"examples": [artifact]}, properties)
    return Ingested(artifact)


def csv(folder: pathlib.Path, split: str = "train") -> pathlib.Path:
    (path,) = (folder / split).iterdir()
    return path


def table_of(path: pathlib.Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.int64)


def test_examples_are_the_rows(folder):
    result = ingested(folder)
    rows = result.all_rows()
    for split, others in (("train", ("train", "validation")), ("test", ("test",))):
        expected = sorted(
            (int(row[0]), bytes(row[1:].astype(np.uint8))) for row in table_of(csv(folder, split))
        )
        assert sorted(row[1:] for part in others for row in rows[part]) == expected
    assert all(rows.values())
    for key, label, pixels in rows["test"]:
        values = label.to_bytes(8, "little") + pixels
        digest = hashlib.blake2b(values, digest_size=8).digest()
        assert key == int.from_bytes(digest, "little", signed=True)


def test_artifact_and_summary(folder):
    result = ingested(folder)
    assert json.loads(result.artifact.split_names) == ["train", "validation", "test"]
    assert examples_utils.get_payload_format_string(result.artifact) == "FORMAT_TF_EXAMPLE"
    assert examples_utils.get_file_format(result.artifact) == "tfrecords_gzip"
    assert result.artifact.get_string_custom_property("input_fingerprint")
    assert result.artifact.get_int_custom_property("span") == 0
    assert sorted(path.name for path in result.uri.iterdir()) == [
        "Split-test",
        "Split-train",
        "Split-validation",
        "counts.json",
        "ingestion",
    ]
    assert [path.name for path in (result.uri / "ingestion").iterdir()] == ["summary.json"]
    counts = {split: len(rows) for split, rows in result.all_rows().items()}
    assert result.summary.examples == counts
    assert json.loads((result.uri / "counts.json").read_text()) == counts
    assert result.summary.rows == sum(counts.values()) == 150
    assert result.artifact.get_int_custom_property("rows") == 150
    train, test = result.summary.files
    assert (train.file, train.rows) == ("train/clothing-1.csv", 120)
    assert (test.file, test.rows) == ("test/clothing-1.csv", 30)


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("header", [False, True])
def test_however_the_rows_are_written_the_examples_are_the_same(tmp_path, folder, gz, header):
    other = clothing.write_csvs(
        tmp_path / "other", train=120, test=30, shape=SHAPE, gz=gz, header=header, files=3
    )
    assert ingested(other).all_rows() == ingested(folder).all_rows()


def test_reordered_and_appended_rows_stay_on_their_side(tmp_path, folder):
    before = ingested(folder).all_rows()
    path = csv(folder)
    _, *lines = path.read_text().splitlines()
    more = clothing.write_csvs(tmp_path / "more", train=40, test=1, shape=SHAPE, seed=9)
    lines += csv(more).read_text().splitlines()[1:]
    np.random.default_rng(1).shuffle(lines)
    path.write_text("\r\n".join(f'"{line}"'.replace(",", '","') for line in lines))
    after = ingested(folder).all_rows()
    assert set(before["train"]) < set(after["train"])
    assert set(before["validation"]) < set(after["validation"])
    assert before["test"] == after["test"]


def test_a_larger_fraction_only_adds_to_validation(folder):
    small = ingested(folder, STRICT).rows("validation")
    large = ingested(folder, DataSettings(validation_fraction=0.5)).rows("validation")
    assert set(small) < set(large)


def test_colour(tmp_path):
    folder = clothing.write_csvs(tmp_path / "data", train=60, test=10, shape=(8, 8, 3))
    image = ImageSettings(height=8, width=8, channels=3)
    result = ingested(folder, image=image)
    assert result.summary.rows == 70
    (path,) = (result.uri / "Split-test").iterdir()
    record = next(iter(tf.data.TFRecordDataset(str(path), compression_type="GZIP")))
    example = tf.train.Example.FromString(record.numpy())
    assert len(example.features.feature["image"].int64_list.value) == 192


def test_without_its_driver_the_executor_resolves_what_the_driver_would(folder):
    with_driver, without = ingested(folder), ingested(folder, with_driver=False)
    assert without.all_rows() == with_driver.all_rows()
    for name in ("span", "input_fingerprint"):
        assert (
            without.artifact.mlmd_artifact.custom_properties[name]
            == with_driver.artifact.mlmd_artifact.custom_properties[name]
        )


@pytest.mark.parametrize("with_driver", [False, True])
@pytest.mark.parametrize("names", [("span-2", "span-10"), ("span-1", "span-010")])
def test_a_span_is_told_by_its_number(tmp_path, names, with_driver):
    folder = tmp_path / "data"
    for number, name in enumerate(names):
        clothing.write_csvs(folder / name, train=50 + number, test=9, shape=SHAPE)
    latest = pathlib.Path(data_folder.to_take(str(folder)))
    assert latest == folder / names[1]
    result = ingested(latest, with_driver=with_driver)
    assert result.summary.span == 10
    assert result.summary.rows == 60
    assert result.summary.files[0].file == "train/clothing-1.csv"
    assert result.artifact.get_int_custom_property("span") == 10


def add_line(path: pathlib.Path, line: bytes, before: int) -> None:
    """Inserts a line so that it is line `before` (1-based)."""
    lines = path.read_bytes().split(b"\n")
    lines.insert(before - 1, line)
    path.write_bytes(b"\n".join(lines))


GOOD = b",".join([b"7"] * 13)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD + b",7", "wrong_columns"),
        (GOOD[:-2], "wrong_columns"),
        (GOOD[:-1] + b"x", "not_an_integer"),
        (GOOD[:-1] + b"0.5", "not_an_integer"),
        (GOOD[:-1], "not_an_integer"),
        (GOOD[:-1] + b"\xff", "not_an_integer"),
        (GOOD[:-1] + b"256", "out_of_range"),
        (GOOD[:-1] + b"-1", "out_of_range"),
        (GOOD[1:], "missing_label"),
        (b"10" + GOOD[1:], "unknown_label"),
        (b"Bag" + GOOD[1:], "unknown_label"),
        (b"1" * 5000, "line_too_long"),
        (b"label,pixel1,pixel2", "wrong_columns"),
    ],
)
def test_a_bad_row_is_quarantined(folder, line, reason):
    add_line(csv(folder), line, before=42)
    result = ingested(folder, LENIENT)
    (bad,) = result.quarantine
    assert (bad.file, bad.line, bad.reason) == ("train/clothing-1.csv", 42, reason)
    assert bad.row[:1000] == line.decode(errors="backslashreplace")[:1000]
    assert result.summary.quarantined == {reason: 1}
    assert result.summary.rows == 151
    assert sum(result.summary.examples.values()) == 150
    assert result.artifact.get_int_custom_property("quarantined") == 1


def test_too_many_bad_rows_stop_the_run_and_the_first_five_are_shown(folder):
    for line in range(50, 58):
        add_line(csv(folder), b"bad row %d" % line, before=line)
    with pytest.raises(DataError) as caught:
        ingested(folder, DataSettings(max_bad_rows=0.05))
    message = str(caught.value)
    assert "8 of 158 rows are bad" in message
    assert "max_bad_rows = 0.05" in message
    for line in range(50, 58):
        shown = f"{csv(folder)}, line {line}: 1 columns, expected 13: 'bad row {line}'"
        assert (shown in message) == (line < 55)
    assert ingested(folder, DataSettings(max_bad_rows=8 / 158)).summary.rows == 158


def test_line_numbers_hold_across_byte_ranges_and_blank_lines(folder, monkeypatch):
    path = csv(folder)
    for line in (150, 90, 33, 2):
        add_line(path, b"oops", before=line if line < 120 else 122)
        add_line(path, b"", before=line if line < 120 else 122)
    lines = path.read_bytes().split(b"\n")
    expected = [number for number, line in enumerate(lines, 1) if line == b"oops"]
    assert len(expected) == 4
    whole = ingested(folder, LENIENT)
    monkeypatch.setattr(ingest, "_RANGE_BYTES", 777)
    monkeypatch.setattr(reader, "_BLOCK_BYTES", 200)
    cut = ingested(folder, LENIENT)
    assert [bad.line for bad in whole.quarantine] == expected
    assert cut.quarantine == whole.quarantine
    assert cut.all_rows() == whole.all_rows()
    assert cut.summary == whole.summary
    assert len(list((cut.uri / "Split-train").iterdir())) > 3


def test_gzipped_files_have_line_numbers_too(tmp_path):
    folder = clothing.write_csvs(tmp_path / "data", train=50, test=9, shape=SHAPE, gz=True)
    lines = gzip.decompress(csv(folder).read_bytes()).split(b"\n")
    lines.insert(9, b"oops")
    # Two members, as `cat a.gz b.gz` makes them.
    halves = (b"\n".join(lines[:20]) + b"\n", b"\n".join(lines[20:]))
    csv(folder).write_bytes(b"".join(map(gzip.compress, halves)))
    result = ingested(folder, LENIENT)
    assert [(bad.file, bad.line) for bad in result.quarantine] == [("train/clothing-1.csv.gz", 10)]
    assert result.summary.rows == 60


def test_shards_roll_over(folder, monkeypatch):
    before = ingested(folder).all_rows()
    monkeypatch.setattr(parts, "_SHARD_BYTES", 300)
    monkeypatch.setattr(reader, "_BLOCK_BYTES", 200)
    result = ingested(folder)
    assert len(list((result.uri / "Split-train").iterdir())) > 10
    assert result.all_rows() == before


def stops(folder: pathlib.Path, words: str, data: DataSettings = LENIENT) -> None:
    with pytest.raises(DataError, match=words):
        ingested(folder, data)


def test_an_empty_file_stops_the_run(folder):
    path = folder / "test" / "more.csv"
    path.touch()
    stops(folder, f"{path} is empty")


@pytest.mark.parametrize("content", [b"\n\n", b"\xef\xbb\xbf", b"\r\n \r\n"])
def test_a_file_of_blank_lines_stops_the_run(folder, content):
    path = folder / "train" / "more.csv"
    path.write_bytes(content)
    stops(folder, f"{path} holds no rows")


@pytest.mark.parametrize("ending", ["", "\n"])
def test_a_header_only_file_stops_the_run(folder, ending):
    path = folder / "train" / "more.csv"
    path.write_text(csv(folder).read_text().splitlines()[0] + ending)
    stops(folder, f"{path} holds no rows")


def test_an_empty_gzip_stops_the_run(folder):
    path = folder / "train" / "more.csv.gz"
    path.write_bytes(gzip.compress(b""))
    stops(folder, f"{path} holds no rows")


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_a_gzip_cut_short_stops_the_run(tmp_path, keep):
    folder = clothing.write_csvs(tmp_path / "data", train=500, test=9, shape=SHAPE, gz=True)
    content = csv(folder).read_bytes()
    csv(folder).write_bytes(content[: int(len(content) * keep)])
    stops(folder, f"{csv(folder)} cannot be read to its end")


def test_a_damaged_gzip_stops_the_run(tmp_path):
    folder = clothing.write_csvs(tmp_path / "data", train=500, test=9, shape=SHAPE, gz=True)
    content = bytearray(csv(folder).read_bytes())
    content[len(content) // 2] ^= 0xFF
    csv(folder).write_bytes(content)
    stops(folder, f"{csv(folder)} cannot be read to its end")


def test_a_gz_that_is_not_gzip_stops_the_run(folder):
    path = folder / "train" / "more.csv.gz"
    path.write_text("1,2,3\n")
    stops(folder, f"{path} is named .gz but is not gzipped")


def test_gzip_is_known_by_its_content(folder):
    before = ingested(folder).all_rows()
    csv(folder).write_bytes(gzip.compress(csv(folder).read_bytes()))
    assert ingested(folder).all_rows() == before


def test_a_folder_named_csv_stops_the_run(folder):
    (folder / "train" / "more.csv").mkdir()
    stops(folder, "more.csv cannot be read")


def test_a_missing_split_stops_the_run(folder):
    shutil.rmtree(folder / "test")
    stops(folder, r"has no test/\*.csv or test/\*.csv.gz")


def test_a_split_without_a_good_row_stops_the_run(folder):
    csv(folder, "test").write_text("oops\n")
    stops(folder, "no row for test")


def test_a_split_too_small_for_validation_stops_the_run(folder):
    stops(folder, "no row for validation", DataSettings(validation_fraction=1e-9))


def test_the_wrong_shape_stops_the_run(folder):
    with pytest.raises(DataError, match=r"csv:1: .*12 pixels .*expected 784.*image\.height"):
        ingested(folder, image=ImageSettings())
    for path in (csv(folder), csv(folder, "test")):
        path.write_bytes(path.read_bytes().partition(b"\n")[2])
    with pytest.raises(DataError, match=r"13 columns, expected 785.*\n(.*\n)*.*image\.height"):
        ingested(folder, image=ImageSettings())


def test_other_files_are_ignored_but_named_with_the_reason(folder):
    csv(folder).rename(folder / "train" / "B.CSV")
    (folder / "train" / "clothing.csv.bak").write_text("old")
    (folder / "train" / "._clothing-1.csv").write_bytes(b"\0\5\x16\7")
    (folder / "test" / "README").touch()
    (folder / "test" / "images").mkdir()
    result = ingested(folder)
    assert result.summary.rows == 150
    assert result.summary.ignored == {
        "train/._clothing-1.csv": "hidden",
        "train/clothing.csv.bak": "not named .csv or .csv.gz",
        "test/README": "not named .csv or .csv.gz",
        "test/images": "not named .csv or .csv.gz",
    }


def test_summaries_of_older_runs_can_be_read():
    older = {"rows": 0, "examples": {}, "quarantined": {}, "span": 0, "files": [], "ignored": ["a"]}
    read = summary.IngestionSummary.model_validate(older)
    assert read.ignored == {"a": "not named .csv or .csv.gz"}


@pytest.mark.parametrize("number", [1, 2, 8, 1000])
def test_ranges_follow_the_workers_and_rows_do_not(folder, monkeypatch, number):
    whole = ingested(folder)
    monkeypatch.setattr(ingest, "_LEAST_RANGE_BYTES", 100)
    parts = ingested(folder, beam=(*BEAM, f"--parallelism={number}"))
    assert parts.all_rows() == whole.all_rows()
    assert parts.summary == whole.summary
    for split in ("train", "test"):
        shards = sorted((parts.uri / f"Split-{split}").iterdir())
        # A range in which no line begins has none.
        assert len(shards) >= min(number, 6)
        assert [key for shard in shards for key in keys(shard)] == [
            key for shard in sorted((whole.uri / f"Split-{split}").iterdir()) for key in keys(shard)
        ]


def keys(shard: pathlib.Path) -> list[int]:
    """In the order of the file."""
    spec = {"key": tf.io.FixedLenFeature([], tf.int64)}
    records = tf.data.TFRecordDataset(str(shard), compression_type="GZIP")
    return [int(tf.io.parse_single_example(record, spec)["key"]) for record in records]


@pytest.mark.parametrize(
    ("args", "number"),
    [
        ((), 1),
        (("--runner=FlinkRunner", "--parallelism=8", "--flink_master=h:8081"), 8),
        (("--direct_num_workers=2", "--num_workers=3", "--max_num_workers=5"), 5),
        (("--direct_num_workers=0",), 1),
    ],
)
def test_workers_as_beam_is_told(args, number):
    assert parts.workers(args) == number


def test_every_split_is_spread(tmp_path):
    for split, rows in (("train", 3000), ("test", 500)):
        (tmp_path / split).mkdir()
        for name in ("a.csv", "b.csv"):
            (tmp_path / split / name).write_text(("7," * 784 + "7\n") * rows)
    row = reader.RowFormat(784, 10)
    ranges, _ = ingest.plan(str(tmp_path), ("train", "test"), row, parallelism=8)
    assert [part.number for part in ranges] == list(range(len(ranges)))
    by_split = [[part for part in ranges if part.input_split == name] for name in ("train", "test")]
    # Of 9.4 MB eight ranges or somewhat more; of 1.6 MB none below a MiB but the last ones.
    assert 8 <= len(by_split[0]) <= 10
    assert len(by_split[1]) == 2
    assert len(ingest.plan(str(tmp_path), ("train", "test"), row)[0]) == 4


@pytest.mark.parametrize("with_driver", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "[v2]",
        "a*b",
        "a?b",
        "{1,2}",
        "with spaces",
        "q\"'",
        "p%41",
        "h#1",
        "n\nl",
        "é",
        "b\\s",
        "x]",
    ],
)
def test_whatever_the_data_folder_is_called(tmp_path, name, with_driver):
    folder = clothing.write_csvs(tmp_path / name / "data", train=50, test=9, shape=SHAPE)
    # What the name would match as a pattern.
    for other in ("v", "ab", "aXb", "axxb"):
        clothing.write_csvs(tmp_path / other / "data", train=70, test=9, shape=SHAPE)
    data_folder.check_folder(folder)
    result = ingested(folder, with_driver=with_driver)
    assert result.summary.rows == 59
    fingerprint = result.artifact.get_string_custom_property("input_fingerprint")
    assert "split:train,num_files:1," in fingerprint


def test_rows_in_both_splits_are_counted(folder):
    _, *lines = csv(folder).read_text().splitlines()
    with open(csv(folder, "test"), "a") as file:
        file.write("\n".join([lines[3], lines[77], lines[3], f" {lines[5]}"]) + "\n")
    result = ingested(folder)
    assert result.summary.rows == 154
    assert result.summary.overlap == 4
    assert ingested(folder, beam=(*BEAM, "--parallelism=3")).summary.overlap == 4


def label_last(folder: pathlib.Path, header: bool) -> None:
    for split in ("train", "test"):
        table = np.roll(table_of(csv(folder, split)), -1, axis=1)
        names = [*(f"pixel{number}" for number in range(1, 13)), "class"]
        lines = [",".join(map(str, row)) for row in ([names] if header else []) + table.tolist()]
        csv(folder, split).write_text("\n".join(lines) + "\n")


def test_a_label_that_stands_last_is_found_by_its_name(folder):
    expected = ingested(folder).all_rows()
    label_last(folder, header=True)
    assert ingested(folder).all_rows() == expected


def test_without_a_header_a_column_that_holds_no_labels_is_named(folder):
    label_last(folder, header=False)
    stops(folder, r"clothing-1.csv: column 1, taken for the label since there is no header, ")
    table = table_of_headerless(csv(folder))
    # A corner that is nearly always black: as labels nothing is wrong with it.
    for split in ("train", "test"):
        table = table_of_headerless(csv(folder, split))
        table[:, 0] = table[:, 1] % 2
        csv(folder, split).write_text("\n".join(",".join(map(str, row)) for row in table) + "\n")
    stops(folder, "the last one holds each of them and nothing else. Is that the label", STRICT)


def table_of_headerless(path: pathlib.Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", dtype=np.int64)


@pytest.mark.parametrize("labels", [range(10, 20), range(0, 26)])
def test_labels_of_another_kind_are_named(folder, labels):
    for split in ("train", "test"):
        table = table_of(csv(folder, split))
        table[:, 0] = [labels[number % len(labels)] for number in range(len(table))]
        csv(folder, split).write_text("\n".join(",".join(map(str, row)) for row in table) + "\n")
    words = "never holds a label" if labels[0] else "holds 26 or more different values"
    stops(folder, f"taken for the label since there is no header, {words}", STRICT)


def test_lost_rows_are_noticed(folder, monkeypatch):
    serialise = ingest.examples.serialise
    monkeypatch.setattr(ingest.examples, "serialise", lambda batch: serialise(batch)[1:])
    with pytest.raises(RunError, match="120 rows read, but 118 written or quarantined"):
        ingested(folder)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["multi_processing", "multi_threading"])
def test_other_ways_to_run_beam(folder, mode):
    many = (*BEAM, f"--direct_running_mode={mode}", "--direct_num_workers=2")
    assert ingested(folder, beam=many).all_rows() == ingested(folder).all_rows()


def test_statistics_read_the_examples(folder, tmp_path):
    from tensorflow_metadata.proto.v0 import statistics_pb2
    from tfx.components.statistics_gen import executor as statistics_executor

    result = ingested(folder)
    statistics = standard_artifacts.ExampleStatistics()
    statistics.uri = str(tmp_path / "statistics")
    context = base_beam_executor.BaseBeamExecutor.Context(beam_pipeline_args=list(BEAM))
    statistics_executor.Executor(context).Do(
        {"examples": [result.artifact]}, {"statistics": [statistics]}, {"exclude_splits": "[]"}
    )
    for split, count in result.summary.examples.items():
        content = (tmp_path / "statistics" / f"Split-{split}" / "FeatureStats.pb").read_bytes()
        dataset = statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets[0]
        assert dataset.num_examples == count
        (image,) = (item for item in dataset.features if item.path.step[0] == "image")
        assert image.num_stats.common_stats.min_num_values == IMAGE.pixels
        assert image.num_stats.common_stats.max_num_values == IMAGE.pixels
