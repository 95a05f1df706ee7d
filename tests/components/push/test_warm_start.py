"""WarmStart: which pushed model a training starts from."""

import pathlib

import pytest
from tfx.types import standard_artifacts

from components.csv_ingestion import result as summary
from components.push import versions, warm_start
from components.push.pusher import push
from components.training import start

DATA, NEWER = "0000000000000001", "0000000000000002"


@pytest.fixture
def serving(tmp_path):
    return str(tmp_path / "serving" / "denoiser")


def _push(tmp_path, serving, of=None, keep=None):
    """Pushes a model of that Start; None: one without a warm start."""
    model = tmp_path / f"model-{len(versions.versions(serving))}"
    (model / "assets.extra").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(str(model).encode())
    if of is not None:
        start.write(of, model / "assets.extra")
    return push(str(model), serving, keep)


def _examples(tmp_path, fingerprint):
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / f"examples-{fingerprint}")
    folder = pathlib.Path(examples.uri, summary.DIRECTORY)
    folder.mkdir(parents=True)
    rows = summary.IngestionSummary(
        rows=0,
        examples={},
        quarantined={},
        span=1,
        files=[],
        ignored={},
        fingerprint=fingerprint,
    )
    (folder / summary.SUMMARY_FILE).write_text(rows.model_dump_json())
    return examples


def _warm_start(tmp_path, serving, fingerprint, version):
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "start")
    pathlib.Path(model.uri).mkdir()
    warm_start.WarmStart.EXECUTOR_SPEC.executor_class().Do(
        {"examples": [_examples(tmp_path, fingerprint)]},
        {"model": [model]},
        {"serving": serving, "code": "", "version": version},
    )
    return pathlib.Path(model.uri)


def test_it_starts_from_the_newest_version(tmp_path, serving):
    assert versions.start_version(serving, DATA) == versions.NONE
    _push(tmp_path, serving)
    newest = _push(tmp_path, serving)
    assert versions.start_version(serving, DATA) == newest


def test_the_same_data_again_is_the_same_training(tmp_path, serving):
    first = _push(tmp_path, serving, start.Start(version=start.NONE, data=DATA))
    assert versions.start_version(serving, DATA) == start.NONE
    assert versions.start_version(serving, NEWER) == first
    second = _push(tmp_path, serving, start.Start(version=first, data=NEWER))
    assert versions.start_version(serving, NEWER) == first
    assert versions.start_version(serving, DATA) == second


def test_the_model_is_copied_with_what_it_is_the_start_of(tmp_path, serving):
    version = _push(tmp_path, serving, start.Start(version=start.NONE, data=DATA))
    folder = _warm_start(tmp_path, serving, NEWER, versions.RESOLVE)
    assert (folder / "Format-Serving" / "saved_model.pb").is_file()
    assert start.read(folder) == start.Start(version=version, data=NEWER)


def test_without_a_pushed_model_it_says_so(tmp_path, serving):
    folder = _warm_start(tmp_path, serving, DATA, versions.RESOLVE)
    assert not (folder / "Format-Serving").exists()
    assert start.read(folder) == start.Start(version=start.NONE, data=DATA)


def test_a_version_that_was_removed_is_replaced_by_the_newest(tmp_path, serving):
    first = _push(tmp_path, serving)
    second = _push(tmp_path, serving, start.Start(version=first, data=DATA), keep=1)
    assert versions.start_version(serving, DATA) == first
    folder = _warm_start(tmp_path, serving, DATA, first)
    assert start.read(folder) == start.Start(version=second, data=DATA)
