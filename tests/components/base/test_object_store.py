"""One battery over all kinds of store: a folder that stands in, an S3 server and a Google one."""

from __future__ import annotations

import pathlib
import uuid

import pytest

from components.base import object_store
from components.base.errors import DataError, RunError
from components.base.places import Places
from components.push import pusher as push
from components.push import versions
from tests import gcs


@pytest.fixture(params=["folder", "s3", "gs"])
def bucket(request, tmp_path, monkeypatch):
    """URI of an empty bucket."""
    if request.param == "folder":
        monkeypatch.setenv(object_store.STAND_IN, str(tmp_path / "store"))
        yield "s3://models"
        return
    monkeypatch.delenv(object_store.STAND_IN, raising=False)
    if request.param == "gs":
        with gcs.serving("models") as host:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", host)
            yield "gs://models"
        return
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # The server's content outlives it.
    name = f"models-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    yield f"s3://{name}"
    server.stop()


def _saved_model(folder: pathlib.Path, weights: str) -> pathlib.Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_text("graph")
    (folder / "variables" / "variables.index").write_text(weights)
    return folder


def test_a_folder_comes_back_as_it_went(bucket, tmp_path):
    model = _saved_model(tmp_path / "model", "1")
    names = object_store.upload(model, f"{bucket}/a/b")
    object_store.upload(model / "saved_model.pb", f"{bucket}/a/bc")

    assert names == ["saved_model.pb", "variables/variables.index"]
    assert object_store.files(f"{bucket}/a/b") == names
    assert object_store.download(f"{bucket}/a/b", tmp_path / "copy") == names
    assert (tmp_path / "copy/variables/variables.index").read_text() == "1"
    assert object_store.download(f"{bucket}/a/bc", tmp_path / "file") == [""]
    object_store.delete(f"{bucket}/a/b")
    assert object_store.files(f"{bucket}/a/b") == []
    assert object_store.files(f"{bucket}/a/bc") == [""]


def test_pushed_versions_are_found_and_old_ones_leave(bucket, tmp_path):
    serving = f"{bucket}/serving/denoiser"
    assert versions.versions(serving) == []
    models = [_saved_model(tmp_path / name, name) for name in "123"]
    pushed = [int(push.push(str(model), serving, keep=2)) for model in models]

    assert pushed == sorted(set(pushed))
    assert [found.number for found in versions.versions(serving)] == pushed[1:]
    assert {name.partition("/")[0] for name in object_store.files(serving)} == {
        str(version) for version in pushed[1:]
    }
    assert versions.latest(serving, str(models[2])) == str(pushed[1])
    assert versions.latest(serving, None) == str(pushed[2])


def test_a_slash_at_the_end_of_a_folder_changes_nothing(bucket, tmp_path):
    model = _saved_model(tmp_path / "model", "1")
    object_store.publish(model, f"{bucket}/a/b/", last="saved_model.pb")
    names = ["saved_model.pb", "variables/variables.index"]
    assert object_store.files(f"{bucket}/a/b/") == names
    assert object_store.files(f"{bucket}/a") == [f"b/{name}" for name in names]
    given = Places.under(f"{bucket}/root/", data=f"{bucket}/data/", serving=f"{bucket}/serving/")
    assert given == Places(f"{bucket}/data", "", f"{bucket}/serving", f"{bucket}/root")
    assert Places.under(bucket, data="/").data == "/"


@pytest.mark.parametrize("failing_copy", [0, 1])
def test_a_push_that_breaks_off_leaves_no_version(bucket, tmp_path, monkeypatch, failing_copy):
    serving = f"{bucket}/serving/denoiser"
    model = _saved_model(tmp_path / "model", "1")
    kind = type(object_store._open(serving)[0])
    copy, seen = kind.copy, []

    def breaking(self, key, target):
        if len(seen) == failing_copy:
            raise ConnectionError("the store went away")
        seen.append(target)
        copy(self, key, target)

    monkeypatch.setattr(kind, "copy", breaking)
    with pytest.raises(ConnectionError):
        push.push(str(model), serving)
    assert versions.versions(serving) == []
    monkeypatch.setattr(kind, "copy", copy)
    version = push.push(str(model), serving)
    assert [found.number for found in versions.versions(serving)] == [int(version)]
    assert {name.partition("/")[0] for name in object_store.files(serving)} == {version}


@pytest.mark.parametrize("uri", ["/data", "s3://", "ftp://a/b", "s3:/a"])
def test_what_is_no_uri_is_refused(uri):
    assert not (object_store.is_remote(uri) and uri != "s3://")
    with pytest.raises(ValueError, match="object store"):
        object_store.split(uri)


@pytest.mark.parametrize("bucket", ["s3", "gs"], indirect=True)
def test_a_bucket_that_is_not_there_is_named(bucket):
    scheme = bucket.partition("://")[0]
    with pytest.raises(RunError, match=rf"^{scheme}://nosuch/data cannot be listed: .*credentials"):
        object_store.files(f"{scheme}://nosuch/data")


def test_no_key_leads_out_of_the_folder_it_is_copied_to(bucket, tmp_path, monkeypatch):
    model = _saved_model(tmp_path / "model", "1")
    object_store.upload(model, f"{bucket}/a")
    names = object_store.files(f"{bucket}/a")
    for name in ("../../outside", "b/../../outside", ".."):
        monkeypatch.setattr(object_store, "files", lambda uri, name=name: [*names, name])
        with pytest.raises(DataError, match=f"://.*/a: the object 'a/{name}' would be copied out"):
            object_store.download(f"{bucket}/a", tmp_path / "here" / "copy")
        assert not (tmp_path / "here").exists()
