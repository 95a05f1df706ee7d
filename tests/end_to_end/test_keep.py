"""A run's model kept with its card, and taken by the other commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import yaml

from tests.end_to_end.conftest import environment


def test_a_runs_model_is_kept_and_denoises(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def keep(*arguments):
        return finished.call("keep", "clothes", "-o", str(tmp_path / "kept"), *arguments)

    done = keep()
    assert done.returncode == 2
    assert "--data-name, --data-licence: expected" in done.stderr
    assert not (tmp_path / "kept").exists()
    licence = ("--data-name", "Made-up clothes", "--data-licence", "CC0-1.0", "--json")
    done = keep(*licence)
    assert done.returncode == 0, done.stderr
    card = yaml.safe_load((tmp_path / "kept" / "clothes.yaml").read_text())
    summary = finished.summary()
    assert card["parameters"] == summary["training"]["parameters"]
    rows = {row["noise"]: row for row in summary["metrics"] if row["label"] == "*"}
    for figures in card["figures"]:
        assert figures["psnr"] == pytest.approx(rows[figures["noise"]]["psnr"], abs=1e-4)
    assert card["commands"] == ["denoise run --preset smoke --data DIR", "denoise keep clothes"]

    (tmp_path / "kept" / "clothes.yaml").write_text("mine")
    done = keep(*licence)
    assert done.returncode == 2
    assert "exists" in done.stderr
    assert keep(*licence, "--overwrite").returncode == 0

    image = np.full((28, 28), 100, np.uint8)
    PIL.Image.fromarray(image).save(tmp_path / "grey.png")
    kept = str(tmp_path / "kept" / "clothes.keras")
    done = finished.call(
        *("predict", str(tmp_path / "grey.png"), "-o", str(tmp_path / "out"), "--json"),
        *("--pretrained", kept),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 1
    both = finished.call(
        *("predict", str(tmp_path / "grey.png"), "-o", str(tmp_path / "out")),
        *("--pretrained", kept, "--model", "x"),
    )
    assert both.returncode == 2
    shown = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "pretrained", kept, "--json"],
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
    )
    assert json.loads(shown.stdout)["name"] == "clothes"
