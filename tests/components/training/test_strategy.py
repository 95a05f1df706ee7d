"""Training on several devices of one machine."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from pipeline.config import load
from tests import transformed

SETTINGS = load(
    "default",
    [
        "model={name: unet, arguments: {widths: [4, 4], mixer_blocks: 0}}",
        "training={epochs: 2, batch_size: 16, precision: float32, steps_per_execution: 4, "
        "strategy: mirrored}",
    ],
)
# In a process of its own: devices are set up once, and here two of them are the one processor.
TRAIN = """
import json, pathlib, sys, types
import tensorflow as tf
from components.training import trainer
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
mirrored = tf.distribute.MirroredStrategy
tf.distribute.MirroredStrategy = lambda: mirrored(["/cpu:0", "/cpu:1"])
folder = pathlib.Path(sys.argv[1])
trainer.run_fn(types.SimpleNamespace(
    train_files=[sys.argv[2]],
    eval_files=[sys.argv[3]],
    serving_model_dir=str(folder / "model" / "1" / "Format-Serving"),
    model_run_dir=str(folder / "model_run" / "1"),
    custom_config=json.loads(sys.argv[4]),
    base_model=None,
    hyperparameters=None,
))
"""


@pytest.mark.slow
def test_two_devices_train_one_model(tmp_path):
    files = [
        transformed.write(tmp_path / name, count, SETTINGS, seed=count)
        for name, count in (("train", 128), ("validation", 32))
    ]
    sections = SETTINGS.model_dump(mode="json")
    names = ("image", "noise", "model", "training", "seed")
    config = json.dumps({name: sections[name] for name in names})
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "out"), *files, config]
    root = pathlib.Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "out" / "model_run" / "1"
    assert json.loads((run / "training.json").read_text())["images"] == 128
    epochs = (run / "history.csv").read_text().splitlines()[1:]
    first, last = (float(line.split(",")[2]) for line in epochs)
    assert last < first
