"""What a submission sends, and what it makes of the answers.

The stand-in for KFP's API answers with the models that its client library was generated with from
the API's own OpenAPI file, and takes only bodies and queries which that file knows.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
import urllib.parse

import kfp_server_api
import pytest

from components.base.errors import RunError
from pipeline.runners.kubeflow import file, submit

API = "/apis/v2beta1"
QUERIES = {
    "GET /healthz": set(),
    "GET /pipelines": {"namespace", "page_token", "page_size", "sort_by", "filter"},
    "POST /pipelines/upload": {"name", "description", "namespace"},
    "POST /pipelines/upload_version": {"name", "pipelineid", "description"},
    "GET /pipelines/ID/versions": {"page_token", "page_size", "sort_by", "filter"},
    "GET /experiments": {"namespace", "page_token", "page_size", "sort_by", "filter"},
    "POST /experiments": set(),
    "POST /runs": {"experiment_id"},
    "GET /runs/ID": {"experiment_id"},
    "POST /recurringruns": set(),
}
"""The calls that a submission makes, with their queries: the same in KFP 2.5 and 2.17."""


ID = re.compile(r"((?<=^/pipelines)|(?<=^/runs))/(?!upload)[^/]+")


class _Refused(Exception):
    """What KFP answers with a status other than 200."""


class _Kfp(http.server.BaseHTTPRequestHandler):
    """One call of KFP's API."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._call("GET", b"")

    def do_POST(self):
        self._call("POST", self.rfile.read(int(self.headers["Content-Length"])))

    def _call(self, verb, body):
        server, url = self.server, urllib.parse.urlsplit(self.path)
        try:
            if server.page:
                self._send(200, server.page.encode(), "text/html")
                return
            if self.headers.get("Authorization") != (server.token and f"Bearer {server.token}"):
                raise _Refused(401, "Unauthenticated")
            path = url.path.removeprefix(API)
            call = f"{verb} {ID.sub('/ID', path)}"
            query = dict(urllib.parse.parse_qsl(url.query))
            if call not in QUERIES or set(query) - QUERIES[call]:
                raise _Refused(404, f"Not Found: {call} {query}")
            answer = server.answer(call, path, query, body)
            self._send(200, json.dumps(MODELS.sanitize_for_serialization(answer)).encode())
        except _Refused as refused:
            status, message = refused.args
            self._send(status, json.dumps({"code": 13, "message": message}).encode())

    def _send(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


MODELS = kfp_server_api.ApiClient()


def _model(body, kind):
    """A request's body as the model it must be; what the model does not know is refused."""

    class Response:
        data = body.decode()

    model = MODELS.deserialize(Response, kind)
    if _fields(MODELS.sanitize_for_serialization(model)) != _fields(json.loads(body)):
        raise _Refused(400, f"{kind} has no such field: {body.decode()}")
    return model


def _fields(value, prefix=""):
    """Dotted names of all fields. Values may change: an int64 is a string in this API's JSON."""
    if not isinstance(value, dict):
        return {prefix}
    return {name for key, item in value.items() for name in _fields(item, f"{prefix}.{key}")}


class _Server(http.server.ThreadingHTTPServer):
    """KFP's API with what it remembers."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Kfp)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.token = self.page = None
        self.states = ["PENDING", "RUNNING", "SUCCEEDED"]
        """Of a run, as it is asked for."""
        self.pipelines, self.versions, self.experiments = [], [], []
        self.runs, self.recurring, self.uploads = [], [], []

    def answer(self, call, path, query, body):
        api = kfp_server_api
        if call == "GET /healthz":
            return api.V2beta1GetHealthzResponse(multi_user=False)
        if call == "GET /pipelines":
            found = self._filtered(self.pipelines, query)
            return api.V2beta1ListPipelinesResponse(pipelines=found, total_size=len(found))
        if call == "GET /experiments":
            found = self._filtered(self.experiments, query)
            return api.V2beta1ListExperimentsResponse(experiments=found, total_size=len(found))
        if call == "GET /pipelines/ID/versions":
            found = [v for v in self.versions if v.pipeline_id == path.split("/")[2]]
            return api.V2beta1ListPipelineVersionsResponse(
                pipeline_versions=found, total_size=len(found)
            )
        if call == "POST /pipelines/upload":
            if any(p.display_name == query["name"] for p in self.pipelines):
                raise _Refused(409, "Already exist error")
            pipeline = api.V2beta1Pipeline(
                pipeline_id=f"p{len(self.pipelines) + 1}", display_name=query["name"]
            )
            self.pipelines.append(pipeline)
            self._upload(pipeline.pipeline_id, query["name"], body)
            return pipeline
        if call == "POST /pipelines/upload_version":
            if query["pipelineid"] not in [p.pipeline_id for p in self.pipelines]:
                raise _Refused(404, "ResourceNotFoundError")
            # As in KFP, where pipelines are kept as Kubernetes resources.
            if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", query["name"]):
                raise _Refused(400, "a lowercase RFC 1123 subdomain must consist of …")
            return self._upload(query["pipelineid"], query["name"], body)
        if call == "POST /experiments":
            experiment = _model(body, "V2beta1Experiment")
            experiment.experiment_id = f"e{len(self.experiments) + 1}"
            self.experiments.append(experiment)
            return experiment
        if call == "POST /recurringruns":
            recurring = _model(body, "V2beta1RecurringRun")
            recurring.recurring_run_id = "rr1"
            self.recurring.append(recurring)
            return recurring
        if call == "POST /runs":
            run = _model(body, "V2beta1Run")
            if run.pipeline_version_reference not in [
                api.V2beta1PipelineVersionReference(
                    pipeline_id=v.pipeline_id, pipeline_version_id=v.pipeline_version_id
                )
                for v in self.versions
            ]:
                raise _Refused(404, "ResourceNotFoundError")
            run.run_id, run.state = "r1", self.states[0]
            self.runs.append(run)
            return run
        if path != "/runs/r1":
            raise _Refused(404, "ResourceNotFoundError")
        (run,) = self.runs
        if len(self.states) > 1:
            self.states.pop(0)
        run.state = self.states[0]
        return run

    @staticmethod
    def _filtered(values, query):
        (predicate,) = json.loads(query["filter"])["predicates"]
        assert predicate["key"] == "display_name"
        return [v for v in values if v.display_name == predicate["stringValue"]]

    def _upload(self, pipeline_id, name, body):
        self.uploads.append(body)
        version = kfp_server_api.V2beta1PipelineVersion(
            pipeline_id=pipeline_id,
            pipeline_version_id=f"v{len(self.versions) + 1}",
            display_name=name,
        )
        self.versions.append(version)
        return version


@pytest.fixture
def kfp(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KFP_TOKEN", raising=False)
    monkeypatch.setattr(submit, "_POLL_SECONDS", 0.01)
    server = _Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def path(spec, tmp_path):
    file.write(spec, tmp_path / "pipeline.yaml")
    return tmp_path / "pipeline.yaml"


def test_a_submission_uploads_starts_and_waits(kfp, path, places):
    result = submit.submit(path, kfp.url, {"epochs": "3"}, "nightly", wait_seconds=30)

    assert result == {
        "pipeline_id": "p1",
        "version_id": "v1",
        "run_id": "r1",
        "url": f"{kfp.url}/#/runs/details/r1",
        "state": "SUCCEEDED",
    }
    (uploaded,) = kfp.uploads
    assert path.read_bytes() in uploaded
    (run,) = kfp.runs
    assert run.runtime_config.parameters == {"epochs": 3}
    assert run.runtime_config.pipeline_root == places.pipeline_root
    assert run.pipeline_version_reference.pipeline_version_id == "v1"
    assert (run.experiment_id, kfp.experiments[0].display_name) == ("e1", "nightly")


def test_a_known_pipeline_gets_a_new_version_and_may_recur(kfp, path, places):
    submit.submit(path, kfp.url, {}, "nightly", None)
    result = submit.submit(path, kfp.url, {"data": "s3://b/d"}, "nightly", None, cron="0 0 3 * * *")

    assert result == {"pipeline_id": "p1", "version_id": "v2", "recurring_run_id": "rr1"}
    assert len(kfp.pipelines) == len(kfp.experiments) == 1
    (recurring,) = kfp.recurring
    assert recurring.trigger.cron_schedule.cron == "0 0 3 * * *"
    assert recurring.no_catchup is True
    assert recurring.pipeline_version_reference.pipeline_version_id == "v2"
    assert recurring.runtime_config.parameters == {"data": "s3://b/d"}
    assert recurring.runtime_config.pipeline_root == places.pipeline_root


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "SKIPPED"])
def test_a_run_that_does_not_succeed_is_an_error(kfp, path, state):
    kfp.states = ["PENDING", "RUNNING", state]
    with pytest.raises(RunError, match=rf"ended as {state}: http.*/#/runs/details/r1"):
        submit.submit(path, kfp.url, {}, "nightly", wait_seconds=30)


def test_a_run_that_takes_longer_goes_on(kfp, path):
    kfp.states = ["PENDING", "RUNNING"]
    with pytest.raises(RunError, match=r"RUNNING after 0\.1 seconds \(--wait\), and goes on: http"):
        submit.submit(path, kfp.url, {}, "nightly", wait_seconds=0.1)


def test_a_token_is_sent_and_one_that_is_refused_is_named(kfp, path, monkeypatch):
    kfp.token = "valid"
    for token in (None, "expired"):
        if token:
            monkeypatch.setenv("KFP_TOKEN", token)
        with pytest.raises(RunError, match=r"refused with status 401\. Set KFP_TOKEN"):
            submit.submit(path, kfp.url, {}, "nightly", None)
    monkeypatch.setenv("KFP_TOKEN", "valid")
    assert submit.submit(path, kfp.url, {}, "nightly", None)["run_id"] == "r1"


def test_an_endpoint_that_is_not_the_api_is_named(kfp, path):
    kfp.page = "<html>Log in</html>"
    with pytest.raises(RunError, match=r"a page, not with KFP's API.*KFP_TOKEN"):
        submit.submit(path, kfp.url, {}, "nightly", None)
    kfp.shutdown()
    kfp.server_close()
    with pytest.raises(RunError, match=f"--endpoint {kfp.url}"):
        submit.submit(path, kfp.url, {}, "nightly", None)
