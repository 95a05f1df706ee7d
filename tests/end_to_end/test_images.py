"""A run on image files in folders, without labels."""

from __future__ import annotations

import json

import pytest

from tests import textures
from tests.end_to_end.conftest import Denoise

pytestmark = pytest.mark.ci
SETTINGS = (
    "image={height: 16, width: 16, channels: 3}",
    "data={patches: 8, max_drift: 1}",
    "noise={training: gaussian(sd=0.2), evaluation: [gaussian(sd=0.2)]}",
    "training.epochs=1",
    "evaluation={min_gain: -99, thresholds: {}}",
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = textures.write_folder(tmp_path_factory.mktemp("data"), train=8, test=3)
    (folder / "train" / "text.png").write_text("no image")
    denoise = Denoise(tmp_path_factory.mktemp("workspace"), folder)
    return denoise, denoise.run(*SETTINGS)


def test_files_become_a_pushed_model(ran):
    denoise, done = ran
    assert done.returncode == 0, done.stderr[-4000:]
    summary = denoise.summary()
    assert summary["outcome"] == "pushed"
    steps = [step["name"] for step in summary["steps"]]
    assert steps[0] == "ImageIngestion"
    assert "ReferenceClassifier" not in steps
    data = summary["data"]
    assert (data["format"], data["rows"], data["cut"]) == ("images", 12, 11)
    assert data["quarantined"] == {"unreadable": 1}
    assert sum(data["examples"].values()) == 88
    assert {row["label"] for row in summary["metrics"]} == {"*"}
    assert "data: no labels, so no figures by class and no classifier" in done.stderr
    assert "12 = 11 cut into 88 patches" in done.stderr


def test_the_report_tells_of_files_and_of_no_classes(ran):
    denoise, _ = ran
    (page,) = denoise.workspace.glob("reports/*/report.html")
    text = page.read_text()
    assert "Files: 12 = 11 cut into 88 patches" in text
    assert "not an image: expected PNG" in text
    assert "The images have no labels" in text
    assert "By class" not in text
    contents = json.loads(page.with_name("report.json").read_text())
    assert {picture["label"] for picture in contents["pictures"]} == {"-1"}


def test_the_same_files_are_answered_from_the_cache_and_others_are_not(ran):
    denoise, _ = ran
    status = json.loads(denoise.call("status", "--json").stdout)
    assert status["models"][-1]["data"] == str(denoise.data)
    assert status["models"][-1]["data_fingerprint"]
    done = denoise.call("evaluate", "--data", denoise.data, "--json", *_set(SETTINGS))
    assert done.returncode == 0, done.stderr[-4000:]
    (first, _) = json.loads(done.stdout)
    measured = denoise.summary()["metrics"][0]
    assert first["psnr"] == pytest.approx(measured["psnr"], abs=1e-4)
    assert first["images"] == 24


def _set(settings):
    return [part for value in settings for part in ("--set", value)]
