"""Packages `pipeline`, `components` and `serving`; Beam workers get it by `--setup_file`.

The metadata lives in pyproject.toml.
"""

from setuptools import find_packages, setup

setup(
    packages=find_packages(include=["pipeline*", "components*", "serving*"]),
    package_data={
        "pipeline": ["presets/*.yaml", "**/*.j2"],
        "components": ["**/*.j2", "**/*.css"],
        "serving": ["**/*.html", "**/*.css", "**/*.js", "**/*.yaml"],
    },
)
