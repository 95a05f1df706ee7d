"""From nothing to the first denoised image: what the extra `serve` takes.

    python -m benchmarks.first_result --pretrained clothes.keras [--json]

Makes a virtual environment, installs this project with the extra `serve` by pip, and denoises an
image with a pretrained model: the first time, when it is exported, and a second time. CPU seconds
are those of all cores; a busy machine changes them least. Needs a package index.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import PIL.Image

from components.pretrained import kept
from pipeline import bootstrap


def measure(pretrained: str) -> dict[str, Any]:
    """Seconds and CPU seconds of each step, and the bytes that were installed.

    Args:
      pretrained: A model, as `--pretrained` takes it.
    """
    model = kept.find(pretrained)
    name = pretrained if pretrained in kept.names() else str(model.file.resolve())
    with tempfile.TemporaryDirectory(prefix="denoise-") as scratch:
        folder = pathlib.Path(scratch)
        image = model.images()[0]
        PIL.Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
            folder / "image.png"
        )
        bootstrap.copy_sources(folder / "sources")
        python = folder / "venv" / "bin" / "python"
        predict = [str(python.with_name("denoise")), "predict", "image.png", "--pretrained", name]
        predict += ["--workspace", "workspace", "--overwrite", "-o"]
        steps = {
            "venv": [sys.executable, "-m", "venv", str(folder / "venv")],
            "install": [str(python), "-m", "pip", "install", "--quiet", "./sources[serve]"],
            "first image": [*predict, "first"],
            "second image": [*predict, "second"],
        }
        found: dict[str, Any] = {
            step: _timed(command, folder, step) for step, command in steps.items()
        }
        found["bytes"] = sum(
            file.lstat().st_size for file in (folder / "venv").rglob("*") if file.is_file()
        )
        found["packages"] = len(list(folder.glob("venv/lib/*/site-packages/*.dist-info")))
        return found


def _timed(command: Sequence[str], folder: pathlib.Path, step: str) -> dict[str, float]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    environment["XDG_CACHE_HOME"] = str(folder / "cache")
    started, cpu = time.perf_counter(), _cpu()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{step}: {' '.join(command)}\n{done.stdout}{done.stderr}")
    return {"seconds": time.perf_counter() - started, "cpu_seconds": _cpu() - cpu}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretrained", required=True, metavar="NAME")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.pretrained)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for step, took in found.items():
        if isinstance(took, dict):
            print(f"{step:<14}{took['seconds']:6.1f} s  {took['cpu_seconds']:6.1f} CPU s")
    print(f"{'installed':<14}{found['bytes'] / 1e6:,.0f} MB, {found['packages']} packages")


if __name__ == "__main__":
    main()
