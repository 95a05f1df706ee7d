"""The one settings object: typed, validated, frozen.

Nothing in the project reads a setting from anywhere else: a step is handed `Settings` and takes
the sections it needs. pipeline/config.py makes one from a preset and `--set`.
"""

from __future__ import annotations

import ast
import math
import pathlib
import re
import types
import typing
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

DEFAULT_PRESET = "default"

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


_SHORT_FORM = re.compile(r"\b([A-Za-z_]\w*)\s*:\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)")


def _long_form(expression: str) -> str:
    return _SHORT_FORM.sub(r"\1(\2)", expression.strip())


def noise_tree(expression: str) -> ast.expr:
    """The syntax tree of a noise expression, `gaussian:0.5` taken for `gaussian(0.5)`.

    Raises:
      ValueError: it is not even one; components.noise knows the names.
    """
    try:
        return ast.parse(_long_form(expression), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from error


def _check_noise(expression: str) -> str:
    """Refuses what is not even a noise expression; components.noise knows the names."""
    try:
        node = noise_tree(expression)
    except ValueError as error:
        raise ValueError(
            f"{expression!r} is not a noise: write name(parameter=value), for example "
            "salt_pepper(rate=0.1), joined by + to apply one after the other"
        ) from error
    if not isinstance(node, (ast.Call, ast.BinOp, ast.Name)):
        raise ValueError(f"{expression!r} is not a noise: write name(parameter=value)")
    return _long_form(expression)


Module = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
"""A dotted name."""

NoiseExpression = Annotated[str, pydantic.AfterValidator(_check_noise)]


def _kinds(annotation: Any) -> set[type]:
    """The plain types that an annotation allows at its outermost."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return {type(value) for value in typing.get_args(annotation)}
    if origin in (typing.Union, types.UnionType, Annotated):
        return set().union(*map(_kinds, typing.get_args(annotation)))
    return {origin or annotation}


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        if isinstance(value, bool):
            assert info.field_name is not None
            takes = _kinds(cls.model_fields[info.field_name].annotation)
            if takes & {int, float} and bool not in takes:
                raise ValueError("Input should be a number, not true or false")
        return value


class ImageSettings(_Section):
    """Shape of one image. A CSV row holds height * width * channels pixels, in that order; of image
    files, patches of height x width are cut."""

    height: int = Field(28, ge=1, le=1024)
    width: int = Field(28, ge=1, le=1024)
    channels: Literal[1, 3] = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels

    @property
    def pixels(self) -> int:
        """Number of pixel values in a row."""
        return self.height * self.width * self.channels


GIVEN = "given"
"""In place of a noise expression: the noise that the noisy images of pairs have."""
AUTO, CSV, IMAGES, PAIRS = "auto", "csv", "images", "pairs"


class DataSettings(_Section):
    """The contents of the data folder, and how much of them may be bad."""

    format: Literal["auto", "csv", "images", "pairs"] = "auto"
    """`auto`: what lies in the folder. `images`: files of them below train and test. `pairs`: files
    of the same names below train/noisy and train/clean, and so for test."""
    generated: int | None = Field(None, ge=60)
    """Where no data are given: draw so many images of clothes in place of Fashion-MNIST."""
    classes: tuple[str, ...] = FASHION_MNIST_CLASSES
    """Names of the labels 0, 1, ...; a row with another label is bad. Empty: there are no labels.
    Of images, the names of their folders, which need not be given."""
    patches: int = Field(16, ge=1)
    """Patches of image.height x image.width that are cut from each image file, if it has so many
    places."""
    validation_fraction: float = Field(1 / 12, gt=0, lt=1)
    """Share of `train` kept for validation, chosen by a hash of the row or the image file."""
    max_bad_rows: float = Field(0.001, ge=0, le=1)
    """Share of rows that may be set aside before the run stops."""
    max_bad_files: float = Field(0.5, ge=0, le=1)
    """Share of image files that may be set aside, as unreadable or too small, before it does."""
    schema_file: pathlib.Path | None = None
    """A TFDV schema (.pbtxt) in place of the one made from `image` and `classes`."""
    max_overlap: float = Field(0.01, ge=0, le=1)
    """Share of the rows of `test` that may be rows of `train` too before the run stops."""
    max_drift: float = Field(0.1, ge=0, le=1)
    """Largest Jensen-Shannon divergence of `image`, and L-infinity distance of `label`,
    between train and test and between this run's train split and the last run's."""


class NoiseSettings(_Section):
    """The noise that is trained on and the noises that are measured. See `denoise noises`; with
    `data.format` `pairs`, `given` is that of the noisy images, and then it is measured alone."""

    training: NoiseExpression = (
        "mixture(salt_pepper(rate=0.1), gaussian(sd=0.5), "
        "gaussian(sd=0.2) + salt_pepper(rate=0.05))"
    )
    evaluation: tuple[NoiseExpression, ...] = Field(
        (
            "salt_pepper(rate=0.1)",
            "gaussian(sd=0.5)",
            "gaussian(sd=0.2) + salt_pepper(rate=0.05)",
        ),
        min_length=1,
    )
    seed: int = Field(20171, ge=0, lt=2**31)
    """Seed of the evaluation noise, which is fixed per image."""


class ModelSettings(_Section):
    """The architecture, one of `denoise models`, and its arguments."""

    name: str = "unet"
    arguments: dict[str, Any] = {}


class TrainingSettings(_Section):
    """The training of the model."""

    epochs: int = Field(8, ge=1)
    steps_per_epoch: int | None = Field(None, ge=1)
    """Batches of an epoch, after which the model is validated and can be resumed from; None, or
    more than there are: all images once. Shorter epochs go on through the images where the one
    before ended."""
    batch_size: int = Field(64, ge=1)
    optimizer: Literal["adam", "muon"] = "adam"
    """`muon`: each kernel moves by its orthogonalised momentum (components/training/muon.py), the
    rest as by Adam, at .3 of the rate. A good rate is some three times Adam's."""
    learning_rate: float = Field(6e-3, gt=0)
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """How the rate falls to zero, by half a cosine or in a straight line; constant: not at all."""
    warmup_fraction: float = Field(0.03, ge=0, lt=1)
    """Of all steps, those in which it rises to `learning_rate` first."""
    clip_norm: float | None = Field(1.0, gt=0)
    weight_decay: float | None = Field(None, gt=0)
    """Each step takes this share of the learning rate from every weight (Loshchilov and Hutter,
    AdamW, ICLR 2019); None: nothing."""
    loss: Literal["log_mse", "mse", "mae", "binary_crossentropy"] = "log_mse"
    noise: Literal["fresh", "fixed"] = "fresh"
    """`fresh`: drawn for every batch on the device; `fixed`: what Transform made."""
    augmentation: Literal["none", "flips_rotations"] = "none"
    """`flips_rotations`: each batch is seen in one of the eight ways to turn and mirror a square
    (of an oblong, the four that keep its shape), at random; for images without an upright."""
    early_stopping_patience: int | None = Field(None, ge=1)
    """Epochs without a better validation loss before training stops; None: never."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """`auto`: mixed_bfloat16 on a GPU; on a CPU what trains this model fastest, measured once."""
    jit_compile: Annotated[
        Literal["auto", "on", "off"],
        # What YAML 1.1 makes of a bare on and off.
        pydantic.BeforeValidator(
            lambda value: ("off", "on")[value] if isinstance(value, bool) else value
        ),
    ] = "auto"
    """XLA. `auto`: on with a GPU, but not with several machines; it is 2 to 3 times slower on a
    CPU."""
    strategy: Literal["auto", "default", "mirrored", "multi_worker"] = "auto"
    """`auto`: mirrored, all GPUs of this machine, with two or more of them. `multi_worker`: with
    the machines that TF_CONFIG in the environment names."""
    steps_per_execution: int = Field(16, ge=1)
    cache: Literal["auto", "device", "memory", "disk"] = "auto"
    """The place of decoded training images. `auto`: memory while they fit in a quarter of it;
    on the GPU itself, where there is one, while they fit in 2 GiB."""
    warm_start: bool = False
    """Start from the weights of the pushed model, for retraining on newer data."""

    @pydantic.model_validator(mode="after")
    def _workers_step_together(self) -> TrainingSettings:
        if self.strategy == "multi_worker":
            # Its loss scaling leaves out a step when a worker's own gradients overflow.
            if self.precision == "mixed_float16":
                raise ValueError("strategy multi_worker needs another precision: mixed_bfloat16")
            if self.jit_compile == "on":
                raise ValueError("strategy multi_worker needs jit_compile off")
        return self


class Search(_Section):
    """The values of one setting that the Tuner tries: a list of choices, or a range."""

    choices: tuple[Any, ...] | None = Field(None, min_length=1)
    min: int | float | None = None
    max: int | float | None = None
    """Inclusive. With two integers only integers are tried."""
    sampling: Literal["linear", "log"] = "linear"

    @pydantic.model_validator(mode="after")
    def _choices_or_range(self) -> Search:
        bounds = (self.min is not None, self.max is not None)
        if bounds != (self.choices is None,) * 2:
            raise ValueError("give either choices, or min and max")
        if self.min is not None and self.max is not None:
            if self.min >= self.max:
                raise ValueError(f"min must be less than max, was {self.min} to {self.max}")
            if self.sampling == "log" and self.min <= 0:
                raise ValueError(f"log sampling needs a min above 0, was {self.min}")
        return self

    @property
    def probes(self) -> tuple[Any, ...]:
        """Every choice; or the bounds and, of real numbers, one that is no integer."""
        if self.choices is not None:
            return self.choices
        assert self.min is not None
        assert self.max is not None
        if isinstance(self.min, int) and isinstance(self.max, int):
            return self.min, self.max
        between = self.min + (self.max - self.min) / math.pi
        return self.min, between, self.max


class TunerSettings(_Section):
    """A search for better settings before training. See `--set tuner.enabled=true`."""

    enabled: bool = False
    algorithm: Literal["random", "bayesian", "hyperband"] = "bayesian"
    """`hyperband` stops the worse trials early; how many it makes follows from `epochs`."""
    trials: int = Field(12, ge=1)
    """Number of trials, except for hyperband. The first one has the settings as they are, if the
    space holds them."""
    epochs: int = Field(2, ge=1)
    """Epochs of one trial, with a learning rate schedule of its own; hyperband may stop earlier."""
    images: int = Field(20_000, ge=1)
    """Training images a trial sees; of more, every n-th."""
    seed: int = Field(1, ge=1, lt=2**31)
    """Seed of the search. Weights, batches and noise have the seed of the run in every trial."""
    search_space: dict[str, Search] = Field(
        {
            "training.learning_rate": Search(min=1e-3, max=2e-2, sampling="log"),
            "training.batch_size": Search(choices=(32, 64, 128)),
        },
        min_length=1,
    )
    """Values to try, by field: `training.…` or `model.arguments.…`."""


_WHERE = "it says how to compute, not what"
_NOT_SEARCHED = {
    "epochs": "how long a trial trains is tuner.epochs",
    "early_stopping_patience": "a trial is not stopped early",
    "warm_start": "a trial starts from new weights",
    "precision": _WHERE,
    "jit_compile": _WHERE,
    "strategy": _WHERE,
    "steps_per_execution": _WHERE,
    "cache": _WHERE,
}
"""Fields of `training` that would make trials incomparable, or no difference."""


class Thresholds(_Section):
    """Bounds one noise's mean metrics must keep. None: not checked."""

    psnr: float | None = None
    """Least mean per-image PSNR, in dB."""
    ssim: float | None = None
    """Least mean SSIM."""
    mse: float | None = None
    """Largest mean squared error, for pixels in [0, 1]."""
    mae: float | None = None
    """Largest mean absolute error, for pixels in [0, 1]."""


class EvaluationSettings(_Section):
    """The figures a model must reach to be blessed."""

    thresholds: dict[NoiseExpression | Literal["*"], Thresholds] = {}
    """Bounds by the noise's expression in noise.evaluation; `*` holds for their mean."""
    min_gain: float = Field(0.0)
    """Least gain in mean PSNR over the noisy input, in dB, for every noise."""
    max_regression: float = Field(0.2, ge=0)
    """Largest loss of overall mean PSNR against the last blessed model, in dB."""
    batch_size: int = Field(256, ge=1)


class ServingSettings(_Section):
    """The servable and the check before it is pushed."""

    check_examples: int = Field(64, ge=1)
    tolerance: float = Field(1e-5, gt=0)
    """Largest difference of an output in [0, 1] from the trainer's."""
    keep_versions: int | None = Field(None, ge=1)
    """Versions kept in the serving folder; None: all."""


class ReportSettings(_Section):
    """The part of a run's report that no other step wrote."""

    classifier: bool = True
    """Train a small classifier on clean images, to see whether denoised ones are recognised."""
    classifier_epochs: int = Field(3, ge=1)
    classifier_images: int = Field(5_000, ge=1)
    """Test images it is shown of each noise; of more, every n-th."""


class BeamSettings(_Section):
    """The Beam runner of every Beam step (docs/scaling.md)."""

    runner: str = "FnApiRunner"
    args: tuple[str, ...] = ()

    @property
    def pipeline_args(self) -> list[str]:
        """The flags Beam parses its PipelineOptions from."""
        return [f"--runner={self.runner}", *self.args]


class Resources(_Section):
    """The resources one step's pod asks for and may use. None: the cluster's default."""

    cpu: float | None = Field(None, gt=0)
    """Cores."""
    memory_gb: float | None = Field(None, gt=0)
    """10^9 bytes."""
    gpus: int = Field(0, ge=0)
    image: str | None = None
    """Container image in place of `compile --image`: one with CUDA for a step with GPUs."""


_STEPS = {
    "*": Resources(cpu=1, memory_gb=4),
    "Transform": Resources(cpu=2, memory_gb=8),
    "Trainer": Resources(cpu=4, memory_gb=16),
    "Tuner": Resources(cpu=4, memory_gb=16),
    "QualityEvaluator": Resources(cpu=2, memory_gb=8),
}


class KubeflowSettings(_Section):
    """Pods on Kubernetes (docs/kubeflow.md)."""

    gpu: str = "nvidia.com/gpu"
    """Kubernetes' name of the accelerator: it becomes the pod's resource limit verbatim."""
    steps: dict[str, Resources] = {}
    """Resources by the step's name, `*` for all; what is not given keeps its default."""

    def resources(self, step: str) -> Resources:
        """The resources of a step's pod."""
        values: dict[str, Any] = {}
        for layer in (_STEPS, self.steps):
            for name in ("*", step):
                if name in layer:
                    values |= layer[name].model_dump(exclude_unset=True)
        return Resources(**values)


class Settings(_Section):
    """Everything that decides what a run computes."""

    preset: str = DEFAULT_PRESET
    description: str = ""
    plugins: Annotated[
        tuple[Module, ...],
        pydantic.BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    ] = ()
    """Modules that register noises, models or filters of your own (docs/plugins.md)."""
    seed: int = Field(1, ge=0, lt=2**31)
    image: ImageSettings = ImageSettings()
    data: DataSettings = DataSettings()
    noise: NoiseSettings = NoiseSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    tuner: TunerSettings = TunerSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    serving: ServingSettings = ServingSettings()
    report: ReportSettings = ReportSettings()
    beam: BeamSettings = BeamSettings()
    kubeflow: KubeflowSettings = KubeflowSettings()

    def with_data(self, **values: Any) -> Settings:
        """The same with other values of the section `data`.

        Raises:
          ValueError: the others do not go with them.
        """
        data = self.data.model_dump() | values
        return Settings.model_validate({**self.model_dump(), "data": data})

    def sections(self, *names: str) -> dict[str, Any]:
        """The named sections and fields as plain values, for JSON."""
        return self.model_dump(mode="json", include=set(names))

    @pydantic.model_validator(mode="before")
    @classmethod
    def _given_noise_is_not_drawn(cls, values: Any) -> Any:
        """Given noise is that of the file, every time."""
        plain = isinstance(values, dict) and isinstance(values.get("noise"), dict)
        training = values.get("training", {}) if plain else None
        if isinstance(training, dict) and values["noise"].get("training") == GIVEN:
            return {**values, "training": {"noise": "fixed", **training}}
        return values

    @pydantic.model_validator(mode="after")
    def _given_noise_is_of_pairs(self) -> Settings:
        trained, measured = self.noise.training == GIVEN, GIVEN in self.noise.evaluation
        if not trained and not measured:
            return self
        flag = f"noise.{'training=given' if trained else 'evaluation=[given]'}"
        if self.data.format not in (AUTO, PAIRS):
            raise ValueError(
                f"{flag} needs pairs of a noisy and a clean image (train/noisy and train/clean), "
                f"but data.format is {self.data.format}"
            )
        if self.noise.evaluation != (GIVEN,):
            raise ValueError(
                f"{flag} needs noise.evaluation=[given]: given noise is measured alone, and is "
                f"what a training on it is validated with; it has {list(self.noise.evaluation)}"
            )
        if trained and self.training.noise != "fixed":
            raise ValueError(
                "noise.training=given cannot be drawn afresh: leave out training.noise=fresh"
            )
        if not trained and self.training.noise == "fixed":
            raise ValueError(
                "training.noise=fixed trains on the noise that is measured, which is given: set "
                "noise.training=given"
            )
        if "training.noise" in self.tuner.search_space:
            raise ValueError(f"tuner.search_space names training.noise, which {flag} decides")
        return self

    @pydantic.model_validator(mode="after")
    def _thresholds_are_measured(self) -> Settings:
        unknown = set(self.evaluation.thresholds) - {*self.noise.evaluation, "*"}
        if unknown:
            raise ValueError(
                f"evaluation.thresholds names {sorted(unknown)}, which noise.evaluation does not "
                f"measure; it has {list(self.noise.evaluation)}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _search_space_is_of_settings(self) -> Settings:
        given = self.training.model_dump()
        for field, search in self.tuner.search_space.items():
            section, _, name = field.rpartition(".")
            if section == "model.arguments" and name.isidentifier():
                continue  # components.models knows the arguments.
            if section != "training" or name not in TrainingSettings.model_fields:
                raise ValueError(
                    f"tuner.search_space names {field!r}, which is no field of training nor of "
                    "model.arguments"
                )
            if name in _NOT_SEARCHED:
                raise ValueError(f"tuner.search_space names {field!r}, but {_NOT_SEARCHED[name]}")
            for value in search.probes:
                try:
                    TrainingSettings.model_validate({**given, name: value})
                except pydantic.ValidationError as error:
                    raise ValueError(
                        f"tuner.search_space: {field} cannot be {value!r}: "
                        f"{error.errors()[0]['msg']}"
                    ) from error
        return self
