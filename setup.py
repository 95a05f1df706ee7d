"""Packages `pipeline`, `components` and `serving`; Dataflow's workers get it by `--setup_file`.

The metadata lives in pyproject.toml.
"""

from setuptools import find_packages, setup

setup(
    packages=find_packages(include=["pipeline*", "components*", "serving*"]),
    package_data={
        "pipeline": ["py.typed", "presets/*.yaml", "**/*.j2"],
        "components": ["py.typed", "**/*.j2", "**/*.css", "pretrained/*.*"],
        "serving": ["py.typed", "**/*.html", "**/*.css", "**/*.js", "**/*.yaml"],
    },
)
