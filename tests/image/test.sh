#!/usr/bin/env bash
# Builds the image without a Docker engine, and runs a dry run of every step inside it:
# `make image-test`.
#
# Needs root, buildah and debootstrap (Debian packages). The base is made by debootstrap from
# the machine's own package source; chroot isolation needs no privileges of the kernel.
#
#   IMAGE_TEST_FOLDER  what is built is kept here (default: /var/tmp/denoise-image)
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${IMAGE_TEST_FOLDER:-/var/tmp/denoise-image}
suite=trixie
mkdir -p "$folder"

for tool in buildah debootstrap; do
  if ! command -v "$tool" >/dev/null; then
    echo "image-test: $tool is missing (apt-get install buildah debootstrap)" >&2
    exit 1
  fi
done

root=$folder/$suite
if [ ! -e "$root/.done" ]; then
  # One of the two is often missing.
  mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } \
    | awk '/^URIs:/ { print $2; exit } /^deb / { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }')
  debootstrap --variant=minbase "$suite" "$root" "$mirror"
  touch "$root/.done"
fi

export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay} BUILDAH_ISOLATION=chroot
buildah() { command buildah --root "$folder/storage" --runroot "$folder/run" "$@"; }

if ! buildah inspect --type image denoise-base >/dev/null 2>&1; then
  base=$(buildah from scratch)
  buildah add --quiet "$base" "$root" /
  buildah commit --quiet "$base" denoise-base
  buildah rm "$base"
fi

# The machine's own package settings, seen while building and not kept in the image.
settings=()
[ -e /etc/pip.conf ] && settings+=(--volume /etc/pip.conf:/etc/pip.conf:ro)
if [ -n "${PIP_CERT:-}" ]; then
  settings+=(--volume "$PIP_CERT:/run/pip-cert.crt:ro" --build-arg PIP_CERT=/run/pip-cert.crt)
fi
echo "image-test: building"
time buildah bud --layers --network host "${settings[@]}" \
  --build-arg BASE=localhost/denoise-base --tag denoise .

echo "image-test: running"
python=${VENV:-.venv}/bin/python
data=$folder/data
"$python" -c "from tests import clothing; clothing.write_csvs('$data', train=400, test=100)"
container=$(buildah from denoise)
trap 'buildah rm "$container" >/dev/null' EXIT
# As KFP runs a step since 2.17: any user, no capabilities, none to be gained.
run() {
  buildah run --network host --user 10001 --cap-drop ALL --volume "$data:/data:ro" "$container" \
    -- setpriv --no-new-privs "$@"
}
run sh -c 'id; grep -E "^(CapEff|CapBnd|NoNewPrivs)" /proc/self/status
  test "$(id -u)" = 10001 && ! grep -qE "^Cap(Eff|Bnd):.*[1-9a-f]" /proc/self/status'
run denoise compile --runner kubeflow --image denoise --pipeline-root gs://models/pipelines \
  --data /data --output /workspace/pipeline.yaml \
  --set model.name=strided_cae --set training.epochs=1 --set training.warm_start=true \
  --set evaluation.min_gain=-100 --set evaluation.thresholds={} \
  --set data.max_drift=1 --set report.classifier_epochs=1 \
  --set "tuner={enabled: true, trials: 1, epochs: 1, algorithm: random}" \
  --dry-run --dry-run-folder /workspace/dry-run
