"""What must not be found by the next steps is moved out of their way."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from pipeline.history.lineage import Output, Step, Steps
from pipeline.runners import outputs


@pytest.fixture
def root(tmp_path):
    return tmp_path / "pipeline_root"


def step(root: pathlib.Path, number: int, state: str = "done") -> Step:
    """A step that wrote two files."""
    folder = root / "Transform" / "examples" / str(number)
    (folder / "Split-train").mkdir(parents=True, exist_ok=True)
    (folder / "Split-train" / "data.gz").write_bytes(b"1234")
    (folder / "counts.json").write_text("{}")
    output = Output(number, "examples", "Examples", str(folder), {})
    return Step(number, "Transform", "run", state, 0, 1, {}, {}, {"examples": [output]})


def files(folder: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_the_metadata_has_yet_to_number_is_moved(root, tmp_path):
    steps = Steps([step(root, number) for number in (1, 2)])
    for number in (3, 12):
        step(root, number)
    (root / "Trainer" / ".system" / "executor_execution" / "3").mkdir(parents=True)
    kept = root / "Trainer" / "resume" / "1234567890123456"
    kept.mkdir(parents=True)
    assert outputs.set_forgotten_aside(root, steps, tmp_path / "aside") == 3
    assert files(root) == [
        f"Transform/examples/{number}/{name}"
        for number in (1, 2)
        for name in ("Split-train/data.gz", "counts.json")
    ]
    assert kept.is_dir()
    assert "Transform/examples/12/counts.json" in files(tmp_path / "aside")
    assert outputs.set_forgotten_aside(root, steps, tmp_path / "aside") == 0


@pytest.mark.parametrize("place", ["relative", "link"])
def test_a_workspace_is_wherever_one_calls_it(root, tmp_path, monkeypatch, place):
    """An artifact's address is absolute, and without links."""
    steps = Steps([step(root, 1)])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(root)
    called = pathlib.Path("pipeline_root" if place == "relative" else "link")
    outputs.note_sizes(called, steps)
    (root / "Transform" / "examples" / "1" / "counts.json").write_text("{")
    [said] = outputs.set_broken_aside(called, steps, tmp_path / "aside")
    assert "counts.json has 1 bytes, 2 were written" in said
    assert files(root / "Transform" / "examples") == []
    assert "Transform/examples/1/counts.json" in files(tmp_path / "aside")


def test_nothing_is_known_without_metadata(root, tmp_path):
    step(root, 1)
    assert outputs.set_forgotten_aside(root, Steps(), tmp_path / "aside") == 1


def test_whole_outputs_stay(root, tmp_path):
    steps = Steps([step(root, 1)])
    assert outputs.set_broken_aside(root, steps, tmp_path / "aside") == []
    outputs.note_sizes(root, steps)
    assert outputs.set_broken_aside(root, steps, tmp_path / "aside") == []


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda file: file.write_bytes(b"12"), "Split-train/data.gz has 2 bytes, 4 were written"),
        (lambda file: file.unlink(), "Split-train/data.gz is missing"),
        (
            lambda file: file.with_name("other.gz").touch(),
            "Split-train/other.gz was not written by the step",
        ),
        (
            lambda file: file.write_bytes(b"1244"),
            "Split-train/data.gz was changed since it was written",
        ),
    ],
)
def test_an_output_that_is_not_as_it_was_written_is_moved(root, tmp_path, damage, told):
    steps = Steps([step(root, 1), step(root, 2)])
    outputs.note_sizes(root, steps)
    folder = root / "Transform" / "examples" / "2"
    damage(folder / "Split-train" / "data.gz")
    found = outputs.set_broken_aside(root, steps, tmp_path / "aside")
    assert found == [f"Transform: {folder}: {told}"]
    assert not folder.exists()
    assert "Transform/examples/2/counts.json" in files(tmp_path / "aside")
    assert outputs.set_broken_aside(root, steps, tmp_path / "aside") == []


def test_a_change_that_nothing_tells_is_found_when_it_is_looked_for(root, tmp_path):
    """As a disk makes it; the time of change stays."""
    steps = Steps([step(root, 1)])
    outputs.note_sizes(root, steps)
    file = root / "Transform" / "examples" / "1" / "Split-train" / "data.gz"
    before = file.stat()
    file.write_bytes(b"1244")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert outputs.set_broken_aside(root, steps, tmp_path / "aside") == []
    found = outputs.set_broken_aside(root, steps, tmp_path / "aside", suspected={1})
    told = "Split-train/data.gz was changed since it was written"
    assert found == [f"Transform: {file.parent.parent}: {told}"]


def test_a_copied_workspace_is_whole(root, tmp_path):
    """Its files have other times of change; and notes of sizes alone are those of before."""
    steps = Steps([step(root, 1)])
    outputs.note_sizes(root, steps)
    for file in root.rglob("*"):
        os.utime(file, ns=(1, 1))
    assert outputs.set_broken_aside(root, steps, tmp_path / "aside") == []
    [noted] = root.glob("Transform/.system/sizes/*.json")
    content = json.loads(noted.read_text())
    content["files"] = {name: entry[0] for name, entry in content["files"].items()}
    noted.write_text(json.dumps(content))
    assert outputs.set_broken_aside(root, steps, tmp_path / "aside", suspected={1}) == []


def test_what_the_newest_runs_set_aside_is_kept(tmp_path):
    assert outputs.prune(tmp_path / "absent") == 0
    for day in range(1, 6):
        (tmp_path / f"2026010{day}T000000" / "Transform").mkdir(parents=True)
    assert outputs.prune(tmp_path) == 2
    assert sorted(path.name[:8] for path in tmp_path.iterdir()) == [
        "20260103",
        "20260104",
        "20260105",
    ]
    assert outputs.prune(tmp_path) == 0
