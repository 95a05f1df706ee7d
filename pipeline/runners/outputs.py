"""What lies in the pipeline root against what the metadata knows of it.

Each step writes to `<pipeline_root>/<step>/<output>/<id of the execution>`. Where the metadata was
lost or brought back from a backup, ids are given again, and a step would find the files of another
run in its folder. Where a file of a finished step was cut short, changed or lost, the cache would
answer with it. Such folders are moved out of the way before a run, and those of the newest runs
that moved some are kept.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import zlib
from collections.abc import Collection, Iterable

from components.base.files import write_json
from pipeline.history.lineage import DONE, Output, Steps

_SIZES = pathlib.PurePath(".system", "sizes")
"""Under a step's folder: of an output's files, by the artifact's id, the size, the time of change
in nanoseconds and the CRC-32."""
_KEPT = 3
_PART = 1 << 20


def set_forgotten_aside(pipeline_root: pathlib.Path, steps: Steps, target: pathlib.Path) -> int:
    """Moves the outputs of executions that the metadata has yet to number.

    Args:
      pipeline_root: With what runs wrote.
      steps: All that the metadata knows.
      target: The folder they are moved to, made if need be; on the same file system.

    Returns:
      How many folders were moved.
    """
    newest = max((step.id for step in steps), default=0)
    forgotten = [
        folder
        for folder in (*pipeline_root.glob("*/*/*"), *pipeline_root.glob("*/.*/*/*"))
        if folder.name.isdigit() and len(folder.name) < 10 and int(folder.name) > newest
    ]
    for folder in forgotten:
        _move(folder, pipeline_root, target)
    return len(forgotten)


def set_broken_aside(
    pipeline_root: pathlib.Path,
    steps: Steps,
    target: pathlib.Path,
    suspected: Collection[int] = (),
) -> list[str]:
    """Moves the outputs of finished steps whose files are not as they were written.

    The cache does not answer with an output that is not there, so the step runs again.

    Args:
      pipeline_root: With what runs wrote.
      steps: All that the metadata knows.
      target: As for `set_forgotten_aside`.
      suspected: Ids of outputs of which all files are read; of others, those whose time of
        change is another.

    Returns:
      What is wrong with each.
    """
    found = []
    for output, component in _made(steps):
        folder = pathlib.Path(output.uri)
        fault = _fault(
            folder, _sizes_file(pipeline_root, component, output), output.id in suspected
        )
        if fault:
            _move(folder, pipeline_root, target)
            found.append(f"{component}: {folder}: {fault}")
    return found


def note_sizes(pipeline_root: pathlib.Path, steps: Steps) -> None:
    """Notes the sizes and checksums of the files that steps wrote, for `set_broken_aside`."""
    for output, component in _made(steps):
        folder = pathlib.Path(output.uri)
        files = {
            name: [size, changed, _checksum(folder / name)]
            for name, (size, changed) in _files(folder).items()
        }
        write_json(
            _sizes_file(pipeline_root, component, output), {"uri": output.uri, "files": files}
        )


def prune(aside: pathlib.Path) -> int:
    """Removes what earlier runs set aside, but for the newest of them.

    Args:
      aside: The folder of the folders that are named by the time of a run.

    Returns:
      How many folders of runs were removed.
    """
    older = sorted(path for path in aside.glob("*") if path.is_dir())[:-_KEPT]
    for folder in older:
        shutil.rmtree(folder)
    return len(older)


def _made(steps: Steps) -> Iterable[tuple[Output, str]]:
    """What steps wrote themselves, each with the step's name."""
    for step in steps:
        if step.state in DONE and step.state != "cached":
            for outputs in step.outputs.values():
                for output in outputs:
                    yield output, step.component


def _sizes_file(pipeline_root: pathlib.Path, component: str, output: Output) -> pathlib.Path:
    return pipeline_root / component / _SIZES / f"{output.id}.json"


def _files(folder: pathlib.Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of each file."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(place, name)
            status = os.stat(path)
            found[os.path.relpath(path, folder)] = (status.st_size, status.st_mtime_ns)
    return found


def _checksum(path: pathlib.Path) -> int:
    value = 0
    with path.open("rb") as file:
        while part := file.read(_PART):
            value = zlib.crc32(part, value)
    return value


def _fault(folder: pathlib.Path, sizes_file: pathlib.Path, thorough: bool) -> str | None:
    if not folder.is_dir():
        # Removed, perhaps to make room: the cache sees that itself.
        return None
    try:
        noted = json.loads(sizes_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if noted["uri"] != str(folder):
        return None
    here = _files(folder)
    for name, entry in noted["files"].items():
        # Before there were checksums, a size alone.
        size, changed, checksum = entry if isinstance(entry, list) else (entry, None, None)
        if name not in here:
            return f"{name} is missing"
        if here[name][0] != size:
            return f"{name} has {here[name][0]} bytes, {size} were written"
        if checksum is None or (here[name][1] == changed and not thorough):
            continue
        if _checksum(folder / name) != checksum:
            return f"{name} was changed since it was written"
    others = sorted(here.keys() - noted["files"].keys())
    return f"{others[0]} was not written by the step" if others else None


def _move(folder: pathlib.Path, pipeline_root: pathlib.Path, target: pathlib.Path) -> None:
    # An artifact's address is absolute and without links; the workspace's may be neither.
    moved = target / folder.resolve().relative_to(pipeline_root.resolve())
    moved.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(moved)
