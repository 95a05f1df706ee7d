"""The functions that are measured, each in a fresh process (benchmarks.measured)."""

from __future__ import annotations

import glob
import pathlib
import shutil
import time
import zlib
from typing import Any

_BEAM = ("--runner=FnApiRunner",)
_SHUFFLE_ROWS = 4096


def ours(data: str, folder: str) -> dict[str, Any]:
    """CsvIngestion and StatisticsGen, as a TFX pipeline of their own."""
    from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen

    from components.csv_ingestion.component import CsvIngestion
    from components.data_validation.component import StatisticsGen
    from components.data_validation.schema import make_schema, write_schema
    from pipeline.config import load

    settings = load()
    schema_file = write_schema(
        make_schema(settings.image, settings.data), pathlib.Path(folder) / "schema"
    )
    ingestion = CsvIngestion(input_base=data, image=settings.image, data=settings.data)
    schema = ImportSchemaGen(schema_file=str(schema_file))
    statistics = StatisticsGen(
        examples=ingestion.outputs["examples"], schema=schema.outputs["schema"], code=""
    )
    return _run([ingestion, schema, statistics], folder)


def stock(data: str, folder: str) -> dict[str, Any]:
    """CsvExampleGen and StatisticsGen as TFX has them."""
    from tfx.components.example_gen.csv_example_gen.component import CsvExampleGen
    from tfx.components.statistics_gen.component import StatisticsGen
    from tfx.proto import example_gen_pb2

    split = example_gen_pb2.Input.Split
    generator = CsvExampleGen(
        input_base=data,
        input_config=example_gen_pb2.Input(
            splits=[
                split(name="train", pattern="train/*.csv"),
                split(name="test", pattern="test/*.csv"),
            ]
        ),
    )
    return _run([generator, StatisticsGen(examples=generator.outputs["examples"])], folder)


def _run(components: list[Any], folder: str) -> dict[str, Any]:
    """Runs them with TFX's local runner: seconds in all and by component."""
    from tfx.orchestration import metadata
    from tfx.orchestration.local import local_dag_runner
    from tfx.orchestration.pipeline import Pipeline

    from components.base import code

    connection = metadata.sqlite_metadata_connection_config(f"{folder}/metadata.sqlite")
    pipeline = Pipeline(
        pipeline_name="speed",
        pipeline_root=f"{folder}/root",
        components=components,
        metadata_connection_config=connection,
        beam_pipeline_args=[*_BEAM, f"--setup_file={code.ROOT / 'setup.py'}"],
    )
    started = time.perf_counter()
    local_dag_runner.LocalDagRunner().run(pipeline)
    seconds = time.perf_counter() - started
    steps = {}
    with metadata.Metadata(connection) as handler:
        store = handler.store
        types = {kind.id: kind.name.rsplit(".", 1)[-1] for kind in store.get_execution_types()}
        for execution in store.get_executions():
            milliseconds = (
                execution.last_update_time_since_epoch - execution.create_time_since_epoch
            )
            steps[types[execution.type_id]] = milliseconds / 1e3
    return {"seconds": seconds, "steps": steps}


def ingestion_limit(data: str, examples: str, folder: str) -> dict[str, Any]:
    """pyarrow.csv over all files, then the Examples' own bytes written as gzip.

    Args:
      data: The data folder.
      examples: The folder of the Examples that ingestion made of it.
      folder: Where to write.
    """
    import pyarrow as pa
    import pyarrow.csv
    import tensorflow as tf

    records = [
        record
        for path in sorted(glob.glob(f"{examples}/Split-*/*"))
        for record in tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator()
    ]
    # As ingestion compresses.
    options = tf.io.TFRecordOptions("GZIP", compression_level=1, compression_strategy=zlib.Z_RLE)
    started = time.perf_counter()
    for path in sorted(glob.glob(f"{data}/*/*.csv")):
        with open(path) as file:
            names = file.readline().strip().split(",")
        # Types and blocks such that it is fastest: by default it takes several times as long.
        pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(block_size=8 << 20),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.uint8())
            ),
        )
    parsed = time.perf_counter()
    with tf.io.TFRecordWriter(f"{folder}/limit.gz", options) as writer:
        for record in records:
            writer.write(record)
    written = time.perf_counter()
    return {"seconds": written - started, "parse": parsed - started, "write": written - parsed}


def evaluation(transformed: str, model: str, folder: str) -> dict[str, Any]:
    """The Evaluator's work on the test split."""
    import apache_beam as beam
    import tensorflow_model_analysis as tfma
    from apache_beam.options.pipeline_options import PipelineOptions

    from components.evaluation.executor import evaluate
    from pipeline.config import load

    settings = load()
    started = time.perf_counter()
    with beam.Pipeline(options=PipelineOptions(list(_BEAM))) as pipeline:
        evaluate(
            pipeline,
            sorted(glob.glob(f"{transformed}/Split-test/*")),
            {"candidate": model},
            settings.image,
            settings.noise,
            settings.evaluation,
            folder,
        )
    tfma.load_validation_result(folder)
    return {"seconds": time.perf_counter() - started}


def evaluation_limit(transformed: str, model: str) -> dict[str, Any]:
    """`model.predict` on every noisy test image, and the metrics of batches."""
    import keras
    import numpy as np
    import tensorflow as tf

    import components.models  # noqa: F401  (registers the layers of our own)
    from components.evaluation.measure import METRICS, Measurement
    from components.image import metrics
    from components.training.result import KERAS_FILE
    from pipeline.config import load

    settings = load()
    batch = settings.evaluation.batch_size
    clean, keys = _test_images(transformed, settings.image.shape)
    measurement = Measurement(settings.noise.evaluation, settings.noise.seed)
    noisy = [
        np.asarray(measurement.noisy(noise, clean, keys)[0]) for noise in settings.noise.evaluation
    ]
    denoiser = keras.saving.load_model(pathlib.Path(model) / KERAS_FILE, compile=False)

    @tf.function(reduce_retracing=True)
    def measure(clean: Any, images: Any) -> Any:
        return [getattr(metrics, name)(clean, images) for name in METRICS]

    started = time.perf_counter()
    for images in noisy:
        denoised = np.clip(denoiser.predict(images, batch_size=batch, verbose=0), 0, 1)
        for start in range(0, len(clean), batch):
            part = slice(start, start + batch)
            [np.asarray(value) for value in measure(clean[part], images[part])]
            [np.asarray(value) for value in measure(clean[part], denoised[part])]
    return {"seconds": time.perf_counter() - started}


def _test_images(transformed: str, shape: tuple[int, int, int]) -> tuple[Any, Any]:
    import numpy as np
    import tensorflow as tf

    spec = {
        "clean": tf.io.FixedLenFeature(shape, tf.float32),
        "key": tf.io.FixedLenFeature((), tf.int64),
    }
    files = sorted(glob.glob(f"{transformed}/Split-test/*"))
    batches = [
        tf.io.parse_example(batch, spec)
        for batch in tf.data.TFRecordDataset(files, "GZIP").batch(_SHUFFLE_ROWS)
    ]
    return tuple(
        np.concatenate([batch[name].numpy() for batch in batches]) for name in ("clean", "key")
    )


def training(transformed: str, folder: str, epochs: int, repeats: int) -> dict[str, Any]:
    """Trainer and a bare `fit` in turn, with the same model, noise, batch and images.

    Both validate after each epoch, as the limit would too. The first epoch, which traces, is
    left out.

    Returns:
      `ours` and `bare`: images/s of each repetition.
    """
    import types

    import keras

    from components.training import images as training_input
    from components.training import recipe, trainer
    from components.training.result import LOGS_FOLDER, Training
    from pipeline.config import load

    settings = load("default", [f"training.epochs={epochs}"])
    sections = settings.model_dump(mode="json")
    train = sorted(glob.glob(f"{transformed}/Split-train/*"))[:1]
    validation = sorted(glob.glob(f"{transformed}/Split-validation/*"))[:1]
    shape = settings.image.shape
    (clean,) = training_input.load(train, shape, ("clean",))
    held_out = training_input.load(validation, shape, ("noisy", "clean"))
    steps, per_execution = recipe.steps_per_epoch(settings.training, len(clean))
    batch = settings.training.batch_size
    images = steps * batch * (epochs - 1)

    def ours(number: int) -> float:
        place = pathlib.Path(folder, f"{number}")
        names = ("image", "noise", "model", "training", "seed")
        arguments = types.SimpleNamespace(
            train_files=train,
            eval_files=validation,
            serving_model_dir=str(place / "model" / "1" / "Format-Serving"),
            model_run_dir=str(place / "model_run" / "1"),
            custom_config={name: sections[name] for name in names},
            base_model=None,
            hyperparameters=None,
        )
        trainer.run_fn(arguments)
        return images / _epoch_seconds(place / "model_run" / "1" / LOGS_FOLDER)

    def bare(number: int) -> float:
        """Trains in the precision that the Trainer found fastest."""
        keras.utils.set_random_seed(settings.seed)
        policy = Training.read(pathlib.Path(folder, f"{number}", "model_run", "1")).precision
        denoiser = recipe.denoiser(settings.model.name, shape, settings.model.arguments, policy)
        model = recipe.training_model(
            denoiser,
            settings.noise.training,
            settings.training,
            steps * epochs,
            settings.seed,
            per_execution,
        )
        ends: list[float] = []
        number = steps * batch
        model.fit(
            clean[:number],
            clean[:number],
            batch_size=batch,
            epochs=epochs,
            validation_data=held_out,
            validation_batch_size=4 * batch,
            verbose=0,
            callbacks=[
                keras.callbacks.LambdaCallback(
                    on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter())
                )
            ],
        )
        return images / (ends[-1] - ends[0])

    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(repeats):
        rates["ours"].append(ours(number))
        rates["bare"].append(bare(number))
    shutil.rmtree(folder, ignore_errors=True)
    return rates


def _epoch_seconds(logs: pathlib.Path) -> float:
    """Seconds between the ends of the first and the last epoch, by TensorBoard's own clock."""
    import tensorflow as tf

    times = [
        event.wall_time
        for path in sorted(glob.glob(f"{logs}/train/*.tfevents*"))
        for event in tf.compat.v1.train.summary_iterator(path)
        for value in event.summary.value
        if value.tag == "epoch_loss"
    ]
    return times[-1] - times[0]
