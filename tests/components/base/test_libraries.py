"""Libraries get what they cannot do without."""

import json
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


_IMPORTED = """
import sys
from components.base import libraries

libraries.spare_processor()
libraries.calm()
import {first}
print(*sorted({{"IPython", "matplotlib", "pandas", "scipy", "sklearn"}} & set(sys.modules)))
import keras, matplotlib, pandas, scipy, sklearn, tensorflow
print(keras.ops.sum(tensorflow.constant([1.0, 2.0])).numpy())
"""


@pytest.mark.parametrize("first", ["keras", "tensorflow"])
def test_tensorflow_is_imported_without_what_it_can_do_without(first):
    code = _IMPORTED.format(first=first)
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "\n3.0\n"


SPARED = {"OPENBLAS_THREAD_TIMEOUT": "4", "TF_ENABLE_ONEDNN_OPTS": "1"}
CALMED = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
WITHOUT = {name: value for name, value in os.environ.items() if name not in (*SPARED, *CALMED)}
_ENTRY_POINT = """
import atexit, json, os, sys
from components.base import libraries
from {module} import main

assert not {{"numpy", "tensorflow"}} & set(sys.modules), "they read the variables"
libraries.load_tensorflow = lambda: None
atexit.register(lambda: print(json.dumps(dict(os.environ))))
sys.argv[1:] = ["--nonsense"]
main()
"""


@pytest.mark.parametrize(
    "module",
    [
        "pipeline.cli",
        "pipeline.runners.kubeflow.container",
        "components.serving_check.check",
        "serving.server.running",
    ],
)
def test_every_entry_point_spares_the_processor_and_leaves_a_gpu_to_others(module):
    done = subprocess.run(
        [sys.executable, "-c", _ENTRY_POINT.format(module=module)],
        env=WITHOUT,
        capture_output=True,
        text=True,
    )
    environment = json.loads(done.stdout.splitlines()[-1])
    assert environment.items() >= {**SPARED, **CALMED}.items(), done.stderr


def test_so_do_benchmarks():
    """Without oneDNN a training in float32 took 1.5 times as long as the pipeline's own."""
    code = "import sys, benchmarks, json, os; assert 'numpy' not in sys.modules; "
    code += "print(json.dumps(dict(os.environ)))"
    said = subprocess.check_output([sys.executable, "-c", code], env=WITHOUT, text=True)
    assert json.loads(said).items() >= SPARED.items()
