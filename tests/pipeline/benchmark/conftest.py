"""A small benchmark's contents, made by hand: two noises, two classes, five methods."""

from __future__ import annotations

import numpy as np
import pytest

from components.image.png import rgba, side_by_side
from pipeline.benchmark import contents

NOISES = ["gaussian(sd=0.5)", "salt_pepper(rate=0.1)"]
MIXTURE = "mixture(salt_pepper(rate=0.1), gaussian(sd=0.5))"
PSNR = {
    "noisy": (9.0, 15.0),
    "median": (13.0, 20.0),
    "ridge": (17.0, 19.0),
    "model-1": (20.0, 29.0),
    "model-2": (11.0, 30.0),
}
STRIP = side_by_side([rgba(np.zeros((4, 4, 1), np.float32))] * 2)


def _figures(psnr: float, images: int) -> contents.Figures:
    mse = 10 ** (-psnr / 10)
    return contents.Figures(images=images, mse=mse, mae=0.1, psnr=psnr, ssim=0.5, accuracy=0.75)


def _result(method: str, noise: str, psnr: float) -> contents.Result:
    tuning = None
    if method == "median":
        # By its tuning images better under the first noise than it turned out.
        tuning = contents.Tuning(
            parameters={"size": 3}, curve=[0.0] * 256, images=8, psnr=psnr + 1, trials=6
        )
    return contents.Result(
        method=method,
        noise=noise,
        rows={
            contents.ALL: _figures(psnr, 20),
            "0": _figures(psnr - 1, 10),
            "1": _figures(psnr + 1, 10),
        },
        images_per_second=None if method == "noisy" else 123.4,
        cores=1,
        tuning=tuning,
        strip=STRIP,
    )


def _photographed(method: str, hill: float, lake: float) -> contents.Result:
    return contents.Result(
        method=method,
        noise=NOISES[0],
        rows={
            contents.ALL: _figures((hill + lake) / 2, 2),
            "0": _figures(hill, 1),
            "1": _figures(lake, 1),
        },
        images_per_second=None if method == "noisy" else 0.5,
        cores=1,
    )


@pytest.fixture
def found() -> contents.Benchmark:
    methods = [
        contents.Method(name="noisy", title="noisy input", kind="noisy"),
        contents.Method(name="median", title="median", kind="filter", source="Tukey"),
        contents.Method(name="ridge", title="ridge", kind="linear"),
        contents.Method(
            name="model-1", title="unet, blind", kind="model", trained_on=MIXTURE, parameters=1234
        ),
        contents.Method(
            name="model-2",
            title="unet, <b>one</b>",
            kind="model",
            trained_on=NOISES[1],
            specialist_for=NOISES[1],
            training_seconds=321.0,
            resumed_from_epoch=4,
            data="/data/<clothing>",
        ),
    ]
    lines = {"noisy": "noisy input", "model-1": "unet, blind: blind"}
    photographs = contents.Photographs(
        images=2,
        tuning_images=4,
        classes=["hill", "lake"],
        noises=NOISES[:1],
        methods=[
            methods[0],
            contents.Method(name="bm3d", title="BM3D, told the noise", kind="filter"),
            contents.Method(name="photo_grey", title="photo_grey", kind="model"),
        ],
        results=[
            _photographed("noisy", 14.0, 14.2),
            _photographed("bm3d", 27.25, 25.5),
            _photographed("photo_grey", 28.5, 25.25),
        ],
        channels=1,
        size=256,
        seed=1,
    )
    return contents.Benchmark(
        data_folder="/data/clothing",
        images=20,
        training_images=100,
        tuning_images=8,
        limit=None,
        classes=["Shirt & co", "Bag"],
        shape=(4, 4, 1),
        noises=NOISES,
        seed=1,
        clean=contents.CleanImages(
            images=20,
            by_label={"0": 10, "1": 10},
            accuracy=0.9,
            accuracy_by_label={"0": 0.8, "1": 1.0},
            shown=["0", "1"],
            strip=STRIP,
        ),
        classifier={"images": 100, "parameters": 99},
        methods=methods,
        results=[
            _result(name, noise, psnr)
            for name, values in PSNR.items()
            for noise, psnr in zip(NOISES, values, strict=True)
        ],
        published=[
            contents.Published(
                model="windsor_cae",
                noise=NOISES[1],
                mse=0.01255,
                training_mse=0.01824,
                setting="its own validation split",
                source="report",
            )
        ],
        robustness=[
            contents.Curve(
                noise=NOISES[0],
                axis="sd: standard deviation",
                images=20,
                lines=lines,
                points=[
                    contents.Point(
                        severity=sd, noise=f"gaussian(sd={sd})", psnr=dict.fromkeys(lines, 10 / sd)
                    )
                    for sd in (0.25, 0.5)
                ],
            )
        ],
        photographs=[photographs],
        left_out={"wavelet": "not installed"},
        cores=2,
        libraries={"numpy": "1.26"},
    )
