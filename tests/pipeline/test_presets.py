"""Every preset is one that a run can start from."""

from __future__ import annotations

import pytest

from components import models, noise
from components.base.settings import DEFAULT_PRESET
from pipeline import config

every_preset = pytest.mark.parametrize("name", config.preset_names())


def test_every_model_has_a_preset():
    # One of a plug-in, which another test may have registered, has none.
    presets = {architecture.preset for architecture in models.MODELS.values()} - {""}
    assert presets <= set(config.preset_names())


@every_preset
def test_a_preset_loads_and_names_a_model_and_noises_that_exist(name):
    settings = config.load(name)
    assert settings.preset == name
    assert settings.description
    architecture = models.MODELS[settings.model.name]
    assert settings.model.arguments.keys() <= architecture.arguments.keys()
    for expression in (settings.noise.training, *settings.noise.evaluation):
        # As written is as shown: the report and the thresholds name noises by expression.
        assert str(noise.parse(expression)) == expression


@every_preset
def test_a_preset_begins_with_what_to_expect_and_the_command(name):
    text = (config.PRESETS / f"{name}.yaml").read_text()
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith("#")
    if name != DEFAULT_PRESET:
        assert any(f"denoise run --preset {name}" in line for line in head)
    if name in models.MODELS:
        assert any("Published:" in line for line in head)
        assert any("Time:" in line for line in head)


@pytest.mark.parametrize(
    "name", [name for name in config.preset_names() if name in models.MODELS and name != "unet"]
)
def test_a_predecessor_is_trained_on_the_noise_it_is_measured_on(name):
    settings = config.load(name)
    assert settings.model.name == name
    assert settings.noise.evaluation == (settings.noise.training,)
    assert settings.training.schedule == "constant"
    assert settings.training.clip_norm is None
