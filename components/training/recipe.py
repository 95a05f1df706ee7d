"""How a denoiser is trained: noise, loss, optimiser, schedule, precision.

Keras alone, no TensorFlow: the same recipe runs under KERAS_BACKEND=jax
(benchmarks/gpu).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from components import models
from components.base.settings import TrainingSettings
from components.image import metrics
from components.noise import parse
from components.training.muon import Muon

LEAST_MSE = 1e-6
"""Added inside log_mse: 60 dB, far above what any of these images is restored to."""
_SCHEDULE_POINTS = 101


@keras.saving.register_keras_serializable(package="denoise")
def log_mse(clean: Any, denoised: Any) -> Any:
    """Mean over images of the log of each image's mean squared error.

    The mean of log MSE is, up to a factor of -10 / ln 10, the mean of per-image PSNR: what
    is measured is what is trained. Images that are nearly clean count as much as bad ones.

    Args:
      clean, denoised: float32, (N, H, W, C).

    Returns:
      float32, (N,).
    """
    return ops.log(metrics.mse(clean, denoised) + LEAST_MSE)


@keras.saving.register_keras_serializable(package="denoise")
def psnr(clean: Any, denoised: Any) -> Any:
    """Per-image PSNR of the clipped output, in dB: float32, (N,)."""
    return metrics.psnr(clean, ops.clip(denoised, 0.0, 1.0))


LOSSES = {
    "log_mse": log_mse,
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "binary_crossentropy": "binary_crossentropy",
}

OPTIMIZERS: dict[str, type[keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "muon": Muon,
}


def precision(settings: TrainingSettings, gpus: int) -> str | None:
    """The dtype policy that `training.precision` asks for; None: what a measurement finds fastest
    (components/training/precision.py)."""
    if settings.precision != "auto":
        return settings.precision
    return "mixed_bfloat16" if gpus else None


@contextlib.contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """Makes layers with a policy, and leaves the process's own as it was."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@dataclasses.dataclass(frozen=True)
class Resident:
    """Images to keep on the device, and which of them are pairs.

    An image is its own target, but from `paired_from` on it is the noisy one of a pair, whose clean
    one lies `apart` behind it.
    """

    images: np.ndarray
    """float32 (M, H, W, C) in [0, 1]."""
    paired_from: int
    apart: int


class ResidentImages(keras.layers.Layer):
    """Looks images up that stay on the device: indices int32 (N,) to inputs and targets, float32
    (N, H, W, C) each.

    They are no part of what is saved: a resumed training is given them again.

    Args:
      resident: The images.
      turned: In training each batch is turned and mirrored in one of the ways that keep its shape.
        Which one follows from its indices.
    """

    def __init__(self, resident: Resident, turned: bool = False, **arguments: Any):
        super().__init__(trainable=False, dtype="float32", **arguments)
        self._resident, self._turned = resident, turned

    def build(self, input_shape: Any) -> None:
        images = self._resident.images
        self.images = self.add_weight(
            name="images",
            shape=images.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(images, dtype=dtype),
            trainable=False,
        )
        self.built = True

    def call(self, indices: Any, training: bool | None = None) -> tuple[Any, Any]:
        paired = ops.cast(indices >= self._resident.paired_from, "int32")
        pair = [indices, indices + self._resident.apart * paired]
        inputs, targets = (ops.take(self.images, each, axis=0) for each in pair)
        if self._turned and training:
            way = ops.sum(indices) % 8
            inputs, targets = turned(inputs, way), turned(targets, way)
        return inputs, targets

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = (*input_shape, *self._resident.images.shape[1:])
        return shape, shape

    def save_own_variables(self, store: Any) -> None:
        pass

    def load_own_variables(self, store: Any) -> None:
        pass


def turned(images: Any, way: Any) -> Any:
    """Images (N, H, W, C) in the way 0 to 7, of eight; oblong ones in one of four."""
    _, height, width, _ = images.shape
    images = _where(way % 2 == 1, lambda each: ops.flip(each, 1), images)
    images = _where(way // 2 % 2 == 1, lambda each: ops.flip(each, 2), images)
    if height != width:
        return images
    return _where(way // 4 == 1, lambda each: ops.transpose(each, (0, 2, 1, 3)), images)


def _where(condition: Any, function: Callable[[Any], Any], images: Any) -> Any:
    return ops.cond(condition, lambda: function(images), lambda: images)


def denoiser(
    name: str,
    shape: tuple[int | None, int | None, int],
    arguments: Mapping[str, Any],
    policy: str,
) -> keras.Model:
    """A denoiser that computes with a dtype policy.

    Args:
      name: Of the model, as in `models.MODELS`.
      shape: (H, W, C), as `models.build` takes it.
      arguments: Of the model.
      policy: Such as `mixed_bfloat16`.
    """
    with dtype_policy(policy):
        return models.build(name, shape, **arguments)


def served(name: str, shape: tuple[int, int, int], arguments: Mapping[str, Any]) -> keras.Model:
    """What is exported: of images of any size where the architecture takes them, in float32, since
    bfloat16 is slower for single images.

    Args:
      name, shape, arguments: As for `denoiser`.
    """
    any_size = models.MODELS[name].any_size
    return denoiser(name, (None, None, shape[-1]) if any_size else shape, arguments, "float32")


def _of_pairs(function: Any) -> Any:
    """A loss or metric of (targets, outputs), for a model whose outputs are both, stacked."""
    function = keras.losses.get(function)

    def of_pair(indices: Any, pair: Any) -> Any:
        return function(pair[:, 0], pair[:, 1])

    return of_pair


@keras.saving.register_keras_serializable(package="denoise")
class LinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A straight line up to a learning rate, and one down to zero.

    As in Bergsma et al., "Straight to Zero", arXiv:2502.15938; it gains .02 dB over the cosine here
    (benchmarks/RESULTS.md).

    Args:
      learning_rate: The greatest.
      warmup_steps: Steps up to it.
      steps: Steps in all; after them it is zero.
    """

    def __init__(self, learning_rate: float, warmup_steps: int, steps: int):
        super().__init__()
        self._learning_rate, self._warmup_steps, self._steps = learning_rate, warmup_steps, steps

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        up = step / max(1, self._warmup_steps)
        down = (self._steps - step) / max(1, self._steps - self._warmup_steps)
        if self._warmup_steps:
            down = ops.minimum(up, down)
        return self._learning_rate * ops.clip(down, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self._learning_rate,
            "warmup_steps": self._warmup_steps,
            "steps": self._steps,
        }


def learning_rate(settings: TrainingSettings, steps: int) -> Any:
    """A float or a schedule over `steps` training steps in all."""
    if settings.schedule == "constant":
        return settings.learning_rate
    warmup_steps = int(settings.warmup_fraction * steps)
    if settings.schedule == "linear":
        return LinearDecay(settings.learning_rate, warmup_steps, steps)
    # CosineDecay counts decay_steps after the warm-up.
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else settings.learning_rate,
        decay_steps=max(1, steps - warmup_steps),
        warmup_target=settings.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def learning_rates(settings: TrainingSettings, steps_per_epoch: int) -> list[tuple[float, float]]:
    """Epochs done and the learning rate then, over a whole training."""
    steps = settings.epochs * steps_per_epoch
    rate = learning_rate(settings, steps)
    return [
        (step / steps_per_epoch, float(rate(step)) if callable(rate) else rate)
        for step in np.unique(np.linspace(0, steps, _SCHEDULE_POINTS, dtype=int)).tolist()
    ]


def steps_per_epoch(settings: TrainingSettings, images: int) -> tuple[int, int]:
    """Steps of one epoch, and how many of them run in one call.

    An epoch is a whole number of calls: Keras would otherwise overrun it.
    """
    steps = _batches(settings, images)
    if settings.steps_per_epoch is not None:
        steps = min(steps, settings.steps_per_epoch)
    per_execution = min(settings.steps_per_execution, steps)
    return steps - steps % per_execution, per_execution


def steps_per_pass(settings: TrainingSettings, images: int) -> int:
    """Steps after which all images were seen: one epoch, or several that are shorter.

    At most `training.steps_per_execution` batches, other ones each time, are left out.
    """
    steps = _batches(settings, images)
    _, per_execution = steps_per_epoch(settings, images)
    return steps - steps % per_execution


def _batches(settings: TrainingSettings, images: int) -> int:
    return max(1, images // min(settings.batch_size, images))


def training_model(
    denoiser: keras.Model,
    noise_expression: str,
    settings: TrainingSettings,
    steps: int,
    seed: int,
    per_execution: int = 1,
    gpus: int = 0,
    resident: Resident | None = None,
    optimizer: Callable[..., keras.optimizers.Optimizer] | None = None,
) -> keras.Model:
    """A denoiser behind its training noise, compiled and ready for `fit`.

    In training the model is fed (clean, clean) and draws noise itself, on the device; in
    validation it is fed (noisy, clean) and draws none. With `training.noise` `fixed` it is
    fed (noisy, clean) in both. With `resident` images it is fed their indices in place of
    both, int32 (N,), and nothing but those goes to the device; it then augments them itself.

    Args:
      denoiser: float32 (N, H, W, C) in [0, 1] to the same shape.
      noise_expression: What to train on, such as `gaussian(sd=0.5)`.
      settings: The section `training`.
      steps: Training steps in all, for the schedule.
      seed: Of the noise.
      per_execution: Steps in one call.
      gpus: How many there are, for the `auto` settings.
      resident: Images to keep on the device.
      optimizer: A kind of that which `training.optimizer` names; None: that itself.
    """
    loss, metric = LOSSES[settings.loss], psnr
    if resident is None:
        inputs = images = keras.Input(denoiser.input_shape[1:], dtype="float32", name="images")
    else:
        inputs = keras.Input((), dtype="int32", name="indices")
        augmented = settings.augmentation == "flips_rotations"
        images, targets = ResidentImages(resident, augmented)(inputs)
    if settings.noise == "fresh":
        noise = parse(noise_expression)
        noise.seed = seed
        outputs = denoiser(noise(images))
    else:
        outputs = denoiser(images)
    if resident is not None:
        outputs = ops.stack([targets, outputs], axis=1)
        loss, metric = _of_pairs(loss), _of_pairs(metric)
    model = keras.Model(inputs, outputs, name="training")
    optimizer = optimizer or OPTIMIZERS[settings.optimizer]
    own = {"together": gpus > 0} if settings.optimizer == "muon" else {}
    jit_compile = {"auto": gpus > 0, "on": True, "off": False}[settings.jit_compile]
    steps_by = optimizer(
        learning_rate(settings, steps),
        clipnorm=settings.clip_norm,
        weight_decay=settings.weight_decay,
        **own,
    )
    if denoiser.dtype_policy.name == "mixed_float16":
        # Keras does so itself where the outermost model has the policy.
        steps_by = keras.optimizers.LossScaleOptimizer(steps_by)
    model.compile(
        optimizer=steps_by,
        loss=loss,
        metrics=[keras.metrics.MeanMetricWrapper(metric, name="psnr")],
        jit_compile=jit_compile,
        steps_per_execution=per_execution,
    )
    # Keras would make its variables while it traces the first step, and trace all of it once more.
    model.optimizer.build(model.trainable_variables)
    return model
