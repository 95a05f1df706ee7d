"""`denoise benchmark`: the workspace's models against classical filters, on the same noise.

Every finding is a file of its own under WORKSPACE/benchmark/results, named by a fingerprint of
all that decides it, so a benchmark that was killed goes on where it stopped, and one that is
called again measures only what is new.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import pydantic
import rich.box
import rich.console
import rich.table

from components.base.code import fingerprint
from components.base.errors import DataError
from components.base.files import whole, write_json
from components.base.progress import report
from components.base.settings import Settings
from components.csv_ingestion import data_folder
from components.filters import RIVALS, ridge
from components.filters import best_parameters as tuning
from pipeline import display
from pipeline.benchmark import models as trained_models
from pipeline.benchmark import workers as work
from pipeline.benchmark.contents import (
    BENCHMARK_FILE,
    FIGURES_FOLDER,
    PAGE_FILE,
    Benchmark,
    CleanImages,
    Curve,
    Method,
    Point,
    Published,
    Result,
    Tuning,
)
from pipeline.benchmark.published import PUBLISHED
from pipeline.workspace import Workspace

TUNING_IMAGES = 256
"""Training images a filter's parameters are chosen by, for each noise."""
ROBUSTNESS_IMAGES = 1_000
"""Test images of the robustness curves, with the smallest keys."""
RIDGE_HELD_OUT = 10
"""One training image in this many chooses the ridge map's regularisation."""
STEPS = 7

NOISY, RIDGE = "noisy", "ridge"
_STEP = "benchmark"
_MEASURING = ("pipeline.benchmark.images", "components.evaluation.measure")
_TUNING = ("pipeline.benchmark.workers", "components.filters.best_parameters")
_LIBRARIES = ("keras", "numpy", "PyWavelets", "scikit-image", "scipy", "tensorflow")

_Finding = TypeVar("_Finding", bound=pydantic.BaseModel)


class _Findings:
    """The files of what was found out.

    Args:
      folder: Where they are.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def find(self, kind: type[_Finding], name: str, decides: dict[str, Any]) -> _Finding | None:
        """What is known, if anything is; a file that is not as expected counts for nothing."""
        try:
            return kind.model_validate_json(self.file(name, decides).read_text())
        except (OSError, pydantic.ValidationError):
            return None

    def keep(self, finding: _Finding, name: str, decides: dict[str, Any]) -> _Finding:
        """Writes a finding, whole or not at all."""
        write_json(self.file(name, decides), finding.model_dump(mode="json"))
        return finding

    def file(self, name: str, decides: dict[str, Any]) -> pathlib.Path:
        """Where a finding is kept."""
        content = json.dumps([name, decides], sort_keys=True, default=str)
        return self._folder / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:20]}.json"


@dataclasses.dataclass(frozen=True)
class _Classifier:
    """The classifier of clean images."""

    fingerprint: str
    figures: dict[str, Any]
    classify: Callable[[np.ndarray], np.ndarray]


class _Benchmarking:
    """One call of the command; see `run`."""

    def __init__(self, settings: Settings, workspace: Workspace, folder: pathlib.Path):
        self.settings = settings
        self.workspace = workspace
        self.folder = folder
        self.noises = list(settings.noise.evaluation)
        self.findings = _Findings(workspace.benchmark / "results")
        self.left_out: dict[str, str] = {}
        self.methods: list[Method] = []
        self.results: list[Result] = []

    def read(self, limit: int | None) -> None:
        """Reads the images."""
        from pipeline.benchmark.images import Images, NoisyImages

        shape = self.settings.image.shape

        def images(split: str) -> Images:
            classes = len(self.settings.data.classes)
            rows = data_folder.rows(self.folder, split, self.settings.image.pixels, classes)
            return Images.gather(rows, shape)

        report(_STEP, 0, 2, "reading the training images")
        self.train = images("train")
        report(_STEP, 1, 2, "reading the test images")
        self.test = images("test").first(limit)
        self.tuning_images = self.train.first(TUNING_IMAGES)
        if len(self.tuning_images) < 2:
            raise DataError(f"{self.folder}: train has too few images to tune a filter by.")
        arguments = self.settings.noise.seed, self.settings.evaluation.batch_size
        self.noisy = NoisyImages(self.test, self.noises, *arguments)
        self.noisy_tuning = NoisyImages(self.tuning_images, self.noises, *arguments)
        self.train_fingerprint = self.train.fingerprint()
        self._about_test = self._about(self.test)

    def _about(self, images: Any) -> dict[str, Any]:
        """What a figure on some test images depends on, but for the method and the noise."""
        return {
            "images": images.fingerprint(),
            "shape": self.settings.image.shape,
            "seed": self.settings.noise.seed,
            "code": fingerprint(*_MEASURING),
        }

    def find_classifier(self) -> None:
        """Takes the classifier of the workspace's last run that had one, or trains one."""
        self.classifier: _Classifier | None = None
        if not self.settings.report.classifier:
            self.left_out["classifier"] = "report.classifier is off"
            return
        from components.classifier.result import CLASSIFIER_FILE, FIGURES_FILE, load_classifier

        folder = self._trained_classifier() or self._train_classifier()
        content = (folder / CLASSIFIER_FILE).read_bytes()
        classify = load_classifier(str(folder))
        self.classifier = _Classifier(
            hashlib.sha256(content).hexdigest()[:16],
            json.loads((folder / FIGURES_FILE).read_text()),
            lambda images: np.asarray(classify(images)),
        )
        self._about_test["classifier"] = self.classifier.fingerprint

    def _trained_classifier(self) -> pathlib.Path | None:
        if not self.workspace.metadata.exists():
            return None
        from components.classifier.result import CLASSIFIER_FILE
        from pipeline.history.lineage import DONE, Lineage

        for step in reversed(Lineage(self.workspace).steps()):
            model = step.output("model")
            if step.component != "ReferenceClassifier" or step.state not in DONE or model is None:
                continue
            given = json.loads(step.parameters["sections"])
            if (
                given["image"] == self.settings.image.model_dump(mode="json")
                and given["classes"] == len(self.settings.data.classes)
                and pathlib.Path(model.uri, CLASSIFIER_FILE).is_file()
            ):
                return pathlib.Path(model.uri)
        return None

    def _train_classifier(self) -> pathlib.Path:
        from components.classifier import classifier
        from components.classifier.result import CLASSIFIER_FILE, FIGURES_FILE

        epochs = self.settings.report.classifier_epochs
        decides = [self.train_fingerprint, self.settings.image.shape, epochs, self.settings.seed]
        decides.append(fingerprint("components.classifier.classifier"))
        name = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]
        folder = self.workspace.benchmark / "classifier" / name
        if (folder / FIGURES_FILE).is_file():
            return folder
        images = self.train.first(classifier.MAX_TRAINING_IMAGES)
        trained = classifier.train(
            images.pixels.reshape(-1, *images.shape),
            images.labels,
            len(self.settings.data.classes),
            epochs,
            self.settings.seed,
        )
        folder.mkdir(parents=True, exist_ok=True)
        trained.save(folder / CLASSIFIER_FILE)
        write_json(
            folder / FIGURES_FILE,
            {"images": len(images), "epochs": epochs, "parameters": trained.count_params()},
        )
        return folder

    @property
    def _classify(self) -> Callable[[np.ndarray], np.ndarray] | None:
        return self.classifier.classify if self.classifier else None

    def clean(self) -> CleanImages:
        """The clean test images."""
        decides = self._about_test
        known = self.findings.find(CleanImages, "clean", decides)
        return known or self.findings.keep(
            self.noisy.clean_images(self._classify), "clean", decides
        )

    def _measure(
        self,
        method: Method,
        decides: dict[str, Any],
        denoised: Callable[[str], tuple[np.ndarray, float | None]],
        cores: int,
        tunings: dict[str, Tuning] | None = None,
    ) -> None:
        """Measures a method under every noise, unless it is known how it does.

        Args:
          method: Which.
          decides: What its results depend on, beside images, noise and measuring.
          denoised: A noise to all test images denoised and the seconds it took.
          cores: That it works on.
          tunings: By noise.
        """
        self.methods.append(method)
        for noise in self.noises:
            tuned = tunings[noise] if tunings else None
            key = {**self._about_test, **decides, "noise": noise}
            if tuned is not None:
                key["tuning"] = tuned.model_dump(mode="json")
            known = self.findings.find(Result, method.name, key)
            if known is None:
                images, seconds = denoised(noise)
                known = self.noisy.result(
                    method.name, noise, images, seconds, cores, self._classify, tuned
                )
                self.findings.keep(known, method.name, key)
            self.results.append(known)

    def measure_noisy(self) -> None:
        """The noisy input itself."""
        method = Method(name=NOISY, title="noisy input", kind="noisy")
        self._measure(method, {}, lambda noise: (self.noisy.noisy(noise), None), 0)

    def measure_models(self) -> None:
        """The workspace's models."""
        models = trained_models.trained_models(self.workspace, self.settings.image, self.noises)
        if not models:
            self.left_out["models"] = f"none was trained in {self.workspace.root} on such images"
        for number, method in enumerate(models):
            report(_STEP, number, len(models), f"{method.title}")
            load, fingerprint = _lazy_model(method)

            def denoised(noise: str, load: Any = load) -> tuple[np.ndarray, float]:
                return self.noisy.denoised(load(), noise)

            self._measure(method, {"model": fingerprint}, denoised, work.cores())

    def measure_filters(self) -> None:
        """The classical filters, tuned for each noise on training images."""
        available = {}
        for name, rival in RIVALS.items():
            reason = work.unavailable(name)
            if reason is None:
                available[name] = rival
            else:
                self.left_out[rival.title] = reason
        with work.workers() as pool:
            for number, (name, rival) in enumerate(available.items()):
                place = number, len(available)
                tunings = {noise: self._tune(name, noise, pool, place) for noise in self.noises}

                def denoised(
                    noise: str, name: str = name, place: Any = place, tunings: Any = tunings
                ):
                    return _in_chunks(
                        pool, name, tunings[noise], self.noisy.noisy(noise), place, noise
                    )

                method = Method(name=name, title=rival.title, kind="filter", source=rival.source)
                decides = {"code": self._filter_code(name)}
                self._measure(method, {"filter": decides}, denoised, 1, tunings)

    def _filter_code(self, name: str) -> list[str]:
        from importlib import metadata

        versions = [metadata.version(library) for library in ("numpy", "scikit-image", "scipy")]
        return [fingerprint(RIVALS[name].__module__, *_TUNING), *versions]

    def _tune(
        self,
        name: str,
        noise: str,
        pool: concurrent.futures.Executor,
        place: tuple[int, int],
    ) -> Tuning:
        """A filter's parameters for a noise."""
        candidates = RIVALS[name].candidates(self.settings.image.shape)
        decides = {
            **self._about(self.tuning_images),
            "noise": noise,
            "candidates": candidates,
            "filter": self._filter_code(name),
        }
        known = self.findings.find(Tuning, f"{name}-tuning", decides)
        if known is not None:
            return known
        noisy, clean = self.noisy_tuning.noisy(noise), self.noisy_tuning.clean
        futures = [
            pool.submit(work.trial, name, parameters, noisy, clean) for parameters in candidates
        ]
        title = RIVALS[name].title
        trials = []
        for done, future in enumerate(futures):
            share = place[0] + 0.5 * done / len(futures)
            _report_share(share, place[1], f"{title}, {noise}: tuning")
            trials.append(future.result())
        tuned = tuning.choose(RIVALS[name], trials, noisy, clean)
        found = Tuning(
            parameters=tuned.parameters,
            curve=None
            if tuned.curve is None
            else [round(value, 5) for value in tuned.curve.tolist()],
            images=len(clean),
            psnr=tuned.psnr,
            plain_psnr=tuned.plain_psnr,
            trials=tuned.trials,
        )
        return self.findings.keep(found, f"{name}-tuning", decides)

    def measure_ridge(self) -> None:
        """The linear map, fitted for each noise on all training images."""
        if self.settings.image.pixels > ridge.MAX_PIXELS:
            self.left_out["ridge"] = f"images of more than {ridge.MAX_PIXELS} values"
            return
        method = Method(
            name=RIDGE,
            title="ridge",
            kind="linear",
            source="Hoerl, Kennard, Technometrics 12(1), 1970",
            parameters=(self.settings.image.pixels + 1) * self.settings.image.pixels,
        )
        code = fingerprint("components.filters.ridge", "components.filters.best_parameters")
        decides = {"train": self.train_fingerprint, "ridge": code}
        fitted = {
            noise: self._ridge_map(noise, number, decides)
            for number, noise in enumerate(self.noises)
        }
        self._measure(
            method,
            decides,
            lambda noise: self.noisy.denoised(fitted[noise][0], noise),
            work.cores(),
            {noise: tuned for noise, (_, tuned) in fitted.items()},
        )

    def _ridge_map(
        self, noise: str, number: int, decides: dict[str, Any]
    ) -> tuple[ridge.LinearMap, Tuning]:
        """The linear map of a noise, from its file or fitted and kept there."""
        key = {**self._about(self.tuning_images), **decides, "noise": noise}
        known = self.findings.find(Tuning, "ridge-tuning", key)
        weights = self.findings.file("ridge-weights", key).with_suffix(".npz")
        if known is not None and weights.is_file():
            with np.load(weights) as kept:
                return ridge.LinearMap(kept["weights"], kept["offset"]), known
        fitted, found = self._fit_ridge(noise, number)
        with whole(weights) as file:
            np.savez(file, weights=fitted.weights, offset=fitted.offset)
        return fitted, self.findings.keep(found, "ridge-tuning", key)

    def _fit_ridge(self, noise: str, number: int) -> tuple[ridge.LinearMap, Tuning]:
        from components.evaluation.measure import Measurement
        from pipeline.benchmark.images import batches

        measurement = Measurement([noise], self.settings.noise.seed)
        held_out: list[tuple[np.ndarray, np.ndarray]] = []
        moments = ridge.Moments(self.settings.image.pixels)
        parts = list(batches(len(self.train), 2_000))
        for done, part in enumerate(parts):
            _report_share(number + done / len(parts), len(self.noises), f"ridge, {noise}")
            clean = self.train.clean(part)
            noisy = np.asarray(measurement.noisy(noise, clean, self.train.keys[part])[0])
            chosen = np.arange(len(clean)) % RIDGE_HELD_OUT == 0
            held_out.append((noisy[chosen], clean[chosen]))
            moments.add(noisy[~chosen], clean[~chosen])
        noisy, clean = (np.concatenate(images) for images in zip(*held_out, strict=True))
        maps = moments.solve(ridge.REGULARISATIONS)
        scores = [float(tuning.psnr(clean, candidate(noisy)).mean()) for candidate in maps]
        best = int(np.argmax(scores))
        return maps[best], Tuning(
            parameters={"regularisation": ridge.REGULARISATIONS[best]},
            curve=None,
            images=len(self.train),
            psnr=scores[best],
            trials=len(scores),
        )

    def measure_robustness(self, found: Benchmark) -> list[Curve]:
        """PSNR against severity of each noise: blind model, specialist, best filter, noisy."""
        from pipeline.benchmark.images import NoisyImages
        from pipeline.benchmark.severity import axis, severities

        images = self.test.first(ROBUSTNESS_IMAGES)
        about = self._about(images)
        curves = []
        with work.workers() as pool:
            for number, noise in enumerate(self.noises):
                points = severities(noise)
                if not points:
                    continue
                lines = _lines(found, noise)
                noisy = NoisyImages(
                    images,
                    [point.noise for point in points],
                    self.settings.noise.seed,
                    self.settings.evaluation.batch_size,
                )
                psnr: dict[str, dict[str, float]] = {point.noise: {} for point in points}
                for method in lines:
                    denoise, decides = self._denoiser(found, method, noise, pool)
                    for done, expression in enumerate(psnr):
                        share = number + done / len(points)
                        _report_share(share, len(self.noises), f"robustness, {expression}")
                        key = {**about, **decides, "noise": expression}
                        known = self.findings.find(Result, f"{method}-robustness", key)
                        if known is None:
                            denoised, seconds = denoise(noisy, expression)
                            known = Result(
                                method=method,
                                noise=expression,
                                rows=noisy.figures(denoised),
                                images_per_second=len(images) / seconds if seconds else None,
                                cores=1,
                            )
                            self.findings.keep(known, f"{method}-robustness", key)
                        psnr[expression][method] = known.total.psnr
                curves.append(
                    Curve(
                        noise=noise,
                        axis=axis(noise),
                        images=len(images),
                        lines=lines,
                        points=[
                            Point(severity=point.value, noise=point.noise, psnr=psnr[point.noise])
                            for point in points
                        ],
                    )
                )
        return curves

    def _denoiser(
        self, found: Benchmark, name: str, noise: str, pool: concurrent.futures.Executor
    ) -> tuple[Callable[[Any, str], tuple[np.ndarray, float | None]], dict[str, Any]]:
        """A method as it is for `noise`, to be tried on others, and what its results depend on."""
        method = found.method(name)
        if method.kind == "noisy":
            return lambda images, other: (images.noisy(other), None), {}
        if method.kind == "model":
            load, fingerprint = _lazy_model(method)
            return lambda images, other: images.denoised(load(), other), {"model": fingerprint}
        tuned = found.result(name, noise).tuning
        assert tuned is not None
        decides = {"filter": self._filter_code(name), "tuning": tuned.model_dump(mode="json")}
        return (
            lambda images, other: _in_chunks(pool, name, tuned, images.noisy(other)),
            decides,
        )

    def contents(self, limit: int | None) -> Benchmark:
        """What was found so far."""
        from importlib import metadata

        return Benchmark(
            data_folder=str(self.folder),
            images=len(self.test),
            training_images=len(self.train),
            tuning_images=len(self.tuning_images),
            limit=limit,
            classes=list(self.settings.data.classes),
            shape=self.settings.image.shape,
            noises=self.noises,
            seed=self.settings.noise.seed,
            clean=self.clean(),
            classifier=self.classifier.figures if self.classifier else None,
            methods=self.methods,
            results=self.results,
            published=[Published(**dataclasses.asdict(item)) for item in PUBLISHED],
            robustness=[],
            left_out=self.left_out,
            cores=work.cores(),
            libraries={name: metadata.version(name) for name in _LIBRARIES},
        )


def _lazy_model(method: Method) -> tuple[Callable[[], Any], str]:
    """A function that loads a model when it is first called, and the model's fingerprint."""
    from components.evaluation.measure import load_denoiser

    assert method.saved_model is not None
    path = method.saved_model
    loaded: list[Any] = []

    def load() -> Any:
        if not loaded:
            loaded.append(load_denoiser(path))
        return loaded[0]

    return load, trained_models.fingerprint(pathlib.Path(path))


def _in_chunks(
    pool: concurrent.futures.Executor,
    name: str,
    tuned: Tuning,
    noisy: np.ndarray,
    place: tuple[int, int] | None = None,
    noise: str = "",
) -> tuple[np.ndarray, float]:
    """A filter's results, by the worker processes, and the seconds it took of one core."""
    futures = [
        pool.submit(
            work.denoise, name, tuned.parameters, tuned.curve, noisy[start : start + work.CHUNK]
        )
        for start in range(0, len(noisy), work.CHUNK)
    ]
    results = []
    for done, future in enumerate(futures):
        if place is not None:
            share = place[0] + 0.5 + 0.5 * done / len(futures)
            _report_share(share, place[1], f"{RIVALS[name].title}, {noise}")
        results.append(future.result())
    return np.concatenate([images for images, _ in results]), sum(s for _, s in results)


def _report_share(done: float, total: int, message: str) -> None:
    """Progress in hundredths: a bar counts whole units."""
    report(_STEP, int(100 * done), 100 * total, message)


def _lines(found: Benchmark, noise: str) -> dict[str, str]:
    """The methods of a robustness curve, and what each is there for."""
    lines = {NOISY: "noisy input"}
    best = found.best("filter", noise)
    if best is not None:
        lines[best.method] = f"{found.method(best.method).title}, tuned for {noise}"
    specialist, blind = found.specialist(noise), found.blind()
    if specialist is not None:
        lines[specialist.name] = f"{specialist.title}: specialist for {noise}"
    if blind is not None:
        lines[blind.name] = f"{blind.title}: blind"
    return lines


def run(
    settings: Settings,
    workspace: Workspace,
    folder: pathlib.Path,
    limit: int | None,
    steps: display.Steps,
) -> Benchmark:
    """Measures what is not known yet, and writes benchmark.json and the page.

    Args:
      settings: `image`, `data.classes`, `noise.evaluation`, `noise.seed`, `report` and
        `evaluation.batch_size` count.
      workspace: Whose models are measured, and where results are kept.
      folder: A data folder: filters are tuned on `train`, everything is measured on `test`.
      limit: Test images; None: all.
      steps: Shows how far it is.

    Raises:
      DataError: the data cannot be read.
      ModelError: a model cannot be loaded.
      UsageError: a noise is not one.
    """
    benchmarking = _Benchmarking(settings, workspace, folder)
    with steps.step("read images"):
        benchmarking.read(limit)
    with steps.step("noisy input, classifier"):
        benchmarking.find_classifier()
        benchmarking.measure_noisy()
    with steps.step("models"):
        benchmarking.measure_models()
    with steps.step("classical filters"):
        benchmarking.measure_filters()
    with steps.step("ridge"):
        benchmarking.measure_ridge()
    with steps.step("robustness"):
        found = benchmarking.contents(limit)
        curves = benchmarking.measure_robustness(found)
        found = found.model_copy(update={"robustness": curves})
    with steps.step("page"):
        write(found, workspace.benchmark)
    return found


def write(found: Benchmark, folder: pathlib.Path) -> None:
    """Writes benchmark.json, the page and its figures."""
    from pipeline.benchmark import page, plots

    figures = plots.plots(found)
    # First, since it says that what else is here is this command's.
    write_json(folder / BENCHMARK_FILE, found.plain())
    for section in figures.values():
        for plot in section:
            with whole(folder / FIGURES_FOLDER / f"{plot.name}.png") as file:
                file.write(plot.png)
    with whole(folder / PAGE_FILE, "w") as file:
        file.write(page.render(found, figures))


def _number(value: float | None, form: str, missing: str = "") -> str:
    return missing if value is None else format(value, form)


def tables(found: Benchmark) -> Iterator[rich.table.Table]:
    """The models, a table for each noise, the published figures."""
    models = [method for method in found.methods if method.kind == "model"]
    if models:
        yield _table(
            "Models of the workspace",
            ("model", "preset", ">parameters", ">epochs", ">trained, s", "trained on"),
            (
                (
                    method.title,
                    method.preset or "",
                    _number(method.parameters, ","),
                    _number(method.epochs, ","),
                    _number(method.training_seconds, ".0f"),
                    method.trained_on or "",
                )
                for method in models
            ),
        )
    for noise in found.noises:
        yield _table(
            f"{noise}, {found.images:,} test images",
            ("", ">PSNR, dB", ">SSIM", ">MSE", ">recognised", ">images/s", ">cores", "with"),
            (
                (
                    found.method(result.method).title,
                    f"{result.total.psnr:.2f}",
                    f"{result.total.ssim:.4f}",
                    f"{result.total.mse:.5f}",
                    _number(result.total.accuracy, ".1%"),
                    _number(result.images_per_second, ",.0f"),
                    str(result.cores or ""),
                    found.what_for(result),
                )
                for result in found.ranked(noise)
            ),
        )
    yield _table(
        "Published by the predecessors of themselves: own noise and data, not measured here",
        ("model", ">MSE", ">training MSE", "setting"),
        (
            (item.model, f"{item.mse:.5f}", f"{item.training_mse:.5f}", item.setting)
            for item in found.published
        ),
    )


def _table(title: str, columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> rich.table.Table:
    """A table; a column whose name begins with > holds numbers."""
    table = rich.table.Table(title=title, box=rich.box.SIMPLE_HEAD, title_justify="left")
    names = list(columns)
    for position, name in enumerate(names):
        last = position == len(names) - 1
        justify: Any = "right" if name.startswith(">") else "left"
        table.add_column(name.removeprefix(">"), justify=justify, no_wrap=not last)
    for row in rows:
        table.add_row(*row)
    return table


def show(found: Benchmark, page: pathlib.Path, console: rich.console.Console) -> None:
    """Prints the tables."""
    for table in tables(found):
        console.print(table)
    if found.clean.accuracy is not None:
        console.print(f"recognised of the clean images: {found.clean.accuracy:.1%}")
    for name, reason in found.left_out.items():
        console.print(f"{name}: {reason}", soft_wrap=True)
    console.print(f"page        {page}", soft_wrap=True)


__all__ = [
    "BENCHMARK_FILE",
    "FIGURES_FOLDER",
    "PAGE_FILE",
    "STEPS",
    "run",
    "show",
    "tables",
    "write",
]
