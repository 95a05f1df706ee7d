"""Go code for TF Serving's messages, made from the descriptors that tensorflow-serving-api has.

    python -m tests.serving.clients.go.generate FOLDER

FOLDER is a Go module called `client` with the program protoc-gen-go in it; a package of each
.proto file comes into FOLDER/messages.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor import FileDescriptor
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2


def files(roots: list[FileDescriptor]) -> list[FileDescriptor]:
    """Those and what they import, each behind its own imports."""
    found: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        for dependency in file.dependencies:
            add(dependency)
        found.setdefault(file.name, file)

    for root in roots:
        add(root)
    return list(found.values())


def request() -> plugin_pb2.CodeGeneratorRequest:
    """What protoc would send its plug-in."""
    message = plugin_pb2.CodeGeneratorRequest()
    parameters = ["module=client"]
    for file in files([predict_pb2.DESCRIPTOR, get_model_status_pb2.DESCRIPTOR]):
        described = message.proto_file.add()
        described.ParseFromString(file.serialized_pb)
        if file.name.startswith("google/protobuf/"):
            continue
        message.file_to_generate.append(file.name)
        package = file.name.removesuffix(".proto").replace("/", "_")
        parameters.append(f"M{file.name}=client/messages/{package}")
    message.parameter = ",".join(parameters)
    return message


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    done = subprocess.run(
        [folder / "protoc-gen-go"],
        input=request().SerializeToString(),
        stdout=subprocess.PIPE,
        check=True,
    )
    response = plugin_pb2.CodeGeneratorResponse.FromString(done.stdout)
    if response.error:
        sys.exit(response.error)
    for file in response.file:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)


if __name__ == "__main__":
    main()
