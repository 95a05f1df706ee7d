from __future__ import annotations

import contextlib
import pathlib
import shutil
import threading
import time
import weakref

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.models.manager import ModelManager, State, single_model_config
from serving.models.servable import Servable
from serving.protocol.codes import Code, StatusError
from serving.protocol.metrics import Metrics

POLL = 0.05


def wait_until(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return result


class Loader:
    """Loads servables, and says which."""

    def __init__(self):
        self.loaded: list[int] = []
        self.errors: dict[int, Exception] = {}

    def __call__(self, name: str, version: int, path: pathlib.Path) -> Servable:
        self.loaded.append(version)
        if version in self.errors:
            raise self.errors[version]
        return Servable(name, version, path)


@pytest.fixture
def base_path(models, tmp_path) -> pathlib.Path:
    """A base path with version 1."""
    add_version(models, tmp_path / "m", 1)
    return tmp_path / "m"


def add_version(models, base_path: pathlib.Path, version: int) -> pathlib.Path:
    """A new version, put in its place at once."""
    temporary = base_path.parent / f"new-{version}"
    shutil.copytree(models / "denoiser" / "1", temporary)
    base_path.mkdir(exist_ok=True)
    return temporary.rename(base_path / str(version))


@contextlib.contextmanager
def running(config, load=None, **options):
    manager = ModelManager(load or Loader(), Metrics(), poll_wait_seconds=POLL, **options)
    try:
        manager.reload(config, timeout=20)
        manager.start()
        yield manager
    finally:
        manager.stop()


def model_config(base_path: pathlib.Path, policy: str = "", labels: str = "", name: str = "m"):
    return text_format.Parse(
        f"""model_config_list {{ config {{
            name: "{name}" base_path: "{base_path}" model_platform: "tensorflow"
            {f"model_version_policy {{ {policy} }}" if policy else ""} {labels}
        }} }}""",
        model_server_config_pb2.ModelServerConfig(),
    )


def states(manager: ModelManager, name: str = "m") -> dict[int, State]:
    status = manager.status(model_pb2.ModelSpec(name=name))
    return {entry.version: State(entry.state) for entry in status.model_version_status}


def served(manager: ModelManager, name: str = "m", **version) -> int:
    with manager.use(model_pb2.ModelSpec(name=name, **version)) as servable:
        return servable.version


def test_a_new_version_replaces_the_old_one(models, base_path):
    with running(single_model_config("m", base_path)) as manager:
        assert states(manager) == {1: State.AVAILABLE}
        add_version(models, base_path, 3)
        seen = set()

        def replaced():
            seen.add(served(manager))  # never an error in between
            return states(manager) == {1: State.END, 3: State.AVAILABLE}

        wait_until(replaced)
        assert seen == {1, 3}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", {3}),
        ("latest { num_versions: 2 }", {2, 3}),
        ("all {}", {1, 2, 3}),
        ("specific { versions: 1 versions: 3 versions: 9 }", {1, 3}),
    ],
)
def test_version_policies(models, base_path, policy, expected):
    add_version(models, base_path, 2)
    add_version(models, base_path, 3)
    (base_path / "temporary").mkdir()
    (base_path / "4").touch()  # not a folder
    with running(model_config(base_path, policy)) as manager:
        assert states(manager) == dict.fromkeys(expected, State.AVAILABLE)
        assert served(manager) == max(expected)


def test_an_odd_folder_does_not_take_the_model_away(models, base_path):
    """Its number is more than an int64, in which every answer tells a version."""
    with running(single_model_config("m", base_path)) as manager:
        add_version(models, base_path, 20261125212712123456)
        add_version(models, base_path, 2).rename(base_path / "00002")
        wait_until(lambda: states(manager) == {1: State.END, 2: State.AVAILABLE})
        assert served(manager) == 2


def test_a_broken_version_is_reported_and_the_old_one_serves_on(models, base_path):
    loader = Loader()
    with running(single_model_config("m", base_path), loader) as manager:
        broken = add_version(models, base_path, 2)
        data = next((broken / "variables").glob("*.data*"))
        whole = data.read_bytes()
        data.write_bytes(whole[:3])
        wait_until(lambda: states(manager).get(2) == State.END)
        status = manager.status(model_pb2.ModelSpec(name="m", version={"value": 2}))
        assert status.model_version_status[0].status.error_code != Code.OK
        assert status.model_version_status[0].status.error_message
        assert served(manager) == 1

        time.sleep(5 * POLL)
        assert loader.loaded.count(2) == 1  # not again and again
        data.write_bytes(whole)
        wait_until(lambda: states(manager) == {1: State.END, 2: State.AVAILABLE})


def test_a_failed_load_is_retried_as_the_flags_say(base_path):
    loader = Loader()
    loader.errors[1] = RuntimeError("no memory")
    manager = ModelManager(
        loader, Metrics(), POLL, max_num_load_retries=2, load_retry_interval=2 * POLL
    )
    try:
        with pytest.raises(StatusError, match=r"did not become available.*no memory"):
            manager.reload(single_model_config("m", base_path), timeout=5)
        assert states(manager) == {1: State.LOADING}
        manager.start()
        wait_until(lambda: states(manager) == {1: State.END})
        assert len(loader.loaded) == 3
    finally:
        manager.stop()


def test_a_half_copied_folder_is_not_loaded(models, base_path):
    source = models / "denoiser" / "2"
    loader = Loader()
    with running(single_model_config("m", base_path), loader) as manager:
        # saved_model.pb first: the order in which most would be lost.
        files = sorted(f for f in source.rglob("*") if f.is_file())
        files.sort(key=lambda file: file.name != "saved_model.pb")
        for file in files:
            copy = base_path / "2" / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            content = file.read_bytes()
            with copy.open("wb") as output:
                for start in range(0, len(content), len(content) // 3 + 1):
                    output.write(content[start : start + len(content) // 3 + 1])
                    output.flush()
                    time.sleep(POLL / 2)
        wait_until(lambda: states(manager).get(2) == State.AVAILABLE)
        assert loader.loaded == [1, 2]


def test_a_folder_that_stays_incomplete_is_never_loaded(models, base_path):
    loader = Loader()
    incomplete = add_version(models, base_path, 2)
    shutil.rmtree(incomplete / "variables")
    with running(single_model_config("m", base_path), loader) as manager:
        time.sleep(5 * POLL)
        assert loader.loaded == [1]
        assert served(manager) == 1


def test_a_version_in_use_is_unloaded_when_it_is_done(models, base_path):
    with running(single_model_config("m", base_path)) as manager:
        with manager.use(model_pb2.ModelSpec(name="m")) as servable:
            add_version(models, base_path, 2)
            wait_until(lambda: states(manager).get(1) == State.UNLOADING)
            signature = servable.signatures["predict_pixels"]
            output = (signature.outputs["denoised"].name,)
            pixels = np.zeros((1, 24), np.int32)
            servable.run({signature.inputs["pixels"].name: pixels}, output)
            assert states(manager)[1] == State.UNLOADING
        wait_until(lambda: states(manager)[1] == State.END)


def test_versions_that_are_gone_are_unloaded_but_not_for_a_missing_base_path(models, base_path):
    with running(single_model_config("m", base_path)) as manager:
        elsewhere = base_path.rename(base_path.parent / "away")
        time.sleep(5 * POLL)
        assert served(manager) == 1
        elsewhere.rename(base_path)
        shutil.rmtree(base_path / "1")
        wait_until(lambda: states(manager) == {1: State.END})
        with pytest.raises(StatusError, match=r"Servable not found for request: Latest\(m\)"):
            served(manager)


def test_models_come_and_go_with_the_configuration(models, base_path, tmp_path):
    other = tmp_path / "other"
    add_version(models, other, 7)
    with running(single_model_config("m", base_path)) as manager:
        manager.reload(single_model_config("n", other), timeout=20)
        assert manager.names() == ["n"]
        assert served(manager, "n") == 7
        with pytest.raises(StatusError, match="Latest"):
            served(manager, "m")
        manager.reload(model_server_config_pb2.ModelServerConfig())  # empty: no action
        assert manager.names() == ["n"]


def test_a_server_that_ends_takes_no_more_models(models, base_path, tmp_path):
    other = tmp_path / "other"
    add_version(models, other, 7)
    load = Loader()
    with running(single_model_config("m", base_path), load) as manager:
        manager.refuse_changes()
        with pytest.raises(StatusError) as raised:
            manager.reload(single_model_config("n", other), timeout=20)
        assert raised.value.code == Code.UNAVAILABLE
        assert served(manager) == 1
    assert load.loaded == [1]


def test_a_server_that_ends_waits_for_no_folder(models, base_path, tmp_path):
    """The wait for one that is still copied may be minutes long."""
    (tmp_path / "other" / "7").mkdir(parents=True)
    with running(single_model_config("m", base_path)) as manager:
        config = single_model_config("n", tmp_path / "other")
        reload = threading.Thread(target=_reload, args=(manager, config), daemon=True)
        reload.start()
        while "n" not in manager.names():
            time.sleep(0.01)
        manager.refuse_changes()
        reload.join(20)
        assert not reload.is_alive()


def _reload(manager, config):
    with pytest.raises(StatusError):
        manager.reload(config, timeout=600)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name: "a" base_path: "/a"', "neither ModelServerConfig::model_type"),
        ('name: "a" base_path: "/a" model_platform: "caffe"', "unsupported platform caffe"),
        ('base_path: "/a" model_platform: "tensorflow"', "needs a name and a base_path"),
        (
            'name: "m" base_path: "/a" model_platform: "tensorflow" model_type: TENSORFLOW',
            "Illegal setting both",
        ),
    ],
)
def test_a_wrong_configuration_changes_nothing(base_path, text, message):
    with running(single_model_config("m", base_path)) as manager:
        config = text_format.Parse(
            f"model_config_list {{ config {{ {text} }} }}",
            model_server_config_pb2.ModelServerConfig(),
        )
        with pytest.raises(StatusError, match=message) as raised:
            manager.reload(config)
        assert raised.value.code == Code.INVALID_ARGUMENT
        assert served(manager) == 1


def test_labels_name_available_versions(models, base_path):
    add_version(models, base_path, 2)
    with running(model_config(base_path, "all {}")) as manager:
        label = 'version_labels { key: "stable" value: %d }'
        manager.reload(model_config(base_path, "all {}", label % 1))
        assert served(manager, version_label="stable") == 1
        with pytest.raises(StatusError, match="not currently available for inference") as raised:
            manager.reload(model_config(base_path, "all {}", label % 9))
        assert raised.value.code == Code.FAILED_PRECONDITION
        assert served(manager, version_label="stable") == 1
        manager.reload(model_config(base_path, "all {}", label % 2))
        assert served(manager, version_label="stable") == 2


def test_a_new_label_may_name_an_unavailable_version_when_allowed(base_path):
    label = 'version_labels { key: "next" value: %d }'
    config = model_config(base_path, "all {}", label % 1)
    with running(config, allow_labels_for_unavailable=True) as manager:
        assert served(manager, version_label="next") == 1
        # The flag is for new labels: one in use does not move to what is not there.
        with pytest.raises(StatusError, match="not currently available"):
            manager.reload(model_config(base_path, "all {}", label % 9))


def test_a_closed_servable_leaves_no_graph_behind(base_path):
    servable = Servable("m", 1, base_path / "1")
    graph = weakref.ref(servable._graph)
    signature = servable.signatures["predict_pixels"]
    pixels = {signature.inputs["pixels"].name: np.zeros((1, 24), np.int32)}
    servable.run(pixels, (signature.outputs["denoised"].name,))
    servable.close()
    assert graph() is None


def test_many_swaps_leave_nothing_behind(models, base_path):
    with running(single_model_config("m", base_path)) as manager:
        for version in range(2, 25):
            add_version(models, base_path, version)
            shutil.rmtree(base_path / str(version - 1))
        wait_until(lambda: states(manager).get(24) == State.AVAILABLE)
        wait_until(lambda: all(s in (State.END, State.AVAILABLE) for s in states(manager).values()))
        assert len(states(manager)) <= 18
        assert not manager._unloading
