from __future__ import annotations

import numpy as np
import pytest

from components.report import contents
from tests.components.report.conftest import NOISES


def by(pictures, kind, noise, label):
    (found,) = [p for p in pictures if (p.kind, p.noise, p.label) == (kind, noise, label)]
    return found


def test_typical_image_is_its_class_median_over_noises_and_the_same_under_each(per_image):
    pictures = contents.pick(per_image, list(NOISES))
    # Means over noises of class 0: 19, 22, 25.
    assert {by(pictures, "typical", noise, "0").key for noise in NOISES} == {2}


def test_worst_image_is_the_least_psnr_under_that_noise(per_image):
    pictures = contents.pick(per_image, list(NOISES))
    assert by(pictures, "worst", NOISES[0], "0").key == 1
    assert by(pictures, "worst", NOISES[1], "0").key == 3
    assert by(pictures, "worst", NOISES[1], "0").psnr == 20.0


def test_every_noise_and_class_has_both_pictures(per_image):
    assert len(contents.pick(per_image, list(NOISES))) == 2 * 2 * 2


def test_histograms_count_every_image_and_share_edges(per_image):
    first, second = contents.distributions(per_image, list(NOISES))
    assert first.edges == second.edges
    for distribution in (first, second):
        assert sum(distribution.denoised) == sum(distribution.noisy) == 5


def test_an_image_without_noise_does_not_stretch_the_histogram(per_image):
    first, _ = contents.distributions(per_image, list(NOISES))
    assert first.edges[-1] == 30.0
    assert first.noisy[-1] == 1


def test_histogram_of_images_that_all_came_out_equal(per_image):
    equal = {**per_image, "psnr": np.full(10, 100.0), "noisy_psnr": np.full(10, 100.0)}
    first, _ = contents.distributions(equal, list(NOISES))
    assert sum(first.denoised) == 5


def test_worsened_counts_images_below_their_noisy_psnr(per_image):
    first, second = contents.distributions(per_image, list(NOISES))
    assert (first.worsened, second.worsened) == (1, 0)


def test_learning_rate_is_the_recipes_schedule(small_contents):
    training = {"steps_per_epoch": 50, "epochs": 2}
    points = contents.learning_rate(small_contents.settings, training)
    assert points[0] == (0.0, 0.0)
    assert points[-1] == pytest.approx((2.0, 0.0))
    peak = small_contents.settings["training"]["learning_rate"]
    assert max(rate for _, rate in points) == pytest.approx(peak, rel=1e-3)


def test_contents_survive_json(small_contents):
    text = small_contents.model_dump_json()
    assert contents.Contents.model_validate_json(text) == small_contents


def test_class_names_fall_back_to_the_label(small_contents):
    assert small_contents.class_name("1") == "Bag & co"
    assert small_contents.class_name("7") == "7"
