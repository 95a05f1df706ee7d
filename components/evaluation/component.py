"""The TFX step that evaluates and blesses."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import json_utils

from components.base import code as sources
from components.base.settings import EvaluationSettings, ImageSettings, NoiseSettings, Settings
from components.evaluation import executor


class QualityEvaluatorSpec(ComponentSpec):
    """Inputs, outputs and parameters of QualityEvaluator."""

    PARAMETERS = {"sections": ExecutionParameter(type=str)}  # noqa: RUF012
    INPUTS = {  # noqa: RUF012
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {  # noqa: RUF012
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class QualityEvaluator(base_beam_component.BaseBeamComponent):
    """MSE, MAE, PSNR and SSIM of every noise on every test image, per class, by TFMA.

    TFX's own Evaluator would unroll images into pixels, and would need a Resolver for the
    baseline, which open-source Kubeflow Pipelines refuses; the artifacts are the same.

    Args:
      examples: Transformed Examples; the split `test` is read.
      model: The candidate.
      baseline_model: The pushed model, or an artifact without a SavedModel where none is.
      image, noise, evaluation: Sections of the settings.
      plugins: Modules that register what the noises name.
      labelled: Whether the images have labels: then there are figures by label, too.
      code: Fingerprint of the code, so that a change of it is not answered from the cache.
    """

    SPEC_CLASS = QualityEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        baseline_model: types.BaseChannel,
        image: ImageSettings,
        noise: NoiseSettings,
        evaluation: EvaluationSettings,
        plugins: tuple[str, ...],
        code: str,
        labelled: bool = True,
    ):
        sections = {
            "image": image.model_dump(mode="json"),
            "noise": noise.model_dump(mode="json", exclude={"training"}),
            "evaluation": evaluation.model_dump(mode="json"),
            "plugins": list(plugins),
            "labelled": labelled,
            "code": code,
        }
        super().__init__(
            QualityEvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
                sections=json_utils.dumps(sections),
            )
        )


def step(settings: Settings, transform: Any, trainer: Any, baseline: Any) -> Any:
    """The evaluation, as the DAG has it: of the trained model, against the pushed one."""
    return QualityEvaluator(
        examples=transform.outputs["transformed_examples"],
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["model"],
        image=settings.image,
        noise=settings.noise,
        evaluation=settings.evaluation,
        plugins=settings.plugins,
        code=sources.fingerprint(__name__, plugins=settings.plugins),
        labelled=bool(settings.data.classes),
    )
