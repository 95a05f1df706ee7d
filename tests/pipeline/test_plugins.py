"""Plug-ins: the example of docs/plugins.md as it stands there, and what is said of broken ones."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from components.base import code
from tests import clothing, warm

DOCS = code.ROOT / "docs" / "plugins.md"
FILE = re.compile(r"^`(\S+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
BROKEN = {
    "absent": (None, r"plugins: absent: there is no such module here.*PYTHONPATH"),
    "scanner.absent": (None, r"plugins: scanner\.absent: there is no such module here"),
    "needy": (
        "import nosuch.part",
        r"needy.*'nosuch'.*needy\.py, line 1.*Install the package nosuch",
    ),
    "wrong": ("\n1 / 0", r"wrong: cannot be imported: ZeroDivisionError.*wrong\.py, line 2"),
    "twice": (
        "from components.noise import Noise, register\n"
        "@register('gaussian')\nclass Mine(Noise): pass",
        r"twice.*two noises are called 'gaussian'",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Where the files of the docs are, and the broken plug-ins."""
    folder = tmp_path_factory.mktemp("plugins")
    for name, text in FILE.findall(DOCS.read_text(encoding="utf-8")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*")) == [
        "scanner/models.py",
        "scanner/noises.py",
        "settings.yaml",
    ]
    for name, (text, _) in BROKEN.items():
        if text is not None:
            (folder / f"{name}.py").write_text(text)
    return folder


def _environment(folder: pathlib.Path) -> dict[str, str]:
    path = os.pathsep.join([str(code.ROOT), str(folder)])
    return {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}


def _python(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        timeout=900,
    )


def _main(folder: pathlib.Path, code: str, *arguments: str) -> subprocess.CompletedProcess:
    """Calls the `main` of a program, in a process where no plug-in was loaded yet."""
    (folder / "program.py").write_text(code)
    return warm.call("program", arguments, _environment(folder), folder=folder)


def _denoise(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    return warm.call("pipeline.cli", arguments, _environment(folder), timeout=900, folder=folder)


def test_they_are_listed_with_their_origin(folder):
    done = _denoise(folder, "noises", "--preset", "settings.yaml", "--json")
    listed = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert listed["stripes"]["origin"] == "scanner.noises"
    assert listed["gaussian"]["origin"] == "denoise"
    done = _denoise(folder, "models", "--set", "plugins=scanner.models", "--json")
    listed = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert (listed["tall"]["origin"], listed["tall"]["preset"]) == ("scanner.models", "")
    assert listed["unet"]["origin"] == "denoise"


LOAD = """
import json, sys
from components.base import errors, plugins

def main():
    said = {}
    for name in sys.argv[1:]:
        for _ in range(2):  # What a first try left must not change what is said.
            try:
                plugins.load([name])
            except errors.UsageError as error:
                said.setdefault(name, set()).add(str(error))
    print(json.dumps({name: list(messages) for name, messages in said.items()}))
"""


def test_a_broken_one_is_named_with_its_error_and_what_to_do(folder):
    done = _main(folder, LOAD, *BROKEN)
    said = json.loads(done.stdout)
    assert said.keys() == BROKEN.keys()
    for name, messages in said.items():
        [message] = messages
        assert re.search(BROKEN[name][1], message, re.DOTALL), message


def test_a_broken_one_ends_the_command_as_wrong_usage(folder):
    done = _denoise(folder, "noises", "--set", "plugins=[wrong]")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("denoise: plugins: wrong: cannot be imported: ZeroDivisionError")


LATER = """
import multiprocessing, sys
from components.base import child, plugins

def names():
    from components import filters, models, noise
    return sorted({*noise.NOISES, *models.MODELS} & {"stripes", "tall"})

if __name__ == "__main__":
    plugins.load(["scanner.noises", "scanner.models"])
    assert child.call(names) == ["stripes", "tall"], "spawned"
    assert child.call(names, fork=True) == ["stripes", "tall"], "forked"
"""
ELSEWHERE = """
import os, sys, traceback
import numpy as np
import tensorflow as tf
from components.base.settings import (
    ImageSettings, ModelSettings, NoiseSettings, TrainingSettings
)
from components.transform.preprocessing import preprocessing_fn
from components.evaluation import executor
from components.training import recipe, trainer
from components.training.job import Job

noise = NoiseSettings(evaluation=("stripes(sd=0.1)",))
image = ImageSettings(height=4, width=6)
sections = {"image": image.model_dump(), "noise": noise.model_dump()}

def transform():
    config = {**sections, "plugins": ["scanner.noises"]}
    inputs = {
        "image": tf.fill((2, 24), tf.constant(128, tf.int64)),
        "label": tf.zeros((2, 1), tf.int64),
        "key": tf.constant([[1], [2]], tf.int64),
    }
    noisy = preprocessing_fn(inputs, config)["noisy"].numpy()
    assert (noisy == noisy[:, :1]).all(), "a column has one offset"
    assert len(np.unique(noisy)) == 12

def evaluate():
    measure = executor._Measure({}, image, noise, 8, ["scanner.noises"])
    measure.setup()

def train():
    def train(job, tried):
        recipe.denoiser(job.model.name, job.image.shape, {}, "float32")
        recipe.training_model(recipe.denoiser("tall", (8, 8, 1), {}, "float32"),
                              job.noise.training, job.training, 1, 1)

    trainer.train = train
    trainer.run(Job(
        image=image, noise=NoiseSettings(training="stripes"), model=ModelSettings(name="tall"),
        training=TrainingSettings(precision="float32"), seed=1, train_files=(), eval_files=(),
        plugins=("scanner.noises", "scanner.models"), run_folder=sys.argv[1],
    ))

def main():
    for step in (transform, evaluate, train):
        # Where no plug-in was loaded yet.
        if os.fork() == 0:
            try:
                step()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if os.wait()[1]:
            sys.exit(f"{step.__name__} has none")
"""


@pytest.mark.ci
def test_a_process_that_is_started_has_them(folder):
    (folder / "later.py").write_text(LATER)
    done = _python(folder, "later.py")
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_step_on_another_machine_has_them_by_its_parameters(folder, tmp_path):
    done = _main(folder, ELSEWHERE, str(tmp_path / "1"))
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_installed_package_needs_no_setting(folder, tmp_path):
    information = tmp_path / "scanner-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: scanner\nVersion: 1\n")
    toml = re.search(r"^```toml\n\[project\.entry-points\.(.*?)^```", DOCS.read_text(), re.M | re.S)
    (information / "entry_points.txt").write_text(
        toml[1].replace('"denoise.plugins"', "[denoise.plugins").replace('"', "")
    )
    (tmp_path / "scanner").symlink_to(folder / "scanner")
    # What is installed is looked for while the noises are imported.
    done = _python(tmp_path, "-m", "pipeline.cli", "noises", "--json")
    listed = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert listed["stripes"]["origin"] == "scanner.noises"
    (information / "entry_points.txt").write_text("[denoise.plugins]\nscanner = scanner.gone\n")
    done = _python(tmp_path, "-m", "pipeline.cli", "noises")
    assert done.returncode == 2
    assert "scanner.gone (of the package scanner)" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(2700)
def test_the_battery_of_the_docs_passes(folder, monkeypatch):
    monkeypatch.setenv("DENOISE_PLUGINS", "scanner.noises")
    battery = code.ROOT / "tests/components/noise/test_every_noise.py"
    done = _python(folder, "-m", "pytest", "-q", "--rootdir", str(code.ROOT), str(battery))
    assert "stripes" in _python(folder, "-m", "pytest", "-q", "--co", str(battery)).stdout
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(2700)
def test_a_run_uses_them_and_an_edit_runs_its_steps_again(folder, tmp_path):
    data = clothing.write_csvs(tmp_path / "data", train=200, test=30, seed=7)
    workspace = tmp_path / "workspace"

    def run() -> dict[str, str]:
        done = _denoise(
            folder,
            *("run", "--preset", "settings.yaml", "--data", str(data), "--json"),
            *("--workspace", str(workspace), "--set", "training.epochs=1"),
            *("--set", "report.classifier=false", "--set", "evaluation.min_gain=-99"),
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return {step["name"]: step["state"] for step in json.loads(done.stdout)["steps"]}

    assert set(run().values()) == {"done"}
    assert set(run().values()) == {"cached"}
    file = folder / "scanner" / "models.py"
    source = file.read_text()
    file.write_text(source.replace("filters=8", "filters=9"))
    try:
        again = run()
    finally:
        file.write_text(source)
    assert again["Transform"] == "cached"
    assert again["Trainer"] == "done"


@pytest.mark.slow
@pytest.mark.timeout(2700)
def test_a_dry_run_finds_out_that_the_image_lacks_one(folder, tmp_path):
    data = clothing.write_csvs(tmp_path / "data", train=200, test=30, seed=7)
    done = _denoise(
        folder,
        *("compile", "--image", "denoise:1", "--pipeline-root", "s3://bucket/root", "--dry-run"),
        *("--preset", "settings.yaml", "--data", str(data)),
        *("--output", str(tmp_path / "pipeline.yaml"), "--dry-run-folder", str(tmp_path / "dry")),
    )
    assert done.returncode == 1
    assert "Transform failed" in done.stderr
    assert "plugins: scanner.noises: there is no such module here" in done.stderr
    assert "on Kubeflow the image must have it" in done.stderr
