"""The package as others install it: its files, its types, and what it does with few packages."""

import importlib.metadata
import os
import re
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import packaging.requirements
import packaging.utils
import PIL.Image
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
            height, width, channels = client.row_shape()
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


def _light_packages(site_packages):
    """Names of the distributions that `pip install denoise-pipeline` brings, without an extra."""
    [project] = importlib.metadata.distributions(path=[str(site_packages)])
    found, waiting = set(), [project]
    while waiting:
        for text in waiting.pop().requires or []:
            requirement = packaging.requirements.Requirement(text)
            name = packaging.utils.canonicalize_name(requirement.name)
            if name not in found and (
                requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            ):
                found.add(name)
                waiting.append(importlib.metadata.distribution(name))
    return found


def test_what_is_light_stays_light(site_packages):
    """A hundred megabytes, most of them NumPy: a new name here is a decision."""
    light = _light_packages(site_packages)
    assert {"grpcio", "numpy", "pillow", "protobuf", "pydantic", "typer"} <= light
    assert len(light) < 25
    assert not light & {"tensorflow", "keras", "tfx", "apache-beam", "scipy", "httpx"}


@pytest.fixture(scope="module")
def light(site_packages, tmp_path_factory):
    """Calls `denoise` as a light install has it: modules of other distributions are not found."""
    allowed = _light_packages(site_packages)
    hidden = {
        file.parts[0].removesuffix(".py")
        for distribution in importlib.metadata.distributions()
        if packaging.utils.canonicalize_name(distribution.metadata["Name"]) not in allowed
        for file in distribution.files or []
    }
    # Of the namespace, protobuf is light.
    hidden = hidden - {*bootstrap.PACKAGES, "google", ".."} | {"google.cloud", "google.api_core"}
    code = f"""
        import importlib.metadata
        import sys

        class Hidden:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name in hidden or name.partition(".")[0] in hidden:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        hidden = set({sorted(hidden)!r})
        sys.meta_path.insert(0, Hidden)
        version = importlib.metadata.version
        def shown(name):
            if name in ("tfx", "tensorflow", "keras"):
                raise importlib.metadata.PackageNotFoundError(name)
            return version(name)
        importlib.metadata.version = shown

        from pipeline import cli

        cli.main()
        """
    folder = tmp_path_factory.mktemp("light")
    (folder / "denoise.py").write_text(textwrap.dedent(code))
    environment = {**os.environ, "PYTHONPATH": str(site_packages)}

    def call(*arguments):
        command = [sys.executable, str(folder / "denoise.py"), *map(str, arguments)]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )

    return call


def test_a_light_install_has_help_and_says_what_it_is(light):
    done = light("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "predict" in done.stdout
    done = light("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^TFX +not installed$", done.stdout, re.MULTILINE)
    assert re.search(r"^packages +light", done.stdout, re.MULTILINE)


def test_a_light_install_knows_the_pretrained_models(light):
    done = light("pretrained", "fashion_mnist")
    assert (done.returncode, done.stderr) == (0, "")
    assert "licence: MIT" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("run",), "pipeline"),
        (("evaluate",), "pipeline"),
        (("benchmark",), "pipeline"),
        (("report",), "pipeline"),
        (("compile", "--image", "i", "--pipeline-root", "s3://bucket/root"), "pipeline"),
        (("submit", "--endpoint", "http://localhost:1"), "pipeline"),
        (("train-worker",), "pipeline"),
        (("models",), "serve"),
        (("noises",), "serve"),
        (("serve", "--model_base_path=/nonexistent"), "serve"),
        (("predict", "image.png", "-o", "clean", "--model", "saved_model"), "serve"),
        (("predict", "image.png", "-o", "clean", "--pretrained", "fashion_mnist"), "serve"),
        (("predict", "image.png", "-o", "clean", "--server", "http://localhost:1"), "client"),
    ],
)
def test_a_light_install_says_in_one_line_which_extra_is_needed(light, arguments, extra):
    done = light(*arguments)
    command = arguments[0]
    line = (
        rf"denoise: `denoise {command}` needs the package \w+, which is not installed: "
        rf"pip install 'denoise-pipeline\[{extra}\]'\n"
    )
    # `predict` shows its step first.
    assert re.fullmatch(rf"(?: ✗ .*\n+)?{line}", done.stderr)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_light_install_predicts_with_a_server(light, tmp_path):
    from serving.server.running import parse_flags, running_server
    from tests.serving import saved_models

    saved_models.write_denoiser(tmp_path / "denoiser" / "1", factor=0.5)
    image = np.full((saved_models.HEIGHT, saved_models.WIDTH), 100, np.uint8)
    PIL.Image.fromarray(image).save(tmp_path / "photo.png")
    (tmp_path / "rows.csv").write_text(",".join(["7", *["100"] * saved_models.PIXELS]) + "\n")
    flags = [f"--model_base_path={tmp_path}/denoiser", "--model_name=denoiser"]
    inputs = [tmp_path / "photo.png", tmp_path / "rows.csv", "-o", tmp_path / "clean"]
    with running_server(parse_flags(flags, port=0, rest_api_port=0)) as addresses:
        done = light("predict", *inputs, "--server", addresses.grpc)
    assert done.returncode == 0, done.stderr
    assert np.asarray(PIL.Image.open(tmp_path / "clean" / "photo.png")).tolist() == [[50] * 6] * 4
    row = (tmp_path / "clean" / "rows.csv").read_text().splitlines()[-1]
    assert row == ",".join(["7", *["50"] * saved_models.PIXELS])
