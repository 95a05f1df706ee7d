from __future__ import annotations

import numpy as np

from components.report import gather
from tests.components.report.conftest import NOISES


def test_histograms_count_every_image_and_share_edges(per_image):
    first, second = gather.distributions(per_image, list(NOISES))
    assert first.edges == second.edges
    for distribution in (first, second):
        assert sum(distribution.denoised) == sum(distribution.noisy) == 5


def test_an_image_without_noise_does_not_stretch_the_histogram(per_image):
    first, _ = gather.distributions(per_image, list(NOISES))
    assert first.edges[-1] == 30.0
    assert first.noisy[-1] == 1


def test_histogram_of_images_that_all_came_out_equal(per_image):
    equal = {**per_image, "psnr": np.full(10, 100.0), "noisy_psnr": np.full(10, 100.0)}
    first, _ = gather.distributions(equal, list(NOISES))
    assert sum(first.denoised) == 5


def test_an_image_whose_answer_is_no_number_leaves_the_others_shown(per_image):
    broken = {**per_image, "psnr": np.where(np.arange(10) == 2, np.nan, per_image["psnr"])}
    first, second = gather.distributions(broken, list(NOISES))
    assert (sum(first.denoised), sum(first.noisy), sum(second.denoised)) == (4, 5, 5)
    none = {**per_image, "psnr": np.full(10, np.nan), "noisy_psnr": np.full(10, np.nan)}
    assert [sum(each.denoised) for each in gather.distributions(none, list(NOISES))] == [0, 0]


def test_worsened_counts_images_below_their_noisy_psnr(per_image):
    first, second = gather.distributions(per_image, list(NOISES))
    assert (first.worsened, second.worsened) == (1, 0)
