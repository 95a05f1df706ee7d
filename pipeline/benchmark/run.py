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
from pipeline.benchmark import workers as work
from pipeline.benchmark.contender import Contender, Told, noisy_input
from pipeline.benchmark.contents import (
    BENCHMARK_FILE,
    FIGURES_FOLDER,
    PAGE_FILE,
    Benchmark,
    CleanImages,
    Published,
    Result,
)
from pipeline.benchmark.findings import Findings
from pipeline.benchmark.published import PUBLISHED
from pipeline.benchmark.subject import Subject, tell
from pipeline.workspace import Workspace

STEPS = 7
_LIBRARIES = ("keras", "numpy", "PyWavelets", "scikit-image", "scipy", "tensorflow")


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
    findings = Findings(workspace.benchmark / "results")
    with steps.step("read images"):
        subject = Subject.read(settings, folder, limit)
    with steps.step("noisy input, classifier"):
        recognised = settings.report.classifier and len(settings.data.classes) > 1
        classifier = recognition.find(subject, workspace) if recognised else None
        measuring = _Measuring(subject, findings, classifier)
        if classifier is None:
            measuring.left_out["classifier"] = (
                "report.classifier is off" if settings.data.classes else "the images have no labels"
            )
        measuring.measure(noisy_input())
    with steps.step("models"):
        trained = models.contenders(workspace, settings.image, subject.noises)
        if not trained:
            reason = f"none was trained in {workspace.root} on such images"
            measuring.left_out["models"] = reason
        for number, contender in enumerate(trained):
            measuring.measure(contender, number, len(trained))
    with work.workers() as pool:
        with steps.step("classical filters"):
            measuring.left_out |= filters.left_out()
            names = filters.available()
            tuned = filters.contenders(names, subject, findings, pool)
            for number, contender in enumerate(tuned):
                measuring.measure(contender, number, len(names), begun=filters.TUNING_SHARE)
        with steps.step("ridge"):
            reasons = linear.left_out(subject)
            measuring.left_out |= reasons
            if not reasons:
                measuring.measure(linear.contender(subject, findings))
        with steps.step("robustness"):
            found = measuring.contents(folder, limit)
            contenders = {contender.method.name: contender for contender in measuring.contenders}
            curves = robustness.curves(subject, found, contenders, findings)
            found = found.model_copy(update={"robustness": curves})
    with steps.step("page"):
        write(found, workspace.benchmark)
    return found


class _Measuring:
    """What was measured so far.

    Attributes:
      left_out: What could not run, and why.
      contenders: Everything that was measured.
    """

    def __init__(
        self,
        subject: Subject,
        findings: Findings,
        classifier: recognition.Recognition | None,
    ):
        self._subject = subject
        self._findings = findings
        self._classifier = classifier
        self._classify = classifier.classify if classifier else None
        self._about = subject.key(subject.test)
        if classifier is not None:
            self._about["classifier"] = classifier.fingerprint
        self.left_out: dict[str, str] = {}
        self.contenders: list[Contender] = []
        self._results: list[Result] = []

    def measure(
        self, contender: Contender, number: int = 0, total: int = 1, begun: float = 0.0
    ) -> None:
        """Measures a method under every noise, as it is made for that noise.

        Args:
          contender: The method.
          number: Its place among those of the step, from 0.
          total: Number of methods of the step.
          begun: Share of its work that was done before.
        """
        noises = self._subject.noises
        for done, noise in enumerate(noises):
            title = f"{contender.method.title}, {noise}"

            def told(share: float, done: int = done, title: str = title) -> None:
                measured = (done + share) / len(noises)
                tell(number + begun + (1 - begun) * measured, total, title)

            told(0.0)
            self._results.append(self._result(contender, noise, told))
        self.contenders.append(contender)

    def _result(self, contender: Contender, noise: str, told: Told) -> Result:
        return contender.result(
            self._subject.noisy,
            noise,
            noise,
            self._about,
            self._findings,
            self._classify,
            told,
        )

    def contents(self, folder: pathlib.Path, limit: int | None) -> Benchmark:
        """What was found, but for the robustness."""
        subject = self._subject
        clean = self._findings.known(
            CleanImages, "clean", self._about, lambda: subject.noisy.clean_images(self._classify)
        )
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
            classifier=self._classifier.figures if self._classifier else None,
            methods=[contender.method for contender in self.contenders],
            results=self._results,
            published=[Published(**dataclasses.asdict(item)) for item in PUBLISHED],
            robustness=[],
            left_out=self.left_out,
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
