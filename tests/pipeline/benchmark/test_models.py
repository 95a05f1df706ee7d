"""Which of a workspace's models are benchmarked, and what they are called."""

import pathlib

import pytest

from components.base.settings import ImageSettings, Settings
from components.training.result import TRAINING_FILE, Training
from pipeline.benchmark import models as trained_models
from pipeline.benchmark.contents import Method
from pipeline.history import status
from pipeline.workspace import Workspace

NOISES = ("salt_pepper(rate=0.1)", "gaussian(sd=0.5)")


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A workspace whose history is `workspace.models`, a list to be filled by `trained`."""
    place = Workspace(tmp_path)
    place.metadata.touch()
    models: list[status.ModelStatus] = []

    def trained(
        number, noise, epochs=8, name="unet", height=28, data="/data/clothing", cache="auto"
    ):
        settings = Settings.model_validate(
            {
                "image": {"height": height},
                "noise": {"training": noise, "evaluation": [noise]},
                "model": {"name": name},
                "training": {"epochs": epochs, "cache": cache},
            }
        ).model_dump(mode="json")
        folder = tmp_path / str(number)
        (folder / "Format-Serving" / "variables").mkdir(parents=True)
        (folder / "Format-Serving" / "saved_model.pb").write_text(f"graph {number}")
        (folder / TRAINING_FILE).write_text(
            Training(
                images=640,
                epochs=epochs,
                steps_per_epoch=10,
                batch_size=64,
                parameters=7,
                precision="float32",
                seconds=60.5,
                images_per_second=84.6,
            ).model_dump_json()
        )
        sections = ("image", "noise", "model", "training")
        models.append(
            status.ModelStatus(
                id=number,
                run=f"run-{number}",
                trained="2026-01-01 00:00:00",
                uri=str(folder),
                model_run=str(folder),
                preset="default",
                settings={section: settings[section] for section in sections},
                code="",
                data=data,
                data_fingerprint="",
                blessed=True,
                servable=True,
                pushed_version=None,
                served=False,
            )
        )
        return folder

    monkeypatch.setattr(
        status, "history", lambda _: status.History(runs=[], models=models), raising=True
    )
    return place, trained


def test_models_of_any_size_are_found_by_their_channels(workspace):
    place, trained = workspace
    trained(1, NOISES[0])
    trained(2, NOISES[0], name="photo_unet", height=64)
    trained(3, "given", name="photo_unet", height=32, data="/data/pairs")

    def found(channels):
        image = ImageSettings(channels=channels)
        return trained_models.trained_models(place, image, ["given"], of_any_size=True)

    assert [method.name for method in found(1)] == ["model-2", "model-3"]
    assert [method.specialist_for for method in found(1)] == [None, "given"]
    assert found(3) == []


def _methods(place):
    return trained_models.trained_models(place, ImageSettings(), NOISES)


def test_the_newest_of_equal_settings_counts(workspace):
    place, trained = workspace
    trained(1, "salt_pepper(rate=0.1)")
    trained(2, "salt_pepper(0.1)", cache="disk")
    (method,) = _methods(place)
    assert method.name == "model-2"
    assert method.title == "unet"
    assert method.specialist_for == "salt_pepper(rate=0.1)"
    assert (method.epochs, method.training_seconds, method.parameters) == (8, 60.5, 7)
    assert method.saved_model is not None
    assert pathlib.Path(method.saved_model).is_dir()


def test_other_noise_epochs_or_data_is_another_model(workspace):
    place, trained = workspace
    trained(1, "salt_pepper(rate=0.1)")
    trained(2, "gaussian(sd=0.5)")
    trained(3, "mixture(gaussian(0.5), none)", epochs=16)
    trained(4, "mixture(gaussian(0.5), none)", epochs=8)
    trained(5, "gaussian(sd=0.5)", name="windsor_cae")
    trained(6, "gaussian(sd=0.5)", data="/data/other")
    methods = {method.name: method for method in _methods(place)}
    assert {name: method.title for name, method in methods.items()} == {
        "model-1": "unet, salt_pepper(rate=0.1)",
        "model-2": "unet, gaussian(sd=0.5), 8 epochs, model-2",
        "model-3": "unet, blind, 16 epochs",
        "model-4": "unet, blind, 8 epochs",
        "model-5": "windsor_cae",
        "model-6": "unet, gaussian(sd=0.5), 8 epochs, model-6",
    }
    assert methods["model-3"].specialist_for is None


def test_models_of_other_images_or_that_are_gone_are_left_out(workspace):
    place, trained = workspace
    trained(1, "none", height=32)
    folder = trained(2, "none")
    (folder / "Format-Serving").rename(folder / "elsewhere")
    assert _methods(place) == []


def test_a_workspace_where_nothing_ran_has_no_models(tmp_path):
    assert _methods(Workspace(tmp_path)) == []


def test_titles_are_unique_and_no_longer_than_they_need_be():
    methods = [
        Method(name=name, title="unet", kind="model", trained_on="none", epochs=3)
        for name in ("model-1", "model-2")
    ]
    titles = [method.title for method in trained_models.titled(methods)]
    assert titles == ["unet, none, 3 epochs, model-1", "unet, none, 3 epochs, model-2"]
    assert trained_models.titled(methods[:1])[0].title == "unet"


def test_a_fingerprint_follows_graph_and_weights(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_text("graph")
    (tmp_path / "variables" / "variables.index").write_text("weights")
    before = trained_models.fingerprint(tmp_path)
    (tmp_path / "fingerprint.pb").write_text("anything")
    assert trained_models.fingerprint(tmp_path) == before
    (tmp_path / "variables" / "variables.index").write_text("others")
    assert trained_models.fingerprint(tmp_path) != before
