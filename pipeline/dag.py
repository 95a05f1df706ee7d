"""The DAG, for every runner: what runs, in which order.

CSVs are ingested, their statistics are computed and validated against the
schema, a gate stops on anomalies; Transform normalises, reshapes and adds the
evaluation noise; Tuner, if it is enabled, looks for better settings; Trainer
trains, from the weights of the pushed model if `training.warm_start` is set; the
Evaluator measures the model against thresholds and the pushed model, the serving
check loads it as a server would; what passes both is pushed. The report tells of
all of it, pushed or not.

It uses only what open-source Kubeflow Pipelines implements: no Resolver, no
InfraValidator (docs/kubeflow.md).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

from components.base.settings import Settings

PIPELINE_NAME = "denoise"
ROOT = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Places:
    """Where a pipeline reads and writes: local paths or object-store URIs."""

    data: str
    """A data folder: train/*.csv[.gz] and test/*.csv[.gz], or span-N folders of those."""
    spans: bool
    """Whether it holds span-N folders, of which the newest is taken."""
    schema: str
    """The file of the schema; another schema has another name."""
    serving: str
    """The serving folder, `.../denoiser`."""
    pipeline_root: str


@functools.cache
def code_fingerprint(*sources: str) -> str:
    """Of the sources a step runs: it is not answered from the cache when they change.

    Args:
      sources: Files, or packages with everything in them, from the project's root.
    """
    digest = hashlib.sha256()
    for source in sources:
        path = ROOT / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(str(file.relative_to(ROOT)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


_NOISE = ("components/noise", "components/image/pixels.py", "components/transform")
_SERVABLE = ("components/export/signatures.py", "components/image/pixels.py")
_TRAINING = ("components/training", "components/models", "components/image/metrics.py")
_CLASSIFIER = ("components/classifier",)
_REPORT = (
    "components/report",
    "components/report/report.html.j2",
    "components/report/figures.html.j2",
    "components/report/report.css",
    "components/report/run.html.j2",
)


def components(settings: Settings, places: Places) -> list[Any]:
    """The steps, in order, as TFX components.

    Args:
      settings: Everything that decides the result.
      places: Where to read and write.
    """
    from tfx.components.example_validator.component import ExampleValidator
    from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
    from tfx.components.statistics_gen.component import StatisticsGen
    from tfx.components.trainer.component import Trainer
    from tfx.proto import pusher_pb2, trainer_pb2

    from components.classifier.component import ReferenceClassifier
    from components.csv_ingestion.component import CsvIngestion
    from components.data_validation.anomaly_gate import AnomalyGate
    from components.evaluation.component import QualityEvaluator
    from components.push.pushed_model import PushedModel, WarmStart
    from components.push.pusher import AtomicPusher
    from components.report.component import Report
    from components.serving_check.component import ServingCheck
    from components.transform.component import Transform

    sections = settings.model_dump(mode="json")

    ingestion = CsvIngestion(
        input_base=places.data,
        image=settings.image,
        data=settings.data,
        spans=places.spans,
        provenance={"code": code_fingerprint("components/csv_ingestion")},
    )
    schema = ImportSchemaGen(schema_file=places.schema)
    # Without the schema the labels would not be counted, and their drift not be seen.
    statistics = StatisticsGen(
        examples=ingestion.outputs["examples"], schema=schema.outputs["schema"]
    )
    validator = ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    gate = AnomalyGate(
        statistics=statistics.outputs["statistics"],
        schema=schema.outputs["schema"],
        anomalies=validator.outputs["anomalies"],
    )
    transform = Transform(
        examples=ingestion.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="components.transform.preprocessing.preprocessing_fn",
        custom_config={
            "image": sections["image"],
            "noise": {name: sections["noise"][name] for name in ("evaluation", "seed")},
            "code": code_fingerprint(*_NOISE),
        },
    )
    transform.add_upstream_node(gate)
    # A node of its own: the baseline is found only when it is known what it is compared with.
    starts = []
    if settings.training.warm_start:
        starts.append(WarmStart(examples=ingestion.outputs["examples"], serving=places.serving))
    tuners = []
    if settings.tuner.enabled:
        from components.tuning.component import Tuner

        tuner = Tuner(
            examples=transform.outputs["transformed_examples"],
            tuner_fn="components.tuning.entry.tuner_fn",
            train_args=trainer_pb2.TrainArgs(splits=["train"]),
            eval_args=trainer_pb2.EvalArgs(splits=["validation"]),
            custom_config={
                **{name: sections[name] for name in ("image", "model", "seed", "tuner")},
                "noise": {"training": sections["noise"]["training"]},
                # How long the Trainer trains changes no trial.
                "training": {
                    name: value
                    for name, value in sections["training"].items()
                    if name not in ("epochs", "early_stopping_patience", "warm_start")
                },
                "code": code_fingerprint("components/tuning", *_TRAINING, *_NOISE),
            },
        )
        tuners.append(tuner)
    trainer = Trainer(
        examples=transform.outputs["transformed_examples"],
        run_fn="components.training.entry.run_fn",
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["validation"]),
        base_model=starts[0].outputs["model"] if starts else None,
        hyperparameters=tuners[0].outputs["best_hyperparameters"] if tuners else None,
        custom_config={
            **{name: sections[name] for name in ("image", "noise", "model", "training", "seed")},
            "code": code_fingerprint(*_TRAINING, *_NOISE, *_SERVABLE),
        },
    )
    baseline = PushedModel(candidate=trainer.outputs["model"], serving=places.serving)
    evaluator = QualityEvaluator(
        examples=transform.outputs["transformed_examples"],
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["model"],
        image=settings.image,
        noise=settings.noise,
        evaluation=settings.evaluation,
        code=code_fingerprint("components/evaluation", "components/image/metrics.py", *_NOISE),
    )
    check = ServingCheck(
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        tolerance=settings.serving.tolerance,
        examples=settings.serving.check_examples,
        code=code_fingerprint("components/serving_check", *_SERVABLE),
    )
    pusher = AtomicPusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=check.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=places.serving)
        ),
        custom_config={"keep_versions": settings.serving.keep_versions},
    )
    classifiers = []
    if settings.report.classifier:
        classifier = ReferenceClassifier(
            examples=ingestion.outputs["examples"],
            sections=json.dumps(
                {
                    "image": sections["image"],
                    "report": sections["report"],
                    "classes": len(settings.data.classes),
                    "seed": settings.seed,
                    "code": code_fingerprint(*_CLASSIFIER),
                },
                sort_keys=True,
            ),
        )
        # Only the report waits for it.
        classifier.add_upstream_node(pusher)
        classifiers.append(classifier)
    report = Report(
        settings=settings,
        data_folder=places.data,
        code={
            "ingestion": code_fingerprint("components/csv_ingestion"),
            "Transform": code_fingerprint(*_NOISE),
            "training": code_fingerprint(*_TRAINING, *_NOISE, *_SERVABLE),
            "report": code_fingerprint(*_REPORT, "components/evaluation", *_NOISE),
        },
        examples=ingestion.outputs["examples"],
        statistics=statistics.outputs["statistics"],
        schema=schema.outputs["schema"],
        anomalies=validator.outputs["anomalies"],
        drift=gate.outputs["drift"],
        transformed_examples=transform.outputs["transformed_examples"],
        transformed_statistics=transform.outputs.get("post_transform_stats"),
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        evaluation=evaluator.outputs["evaluation"],
        infra_blessing=check.outputs["blessing"],
        pushed_model=pusher.outputs["pushed_model"],
        classifier=classifiers[0].outputs["model"] if classifiers else None,
        tuner_results=tuners[0].outputs["tuner_results"] if tuners else None,
    )
    return [
        ingestion,
        schema,
        statistics,
        validator,
        gate,
        transform,
        *starts,
        *tuners,
        trainer,
        baseline,
        evaluator,
        check,
        pusher,
        *classifiers,
        report,
    ]


def _worker_package() -> list[str]:
    """Beam's flag for what its workers install: this project, where its setup.py is at hand.

    Without it TFX builds a package of itself for every Beam step, a second each.
    """
    setup = ROOT / "setup.py"
    return [f"--setup_file={setup}"] if setup.exists() else []


def build(settings: Settings, places: Places, metadata: str | None = None) -> Any:
    """The TFX pipeline.

    Args:
      settings: Everything that decides the result.
      places: Where to read and write.
      metadata: Path of the MLMD SQLite file, for a local run.
    """
    from tfx.orchestration import metadata as tfx_metadata
    from tfx.orchestration.pipeline import Pipeline

    return Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=places.pipeline_root,
        components=components(settings, places),
        enable_cache=True,
        metadata_connection_config=(
            tfx_metadata.sqlite_metadata_connection_config(metadata) if metadata else None
        ),
        beam_pipeline_args=[*settings.beam.pipeline_args, *_worker_package()],
    )
