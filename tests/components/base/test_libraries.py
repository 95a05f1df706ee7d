"""Libraries get what they cannot do without."""

import os
import subprocess
import sys

import pytest

from components.base import libraries


def test_a_user_whom_no_passwd_file_knows_has_a_home(monkeypatch):
    import pwd

    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(os, "environ", {})
    libraries.calm()
    assert os.environ["HOME"] == "/"
    monkeypatch.setattr(os, "environ", {"HOME": "/home/somebody"})
    libraries.calm()
    assert os.environ["HOME"] == "/home/somebody"


_A_CYCLE = """
import components.base.libraries
class Cycle:
    def __del__(self):
        print("searched")
    def __init__(self):
        self.itself = self
{before}
Cycle()
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [("", "searched\n"), ("components.base.libraries.spare_processor()", "")],
)
def test_a_process_that_ends_searches_no_garbage(before, said):
    code = _A_CYCLE.format(before=before)
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == said


@pytest.mark.parametrize(
    "entry_point",
    ["pipeline.cli", "pipeline.runners.kubeflow.container", "components.serving_check.check"],
)
def test_openblas_is_told_before_numpy_is_imported(entry_point):
    code = f"import sys, {entry_point}; assert 'numpy' not in sys.modules"
    subprocess.check_call([sys.executable, "-c", code])


def test_openblas_does_not_wait_busily(monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    libraries.spare_processor()
    assert os.environ == {"OPENBLAS_THREAD_TIMEOUT": "4"}
