"""AnomalyGate: stops the pipeline when TFDV found an anomaly; stock TFX carries on.

It reads what ExampleValidator found in each split against the schema, and compares
distributions itself, by the schema's own comparators: `test` with `train` (skew), and
this run's `train` with the last run's (drift).
"""

# The component decorator reads annotations as objects: no `from __future__ import annotations`.
import os

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.base import records
from components.base.errors import AnomalyError
from components.csv_ingestion.result import read_summary
from components.data_validation.result import ANOMALIES_FILE, DRIFT_FILE, STATISTICS_FILE


def _lines(found: dict) -> list:
    return [
        f"  {where}, feature {feature}: {info.description}"
        for where, anomalies in found.items()
        for feature, info in sorted(anomalies.anomaly_info.items())
    ]


@component
def AnomalyGate(  # a component is named as a class
    examples: InputArtifact[standard_artifacts.Examples],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    schema: InputArtifact[standard_artifacts.Schema],
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    drift: OutputArtifact[standard_artifacts.ExampleAnomalies],
    max_overlap: Parameter[float],
    code: Parameter[str],
    previous_statistics: Parameter[str] = "",
) -> None:
    """Raises if the data is not what the schema says, or test is not apart from train.

    Args:
      examples: As ingested.
      statistics: Of every split.
      schema: With drift comparators.
      anomalies: What ExampleValidator found.
      drift: What was found here, one text proto per pair of splits.
      max_overlap: Share of the rows of test that may be rows of train too.
      code: Fingerprint of the code, so that a change of it is not answered from the cache.
      previous_statistics: URI of the statistics that passed last; empty: there were none.

    Raises:
      AnomalyError: names each anomaly with its split and feature.
      RunError: the statistics are not of the Examples that ingestion wrote.
    """
    import tensorflow_data_validation as tfdv
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    expected = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema.uri))

    def load(uri: str, split: str):
        return tfdv.load_stats_binary(os.path.join(uri, f"Split-{split}", STATISTICS_FILE))

    splits = artifact_utils.decode_split_names(anomalies.split_names)
    found = {}
    for split in splits:
        number = load(statistics.uri, split).datasets[0].num_examples
        records.check_read(artifact_utils.get_split_uri([examples], split), int(number))
        file = os.path.join(anomalies.uri, f"Split-{split}", ANOMALIES_FILE)
        found[f"split {split}"] = anomalies_pb2.Anomalies.FromString(io_utils.read_bytes_file(file))
    train = load(statistics.uri, "train")
    compared = {}
    if "test" in splits:
        compared["split test against train"] = tfdv.validate_statistics(
            train, expected, serving_statistics=load(statistics.uri, "test")
        )
    if previous_statistics:
        compared["split train against the last run's"] = tfdv.validate_statistics(
            train, expected, previous_statistics=load(previous_statistics, "train")
        )
    drifts = {where: _without(result, found["split train"]) for where, result in compared.items()}
    drift.split_names = artifact_utils.encode_split_names(sorted(splits))
    for where, result in drifts.items():
        io_utils.write_string_file(
            os.path.join(drift.uri, where.replace(" ", "_"), DRIFT_FILE),
            text_format.MessageToString(result),
        )
    _check_overlap(read_summary(examples.uri), max_overlap)
    lines = _lines({**found, **drifts})
    if lines:
        raise AnomalyError(
            f"The data is not what the schema says ({len(lines)} anomalies); nothing was trained.\n"
            + "\n".join(lines)
            + "\nMend the data, or, if the data is right, give a schema that says so "
            "(data.schema_file; `denoise data --infer-schema` makes one) or raise data.max_drift."
        )


def _check_overlap(summary, max_overlap: float) -> None:
    """Stops where what the model is measured on is what it is trained on."""
    test, unit = summary.examples["test"], summary.examples_unit
    if summary.overlap > max_overlap * test:
        raise AnomalyError(
            f"{summary.overlap:,} of the {test:,} {unit} of test are {unit} of train too, more "
            f"than data.max_overlap = {max_overlap:g} allows; nothing was trained. A model would "
            "be measured on what it has seen. Take them out of one of the two, or raise "
            "data.max_overlap."
        )


def _without(drifts, known):
    """What `validate_statistics` found beyond the anomalies that are known already."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    new = anomalies_pb2.Anomalies()
    new.CopyFrom(drifts)
    for feature, info in drifts.anomaly_info.items():
        known_reasons = (
            {(r.type, r.description) for r in known.anomaly_info[feature].reason}
            if (feature in known.anomaly_info)
            else set()
        )
        reasons = [r for r in info.reason if (r.type, r.description) not in known_reasons]
        if reasons:
            del new.anomaly_info[feature].reason[:]
            new.anomaly_info[feature].reason.extend(reasons)
            new.anomaly_info[feature].description = " ".join(r.description for r in reasons)
        else:
            del new.anomaly_info[feature]
    return new
