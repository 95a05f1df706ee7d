"""What is compiled for Kubeflow Pipelines, what is refused, and what a submission sends."""

from __future__ import annotations

import copy
import http.server
import json
import pathlib
import threading

import pytest
import yaml

from components.base.errors import RunError, UsageError
from pipeline import config
from pipeline.runners.kubeflow import compile as kubeflow

LOCATIONS = kubeflow.Locations.under("s3://models/pipelines")


@pytest.fixture(scope="module")
def settings():
    return config.load(
        overrides=[
            "kubeflow.steps.Trainer.gpus=1",
            "kubeflow.steps.Trainer.image=denoise:gpu",
            "training.warm_start=true",
            "tuner.enabled=true",
        ]
    )


@pytest.fixture(scope="module")
def compiled(settings):
    return kubeflow.compile(settings, "denoise:1", LOCATIONS)


@pytest.fixture
def spec(compiled):
    return copy.deepcopy(compiled)


def _container(spec, step):
    return spec["deploymentSpec"]["executors"][f"{step}_executor"]["container"]


def test_a_compiled_pipeline_is_read_strictly_and_by_the_sdk(spec, tmp_path):
    kubeflow.write(spec, tmp_path / "pipeline.yaml")

    assert kubeflow.read(tmp_path / "pipeline.yaml") == spec
    assert spec["schemaVersion"] == "2.1.0"
    assert {next(iter(e)) for e in spec["deploymentSpec"]["executors"].values()} == {"container"}


def test_it_holds_the_steps_of_the_local_run(spec, settings):
    from pipeline import dag

    places = dag.Places(
        data="d", spans=False, schema="s.pbtxt", serving="m", pipeline_root="s3://models"
    )
    local = {component.id for component in dag.components(settings, places)}
    assert set(spec["root"]["dag"]["tasks"]) == local | {f"{n}-version" for n in kubeflow.VERSIONED}


def test_images_and_resources_are_those_of_the_settings(spec):
    trainer, statistics = _container(spec, "Trainer"), _container(spec, "StatisticsGen")
    assert trainer["image"] == "denoise:gpu"
    assert trainer["resources"]["accelerator"] == {"type": "nvidia.com/gpu", "count": "1"}
    assert trainer["resources"]["memoryLimit"] == 16
    assert statistics["image"] == "denoise:1"
    assert "accelerator" not in statistics["resources"]


def test_steps_that_look_outside_are_cached_by_what_they_saw(spec):
    tasks = spec["root"]["dag"]["tasks"]
    for step, parameter in kubeflow.VERSIONED.items():
        looking = f"{step}-version"
        assert not tasks[looking]["cachingOptions"].get("enableCache")
        assert tasks[step]["cachingOptions"]["enableCache"]
        assert looking in tasks[step]["dependentTasks"]
        assert tasks[step]["inputs"]["parameters"][parameter] == {
            "taskOutputParameter": {"producerTask": looking, "outputParameterKey": parameter}
        }


def test_an_operator_may_change_data_preset_and_epochs(spec):
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["data"]["defaultValue"] == LOCATIONS.data
    given = spec["root"]["dag"]["tasks"]
    assert given["CsvIngestion"]["inputs"]["parameters"]["input_base"] == {
        "componentInputParameter": "data"
    }
    assert given["Trainer"]["inputs"]["parameters"]["epochs"] == {
        "componentInputParameter": "epochs"
    }
    assert "epochs" not in given["Transform"]["inputs"]["parameters"]
    assert kubeflow.runtime_parameters(spec, {"epochs": "3"}) == {"epochs": 3}
    with pytest.raises(UsageError, match=r"no such parameter.*data, epochs, preset"):
        kubeflow.runtime_parameters(spec, {"epoch": "3"})
    with pytest.raises(UsageError, match="expected an integer"):
        kubeflow.runtime_parameters(spec, {"epochs": "three"})


def test_another_preset_gives_a_step_what_the_dag_gives_it(spec):
    trainer = spec["root"]["dag"]["tasks"]["Trainer"]["inputs"]["parameters"]
    other = kubeflow.step_parameters("Trainer", config.load("windsor_cae"), keep=trainer)

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

    parameters = tasks["Tuner"]["inputs"]["parameters"]
    other = kubeflow.step_parameters("Tuner", config.load("windsor_cae"), keep=parameters)
    assert json.loads(other["custom_config"])["model"]["name"] == "windsor_cae"


def test_a_preset_without_a_step_gives_it_nothing(spec):
    warm_start = spec["root"]["dag"]["tasks"]["WarmStart"]["inputs"]["parameters"]
    assert kubeflow.step_parameters("WarmStart", config.load("windsor_cae"), keep=warm_start) == {}


def test_without_a_warm_start_or_a_search_there_is_no_step_for_it():
    tasks = kubeflow.compile(config.load(), "denoise:1", LOCATIONS)["root"]["dag"]["tasks"]
    assert not {name for name in tasks if name.startswith(("WarmStart", "Tuner"))}
    assert not {"base_model", "hyperparameters"} & set(tasks["Trainer"]["inputs"]["artifacts"])


def _executor(spec, step, executor):
    spec["deploymentSpec"]["executors"][f"{step}_executor"] = executor


def _renamed(spec, task, name):
    tasks = spec["root"]["dag"]["tasks"]
    tasks[name] = tasks.pop(task)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            lambda s: _executor(s, "PushedModel", {"resolver": {}}),
            "PushedModel: resolver executors are not implemented",
        ),
        (
            lambda s: _executor(s, "Trainer", {"customJob": {}}),
            "Trainer: customJob executors are not implemented",
        ),
        (lambda s: _container(s, "Transform").pop("image"), "Transform: it has no image"),
        (lambda s: _container(s, "Transform").pop("command"), "Transform: it has no command"),
        (lambda s: s.update(schemaVersion="2.0.0"), "only 2.1.0 is accepted"),
        (lambda s: s["pipelineInfo"].update(name="Denoise It"), "name 'Denoise It'"),
        (lambda s: s.update(schema="2.1.0"), "no PipelineSpec"),
        (lambda s: _container(s, "Trainer").update(gpu=1), "no PipelineSpec"),
        (
            lambda s: _renamed(s, "ServingCheck", "Trainer-driver"),
            "Trainer-driver: KFP adds a task of this name itself",
        ),
        (lambda s: _renamed(s, "ServingCheck", "a.b"), r"a\.b: a task's name"),
        (lambda s: s["components"].pop("Trainer"), "Trainer: its component is missing"),
        (
            lambda s: s["root"]["dag"]["tasks"].pop("AnomalyGate"),
            "Transform: it waits for AnomalyGate",
        ),
    ],
)
def test_what_open_source_kfp_cannot_run_is_named(spec, broken, message):
    broken(spec)
    with pytest.raises(UsageError, match=message):
        kubeflow.check(spec)


def test_a_resolver_in_the_dag_is_refused_by_name(settings, monkeypatch):
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
    from tfx.types import Channel
    from tfx.types.standard_artifacts import Model

    from pipeline import dag

    resolver = Resolver(strategy_class=LatestArtifactStrategy, model=Channel(type=Model))
    components = dag.components
    monkeypatch.setattr(
        dag, "components", lambda *given: [*components(*given), resolver.with_id("LatestModel")]
    )
    with pytest.raises(UsageError, match="LatestModel: resolver executors are not implemented"):
        kubeflow.compile(settings, "denoise:1", LOCATIONS)


@pytest.mark.parametrize("root", ["/tmp/root", "http://a/b", "s3://"])
def test_a_pipeline_root_kfp_cannot_use_is_refused(root):
    with pytest.raises(UsageError, match="--pipeline-root"):
        kubeflow.Locations.under(root)


def test_only_yaml_is_written(spec, tmp_path):
    with pytest.raises(UsageError, match=r"\.yaml only"):
        kubeflow.write(spec, tmp_path / "pipeline.json")


class _Kfp(http.server.BaseHTTPRequestHandler):
    """The calls of KFP's API that a submission makes, as `kfp-server-api` describes them."""

    def _answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def do_GET(self):
        server, path = self.server, self.path.partition("?")[0]
        server.calls.append(("GET", path, None))
        if path.endswith("/pipelines"):
            found = [{"pipeline_id": "p1", "display_name": "denoise", "name": "denoise"}]
            self._answer({"pipelines": found if server.known else []})
        elif path.endswith("/versions"):
            self._answer({"pipeline_versions": [{"pipeline_version_id": "v1"}], "total_size": 1})
        elif "/experiments" in path:
            self._answer({"experiments": []})
        elif "/runs/" in path:
            server.polls += 1
            state = server.state if server.polls > 1 else "RUNNING"
            self._answer({"run_id": "r1", "state": state})
        else:
            self._answer({"multi_user": False})

    def do_POST(self):
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        upload = "/upload" in path
        self.server.calls.append(("POST", path, body if upload else json.loads(body)))
        if path.endswith("/pipelines/upload"):
            self._answer({"pipeline_id": "p1", "display_name": "denoise"})
        elif path.endswith("/upload_version"):
            self._answer({"pipeline_id": "p1", "pipeline_version_id": "v2"})
        elif path.endswith("/experiments"):
            self._answer({"experiment_id": "e1", "display_name": "denoise"})
        elif path.endswith("/recurringruns"):
            self._answer({"recurring_run_id": "rr1"})
        elif path.endswith("/runs"):
            self._answer({"run_id": "r1", "state": "PENDING"})
        else:
            self._answer({"error": "unexpected"}, status=500)


@pytest.fixture
def kfp(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Kfp)
    server.calls, server.known, server.state, server.polls = [], False, "SUCCEEDED", 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def _sent(server, ending):
    return [body for verb, path, body in server.calls if verb == "POST" and path.endswith(ending)]


def test_a_submission_uploads_starts_and_waits(kfp, spec, tmp_path):
    file = tmp_path / "pipeline.yaml"
    kubeflow.write(spec, file)
    result = kubeflow.submit(file, kfp.url, {"epochs": "3"}, "nightly", wait_seconds=30)

    assert result["run_id"] == "r1"
    assert result["state"] == "SUCCEEDED"
    (uploaded,) = _sent(kfp, "/upload")
    assert file.read_bytes() in uploaded
    (run,) = _sent(kfp, "/runs")
    assert run["runtime_config"] == {
        "parameters": {"epochs": 3},
        "pipeline_root": LOCATIONS.pipeline_root,
    }
    assert run["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v1"}
    assert run["experiment_id"] == "e1"


def test_a_known_pipeline_gets_a_new_version_and_may_recur(kfp, spec, tmp_path):
    kfp.known = True
    file = tmp_path / "pipeline.yaml"
    kubeflow.write(spec, file)
    result = kubeflow.submit(file, kfp.url, {}, "nightly", None, cron="0 0 3 * * *")

    assert (result["version_id"], result["recurring_run_id"]) == ("v2", "rr1")
    assert not _sent(kfp, "/upload")
    (recurring,) = _sent(kfp, "/recurringruns")
    assert recurring["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"


def test_a_failed_run_and_a_dead_endpoint_are_errors(kfp, spec, tmp_path):
    file = tmp_path / "pipeline.yaml"
    kubeflow.write(spec, file)
    kfp.state = "FAILED"
    with pytest.raises(RunError, match=r"ended as FAILED: http.*/#/runs/details/r1"):
        kubeflow.submit(file, kfp.url, {}, "nightly", wait_seconds=30)
    kfp.shutdown()
    kfp.server_close()
    with pytest.raises(RunError, match="--endpoint"):
        kubeflow.submit(file, kfp.url, {}, "nightly", None)


def test_a_file_that_is_no_pipeline_is_refused(tmp_path):
    file = tmp_path / "pipeline.yaml"
    with pytest.raises(UsageError, match="cannot be read"):
        kubeflow.read(file)
    file.write_text(yaml.safe_dump({"apiVersion": "argoproj.io/v1alpha1"}))
    with pytest.raises(UsageError, match="holds 0 pipelines"):
        kubeflow.read(pathlib.Path(file))
