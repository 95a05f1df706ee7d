"""benchmarks/training trains the recipes that it names, and says what they reach."""

from __future__ import annotations

import json

import pytest

from benchmarks.training import __main__ as training
from pipeline import config
from tests import clothing


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    clothing.write_csvs(folder, train=120, test=40)
    return folder


@pytest.mark.ci
def test_recipes_are_trained_and_measured(folder, tmp_path, capsys):
    output = tmp_path / "training.json"
    arguments = [
        *("--data", str(folder), "--images", "48", "--epochs", "2", "--output", str(output)),
        *("--set", "model.arguments={widths: [4, 4], mixer_blocks: 0}", "--seeds", "3", "4"),
        *("--set", "training.batch_size=16", "--set", "data.validation_fraction=0.25"),
    ]
    assert training.main([*arguments, "--only", "the one before"]) == 0
    trainings = json.loads(output.read_text())
    assert [(each["recipe"], each["seed"]) for each in trainings] == [
        ("the one before", 3),
        ("the one before", 4),
    ]
    for each in trainings:
        assert [point["epoch"] for point in each["curve"]] == [1, 2]
        assert each["curve"][1]["cpu_seconds"] == each["training_cpu_seconds"] > 0
        assert set(each["test"]) == set(config.load().noise.evaluation)
        assert all(5 < row["psnr"] < 40 for row in each["test"].values())
    assert len({each["curve"][1]["psnr"] for each in trainings}) == 2
    shown = capsys.readouterr().out
    assert "| the one before | 3    | 2" in shown
    assert "the one before, seed 4: " in shown
    with pytest.raises(SystemExit):
        training.main([*arguments, "--only", "the one behind"])
    assert "--only is of default, without weight decay, the one" in capsys.readouterr().err


def test_a_preset_without_a_comparison_is_trained_alone():
    assert training.recipes("best") == {"best": ("best", [])}
    assert training.recipes("default", ["default"]) == {"default": ("default", [])}


@pytest.mark.parametrize("comparison", training.COMPARISONS)
def test_every_recipe_is_one_of_the_settings(comparison):
    made = [
        config.load(preset, overrides)
        for preset, overrides in training.COMPARISONS[comparison].values()
    ]
    assert len({str(settings.training) for settings in made}) == len(made)
    assert len({settings.model.name for settings in made}) == 1
    assert len({settings.noise.evaluation for settings in made}) == 1
