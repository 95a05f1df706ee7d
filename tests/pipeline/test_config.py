"""Settings: one typed, frozen object; a wrong value is named with its field."""

import pydantic
import pytest
import yaml

from components.base.errors import UsageError
from components.base.settings import DEFAULT_PRESET
from components.noise import parse
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
        ("training.epochs=" + "[" * 5000, "not YAML: it is nested too deeply"),
        ("training.epochs=" + "9" * 5000, "not YAML"),
        ("training.epochs={[a]: 1}", "not YAML"),
        ("training={epochs: 3, epochs: 4}", "the key 'epochs' is given twice"),
        ("training.epochs=1:30", "training.epochs"),
        ("training.epochs=yes", "training.epochs"),
        ("training.epochs=true", "training.epochs: Value error, Input should be a number"),
        ("training.clip_norm=true", "training.clip_norm"),
        ("image.channels=true", "image.channels"),
        ("training.learning_rate=.inf", "training.learning_rate"),
        ("training.learning_rate=1e400", "training.learning_rate"),
        ("evaluation.min_gain=-.inf", "evaluation.min_gain"),
        ("evaluation.thresholds={'*': {psnr: .nan}}", "evaluation.thresholds.*.psnr"),
        ("training.jit_compile=[on]", "training.jit_compile"),
        ("training.jit_compile=1", "training.jit_compile"),
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


@pytest.mark.parametrize(
    "text", ["- a\n- list\n", "{not: [yaml", "training: {epochs: 3}\ntraining: {batch_size: 7}\n"]
)
def test_a_broken_preset_file_is_named(tmp_path, text):
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"broken\.yaml"):
        config.load(str(file))


def test_an_unknown_preset_lists_the_known_ones():
    for name in ("nosuch", "", ".", "a/../default", "n" * 300, "n" * 300 + ".yaml", "a\0.yaml"):
        with pytest.raises(UsageError, match="default"):
            config.load(name)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2020-13-45", "2020-13-45"),
        ("2026-01-02", "2026-01-02"),
        ("no", "no"),
        ("'1e3'", "1e3"),
        ("null and void", "null and void"),
    ],
)
def test_a_text_is_what_is_written(text, value):
    assert config.load(overrides=[f"description={text}"]).description == value


def test_a_number_may_have_an_exponent_and_no_point():
    space = "{training.learning_rate: {choices: [1e-3, 6e-3]}}"
    settings = config.load(overrides=[f"tuner.search_space={space}", "training.clip_norm=1e1"])
    assert settings.tuner.search_space["training.learning_rate"].choices == (1e-3, 6e-3)
    assert settings.training.clip_norm == 10.0


@pytest.mark.parametrize("value", ["gaussian:0.2", " gaussian(0.2)", "salt_pepper:0.1+gaussian:1"])
def test_a_noise_is_written_as_everywhere(value):
    settings = config.load(overrides=[f"noise.training={value!r}"])
    assert str(parse(settings.noise.training)) == str(parse(value))
    assert settings.noise.training == value.strip().replace(":0.2", "(0.2)").replace(
        ":0.1+gaussian:1", "(0.1)+gaussian(1)"
    )


@pytest.mark.parametrize("value", ["on", "off", "auto", "'on'"])
def test_xla_is_switched_as_it_is_written(value):
    set_so = config.load(overrides=[f"training.jit_compile={value}"])
    assert set_so.training.jit_compile == value.strip("'")
    given = {"training": {"jit_compile": True}}
    assert config.validate(given, "YAML 1.1").training.jit_compile == "on"
