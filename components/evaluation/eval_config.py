"""What TFMA slices by and what a model must reach, from the settings."""

from __future__ import annotations

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from components.base.settings import EvaluationSettings, Thresholds
from components.evaluation import metric
from components.evaluation.result import ALL, SMALLER_IS_BETTER

CANDIDATE = "candidate"
BASELINE = "baseline"


def eval_config(
    noises: tuple[str, ...],
    settings: EvaluationSettings,
    has_baseline: bool,
    labelled: bool = True,
) -> config_pb2.EvalConfig:
    """The TFMA configuration.

    Slices: all, by noise, by label, by noise and label. Thresholds: `evaluation.thresholds`
    on its noise (`*`: on all), `min_gain` on each noise, and, where there is a baseline,
    `max_regression` on the overall PSNR.

    Args:
      noises: `noise.evaluation`.
      settings: The section `evaluation`.
      has_baseline: Whether a pushed model is compared with.
      labelled: Whether the images have labels.
    """
    config = config_pb2.EvalConfig()
    config.model_specs.add(name=CANDIDATE, model_type=tfma.TF_GENERIC)
    if has_baseline:
        config.model_specs.add(name=BASELINE, model_type=tfma.TF_GENERIC, is_baseline=True)
    by_label = (("label",), ("noise", "label")) if labelled else ()
    for feature_keys in ((), ("noise",), *by_label):
        config.slicing_specs.add(feature_keys=feature_keys)

    spec = config.metrics_specs.add()
    spec.metrics.add(class_name=metric.ImageQuality.__name__, module=metric.__name__)
    # TFMA keeps one threshold per metric and slice: a noise's least PSNR is on `psnr`,
    # its least gain on `psnr_gain`.
    for noise in noises:
        bounds = spec.per_slice_thresholds["psnr_gain"].thresholds.add()
        bounds.slicing_specs.add(feature_values={"noise": noise})
        bounds.threshold.value_threshold.lower_bound.value = settings.min_gain
    for noise, thresholds in settings.thresholds.items():
        for name in Thresholds.model_fields:
            value = getattr(thresholds, name)
            if value is None:
                continue
            bounds = spec.per_slice_thresholds[name].thresholds.add()
            # An empty slicing spec is the overall slice; without one TFMA checks every slice.
            bounds.slicing_specs.add(feature_values={} if noise == ALL else {"noise": noise})
            threshold = bounds.threshold
            if name in SMALLER_IS_BETTER:
                threshold.value_threshold.upper_bound.value = value
            else:
                threshold.value_threshold.lower_bound.value = value
    if has_baseline:
        bounds = spec.per_slice_thresholds["psnr"].thresholds.add()
        bounds.slicing_specs.add()
        change = bounds.threshold.change_threshold
        change.direction = config_pb2.MetricDirection.HIGHER_IS_BETTER
        change.absolute.value = -settings.max_regression
    return tfma.utils.update_eval_config_with_defaults(
        config, has_baseline=has_baseline, rubber_stamp=True
    )
