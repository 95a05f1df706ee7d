"""The project's own sources: which module imports which, and a fingerprint of all that a step runs.

A step is answered from the cache only while its fingerprint stays. It follows from the imports, so
that no list has to be kept: too wide a fingerprint costs a cold cache, a stale list a wrong answer.
The sources of plug-ins count as ours do.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import pathlib
import re
import site
import sysconfig
from collections.abc import Iterable, Iterator

from components.base import plugins as plug_ins

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("components", "serving", "pipeline")
TEMPLATES = ("*.j2", "*.css")
"""Files that a module may read from its own folder."""
NO_RESULT = frozenset(
    f"components.base.{name}"
    for name in (
        "child",
        "code",
        "errors",
        "libraries",
        "places",
        "plugins",
        "progress",
        "settings",
    )
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
    yield from _dotted_names(_tree(module))


def _dotted_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Constant) else None
        # `pipeline.yaml` names no module.
        if isinstance(value, str) and _DOTTED.fullmatch(value) and module_of(value) not in PACKAGES:
            yield value


@functools.cache
def imports(module: str) -> frozenset[str]:
    """The modules of this project that a module imports, in functions too, or names in strings."""
    names = _imported(_tree(module))
    return frozenset(found for name in names if (found := module_of(name)) and found != module)


def _imported(tree: ast.Module, package: str = "") -> set[str]:
    """The dotted names that a module imports, or holds as strings.

    Args:
      tree: The module.
      package: The one it is in, for relative imports.
    """
    names = set(_dotted_names(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            parts = [*parents[: len(parents) + 1 - node.level]] if node.level else []
            base = ".".join([*parts, *filter(None, [node.module])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


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
def fingerprint(*start: str, plugins: tuple[str, ...] = ()) -> str:
    """Changes with the source of these modules, of all they import here, and of their templates.

    And with that of the plug-ins, installed ones too, which register what these modules use.

    Args:
      start: Dotted names of modules.
      plugins: The setting.

    Returns:
      16 hexadecimal digits.

    Raises:
      UsageError: there is no such plug-in.
    """
    ours = reached(start)
    others: dict[str, pathlib.Path] = {}
    for plugin in dict.fromkeys((*plug_ins.installed(), *plugins)):
        found = _Plugin(plugin)
        if found.registers_in & _registries(ours):
            ours |= found.ours
            others |= found.files
    files = {modules()[module] for module in ours}
    for folder in {file.parent for file in files}:
        files |= {file for pattern in TEMPLATES for file in folder.glob(pattern)}
    named = {file.relative_to(ROOT).as_posix(): file for file in files} | others
    digest = hashlib.sha256()
    for name, file in sorted(named.items()):
        digest.update(name.encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _registries(ours: Iterable[str]) -> set[str]:
    """The registries that modules of ours are, or are in."""
    return {
        registry
        for registry in plug_ins.REGISTRIES
        for module in ours
        if f"{module}.".startswith(f"{registry}.")
    }


class _Plugin:
    """The sources of a plug-in: its module and what that imports.

    Of an installed package only its own modules are followed, of any other what lies beside it
    too. What is no module in the folder of one counts as well: it may be read.

    Args:
      name: Of its module.

    Raises:
      UsageError: there is none.
    """

    def __init__(self, name: str):
        self._top = name.partition(".")[0]
        folder = _folder(self._top, name)
        if folder is None:
            raise plug_ins.missing(name)
        self._folder = folder
        self.files: dict[str, pathlib.Path] = {}
        """By their path under the folder that the package is in."""
        self.ours = reached(self._follow(name))
        """The modules of this project that it uses."""
        self.registers_in = _registries(self.ours) or set(plug_ins.REGISTRIES)

    def _follow(self, name: str) -> set[str]:
        """Collects the files; returns the modules of ours that they import."""
        ours: set[str] = set()
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if own := module_of(name):
                ours.add(own)
                continue
            parent, _, _ = name.rpartition(".")
            if str(self._folder) in _SITE and name.partition(".")[0] != self._top:
                continue
            waiting += [parent] if parent else []
            file = _file(self._folder, name)
            if file is not None:
                self._take(file)
                if file.suffix == ".py":
                    package = name if file.name == "__init__.py" else parent
                    waiting += self._imported(file, package)
        return ours

    def _imported(self, file: pathlib.Path, package: str) -> set[str]:
        try:
            names = _imported(_parsed(file), package)
        except SyntaxError:  # Loading it says more.
            return set()
        if any(name.partition(".")[0] in ("pkgutil", "importlib") for name in names) and package:
            # It may import whatever lies in its folder.
            names |= {f"{package}.{other.stem}" for other in file.parent.glob("*.py")}
        return names

    def _take(self, file: pathlib.Path) -> None:
        files = {file}
        if file.parent != self._folder:
            files |= {each for each in file.parent.glob("[!.]*.*") if each.suffix != ".py"}
        self.files |= {
            each.relative_to(self._folder).as_posix(): each for each in files if each.is_file()
        }


def _folder(top: str, module: str) -> pathlib.Path | None:
    """The folder that a package is in which has a module; None: there is no such package."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    places = [*(spec.submodule_search_locations or []), spec.origin] if spec else []
    folders = (pathlib.Path(place).parent for place in places if place)
    return next((folder for folder in folders if _file(folder, module)), None)


def _file(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """The file of a module, compiled or not; None: there is none."""
    path = folder.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return file
    return next(path.parent.glob(f"{path.name}.*.so"), None)


_SITE = frozenset(
    {*site.getsitepackages(), site.getusersitepackages(), *sysconfig.get_paths().values()}
)
"""Folders of installed packages."""


@functools.cache
def _tree(module: str) -> ast.Module:
    return _parsed(modules()[module])


def _parsed(file: pathlib.Path) -> ast.Module:
    return ast.parse(file.read_bytes())


def _is_registry(module: str) -> bool:
    """True if a package imports whatever lies in its folder."""
    return modules()[module].name == "__init__.py" and any(
        isinstance(node, ast.Import) and node.names[0].name == "pkgutil"
        for node in ast.walk(_tree(module))
    )
