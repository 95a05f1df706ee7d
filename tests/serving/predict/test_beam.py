"""`denoise predict --beam`: shards in order, and nothing of others lost."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.portability.api import beam_job_api_pb2

from components.base import jobs
from components.base.errors import DataError, UsageError
from components.image.picture import Picture, read_picture, write_picture
from serving.predict import beam as predicting
from serving.predict.denoisers import Source
from tests import any_size, job_server
from tests.alike import alike
from tests.serving.predict.written import HEADER, pixels_of, write_image, write_rows

ARGUMENTS = ["--runner=FnApiRunner"]


@pytest.fixture
def source(models):
    return Source(model=models / "denoiser")


def read(output: pathlib.Path) -> np.ndarray:
    files = sorted(path for path in output.iterdir() if not path.name.startswith("."))
    lines = "".join(file.read_text() for file in files).splitlines()
    return np.array([line.split(",") for line in lines], int)


def test_shards_in_order(models, target, source, tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "_RANGE_BYTES", 20_000)
    pixels = write_rows(tmp_path / "rows.csv", 700, HEADER)
    served = Source(f"grpc://{target.grpc}")
    for name, denoiser in (("model", source), ("server", served)):
        done = predicting.predict_with_beam(
            [str(tmp_path / "*.csv")], str(tmp_path / name), denoiser, ARGUMENTS
        )
        found = read(tmp_path / name)
        assert done.shards > 1
        np.testing.assert_array_equal(found[:, 0], np.arange(700) % 10)
        np.testing.assert_array_equal(found[:, 1:], np.round(pixels / 2))


def test_several_inputs_are_one_output(source, tmp_path, monkeypatch):
    """Each used to write its shards over those of the one before."""
    parts = [write_rows(tmp_path / name, 5) for name in ("b.csv", "a.CSV.GZ")]
    (tmp_path / "folder").mkdir()
    parts.append(write_rows(tmp_path / "folder" / "c.csv", 2, labelled=True))
    (tmp_path / "folder" / "._c.csv").write_text("no rows")
    monkeypatch.chdir(tmp_path)
    done = predicting.predict_with_beam(["b.csv", "a.CSV.GZ", "folder"], "out", source, ARGUMENTS)
    assert (done.output, done.shards) == (str(tmp_path / "out"), 3)
    assert [file.path for file in done.ignored] == ["folder/._c.csv"]
    np.testing.assert_array_equal(
        read(tmp_path / "out")[:, 1:], np.round(np.concatenate(parts) / 2)
    )


def test_an_ensemble_is_asked_as_without_beam(tmp_path):
    path = tmp_path / "model"
    any_size.export(path / "1", (4, 6, 1))
    random = np.random.default_rng(2)
    picture = random.integers(0, 256, (1, 24, 40, 1)).astype(np.uint8)
    with (tmp_path / "a.png").open("wb") as file:
        write_picture(Picture(picture[0]), file)
    for ensemble in (False, True):
        source = Source(model=path, ensemble=ensemble)
        output = tmp_path / f"out-{ensemble}"
        predicting.predict_with_beam([str(tmp_path / "a.png")], str(output), source, ARGUMENTS)
        with contextlib.closing(source.open()) as denoiser:
            expected = denoiser.denoise(picture)[0]
        np.testing.assert_array_equal(read_picture(output / "a.png").pixels, expected)
    assert pixels_of(tmp_path / "out-True" / "a.png") != pixels_of(tmp_path / "out-False" / "a.png")


def test_rows_without_labels(source, tmp_path):
    pixels = write_rows(tmp_path / "rows.csv", 3, labelled=False)
    predicting.predict_with_beam([str(tmp_path / "rows.csv")], str(tmp_path / "out"), source)
    np.testing.assert_array_equal(read(tmp_path / "out"), np.round(pixels / 2))


def test_pictures_of_any_size(source, tmp_path, monkeypatch):
    """Beside rows; one that cannot be read is told, and the others are done."""
    pixels = np.random.default_rng(0).integers(0, 65536, (9, 13, 3), np.uint16)
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "deep.png").open("wb") as file:
        write_picture(Picture(pixels), file)
    for name in ("in/deep.tif", "b.JPG"):
        write_image(tmp_path / name, 100)
    (tmp_path / "in" / "bad.png").write_text("no image")
    write_rows(tmp_path / "in" / "rows.csv", 3)
    monkeypatch.chdir(tmp_path)
    done = predicting.predict_with_beam(["in", "*.JPG"], "out", source, ARGUMENTS)
    assert (done.shards, done.pictures) == (1, 3)
    [failed] = done.failed
    assert failed.path == str(tmp_path / "in" / "bad.png")
    assert failed.reason.startswith("not an image")
    written = {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."}
    assert written == {"deep.png", "deep-2.png", "b.png", "denoised-00000-of-00001.csv"}
    found = read_picture(tmp_path / "out" / "deep.png").pixels
    assert found.dtype == np.uint16
    assert np.abs(found - pixels / 2).max() <= 0.51
    assert pixels_of(tmp_path / "out" / "deep-2.png") == {50}


@pytest.mark.parametrize("name", alike(["[v2]", "é", "*", "a?b", "{a}", "a b", "%41", "#"], here=2))
def test_any_name(source, tmp_path, name):
    pixels = write_rows(tmp_path / f"{name}.csv", 3)
    write_rows(tmp_path / "other.csv", 9)
    output = tmp_path / f"out {name}"
    predicting.predict_with_beam([str(tmp_path / f"{name}.csv")], str(output), source)
    np.testing.assert_array_equal(read(output)[:, 1:], np.round(pixels / 2))


def test_nothing_of_others_is_lost(source, tmp_path):
    write_rows(tmp_path / "rows.csv", 3)
    rows = [str(tmp_path / "rows.csv")]
    with pytest.raises(UsageError, match="no such file"):
        predicting.predict_with_beam([str(tmp_path / "absent")], str(tmp_path), source)
    output = tmp_path / "out"
    output.mkdir()
    shard = output / "denoised-00000-of-00001.csv"
    os.link(rows[0], shard)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is an input and would be overwritten"):
            predicting.predict_with_beam(rows, str(output), source, overwrite=overwrite)
    shard.unlink()
    shard.write_text("theirs")
    with pytest.raises(UsageError, match="exists, and is not as this command made it"):
        predicting.predict_with_beam(rows, str(output), source)
    assert shard.read_text() == "theirs"
    predicting.predict_with_beam(rows, str(output), source, overwrite=True)
    predicting.predict_with_beam(rows, str(output), source)
    assert len(read(output)) == 3


def test_only_ranges_go_from_worker_to_worker(source, tmp_path):
    """A reshuffle comes before the first file is read, and no image crosses one."""
    write_rows(tmp_path / "rows.csv", 3)
    pipelines = []
    run = beam.Pipeline.run

    def kept(self, *args, **kwargs):
        pipelines.append(self.to_runner_api())
        return run(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beam.Pipeline, "run", kept)
        predicting.predict_with_beam([str(tmp_path / "rows.csv")], str(tmp_path / "out"), source)
    [proto] = pipelines
    transforms = proto.components.transforms.values()
    shuffles = [t for t in transforms if t.spec.urn == "beam:transform:group_by_key:v1"]
    assert [t.unique_name.partition("/")[0] for t in shuffles] == ["Spread"]
    top = [proto.components.transforms[name] for name in proto.root_transform_ids]
    steps = [
        proto.components.transforms[name].unique_name
        for root in top
        for name in ([root.unique_name] if not root.subtransforms else root.subtransforms)
        if name in proto.components.transforms
    ]
    assert steps[0].startswith("Ranges")
    assert [step.partition("/")[0] for step in steps] == ["Ranges", "Spread", "Denoise"]


@pytest.fixture(scope="module")
def service():
    with job_server.running() as made:
        yield made


def test_a_bad_row_is_told_by_a_worker_as_in_this_process(service, source, tmp_path):
    file = tmp_path / "rows.csv"
    write_rows(file, 3)
    with file.open("a") as stream:
        stream.write("7,1,2\n")
    messages = []
    for arguments in (ARGUMENTS, job_server.flags(service)):
        with pytest.raises(DataError) as raised:
            predicting.predict_with_beam([str(file)], str(tmp_path / "out"), source, arguments)
        messages.append(str(raised.value))
    assert messages[0].startswith(f"{file}, line 4 ")
    assert "while running" not in messages[0]
    assert messages[0] == messages[1]
    assert not list((tmp_path / "out").glob("*.csv"))


def _wait_while_it_exists(path: str) -> None:
    while os.path.exists(path):
        time.sleep(0.05)


def test_the_job_of_a_call_that_was_killed_is_cancelled_by_the_next_one_for_its_files(
    service, source, tmp_path
):
    write_rows(tmp_path / "rows.csv", 3)
    records, flags = tmp_path / "jobs", job_server.flags(service)

    def predict(output: str) -> tuple[str, ...]:
        rows, target = [str(tmp_path / "rows.csv")], str(tmp_path / output)
        return predicting.predict_with_beam(rows, target, source, flags, records=records).notes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs.fileio, "remove", lambda path: None)
        assert predict("out") == ()
    [record] = records.iterdir()
    before = set(job_server.states(service))
    works = tmp_path / "works"
    works.touch()
    killed = beam.Pipeline(argv=list(flags))
    _ = killed | beam.Create([str(works)]) | beam.Map(_wait_while_it_exists)
    killed.run()
    [job] = set(job_server.states(service)) - before
    record.write_text(json.dumps(json.loads(record.read_text()) | {"id": job}))
    assert predict("elsewhere") == ()
    assert list(records.iterdir()) == [record]
    [note] = predict("out")
    works.unlink()
    assert f"job {job} still ran" in note
    assert job_server.states(service)[job] == beam_job_api_pb2.JobState.CANCELLED
    assert not list(records.iterdir())


def test_nothing_is_said_at_the_end(source, tmp_path):
    """TensorFlow's callables complained of modules that were gone: `Exception ignored in ...`."""
    write_rows(tmp_path / "rows.csv", 3)
    script = (
        "import sys\n"
        "import pathlib\n"
        "from serving.predict.beam import predict_with_beam\n"
        "from serving.predict.denoisers import Source\n"
        "source = Source(model=pathlib.Path(sys.argv[3]))\n"
        "print(predict_with_beam([sys.argv[1]], sys.argv[2], source).shards)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "rows.csv", tmp_path / "out", source.model],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"
    assert "Exception ignored" not in done.stderr
    assert "Traceback" not in done.stderr
