#!/usr/bin/env bash
# What a new user meets on a Debian or Ubuntu of its own: `tests/machines/debian.sh bookworm` (12),
# `trixie` (13), the default, or `noble` (Ubuntu 24.04).
#
# Needs root, debootstrap, unshare and 12 GB. In a fresh root with Python, make and nothing else:
#   1. `make setup` names what is missing; the command it gives is run word for word;
#   2. then it makes the environment, as a user that is not root, without a HOME, from a clone
#      that cannot be written and whose path has spaces; on Debian 12, whose Python is 3.11, with
#      a newer C library beside the interpreter, unless uv can download a Python 3.10;
#   3. `denoise run` pushes a model there: one core, LC_ALL=C, a workspace with spaces;
#   4. `denoise predict` uses it.
#
#   MACHINES_FOLDER  what is built is kept here (default: /var/tmp/denoise-machines)
#   MIRROR, KEYRING  where the packages come from, and the keys they are signed with (default: the
#                    first source of apt or, for noble, as debootstrap has it)
set -euo pipefail
cd "$(dirname "$0")/../.."
suite=${1:-trixie}
folder=${MACHINES_FOLDER:-/var/tmp/denoise-machines}
root=$folder/$suite
clone="/home/some one/denoise pipeline"
mkdir -p "$folder"

for tool in debootstrap unshare setpriv; do
  command -v "$tool" > /dev/null || { echo "$0: $tool is missing" >&2; exit 1; }
done
if [ ! -e "$root/.done" ]; then
  options=(--variant=minbase --include=ca-certificates,make,python3)
  [ -z "${KEYRING:-}" ] || options+=(--keyring="$KEYRING")
  mirror=${MIRROR:-} script=$suite
  if [ "$suite" = noble ]; then
    # Debian's debootstrap may be older than the release; one script does for all of Ubuntu's.
    # pip is in universe, which an Ubuntu has from the beginning.
    options+=(--components=main,universe) script=gutsy
  elif [ -z "$mirror" ]; then
    mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } \
      | awk '/^URIs:/ { print $2; exit } /^deb / { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }')
  fi
  debootstrap "${options[@]}" "$suite" "$root" "$mirror" "$script"
  touch "$root/.done"
fi

# The machine's own way to its package mirrors.
cp /etc/resolv.conf /etc/hosts "$root/etc/"
[ -e /etc/pip.conf ] && cp /etc/pip.conf "$root/etc/"
certificates=/etc/ssl/certs/ca-certificates.crt
if [ -e "$certificates" ]; then
  mkdir -p "$root/etc/ssl/certs"
  cp -L "$certificates" "$root$certificates"
fi

rm -rf "$root/home/some one"
mkdir -p "$root$clone" "$root/var/tmp/tried"
git ls-files -z | tar --create --null --files-from=- | tar --extract --directory "$root$clone"
chown --recursive 1234:1234 "$root/var/tmp/tried"
chmod -R go+rX "$root/home"

# in_root USER COMMAND: in the root, with the clone read-only and an environment of its own.
in_root() {
  unshare --mount --pid --fork --kill-child bash -c '
    root=$1 clone=$2 user=$3 command=$4 certificates=$5
    mount --types proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --bind "$root$clone" "$root$clone"
    mount --options remount,bind,ro "$root$clone"
    exec env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C \
      DEBIAN_FRONTEND=noninteractive PIP_CERT="$certificates" SSL_CERT_FILE="$certificates" \
      DENOISE_VENV=/var/tmp/tried/venv \
      chroot "$root" setpriv --reuid "$user" --regid "$user" --clear-groups \
      sh -e -c "cd \"$clone\"; $command"
  ' in_root "$root" "$clone" "$1" "$2" "$certificates"
}
said() { echo "debian.sh $suite: $*"; }

installed=0
SECONDS=0
while true; do
  if in_root 1234 "make setup" > "$folder/$suite.log" 2>&1; then break; fi
  command=$(sed -n 's/^  sudo apt-get update && sudo //p' "$folder/$suite.log")
  [ -n "$command" ] || { cat "$folder/$suite.log"; exit 1; }
  installed=$((installed + 1))
  [ "$installed" -le 2 ] || { said "a third refusal"; cat "$folder/$suite.log"; exit 1; }
  said "the set-up asks for: $command"
  in_root 0 "apt-get -qq update; $command --yes -qq --no-install-recommends > /dev/null 2>&1"
done
said "set up in $SECONDS s: $(grep -h "^set-up: making" "$folder/$suite.log")"

denoise='"$DENOISE_VENV"/bin/denoise'
in_root 1234 "$denoise --version"
in_root 1234 "cd /var/tmp/tried; PYTHONPATH=\"$clone\" \"\$DENOISE_VENV\"/bin/python -c '
from tests import clothing
clothing.write_csvs(\"my data\", train=400, test=60)'"
in_root 1234 "taskset --cpu-list 0 $denoise run --data '/var/tmp/tried/my data' \
  --workspace '/var/tmp/tried/my workspace' --set evaluation.thresholds={} \
  --set evaluation.min_gain=-100 --set training.epochs=1 --set training.batch_size=32 \
  --set model.name=strided_cae"
in_root 1234 "$denoise predict '/var/tmp/tried/my data/test' -o '/var/tmp/tried/my clean' \
  --workspace '/var/tmp/tried/my workspace'"
said "passed"
