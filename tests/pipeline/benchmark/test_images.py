"""Benchmarked images are the Evaluator's, and so are the figures."""

import numpy as np
import pytest

from components.evaluation.measure import FIGURES, Measurement, sums
from components.image.pixels import normalise
from pipeline.benchmark.contents import ALL
from pipeline.benchmark.images import METRICS, Images, NoisyImages
from tests import clothing

NOISES = ("gaussian(sd=0.5)", "salt_pepper(rate=0.1)")
SHAPE = (28, 28, 1)
COUNT = 50
SEED = 11


def _rows():
    pixels, labels = clothing.images(COUNT, seed=3)
    keys = np.random.default_rng(1).permutation(COUNT).astype(np.int64) * 7919 - 4000
    return labels, pixels.reshape(COUNT, -1), keys


@pytest.fixture(scope="module")
def noisy():
    labels, pixels, keys = _rows()
    blocks = [(labels[:20], pixels[:20], keys[:20]), (labels[20:], pixels[20:], keys[20:])]
    return NoisyImages(Images.gather(iter(blocks), SHAPE), NOISES, SEED, batch_size=16)


def _halved(images):
    return np.asarray(images) * 0.5


def test_figures_are_those_of_the_evaluator(noisy):
    labels, pixels, keys = _rows()
    measurement = Measurement(NOISES, SEED)
    clean = np.asarray(normalise(pixels, SHAPE))
    for noise, _, results in measurement({"": _halved}, clean, keys):
        denoised, seconds = noisy.denoised(_halved, noise)
        result = noisy.result("halved", noise, denoised, seconds, 2, None)
        assert result.images_per_second == pytest.approx(COUNT / seconds)
        by_label = sums(labels, results[""])
        assert set(result.rows) == {ALL, *map(str, by_label)}
        for label, vector in by_label.items():
            row = result.rows[str(label)]
            assert row.images == vector[-1]
            for name in METRICS:
                expected = vector[FIGURES.index(name)] / vector[-1]
                assert getattr(row, name) == pytest.approx(expected, rel=1e-5), (noise, name)
        means = sum(by_label.values())
        assert result.total.psnr == pytest.approx(means[FIGURES.index("psnr")] / COUNT, rel=1e-5)
        assert result.total.accuracy is None


def test_the_order_of_rows_and_the_batch_size_do_not_matter(noisy):
    labels, pixels, keys = _rows()
    back = slice(None, None, -1)
    other = Images.gather(iter([(labels[back], pixels[back], keys[back])]), SHAPE)
    assert other.fingerprint() == noisy.images.fingerprint()
    again = NoisyImages(other, NOISES, SEED, batch_size=7)
    for noise in NOISES:
        np.testing.assert_array_equal(again.noisy(noise), noisy.noisy(noise))


def test_other_images_have_another_fingerprint(noisy):
    assert noisy.images.first(10).fingerprint() != noisy.images.fingerprint()
    assert len(noisy.images.first(10)) == 10
    assert len(noisy.images.first(None)) == COUNT
    assert (np.diff(noisy.images.keys) > 0).all()


def test_recognition_is_counted_by_label(noisy):
    def always_three(images):
        return np.full(len(images), 3)

    rows = noisy.figures(noisy.clean, always_three)
    assert rows["3"].accuracy == 1.0
    assert rows["4"].accuracy == 0.0
    assert rows[ALL].accuracy == pytest.approx(np.mean(noisy.images.labels == 3))
    assert rows[ALL].psnr == pytest.approx(100.0)
    clean = noisy.clean_images(always_three)
    assert clean.accuracy == rows[ALL].accuracy
    assert clean.shown == [str(label) for label in range(10)]
    assert sum(clean.by_label.values()) == COUNT


def test_a_strip_shows_one_image_of_each_class(noisy):
    import base64
    import io

    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(noisy.strip(noisy.clean).partition(",")[2])))
    assert picture.size == (10 * 28 + 9, 28)
    first = noisy.shown()[0]
    assert noisy.images.labels[first] == 0
    shown = np.asarray(picture)[:, :28, 0]
    np.testing.assert_array_equal(shown, noisy.images.pixels[first].reshape(28, 28))


def test_without_classes_some_images_are_looked_at():
    _, pixels, keys = _rows()
    images = Images.gather(iter([(np.full(COUNT, -1), pixels, keys)]), SHAPE)
    assert NoisyImages(images, NOISES, SEED, batch_size=16).shown() == list(range(8))
