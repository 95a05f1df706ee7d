"""What holds for every test: it writes into its own folder alone."""

import gc
import sys

import hypothesis
import pytest

from components.base import libraries

libraries.spare_processor()
# jsonschema has it make grammars for two seconds; no schema here asks for an IRI.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
# On a busy machine any example may take long.
hypothesis.settings.register_profile("busy", deadline=None)
hypothesis.settings.load_profile("busy")


def pytest_collection_finish():
    """What was imported stays, and need not be searched for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _nor_is_what_a_file_has_left():
    yield
    pytest_collection_finish()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """All of a file in one worker, and all of tests/end_to_end, which shares one run."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "end_to_end" if "/end_to_end/" in file else file

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def _nothing_beside_the_own_folder(request):
    # Asked for before the test, so that it is still there after it.
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None:
        # .lock is pytest's own.
        files = (entry for entry in folder.parent.iterdir() if entry.is_file())
        strays = [entry for entry in files if entry.name != ".lock"]
        # Another test of this worker would read them: one such counts.json failed it.
        for entry in strays:
            entry.unlink()
        assert not strays, f"written beside tmp_path: {strays}"
