"""The plan of the house: three floors, and arrows that only go down.

    pipeline/ ──► serving/ ──► components/

A module may import its own floor or a lower one. Within a package the folders are floors too.
Imports inside functions count, and so do modules that are named in strings.
"""

from __future__ import annotations

import ast

import pytest

from components.base import code

FLOORS = {
    "components": (
        {"base"},
        {"image", "page"},
        {"noise", "models", "filters"},
        {"csv_ingestion"},
        {"image_ingestion"},
        {"ingestion"},
        {"data_validation", "transform", "export"},
        {"evaluation"},
        {"training"},
        {"tuning", "push", "classifier", "serving_check", "pretrained"},
        {"report"},
    ),
    "serving": ({"protocol"}, {"client", "models"}, {"calls"}, {"server"}, {"predict"}),
    "pipeline": (
        {"bootstrap", "debian", "dead_leaves"},
        {
            "config",
            "dag",
            "display",
            "clothing",
            "fashion_mnist",
            "photographs",
            "stopping",
            "workspace",
        },
        {"history"},
        {"runners", "benchmark"},
        {"commands"},
        {"cli"},
    ),
}
"""From the ground up, by package."""
REGISTRIES = {"components.filters", "components.models", "components.noise"}
MODULES = sorted(code.modules())


def _floor(module: str) -> tuple[int, int]:
    package, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    floors = [number for number, names in enumerate(FLOORS[package]) if name in names]
    assert floors or not name, f"{module}: say in FLOORS on which floor {package}/{name} is"
    return code.PACKAGES.index(package), floors[0] if floors else len(FLOORS[package])


@pytest.mark.parametrize("module", MODULES)
def test_no_import_goes_up(module):
    up = [other for other in code.imports(module) if _floor(other) > _floor(module)]
    assert not up, f"{module} imports {up}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.endswith(".result")])
def test_what_a_step_wrote_is_read_without_the_step(module):
    folder = module.rpartition(".")[0]
    of_the_step = [other for other in code.imports(module) if other.startswith(f"{folder}.")]
    assert not of_the_step


@pytest.mark.parametrize("module", MODULES)
def test_a_dotted_name_in_a_string_exists(module):
    for name in code.dotted_names(module):
        owner = code.module_of(name)
        assert owner is not None
        rest = name.removeprefix(owner).lstrip(".")
        assert not rest or rest in _defined(owner), f"{module} names {name}"


def _defined(module: str) -> set[str]:
    tree = ast.parse(code.modules()[module].read_bytes())
    return {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}


@pytest.mark.parametrize("module", MODULES)
def test_a_folder_holds_a_docstring_only(module):
    file = code.modules()[module]
    if file.name != "__init__.py" or module in {*REGISTRIES, "serving", "serving.client"}:
        return
    tree = ast.parse(file.read_bytes())
    assert len(tree.body) == 1
    assert ast.get_docstring(tree)


def test_the_client_needs_neither_tensorflow_nor_the_components():
    reached = code.reached(["serving", "serving.client"])
    assert not [module for module in reached if not module.startswith("serving")]
    for module in reached:
        for node in ast.walk(ast.parse(code.modules()[module].read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            assert not [name for name in names if name.partition(".")[0] in ("tensorflow", "keras")]
