"""Test images before and after: what the page shows, and what the classifier takes them for."""

from __future__ import annotations

import numpy as np

from components.base.settings import GIVEN
from components.classifier import result
from components.image import png
from components.page import figures
from components.report.contents import Classifier, Confusion, Contents, Picture
from components.report.inputs import Artifacts

ERROR_SCALE = 0.5
"""Absolute error, for pixels in [0, 1], that is drawn brightest."""
_INK = "#7d8590"
"""Legible on white and on black: the picture has no ground of its own."""


class Shown:
    """The images of `Contents.pictures`, and how the classifier sees the test images.

    Args:
      contents: What was gathered.
      artifacts: Where the test images and models are.
    """

    def __init__(self, contents: Contents, artifacts: Artifacts):
        from tfx.utils import path_utils

        from components.evaluation.measure import Measurement, load_denoiser

        self._contents = contents
        noise = contents.settings["noise"]
        # What the evaluation could hold is held here, too.
        self._batch: int = contents.settings["evaluation"]["batch_size"]
        self._measurement = Measurement(noise["evaluation"], noise["seed"])
        self._denoise = load_denoiser(path_utils.serving_model_path(artifacts.model))
        wanted = np.array(sorted({picture.key for picture in contents.pictures}), np.int64)
        # Of pairs, the noisy images as they were given.
        self._given: dict[int, np.ndarray] = {}
        self._clean, sample = self._read(artifacts, wanted)
        self._triples: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}
        self.classifier = self._run_models(artifacts.classifier, wanted, *sample)

    def _read(
        self, artifacts: Artifacts, wanted: np.ndarray
    ) -> tuple[dict[int, np.ndarray], tuple[np.ndarray, ...]]:
        """In one pass: the images with the wanted keys, and a sample (clean, key, label, noisy)."""
        import tensorflow as tf

        from components.base import records

        settings = self._contents.settings
        shape = tuple(settings["image"][name] for name in ("height", "width", "channels"))
        spec = {
            "clean": tf.io.FixedLenFeature(shape, tf.float32),
            "key": tf.io.FixedLenFeature((), tf.int64),
            "label": tf.io.FixedLenFeature((), tf.int64),
        }
        if given := GIVEN in self._contents.noises:
            spec["noisy"] = spec["clean"]
        limit = settings["report"]["classifier_images"] if artifacts.classifier else 1
        every = -(-self._contents.row().images // len(self._contents.noises) // limit) or 1
        examples = records.records([f"{artifacts.transformed_examples}/Split-test/*"])
        batches = examples.batch(self._batch).map(
            lambda serialised: tf.io.parse_example(serialised, spec), num_parallel_calls=2
        )
        clean: dict[int, np.ndarray] = {}
        sample: list[tuple[np.ndarray, ...]] = []
        first = 0
        for batch in batches.prefetch(2).as_numpy_iterator():
            for position in np.flatnonzero(np.isin(batch["key"], wanted)):
                clean[int(batch["key"][position])] = batch["clean"][position]
                if given:
                    self._given[int(batch["key"][position])] = batch["noisy"][position]
            taken = (first + np.arange(len(batch["key"]))) % every == 0
            names = ("clean", "key", "label", "noisy" if given else "clean")
            sample.append(tuple(batch[name][taken] for name in names))
            first += len(batch["key"])
        return clean, tuple(np.concatenate(parts) for parts in zip(*sample, strict=True))

    def _run_models(
        self,
        folder: str | None,
        wanted: np.ndarray,
        sample: np.ndarray,
        sample_keys: np.ndarray,
        labels: np.ndarray,
        sample_given: np.ndarray,
    ) -> Classifier | None:
        """Denoises the pictures and, if there is a classifier, the sample it is shown."""
        from components.base.progress import tell

        pictures = np.stack([self._clean[int(key)] for key in wanted])
        clean, keys = np.concatenate([pictures, sample]), np.concatenate([wanted, sample_keys])
        given = clean
        if self._given:
            of_pictures = np.stack([self._given[int(key)] for key in wanted])
            given = np.concatenate([of_pictures, sample_given])
        predict = result.load_classifier(folder) if folder else None
        seen: dict[tuple[str, str], list[np.ndarray]] = {}
        number_of_all = len(keys) if predict else len(wanted)
        size = min(self._batch, number_of_all)
        for first in range(0, number_of_all, size):
            number = len(keys[first : first + size])
            # Whole batches only: another size would be traced anew.
            batch = np.minimum(first + np.arange(size), len(keys) - 1)
            shown = {("none", "clean"): clean[batch]}
            for noise in self._contents.noises:
                noisy, _ = self._measurement.noisy(noise, clean[batch], keys[batch], given[batch])
                shown[noise, "noisy"], shown[noise, "denoised"] = noisy, self._denoise(noisy)
                pair = np.asarray(noisy), np.asarray(shown[noise, "denoised"])
                for position, key in enumerate(wanted[first : first + size]):
                    self._triples[noise, int(key)] = (pair[0][position], pair[1][position])
            if predict is not None:
                for kind, images in shown.items():
                    seen.setdefault(kind, []).append(np.asarray(predict(images))[:number])
            told = min(first + size, number_of_all)
            tell("report", told, number_of_all, "denoising test images")
        if folder is None:
            return None
        predicted = {kind: np.concatenate(parts)[len(wanted) :] for kind, parts in seen.items()}
        classes = len(self._contents.settings["data"]["classes"])
        return Classifier(
            training=result.figures(folder),
            images=len(labels),
            confusions=[
                Confusion(
                    noise=noise,
                    images=kind,
                    accuracy=float(np.mean(values == labels)),
                    counts=result.confusion(labels, values, classes).tolist(),
                )
                for (noise, kind), values in predicted.items()
            ],
        )

    def strip(self, picture: Picture) -> str:
        """Clean, noisy, denoised and error side by side: a PNG as a data URI."""
        clean = self._clean[picture.key]
        noisy, denoised = self._triples[picture.noise, picture.key]
        tiles = [png.rgba(image) for image in (clean, noisy, denoised)]
        return png.side_by_side([*tiles, error_colours(clean, denoised)])

    def before_after(self, max_classes: int = 10) -> bytes:
        """Typical images, one of each class, clean, and under each noise noisy and denoised: a PNG.

        Typical is the median of its class by PSNR, not the best.
        """
        from matplotlib.figure import Figure

        contents = self._contents
        # By key: the same for every noise.
        typical = {
            picture.key: picture.label for picture in contents.pictures if picture.kind == "typical"
        }
        keys = list(typical)[:max_classes]
        rows: list[tuple[str, str, list[np.ndarray]]] = [
            ("", "clean", [self._clean[key] for key in keys])
        ]
        for noise in contents.noises:
            metrics = contents.row(noise)
            pairs = [self._triples[noise, key] for key in keys]
            rows.append((noise, f"noisy\n{metrics.noisy['psnr']:.1f} dB", [p[0] for p in pairs]))
            rows.append(("", f"denoised\n{metrics.denoised['psnr']:.1f} dB", [p[1] for p in pairs]))
        tile, text, space = 0.78, 0.95, 0.26
        height = tile * len(rows) + space * len(contents.noises) + 0.3
        figure = Figure(figsize=(text + tile * len(keys), height))
        width = figure.get_figwidth()
        top = height - 0.28
        for column, key in enumerate(keys):
            figure.text(
                (text + tile * (column + 0.5)) / width,
                (top + 0.06) / height,
                contents.class_name(typical[key]) if contents.labels else "",
                ha="center",
                va="bottom",
                fontsize=9,
                color=_INK,
                parse_math=False,
            )
        for noise, name, images in rows:
            if noise:
                top -= space
                figure.text(
                    text / width, (top + 0.04) / height, noise, fontsize=9, color=_INK, va="bottom"
                )
            top -= tile
            figure.text(
                (text - 0.1) / width,
                (top + tile / 2) / height,
                name,
                ha="right",
                va="center",
                fontsize=10,
                color=_INK,
            )
            for column, image in enumerate(images):
                axes = figure.add_axes(
                    (
                        (text + tile * column) / width,
                        top / height,
                        0.95 * tile / width,
                        0.95 * tile / height,
                    )
                )
                axes.imshow(png.rgba(image), interpolation="nearest")
                axes.set_axis_off()
        return figures.transparent_png(figure)


def error_colours(clean: np.ndarray, denoised: np.ndarray) -> np.ndarray:
    """Absolute error, the mean over channels, black at 0 and bright at ERROR_SCALE or more.

    Args:
      clean, denoised: float32 (H, W, C) in [0, 1].

    Returns:
      uint8 RGBA (H, W, 4).
    """
    import matplotlib

    error = np.abs(denoised - clean).mean(axis=-1) / ERROR_SCALE
    return matplotlib.colormaps["inferno"](np.clip(error, 0, 1), bytes=True)
