"""The schema against TFDV: what it lets pass and what it stops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2

from components.base.errors import DataError
from components.base.settings import DataSettings, ImageSettings, Settings
from components.csv_ingestion import examples
from components.data_validation import schema as schemas
from components.ingestion import formats
from tests import clothing, textures

IMAGE = ImageSettings(height=4, width=3)
SCHEMA = schemas.make_schema(IMAGE, DataSettings())
SETTINGS = Settings(image=IMAGE)


def statistics(labels, pixels):
    labels, pixels = np.asarray(labels, np.int64), np.asarray(pixels)
    keys = np.arange(len(labels), dtype=np.int64)
    batch = examples.record_batch(labels, pixels, keys)
    options = tfdv.StatsOptions(schema=SCHEMA)
    return stats_impl.generate_statistics_in_memory(batch, options)


def draw(count, seed=1, below=256, classes=10):
    random = np.random.default_rng(seed)
    return random.integers(0, classes, count), random.integers(0, below, (count, IMAGE.pixels))


def anomalous(stats, **others):
    return set(tfdv.validate_statistics(stats, SCHEMA, **others).anomaly_info)


def test_good_examples_pass():
    assert not anomalous(statistics(*draw(500)))


@pytest.mark.parametrize(
    ("labels", "pixels", "feature"),
    [
        ([1, 10], np.zeros((2, 12)), "label"),
        ([1, -1], np.zeros((2, 12)), "label"),
        ([1, 2], np.full((2, 12), 256), "image"),
        ([1, 2], np.full((2, 12), -1), "image"),
        ([1, 2], np.zeros((2, 13)), "image"),
    ],
)
def test_others_do_not(labels, pixels, feature):
    assert anomalous(statistics(labels, pixels)) == {feature}


def test_a_missing_feature_is_an_anomaly():
    stats = statistics(*draw(50))
    del stats.datasets[0].features[0]
    assert len(anomalous(stats)) == 1


@pytest.mark.parametrize("against", ["previous_statistics", "serving_statistics"])
def test_drift_of_either_feature_is_an_anomaly(against):
    usual = statistics(*draw(1000))
    assert not anomalous(statistics(*draw(900, seed=2)), **{against: usual})
    darker = statistics(*draw(1000, below=100))
    assert anomalous(darker, **{against: usual}) == {"image"}
    fewer_classes = statistics(*draw(1000, classes=5))
    assert anomalous(fewer_classes, **{against: usual}) == {"label"}


def test_the_schema_follows_the_settings():
    schema = schemas.make_schema(
        ImageSettings(height=8, width=8, channels=3),
        DataSettings(classes=("cat", "dog"), max_drift=0.3),
    )
    features = {feature.name: feature for feature in schema.feature}
    assert features["image"].shape.dim[0].size == 192
    assert features["label"].int_domain.max == 1
    assert features["image"].drift_comparator.jensen_shannon_divergence.threshold == 0.3
    assert features["label"].skew_comparator.infinity_norm.threshold == 0.3


def test_without_classes_the_label_is_minus_one_and_pairs_have_a_noisy_image():
    schema = schemas.make_schema(IMAGE, DataSettings(classes=(), format="pairs"))
    features = {feature.name: feature for feature in schema.feature}
    label = features["label"].int_domain
    assert (label.min, label.max) == (-1, -1)
    assert features["noisy"].shape == features["image"].shape
    assert "noisy" not in {feature.name for feature in SCHEMA.feature}


def test_inferred_from_images(tmp_path):
    folder = textures.write_folder(tmp_path, train=3, test=1)
    settings = formats.resolved(SETTINGS, folder)
    inferred = {feature.name: feature for feature in schemas.infer_schema(folder, settings).feature}
    assert inferred["image"].shape.dim[0].size == IMAGE.pixels
    assert (inferred["label"].int_domain.min, inferred["label"].int_domain.max) == (-1, -1)


def test_written_and_read_again(tmp_path):
    path = schemas.write_schema(SCHEMA, tmp_path / "schema")
    assert schemas.read_schema(path) == SCHEMA
    assert schemas.write_schema(SCHEMA, tmp_path / "schema") == path
    other = schemas.make_schema(IMAGE, DataSettings(max_drift=0.5))
    assert schemas.write_schema(other, tmp_path / "schema") != path
    assert len(list((tmp_path / "schema").iterdir())) == 2


@pytest.mark.parametrize("content", [b"feature {", b"\xff", None])
def test_what_is_no_schema_is_named(tmp_path, content):
    path = tmp_path / "schema.pbtxt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)):
        schemas.read_schema(path)


def test_a_schema_of_ones_own_is_taken_if_it_fits(tmp_path):
    def expected(change):
        schema = schema_pb2.Schema()
        schema.CopyFrom(SCHEMA)
        change({feature.name: feature for feature in schema.feature}, schema)
        path = schemas.write_schema(schema, tmp_path)
        return schemas.expected_schema(with_schema(path)), schema

    def with_schema(path):
        data = SETTINGS.data.model_copy(update={"schema_file": path})
        return SETTINGS.model_copy(update={"data": data})

    given, read = expected(lambda features, _: setattr(features["image"].int_domain, "max", 9))
    assert read == given
    assert schemas.expected_schema(with_schema(None)) == SCHEMA
    for change, named in (
        (lambda features, _: features["image"].ClearField("shape"), "image"),
        (lambda features, _: setattr(features["image"].shape.dim[0], "size", 5), "image"),
        (lambda features, _: setattr(features["label"], "type", schema_pb2.FLOAT), "label"),
        (lambda _, schema: schema.feature.pop(), "label"),
    ):
        with pytest.raises(DataError, match=rf"\.pbtxt: expected a feature '{named}' of type INT"):
            expected(change)


@pytest.mark.parametrize("damage", ["cut", "inverted"])
def test_a_damaged_file_is_named_when_a_schema_is_inferred(tmp_path, damage):
    folder = clothing.write_csvs(tmp_path, train=90, test=10, shape=(4, 3, 1), gz=True)
    (path,) = (folder / "train").iterdir()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[-300:-100] = bytes(255 - value for value in content[-300:-100])
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path} cannot be read to its end"):
        schemas.infer_schema(folder, SETTINGS)


def test_inferred_from_a_data_folder(tmp_path):
    folder = clothing.write_csvs(tmp_path, train=60, test=10, shape=(4, 3, 1), gz=True, files=2)
    inferred = schemas.infer_schema(folder, SETTINGS)
    expected = schema_pb2.Schema()
    expected.CopyFrom(SCHEMA)
    for feature in expected.feature:
        # Names of classes are not in the data.
        feature.ClearField("annotation")
    assert {feature.name: feature for feature in inferred.feature} == {
        feature.name: feature for feature in expected.feature
    }


def test_inferred_labels_are_those_found_in_the_latest_span(tmp_path):
    for span, classes in ((9, 8), (10, 3)):
        folder = clothing.write_csvs(
            tmp_path / f"span-{span}", train=classes, test=1, shape=(4, 3, 1)
        )
        assert folder.is_dir()
    schema = schemas.infer_schema(tmp_path, SETTINGS)
    (label,) = (feature for feature in schema.feature if feature.name == "label")
    assert (label.int_domain.min, label.int_domain.max) == (0, 2)


def test_nothing_to_infer_from(tmp_path):
    folder = clothing.write_csvs(tmp_path, train=5, test=5, shape=(4, 4, 1), header=False)
    with pytest.raises(DataError, match="no row of a label and 12 pixels"):
        schemas.infer_schema(folder, SETTINGS)
