"""Settings: one typed, frozen object; a wrong value is named with its field."""

import pydantic
import pytest
import yaml

from components.base.errors import UsageError
from components.base.settings import DEFAULT_PRESET
from pipeline import config


def _space(field: str) -> str:
    return f"tuner.search_space={{{field}}}"


def test_every_preset_loads_and_the_default_is_there():
    assert DEFAULT_PRESET in config.preset_names()
    for name in config.preset_names():
        settings = config.load(name)
        assert settings.preset == name
        assert settings.description


def test_overrides_are_laid_over_the_preset():
    settings = config.load(
        "default", ["training.epochs=3", "image={height: 8, width: 6, channels: 3}", "seed=7"]
    )
    assert settings.training.epochs == 3
    assert settings.image.shape == (8, 6, 3)
    assert settings.image.pixels == 144
    assert settings.seed == 7


def test_settings_survive_json():
    settings = config.load("default", ["evaluation.thresholds={'*': {psnr: 20}}"])
    again = config.validate(settings.model_dump(mode="json"), "json")
    assert again == settings


def test_settings_are_frozen():
    with pytest.raises(pydantic.ValidationError):
        config.load().training.epochs = 3


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("training.epochs=0", "training.epochs"),
        ("training.epochs=many", "training.epochs"),
        ("training.speed=9", "training.speed"),
        ("image.channels=2", "image.channels"),
        ("data.validation_fraction=1", "data.validation_fraction"),
        ("noise.training='salt_pepper(rate='", "noise.training"),
        ("noise.evaluation=[]", "noise.evaluation"),
        ("evaluation.thresholds={gaussian(sd=9): {psnr: 1}}", "noise.evaluation does not measure"),
        ("training.loss=hinge", "training.loss"),
        ("training={strategy: multi_worker, precision: mixed_float16}", "mixed_bfloat16"),
        ("training={strategy: multi_worker, jit_compile: 'on'}", "jit_compile"),
        (_space("training.speed: {min: 1, max: 2}"), "'training.speed', which is no field"),
        (_space("noise.seed: {min: 1, max: 2}"), "'noise.seed', which is no field"),
        (_space("training.epochs: {min: 1, max: 2}"), "'training.epochs', but"),
        (_space("training.loss: {choices: [mse, hinge]}"), "training.loss cannot be 'hinge'"),
        (_space("training.batch_size: {min: 16.0, max: 64.0}"), "training.batch_size cannot be"),
        (_space("training.learning_rate: {min: 2, max: 1}"), "training.learning_rate: "),
        (_space("training.learning_rate: {min: 0, max: 1, sampling: log}"), "min above 0"),
        (_space("training.learning_rate: {min: 1}"), "either choices, or min and max"),
        (_space("training.learning_rate: {min: 1, max: 2, choices: [1]}"), "either choices, or"),
        ("tuner.search_space={}", "tuner.search_space"),
        ("nothing=1", "nothing"),
        ("training.epochs", "section.field=value"),
        ("training.epochs.more=1", "training.epochs"),
        ("preset.more=1", "not a section"),
        ("training.epochs=[", "not YAML"),
    ],
)
def test_a_wrong_override_is_named(override, named):
    with pytest.raises(UsageError) as caught:
        config.load("default", [override])
    assert named in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_search_space_takes_ranges_choices_and_arguments_of_the_model():
    settings = config.load(
        "default",
        [
            "tuner.search_space={training.learning_rate: {min: 1e-3, max: 1e-2, sampling: log}, "
            "training.clip_norm: {choices: [1.0, null]}, "
            "model.arguments.widths: {choices: [[8, 16], [16, 32, 64]]}}"
        ],
    )
    assert settings.tuner.search_space["training.learning_rate"].min == 1e-3
    assert config.validate(settings.model_dump(mode="json"), "json") == settings


def test_a_preset_may_be_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"training": {"epochs": 5}}))
    settings = config.load(str(file))
    assert settings.preset == "mine"
    assert settings.training.epochs == 5


@pytest.mark.parametrize("text", ["- a\n- list\n", "{not: [yaml"])
def test_a_broken_preset_file_is_named(tmp_path, text):
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"broken\.yaml"):
        config.load(str(file))


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(UsageError, match="default"):
        config.load("nosuch")


@pytest.mark.parametrize("value", ["on", "off", "auto"])
def test_xla_is_switched_as_it_is_written(value):
    assert config.load(overrides=[f"training.jit_compile={value}"]).training.jit_compile == value
