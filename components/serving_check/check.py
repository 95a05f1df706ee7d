"""Checks an exported model in a fresh process.

    python -m components.serving_check.check MODEL REFERENCE TOLERANCE N

Every signature is called with real examples. Outputs must be in range and equal
the trainer's. Prints one line of JSON: failures, and latency by signature.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

from components.base import libraries
from components.base.process import end_with_parent

LATENCY_CALLS = 20


def check(model: str, reference: str, tolerance: float, examples: int) -> dict[str, Any]:
    """Calls every signature of a SavedModel.

    Args:
      model: The SavedModel folder.
      reference: An .npz with `pixels` uint8 (N, H*W*C) and `denoised` float32 (N, H, W, C),
        what the trainer's model made of them.
      tolerance: Largest difference of an output in [0, 1].
      examples: How many of the reference's images to send at once.

    Returns:
      `failures`, a list of what is wrong, and `signatures`: by name, `max_difference` from the
      trainer's and `milliseconds`, the median latency of one image.
    """
    import numpy as np
    import tensorflow as tf

    from components.export import requests, signatures
    from components.image.pixels import MAX_PIXEL, normalise_array

    with np.load(reference) as arrays:
        pixels, expected = arrays["pixels"][:examples], arrays["denoised"][:examples]
    shape = expected.shape[1:]
    failures: list[str] = []
    report: dict[str, dict[str, float]] = {}
    loaded = tf.saved_model.load(model).signatures
    missing = [name for name in signatures.SIGNATURES if name not in loaded]
    if missing:
        failures.append(f"expected signatures {list(signatures.SIGNATURES)}; missing {missing}")

    def as_tensors(inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            key: tf.convert_to_tensor(value.tolist() if value.dtype == object else value)
            for key, value in inputs.items()
        }

    def as_images(name: str, output: Any) -> Any:
        if name == "predict_pixels":
            return normalise_array(output.numpy(), shape)
        if name == "predict_encoded":
            decoded = [tf.io.decode_png(png, channels=shape[-1]).numpy() for png in output.numpy()]
            return normalise_array(np.stack(decoded), shape)
        return output.numpy()

    alone = requests.requests(pixels[:1], shape)
    for name, inputs in requests.requests(pixels, shape).items():
        if name in missing:
            continue
        signature = loaded[name]
        (output,) = signature(**as_tensors(inputs)).values()
        images = as_images(name, output)
        # An 8-bit output is half a level away from the float one at most.
        rounding = 0.5 / MAX_PIXEL if name in ("predict_pixels", "predict_encoded") else 0.0
        if images.shape != expected.shape:
            failures.append(f"{name}: expected shape {expected.shape}, found {images.shape}")
            continue
        difference = float(np.max(np.abs(images - expected)))
        if not np.all(np.isfinite(images)) or images.min() < 0 or images.max() > 1:
            failures.append(f"{name}: outputs outside [0, 1]: {images.min()} to {images.max()}")
        elif difference > tolerance + rounding:
            failures.append(
                f"{name}: differs from the trainer's output by {difference:.2e}, "
                f"more than {tolerance + rounding:.2e} (serving.tolerance)"
            )
        one = as_tensors(alone[name])
        seconds = []
        for _ in range(LATENCY_CALLS):
            started = time.perf_counter()
            signature(**one)
            seconds.append(time.perf_counter() - started)
        report[name] = {
            "max_difference": difference,
            "milliseconds": 1000 * statistics.median(seconds),
        }
    if not missing and _takes_any_size(loaded["serving_default"]):
        failures += _of_another_size(loaded, normalise_array(pixels[:1], shape))
    if "encode" in loaded:
        code = next(iter(loaded["encode"](image=tf.constant(expected)).values()))
        if not np.all(np.isfinite(code.numpy())):
            failures.append("encode: the code is not finite")
    return {"failures": failures, "signatures": report}


def _takes_any_size(signature: Any) -> bool:
    """Whether `serving_default` declares images of any height and width."""
    image = signature.structured_input_signature[1]["image"]
    return image.shape.rank == 4 and tuple(image.shape[1:3]) == (None, None)


def _of_another_size(loaded: Any, images: Any) -> list[str]:
    """What is wrong with the answers to an image of a size that no training image has.

    Args:
      loaded: The signatures by name.
      images: float32 (1, H, W, C), continued by 3 rows and 5 columns here.
    """
    import numpy as np
    import tensorflow as tf

    from components.image.pixels import MAX_PIXEL

    larger = np.pad(images, ((0, 0), (0, 3), (0, 5), (0, 0)), mode="symmetric")
    (denoised,) = (output.numpy() for output in loaded["serving_default"](image=larger).values())
    if denoised.shape != larger.shape:
        return [f"serving_default: answers {denoised.shape} to an image of {larger.shape}"]
    png = tf.io.encode_png(np.rint(larger[0] * MAX_PIXEL).astype(np.uint8))
    (answer,) = loaded["predict_encoded"](image_bytes=png[None]).values()
    decoded = tf.io.decode_png(answer[0], channels=larger.shape[-1]).numpy() / MAX_PIXEL
    if decoded.shape != denoised.shape[1:] or np.abs(decoded - denoised[0]).max() > 1 / MAX_PIXEL:
        return [f"predict_encoded: differs from serving_default on an image of {larger.shape}"]
    return []


def main() -> None:
    end_with_parent()
    libraries.spare_processor()
    libraries.calm()
    # As in TF Serving there is no Keras that the model could need.
    libraries.load_tensorflow()
    model, reference, tolerance, examples = sys.argv[1:]
    print(json.dumps(check(model, reference, float(tolerance), int(examples))))


if __name__ == "__main__":
    main()
