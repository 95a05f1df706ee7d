"""Files out of Debian packages, as any user, without installing them."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

CONNECT_SECONDS = 10
_COMMAND_SECONDS = 300


class NotHad(Exception):
    """Why a package cannot be had."""


def unpack(package: str, folder: pathlib.Path) -> pathlib.Path:
    """Downloads a package, whose SHA-256 apt holds against its signed index, and unpacks it.

    Args:
      package: Its name.
      folder: A new one, absolute.

    Returns:
      The folder with its files, as they would lie below /.

    Raises:
      NotHad: it cannot be downloaded or unpacked; says why.
    """
    for command in ("apt-get", "dpkg-deb"):
        if shutil.which(command) is None:
            raise NotHad(f"there is no {command}")
    folder.mkdir(parents=True)
    apt = ["apt-get", "-q", "-o", f"Acquire::http::Timeout={CONNECT_SECONDS}"]
    try:
        _command([*apt, "download", package], folder)
    except NotHad:
        # The package lists are missing or older than the archive: fetch them, privately.
        state, cache = folder / "state", folder / "cache"
        (state / "lists" / "partial").mkdir(parents=True)
        (cache / "archives" / "partial").mkdir(parents=True)
        apt += ["-o", f"Dir::State={state}", "-o", f"Dir::State::lists={state}/lists"]
        apt += ["-o", "Dir::State::status=/var/lib/dpkg/status", "-o", f"Dir::Cache={cache}"]
        apt += ["-o", "APT::Sandbox::User="]
        _command([*apt, "update"], folder)
        _command([*apt, "download", package], folder)
    for file in folder.glob(f"{package}_*.deb"):
        _command(["dpkg-deb", "-x", str(file), str(folder / "files")], folder)
    return folder / "files"


def _command(command: list[str], folder: pathlib.Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise NotHad(f"{command[0]} took longer than {_COMMAND_SECONDS} s") from None
    except OSError as error:
        raise NotHad(str(error)) from error
    if done.returncode:
        complaint = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise NotHad(complaint[-1] if complaint else f"{command[0]} failed")
