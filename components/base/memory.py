"""Memory that is free for this process, in a container too."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import psutil

_CGROUPS = pathlib.Path("/sys/fs/cgroup")
_OWN = pathlib.Path("/proc/self/cgroup")


def available(cgroups: pathlib.Path = _CGROUPS, own: pathlib.Path = _OWN) -> int:
    """Bytes that this process may still take, by the machine and by its control groups.

    Docker and Kubernetes limit a container's memory by a control group, of which the machine's
    own figures know nothing.

    Args:
      cgroups: Where the control groups are mounted.
      own: The file that says in which ones this process is.
    """
    return min([psutil.virtual_memory().available, *_left_by_cgroups(cgroups, own)])


def _left_by_cgroups(cgroups: pathlib.Path, own: pathlib.Path) -> Iterator[int]:
    for line in own.read_text(encoding="utf-8").splitlines() if own.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            root, limit, usage, cached = cgroups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, cached = cgroups / "memory", "total_inactive_file"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # A limit of a group holds for those in it. In a container its own group is the root.
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if (folder / limit).exists() and (folder / limit).read_text(
                encoding="utf-8"
            ).strip() != "max":
                used = int((folder / usage).read_text(encoding="utf-8")) - _cached(
                    folder / "memory.stat", cached
                )
                yield max(0, int((folder / limit).read_text(encoding="utf-8")) - used)
            if folder == root:
                break


def _cached(statistics: pathlib.Path, name: str) -> int:
    """Bytes of files, which the kernel gives up when memory is short."""
    fields = dict(line.split() for line in statistics.read_text(encoding="utf-8").splitlines())
    return int(fields.get(name, 0))
