"""`denoise run` on machines unlike the usual one: minutes each, so `-m slow`.

A Debian of its own, from nothing, is tried by tests/machines/debian.sh.
"""

import json
import os
import subprocess
import sys

import pytest

from pipeline import bootstrap
from tests import clothing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]

SETTINGS = (
    "evaluation.thresholds={}",
    "evaluation.min_gain=-100",
    "model.name=strided_cae",
    "training.epochs=1",
    "training.batch_size=32",
)
READ_ONLY = (
    "root=$1; shift; mount --bind $root $root; mount --options remount,bind,ro $root; "
    'if touch $root/x 2> /dev/null; then echo "$root can be written" >&2; exit 9; fi; exec "$@"'
)
READ_ONLY_CLONE = ["unshare", "--mount", "sh", "-ec", READ_ONLY, "sh", str(bootstrap.ROOT)]
ONE_CORE = ["taskset", "--cpu-list", "0"]
LITTLE_MEMORY = ["prlimit", f"--data={4 << 30}"]
NOT_ROOT = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
# Root cannot make a folder there either.
NO_HOME = {"HOME": "/proc/nothing"}
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CONDITIONS = {
    "no HOME": (["env", "--unset=HOME"], {}),
    "a HOME that cannot be written": ([], NO_HOME),
    "the C locale": ([], ASCII),
    "one core": (ONE_CORE, {}),
    "4 GB of memory": (LITTLE_MEMORY, {}),
    "a user that is not root": (NOT_ROOT, {"HOME": "/nonexistent"}),
    "a read-only clone": (READ_ONLY_CLONE, {}),
    "all at once": ([*READ_ONLY_CLONE, *ONE_CORE, *LITTLE_MEMORY], {**NO_HOME, **ASCII}),
    "all at once, and not root": (
        [*READ_ONLY_CLONE, *ONE_CORE, *LITTLE_MEMORY, *NOT_ROOT],
        {**NO_HOME, **ASCII},
    ),
}
WORKSPACE = "my {work} space"


def _command(prefix, folder):
    overrides = [part for setting in SETTINGS for part in ("--set", setting)]
    run = [sys.executable, "-m", "pipeline.cli", "run", "--json", *overrides]
    return [*prefix, *run, "--data", folder / "my data", "--workspace", folder / WORKSPACE]


def _environment(changes):
    return {**os.environ, "PYTHONPATH": str(bootstrap.ROOT), "CUDA_VISIBLE_DEVICES": "", **changes}


def _run(command, folder, **changes):
    return subprocess.run(
        command, cwd=folder, env=_environment(changes), capture_output=True, text=True
    )


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_run_pushes_a_model(name, tmp_path):
    """Wherever it is, with spaces and braces in its paths."""
    prefix, changes = CONDITIONS[name]
    try:
        tried = _run([*prefix, sys.executable, "-c", ""], tmp_path, **changes)
    except FileNotFoundError as error:
        pytest.skip(f"no {error.filename} here")
    if tried.returncode != 0:
        pytest.skip(f"{name}: not to be had here: {tried.stderr.strip()[-200:]}")
    clothing.write_csvs(tmp_path / "my data", train=400, test=60)
    if "setpriv" in prefix:
        os.chown(tmp_path, 65534, 65534)
        tmp_path.parent.chmod(0o755)
        tmp_path.parent.parent.chmod(0o755)
    done = _run(_command(prefix, tmp_path), tmp_path, **changes)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["outcome"] == "pushed"
    [version] = (tmp_path / WORKSPACE / "serving" / "denoiser").iterdir()
    assert (version / "saved_model.pb").exists()


@pytest.fixture
def small_disk(tmp_path):
    """Changes the size, in kB, of a disk that is mounted at tmp_path / WORKSPACE."""
    disk = tmp_path / WORKSPACE
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "denoise-test", disk], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small disk")

    def resize(kilobytes):
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", disk], check=True)

    yield resize
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_disk_that_is_full_at_any_step(tmp_path, small_disk):
    """Each run gets somewhat further, says that the disk is full, and leaves no half version."""
    clothing.write_csvs(tmp_path / "my data", train=400, test=60)
    versions = tmp_path / WORKSPACE / "serving" / "denoiser"
    kilobytes, failures = 64, 0
    while True:
        small_disk(kilobytes)
        done = _run(_command([], tmp_path), tmp_path)
        pushed = [child for child in versions.glob("*") if child.name.isdecimal()]
        if done.returncode == 0:
            break
        assert done.returncode == 1, done.stderr[-3000:]
        assert "the disk is full" in done.stderr, done.stderr[-3000:]
        assert "Traceback" not in done.stderr
        assert all((version / "saved_model.pb").exists() for version in pushed)
        failures += 1
        assert failures < 40
        kilobytes += kilobytes // 2
    assert failures > 5
    # What was pushed before the report found no room is not pushed again.
    assert json.loads(done.stdout)["outcome"] in ("pushed", "unchanged")
    assert len(pushed) == 1
