"""The package as others install it: its files, its types, and what it does with few packages."""

import subprocess
import sys
import textwrap
import zipfile

import pytest

from pipeline import bootstrap

ROOT = bootstrap.ROOT
NOT_INSTALLED = ("serving/k8s/", "serving/tf_serving/")
"""Where a model is deployed from: read in the repository, never by the code."""


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory):
    """A folder with the wheel of this project and nothing else."""
    folder = tmp_path_factory.mktemp("package")
    bootstrap.copy_sources(folder / "sources")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    build += ["--no-build-isolation", "--wheel-dir", str(folder), str(folder / "sources")]
    subprocess.run(build, check=True, timeout=300)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def test_every_file_of_the_packages_is_installed(site_packages):
    files = {
        str(file.relative_to(ROOT))
        for package in bootstrap.PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    expected = {file for file in files if not file.startswith(NOT_INSTALLED)}
    installed = {
        str(file.relative_to(site_packages))
        for package in bootstrap.PACKAGES
        for file in (site_packages / package).rglob("*")
        if file.is_file()
    }
    assert expected <= installed
    assert {f"{package}/py.typed" for package in bootstrap.PACKAGES} <= installed


def test_the_licence_is_named_and_installed(site_packages):
    [information] = site_packages.glob("denoise_pipeline-*.dist-info")
    assert "License-Expression: Apache-2.0\n" in (information / "METADATA").read_text()
    assert (information / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


RIGHT = """
    import asyncio

    import numpy as np
    import numpy.typing as npt

    from serving import AsyncDenoiseClient, DenoiseClient
    from serving.client import ClientError, Tls, VersionStatus


    def denoise(noisy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with DenoiseClient("grpc://localhost:8500", timeout=3.0, tls=Tls()) as client:
            versions: list[VersionStatus] = client.status()
            height, width, channels = client.image_shape()
            print(versions[0].version + height * width * channels)
            png: list[bytes] = client.denoise_png([b"..."])
            try:
                return client.denoise(noisy)
            except ClientError as error:
                print(f"{error}: {len(png)}")
                raise


    async def denoise_too(noisy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        async with AsyncDenoiseClient("http://localhost:8501") as client:
            return await client.denoise(noisy)


    asyncio.run(denoise_too(denoise(np.zeros((1, 28, 28, 1), np.float32))))
    """
WRONG = {
    "to_be_awaited": (
        """
        from serving import AsyncDenoiseClient

        n: int = AsyncDenoiseClient("http://localhost:8501").denoise([]).size
        """,
        "attr-defined",
    ),
    "png_as_numbers": (
        """
        from serving import DenoiseClient

        DenoiseClient("grpc://localhost:8500").denoise_png([1.5])
        """,
        "list-item",
    ),
}


def _mypy(program, site_packages, folder):
    """What mypy says of a program whose interpreter has the wheel installed."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True
    )
    [installed] = (folder / "venv" / "lib").glob("python3*/site-packages")
    # Beside the wheel, the packages of this environment, numpy's types among them.
    others = {path for path in sys.path if path.endswith("site-packages")}
    (installed / "paths.pth").write_text("\n".join([str(site_packages), *sorted(others)]))
    (folder / "program.py").write_text(textwrap.dedent(program))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "program.py"]
    command += ["--python-executable", str(folder / "venv" / "bin" / "python")]
    command += ["--cache-dir", str(site_packages.parent / "mypy_cache")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_program_that_uses_the_client_is_type_checked(site_packages, tmp_path):
    done = _mypy(RIGHT, site_packages, tmp_path)
    assert (done.returncode, done.stdout) == (0, "Success: no issues found in 1 source file\n")


@pytest.mark.parametrize("name", WRONG)
def test_wrong_uses_of_the_client_are_found(site_packages, tmp_path, name):
    program, kind = WRONG[name]
    done = _mypy(program, site_packages, tmp_path)
    assert done.returncode == 1
    assert f"[{kind}]" in done.stdout
    assert "py.typed" not in done.stdout
