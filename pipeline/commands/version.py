"""What is installed, without importing it: `denoise --version`, and which extra is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform

import typer

_SHOWN = {
    "denoise": "denoise-pipeline",
    "TFX": "tfx",
    "TensorFlow": "tensorflow",
    "Keras": "keras",
}
_SETS = {
    "1.16": "TFX 1.16, for a C library before glibc 2.39",
    "1.21": "TFX 1.21, for glibc 2.39 and newer",
}
_SERVE = {"serve", "predict", "pretrained", "models", "noises"}
"""Commands for which the extra `serve` is enough."""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def dependency_set() -> str:
    """Which of the sets of packages that pyproject.toml names is installed."""
    if tfx := _version("tfx"):
        return _SETS.get(".".join(tfx.split(".")[:2]), f"TFX {tfx}, which is not a locked one")
    if _version("tensorflow"):
        return "serve: without TFX, so there is no pipeline to run"
    return "light: for `denoise predict --server`"


def versions() -> dict[str, str]:
    """Versions of the project and of what it stands on, by the names people know."""
    found = {name: _version(package) or "not installed" for name, package in _SHOWN.items()}
    library, number = platform.libc_ver()
    found["Python"] = f"{platform.python_version()}, {library} {number}"
    return {**found, "packages": dependency_set()}


def show_version(asked: bool) -> None:
    """Prints `versions` and ends the command, if `--version` asks for it."""
    if not asked:
        return
    for name, version in versions().items():
        typer.echo(f"{name:<12}{version}")
    raise typer.Exit


def require(package: str) -> None:
    """Fails where a package is missing, before a command's long work that comes before its import.

    Raises:
      ModuleNotFoundError: there is no such package.
    """
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def missing_package(package: str, command: str) -> str:
    """One line: which extra brings a package that a command needs."""
    extra = "client" if package == "httpx" else "serve" if command in _SERVE else "pipeline"
    return (
        f"`denoise {command}` needs the package {package}, which is not installed: "
        f"pip install 'denoise-pipeline[{extra}]'"
    )
