"""The set-up: the C library picks the Python, the Python picks the dependency set."""

import importlib.metadata
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
import zipfile

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


def _program(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_shim_that_fails_is_passed_over(tmp_path):
    assert bootstrap._examine(_program(tmp_path / "python3.10", "exit 127")) is None
    assert bootstrap._examine(tmp_path / "missing") is None
    assert bootstrap._examine(sys.executable).version == RUNNING


class Machine:
    """A machine with what a test puts on it: uv, which may not download, and some Pythons."""

    def __init__(self, folder, monkeypatch):
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.calls = folder / "calls"
        self.calls.touch()
        self.folder = folder
        monkeypatch.setenv("PATH", str(self.programs))
        monkeypatch.setenv("PYENV_ROOT", str(folder / "pyenv"))
        monkeypatch.delenv("CXX", raising=False)
        monkeypatch.setattr(sys, "executable", "/nonexistent")
        monkeypatch.setattr(bootstrap, "_has", lambda module: False)
        monkeypatch.setattr(bootstrap, "system", lambda: {"ID": "debian"})
        monkeypatch.setattr(bootstrap, "TOOLS", folder / "tools")

    def has(self, *programs):
        for name in programs:
            _program(self.programs / name, "exit 0")

    def has_python(self, version, headers=True):
        include = self.folder / f"include{version}"
        include.mkdir()
        if headers:
            (include / "Python.h").touch()
        return str(_program(self.programs / f"python{version}", f"echo {version}; echo {include}"))

    def has_uv(self):
        return str(_program(self.programs / "uv", f'echo "$@" >> {self.calls}; exit 2'))

    def downloads(self):
        return [line for line in self.calls.read_text().splitlines() if "install" in line]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_all_that_is_missing_is_named_before_anything_is_downloaded(machine):
    machine.has_python("3.13", headers=False)
    with pytest.raises(SystemExit) as refused:
        bootstrap.choose_python((2, 41), None)
    message = str(refused.value)
    assert "C++ compiler" in message
    assert f"Python.h of {machine.programs}/python3.13" in message
    assert "apt-get install g++ python3-pip python3.13-dev" in message
    assert machine.downloads() == []


def test_a_python_with_headers_goes_before_a_better_one_without(machine):
    machine.has("g++")
    machine.has_python("3.12", headers=False)
    python = machine.has_python("3.13")
    assert bootstrap.choose_python((2, 41), machine.has_uv())[1].path == python


def test_the_environment_that_is_made_anew_is_not_made_of_itself(machine, monkeypatch):
    monkeypatch.setattr(bootstrap, "VENV", machine.folder)
    machine.has("g++")
    machine.has_python("3.12")
    assert bootstrap.local_python(("3.12",), None) is None


def test_an_old_c_library_without_python_3_10_takes_the_modern_set(machine):
    machine.has("g++", "apt-get", "dpkg-deb")
    python = machine.has_python("3.11")
    uv = machine.has_uv()
    assert bootstrap.choose_python((2, 36), uv) == (uv, (python, "3.11", True), True)
    assert machine.downloads() == ["python install 3.10"]


def test_python_3_10_goes_before_the_newer_c_library(machine):
    machine.has("g++")
    python = machine.has_python("3.10")
    machine.has_python("3.11")
    uv = machine.has_uv()
    assert bootstrap.choose_python((2, 36), uv) == (uv, (python, "3.10", True), False)


def test_the_fallback_names_what_it_lacks_itself(machine):
    machine.has("g++")
    machine.has_python("3.11", headers=False)
    with pytest.raises(SystemExit, match=r"apt-get install python3\.11-dev apt dpkg"):
        bootstrap.choose_python((2, 36), machine.has_uv())


def test_no_python_at_all_is_named(machine):
    machine.has("g++")
    with pytest.raises(SystemExit, match="apt-get install python3 python3-dev"):
        bootstrap.choose_python((2, 41), machine.has_uv())


@pytest.mark.parametrize(
    ("distribution", "root", "command"),
    [
        ({"ID": "debian"}, True, "  apt-get update && apt-get install g++"),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, False, "sudo apt-get install g++"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, True, "apt-get install g++"),
        ({"ID": "fedora"}, False, "  sudo dnf install gcc-c++"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, True, "  dnf install gcc-c++"),
        ({}, True, "g++ on Debian, gcc-c++ on Fedora"),
    ],
)
def test_a_refusal_names_the_command_of_the_distribution(distribution, root, command):
    message = bootstrap.refusal([bootstrap.COMPILER_NEED], distribution, root)
    assert command in message
    assert "C++ compiler" in message


OWN_SOURCE = """Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/own.gpg
"""


@pytest.mark.parametrize("name", ["sources.list", "sources.list.d/debian.sources"])
def test_the_newer_c_library_comes_from_the_distributions_own_source(tmp_path, name):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "a.list").write_text("deb http://a.example bookworm stable\n")
    (tmp_path / "sources.list.d" / "b.sources").write_text(
        OWN_SOURCE.replace("Suites: bookworm bookworm-updates", "Suites: bookworm-security")
    )
    if name == "sources.list":
        (tmp_path / name).write_text("deb http://mirror.example/debian bookworm main contrib\n")
        signed = ""
    else:
        (tmp_path / name).write_text(OWN_SOURCE)
        signed = "[signed-by=/usr/share/keyrings/own.gpg] "
    line = f"deb {signed}http://mirror.example/debian trixie main\n"
    assert bootstrap.package_source(tmp_path, "bookworm", "trixie") == line


def test_without_a_source_of_its_own_the_distribution_is_named(tmp_path):
    with pytest.raises(SystemExit, match="names no source of bookworm"):
        bootstrap.package_source(tmp_path, "bookworm", "trixie")


def test_a_folder_of_other_files_is_not_deleted(tmp_path, monkeypatch):
    (tmp_path / "thesis.tex").touch()
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    with pytest.raises(SystemExit, match="other than a Python environment"):
        bootstrap.check_folder()
    (tmp_path / "thesis.tex").rename(tmp_path / "pyvenv.cfg")
    bootstrap.check_folder()


def test_a_full_disk_is_told_before_it_is_filled(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / "new" / "venv")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    monkeypatch.setenv("DENOISE_GPU", "1")
    with pytest.raises(SystemExit, match=r"has 1\.0 GB free.*takes 7\.0 GB.*DENOISE_GPU=0"):
        bootstrap.check_folder()
    monkeypatch.setenv("DENOISE_GPU", "0")
    with pytest.raises(SystemExit, match=r"has 1\.0 GB free.*takes 3\.5 GB"):
        bootstrap.check_folder()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**10))
    bootstrap.check_folder()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SystemExit, match="cannot be written"):
        bootstrap.check_folder()


@pytest.mark.parametrize(
    ("asked", "driver", "wanted"),
    [("", False, False), ("", True, True), ("0", True, False), ("1", False, True)],
)
def test_cuda_comes_where_its_driver_is_or_where_it_is_asked_for(
    tmp_path, monkeypatch, asked, driver, wanted
):
    monkeypatch.setattr(bootstrap, "_DRIVERS", (str(tmp_path / "version"),))
    monkeypatch.setenv("DENOISE_GPU", "0")
    without = bootstrap.fingerprint()
    monkeypatch.setenv("DENOISE_GPU", asked)
    if driver:
        (tmp_path / "version").touch()
    assert bootstrap.wants_cuda() is wanted
    assert (bootstrap.fingerprint() != without) is wanted


def test_another_value_for_the_gpu_is_refused(monkeypatch):
    monkeypatch.setenv("DENOISE_GPU", "yes")
    with pytest.raises(SystemExit, match="DENOISE_GPU is 0 or 1, was 'yes'"):
        bootstrap.wants_cuda()


def test_cuda_is_that_of_the_locked_tensorflow_and_changes_nothing_else(
    tmp_path, monkeypatch, capfd
):
    uv = _program(tmp_path / "uv", 'echo "$@"')
    monkeypatch.setattr(bootstrap, "VENV", pathlib.Path(sys.prefix))
    bootstrap.install_cuda(str(uv), ["--python", "p"])
    version = importlib.metadata.version("tensorflow")
    said = capfd.readouterr().out
    assert f"--constraint requirements.lock tensorflow[and-cuda]=={version}\n" in said


@pytest.mark.parametrize("home", ["writable", "read-only", "none"])
def test_uv_keeps_its_files_beside_ours_where_home_cannot_be_written(tmp_path, monkeypatch, home):
    monkeypatch.setattr(os, "environ", {} if home == "none" else {"HOME": str(tmp_path)})
    monkeypatch.setattr(os, "access", lambda *_: home != "read-only")
    if home == "none":
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    bootstrap.set_environment()
    folders = {"UV_CACHE_DIR": "cache", "UV_PYTHON_INSTALL_DIR": "python", "UV_TOOL_DIR": "tools"}
    ours = {name: str(bootstrap.TOOLS / folder) for name, folder in folders.items()}
    found = {name: os.environ[name] for name in folders if name in os.environ}
    assert found == ({} if home == "writable" else ours)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """An environment that is there, and the fingerprint it was made by."""
    venv = tmp_path / "venv"
    monkeypatch.setattr(bootstrap, "VENV", venv)
    monkeypatch.setattr(bootstrap, "STAMP", venv / ".bootstrap")
    monkeypatch.setattr(bootstrap, "TOOLS", tmp_path / "venv-uv")
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    wanted = bootstrap.fingerprint()
    bootstrap.STAMP.write_text(wanted)
    return wanted


def _set_up(venv, **options):
    environment = {**os.environ, "DENOISE_VENV": str(venv), "PATH": "/nonexistent"}
    command = [sys.executable, str(ROOT / "pipeline" / "bootstrap.py")]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, **options
    )


def test_a_second_call_is_instant(made):
    """With the stamp of the present files it returns before it looks for anything."""
    done = _set_up(bootstrap.VENV)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not bootstrap.TOOLS.exists()


def test_an_environment_that_was_moved_or_whose_python_is_gone_is_made_again(made, monkeypatch):
    assert bootstrap.is_made(made)
    moved = bootstrap.VENV.with_name("moved")
    with monkeypatch.context() as patched:
        patched.setattr(bootstrap, "VENV", moved)
        assert bootstrap.fingerprint() != made
    with monkeypatch.context() as patched:
        patched.setattr(bootstrap, "ROOT", shutil.copytree(ROOT / "pipeline", moved).parent)
        patched.setattr(bootstrap, "_editable", lambda: True)
        for name in ("requirements.lock", "pyproject.toml", "setup.py"):
            shutil.copy(ROOT / name, moved.parent)
        assert bootstrap.is_made(made)
        (moved.parent / "pipeline").symlink_to(moved)
        assert bootstrap.fingerprint() != made
    (bootstrap.VENV / "bin" / "python").unlink()
    (bootstrap.VENV / "bin" / "python").symlink_to("/nonexistent/python3.10")
    assert not bootstrap.is_made(made)


def test_a_second_set_up_waits_for_the_first_and_then_finds_it_made(made, monkeypatch, capfd):
    bootstrap.STAMP.unlink()
    at_work, go_on = threading.Event(), threading.Event()
    calls = []

    def make(_):
        calls.append(None)
        at_work.set()
        assert go_on.wait(60)

    monkeypatch.setattr(bootstrap, "make", make)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(bootstrap, "check_folder", lambda: None)
    both = [threading.Thread(target=bootstrap.main) for _ in range(2)]
    both[0].start()
    assert at_work.wait(60)
    both[1].start()
    said = ""
    while "waiting for another one" not in said:
        time.sleep(0.01)
        said += capfd.readouterr().out
    go_on.set()
    for each in both:
        each.join()
    assert len(calls) == 1
    assert bootstrap.STAMP.read_text() == made


def test_one_that_was_killed_is_not_taken_for_made_nor_for_other_files(made):
    """uv writes pyvenv.cfg last and, to clear a folder, removes it in any order."""
    (bootstrap.VENV / "pyvenv.cfg").touch()
    (bootstrap.VENV / "lib").mkdir()
    bootstrap.clear()
    assert [entry.name for entry in bootstrap.VENV.iterdir()] == ["pyvenv.cfg"]
    assert not bootstrap.is_made(made)
    (bootstrap.VENV / "pyvenv.cfg").unlink()
    (bootstrap.VENV / "CACHEDIR.TAG").touch()
    (bootstrap.VENV / "bin").mkdir()
    bootstrap.check_folder()
    (bootstrap.VENV / "thesis.tex").touch()
    with pytest.raises(SystemExit, match="other than a Python environment"):
        bootstrap.check_folder()


@pytest.mark.parametrize("half", ["a folder", "empty", "not executable", "cut off"])
def test_a_uv_that_is_half_there_is_installed_again(machine, half):
    uv = bootstrap.TOOLS / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    if half == "a folder":
        uv.mkdir()
    elif half == "cut off":
        _program(uv, "exit 1")
    else:
        uv.touch(0o755 if half == "empty" else 0o644)
    found = bootstrap.find_uv()
    assert found != str(uv)
    _program(machine.programs / "uv", "exit 0")
    assert bootstrap.find_uv() in (found, str(machine.programs / "uv"))


MOVES = ("USER", "REQUIRE_VIRTUALENV", "PREFIX", "ROOT", "TARGET", "DRY_RUN", "UPGRADE_STRATEGY")


def test_pips_own_settings_do_not_move_uv_elsewhere(tmp_path, monkeypatch):
    called = {}
    monkeypatch.setattr(bootstrap, "TOOLS", tmp_path)
    monkeypatch.setattr(bootstrap, "_call", lambda command, env: called.update(env))
    for name in MOVES:
        monkeypatch.setenv(f"PIP_{name}", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    bootstrap.install_uv()
    assert called["PIP_INDEX_URL"] == "https://mirror.example/simple"
    found = {name: called[f"PIP_{name}"] for name in MOVES if f"PIP_{name}" in called}
    assert found == {"USER": "0", "REQUIRE_VIRTUALENV": "0"}
    assert called["PIP_ROOT_USER_ACTION"] == "ignore"


def test_packages_come_from_where_pip_takes_them(tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://of-a-file.example/simple\n"
        "extra-index-url =\n    https://one.example/simple\n    https://two.example/simple\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    for variable in [name for names in bootstrap._PIP_TO_UV.values() for name in names]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)

    def taken(**variables):
        code = (
            "import os, sys; sys.path.insert(0, sys.argv[1]); import bootstrap\n"
            "bootstrap.take_index_of_pip()\n"
            "print(os.environ.get('UV_DEFAULT_INDEX'), os.environ.get('UV_INDEX'))\n"
            "assert os.environ['UV_INDEX_STRATEGY'] == 'unsafe-best-match'"
        )
        command = [sys.executable, "-c", code, str(ROOT / "pipeline")]
        environment = {**os.environ, **variables}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()

    others = ["https://one.example/simple", "https://two.example/simple"]
    assert taken() == ["https://of-a-file.example/simple", *others]
    own = "https://own.example/simple"
    assert taken(PIP_INDEX_URL=own) == [own, *others]
    assert taken(UV_INDEX_URL=own) == ["None", *others]


def _wheel(folder, name):
    """A wheel of one module that says its name."""
    folder.mkdir()
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"print({name!r})")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return str(folder)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("no-index = true", ["--no-index"]),
        ("no-index = 1", ["--no-index"]),
        ("no-index = false", []),
        ("", []),
    ],
)
def test_folders_of_wheels_take_the_place_of_an_index(tmp_path, monkeypatch, said, expected):
    """Of a machine without a network, by the very uv that the set-up calls."""
    folders = [_wheel(tmp_path / name, f"denoise_{name}") for name in ("one", "two")]
    config = tmp_path / "pip.conf"
    config.write_text(f"[install]\nfind-links =\n    {folders[0]}\n    {folders[1]}\n{said}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    for variable in ("PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(variable, raising=False)
    for variable in [name for names in bootstrap._PIP_TO_UV.values() for name in names]:
        monkeypatch.setenv(variable, "")  # So that it is as it was after the test.
    places = bootstrap.take_index_of_pip()
    assert places == expected
    assert os.environ["UV_FIND_LINKS"] == ",".join(folders)
    with monkeypatch.context() as own:
        own.setenv("UV_INDEX_URL", "https://own.example/simple")
        assert bootstrap.take_index_of_pip() == [], "uv's own settings go before pip's"
    install = [bootstrap.find_uv(), "pip", "install", "--python", sys.executable, "--offline"]
    install += ["--target", str(tmp_path / "target"), *places, "denoise_one", "denoise_two"]
    done = subprocess.run(install, capture_output=True, text=True)
    if expected:
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "target" / "denoise_two.py").is_file()


@pytest.mark.parametrize("places", [[], ["--no-index"]])
def test_all_that_uv_installs_comes_from_there(tmp_path, monkeypatch, places):
    called = []
    python = bootstrap.Python(sys.executable, RUNNING, True)
    for name, value in {
        "VENV": tmp_path / "venv",
        "set_environment": lambda: None,
        "clear": lambda: None,
        "take_index_of_pip": lambda: places,
        "find_uv": lambda: "uv",
        "choose_python": lambda glibc, uv: ("uv", python, True),
        "wants_cuda": lambda: False,
        "fetch_glibc": lambda folder: None,
        "_call": lambda command, **others: called.append(command),
    }.items():
        monkeypatch.setattr(bootstrap, name, value)
    monkeypatch.setattr(bootstrap.shutil, "copy", lambda source, target: target.touch())
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    bootstrap.make((2, 36))
    of_uv = [command for command in called if command[0] == "uv"]
    assert {tuple(command[1:3]) for command in of_uv} == {
        ("venv", "--quiet"),
        ("pip", "sync"),
        ("pip", "install"),
        ("tool", "run"),
    }
    assert all(("--no-index" in command) == bool(places) for command in of_uv)


def test_a_step_that_fails_ends_the_set_up_with_its_command():
    with pytest.raises(SystemExit, match=r"`false` failed; its message is above\. Try this\."):
        bootstrap._call(["false"], hint=" Try this.")
