"""Which test images the report shows."""

from __future__ import annotations

import numpy as np

from components.report.contents import Picture

QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of images without classes, those at these quantiles of PSNR are shown."""


def pick(per_image: dict[str, np.ndarray], noises: list[str]) -> list[Picture]:
    """For each noise and class a typical image, the same for every noise, and the worst one.

    Without classes, for each noise images at QUANTILES, the same for every noise, and the worst.

    Args:
      per_image: `noise`, `key`, `label`, `psnr`, `noisy_psnr` and `ssim`, each
        (images * noises,), sorted by noise and key.
      noises: In the order wanted.
    """
    # Rows are sorted by noise and key: each noise has the same images in the same order.
    of_noise = {noise: np.flatnonzero(per_image["noise"] == noise) for noise in noises}
    label = per_image["label"][of_noise[noises[0]]]
    mean = np.mean([per_image["psnr"][rows] for rows in of_noise.values()], axis=0)
    pictures = []
    for value in np.unique(label):
        images = np.flatnonzero(label == value)
        by_mean = images[np.argsort(mean[images], kind="stable")]
        places = [0.5] if value >= 0 else QUANTILES
        typical = dict.fromkeys(int(by_mean[int(len(images) * place)]) for place in places)
        for noise, rows in of_noise.items():
            by_psnr = images[np.argsort(per_image["psnr"][rows[images]], kind="stable")]
            worst = by_psnr[: len(typical)].tolist()
            chosen = [*(("typical", image) for image in typical), *(("worst", i) for i in worst)]
            for kind, image in chosen:
                row = rows[image]
                pictures.append(
                    Picture(
                        kind=kind,
                        noise=noise,
                        label=str(value),
                        key=int(per_image["key"][row]),
                        **{
                            name: float(per_image[name][row])
                            for name in ("psnr", "noisy_psnr", "ssim")
                        },
                    )
                )
    return pictures
