"""The serving check: every signature, in a fresh process, against the trainer's outputs."""

import json
import os
import pathlib
import subprocess
import sys
import time
import types

import keras
import numpy as np
import pytest
from tfx.types import standard_artifacts

from components.export import signatures
from components.serving_check import check
from components.serving_check import component as serving_check
from components.serving_check.component import ServingCheck
from components.serving_check.result import CHECK_FILE
from components.training.result import REFERENCE_FILE
from tests import clothing, warm

SHAPE = (28, 28, 1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs))
    pixels = clothing.images(8, seed=1)[0].reshape(8, -1)
    signatures.export_servable(model, folder / "model" / "Format-Serving", SHAPE, pixels)
    denoised = np.clip(model.predict(pixels.reshape(-1, *SHAPE) / np.float32(255)), 0, 1)
    (folder / "run").mkdir()
    np.savez(folder / "run" / REFERENCE_FILE, pixels=pixels, denoised=denoised)
    return folder


@pytest.fixture
def forked(monkeypatch):
    """A check that does not take seconds to import TensorFlow: for what else is tested."""
    monkeypatch.setattr(serving_check, "subprocess", types.SimpleNamespace(run=warm.run))


def _do(world, run="run", model="model", tolerance=1e-5):
    artifacts = {}
    for name, kind, folder in (
        ("model", standard_artifacts.Model, world / model),
        ("model_run", standard_artifacts.ModelRun, world / run),
        ("blessing", standard_artifacts.InfraBlessing, world / f"blessing-{run}-{model}"),
    ):
        artifacts[name] = kind()
        artifacts[name].uri = str(folder)
    blessing = artifacts.pop("blessing")
    ServingCheck.EXECUTOR_SPEC.executor_class().Do(
        {name: [artifact] for name, artifact in artifacts.items()},
        {"blessing": [blessing]},
        {"tolerance": tolerance, "examples": 8, "code": ""},
    )
    report = json.loads((pathlib.Path(blessing.uri) / CHECK_FILE).read_text())
    return blessing.get_int_custom_property("blessed"), report


def test_a_good_model_is_blessed_with_latencies(world):
    blessed, report = _do(world)
    assert blessed == 1
    assert report["failures"] == []
    assert set(report["signatures"]) == set(signatures.SIGNATURES)
    assert all(found["milliseconds"] > 0 for found in report["signatures"].values())


def test_a_model_that_answers_otherwise_is_not_blessed(forked, world):
    with np.load(world / "run" / REFERENCE_FILE) as reference:
        pixels, denoised = reference["pixels"], reference["denoised"]
    (world / "other").mkdir()
    np.savez(
        world / "other" / REFERENCE_FILE, pixels=pixels, denoised=np.clip(denoised + 0.01, 0, 1)
    )
    blessed, report = _do(world, run="other")
    assert blessed == 0
    assert any("serving_default: differs" in failure for failure in report["failures"])


def test_it_runs_on_the_cpu_as_the_trainer_s_reference_did(world, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    environments = []

    def noted(command, **options):
        environments.append(options["env"])
        return warm.run(command, **options)

    monkeypatch.setattr(serving_check, "subprocess", types.SimpleNamespace(run=noted))
    assert _do(world)[0] == 1
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments] == [""]


def _any_size(folder, *layers):
    """A model of any size with what it answers to eight images."""
    model = keras.Sequential([keras.Input((None, None, 1)), *layers])
    pixels = clothing.images(8, seed=1)[0].reshape(8, -1)
    signatures.export_servable(model, folder / "model" / "Format-Serving", SHAPE, pixels)
    denoised = np.clip(model.predict(pixels.reshape(-1, *SHAPE) / np.float32(255)), 0, 1)
    (folder / "run").mkdir()
    np.savez(folder / "run" / REFERENCE_FILE, pixels=pixels, denoised=denoised)
    return folder


@pytest.mark.parametrize(
    ("layers", "failure"),
    [
        ([keras.layers.Conv2D(1, 3, padding="same")], None),
        # What it halves it does not continue first: right for 28x28 pixels alone.
        (
            [keras.layers.AveragePooling2D(2), keras.layers.UpSampling2D(2)],
            "serving_default: answers (1, 30, 32, 1) to an image of (1, 31, 33, 1)",
        ),
    ],
)
def test_a_model_of_any_size_is_asked_for_another(forked, tmp_path, layers, failure):
    blessed, report = _do(_any_size(tmp_path, *layers))
    assert blessed == (failure is None)
    assert report["failures"] == [failure] * (failure is not None)


def test_a_model_that_does_not_load_is_not_blessed(forked, world):
    (world / "broken" / "Format-Serving").mkdir(parents=True)
    blessed, report = _do(world, model="broken")
    assert blessed == 0
    (failure,) = report["failures"]
    assert "ended with status" in failure


def test_a_missing_signature_is_named(world, tmp_path):
    import tensorflow as tf

    class Partial(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, *SHAPE), tf.float32, name="image")])
        def serve(self, image):
            return {"denoised": image}

    module = Partial()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.serve})
    report = check.check(str(tmp_path), str(world / "run" / REFERENCE_FILE), 1e-5, 4)
    assert "predict_pixels" in report["failures"][0]
    assert any("serving_default: differs" in failure for failure in report["failures"])


def test_the_check_ends_with_whoever_started_it(tmp_path):
    """A run that is killed leaves no process behind that loads TensorFlow and a model."""
    child = tmp_path / "child"
    os.mkfifo(tmp_path / "model")  # whoever opens it waits
    program = (
        "import subprocess, sys, pathlib, threading\n"
        "command = [sys.executable, '-m', 'components.serving_check.check', *sys.argv[2:]]\n"
        "process = subprocess.Popen(command)\n"
        "pathlib.Path(sys.argv[1]).write_text(str(process.pid))\n"
        "process.wait()\n"
    )
    reference = tmp_path / "model"
    parent = subprocess.Popen(
        [sys.executable, "-c", program, child, tmp_path, reference, "1e-5", "8"]
    )
    deadline = time.monotonic() + 60
    while not child.exists() or not child.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    number = int(child.read_text())
    # Once it has told the system whose end is its own.
    while "numpy" not in pathlib.Path(f"/proc/{number}/maps").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while pathlib.Path(f"/proc/{number}").exists():
        state = pathlib.Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":  # killed; nobody has asked after it yet
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
