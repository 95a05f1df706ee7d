"""The benchmark: complete, right, and never done twice."""

import concurrent.futures
import contextlib
import io
import json
import shutil

import keras
import numpy as np
import pytest

from components.base.settings import ReportSettings
from components.export import signatures
from components.filters import FILTERS, ridge
from pipeline import config, display
from pipeline.benchmark import filters, photographs, robustness, severity, tables
from pipeline.benchmark import models as trained_models
from pipeline.benchmark import run as benchmarking
from pipeline.benchmark import workers as work
from pipeline.benchmark.contents import ALL, Benchmark, Method
from pipeline.benchmark.images import NoisyImages
from pipeline.commands.evaluate import measured
from pipeline.workspace import Workspace
from tests import clothing

SHAPE = (28, 28, 1)
TRAIN, TEST = 120, 40
NOISES = ("salt_pepper(rate=0.1)", "gaussian(sd=0.5)")
SETTINGS = config.load(
    "default",
    [
        "evaluation.thresholds={}",
        "evaluation.batch_size=16",
        f"noise.evaluation={list(NOISES)}",
        "report.classifier=false",
    ],
)
TRIED = ("gaussian_blur", "median")


class _Smoother(keras.layers.Layer):
    """The mean of 3 x 3 pixels: a denoiser that needs no training."""

    def call(self, images):
        return keras.ops.average_pool(images, 3, strides=1, padding="same")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return clothing.write_csvs(tmp_path_factory.mktemp("data"), train=TRAIN, test=TEST, seed=5)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "Format-Serving"
    inputs = keras.Input(SHAPE)
    pixels = clothing.images(2, seed=1)[0].reshape(2, -1)
    model = keras.Model(inputs, _Smoother()(inputs))
    signatures.export_servable(model, folder, SHAPE, pixels)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch, saved_model):
    """Two filters and severities, threads for processes, and two models in every workspace."""
    monkeypatch.setattr(filters, "FILTERS", {name: FILTERS[name] for name in TRIED})
    monkeypatch.setattr(robustness, "IMAGES", 10)
    monkeypatch.setattr(severity, "FACTORS", (0.5, 2.0))
    monkeypatch.setattr(severity, "GAUSSIAN_FACTORS", (0.5, 2.0))

    @contextlib.contextmanager
    def threads():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            yield pool

    monkeypatch.setattr(work, "workers", threads)
    models = [
        Method(
            name="model-1",
            title="smoother, blind",
            kind="model",
            trained_on="mixture(salt_pepper(rate=0.1), gaussian(sd=0.5))",
            saved_model=str(saved_model),
        ),
        Method(
            name="model-2",
            title="smoother, specialist",
            kind="model",
            trained_on=NOISES[1],
            specialist_for=NOISES[1],
            saved_model=str(saved_model),
        ),
    ]
    monkeypatch.setattr(trained_models, "trained_models", lambda *_: models)
    monkeypatch.setattr(photographs, "shipped_files", lambda: ({}, {"photographs": "not here"}))


@pytest.fixture
def counted(monkeypatch):
    """How often something was measured: a list that grows."""
    calls = []
    figures = NoisyImages.figures

    def counting(self, *arguments):
        calls.append(self)
        return figures(self, *arguments)

    monkeypatch.setattr(NoisyImages, "figures", counting)
    return calls


def _run(workspace, data, limit=None, settings=SETTINGS):
    with display.Steps(io.StringIO(), total=benchmarking.STEPS) as steps:
        return benchmarking.run(settings, workspace, data, limit, steps)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("workspace"))


def test_every_method_is_measured_under_every_noise(shared, data):
    found = _run(shared, data)
    methods = {"noisy", "model-1", "model-2", "gaussian_blur", "median", "ridge"}
    assert {method.name for method in found.methods} == methods
    assert {(result.method, result.noise) for result in found.results} == {
        (method, noise) for method in methods for noise in NOISES
    }
    for noise in NOISES:
        noisy = found.result("noisy", noise).total.psnr
        for method in methods - {"noisy"}:
            result = found.result(method, noise)
            assert result.total.psnr > noisy + 1, (method, noise)
            assert result.total.images == TEST
            assert sum(row.images for label, row in result.rows.items() if label != ALL) == TEST
            assert result.images_per_second > 0
        assert found.result("median", noise).tuning.parameters["size"] in (3, 5, 7)
        assert found.result("ridge", noise).tuning.images == TRAIN
    assert [item.model for item in found.published] == ["windsor_cae", "windsor_cnn"]
    assert found.clean.accuracy is None


def test_a_models_figures_are_those_of_denoise_evaluate(shared, data, saved_model):
    found = _run(shared, data)
    expected = measured(str(saved_model), data, SETTINGS)
    for row in expected:
        if row.noise == ALL:
            continue
        ours = found.result("model-1", row.noise).rows[row.label]
        noisy = found.result("noisy", row.noise).rows[row.label]
        assert ours.images == row.images
        for name in ("psnr", "ssim", "mse", "mae"):
            assert getattr(ours, name) == pytest.approx(getattr(row, name), rel=1e-5)
            assert getattr(noisy, name) == pytest.approx(getattr(row, f"noisy_{name}"), rel=1e-5)


def test_what_is_known_is_not_measured_again(shared, data, counted):
    first = _run(shared, data)
    before = len(counted)
    again = _run(shared, data)
    assert len(counted) == before
    assert again == first


def test_another_number_of_images_is_measured_but_nothing_tuned_again(
    shared, data, counted, monkeypatch
):
    full = _run(shared, data)
    del counted[:]
    monkeypatch.delattr(work, "trial")
    monkeypatch.delattr(ridge, "Moments")
    fewer = _run(shared, data, limit=20)
    assert fewer.images == 20
    assert len(counted) >= len(fewer.results)
    for method in (*TRIED, "ridge"):
        for noise in NOISES:
            assert fewer.result(method, noise).tuning == full.result(method, noise).tuning


@pytest.mark.ci
def test_another_seed_is_other_noise(shared, data):
    other = config.load("default", ["noise.seed=5", "report.classifier=false"]).noise
    changed = SETTINGS.model_copy(
        update={"noise": SETTINGS.noise.model_copy(update={"seed": other.seed})}
    )
    before, after = _run(shared, data), _run(shared, data, settings=changed)
    for noise in NOISES:
        assert before.result("noisy", noise).total != after.result("noisy", noise).total


def test_a_killed_benchmark_goes_on_where_it_stopped(tmp_path, data, counted, monkeypatch):
    measure = NoisyImages.figures

    def killed(self, *arguments):
        if len(counted) == 9:
            raise KeyboardInterrupt
        return measure(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(NoisyImages, "figures", killed)
        with pytest.raises(KeyboardInterrupt):
            _run(Workspace(tmp_path), data)
    assert not (tmp_path / "benchmark" / "benchmark.json").exists()
    found = _run(Workspace(tmp_path), data)
    points = sum(len(curve.points) * len(curve.lines) for curve in found.robustness)
    assert len(counted) == len(found.results) + points


def test_a_broken_result_is_measured_again(shared, tmp_path, data, counted):
    first = _run(shared, data)
    workspace = Workspace(tmp_path / "copy")
    shutil.copytree(shared.root, workspace.root)
    for result in (workspace.benchmark / "results").glob("noisy-[0-9a-f]*.json"):
        result.write_text("{")
    del counted[:]
    again = _run(workspace, data)
    assert len(counted) == len(NOISES)
    assert again.results == first.results


def test_the_curve_has_the_blind_model_the_specialist_and_a_filter(shared, data):
    found = _run(shared, data)
    salt_pepper, gaussian = found.robustness
    assert set(gaussian.lines) >= {"noisy", "model-1", "model-2"}
    assert "model-2" not in salt_pepper.lines
    assert len(set(salt_pepper.lines) & set(TRIED)) == 1
    for curve in found.robustness:
        assert curve.images == 10
        assert set(curve.lines) == set(curve.points[0].psnr)
        values = [point.psnr["noisy"] for point in curve.points]
        assert values == sorted(values, reverse=True)


@pytest.mark.ci
def test_without_models_there_is_a_benchmark(tmp_path, data, monkeypatch):
    monkeypatch.setattr(trained_models, "trained_models", lambda *_: [])
    found = _run(Workspace(tmp_path), data, limit=12)
    assert found.blind() is None
    assert "models" in found.left_out
    assert all(set(curve.lines) <= {"noisy", *TRIED} for curve in found.robustness)


def test_what_is_written(shared, data):
    found = _run(shared, data)
    folder = shared.benchmark
    written = Benchmark.model_validate(json.loads((folder / "benchmark.json").read_text()))
    assert written.plain() == found.plain()
    assert written.ranked(NOISES[0])[0].rows == found.ranked(NOISES[0])[0].rows
    page = (folder / "benchmark.html").read_text()
    assert f"{found.result('median', NOISES[0]).total.psnr:.2f}" in page
    figures = {file.name for file in (folder / "figures").iterdir()}
    assert figures == {"psnr-1.png", "psnr-2.png", "robustness-1.png", "robustness-2.png"}


def test_the_tables_say_who_is_best(shared, data):
    found = _run(shared, data)
    stream = io.StringIO()
    tables.show(found, shared.benchmark / "benchmark.html", display.console(stream))
    told = stream.getvalue()
    assert "smoother, blind" in told
    assert "not measured here" in told
    assert "0.01255" in told
    best = found.ranked(NOISES[0])[0]
    assert f"{best.total.psnr:.2f}" in told


@pytest.mark.ci
def test_recognition_by_a_classifier_trained_on_the_spot(tmp_path, data):
    settings = SETTINGS.model_copy(
        update={"report": ReportSettings(classifier=True, classifier_epochs=20)}
    )
    workspace = Workspace(tmp_path)
    found = _run(workspace, data, settings=settings)
    assert found.classifier["images"] == TRAIN
    assert found.clean.accuracy > 0.5
    for noise in NOISES:
        assert 0 <= found.result("median", noise).total.accuracy <= 1
    files = list(workspace.benchmark.glob("classifier/*/classifier.keras"))
    times = [file.stat().st_mtime_ns for file in files]
    assert _run(workspace, data, settings=settings) == found
    assert [file.stat().st_mtime_ns for file in files] == times


@pytest.mark.ci
def test_the_ridge_map_is_left_out_for_large_images(tmp_path, data, monkeypatch):
    monkeypatch.setattr(ridge, "MAX_PIXELS", 100)
    found = _run(Workspace(tmp_path), data, limit=12)
    assert "ridge" in found.left_out
    assert np.isfinite([result.total.psnr for result in found.results]).all()
