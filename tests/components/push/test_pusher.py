"""Push: a version is there whole or not at all, and only of a blessed model."""

import json
import pathlib
import threading

import pytest
from tfx.types import standard_artifacts
from tfx.utils import json_utils

from components.push import pusher as push_module
from components.push import versions
from components.push.pusher import Executor, push


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "assets.extra").mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(b"weights" * 100_000)
    (folder / "assets.extra" / "model.keras").write_bytes(b"zip")
    return folder


def _files(folder):
    return {str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob("*")}


def test_a_version_is_an_integer_folder_with_everything(model, tmp_path):
    serving = tmp_path / "serving" / "denoiser"
    version = push(str(model), str(serving))
    assert version.isdigit()
    assert _files(serving / version) == _files(model)
    assert [path.name for path in serving.iterdir()] == [version]


def test_versions_grow_even_within_a_second(model, tmp_path):
    serving = tmp_path / "denoiser"
    pushed = [int(push(str(model), str(serving))) for _ in range(3)]
    assert pushed == sorted(set(pushed))
    assert [found.number for found in versions.versions(str(serving))] == pushed


def test_a_server_that_polls_never_sees_half_a_version(model, tmp_path):
    serving = tmp_path / "denoiser"
    serving.mkdir()
    whole, seen, done = _files(model), [], threading.Event()

    def poll():
        while not done.is_set():
            for child in serving.iterdir():
                if child.name.isdigit():
                    seen.append(_files(child) == whole)

    thread = threading.Thread(target=poll)
    thread.start()
    for _ in range(10):
        push(str(model), str(serving))
    done.set()
    thread.join()
    assert seen
    assert all(seen)


def test_a_push_that_breaks_off_leaves_nothing_to_serve(model, tmp_path, monkeypatch):
    serving = tmp_path / "denoiser"
    kept = push(str(model), str(serving))

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(push_module, "_sync", full)
    with pytest.raises(OSError, match="No space"):
        push(str(model), str(serving))
    monkeypatch.undo()
    assert [found.number for found in versions.versions(str(serving))] == [int(kept)]
    push(str(model), str(serving))
    assert all(path.name.isdigit() for path in serving.iterdir())


def test_old_versions_go_when_asked(model, tmp_path):
    serving = tmp_path / "denoiser"
    pushed = [push(str(model), str(serving), keep=2) for _ in range(4)]
    assert sorted(path.name for path in serving.iterdir()) == sorted(pushed[-2:])


def _artifact(kind, folder, **properties):
    artifact = kind()
    artifact.uri = str(folder)
    for name, value in properties.items():
        artifact.set_int_custom_property(name, value)
    return artifact


@pytest.mark.parametrize(
    ("blessed", "servable", "pushed"), [(1, 1, True), (0, 1, False), (1, 0, False), (0, 0, False)]
)
def test_only_a_blessed_and_servable_model_is_pushed(model, tmp_path, blessed, servable, pushed):
    trained = tmp_path / "trained"
    trained.mkdir()
    model.rename(trained / "Format-Serving")
    output = _artifact(standard_artifacts.PushedModel, tmp_path / "pushed")
    serving = tmp_path / "denoiser"
    inputs = {
        "model": [_artifact(standard_artifacts.Model, trained)],
        "model_blessing": [
            _artifact(standard_artifacts.ModelBlessing, tmp_path / "b", blessed=blessed)
        ],
        "infra_blessing": [
            _artifact(standard_artifacts.InfraBlessing, tmp_path / "i", blessed=servable)
        ],
    }
    destination = json.dumps({"filesystem": {"base_directory": str(serving)}})
    Executor().Do(
        inputs,
        {"pushed_model": [output]},
        {
            "push_destination": destination,
            "custom_config": json_utils.dumps({"keep_versions": None}),
        },
    )
    assert output.get_int_custom_property("pushed") == int(pushed)
    assert bool(versions.versions(str(serving))) is pushed


def test_the_newest_other_model_is_the_baseline(model, tmp_path):
    serving = tmp_path / "denoiser"
    assert versions.latest(str(serving), str(model)) == versions.NONE
    first = push(str(model), str(serving))
    assert versions.latest(str(serving), None) == first
    assert versions.latest(str(serving), str(model)) == versions.NONE
    (model / "variables" / "variables.data-00000-of-00001").write_bytes(b"others")
    assert versions.latest(str(serving), str(model)) == first
    second = push(str(model), str(serving))
    assert versions.latest(str(serving), None) == second
    assert versions.latest(str(serving), str(model)) == first


def test_a_folder_without_its_graph_is_no_version(model, tmp_path):
    serving = tmp_path / "denoiser"
    version = push(str(model), str(serving))
    (serving / "9999999999").mkdir()
    (serving / "notes").mkdir()
    assert [found.number for found in versions.versions(str(serving))] == [int(version)]
