"""What a run and other settings change."""

from __future__ import annotations

import json

import pytest

from components.base.errors import UsageError
from pipeline import config
from pipeline.runners.kubeflow import parameters


def _container(spec, step):
    return spec["deploymentSpec"]["executors"][f"{step}_executor"]["container"]


def test_an_operator_may_change_data_preset_and_epochs(spec, places):
    declared = spec["root"]["inputDefinitions"]["parameters"]
    assert declared["data"]["defaultValue"] == places.data
    given = spec["root"]["dag"]["tasks"]
    assert given["CsvIngestion"]["inputs"]["parameters"]["input_base"] == {
        "componentInputParameter": "data"
    }
    assert given["Trainer"]["inputs"]["parameters"]["epochs"] == {
        "componentInputParameter": "epochs"
    }
    assert "epochs" not in given["Transform"]["inputs"]["parameters"]
    assert parameters.runtime_parameters(spec, {"epochs": "3"}) == {"epochs": 3}
    with pytest.raises(UsageError, match=r"no such parameter.*data, epochs, preset"):
        parameters.runtime_parameters(spec, {"epoch": "3"})
    with pytest.raises(UsageError, match="expected an integer"):
        parameters.runtime_parameters(spec, {"epochs": "three"})


def test_another_preset_gives_a_step_what_the_dag_gives_it(spec):
    trainer = spec["root"]["dag"]["tasks"]["Trainer"]["inputs"]["parameters"]
    other = parameters.step_parameters("Trainer", config.load("windsor_cae"), keep=trainer)

    before = json.loads(trainer["custom_config"]["runtimeValue"]["constant"])
    after = json.loads(other["custom_config"])
    assert after["model"]["name"] == "windsor_cae" != before["model"]["name"]
    assert after["code"] == before["code"]
    assert set(other) <= set(trainer)


def test_the_tuner_is_a_step_whose_findings_go_to_the_trainer(spec):
    tasks = spec["root"]["dag"]["tasks"]
    found = {"producerTask": "Tuner", "outputArtifactKey": "best_hyperparameters"}
    assert tasks["Trainer"]["inputs"]["artifacts"]["hyperparameters"] == {
        "taskOutputArtifact": found
    }
    assert _container(spec, "Tuner")["resources"]["cpuLimit"] == 4

    tuner = tasks["Tuner"]["inputs"]["parameters"]
    other = parameters.step_parameters("Tuner", config.load("windsor_cae"), keep=tuner)
    assert json.loads(other["custom_config"])["model"]["name"] == "windsor_cae"


def test_a_preset_without_a_step_gives_it_nothing(spec):
    warm_start = spec["root"]["dag"]["tasks"]["WarmStart"]["inputs"]["parameters"]
    other = config.load("windsor_cae")
    assert parameters.step_parameters("WarmStart", other, keep=warm_start) == {}
