#!/bin/sh
# Clients that nobody here wrote, for tests/serving/test_other_clients.py, each apart from this
# project's environment:
#
#   sh tests/serving/clients/make.sh [PYTHON]      PYTHON of the project's environment
#
# ovmsclient with the protobuf it was made for, and, where there is Go, a client generated from
# TF Serving's messages as tensorflow-serving-api has them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
python=${1:-$root/.venv/bin/python}
target=$root/.venv-clients

rm -rf "$target"
python3 -m venv "$target/ovms"
"$target/ovms/bin/pip" install --quiet ovmsclient==2023.1 'protobuf<4' 'numpy<2'

command -v go > /dev/null || { echo "no Go: without the Go client" >&2; exit 0; }
build=$target/go
mkdir -p "$build"
cp "$here/go/main.go" "$build"
cd "$build"
go mod init client > /dev/null 2>&1
go get google.golang.org/grpc@v1.71.0 google.golang.org/protobuf@v1.36.5
go build -o protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
cd "$root"
"$python" -m tests.serving.clients.go.generate "$build"
cd "$build"
go mod tidy
go build -o client .
