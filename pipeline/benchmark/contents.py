"""What the benchmark says, as plain values: benchmark.json, and what its page is made of."""

from __future__ import annotations

import statistics
from typing import Any, Literal

import pydantic

from components.evaluation.result import ALL

BENCHMARK_FILE = "benchmark.json"
"""In the benchmark's folder: `contents.Benchmark`."""
PAGE_FILE = "benchmark.html"
"""In the benchmark's folder: the page. It needs no network and no other file."""
FIGURES_FOLDER = "figures"
"""In the benchmark's folder: each figure of the page as a PNG."""
BM3D = "bm3d"
"""The filter that is told how strong the noise of photographs is."""


Kind = Literal["noisy", "model", "filter", "linear"]


class Method(pydantic.BaseModel):
    """Something that denoises."""

    name: str
    """Unique."""
    title: str
    """For people; unique too."""
    kind: Kind
    source: str = ""
    trained_on: str | None = None
    """Models: the noise expression of their training, canonical."""
    specialist_for: str | None = None
    """Models trained on one noise of the benchmark alone: that noise."""
    preset: str | None = None
    epochs: int | None = None
    training_seconds: float | None = None
    training_cpu_seconds: float | None = None
    resumed_from_epoch: int = 0
    """Of a training that was killed: the seconds are of the epochs after this one."""
    training_precision: str | None = None
    parameters: int | None = None
    trained: str | None = None
    """When."""
    settings: dict[str, Any] = {}
    saved_model: str | None = None
    data: str | None = None
    """Models: their data folder."""


class Figures(pydantic.BaseModel):
    """Means of per-image values."""

    images: int
    mse: float
    mae: float
    psnr: float
    ssim: float
    accuracy: float | None = None
    """Share of the images that the classifier of clean images recognises."""


class Tuning(pydantic.BaseModel):
    """How a filter's parameters were found on training images under one noise."""

    parameters: dict[str, Any]
    curve: list[float] | None
    """A tone curve, where it was better with one: what 0, 1/255, ..., 1 become."""
    images: int
    """Training images it was chosen by."""
    psnr: float
    """On those, in dB."""
    plain_psnr: float | None = None
    """The best without a tone curve."""
    trials: int


class Result(pydantic.BaseModel):
    """One method under one noise."""

    method: str
    noise: str
    rows: dict[str, Figures]
    """By label, and for ALL."""
    images_per_second: float | None
    cores: int
    """That worked on it."""
    tuning: Tuning | None = None
    strip: str | None = None
    """The shown images side by side: a PNG as a data URI."""

    @property
    def total(self) -> Figures:
        """Over all classes."""
        return self.rows[ALL]


class Published(pydantic.BaseModel):
    """What a predecessor reported of itself."""

    model: str
    noise: str
    mse: float
    training_mse: float
    setting: str
    source: str


class CleanImages(pydantic.BaseModel):
    """The clean test images, and how the classifier sees them."""

    images: int
    by_label: dict[str, int]
    accuracy: float | None
    accuracy_by_label: dict[str, float] = {}
    shown: list[str]
    """Labels of the images in every strip, in order."""
    strip: str = ""


class Point(pydantic.BaseModel):
    """One severity of a curve."""

    severity: float
    noise: str
    psnr: dict[str, float]
    """Mean per-image PSNR in dB, by method."""


class Curve(pydantic.BaseModel):
    """PSNR against severity of one noise."""

    noise: str
    """The one of noise.evaluation whose severities are varied."""
    axis: str
    """What the severities count."""
    images: int
    lines: dict[str, str]
    """By method: what it is there for."""
    points: list[Point]


class Comparison(pydantic.BaseModel):
    """Methods on the same images, under the same noises."""

    images: int
    tuning_images: int
    classes: list[str]
    """Names of the labels that results are by."""
    noises: list[str]
    methods: list[Method]
    results: list[Result]

    def method(self, name: str) -> Method:
        """By its name."""
        return next(method for method in self.methods if method.name == name)

    def result(self, method: str, noise: str) -> Result:
        """Of one method under one noise."""
        return next(
            result for result in self.results if (result.method, result.noise) == (method, noise)
        )

    def ranked(self, noise: str) -> list[Result]:
        """All methods under one noise, the highest mean PSNR first."""
        results = [result for result in self.results if result.noise == noise]
        return sorted(results, key=lambda result: -result.total.psnr)

    def mean_psnr(self, method: str) -> float:
        """Over all noises, in dB."""
        return statistics.fmean(self.result(method, noise).total.psnr for noise in self.noises)

    def overall(self) -> list[Method]:
        """All methods, the highest mean PSNR over the noises first."""
        return sorted(self.methods, key=lambda method: -self.mean_psnr(method.name))

    def best(self, kind: Kind, noise: str) -> Result | None:
        """The best of one kind under one noise; of filters, by their tuning images."""
        found = [result for result in self.ranked(noise) if self.method(result.method).kind == kind]
        if kind == "filter":
            found.sort(key=lambda result: -(result.tuning.psnr if result.tuning else 0.0))
        return found[0] if found else None

    def class_name(self, label: str) -> str:
        """For people; empty where images have none."""
        number = int(label)
        if number < 0:
            return ""
        return self.classes[number] if number < len(self.classes) else label

    def what_for(self, result: Result) -> str:
        """What a method was trained on or tuned to, in a few words, for a row of a table."""
        method = self.method(result.method)
        if method.kind == "model":
            if method.specialist_for == result.noise:
                return "trained on this noise"
            if method.trained_on and method.trained_on.startswith("mixture("):
                return "blind: trained on a mixture"
            return f"trained on {method.trained_on}"
        if result.tuning is None:
            return ""
        words = [f"{name} {_plain(value)}" for name, value in result.tuning.parameters.items()]
        return ", ".join([*words, *(["tone curve"] if result.tuning.curve else [])])


class Gain(pydantic.BaseModel):
    """How a model's PSNR of each photograph differs from another method's, under one noise."""

    noise: str
    mean: float
    median: float
    better: int
    """Number of photographs of which it is higher."""


class Photographs(Comparison):
    """Models and filters on photographs that none was trained on; the classes are their names."""

    channels: int
    size: int
    """Side of the middle of each, which is measured, in pixels."""
    seed: int

    @property
    def title(self) -> str:
        """For people."""
        return f"photographs in {'grey' if self.channels == 1 else 'colour'}"

    def models(self) -> list[Method]:
        """The models, the highest mean PSNR first."""
        return [method for method in self.overall() if method.kind == "model"]

    def rival(self) -> Method | None:
        """What models are compared with: BM3D, or the filter with the highest mean PSNR."""
        filters = [method for method in self.overall() if method.kind == "filter"]
        told = [method for method in filters if method.name == BM3D]
        return next(iter([*told, *filters]), None)

    def gains(self, model: str, rival: str) -> list[Gain]:
        """By noise: how much a method is better than another, in dB."""
        gains = []
        for noise in self.noises:
            ours, theirs = self.result(model, noise).rows, self.result(rival, noise).rows
            each = [row.psnr - theirs[label].psnr for label, row in ours.items() if label != ALL]
            gains.append(
                Gain(
                    noise=noise,
                    mean=statistics.fmean(each),
                    median=statistics.median(each),
                    better=sum(gain > 0 for gain in each),
                )
            )
        return gains


class Benchmark(Comparison):
    """Everything."""

    data_folder: str
    training_images: int
    limit: int | None
    shape: tuple[int, int, int]
    seed: int
    clean: CleanImages
    classifier: dict[str, Any] | None
    """How the classifier of clean images was trained; None: there is none."""
    published: list[Published]
    robustness: list[Curve]
    photographs: list[Photographs] = []
    left_out: dict[str, str]
    """Methods that could not run, and why."""
    cores: int
    libraries: dict[str, str]

    def plain(self) -> dict[str, Any]:
        """What machines read: everything but the pictures."""
        strips: Any = {
            "results": {"__all__": {"strip"}},
            "photographs": {"__all__": {"results": {"__all__": {"strip"}}}},
            "clean": {"strip"},
        }
        return self.model_dump(mode="json", exclude=strips)

    def blind(self) -> Method | None:
        """The model with the best mean over the noises of those that were not trained on one."""
        models = [
            method
            for method in self.methods
            if method.kind == "model" and method.trained_on and "mixture(" in method.trained_on
        ]
        return max(models, key=lambda method: self.mean_psnr(method.name), default=None)

    def specialist(self, noise: str) -> Method | None:
        """The best model trained on this noise alone."""
        models = [method for method in self.methods if method.specialist_for == noise]
        return max(
            models, key=lambda method: self.result(method.name, noise).total.psnr, default=None
        )


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
