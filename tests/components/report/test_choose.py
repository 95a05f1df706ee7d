from __future__ import annotations

from components.report import choose
from tests.components.report.conftest import NOISES


def by(pictures, kind, noise, label):
    (found,) = [p for p in pictures if (p.kind, p.noise, p.label) == (kind, noise, label)]
    return found


def test_typical_image_is_its_class_median_over_noises_and_the_same_under_each(per_image):
    pictures = choose.pick(per_image, list(NOISES))
    # Means over noises of class 0: 19, 22, 25.
    assert {by(pictures, "typical", noise, "0").key for noise in NOISES} == {2}


def test_worst_image_is_the_least_psnr_under_that_noise(per_image):
    pictures = choose.pick(per_image, list(NOISES))
    assert by(pictures, "worst", NOISES[0], "0").key == 1
    assert by(pictures, "worst", NOISES[1], "0").key == 3
    assert by(pictures, "worst", NOISES[1], "0").psnr == 20.0


def test_every_noise_and_class_has_both_pictures(per_image):
    assert len(choose.pick(per_image, list(NOISES))) == 2 * 2 * 2
