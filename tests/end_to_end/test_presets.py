"""Every preset from CSVs to a pushed model that answers, on small data.

The CSVs have no header, as those of the MNIST script have none. All presets run in one process
and one workspace, where they share what the cache holds. A dense model is quick; the smoke preset
is tested in test_run.
"""

from __future__ import annotations

import pathlib

import pytest

from components import models
from components.tuning.trials import Tuning
from pipeline import config
from pipeline.commands.run import run
from pipeline.history import status, summary
from pipeline.workspace import Workspace
from tests import clothing
from tests.components.models.test_every_model import CODES
from tests.end_to_end.served import assert_every_signature_answers_as_keras

HELD_ALONE = ("default", "windsor_cae")
"""A U-Net with all its parts, and a convolutional autoencoder with a code."""
OVERRIDES = [
    # One ingestion for all.
    "image={height: 28, width: 28, channels: 1}",
    "data={validation_fraction: 0.2}",
    "training.epochs=1",
    # On a CPU the GPU's preset would compile for minutes.
    "training.jit_compile=off",
    # One epoch on few images is no quality, and the pushed model is another one.
    "evaluation={thresholds: {}, min_gain: -100, max_regression: 100}",
    "serving.check_examples=8",
    "report.classifier=false",
]
TEST = 30


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("headerless")
    return clothing.write_csvs(folder, train=120, test=TEST, seed=3, header=False)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("workspace"))


def _run(name, overrides, data, workspace):
    run(workspace=workspace.root, preset=name, set_=overrides, data=data)
    return summary.read(workspace)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.ci] if name in HELD_ALONE else [])
        for name in config.preset_names()
    ],
)
def test_a_preset_ends_in_a_pushed_model_that_answers(name, data, workspace):
    _check(_run(name, OVERRIDES, data, workspace), name)


def _check(result, name):
    assert result.outcome == "pushed"
    assert result.settings.preset == name
    assert result.data["rows"] == 120 + TEST
    assert result.data["examples"]["test"] == TEST
    assert result.training["epochs"] == 1
    settings = result.settings
    for noise in settings.noise.evaluation:
        assert result.row(noise).images == TEST

    shape = settings.image.shape
    architecture = models.build(settings.model.name, shape, **settings.model.arguments)
    assert result.training["parameters"] == architecture.count_params()
    if settings.model.name in CODES:
        encoder = models.encoder(architecture)
        assert encoder is not None
        assert encoder.output_shape[1:] == CODES[settings.model.name]
    pixels = clothing.images(5, seed=99)[0].reshape(5, -1)
    assert_every_signature_answers_as_keras(result.model, pixels, shape)


@pytest.mark.ci
def test_the_tuners_findings_are_trained_with_and_reported(data, workspace):
    tuner = "tuner={enabled: true, trials: 2, epochs: 1, algorithm: random}"
    result = _run("dense_ae_2", [*OVERRIDES, tuner], data, workspace)
    _check(result, "dense_ae_2")
    found = Tuning.model_validate(result.tuning)
    assert [trial.number for trial in found.trials] == [1, 2]
    assert found.trials[0].settings["training.learning_rate"] == 1e-3
    assert found.best_trial.psnr == max(trial.psnr for trial in found.trials)
    assert result.training["tuned"] == found.best_trial.settings
    batch_size = found.best_trial.settings["training.batch_size"]
    assert result.training["batch_size"] == min(batch_size, result.training["images"])
    (model,) = [
        model
        for model in status.history(workspace).models
        if model.pushed_version == result.pushed_version
    ]
    assert model.settings["training"]["batch_size"] == batch_size
    assert f"The best was trial {found.best} with" in pathlib.Path(result.report).read_text()

    again = _run("dense_ae_2", [*OVERRIDES, tuner], data, workspace)
    assert {step.state for step in again.steps} == {"cached"}
    assert again.tuning == result.tuning
