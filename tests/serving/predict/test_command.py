"""The command itself: what it says, its exit status, and what it imports."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.serving.predict.written import pixels_of, write_image, write_rows

STEP = r"(?:    predict.*\n)* [✓✗]  1/1 predict .*\n"


@pytest.fixture
def denoise(models, tmp_path):
    def call(*arguments: object) -> subprocess.CompletedProcess:
        common = ["--model", models / "denoiser", "--workspace", tmp_path / "workspace"]
        return subprocess.run(
            [sys.executable, "-m", "pipeline.cli", "predict", *map(os.fspath, arguments), *common],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
        )

    return call


def test_it_says_what_a_user_can_act_on_and_nothing_else(denoise, tmp_path):
    """One bad file of three, then an output that is an input."""
    write_image(tmp_path / "in" / "a.png", 100)
    write_image(tmp_path / "in" / "B.PNG", 50)
    (tmp_path / "in" / "c.png").write_text("no image")
    (tmp_path / "in" / "._a.png").write_text("no image")
    done = denoise("in", "-o", "out", "--json")
    assert done.returncode == 1
    failure = (
        "denoise: 1 of the files could not be denoised; the others are done.\n"
        "  in/c.png: not an image: expected PNG, JPEG, TIFF, WEBP, BMP, GIF.\n"
    )
    assert re.fullmatch(STEP + re.escape(failure), done.stderr), done.stderr
    answer = json.loads(done.stdout)
    assert [file["path"] for file in answer["failed"]] == ["in/c.png"]
    assert [file["path"] for file in answer["ignored"]] == ["in/._a.png"]
    assert (answer["images"], answer["files"]) == (2, 3)
    assert pixels_of(tmp_path / "out" / "a.png") == {50}

    before = {path: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    done = denoise("in", "-o", "in")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        STEP
        + r"denoise: in is an input and would be overwritten. Write elsewhere.\n(?:.*log.*\n)?",
        done.stderr,
    ), done.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before


def test_beam_says_no_more(denoise, tmp_path):
    """A TensorFlow session left to the interpreter's end complained: `Exception ignored in ...`."""
    write_rows(tmp_path / "rows.csv", 3)
    done = denoise("rows.csv", "-o", "out", "--beam")
    assert (done.returncode, done.stderr) == (0, "") or re.fullmatch(STEP, done.stderr), done.stderr
    assert re.fullmatch(r"output +\S+/out\nshards +1\npictures +0\n", done.stdout)
    log = (tmp_path / "workspace" / "logs" / "predict.log").read_text()
    assert "Exception ignored" not in log


def test_one_image_takes_no_more_than_tensorflow(models, tmp_path):
    """Neither TFX nor Beam, nor what TensorFlow imports for training."""
    write_image(tmp_path / "a.png", 100)
    script = """
import contextlib, pathlib, sys
from serving.predict.denoisers import Source
from serving.predict.run import predict
with contextlib.closing(Source(model=pathlib.Path(sys.argv[1])).open()) as denoiser:
    predict([pathlib.Path(sys.argv[2])], pathlib.Path(sys.argv[3]), denoiser)
heavy = {"tfx", "apache_beam", "keras", "pandas", "matplotlib", "sklearn", "IPython"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from components import noise  # Keras can be imported afterwards
noise.parse("gaussian(sd=0.5)")
"""
    arguments = [models / "denoiser", tmp_path / "a.png", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
