"""What ovmsclient is answered, as JSON: `python ovms.py HOST:PORT HOST:REST_PORT`. Run by an
environment of its own, which has nothing of this project.

A version is always named: where none is, ovmsclient asks for version 0, which to OpenVINO Model
Server is the newest one and to TF Serving one that is not there."""

import json
import sys

import numpy
import ovmsclient


def told(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def answers(client):
    half = {"x": numpy.float32([[2], [4]])}
    image = {"image": numpy.full((2, 4, 6, 1), 0.5, numpy.float32)}
    status = client.get_model_status("half_plus", 1)
    metadata = client.get_model_metadata("denoiser", 1)
    if "model_spec" in metadata:
        # By REST it expects OpenVINO's names in camel case, and returns others as they are.
        inputs = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
        shapes = {
            name: [int(size["size"]) for size in info["tensor_shape"]["dim"]]
            for name, info in inputs.items()
        }
    else:
        shapes = {name: list(info["shape"]) for name, info in metadata["inputs"].items()}
    return {
        "status": {str(version): state["state"] for version, state in status.items()},
        "metadata": shapes,
        "predict": client.predict(half, "half_plus", 1).tolist(),
        "two outputs": sorted(client.predict(image, "denoiser", 2)),
        "unknown version": told(lambda: client.predict(image, "denoiser", 99)),
        "unknown model": told(lambda: client.get_model_status("absent", 1)),
        "unknown input": told(lambda: client.predict({"absent": half["x"]}, "half_plus", 1)),
        "wrong type": told(lambda: client.predict({"x": numpy.array(["a"])}, "half_plus", 1)),
        "wrong shape": told(
            lambda: client.predict({"image": numpy.zeros((2, 3), numpy.float32)}, "denoiser", 1)
        ),
    }


if __name__ == "__main__":
    grpc, rest = sys.argv[1:]
    clients = {
        "grpc": ovmsclient.make_grpc_client(grpc),
        "rest": ovmsclient.make_http_client(rest),
    }
    print(json.dumps({name: answers(c) for name, c in clients.items()}))
