"""A compiled pipeline, with everything that can be switched on."""

from __future__ import annotations

import copy

import pytest

from components.base.places import Places
from pipeline import config
from pipeline.runners.kubeflow import compile

OVERRIDES = [
    "kubeflow.steps.Trainer.gpus=1",
    "kubeflow.steps.Trainer.image=denoise:gpu",
    "training.warm_start=true",
    "tuner.enabled=true",
]


@pytest.fixture(scope="session")
def places():
    return Places.under("s3://models/pipelines")


@pytest.fixture(scope="session")
def settings():
    return config.load(overrides=OVERRIDES)


@pytest.fixture(scope="session")
def compiled(settings, places):
    """The PipelineSpec; not to be changed."""
    return compile.compile(settings, "denoise:1", places)


@pytest.fixture
def spec(compiled):
    """The PipelineSpec, to be changed."""
    return copy.deepcopy(compiled)
