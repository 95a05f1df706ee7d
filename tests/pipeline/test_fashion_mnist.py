"""Where Fashion-MNIST is looked for, what is checked, and what a data folder is."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import logging
import os
import pathlib
import shutil
import socketserver
import struct
import threading
import tracemalloc

import numpy as np
import pytest

from components.base.errors import DataError
from components.csv_ingestion import data_folder
from pipeline import fashion_mnist as data
from tests import clothing


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A Fashion-MNIST of 50 and 20 images, of which no source knows; returns its idx files."""
    files, contents = {}, {}
    for split, prefix, count in (("train", "train", 50), ("test", "t10k", 20)):
        images, labels = clothing.images(count, seed=count)
        described = []
        for name, magic, array in (
            (f"{prefix}-images-idx3-ubyte", 2051, images.reshape(count, 28, 28)),
            (f"{prefix}-labels-idx1-ubyte", 2049, labels.astype(np.uint8)),
        ):
            content = struct.pack(f">{1 + array.ndim}i", magic, *array.shape) + array.tobytes()
            contents[name] = content
            digest = hashlib.sha256(content).hexdigest()
            described.append(data._IdxFile(name, digest, array.shape))
        files[split] = tuple(described)
    monkeypatch.setattr(data, "_FILES", files)
    monkeypatch.setattr(data, "_SYSTEM_FOLDER", tmp_path / "system" / "fashion-mnist")
    # Nothing listens on the discard port, so this is refused at once.
    monkeypatch.setattr(data, "_OFFICIAL_URL", "http://127.0.0.1:9")
    monkeypatch.delenv(data.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    return contents


def write(contents: dict[str, bytes], folder: pathlib.Path, *, gz: bool = False) -> pathlib.Path:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / f"{name}{'.gz' * gz}").write_bytes(gzip.compress(content) if gz else content)
    return folder


def assert_whole(folder: pathlib.Path) -> None:
    for split, count in (("train", 50), ("test", 20)):
        path = folder / split / f"fashion-mnist_{split}.csv"
        assert path.read_text().startswith("label,pixel1,pixel2,")
        table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.int64)
        images, labels = clothing.images(count, seed=count)
        np.testing.assert_array_equal(table[:, 0], labels)
        np.testing.assert_array_equal(table[:, 1:], images.reshape(count, 784))
    assert [path.name for path in folder.parent.iterdir()] == ["data"]


@pytest.mark.parametrize("gz", [False, True])
def test_from_the_folder_named_in_the_environment(tmp_path, tiny, monkeypatch, gz):
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(write(tiny, tmp_path / "mine", gz=gz)))
    folder = data.fashion_mnist(tmp_path / "workspace")
    assert folder == tmp_path / "workspace" / "data"
    assert_whole(folder)


def test_from_the_system_folder(tmp_path, tiny):
    write(tiny, data._SYSTEM_FOLDER, gz=True)
    assert_whole(data.fashion_mnist(tmp_path / "workspace"))


def test_from_its_authors(tmp_path, tiny, monkeypatch, caplog):
    served = write(tiny, tmp_path / "served", gz=True)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(data, "_OFFICIAL_URL", f"http://127.0.0.1:{server.server_port}")
        with caplog.at_level(logging.INFO, "denoise.progress"):
            assert_whole(data.fashion_mnist(tmp_path / "workspace"))
        server.shutdown()
    assert "downloading train-images-idx3-ubyte.gz" in caplog.messages
    last = caplog.records[-1]
    assert (last.step, last.done, last.total) == ("data", 70, 70)


APT_GET = """#!/bin/sh
case "$*" in
  *update*) test -d "{folder}" ;;
  *state*download*) cp -r "{folder}" dataset-fashion-mnist_1_all.deb ;;
  *) {without_update} ;;
esac
"""
DPKG_DEB = """#!/bin/sh
mkdir -p "$3{system}" && cp "$2"/* "$3{system}/"
"""


@pytest.mark.parametrize("lists_are_there", [True, False])
def test_from_the_debian_package(tmp_path, tiny, monkeypatch, lists_are_there):
    packed = write(tiny, tmp_path / "packed", gz=True)
    monkeypatch.setattr(data, "_SYSTEM_FOLDER", pathlib.Path("/no/such/folder"))
    without_update = (
        f'cp -r "{packed}" dataset-fashion-mnist_1_all.deb'
        if lists_are_there
        else "echo E: Unable to locate package >&2; exit 100"
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (
        ("apt-get", APT_GET.format(folder=packed, without_update=without_update)),
        ("dpkg-deb", DPKG_DEB.format(system=data._SYSTEM_FOLDER)),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    # Relative, as on the command line: the programs are called in another folder.
    monkeypatch.chdir(tmp_path)
    assert_whole(data.fashion_mnist(pathlib.Path("workspace")))


def test_what_is_there_is_kept(tmp_path, tiny):
    mine = clothing.write_csvs(tmp_path / "data", train=3, test=3)
    before = (mine / "train" / "clothing-1.csv").read_bytes()
    assert data.fashion_mnist(tmp_path) == mine
    assert (mine / "train" / "clothing-1.csv").read_bytes() == before


def test_half_a_folder_is_not_taken_for_data(tmp_path, tiny):
    write(tiny, data._SYSTEM_FOLDER)
    clothing.write_csvs(tmp_path / "data", train=3, test=3)
    shutil.rmtree(tmp_path / "data" / "test")
    with pytest.raises(DataError, match=r"has no test/\*\.csv"):
        data.fashion_mnist(tmp_path)


def test_nothing_is_left_of_a_conversion_that_fails(tmp_path, tiny, monkeypatch):
    write(tiny, data._SYSTEM_FOLDER)

    def full(table):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data, "_csv", full)
    with pytest.raises(DataError, match=r"cannot be written: .*No space left"):
        data.fashion_mnist(tmp_path / "workspace")
    assert os.listdir(tmp_path / "workspace") == []


def test_a_run_that_finishes_first_is_as_good(tmp_path, tiny, monkeypatch):
    write(tiny, data._SYSTEM_FOLDER)
    find = data._find

    def slow(scratch):
        found = find(scratch)
        monkeypatch.setattr(data, "_find", find)
        data.fashion_mnist(tmp_path / "workspace")
        return found

    monkeypatch.setattr(data, "_find", slow)
    assert_whole(data.fashion_mnist(tmp_path / "workspace"))


def test_other_content_is_never_taken(tmp_path, tiny, monkeypatch):
    changed = dict(tiny)
    name = "t10k-images-idx3-ubyte"
    changed[name] = changed[name][:-1] + bytes([changed[name][-1] ^ 1])
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(write(changed, tmp_path / "mine")))
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte is not the published one"):
        data.fashion_mnist(tmp_path / "workspace")
    write(tiny, data._SYSTEM_FOLDER)
    assert_whole(data.fashion_mnist(tmp_path / "workspace"))


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: b"no gzip"])
def test_a_damaged_archive_is_passed_over(tmp_path, tiny, damage):
    folder = write(tiny, data._SYSTEM_FOLDER, gz=True)
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="train-labels-idx1-ubyte cannot be read"):
        data.fashion_mnist(tmp_path / "workspace")


@pytest.mark.parametrize("bomb", ["gzip", "plain"])
def test_what_is_far_too_large_is_not_read_to_its_end(tmp_path, tiny, bomb):
    write(tiny, data._SYSTEM_FOLDER, gz=bomb == "gzip")
    file = next(data._SYSTEM_FOLDER.glob("train-images*"))
    if bomb == "gzip":
        with gzip.open(file, "wb", compresslevel=1) as stream:
            for _ in range(300):
                stream.write(bytes(1 << 20))
    else:
        os.truncate(file, 1 << 40)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is not the published one"):
        data.fashion_mnist(tmp_path / "workspace")
    assert tracemalloc.get_traced_memory()[1] < 30 << 20
    tracemalloc.stop()


def test_a_download_without_end_is_given_up(tmp_path, tiny, monkeypatch):
    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(bytes(1 << 16))

        def log_message(self, *_):
            pass

    monkeypatch.setattr(data, "_DOWNLOAD_BYTES", 1 << 20)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(data, "_OFFICIAL_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(DataError, match="has more than 1 MiB"):
            data.fashion_mnist(tmp_path / "workspace")
        server.shutdown()


def test_an_answer_that_is_no_http_is_as_if_there_were_none(tmp_path, tiny, monkeypatch):
    class Other(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(1 << 16)
            self.request.sendall(b"SSH-2.0-hello\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(data, "_OFFICIAL_URL", f"http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(DataError, match=r"(?s)BadStatusLine.*apt-get download"):
            data.fashion_mnist(tmp_path / "workspace")
        server.shutdown()


def test_the_error_lists_what_was_tried_in_order(tmp_path, tiny, monkeypatch):
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(DataError) as caught:
        data.fashion_mnist(tmp_path / "workspace")
    lines = str(caught.value).splitlines()
    assert [line.strip().split(": ")[0] for line in lines[1:5]] == [
        f"$FASHION_MNIST_DIR ({tmp_path})",
        str(data._SYSTEM_FOLDER),
        "http://127.0.0.1:9",
        "apt-get download dataset-fashion-mnist",
    ]
    assert not (tmp_path / "workspace" / "data").exists()


def test_published_files():
    assert {file.name: file.dimensions for files in data._FILES.values() for file in files} == {
        "train-images-idx3-ubyte": (60_000, 28, 28),
        "train-labels-idx1-ubyte": (60_000,),
        "t10k-images-idx3-ubyte": (10_000, 28, 28),
        "t10k-labels-idx1-ubyte": (10_000,),
    }


def test_every_value_has_its_text():
    table = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = "".join(",".join(map(str, row)) + "\n" for row in table.tolist())
    assert data._csv(table) == expected.encode()


@pytest.mark.parametrize("gz", [False, True])
def test_a_data_folder(tmp_path, gz):
    folder = clothing.write_csvs(tmp_path, train=1, test=1, gz=gz)
    data_folder.check_folder(folder)
    assert not data_folder.has_spans(folder)
    assert data_folder.latest_span(folder) == folder


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_split_is_missing(tmp_path, missing):
    folder = clothing.write_csvs(tmp_path, train=1, test=1)
    for path in (folder / missing).iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(DataError, match=rf"has no {missing}/\*\.csv or {missing}/\*\.csv\.gz"):
        data_folder.check_folder(folder)


def test_not_a_folder(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        data_folder.check_folder(tmp_path / "nowhere")


def test_spans(tmp_path):
    for span in ("span-2", "span-10"):
        clothing.write_csvs(tmp_path / span, train=1, test=1)
    (tmp_path / "span-x").mkdir()
    data_folder.check_folder(tmp_path)
    assert data_folder.has_spans(tmp_path)
    assert data_folder.latest_span(tmp_path) == tmp_path / "span-10"
    shutil.rmtree(tmp_path / "span-10" / "test")
    with pytest.raises(DataError, match="span-10 has no test"):
        data_folder.check_folder(tmp_path)
