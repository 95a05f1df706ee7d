"""Each noise against a plain NumPy reference, by statistics, from both sources of numbers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from components.noise import FreshDraws, KeyedDraws, parse
from components.noise.draws import image_keys

COUNT = 200
SHAPE = (25, 20)
LEAST_P = 1e-3
"""Seeds are fixed: a p-value below it is a wrong distribution, not bad luck."""


def fresh_numbers() -> FreshDraws:
    return FreshDraws(COUNT, keras.random.SeedGenerator(21))


def fixed_numbers() -> KeyedDraws:
    return KeyedDraws(image_keys(np.arange(COUNT), 21))


@pytest.fixture(params=[fresh_numbers, fixed_numbers])
def numbers(request):
    """Where the random numbers come from."""
    return request.param()


@pytest.fixture
def draw(numbers):
    """(expression, pixel value, channels) -> noisy values (COUNT, height, width, channels)."""

    def apply(expression: str, value: float, channels: int = 1) -> np.ndarray:
        images = np.full((COUNT, *SHAPE, channels), value, np.float32)
        return np.asarray(parse(expression).corrupt(images, numbers)[0]).astype(np.float64)

    return apply


def same_distribution(noisy: np.ndarray, reference: np.ndarray) -> None:
    assert scipy.stats.ks_2samp(noisy.ravel(), reference.ravel()).pvalue > LEAST_P


def same_counts(observed: np.ndarray, probability: np.ndarray) -> None:
    """Chi-square over the cells, those of few counts gathered."""
    expected = probability * observed.sum()
    rare = expected < 5
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    keep = expected > 0
    assert observed[~keep].sum() == 0
    expected = expected[keep] * observed.sum() / expected[keep].sum()
    assert scipy.stats.chisquare(observed[keep], expected).pvalue > LEAST_P


@pytest.mark.parametrize("rate", [0.05, 0.1, 1.0])
def test_salt_pepper_replaces_by_imgaugs_beta(draw, rate):
    value = 0.3 + 0.001  # between two grey levels, so that what is replaced can be told
    noisy = draw(f"salt_pepper(rate={rate})", value)
    replaced = noisy != np.float32(value)
    assert scipy.stats.binomtest(int(replaced.sum()), noisy.size, rate).pvalue > LEAST_P
    levels = noisy[replaced] * 255
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    edges = np.clip(np.arange(257) - 0.5, 0, 255) / 255
    probability = np.diff(scipy.stats.beta(0.5, 0.5).cdf(edges))
    same_counts(np.bincount(np.rint(levels).astype(int), minlength=256), probability)
    reference = np.round(255 * np.random.default_rng(1).beta(0.5, 0.5, levels.size))
    same_distribution(np.rint(levels), reference)


def test_binary_salt_pepper_replaces_by_0_or_1_evenly(draw):
    noisy = draw("salt_pepper(rate=0.2, binary=True)", 0.5)
    assert set(np.unique(noisy)) == {0, 0.5, 1}
    counts = np.array([(noisy == 0).sum(), (noisy == 0.5).sum(), (noisy == 1).sum()])
    same_counts(counts, np.array([0.1, 0.8, 0.1]))


def test_gaussian_adds_normal_numbers_and_clips(draw):
    noisy = draw("gaussian(sd=0.3)", 0.4)
    normal = np.random.default_rng(2).normal(0.4, 0.3, noisy.shape)
    same_distribution(noisy, np.clip(normal, 0, 1))
    inside = draw("gaussian(sd=0.05)", 0.5)
    assert inside.std() == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize("value", [0.0, 0.3, 0.9])
def test_speckle_is_in_proportion_to_the_value(draw, value):
    noisy = draw("speckle(sd=0.4)", value)
    reference = value + value * np.random.default_rng(3).normal(0, 0.4, noisy.shape)
    same_distribution(noisy, np.clip(reference, 0, 1).astype(np.float32))


def test_uniform_adds_evenly_spread_numbers(draw):
    noisy = draw("uniform(amplitude=0.2)", 0.5)
    assert scipy.stats.kstest(noisy.ravel(), scipy.stats.uniform(0.3, 0.4).cdf).pvalue > LEAST_P


@pytest.mark.parametrize("value", [0.01, 0.37, 0.5, 1.0])
@pytest.mark.parametrize("peak", [0.5, 7, 30, 255, 1000])
def test_poisson_counts_photons(numbers, peak, value):
    images = np.full((COUNT, *SHAPE, 1), value, np.float32)
    # Unclipped: without the cap at white the counts are all there.
    counts = np.asarray(parse(f"poisson({peak})").apply(images, float(peak), numbers)) * peak
    whole = np.rint(counts).astype(int).ravel()
    np.testing.assert_allclose(counts.ravel(), whole, atol=1e-3)
    observed = np.bincount(whole)
    poisson = scipy.stats.poisson(peak * np.float64(np.float32(value)))
    probability = np.append(poisson.pmf(np.arange(len(observed))), poisson.sf(len(observed) - 1))
    same_counts(np.append(observed, 0), probability)


def test_poisson_leaves_black_alone_and_clips_at_white(draw):
    assert np.all(draw("poisson(peak=10)", 0.0) == 0)
    white = draw("poisson(peak=10)", 1.0)
    assert (white == 1).mean() == pytest.approx(scipy.stats.poisson(10).sf(9), abs=0.01)


def test_poisson_of_any_severity_has_the_right_mean_and_variance(draw):
    noisy = draw("poisson(peak=(40, 400))", 0.4)
    assert noisy.mean() == pytest.approx(0.4, abs=4e-4)
    # E[x / peak] over peak uniform in (40, 400).
    assert noisy.var() == pytest.approx(0.4 * np.log(10) / 360, rel=0.06)


def test_dropout_blackens_its_share_and_leaves_the_rest(draw):
    noisy = draw("dropout(rate=0.25)", 0.7)
    assert set(np.unique(noisy)) == {0, np.float64(np.float32(0.7))}
    assert scipy.stats.binomtest(int((noisy == 0).sum()), noisy.size, 0.25).pvalue > LEAST_P


def test_a_chain_is_its_links_in_order_clipped_in_between(draw):
    noisy = draw("gaussian(sd=0.5) + uniform(amplitude=0.2)", 0.9)
    random = np.random.default_rng(4)
    between = np.clip(random.normal(0.9, 0.5, noisy.shape), 0, 1)
    reference = np.clip(between + random.uniform(-0.2, 0.2, noisy.shape), 0, 1)
    same_distribution(noisy, reference)


@pytest.mark.parametrize("weights", ["1e8, 1", "1, 1e-8", "1, 1e-20", "1, 1, 1e-9"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_share_of_nearly_nothing_loses_no_image(weights, compiled):
    noises = ["none", "none", "none"][: weights.count(",") + 1]
    mixture = parse(f"mixture({', '.join(noises)}, weights=({weights}))")

    def noisy(images):
        return mixture(images, training=True)

    if compiled:
        noisy = tf.function(noisy, [tf.TensorSpec((None, 2, 2, 1))])
    for count in (0, 1, 8, 64):
        assert noisy(tf.zeros((count, 2, 2, 1))).shape[0] == count


def test_a_mixture_takes_its_noises_by_weight(draw):
    noisy = draw(
        "mixture(dropout(rate=1), none, salt_pepper(1, binary=True), weights=(1, 2, 1))", 0.5
    )
    black = np.all(noisy == 0, axis=(1, 2, 3)).sum()
    untouched = np.all(noisy == 0.5, axis=(1, 2, 3)).sum()
    rest = COUNT - black - untouched
    same_counts(np.array([black, untouched, rest]), np.array([0.25, 0.5, 0.25]))


def test_fresh_noises_share_a_batch_by_weight():
    """Each within one image of its share, the whole shares exact on average; and at each place of
    the batch every noise with its probability."""
    mixture = parse("mixture(dropout(rate=1), none, salt_pepper(1), weights=(1, 5, 2))")
    seed = keras.random.SeedGenerator(8)
    images = np.full((6, 2, 2, 1), 0.7, np.float32)
    corrupt = tf.function(lambda: mixture.corrupt(images, FreshDraws(6, seed))[0])
    black, untouched = [], []
    for _ in range(600):
        noisy = corrupt().numpy()
        black.append(np.all(noisy == 0, axis=(1, 2, 3)))
        untouched.append(np.all(noisy == np.float32(0.7), axis=(1, 2, 3)))
    assert set(np.sum(black, axis=1)) <= {0, 1}
    assert set(np.sum(untouched, axis=1)) <= {3, 4}
    same_counts(np.sum(black, axis=0), np.full(6, 1 / 6))
    same_counts(np.sum(untouched, axis=0), np.full(6, 1 / 6))
    assert abs(np.mean(black) - 1 / 8) < 0.015
    assert abs(np.mean(untouched) - 5 / 8) < 0.015


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_fresh_noises_are_drawn_for_the_images_that_keep_them(count, known):
    """Each image is what one of the noises makes of it, with its severity, in its own place."""
    mixture = parse("mixture(uniform(amplitude=(0.1, 0.2)), none, mixture(none, dropout(rate=1)))")
    seed = keras.random.SeedGenerator(9)
    images = np.linspace(0.3, 0.7, count, dtype=np.float32)[:, None, None, None]
    images = np.tile(images, (1, 3, 3, 1))
    corrupt = tf.function(
        lambda images: mixture.corrupt(images, FreshDraws(tf.shape(images)[0], seed)),
        input_signature=[tf.TensorSpec((count if known else None, 3, 3, 1))],
    )
    seen = set()
    for _ in range(12):
        noisy, levels = (np.asarray(each) for each in corrupt(images))
        for clean, made, level in zip(images, noisy, levels, strict=True):
            if level in (0, 1):
                assert np.all(made == (0 if level else clean))
            else:
                assert 0.1 <= level <= 0.2
                assert 0 < np.abs(made - clean).max() <= level
            seen.add(np.ceil(level * 2))
    assert seen == {0, 1, 2}


def test_a_range_draws_each_image_its_own_severity(draw):
    noisy = draw("gaussian(sd=(0.02, 0.1))", 0.5)
    spread = noisy.std(axis=(1, 2, 3))
    assert scipy.stats.kstest(spread, scipy.stats.uniform(0.02, 0.08).cdf).pvalue > LEAST_P


@pytest.mark.parametrize("expression", ["salt_pepper(rate=0.4)", "dropout(rate=0.4)"])
def test_impulses_hit_all_channels_of_a_pixel_alike(draw, expression):
    noisy = draw(expression, 0.501, channels=3)
    assert np.all(noisy == noisy[..., :1])


@pytest.mark.parametrize("expression", ["gaussian(0.1)", "speckle", "uniform", "poisson(200)"])
def test_other_noises_are_independent_in_each_channel(draw, expression):
    noisy = draw(expression, 0.5, channels=3).reshape(-1, 3)
    correlation = np.corrcoef(noisy.T)
    assert np.abs(correlation - np.eye(3)).max() < 4.5 / np.sqrt(len(noisy))
