"""The command on a card makes the same model again."""

from __future__ import annotations

import shlex

import pytest

from pipeline import config
from pipeline.history import kept

SETTINGS = {
    "default": [],
    "photo_grey": ["data.patches=3"],
    "windsor_cnn": [
        "training.jit_compile='off'",
        "training.early_stopping_patience=3",
        "model.arguments={dropout: 0.1}",
        "plugins=[a.b, c]",
        "seed=7",
        "noise.training='gaussian(sd=(0.1, 0.2)) + dropout'",
    ],
}


@pytest.mark.parametrize("preset", SETTINGS)
def test_the_command_of_a_card_gives_the_settings_again(preset):
    settings = config.load(preset, SETTINGS[preset])
    words = iter(shlex.split(kept.command(settings, fashion_mnist=True)))
    assert (next(words), next(words)) == ("denoise", "run")
    given = {"--preset": [], "--set": []}
    for word in words:
        given[word].append(next(words))
    assert config.load(*(given["--preset"] or ["default"]), given["--set"]) == settings
    assert len(given["--set"]) == len(SETTINGS[preset])
    assert "--data DIR" in kept.command(settings, fashion_mnist=False)
