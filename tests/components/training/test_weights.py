"""Weights of a Keras file, read without its configuration."""

from __future__ import annotations

import zipfile

import keras
import numpy as np
import pytest

from components.models import build
from components.training import weights
from tests.other_keras import as_another_writes


@pytest.fixture
def saved(tmp_path):
    keras.utils.set_random_seed(1)
    model = build("unet", (8, 8, 1), widths=(4, 8), mixer_blocks=0)
    model.save(tmp_path / "model.keras")
    return model, as_another_writes(tmp_path / "model.keras")


def test_a_file_of_another_keras_gives_its_weights(saved):
    model, file = saved
    with pytest.raises((TypeError, ValueError)):
        keras.saving.load_model(file)
    other = build("unet", (8, 8, 1), widths=(4, 8), mixer_blocks=0)
    weights.load(other, file)
    for one, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, theirs)


@pytest.mark.parametrize("arguments", [{"widths": (4, 8), "blocks": 0}, {"widths": (4, 4)}])
def test_weights_of_another_architecture_are_refused(saved, arguments):
    """The first has some of the file's layers, which Keras would take in silence."""
    _, file = saved
    other = build("unet", (8, 8, 1), mixer_blocks=0, **arguments)
    with pytest.raises(ValueError, match=r"has [\d,]+ weights, of another architecture"):
        weights.load(other, file)


def test_what_is_no_keras_file_is_refused(tmp_path):
    (tmp_path / "text.keras").write_text("none")
    with pytest.raises(zipfile.BadZipFile):
        weights.load(build("unet", (8, 8, 1)), tmp_path / "text.keras")
