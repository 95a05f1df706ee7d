"""`denoise benchmark`: the workspace's models against classical filters, on the same noise.

Every finding is a file of its own under WORKSPACE/benchmark/results, named by a fingerprint of
all that decides it, so a benchmark that was killed goes on where it stopped, and one that is
called again measures only what is new.
"""

from __future__ import annotations

import dataclasses
import pathlib
from importlib import metadata

from components.base.files import whole, write_json
from components.base.settings import Settings
from pipeline import display
from pipeline.benchmark import filters, linear, models, recognition, robustness
from pipeline.benchmark import photographs as photographing
from pipeline.benchmark import workers as work
from pipeline.benchmark.contender import noisy_input
from pipeline.benchmark.contents import (
    BENCHMARK_FILE,
    FIGURES_FOLDER,
    PAGE_FILE,
    Benchmark,
    CleanImages,
    Photographs,
    Published,
)
from pipeline.benchmark.findings import Findings
from pipeline.benchmark.measuring import Measuring
from pipeline.benchmark.published import PUBLISHED
from pipeline.benchmark.subject import Subject
from pipeline.workspace import Workspace

STEPS = 8
"""With photographs."""
_LIBRARIES = ("keras", "numpy", "PyWavelets", "scikit-image", "scipy", "tensorflow")


def run(
    settings: Settings,
    workspace: Workspace,
    folder: pathlib.Path,
    limit: int | None,
    steps: display.Steps,
    photographs: bool = True,
) -> Benchmark:
    """Measures what is not known yet, and writes benchmark.json and the page.

    Args:
      settings: `image`, `data.classes`, `noise.evaluation`, `noise.seed`, `report` and
        `evaluation.batch_size` count.
      workspace: Whose models are measured, and where results are kept.
      folder: A data folder: filters are tuned on `train`, everything is measured on `test`.
      limit: Test images; None: all.
      steps: Shows how far it is.
      photographs: Whether models of any size are measured on photographs, too.

    Raises:
      DataError: the data cannot be read.
      ModelError: a model cannot be loaded.
      UsageError: a noise is not one.
    """
    findings = Findings(workspace.benchmark / "results")
    left_out: dict[str, str] = {}
    with steps.step("read images"):
        subject = Subject.read(settings, folder, limit)
    with steps.step("noisy input, classifier"):
        recognised = settings.report.classifier and len(settings.data.classes) > 1
        classifier = recognition.find(subject, workspace) if recognised else None
        if classifier is None:
            left_out["classifier"] = (
                "report.classifier is off"
                if not settings.report.classifier
                else "the images have no labels, or all the same one"
            )
        measuring = Measuring(subject, findings, classifier)
        measuring.measure(noisy_input())
    with steps.step("models"):
        trained = models.contenders(workspace, settings.image, subject.noises)
        if not trained:
            left_out["models"] = f"none was trained in {workspace.root} on such images"
        for number, contender in enumerate(trained):
            measuring.measure(contender, number, len(trained))
    with work.workers() as pool:
        with steps.step("classical filters"):
            left_out |= filters.left_out()
            names = filters.available()
            tuned = filters.contenders(names, subject, findings, pool)
            for number, contender in enumerate(tuned):
                measuring.measure(contender, number, len(names), begun=filters.TUNING_SHARE)
        with steps.step("ridge"):
            reasons = linear.left_out(subject)
            left_out |= reasons
            if not reasons:
                measuring.measure(linear.contender(subject, findings))
        with steps.step("robustness"):
            clean = findings.known(
                CleanImages,
                "clean",
                measuring.about,
                lambda: subject.noisy.clean_images(classifier.classify if classifier else None),
            )
            found = _contents(subject, measuring, clean, classifier, folder, limit)
            contenders = {contender.method.name: contender for contender in measuring.contenders}
            curves = robustness.curves(subject, found, contenders, findings)
        photographed: list[Photographs] = []
        if photographs:
            with steps.step("photographs"):
                photographed, reasons = photographing.compared(
                    workspace, findings, pool, settings.noise.seed, limit
                )
                left_out |= reasons
    with steps.step("page"):
        found = found.model_copy(
            update={"robustness": curves, "photographs": photographed, "left_out": left_out}
        )
        write(found, workspace.benchmark)
    return found


def _contents(
    subject: Subject,
    measuring: Measuring,
    clean: CleanImages,
    classifier: recognition.Recognition | None,
    folder: pathlib.Path,
    limit: int | None,
) -> Benchmark:
    """What was found on the data folder, but for the robustness."""
    return Benchmark(
        data_folder=str(folder),
        images=len(subject.test),
        training_images=len(subject.train),
        tuning_images=len(subject.tuning.images),
        limit=limit,
        classes=list(subject.settings.data.classes),
        shape=subject.settings.image.shape,
        noises=subject.noises,
        seed=subject.settings.noise.seed,
        clean=clean,
        classifier=classifier.figures if classifier else None,
        methods=[contender.method for contender in measuring.contenders],
        results=measuring.results,
        published=[Published(**dataclasses.asdict(item)) for item in PUBLISHED],
        robustness=[],
        left_out={},
        cores=work.cores(),
        libraries={name: metadata.version(name) for name in _LIBRARIES},
    )


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
