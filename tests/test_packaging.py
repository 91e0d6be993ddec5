"""What an installed storyjax consists of, by pyproject.toml and setup.py."""

import ast
import tomllib
from pathlib import Path

import storyjax
from storyjax.core.config import config_folder

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "storyjax").rglob("*.py")}
    assert not {folder for folder in folders if not (folder / "__init__.py").exists()}


def test_configs_go_into_the_package_and_are_found_in_a_clone() -> None:
    calls = [node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(node, ast.Call)]
    folders = [ast.literal_eval(each.value) for call in calls for each in call.keywords if each.arg == "package_dir"]
    assert folders == [{"storyjax.configs": "configs"}]
    assert config_folder() == ROOT / "configs"
    assert {path.suffix for path in (ROOT / "configs").iterdir() if path.name != "__pycache__"} == {".py"}


def test_everything_that_is_no_code_is_package_data() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["storyjax"]
    data = {path for pattern in patterns for path in (ROOT / "storyjax").glob(pattern)}
    files = {path for path in (ROOT / "storyjax").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert files <= data, f"pyproject.toml's package-data leaves out {sorted(files - data)}"


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["version"] == storyjax.__version__
    assert f"version: {storyjax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {storyjax.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_licence_is_named_once() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
    assert (ROOT / "storyjax/py.typed").exists()
