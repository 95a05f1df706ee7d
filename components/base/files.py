"""Files written whole or not at all, and told apart whatever they are called."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from components.base.errors import DataError, UsageError


@contextlib.contextmanager
def whole(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens a file for writing that takes its name only when the block ends without an error.

    Until then the bytes are in a dot file beside it, so a process that is killed leaves the old
    file, or none. A link keeps pointing to the file; a device or a pipe is written to directly.

    Args:
      path: The file; missing folders are made.
      mode: "wb", or "w" for UTF-8 text.

    Yields:
      The open file.
    """
    target = pathlib.Path(os.path.realpath(path))
    encoding = None if "b" in mode else "utf-8"
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, mode, encoding=encoding) as file:
            yield file
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own length: the target's may already be as long as a name can be.
    partial = target.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with open(partial, mode.replace("w", "x"), encoding=encoding) as file:
            yield file
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a value as JSON, whole or not at all.

    Raises:
      ValueError: a number is infinite or not a number, which JSON does not know.
    """
    with whole(path, "w") as file:
        json.dump(value, file, indent=2, allow_nan=False)
        file.write("\n")


def digest(value: Any) -> str:
    """A fingerprint of plain values: 16 hexadecimal digits, the same for equal JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def shown(path: str | os.PathLike[str]) -> str:
    """A path as people and strict encodings can read it: bytes that are not UTF-8, and control
    characters such as line ends, are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_file(path: str | os.PathLike[str]) -> None:
    """Refuses what cannot be read from its beginning to its end, and again.

    Opening a named pipe would wait for somebody to write to it.

    Raises:
      DataError: it is no regular file nor a link to one; names it and says what it is.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        reason = error.strerror or str(error)
        if os.path.islink(path):
            reason = f"a link to {shown(os.readlink(path))}: {reason}"
        raise DataError(f"{shown(path)} cannot be read: {reason}.") from error
    kind = next((kind for is_kind, kind in _KINDS if is_kind(mode)), None)
    if kind is not None:
        raise DataError(f"{shown(path)} cannot be read: it is {kind}, expected a file.")


def refuse_inputs(
    outputs: Iterable[str | os.PathLike[str]], inputs: Iterable[str | os.PathLike[str]]
) -> None:
    """Refuses to write a file, or into a folder, that is one of the inputs.

    Files are compared themselves, not their names: another path, a link and a hard link to the
    same file are found.

    Args:
      outputs: Files and folders to be written; they need not exist.
      inputs: Files and folders to be read.

    Raises:
      UsageError: one is both; says which.
    """
    by_file = {_identity(path): path for path in inputs}
    for path in outputs:
        found = by_file.get(_identity(path))
        if found is not None:
            same = "" if os.fspath(found) == os.fspath(path) else f", the same as {shown(found)},"
            raise UsageError(
                f"{shown(path)}{same} is an input and would be overwritten. Write elsewhere."
            )


def _identity(path: str | os.PathLike[str]) -> object:
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def signed(text: str) -> str:
    """A text with a first line by which it is recognised as ours while nobody has changed it.

    The line is a comment in YAML and in protocol buffers' text format.
    """
    return f"{_SIGNATURE}{_digest(text)}\n{text}"


def is_signed(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds what `signed` gave, unchanged."""
    try:
        first, _, text = pathlib.Path(path).read_text("utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return False
    return first == f"{_SIGNATURE}{_digest(text)}"


def is_json_with(path: str | os.PathLike[str], *names: str) -> bool:
    """Whether a file holds a JSON object with these members."""
    try:
        value = json.loads(pathlib.Path(path).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and set(names) <= value.keys()


_SIGNATURE = "# Written by denoise; SHA-256 of what follows: "


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def refuse_others(
    outputs: Iterable[str | os.PathLike[str]],
    ours: Callable[[str | os.PathLike[str]], bool],
    overwrite: bool,
) -> None:
    """Refuses to overwrite what exists and was not made by the command, or was changed since.

    Args:
      outputs: What will be written.
      ours: Whether something that exists is what the command made.
      overwrite: The user said that whatever is there may be overwritten.

    Raises:
      UsageError: names what exists.
    """
    for path in outputs:
        if not overwrite and os.path.lexists(path) and not ours(path):
            raise UsageError(
                f"{shown(path)} exists, and is not as this command made it. Write elsewhere, or "
                "give --overwrite to replace it."
            )


_PATTERN_CHARACTERS = frozenset("*?[]{}\\")


@contextlib.contextmanager
def plainly_named(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path for a library that takes what it is given for a pattern, or for UTF-8.

    Yields:
      The path itself, or a link to it whose name has no such characters.
    """
    import tempfile

    text = os.fspath(path)
    if text.isprintable() and not _PATTERN_CHARACTERS & set(text):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="denoise-") as folder:
        link = pathlib.Path(folder, "link")
        link.symlink_to(path.absolute(), target_is_directory=path.is_dir())
        yield link


def escape_pattern(path: str) -> str:
    """A path as a pattern that matches itself alone, for TensorFlow's and Beam's file systems.

    In them `*`, `?` and `[` are special, and a backslash takes that away; `{` is not.
    """
    return re.sub(r"[*?[]", r"[\g<0>]", path.replace("\\", "\\\\"))
