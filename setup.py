"""Puts configs/ into the package as storyjax/configs; pyproject.toml alone would have to name every package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["storyjax", "storyjax.*"]), "storyjax.configs"],
    package_dir={"storyjax.configs": "configs"},
)
