"""The search: every trial the same training but for its settings, and a killed one goes on."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
from typing import Any

import keras_tuner
import pytest

from components.base import unfinished
from components.base.errors import RunError, UsageError
from components.base.settings import Search, TunerSettings
from components.training.hyperparameters import lay_over, tuned
from components.tuning import executor, search
from components.tuning.trials import TRIALS_FILE, read
from pipeline.config import load
from tests import transformed

GIVEN = {"training.learning_rate": 0.01, "training.batch_size": 64}


def _settings(**values: Any) -> TunerSettings:
    return TunerSettings.model_validate({"enabled": True, "trials": 5, **values})


def _score(fields: dict[str, Any]) -> float:
    """Best at a learning rate of 0.005."""
    return 20 - abs(fields["training.learning_rate"] - 0.005) * 1000


@dataclasses.dataclass
class Training:
    """Takes the place of a real training."""

    score: Any = _score
    calls: list[tuple[dict[str, Any], int]] = dataclasses.field(default_factory=list)

    def __call__(self, fields: dict[str, Any], epochs: int, tell: Any) -> float:
        self.calls.append((fields, epochs))
        tell(1.0)
        return self.score(fields)


def _searched(
    folder: pathlib.Path, train: Any, settings: TunerSettings | None = None, given: Any = GIVEN
) -> search.Trials:
    settings = settings or _settings()
    trials = search.Trials(search.oracle(settings, given), folder, train, settings, images=100)
    trials.search(verbose=0)
    return trials


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_the_first_trial_has_the_settings_as_they_are(tmp_path, algorithm):
    train = Training()
    found = _searched(tmp_path, train, _settings(algorithm=algorithm)).found()
    assert found.trials[0].settings == GIVEN
    assert [trial.number for trial in found.trials] == [1, 2, 3, 4, 5]
    assert [(trial.settings, trial.epochs) for trial in found.trials] == train.calls
    for trial in found.trials:
        assert trial.psnr == pytest.approx(_score(trial.settings))
        assert trial.seconds is not None
    assert found.best_trial.psnr == max(trial.psnr for trial in found.trials)
    assert found.algorithm == algorithm
    assert found.images == 100


def test_what_the_space_does_not_hold_is_not_tried(tmp_path):
    train = Training()
    found = _searched(tmp_path, train, given={**GIVEN, "training.batch_size": 7}).found()
    assert {trial.settings["training.batch_size"] for trial in found.trials} <= {32, 64, 128}


def test_hyperband_trains_the_better_ones_longer(tmp_path):
    train = Training()
    found = _searched(tmp_path, train, _settings(algorithm="hyperband", epochs=4)).found()
    assert {trial.epochs for trial in found.trials} == {2, 4}
    longest = [trial for trial in found.trials if trial.epochs == 4]
    assert found.best_trial.psnr in [trial.psnr for trial in longest]


def test_the_same_seed_tries_the_same(tmp_path):
    first, second, other = Training(), Training(), Training()
    _searched(tmp_path / "1", first)
    _searched(tmp_path / "2", second)
    _searched(tmp_path / "3", other, _settings(seed=2))
    assert first.calls == second.calls
    assert first.calls[1:] != other.calls[1:]


class _KilledError(BaseException):
    pass


@pytest.mark.parametrize("killed_in", [1, 3])
def test_a_killed_search_goes_on_with_the_trial_it_was_in(tmp_path, killed_in):
    settings = _settings(algorithm="random")
    whole = Training()
    expected = _searched(tmp_path / "whole", whole, settings).found()
    numbers = itertools.count(1)

    def killed(fields: dict[str, Any]) -> float:
        if next(numbers) == killed_in:
            raise _KilledError
        return _score(fields)

    with pytest.raises(_KilledError):
        _searched(tmp_path / "killed", Training(killed), settings)
    rest = Training()
    found = _searched(tmp_path / "killed", rest, settings).found()
    assert [fields for fields, _ in rest.calls] == [
        fields for fields, _ in whole.calls[killed_in - 1 :]
    ]
    assert [trial.settings for trial in found.trials] == [
        trial.settings for trial in expected.trials
    ]
    assert found.best == expected.best


@pytest.mark.parametrize("file", ["oracle.json", "trial_*/trial.json", "tuner0.json"])
def test_trials_that_a_full_disk_cut_off_are_made_anew(tmp_path, caplog, file):
    settings = _settings(algorithm="random")
    whole = _searched(tmp_path, Training(), settings).found()
    cut = next(tmp_path.rglob(file))
    cut.write_text(cut.read_text()[:1])

    def make() -> search.Trials:
        return search.Trials(search.oracle(settings, GIVEN), tmp_path, again, settings, images=100)

    again = Training()
    trials = search.restored(make, tmp_path)
    assert "cannot be read" in caplog.text
    trials.search(verbose=0)
    assert trials.found().best == whole.best
    assert len(again.calls) == len(whole.trials)


def test_a_failed_trial_is_noted_and_the_others_count(tmp_path):
    def fails(fields: dict[str, Any]) -> float:
        if fields["training.batch_size"] == 64:
            raise UsageError("batches of 64 do not go with this")
        return _score(fields)

    found = _searched(tmp_path, Training(fails)).found()
    assert found.trials[0].error == "batches of 64 do not go with this"
    assert found.trials[0].psnr is None
    assert found.best_trial.settings["training.batch_size"] != 64


def test_where_no_trial_can_be_trained_the_reason_is_given(tmp_path):
    def fails(fields: dict[str, Any]) -> float:
        raise ValueError("out of memory")

    trials = _searched(tmp_path, Training(fails), _settings(trials=2))
    with pytest.raises(RunError, match="ValueError: out of memory"):
        trials.found()


@pytest.mark.parametrize(
    ("field", "values", "own", "holds"),
    [
        ("training.learning_rate", Search(min=1e-3, max=1e-2, sampling="log"), 0.005, True),
        ("training.learning_rate", Search(min=1e-3, max=1e-2, sampling="log"), 0.5, False),
        ("training.batch_size", Search(min=16, max=128), 64, True),
        ("training.clip_norm", Search(min=0.5, max=2.0), None, False),
        ("training.clip_norm", Search(choices=(0.5, 1, None)), None, True),
        ("training.loss", Search(choices=("mse", "log_mse")), "log_mse", True),
        ("model.arguments.widths", Search(choices=([8, 16], [16, 32, 64])), (16, 32, 64), True),
        ("model.arguments.position", Search(choices=(True, False)), False, True),
    ],
)
def test_any_setting_can_be_searched(field, values, own, holds):
    space, holds_own = search.space({field: values}, {field: own})
    assert holds_own is holds
    if holds:
        (decoded,) = tuned(space.values).values()
        assert decoded == (list(own) if isinstance(own, tuple) else own)
    (hyperparameter,) = space.space
    for seed in range(10):
        (drawn,) = tuned({field: hyperparameter.random_sample(seed)}).values()
        if values.choices is not None:
            assert drawn in values.choices
        else:
            assert values.min <= drawn <= values.max
            assert isinstance(drawn, int) or isinstance(values.min, float)


def test_laying_over_leaves_the_given_sections_alone():
    sections = {"model": {"name": "unet", "arguments": {}}, "training": {"epochs": 3}}
    result = lay_over(sections, {"training.epochs": 1, "model.arguments.widths": [4]})
    assert result == {
        "model": {"name": "unet", "arguments": {"widths": [4]}},
        "training": {"epochs": 1},
    }
    assert sections["training"] == {"epochs": 3}
    assert sections["model"]["arguments"] == {}


REAL = load(
    "default",
    [
        "image={height: 8, width: 8, channels: 1}",
        "model={name: unet, arguments: {widths: [4], blocks: 0, mixer_blocks: 0}}",
        "noise.training=gaussian(sd=0.5)",
        "training={batch_size: 16, precision: float32}",
        "tuner={trials: 3, epochs: 1, images: 32, algorithm: random, search_space: {"
        "training.noise: {choices: [fresh, fixed]}, "
        "training.learning_rate: {min: 1e-3, max: 1e-2, sampling: log}, "
        "model.arguments.widths: {choices: [[4], [8]]}}}",
    ],
)


def _inputs(folder: pathlib.Path) -> tuple[dict, dict, dict]:
    """What TFX hands to the executor of Tuner."""
    from tfx.types import artifact_utils, standard_artifacts

    examples = standard_artifacts.Examples()
    examples.uri = str(folder / "examples")
    examples.split_names = artifact_utils.encode_split_names(["train", "validation"])
    for seed, (split, images) in enumerate({"train": 64, "validation": 16}.items()):
        split_folder = pathlib.Path(examples.uri, f"Split-{split}")
        transformed.write(split_folder, images, REAL, seed=seed)
        (split_folder / "shard-0.gz").rename(split_folder / "shard-0-of-1.gz")
    outputs = {}
    for name, kind in (
        ("best_hyperparameters", standard_artifacts.HyperParameters),
        ("tuner_results", standard_artifacts.TunerResults),
    ):
        artifact = kind()
        artifact.uri = str(folder / "Tuner" / name / "7")
        outputs[name] = [artifact]
    sections = REAL.model_dump(mode="json")
    names = ("image", "noise", "model", "training", "seed", "tuner")
    parameters = {
        "tuner_fn": "components.tuning.entry.tuner_fn",
        "train_args": '{"splits": ["train"]}',
        "eval_args": '{"splits": ["validation"]}',
        "custom_config": json.dumps({name: sections[name] for name in names}),
    }
    return {"examples": [examples]}, outputs, parameters


def test_the_step_writes_the_best_settings_for_the_trainer_and_every_trial(tmp_path, monkeypatch):
    from tfx.components.trainer import fn_args_utils

    inputs, outputs, parameters = _inputs(tmp_path)
    executor.Executor().Do(inputs, outputs, parameters)
    found = read(outputs["tuner_results"][0].uri)
    assert found.images == 32
    assert found.trials[0].settings == {
        "training.noise": "fresh",
        "training.learning_rate": 6e-3,
        "model.arguments.widths": [4],
    }
    assert len(found.trials) == 3
    assert all(5 < trial.psnr < 40 and trial.seconds > 0 for trial in found.trials)
    assert len({trial.psnr for trial in found.trials}) == 3

    folder = pathlib.Path(outputs["best_hyperparameters"][0].uri)
    (file,) = folder.iterdir()
    best = keras_tuner.HyperParameters.from_config(json.loads(file.read_text()))
    assert tuned(best.values) == found.best_trial.settings
    assert (pathlib.Path(outputs["tuner_results"][0].uri) / TRIALS_FILE).is_file()

    # Killed before they were published, they are written again, and no trial is run again.
    (tmp_path / "Tuner").rename(tmp_path / "before")
    (tmp_path / "Tuner").mkdir()
    (tmp_path / "before" / "resume").rename(tmp_path / "Tuner" / "resume")
    monkeypatch.setattr(search, "_trial", None)
    executor.Executor().Do(inputs, outputs, parameters)
    assert read(outputs["tuner_results"][0].uri) == found
    monkeypatch.undo()
    unfinished.forget(tmp_path / "Tuner")
    assert not list((tmp_path / "Tuner" / "resume").iterdir())

    # The same settings give the same PSNR, whatever was tried before.
    fn_args = fn_args_utils.get_common_fn_args(inputs, parameters, str(tmp_path / "again"))
    train = search.tuner_fn(fn_args).tuner._train
    last = found.trials[-1]
    assert train(last.settings, last.epochs, lambda share: None) == pytest.approx(
        last.psnr, abs=1e-4
    )
