"""The fingerprint of a step's code: an edit changes the steps that run it, and no others."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

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
import contextlib, json, os, pathlib, sys
folders, edits, plugins = map(json.loads, sys.argv[1:])
sys.path[:0] = folders
from components.base import code

@contextlib.contextmanager
def edited(file, text):
    path = pathlib.Path(file)
    before = path.read_text() if path.exists() else None
    path.write_text(text)
    yield
    path.unlink() if before is None else path.write_text(before)

for edit in [None, *edits]:
    # The child has read no source yet, as a new process.
    if os.fork() == 0:
        with edited(*edit) if edit else contextlib.nullcontext():
            found = {{
                step: code.fingerprint(module, plugins=tuple(plugins))
                for step, module in {STEPS!r}.items()
            }}
        print(json.dumps(found), flush=True)
        os._exit(0)
    os.wait()
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


def _fingerprints(
    folders: Sequence[pathlib.Path],
    edits: Mapping[pathlib.Path, str],
    plugins: Sequence[str] = (),
) -> list[dict[str, str]]:
    """By step, before any edit and after each, which is taken back.

    Args:
      folders: Of sources.
      edits: What a file then holds.
      plugins: What the settings name.
    """
    asked = ([str(f) for f in folders], [(str(f), text) for f, text in edits.items()], plugins)
    # Isolated, or PYTHONPATH would bring the sources of this checkout.
    done = subprocess.run(
        [sys.executable, "-I", "-c", ASK, *map(json.dumps, asked)],
        capture_output=True,
        check=True,
        text=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 1 + len(edits), done.stderr
    return found


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {step for step in STEPS if before[step] != after[step]}


OF_NOISES = {"Transform", "Tuner", "Trainer", "QualityEvaluator"}
EDITS = {
    "components/noise/gaussian.py": OF_NOISES,
    "components/base/in_order.py": {"CsvIngestion", "ImageIngestion", "Transform"},
    "components/data_validation/anomaly_gate.py": {"AnomalyGate"},
    "components/push/pushed_model.py": {"PushedModel"},
    "components/push/warm_start.py": {"WarmStart"},
    "components/push/pusher.py": {"AtomicPusher"},
    "components/push/versions.py": {"PushedModel", "WarmStart", "AtomicPusher"},
    "components/serving_check/component.py": {"ServingCheck"},
    "components/serving_check/check.py": {"ServingCheck"},
    "components/classifier/classifier.py": {"ReferenceClassifier"},
    "components/models/unet.py": {"Tuner", "Trainer", "ServingCheck"},
    "components/transform/preprocessing.py": {"Transform"},
    "components/training/entry.py": {"Trainer"},
    "components/tuning/entry.py": {"Tuner"},
    "components/base/errors.py": set(),
    "pipeline/dag.py": set(),
    # A new file of a registry changes who uses it.
    "components/noise/brand_new.py": OF_NOISES,
}
"""The steps that each changes."""


def test_an_edit_changes_the_steps_that_run_it(copy):
    paths = [copy / file for file in EDITS]
    texts = [path.read_text() if path.exists() else "" for path in paths]
    edits = {path: f"{text}\n# An edit.\n" for path, text in zip(paths, texts, strict=True)}
    before, *after = _fingerprints([copy], edits)
    for file, each in zip(EDITS, after, strict=True):
        assert _changed(before, each) == EDITS[file], file
    assert [path.read_text() if path.exists() else "" for path in paths] == texts


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


@pytest.fixture
def scanner(copy, tmp_path) -> dict[str, pathlib.Path]:
    """The files of two plug-ins, one of noises and one of models."""
    files = {name: tmp_path / name for name in PLUGIN}
    for name, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PLUGIN[name])
    return files


def test_an_edit_of_a_plugin_changes_the_steps_that_use_it(copy, scanner, tmp_path):
    of_noises = {"scanner/__init__.py", "scanner/noises.py", "scanner/optics.py", "beside.py"}
    of_noises |= {"scanner/deep/er.py", "scanner/tables.py", "scanner/table.csv"}
    (plain,) = _fingerprints([copy, tmp_path], {})
    edits = {file: PLUGIN[name] + "\n# An edit.\n" for name, file in scanner.items()}
    before, *after = _fingerprints([copy, tmp_path], edits, ["scanner.noises"])
    assert _changed(plain, before) == OF_NOISES
    for name, each in zip(scanner, after, strict=True):
        assert _changed(before, each) == (OF_NOISES if name in of_noises else set()), name


@pytest.mark.usefixtures("scanner")
def test_a_plugin_of_models_leaves_the_noises_steps_alone(copy, tmp_path):
    (plain,) = _fingerprints([copy, tmp_path], {})
    (with_models,) = _fingerprints([copy, tmp_path], {}, ["scanner.models"])
    assert _changed(plain, with_models) == {"Tuner", "Trainer", "ServingCheck"}


@pytest.mark.usefixtures("scanner")
def test_a_plugin_is_counted_as_it_is_in_this_process(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    found = {
        code.fingerprint(*start, plugins=named)
        for start in (["components.noise"], ["components.models"])
        for named in ((), ("scanner.noises",), ("scanner.models",))
    }
    assert len(found) == 4  # A registry alone changes with what registers there.
    before = code.fingerprint("components.noise", plugins=("scanner.noises",))
    assert code.fingerprint("components.noise", plugins=("scanner.noises",)) == before


def test_every_step_that_uses_a_registry_counts_the_plugins():
    """`fingerprint(…)` without the setting would answer it from the cache after an edit."""
    for module, file in code.modules().items():
        if module.startswith("components.") and "fingerprint(" in (text := file.read_text()):
            used = code._registries(code.reached([module]))
            assert not used or "plugins=" in text or module == "components.base.code", module
