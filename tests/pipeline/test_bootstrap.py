"""The set-up: the C library picks the Python, the Python picks the dependency set."""

import os
import pathlib
import re
import stat
import subprocess
import sys

import pytest

from pipeline import bootstrap

ROOT = pathlib.Path(bootstrap.__file__).resolve().parent.parent
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
LOCK = (ROOT / "requirements.lock").read_text()


@pytest.mark.parametrize(
    ("glibc", "version"),
    [((2, 35), "3.10"), ((2, 36), "3.10"), ((2, 39), "3.12"), ((2, 41), "3.12")],
)
def test_the_c_library_picks_the_python(glibc, version):
    assert bootstrap.wanted_pythons(glibc)[0] == version


def test_this_environment_is_what_the_bootstrap_would_make():
    assert RUNNING in bootstrap.wanted_pythons(bootstrap.glibc_version())


def _pinned(package):
    return set(re.findall(rf"^{re.escape(package)}==(\S+)", LOCK, re.MULTILINE))


@pytest.mark.parametrize(
    ("package", "versions"),
    [
        ("tfx", {"1.16.0", "1.21.0"}),
        ("tensorflow", {"2.16.2", "2.21.0"}),
        ("kfp", {"2.5.0", "2.16.1"}),
    ],
)
def test_the_lock_holds_both_sets(package, versions):
    assert _pinned(package) == versions


def test_the_lock_has_hashes_and_no_addresses():
    assert "://" not in LOCK
    pins = re.findall(r"^[A-Za-z0-9_.-]+==", LOCK, re.MULTILINE)
    assert len(pins) > 200
    assert LOCK.count("--hash=sha256:") >= len(pins)


def test_a_shim_that_fails_is_passed_over(tmp_path):
    shim = tmp_path / "python3.10"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    assert not bootstrap._runs(shim, "3.10")
    assert not bootstrap._runs(tmp_path / "missing", "3.10")
    assert bootstrap._runs(sys.executable, RUNNING)


def test_a_second_call_is_instant(tmp_path):
    """With the stamp of the present files it returns before it looks for anything."""
    environment = {**os.environ, "DENOISE_VENV": str(tmp_path / "venv"), "PATH": "/nonexistent"}
    stamp = tmp_path / "venv" / ".bootstrap"
    stamp.parent.mkdir()
    command = [sys.executable, str(ROOT / "pipeline" / "bootstrap.py")]
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import bootstrap; print(bootstrap.fingerprint())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "pipeline")], capture_output=True, text=True
    )
    stamp.write_text(found.stdout.strip())
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout == ""
    assert list(stamp.parent.iterdir()) == [stamp]


def test_a_step_that_fails_ends_the_set_up_with_its_command():
    with pytest.raises(SystemExit, match=r"`false` failed; its message is above\. Try this\."):
        bootstrap._call(["false"], hint=" Try this.")
