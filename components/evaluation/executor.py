"""Examples and a model to TFMA results, a blessing, and per-image figures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, json_utils, path_utils

from components.base import plugins, records
from components.base.jobs import BeamExecutor
from components.base.progress import tell
from components.base.settings import GIVEN, EvaluationSettings, ImageSettings, NoiseSettings
from components.base.shards import batches, shards
from components.evaluation import eval_config
from components.evaluation.measure import Measurement, load_denoiser, sums
from components.evaluation.result import FIGURES, PER_IMAGE_FILE, images

PER_IMAGE_SCHEMA = pa.schema(
    [
        ("key", pa.int64()),
        ("label", pa.int64()),
        ("noise", pa.dictionary(pa.int32(), pa.string())),
        ("level", pa.float32()),
        *((figure, pa.float32()) for figure in FIGURES),
    ]
)


class _Measure(beam.DoFn):
    """A shard of transformed Examples to extracts of sums, one per batch, noise and label.

    Args:
      models: Name to SavedModel folder; the candidate is the first.
      image, noise: Sections of the settings.
      batch: Images measured at a time.
      modules: Plug-ins.
    """

    def __init__(
        self,
        models: dict[str, str],
        image: ImageSettings,
        noise: NoiseSettings,
        batch: int,
        modules: Sequence[str],
    ):
        self._models = models
        self._image = image
        self._noise = noise
        self._batch = batch
        self._modules = modules

    def setup(self) -> None:
        plugins.load(self._modules)
        self._denoisers = {name: load_denoiser(path) for name, path in self._models.items()}
        self._measurement = Measurement(self._noise.evaluation, self._noise.seed)
        self._done = 0

    def process(self, element: str) -> Iterator[Any]:
        for serialised in batches(element, self._batch):
            yield from self._measure(serialised)

    def _measure(self, serialised: Any) -> Iterator[Any]:
        import tensorflow as tf

        spec = {
            "clean": tf.io.FixedLenFeature(self._image.shape, tf.float32),
            "label": tf.io.FixedLenFeature((), tf.int64),
            "key": tf.io.FixedLenFeature((), tf.int64),
        }
        if GIVEN in self._noise.evaluation:
            spec["noisy"] = spec["clean"]
        examples = tf.io.parse_example(serialised, spec)
        label, key = examples["label"].numpy(), examples["key"].numpy()
        candidate = next(iter(self._models))
        for noise, level, results in self._measurement(
            self._denoisers, examples["clean"], key, examples.get("noisy")
        ):
            by_model = {name: sums(label, figures) for name, figures in results.items()}
            for value in by_model[candidate]:
                vectors = {name: by_label[value] for name, by_label in by_model.items()}
                yield {
                    tfma.FEATURES_KEY: {
                        "noise": np.array([noise]),
                        "label": np.array([value]),
                    },
                    tfma.PREDICTIONS_KEY: vectors if len(vectors) > 1 else vectors[candidate],
                    tfma.LABELS_KEY: None,
                    tfma.EXAMPLE_WEIGHTS_KEY: None,
                }
            columns = {
                "key": key,
                "label": label,
                "noise": pa.DictionaryArray.from_arrays(
                    pa.array(np.zeros(len(key), np.int32)), [noise]
                ),
                "level": level,
                **results[candidate],
            }
            yield beam.pvalue.TaggedOutput(
                PER_IMAGE_FILE, pa.Table.from_pydict(columns, schema=PER_IMAGE_SCHEMA)
            )
        self._done += len(key)
        tell("evaluate", self._done, None)


def evaluate(
    pipeline: beam.Pipeline,
    test: Sequence[str],
    models: dict[str, str],
    image: ImageSettings,
    noise: NoiseSettings,
    evaluation: EvaluationSettings,
    output: str,
    modules: Sequence[str] = (),
    labelled: bool = True,
) -> None:
    """Adds to `pipeline` what measures models and writes TFMA's results and the per-image figures.

    Args:
      pipeline: A Beam pipeline.
      test: Shards of transformed Examples.
      models: SavedModel folders by name: `candidate`, and `baseline` where there is one.
      image, noise, evaluation: Sections of the settings.
      output: The folder to write.
      modules: Plug-ins that the noises need.
      labelled: Whether the images have labels.
    """
    config = eval_config.eval_config(
        noise.evaluation,
        evaluation,
        has_baseline=eval_config.BASELINE in models,
        labelled=labelled,
    )
    shared_models = [
        tfma.default_eval_shared_model(
            path,
            eval_config=config,
            model_name=name if len(models) > 1 else "",
        )
        for name, path in models.items()
    ]
    measured = (
        pipeline
        | "Shards" >> beam.Create(test)
        | "Spread" >> beam.Reshuffle()
        | "Measure"
        >> beam.ParDo(_Measure(models, image, noise, evaluation.batch_size, modules)).with_outputs(
            PER_IMAGE_FILE, main="extracts"
        )
    )
    _ = (
        measured["extracts"]
        | "Evaluate"
        >> tfma.ExtractAndEvaluate(
            extractors=[tfma.extractors.SliceKeyExtractor(eval_config=config, materialize=False)],
            evaluators=tfma.default_evaluators(eval_shared_model=shared_models, eval_config=config),
        )
        | "WriteResults"
        >> tfma.WriteResults(
            writers=tfma.default_writers(
                output_path=output, eval_shared_model=shared_models, eval_config=config
            )
        )
    )
    _ = measured[PER_IMAGE_FILE] | "WritePerImage" >> beam.io.parquetio.WriteToParquetBatched(
        os.path.join(output, PER_IMAGE_FILE),
        PER_IMAGE_SCHEMA,
        file_name_suffix=".parquet",
        codec="zstd",
    )


class Executor(BeamExecutor):
    """Runs `evaluate` and blesses the model if TFMA finds every threshold kept."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `component.QualityEvaluator` for the inputs, outputs and parameters."""
        sections = json_utils.loads(exec_properties["sections"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        models = {eval_config.CANDIDATE: path_utils.serving_model_path(model.uri)}
        baseline = artifact_utils.get_single_instance(input_dict["baseline_model"])
        baseline_path = path_utils.serving_model_path(baseline.uri)
        if fileio.exists(os.path.join(baseline_path, "saved_model.pb")):
            models[eval_config.BASELINE] = baseline_path
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        evaluated = artifact_utils.get_single_instance(output_dict["evaluation"])
        noise = NoiseSettings.model_validate(sections["noise"])
        with self.running(evaluated) as pipeline:
            evaluate(
                pipeline,
                shards(examples, "test"),
                models,
                ImageSettings.model_validate(sections["image"]),
                noise,
                EvaluationSettings.model_validate(sections["evaluation"]),
                evaluated.uri,
                sections.get("plugins", ()),
                sections.get("labelled", True),
            )

        records.check_read(
            artifact_utils.get_split_uri([examples], "test"),
            images(evaluated.uri) // len(noise.evaluation),
        )
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        blessing.set_string_custom_property(
            constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri
        )
        blessed = tfma.load_validation_result(evaluated.uri).validation_ok
        name = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
        io_utils.write_string_file(os.path.join(blessing.uri, name), "")
        blessing.set_int_custom_property(
            constants.ARTIFACT_PROPERTY_BLESSED_KEY,
            constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE,
        )
