"""The command: instant help with an example each, right exit statuses, JSON for machines."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys

import pytest

from components.base import settings
from pipeline import cli, config
from pipeline.commands import options
from tests import warm
from tests.alike import alike

COMMANDS = sorted(
    command.name or command.callback.__name__ for command in cli.app.registered_commands
)


def _call(*arguments, timeout=120):
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_help_names_every_command_without_heavy_imports():
    code = (
        "import sys; sys.argv = ['denoise', '--help']\n"
        "from pipeline import cli\n"
        "try: cli.main()\n"
        "except SystemExit as end: status = end.code\n"
        "heavy = {'tensorflow', 'keras', 'tfx', 'apache_beam', 'numpy', 'pydantic', 'yaml'}\n"
        "heavy &= set(sys.modules)\n"
        "print('heavy:', sorted(heavy), 'status:', status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "heavy: [] status: 0" in done.stdout
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", done.stdout), command


def test_the_default_preset_is_that_of_the_settings():
    assert options.DEFAULT_PRESET == settings.DEFAULT_PRESET


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    done = _call(command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"denoise {command}" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("run", "--nosuch"),
        ("run", "--set", "training.epochs=x"),
        ("run", "--preset", "nosuch"),
        ("predict", "-o", "x"),
        (
            *("compile", "--image", "i", "--pipeline-root", "s3://b/p"),
            *("--set", "training.strategy=multi_worker"),
        ),
    ],
)
def test_wrong_usage_ends_with_status_2(arguments):
    done = _call(*arguments)
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", alike(["<&- >&- 2>&-", "<&-", ">&-", "2>&-"]))
def test_what_the_caller_closed_is_as_if_nobody_read_it(closed):
    command = f'"$0" -m pipeline.cli noises --json {closed}'
    done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    assert bool(done.stdout) == (" >" not in f" {closed}")


@pytest.mark.parametrize("command", ["status", "serve"])
def test_an_empty_workspace_is_named(command, tmp_path):
    done = _call(command, "--workspace", str(tmp_path))
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert "denoise run" in done.stderr
    assert "Traceback" not in done.stderr


def test_models_and_noises_as_json():
    done = warm.call("pipeline.cli", ["models", "--json"], os.environ)
    assert done.stderr == ""
    models = {row["name"]: row for row in json.loads(done.stdout)}
    for row in models.values():
        assert row["parameters"] > 0
        assert row["preset"] in config.preset_names()
        assert row["origin"] == "denoise"
        assert row["source"]
    assert models["windsor_cae"]["parameters"] == 49_761
    assert models["dense_dae_16"]["parameters"] == 25_888
    done = warm.call("pipeline.cli", ["noises", "--json"], os.environ)
    assert done.stderr == ""
    noises = json.loads(done.stdout)
    assert all(row["formula"] and row["source"] and row["usage"] for row in noises)
    assert {"salt_pepper", "gaussian", "mixture", "none"} <= {row["name"] for row in noises}


def test_version_is_that_of_the_installed_packages():
    done = _call("--version")
    assert done.returncode == 0
    found = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    for name, package in (("TFX", "tfx"), ("TensorFlow", "tensorflow"), ("Keras", "keras")):
        assert found[name] == importlib.metadata.version(package)
    assert found["packages"].startswith(f"TFX {'.'.join(found['TFX'].split('.')[:2])}, for ")


def test_a_shell_completes_commands_and_options():
    def completed(*words):
        environment = {
            **os.environ,
            "_DENOISE_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }
        code = "import sys; sys.argv = ['denoise']; from pipeline import cli; cli.main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        return done.stdout.split()

    assert completed("denoise", "pred") == ["predict"]
    assert "--server" in completed("denoise", "predict", "--s")
    help_text = _call("--help").stdout
    assert "--install-completion" in help_text
    assert "--show-completion" in help_text
