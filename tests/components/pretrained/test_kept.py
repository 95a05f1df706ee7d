"""Kept models: three files that belong together, found, checked and exported."""

from __future__ import annotations

import pathlib
import shutil

import keras
import numpy as np
import pytest

from components import models
from components.base.errors import ModelError, UsageError
from components.base.files import is_signed
from components.base.settings import ImageSettings, ModelSettings, NoiseSettings
from components.pretrained import card as cards
from components.pretrained import kept
from components.training import recipe, weights
from tests import clothing
from tests.other_keras import as_another_writes

SHAPE = (8, 12, 3)
NOISE = NoiseSettings(training="gaussian", evaluation=("gaussian(sd=0.1)", "salt_pepper(rate=0.1)"))
CARD = {
    "description": "Änderung: none",
    "licence": "CC0-1.0",
    "data": cards.Data(name="made up", licence="CC0-1.0", images={"train": 1}),
    "image": ImageSettings(height=SHAPE[0], width=SHAPE[1], channels=SHAPE[2]),
    "model": ModelSettings(name="unet", arguments={"widths": [4, 4], "mixer_blocks": 1}),
    "parameters": 7,
    "noise": NOISE,
    "training": {"epochs": 1},
    "seed": 1,
    "commands": ("denoise run",),
    "figures": (),
    "sample": (),
    "versions": {"keras": keras.__version__},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> pathlib.Path:
    """A Keras file with layers of this project's own."""
    keras.utils.set_random_seed(1)
    network = models.build("unet", SHAPE, widths=(4, 4), mixer_blocks=1)
    file = tmp_path_factory.mktemp("model") / "model.keras"
    network.save(file)
    return file


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return clothing.images(16, seed=3, shape=SHAPE)[0].reshape(-1, *SHAPE)


@pytest.fixture
def made(model, images, tmp_path) -> kept.Kept:
    return kept.keep(model, images, tmp_path / "models", "mine", **CARD)


def test_what_was_kept_is_found_with_its_card_and_images(made, model, images):
    found = kept.find(str(made.file))
    assert found == made
    assert found.file.read_bytes() == model.read_bytes()
    assert is_signed(found.file.with_suffix(".yaml"))
    np.testing.assert_array_equal(found.images(), images)
    assert {file.suffix for file in made.file.parent.iterdir()} == {".keras", ".png", ".yaml"}


def test_another_file_than_the_cards_is_refused(made):
    made.file.write_bytes(made.file.read_bytes() + b"\0")
    with pytest.raises(ModelError, match=r"mine\.keras: is not the file that its card is of"):
        kept.find(str(made.file))


def test_without_a_card_it_is_no_kept_model(made):
    made.file.with_suffix(".yaml").unlink()
    with pytest.raises(ModelError, match=r"mine\.yaml: the card of the model cannot be read"):
        kept.find(str(made.file))
    made.file.with_suffix(".yaml").write_text("name: 1")
    with pytest.raises(ModelError, match="is no card of a model"):
        kept.find(str(made.file))


def test_one_that_is_not_there_is_named_with_those_that_are(tmp_path):
    for name in ("nosuch", str(tmp_path / "nosuch.keras"), __file__):
        with pytest.raises(UsageError, match="there is no such model"):
            kept.find(name)


def test_a_keep_that_breaks_off_leaves_no_kept_model(made, model, images, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cards, "write", full)
    with pytest.raises(OSError, match="No space"):
        kept.keep(model, images[:8], made.file.parent, "mine", **CARD)
    with pytest.raises(ModelError, match="card"):
        kept.find(str(made.file))


def test_a_file_with_code_is_not_loaded(made, tmp_path):
    inputs = keras.Input(SHAPE)
    keras.Model(inputs, keras.layers.Lambda(lambda x: x * 1)(inputs)).save(tmp_path / "code.keras")
    evil = kept.keep(tmp_path / "code.keras", made.images(), tmp_path, "evil", **CARD)
    with pytest.raises(ModelError, match=r"evil\.keras: Keras .* does not load it"):
        kept.load(evil)


def test_a_file_of_another_keras_is_built_of_its_card(made, model, images, tmp_path):
    noisy = images.astype(np.float32) / 255
    expected = np.asarray(kept.load(made)(noisy))
    (tmp_path / "of").mkdir()
    file = as_another_writes(pathlib.Path(shutil.copy(model, tmp_path / "of")))
    card = {**CARD, "versions": {"keras": "99.1"}}
    np.testing.assert_allclose(
        kept.load(kept.keep(file, images, tmp_path, "next", **card))(noisy), expected, atol=1e-6
    )
    card["model"] = ModelSettings(name="unet", arguments={"widths": [4, 8]})
    with pytest.raises(ModelError, match=r"other\.keras: Keras .* made by Keras 99\.1"):
        kept.load(kept.keep(file, images, tmp_path, "other", **card))
    file.write_text("half")
    with pytest.raises(ModelError, match=r"half\.keras: Keras .* made by Keras 99\.1"):
        kept.load(kept.keep(file, images, tmp_path, "half", **card))


def test_it_is_exported_once_and_answers_as_the_keras_model(made, images, monkeypatch, tmp_path):
    from components.evaluation.measure import load_denoiser

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    noisy = images.astype(np.float32) / 255
    expected = np.clip(kept.load(made)(noisy), 0, 1)
    with kept.servable(made) as folder:
        assert folder.name == "denoiser"
        np.testing.assert_allclose(
            load_denoiser(str(folder / "1"))(noisy), expected, rtol=0, atol=1e-6
        )
        before = (folder / "1" / "saved_model.pb").stat()
    assert [path.name for path in folder.parent.iterdir()] == ["denoiser"]
    monkeypatch.setattr(kept, "export", None)
    with kept.servable(made) as folder:
        assert (folder / "1" / "saved_model.pb").stat() == before


def test_without_a_cache_it_is_exported_for_the_time_being(made, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(kept, "export", lambda _, to: (to / "saved_model.pb").touch())
    with kept.servable(made) as folder:
        assert (folder / "1" / "saved_model.pb").is_file()
    assert not folder.exists()


SHIPPED = pytest.mark.parametrize("name", kept.names())


@SHIPPED
def test_a_shipped_model_keeps_what_its_card_says(name):
    """On the card's own sample: 0.02 dB and 0.001, which another machine's rounding may take."""
    found = kept.find(name)
    assert is_signed(found.file.with_suffix(".yaml"))
    assert found.file.stat().st_size == found.card.bytes < 5 << 20
    network = kept.load(found)
    assert network.count_params() == found.card.parameters
    model = found.card.model
    weights.load(recipe.served(model.name, found.card.image.shape, model.arguments), found.file)
    measured = kept.measure(
        lambda noisy: np.clip(network(noisy), 0, 1), found.images(), found.card.noise
    )
    for now, then in zip(measured, found.card.sample, strict=True):
        assert now.noise == then.noise
        assert now.psnr == pytest.approx(then.psnr, abs=0.02)
        assert now.noisy_psnr == pytest.approx(then.noisy_psnr, abs=0.02)
        assert now.ssim == pytest.approx(then.ssim, abs=0.001)


@SHIPPED
def test_the_sample_of_a_shipped_model_is_like_all_test_images(name):
    """A few images: their mean is within 3 dB of that of all."""
    card = kept.find(name).card
    figures = {whole.noise: whole for whole in card.figures}
    assert figures.keys() == {sample.noise for sample in card.sample} == set(card.noise.evaluation)
    for sample in card.sample:
        whole = figures[sample.noise]
        assert whole.psnr == pytest.approx(sample.psnr, abs=3)
        assert whole.psnr > whole.noisy_psnr + 3
