"""Makes `.venv` from requirements.lock: `python3 pipeline/bootstrap.py`.

Runs on the standard library alone, under any Python 3.10 or newer, before
anything is installed. requirements.lock holds two dependency sets, told apart
by environment markers: TFX 1.16 on Python 3.10 for glibc before 2.39, TFX 1.21
on Python 3.11 to 3.13 for glibc 2.39 and newer (the wheels of TFDV and
ml-metadata 1.21 need it). So the C library picks the Python, and the Python
picks the set.

A second call compares one fingerprint and returns at once.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = pathlib.Path(os.environ.get("DENOISE_VENV", ROOT / ".venv"))
STAMP = VENV / ".bootstrap"
MODERN_GLIBC = (2, 39)


def wanted_pythons(glibc: tuple[int, ...]) -> tuple[str, ...]:
    """Python versions whose dependency set runs on this C library, best first."""
    return ("3.12", "3.11", "3.13") if glibc >= MODERN_GLIBC else ("3.10",)


def glibc_version() -> tuple[int, ...]:
    """The C library's version, such as (2, 36).

    Raises:
      SystemExit: this is not x86-64 Linux with glibc, so no wheels would fit.
    """
    name, version = platform.libc_ver()
    if name != "glibc" or platform.machine() != "x86_64":
        raise SystemExit(
            f"set-up: {platform.system()} {platform.machine()} with C library "
            f"{name or 'unknown'!r} is not supported: TFX publishes wheels for x86-64 Linux "
            "with glibc only. Use the Docker image instead (see Dockerfile)."
        )
    return tuple(int(part) for part in version.split("."))


def fingerprint() -> str:
    """Changes when the environment has to be made again."""
    digest = hashlib.sha256(sys.platform.encode())
    for name in ("requirements.lock", "pyproject.toml", "setup.py", "pipeline/bootstrap.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _runs(python: str | os.PathLike[str], version: str) -> bool:
    """Whether `python` starts and is `version`: a pyenv shim may exist and fail."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def find_python(uv: str, versions: tuple[str, ...]) -> str:
    """Path of an interpreter of one of `versions`; uv downloads one as a last resort.

    Raises:
      SystemExit: there is none and none could be downloaded.
    """
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv")) / "versions"
    for version in versions:
        candidates = [sys.executable, shutil.which(f"python{version}")]
        candidates += sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)
        for candidate in candidates:
            if candidate and _runs(candidate, version):
                return str(candidate)
    for version in versions:
        # pyenv's shims stop uv's own search, so it only looks among its own downloads.
        find = [uv, "python", "find", "--python-preference", "only-managed", version]
        install = [uv, "python", "install", version]
        for command in (find, install, find):
            done = subprocess.run(command, capture_output=True, text=True)
            if command is find and done.returncode == 0:
                return done.stdout.strip()
    raise SystemExit(
        f"set-up: no Python {' or '.join(versions)} was found (looked at this interpreter, PATH, "
        f"{pyenv} and uv's own) and uv could not download one. Install one, for example with "
        f"`pyenv install {versions[0]}`, and call make again."
    )


def find_uv() -> str:
    """Path of uv; installed with pip beside the environment where it is missing.

    Raises:
      SystemExit: uv is missing and pip could not install it.
    """
    tools = VENV.parent / f"{VENV.name}-uv"
    for candidate in (tools / "bin" / "uv", pathlib.Path(sysconfig.get_path("scripts")) / "uv"):
        if candidate.exists():
            return str(candidate)
    on_path = shutil.which("uv")
    if on_path and subprocess.run([on_path, "--version"], capture_output=True).returncode == 0:
        return on_path
    # --target keeps clear of the system's own packages (PEP 668) and needs no venv module.
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tools), "uv"]
    if subprocess.run(command).returncode != 0:
        raise SystemExit(
            "set-up: uv is missing and pip could not install it. Install pip "
            "(`apt-get install python3-pip`) or uv itself, and call make again."
        )
    return str(tools / "bin" / "uv")


def main() -> None:
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    versions = wanted_pythons(glibc_version())
    uv = find_uv()
    python = find_python(uv, versions)
    print(f"set-up: making {VENV} with {python} (about 3 GB, once)", flush=True)
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV)}
    environment.pop("PYENV_VERSION", None)
    target = ["--python", str(VENV / "bin" / "python")]
    for command in (
        [uv, "venv", "--quiet", "--clear", "--seed", "--python", python, str(VENV)],
        [uv, "pip", "sync", *target, "requirements.lock"],
        [uv, "pip", "install", *target, "--quiet", "--no-deps", "--editable", "."],
    ):
        if subprocess.run(command, cwd=ROOT, env=environment).returncode != 0:
            raise SystemExit(f"set-up: `{' '.join(command)}` failed; its message is above.")
    STAMP.write_text(wanted)


if __name__ == "__main__":
    main()
