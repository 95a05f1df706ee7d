"""The TFX step: Transform's contract, with an executor of our own."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.base import code
from components.base.settings import Settings
from components.transform import executor


class Transform(base_beam_component.BaseBeamComponent):
    """Applies a TFT preprocessing function without analyzers to every split.

    TFX's own Transform holds every transformed image in the memory of a local runner, traces
    the function eight times, and compresses in the thread that computes (benchmarks/RESULTS.md).
    Spec and artifacts are the same, and so is every value, bit for bit.

    Outputs: `transform_graph`, `transformed_examples`; and `post_transform_stats`,
    `post_transform_schema`, `post_transform_anomalies` of about `executor.STATISTICS_IMAGES`
    images.

    Args:
      examples: Ingested Examples; each split is transformed.
      schema: Of the Examples.
      preprocessing_fn: Where the function is: `package.module.function`.
      custom_config: What the function is called with, beside its inputs.
    """

    SPEC_CLASS = standard_component_specs.TransformSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        preprocessing_fn: str,
        custom_config: dict[str, Any],
    ):
        transformed_examples = types.Channel(type=standard_artifacts.Examples)
        transformed_examples.matching_channel_name = standard_component_specs.EXAMPLES_KEY
        super().__init__(
            standard_component_specs.TransformSpec(
                examples=examples,
                schema=schema,
                preprocessing_fn=preprocessing_fn,
                custom_config=json_utils.dumps(custom_config),
                transform_graph=types.Channel(type=standard_artifacts.TransformGraph),
                transformed_examples=transformed_examples,
                post_transform_schema=types.Channel(type=standard_artifacts.Schema),
                post_transform_stats=types.Channel(type=standard_artifacts.ExampleStatistics),
                post_transform_anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
            )
        )


def step(settings: Settings, ingestion: Any, schema: Any, after: Any) -> Any:
    """Transform, as the DAG has it: once the gate has let the data pass."""
    transform = Transform(
        examples=ingestion.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="components.transform.preprocessing.preprocessing_fn",
        custom_config={
            **settings.sections("image", "plugins"),
            "noise": settings.noise.model_dump(mode="json", include={"evaluation", "seed"}),
            "code": code.fingerprint(__name__, plugins=settings.plugins),
        },
    )
    transform.add_upstream_node(after)
    return transform
