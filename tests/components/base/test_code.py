"""The fingerprint of a step's code: an edit changes the steps that run it, and no others."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from components.base import code

STEPS = {
    "CsvIngestion": "components.csv_ingestion.component",
    "ImageIngestion": "components.image_ingestion.component",
    "AnomalyGate": "components.data_validation.anomaly_gate",
    "Transform": "components.transform.component",
    "WarmStart": "components.push.warm_start",
    "Tuner": "components.tuning.component",
    "Trainer": "components.training.component",
    "PushedModel": "components.push.pushed_model",
    "QualityEvaluator": "components.evaluation.component",
    "ServingCheck": "components.serving_check.component",
    "AtomicPusher": "components.push.pusher",
    "ReferenceClassifier": "components.classifier.component",
}
ASK = f"""
import json
from components.base import code
print(json.dumps({{step: code.fingerprint(module) for step, module in {STEPS!r}.items()}}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> pathlib.Path:
    """The project's sources, to be edited."""
    folder = tmp_path_factory.mktemp("project")
    for package in code.PACKAGES:
        shutil.copytree(
            code.ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder


def _fingerprints(folder: pathlib.Path) -> dict[str, str]:
    # Isolated, or PYTHONPATH would bring the sources of this checkout.
    script = f"import sys; sys.path.insert(0, {str(folder)!r})\n{ASK}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, check=True, text=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        (
            "components/noise/gaussian.py",
            {"Transform", "Tuner", "Trainer", "QualityEvaluator"},
        ),
        ("components/base/in_order.py", {"CsvIngestion", "ImageIngestion", "Transform"}),
        ("components/data_validation/anomaly_gate.py", {"AnomalyGate"}),
        ("components/push/pushed_model.py", {"PushedModel"}),
        ("components/push/warm_start.py", {"WarmStart"}),
        ("components/push/pusher.py", {"AtomicPusher"}),
        ("components/push/versions.py", {"PushedModel", "WarmStart", "AtomicPusher"}),
        ("components/serving_check/component.py", {"ServingCheck"}),
        ("components/serving_check/check.py", {"ServingCheck"}),
        ("components/classifier/classifier.py", {"ReferenceClassifier"}),
        ("components/models/unet.py", {"Tuner", "Trainer", "ServingCheck"}),
        ("components/transform/preprocessing.py", {"Transform"}),
        ("components/training/entry.py", {"Trainer"}),
        ("components/tuning/entry.py", {"Tuner"}),
        ("components/base/errors.py", set()),
        ("pipeline/dag.py", set()),
    ],
)
def test_an_edit_changes_the_steps_that_run_it(copy, file, changed):
    path = copy / file
    before, source = _fingerprints(copy), path.read_text()
    path.write_text(source + "\n# An edit.\n")
    try:
        after = _fingerprints(copy)
    finally:
        path.write_text(source)
    assert {step for step in STEPS if before[step] != after[step]} == changed


def test_a_new_file_of_a_registry_changes_who_uses_it(copy):
    before = _fingerprints(copy)
    new = copy / "components" / "noise" / "brand_new.py"
    new.write_text("")
    try:
        after = _fingerprints(copy)
    finally:
        new.unlink()
    changed = {step for step in STEPS if before[step] != after[step]}
    assert changed == {"Transform", "Tuner", "Trainer", "QualityEvaluator"}


def test_the_page_is_part_of_the_report_alone():
    page = "components.report.page"
    assert page in code.reached(["components.report.component"])
    assert not any(page in code.reached([module]) for module in STEPS.values())


def test_a_dotted_name_belongs_to_the_module_it_is_in():
    assert code.module_of("components.noise.parse") == "components.noise"
    assert code.module_of("components.training.entry.run_fn") == "components.training.entry"
    assert code.module_of("numpy.linalg") is None


PLUGIN = {
    "scanner/__init__.py": "",
    "scanner/noises.py": "from components.noise import register\n"
    "from . import optics\nimport beside",
    "scanner/optics.py": "import numpy\nimport scanner.deep.er",
    "scanner/deep/er.py": "from ..tables import TABLE",
    "scanner/tables.py": "TABLE = 1",
    "scanner/table.csv": "1,2",
    "scanner/other.py": "",
    "scanner/models.py": "from components.models import register",
    "beside.py": "",
    "unused.py": "",
}
OF_NOISES = {"Transform", "Tuner", "Trainer", "QualityEvaluator"}


@pytest.fixture
def scanner(copy, tmp_path) -> dict[str, pathlib.Path]:
    """The files of two plug-ins, one of noises and one of models."""
    files = {name: tmp_path / name for name in PLUGIN}
    for name, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PLUGIN[name])
    return files


def _with_plugins(copy: pathlib.Path, folder: pathlib.Path, *plugins: str) -> dict[str, str]:
    script = f"""
import json, sys
sys.path[:0] = [{str(copy)!r}, {str(folder)!r}]
from components.base import code
print(json.dumps({{
    step: code.fingerprint(module, plugins={plugins!r}) for step, module in {STEPS!r}.items()
}}))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, check=True, text=True
    )
    return json.loads(done.stdout)


def test_an_edit_of_a_plugin_changes_the_steps_that_use_it(copy, scanner, tmp_path):
    of_noises = {"scanner/__init__.py", "scanner/noises.py", "scanner/optics.py", "beside.py"}
    of_noises |= {"scanner/deep/er.py", "scanner/tables.py", "scanner/table.csv"}
    before = _with_plugins(copy, tmp_path, "scanner.noises")
    assert {step for step in STEPS if before[step] != _fingerprints(copy)[step]} == OF_NOISES
    for name, file in scanner.items():
        file.write_text(PLUGIN[name] + "\n# An edit.\n")
        after = _with_plugins(copy, tmp_path, "scanner.noises")
        file.write_text(PLUGIN[name])
        changed = {step for step in STEPS if before[step] != after[step]}
        assert changed == (OF_NOISES if name in of_noises else set()), name


def test_a_plugin_of_models_leaves_the_noises_steps_alone(copy, scanner, tmp_path):
    plain, with_models = _fingerprints(copy), _with_plugins(copy, tmp_path, "scanner.models")
    changed = {step for step in STEPS if plain[step] != with_models[step]}
    assert changed == {"Tuner", "Trainer", "ServingCheck"}


def test_every_step_that_uses_a_registry_counts_the_plugins():
    """`fingerprint(…)` without the setting would answer it from the cache after an edit."""
    for module, file in code.modules().items():
        if module.startswith("components.") and "fingerprint(" in (text := file.read_text()):
            used = code._registries(code.reached([module]))
            assert not used or "plugins=" in text or module == "components.base.code", module
