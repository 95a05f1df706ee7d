"""Transform, from Examples on disk to transformed Examples, graph and statistics."""

from __future__ import annotations

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils, standard_artifacts

from components.base import records
from components.base.errors import DataError, RunError
from components.csv_ingestion import examples
from components.data_validation.schema import make_schema, write_schema
from components.transform import executor
from components.transform.component import Transform
from components.transform.preprocessing import preprocessing_fn
from pipeline.config import load
from tests import clothing

SHAPE = (6, 5, 1)
SETTINGS = load(
    "default",
    [
        "image={height: 6, width: 5, channels: 1}",
        "noise.evaluation=['gaussian(sd=0.3)', 'none']",
        "evaluation.thresholds={}",
    ],
)
CONFIG = SETTINGS.model_dump(mode="json")
SPLITS = {"train": 70, "validation": 10, "test": 20}
BEAM = ("--runner=FnApiRunner",)


def rows(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, pixels and keys."""
    seed = list(SPLITS).index(split)
    images, labels = clothing.images(SPLITS[split], seed=seed, shape=SHAPE)
    pixels = images.reshape(len(images), -1)
    return labels, pixels, examples.fingerprints(labels, pixels)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path_factory.mktemp("examples"))
    artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
    for split in SPLITS:
        folder = pathlib.Path(artifact.uri, f"Split-{split}")
        folder.mkdir()
        parts = zip(*(np.array_split(values, 2) for values in rows(split)), strict=True)
        for number, part in enumerate(parts):
            with tf.io.TFRecordWriter(str(folder / f"{number}.gz"), "GZIP") as writer:
                for record in examples.serialise(examples.record_batch(*part)):
                    writer.write(record)
    return artifact


def transformed(
    ingested,
    folder: pathlib.Path,
    function="components.transform.preprocessing.preprocessing_fn",
    beam=BEAM,
) -> dict[str, types.Artifact]:
    schema = standard_artifacts.Schema()
    write_schema(make_schema(SETTINGS.image, SETTINGS.data), folder / "schema")
    schema.uri = str(folder / "schema")
    made = Transform(
        examples=types.Channel(type=standard_artifacts.Examples),
        schema=types.Channel(type=standard_artifacts.Schema),
        preprocessing_fn=function,
        custom_config={name: CONFIG[name] for name in ("image", "noise")},
    )
    outputs = {}
    for name, channel in made.outputs.items():
        outputs[name] = channel.type()
        outputs[name].uri = str(folder / name)
        os.makedirs(outputs[name].uri)
    context = base_beam_executor.BaseBeamExecutor.Context(beam_pipeline_args=list(beam))
    made.executor_spec.executor_class(context).Do(
        {"examples": [ingested], "schema": [schema]},
        {name: [artifact] for name, artifact in outputs.items()},
        dict(made.exec_properties),
    )
    return outputs


def read(artifact: types.Artifact, split: str) -> dict[str, np.ndarray]:
    """Every feature, sorted by key."""
    images = tf.io.FixedLenFeature(SHAPE, tf.float32)
    spec = {
        "clean": images,
        "noisy": images,
        "noise": tf.io.FixedLenFeature((), tf.string),
        "noise_level": tf.io.FixedLenFeature((), tf.float32),
        "label": tf.io.FixedLenFeature((), tf.int64),
        "key": tf.io.FixedLenFeature((), tf.int64),
    }
    files = sorted(map(str, pathlib.Path(artifact.uri, f"Split-{split}").iterdir()))
    (batch,) = tf.data.TFRecordDataset(files, "GZIP").batch(1000).as_numpy_iterator()
    values = {name: value.numpy() for name, value in tf.io.parse_example(batch, spec).items()}
    order = np.argsort(values["key"])
    return {name: value[order] for name, value in values.items()}


@pytest.fixture(scope="module")
def outputs(ingested, tmp_path_factory):
    return transformed(ingested, tmp_path_factory.mktemp("transformed"))


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_is_what_the_preprocessing_function_makes_of_it(outputs, split):
    labels, pixels, keys = rows(split)
    order = np.argsort(keys)
    inputs = {
        "image": pixels[order].astype(np.int64),
        "label": labels[order][:, None],
        "key": keys[order][:, None],
    }
    expected = preprocessing_fn(inputs, CONFIG)
    found = read(outputs["transformed_examples"], split)
    assert set(found["noise"]) == {b"gaussian(sd=0.3)", b"none"}
    for name, values in found.items():
        np.testing.assert_array_equal(values, np.asarray(expected[name]), err_msg=name)


def test_a_shard_becomes_a_shard_and_nothing_else_is_left(outputs, ingested):
    artifact = outputs["transformed_examples"]
    assert artifact.split_names == ingested.split_names
    assert sorted(os.listdir(artifact.uri)) == [
        *(f"Split-{split}" for split in sorted(SPLITS)),
        "counts.json",
    ]
    assert json.loads(pathlib.Path(artifact.uri, "counts.json").read_text()) == SPLITS
    assert sorted(os.listdir(os.path.join(artifact.uri, "Split-test"))) == [
        "transformed_examples-00000-of-00002.gz",
        "transformed_examples-00001-of-00002.gz",
    ]


def test_the_graph_is_tfts(outputs):
    output = tft.TFTransformOutput(outputs["transform_graph"].uri)
    assert output.transformed_feature_spec()["clean"].shape == list(SHAPE)
    assert set(output.raw_feature_spec()) == {"image", "label", "key"}
    labels, pixels, keys = rows("test")
    layer = tf.saved_model.load(output.transform_savedmodel_dir).transform_fn
    made = layer(
        {
            "image": tf.constant(pixels.astype(np.int64)),
            "label": tf.constant(labels[:, None]),
            "key": tf.constant(keys[:, None]),
        }
    )
    found = read(outputs["transformed_examples"], "test")
    np.testing.assert_array_equal(made["noisy"].numpy()[np.argsort(keys)], found["noisy"])


def test_statistics_of_the_output(outputs):
    file = os.path.join(outputs["post_transform_stats"].uri, executor.STATISTICS_FILE)
    (dataset,) = tfdv.load_stats_binary(file).datasets
    assert dataset.num_examples == sum(SPLITS.values())
    features = {feature.path.step[0]: feature for feature in dataset.features}
    images = np.concatenate(
        [read(outputs["transformed_examples"], name)["noisy"] for name in SPLITS]
    )
    assert features["noisy"].num_stats.mean == pytest.approx(images.mean(), rel=1e-5)
    assert set(features) == {"clean", "noisy", "noise", "noise_level", "label", "key"}
    anomalies = os.path.join(outputs["post_transform_anomalies"].uri, executor.ANOMALIES_FILE)
    content = pathlib.Path(anomalies).read_bytes()
    assert not anomalies_pb2.Anomalies.FromString(content).anomaly_info
    (schema,) = os.listdir(outputs["post_transform_schema"].uri)
    assert schema == executor.SCHEMA_FILE


def test_a_sample_is_even_over_splits_and_grows_with_its_share():
    keys = np.random.default_rng(1).integers(-(2**63), 2**63, 200_000)
    validation = examples.is_validation(keys, 1 / 12)
    small, large = executor.sampled(keys, 0.1), executor.sampled(keys, 0.2)
    assert small.mean() == pytest.approx(0.1, abs=0.005)
    assert small[validation].mean() == pytest.approx(0.1, abs=0.01)
    assert not (small & ~large).any()
    assert executor.sampled(keys, 1.0).all()


def with_an_analyzer(inputs, custom_config):
    return {"key": inputs["key"] - tft.min(inputs["key"])}


def test_analyzers_are_refused(ingested, tmp_path):
    function = f"{__name__}.{with_an_analyzer.__name__}"
    with pytest.raises(RuntimeError, match="analyzers"):
        transformed(ingested, tmp_path, function)


def test_a_split_without_examples_is_named(tmp_path):
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path / "examples")
    artifact.split_names = artifact_utils.encode_split_names(["train"])
    with pytest.raises(DataError, match="Split-train"):
        transformed(artifact, tmp_path)


@pytest.mark.ci
def test_workers_of_their_own_make_the_same(outputs, ingested, tmp_path):
    workers = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    again = transformed(ingested, tmp_path, beam=(*BEAM, *workers))
    for split in SPLITS:
        expected = read(outputs["transformed_examples"], split)
        for name, values in read(again["transformed_examples"], split).items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_a_shard_that_an_earlier_run_left_is_not_transformed(ingested, tmp_path):
    artifact = standard_artifacts.Examples()
    artifact.uri = str(shutil.copytree(ingested.uri, tmp_path / "examples"))
    artifact.split_names = ingested.split_names
    records.write_counts(artifact.uri, SPLITS)
    folder = pathlib.Path(artifact.uri, "Split-train")
    shutil.copy(folder / "0.gz", folder / "2.gz")
    with pytest.raises(RunError, match="Split-train: 105 Examples were read, but 70 were written"):
        transformed(artifact, tmp_path)
