"""What a submission sends, and what it makes of the answers."""

from __future__ import annotations

import http.server
import json
import threading

import pytest

from components.base.errors import RunError
from pipeline.runners.kubeflow import file, submit


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


def test_a_submission_uploads_starts_and_waits(kfp, spec, places, tmp_path):
    path = tmp_path / "pipeline.yaml"
    file.write(spec, path)
    result = submit.submit(path, kfp.url, {"epochs": "3"}, "nightly", wait_seconds=30)

    assert result["run_id"] == "r1"
    assert result["state"] == "SUCCEEDED"
    (uploaded,) = _sent(kfp, "/upload")
    assert path.read_bytes() in uploaded
    (run,) = _sent(kfp, "/runs")
    assert run["runtime_config"] == {
        "parameters": {"epochs": 3},
        "pipeline_root": places.pipeline_root,
    }
    assert run["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v1"}
    assert run["experiment_id"] == "e1"


def test_a_known_pipeline_gets_a_new_version_and_may_recur(kfp, spec, tmp_path):
    kfp.known = True
    path = tmp_path / "pipeline.yaml"
    file.write(spec, path)
    result = submit.submit(path, kfp.url, {}, "nightly", None, cron="0 0 3 * * *")

    assert (result["version_id"], result["recurring_run_id"]) == ("v2", "rr1")
    assert not _sent(kfp, "/upload")
    (recurring,) = _sent(kfp, "/recurringruns")
    assert recurring["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"


def test_a_failed_run_and_a_dead_endpoint_are_errors(kfp, spec, tmp_path):
    path = tmp_path / "pipeline.yaml"
    file.write(spec, path)
    kfp.state = "FAILED"
    with pytest.raises(RunError, match=r"ended as FAILED: http.*/#/runs/details/r1"):
        submit.submit(path, kfp.url, {}, "nightly", wait_seconds=30)
    kfp.shutdown()
    kfp.server_close()
    with pytest.raises(RunError, match="--endpoint"):
        submit.submit(path, kfp.url, {}, "nightly", None)
