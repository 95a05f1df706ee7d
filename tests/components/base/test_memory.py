"""Free memory: what the machine has, or what a container's limit leaves of it."""

import psutil
import pytest

from components.base import memory

V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


def _group(folder, names, limit, usage, cached):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, usage), strict=False):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cached}\n")


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "cgroup"

    def write(*lines):
        file.write_text("".join(f"{line}\n" for line in lines))
        return file

    return write


def test_without_control_groups_it_is_the_machines(tmp_path):
    found = memory.available(tmp_path, tmp_path / "nothing")
    assert 0.5 < found / psutil.virtual_memory().available < 2


@pytest.mark.parametrize(
    ("names", "root", "line"), [(V2, "", "0::/"), (V1, "memory", "4:memory:/")]
)
def test_in_a_container_it_is_what_the_limit_leaves(tmp_path, own, names, root, line):
    _group(tmp_path / root, names, limit=4000, usage=1500, cached=500)
    assert memory.available(tmp_path, own("3:cpu:/", line)) == 3000


@pytest.mark.parametrize(
    ("names", "root", "line"), [(V2, "", "0::/a/b"), (V1, "memory", "4:hugetlb,memory:/a/b")]
)
def test_a_limit_holds_for_the_groups_below_it(tmp_path, own, names, root, line):
    unlimited = "max" if names is V2 else 2**63 - 4096
    _group(tmp_path / root / "a", names, limit=2000, usage=1900, cached=0)
    _group(tmp_path / root / "a" / "b", names, limit=unlimited, usage=5, cached=0)
    assert memory.available(tmp_path, own(line)) == 100


def test_a_limit_that_is_passed_leaves_nothing(tmp_path, own):
    _group(tmp_path, V2, limit=1000, usage=1200, cached=0)
    assert memory.available(tmp_path, own("0::/")) == 0


def test_a_group_that_is_mounted_elsewhere_limits_by_its_root(tmp_path, own):
    """In a container, /proc may name the group as the host has it."""
    _group(tmp_path / "memory", V1, limit=700, usage=0, cached=0)
    assert memory.available(tmp_path, own("4:memory:/docker/0123")) == 700


def test_this_process_has_some():
    assert 0 < memory.available() <= psutil.virtual_memory().total
