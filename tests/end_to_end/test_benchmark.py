"""`denoise benchmark` on a workspace where a run has ended, as a user calls it."""

import shutil

import pytest

from components.classifier.result import figures
from pipeline import clothing, config
from pipeline.benchmark import recognition
from pipeline.benchmark.contents import ALL, Benchmark
from pipeline.benchmark.subject import Subject
from pipeline.workspace import Workspace
from tests.end_to_end.conftest import PRESET, options

NOISE = "salt_pepper(rate=0.1)"


@pytest.fixture(scope="module")
def arguments(finished, tmp_path_factory):
    """The test images of the run, and few to tune with."""
    folder = clothing.write_csvs(tmp_path_factory.mktemp("data"), train=30, test=1)
    shutil.rmtree(folder / "test")
    shutil.copytree(finished.data / "test", folder / "test")
    noise = options(f"noise.evaluation=['{NOISE}']")
    return ["benchmark", "--no-photographs", "--data", str(folder), *noise]


@pytest.fixture(scope="module")
def called(finished, arguments):
    done = finished.call(*arguments, "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def found(called):
    return Benchmark.model_validate_json(called.stdout)


@pytest.fixture(scope="module")
def model(finished, found):
    """That of the last run: other tests may have run in the workspace before."""
    seconds = pytest.approx(finished.summary()["training"]["seconds"])
    (model,) = [method for method in found.methods if method.training_seconds == seconds]
    return model


def test_the_trained_model_is_found_with_what_it_was_trained_for(finished, found, model):
    summary = finished.summary()
    assert model.kind == "model"
    assert model.title.startswith("unet")
    assert model.preset == PRESET
    assert model.epochs == summary["settings"]["training"]["epochs"]
    assert model.parameters == summary["training"]["parameters"]
    assert found.blind().kind == "model"


def test_its_figures_are_the_evaluators(finished, found, model):
    rows = [row for row in finished.summary()["metrics"] if row["noise"] == NOISE]
    assert found.noises == [NOISE]
    assert {row["label"] for row in rows} > {ALL, "0"}
    for row in rows:
        ours = found.result(model.name, row["noise"]).rows[row["label"]]
        noisy = found.result("noisy", row["noise"]).rows[row["label"]]
        assert ours.images == row["images"]
        for name in ("mse", "mae", "psnr", "ssim"):
            assert getattr(ours, name) == pytest.approx(row[name], rel=1e-5), (row["noise"], name)
            assert getattr(noisy, name) == pytest.approx(row[f"noisy_{name}"], rel=1e-5)


def test_every_filter_was_tried_by_processes_of_its_own(found):
    filters = {method.name for method in found.methods if method.kind == "filter"}
    assert {"median", "nl_means", "total_variation", "wavelet"} <= filters
    assert ("bm3d" in filters) != ("BM3D" in found.left_out)
    for noise in found.noises:
        best = found.best("filter", noise)
        assert best.total.psnr > found.result("noisy", noise).total.psnr + 2
        assert best.total.accuracy is not None


def test_the_runs_own_classifier_is_asked_of_the_runs_own_data(finished, found):
    assert found.classifier["images"] == 30, "of other data one is trained"
    subject = Subject.read(config.load(PRESET), finished.data, None)
    (folder,) = finished.workspace.glob("pipeline_root/ReferenceClassifier/model/*")
    assert recognition.find(subject, Workspace(finished.workspace)).figures == figures(str(folder))


def test_a_second_call_measures_nothing(finished, called, arguments):
    results = finished.workspace / "benchmark" / "results"
    before = {file.name: file.stat().st_mtime_ns for file in results.iterdir()}
    done = finished.call(*arguments)
    assert done.returncode == 0, done.stderr[-4000:]
    assert {file.name: file.stat().st_mtime_ns for file in results.iterdir()} == before
    assert "unet" in done.stdout
    assert "recognised of the clean images" in done.stdout
    assert str(finished.workspace / "benchmark" / "benchmark.html") in done.stdout
