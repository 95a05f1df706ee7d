"""The project's own sources: which module imports which, and a fingerprint of all that a step runs.

A step is answered from the cache only while its fingerprint stays. It follows from the imports, so
that no list has to be kept: too wide a fingerprint costs a cold cache, a stale list a wrong answer.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import pathlib
import re
from collections.abc import Iterable, Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("components", "serving", "pipeline")
TEMPLATES = ("*.j2", "*.css")
"""Files that a module may read from its own folder."""
NO_RESULT = frozenset(
    f"components.base.{name}"
    for name in ("child", "code", "errors", "libraries", "places", "progress", "settings")
)
"""Their code decides no result: settings and places reach the cache's key as values."""

_DOTTED = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)+")


@functools.cache
def modules() -> dict[str, pathlib.Path]:
    """Every module of the three packages with its file."""
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
    }


def module_of(name: str) -> str | None:
    """The module that a dotted name is, or is in: `components.noise.parse` is in
    `components.noise`. None if it is none of ours."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


def dotted_names(module: str) -> Iterator[str]:
    """The dotted names that a module holds as strings, such as the `run_fn` TFX is given."""
    for node in ast.walk(_tree(module)):
        value = node.value if isinstance(node, ast.Constant) else None
        # `pipeline.yaml` names no module.
        if isinstance(value, str) and _DOTTED.fullmatch(value) and module_of(value) not in PACKAGES:
            yield value


@functools.cache
def imports(module: str) -> frozenset[str]:
    """The modules of this project that a module imports, in functions too, or names in strings."""
    names = set(dotted_names(module))
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found for name in names if (found := module_of(name)) and found != module)


def reached(start: Iterable[str]) -> set[str]:
    """The modules given and all they import, directly or not. Of a registry, every module.

    Those of NO_RESULT are left out, and so is what only they import.
    """
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        module = waiting.pop()
        if module in found or module in NO_RESULT:
            continue
        found.add(module)
        waiting += imports(module)
        if _is_registry(module):
            waiting += [name for name in modules() if name.startswith(f"{module}.")]
    return found


@functools.cache
def fingerprint(*start: str) -> str:
    """Changes with the source of these modules, of all they import here, and of their templates.

    Args:
      start: Dotted names of modules.

    Returns:
      16 hexadecimal digits.
    """
    files = {modules()[module] for module in reached(start)}
    for folder in {file.parent for file in files}:
        files |= {file for pattern in TEMPLATES for file in folder.glob(pattern)}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_bytes())


def _is_registry(module: str) -> bool:
    """Whether a package imports whatever lies in its folder."""
    return modules()[module].name == "__init__.py" and any(
        isinstance(node, ast.Import) and node.names[0].name == "pkgutil"
        for node in ast.walk(_tree(module))
    )
