"""Files are written whole or not at all, and nothing is written over what is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from components.base.errors import UsageError
from components.base.files import (
    is_json_with,
    is_signed,
    plainly_named,
    refuse_inputs,
    refuse_others,
    shown,
    signed,
    whole,
    write_json,
)

NAMES = (
    "[a]",
    "*",
    "a?b",
    "{a}",
    "a b",
    "it's",
    '"',
    "%41",
    "#",
    "a\nb",
    "é",
    "\udcff",
)


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    with whole(path, "w") as file:
        file.write("é")
        assert not path.exists()
    assert path.read_bytes() == "é".encode()
    umask = os.umask(0o022)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    with pytest.raises(TypeError), whole(path) as file:
        file.writelines([b"half", None])
    assert path.read_bytes() == "é".encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_a_killed_process_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_text("old")
    script = (
        "import os, signal, sys\n"
        "from components.base.files import whole\n"
        "with whole(sys.argv[1], 'w') as file:\n"
        "    file.write('new' * 100000)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "a"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_text() == "old"


def test_links_keep_pointing_and_pipes_are_written_to(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with whole(tmp_path / "link") as file:
        file.write(b"1")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"1"
    read, write = os.pipe()
    with whole(f"/dev/fd/{write}") as file:
        file.write(b"2")
    assert os.read(read, 10) == b"2"
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("name", [*NAMES, "n" * 255])
def test_any_name(tmp_path, name):
    path = tmp_path / name
    with whole(path) as file:
        file.write(b"1")
    assert path.read_bytes() == b"1"
    shown(path).encode("utf-8")
    assert shown(path).isprintable()
    with plainly_named(path) as plain:
        assert plain.read_bytes() == b"1"
        assert not set("*?[]{}\\") & set(str(plain))
        str(plain).encode("utf-8")


def test_shown_escapes_what_cannot_be_read():
    assert shown("plain é") == "plain é"
    assert shown(b"a\xff\nb") == "a\\xff\\nb"


def test_inputs_are_found_by_any_path(tmp_path):
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "a.png"
    source.write_bytes(b"1")
    (tmp_path / "symbolic").symlink_to(source)
    os.link(source, tmp_path / "hard")
    (tmp_path / "folder").symlink_to(tmp_path / "in")
    outputs = (source, tmp_path / "in" / ".." / "in" / "a.png", tmp_path / "symbolic")
    for output in (*outputs, tmp_path / "hard", tmp_path / "folder" / "a.png"):
        with pytest.raises(UsageError, match=r"is an input and would be overwritten"):
            refuse_inputs([tmp_path / "other", output], [source])
    with pytest.raises(UsageError, match=r"folder, the same as .*in, is an input"):
        refuse_inputs([tmp_path / "folder"], [tmp_path / "in"])
    refuse_inputs([tmp_path / "in" / "b.png", tmp_path / "copy"], [source, tmp_path / "in"])


def test_what_was_made_here_is_recognised_until_somebody_changes_it(tmp_path):
    file = tmp_path / "schema.pbtxt"
    file.write_text(signed("feature { name: 'é' }\n"))
    assert is_signed(file)
    assert file.read_text().startswith("# ")
    with file.open("a") as stream:
        stream.write("# curated\n")
    assert not is_signed(file)


@pytest.mark.parametrize("content", [b"", b"feature {}\n", b"\xff\n", b"# Written by denoise\n"])
def test_what_others_made_is_not_ours(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert not is_signed(tmp_path / "file")
    assert not is_json_with(tmp_path / "file", "methods")


def test_what_others_made_is_overwritten_only_if_asked(tmp_path):
    mine, ours = tmp_path / "mine.yaml", tmp_path / "ours.yaml"
    mine.write_text("a: 1\n")
    ours.write_text(signed("a: 1\n"))
    refuse_others([ours, tmp_path / "new.yaml"], is_signed, overwrite=False)
    refuse_others([mine], is_signed, overwrite=True)
    with pytest.raises(UsageError, match=r"mine\.yaml exists.*--overwrite"):
        refuse_others([ours, mine], is_signed, overwrite=False)


def test_a_dangling_link_counts_as_what_exists(tmp_path):
    """Writing through it would make a file that nobody named."""
    link = tmp_path / "link.yaml"
    link.symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(UsageError, match="--overwrite"):
        refuse_others([link], is_signed, overwrite=False)


def test_json_is_recognised_by_its_members(tmp_path):
    write_json(tmp_path / "a.json", {"methods": [], "results": []})
    assert is_json_with(tmp_path / "a.json", "methods", "results")
    assert not is_json_with(tmp_path / "a.json", "methods", "outcome")
