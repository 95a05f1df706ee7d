"""Folders in object stores: `s3://`, `minio://` and `gs://`, read and written whole.

TensorFlow and TFX know no `s3://` or `minio://`, so what lies there is copied to or from the
local disk. Credentials and the address of the store come from the environment alone, by the
variables each store's own library reads: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_REGION`, `AWS_ENDPOINT_URL_S3` (any S3-compatible server, MinIO included), and
`GOOGLE_APPLICATION_CREDENTIALS`. `DENOISE_OBJECT_STORE` names a local folder that stands in
for every store: a dry run without a server sets it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, Protocol

from components.base.errors import DataError, RunError

SCHEMES = ("s3", "minio", "gs")
STAND_IN = "DENOISE_OBJECT_STORE"
_DELETED_AT_ONCE = 1000
"""Most keys one S3 DeleteObjects request takes."""


class _Bucket(Protocol):
    """One bucket; keys have no leading slash."""

    def tags(self, prefix: str) -> dict[str, str]:
        """Each key with a tag that changes when the object does."""
        ...

    def get(self, key: str, path: pathlib.Path) -> None: ...
    def put(self, path: pathlib.Path, key: str) -> None: ...
    def copy(self, key: str, target: str) -> None: ...
    def delete(self, keys: list[str]) -> None: ...


class _S3Bucket:
    def __init__(self, name: str):
        import boto3
        from botocore.config import Config

        self._name = name
        # MinIO and other stand-alone servers know buckets by path, not by host name.
        self._client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))

    def tags(self, prefix: str) -> dict[str, str]:
        pages = self._client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self._name, Prefix=prefix)
        return {item["Key"]: item["ETag"] for page in found for item in page.get("Contents", [])}

    def get(self, key: str, path: pathlib.Path) -> None:
        self._client.download_file(self._name, key, str(path))

    def put(self, path: pathlib.Path, key: str) -> None:
        self._client.upload_file(str(path), self._name, key)

    def copy(self, key: str, target: str) -> None:
        self._client.copy({"Bucket": self._name, "Key": key}, self._name, target)

    def delete(self, keys: list[str]) -> None:
        for begin in range(0, len(keys), _DELETED_AT_ONCE):
            some = [{"Key": key} for key in keys[begin : begin + _DELETED_AT_ONCE]]
            self._client.delete_objects(Bucket=self._name, Delete={"Objects": some, "Quiet": True})


class _GoogleBucket:
    def __init__(self, name: str):
        from google.cloud.storage import Client

        self._bucket = Client().bucket(name)

    def tags(self, prefix: str) -> dict[str, str]:
        return {blob.name: blob.etag for blob in self._bucket.list_blobs(prefix=prefix)}

    def get(self, key: str, path: pathlib.Path) -> None:
        self._bucket.blob(key).download_to_filename(str(path))

    def put(self, path: pathlib.Path, key: str) -> None:
        self._bucket.blob(key).upload_from_filename(str(path))

    def copy(self, key: str, target: str) -> None:
        self._bucket.copy_blob(self._bucket.blob(key), self._bucket, target)

    def delete(self, keys: list[str]) -> None:
        for key in keys:
            self._bucket.blob(key).delete()


class _FolderBucket:
    def __init__(self, root: pathlib.Path):
        self._root = root

    def tags(self, prefix: str) -> dict[str, str]:
        found = {
            path.relative_to(self._root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self._root.rglob("*"))
            if path.is_file()
        }
        return {name: tag for name, tag in found.items() if name.startswith(prefix)}

    def get(self, key: str, path: pathlib.Path) -> None:
        shutil.copyfile(self._root / key, path)

    def put(self, path: pathlib.Path, key: str) -> None:
        target = self._root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)

    def copy(self, key: str, target: str) -> None:
        self.put(self._root / key, target)

    def delete(self, keys: list[str]) -> None:
        for key in keys:
            (self._root / key).unlink()


def is_remote(location: str) -> bool:
    """True if a location is a URI of an object store, and not a local path."""
    return location.partition("://")[0] in SCHEMES and "://" in location


def split(uri: str) -> tuple[str, str, str]:
    """Scheme, bucket and key: `s3://models/a/b` gives `("s3", "models", "a/b")`.

    Raises:
      ValueError: it is no URI of an object store.
    """
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if not separator or scheme not in SCHEMES or not bucket:
        schemes = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ValueError(f"{uri!r} is not BUCKET/FOLDER in an object store ({schemes})")
    return scheme, bucket, key.strip("/")


def _open(uri: str) -> tuple[_Bucket, str]:
    scheme, name, key = split(uri)
    stand_in = os.environ.get(STAND_IN)
    if stand_in:
        return _FolderBucket(pathlib.Path(stand_in) / scheme / name), key
    bucket: Any = _GoogleBucket(name) if scheme == "gs" else _S3Bucket(name)
    return bucket, key


def files(uri: str) -> list[str]:
    """Names of the files under a folder, relative to it; `""` is the object of that very key.

    Args:
      uri: A folder or an object; it need not exist.

    Raises:
      RunError: the store does not answer, refuses, or has no such bucket.
    """
    return list(_tags(uri))


def fingerprint(uri: str) -> str:
    """Changes when a file under a folder is added, removed or replaced."""
    return hashlib.sha256(repr(sorted(_tags(uri).items())).encode()).hexdigest()


def _tags(uri: str) -> dict[str, str]:
    try:
        bucket, key = _open(uri)
        found = bucket.tags(key)
    except ValueError:
        raise
    except Exception as error:
        # Each store's library has its own errors, and none names the folder.
        raise RunError(
            f"{uri} cannot be listed: {type(error).__name__}: {error}. The store's address and the "
            "credentials come from the environment (docs/kubeflow.md, Credentials)."
        ) from error
    # A store's prefixes end anywhere: `a/b` would also find `a/bc`.
    return {
        name[len(key) :].lstrip("/"): tag
        for name, tag in found.items()
        if not name.endswith("/") and (not key or name == key or name.startswith(f"{key}/"))
    }


def _join(key: str, name: str) -> str:
    return "/".join(part for part in (key, name) if part)


def download(uri: str, path: pathlib.Path | str) -> list[str]:
    """Copies a folder, or one object, to a local path; returns the names copied.

    Raises:
      DataError: a name leads out of the local path. Nothing is copied then.
    """
    bucket, key = _open(uri)
    names = files(uri)
    for name in names:
        if ".." in name.split("/"):
            raise DataError(
                f"{uri}: the object {_join(key, name)!r} would be copied out of the folder it is "
                "copied to. Rename or remove it."
            )
    for name in names:
        target = pathlib.Path(path, name) if name else pathlib.Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        bucket.get(_join(key, name), target)
    return names


def upload(path: pathlib.Path | str, uri: str) -> list[str]:
    """Copies a local folder, or one file, to a URI; returns the names copied."""
    bucket, key = _open(uri)
    source = pathlib.Path(path)
    if source.is_file():
        bucket.put(source, key)
        return [""]
    found = sorted(file for file in source.rglob("*") if file.is_file())
    names = [file.relative_to(source).as_posix() for file in found]
    for name in names:
        bucket.put(source / name, _join(key, name))
    return names


def delete(uri: str) -> None:
    """Removes a folder with everything in it."""
    bucket, key = _open(uri)
    bucket.delete([_join(key, name) for name in files(uri)])


def publish(path: pathlib.Path | str, uri: str, last: str) -> None:
    """Uploads a folder so that `last` appears when everything else is there.

    A store has no renaming. The slow part, the upload, goes to a folder beside the target;
    then the store itself copies each object to its place, `last` as the last one. A failure
    before that leaves no target folder, or one without `last`.

    Args:
      path: The local folder.
      uri: The target folder.
      last: Name of the file whose presence makes the folder complete.
    """
    bucket, key = _open(uri)
    folder, _, name = key.rpartition("/")
    partial = _join(folder, f".{name}.partial")
    base = "{}://{}/".format(*split(uri))
    delete(base + partial)
    names = upload(path, base + partial)
    if last not in names:
        raise ValueError(f"{path}: {last} is missing")
    for name in [*(name for name in names if name != last), last]:
        bucket.copy(_join(partial, name), _join(key, name))
    delete(base + partial)


@contextlib.contextmanager
def local_copy(location: str) -> Iterator[pathlib.Path]:
    """A folder's content on the local disk: the folder itself, or a copy that is then removed."""
    if not is_remote(location):
        yield pathlib.Path(location)
        return
    with tempfile.TemporaryDirectory() as folder:
        download(location, folder)
        yield pathlib.Path(folder)
