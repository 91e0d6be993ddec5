"""The notebooks of demos/ run from top to bottom, and their outputs on disk are those of their sources."""

import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "demos").glob("*.ipynb"))
NAMES = {"clip_pad", "mqt", "pi_map", "published_weights", "story", "subtitles", "tcr"}


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool, pictures = _tool("run_demos"), _tool("make_pictures")


def made(*sources: str, **outputs: str) -> nbformat.NotebookNode:
    """A notebook that was run: `outputs` are what its first cell prints, by stream."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    for number, cell in enumerate(notebook.cells, 1):
        cell.execution_count = number
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", name=name, text=outputs[name]) for name in outputs]
    notebook.metadata["storyjax"] = {"sources": tool.source_hash(notebook)}
    return notebook


def test_every_chapter_has_a_demo() -> None:
    assert {path.stem for path in NOTEBOOKS} >= NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_belong_to_the_sources(path: Path) -> None:
    assert not tool.faults(tool.read(path), path), "run python tools/run_demos.py"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_demo_opens_in_colab_and_installs_itself(path: Path) -> None:
    cells = tool.read(path).cells
    assert f"/blob/main/demos/{path.name})" in cells[0].source, "the badge leads elsewhere"
    assert cells[1].cell_type == "code"
    assert cells[1].source == tool.read(NOTEBOOKS[0]).cells[1].source, "the first cells differ"
    assert 'find_spec("storyjax") is None' in cells[1].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_demo_runs_and_prints_what_it_shows(path: Path) -> None:
    """In a process of its own: notebooks run as they run for people, without the suite's strictness."""
    kept = ("JAX_PLATFORMS", "PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
    settings = {name: os.environ[name] for name in kept if name in os.environ}
    done = subprocess.run(
        [sys.executable, "tools/run_demos.py", "--check", str(path)],
        cwd=ROOT,
        env={**settings, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_outputs_of_other_sources_are_seen(tmp_path: Path) -> None:
    notebook, path = made("print(1)", "2", stdout="1\n"), tmp_path / "one.ipynb"
    tool.write(notebook, path)
    assert tool.faults(tool.read(path), path) == []
    notebook.cells[0].source = "print(2)"
    tool.write(notebook, path)
    assert tool.faults(tool.read(path), path) == ["the outputs are of other sources"]
    notebook.cells[1].execution_count = None
    tool.write(notebook, path)
    assert "not every cell was run, once and in order" in tool.faults(tool.read(path), path)


@pytest.mark.parametrize(
    ("streams", "fault"),
    [
        ({"stdout": "from /home/ana/runs\n"}, "cell 1 shows the path /home/ana/runs"),
        ({"stderr": "UserWarning: no\n"}, "cell 1 warns: UserWarning: no"),
        ({"stdout": "x" * 200_001}, "it has "),
    ],
)
def test_what_should_not_be_shown_is_seen(streams: dict[str, str], fault: str, tmp_path: Path) -> None:
    tool.write(made("print()", **streams), tmp_path / "one.ipynb")
    found = tool.faults(tool.read(tmp_path / "one.ipynb"), tmp_path / "one.ipynb")
    assert [each.startswith(fault) for each in found] == [True]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("accuracy 0.83, 12 right", "accuracy 0.79, 13 right", True),
        ("accuracy 0.83", "accuracy 0.31", False),
        ("accuracy 0.83", "precision 0.83", False),
        ("a\nb", "a", False),
    ],
)
def test_numbers_may_differ_a_little_and_words_may_not(one: str, other: str, same: bool) -> None:
    before, after = made("print()", stdout=one), made("print()", stdout=other)
    assert (tool.differences(before, after) == []) == same
    before.cells[0].metadata["tags"] = [tool.VARIES]
    assert tool.differences(before, after) == []


def test_the_repository_is_written_into_badge_and_first_cell(tmp_path: Path) -> None:
    path = tmp_path / "one.ipynb"
    path.write_bytes(NOTEBOOKS[0].read_bytes())
    tool.set_repository(path, "ada/lovelace")
    notebook = tool.read(path)
    assert "github/ada/lovelace/blob" in notebook.cells[0].source
    assert "https://github.com/ada/lovelace" in notebook.cells[1].source
    assert tool.faults(notebook, path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.ipynb"], "missing.ipynb is no notebook"),
        (["--repository", "x"], "--repository is 'x': give OWNER/NAME"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_readme_shows_every_picture() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(docs/pictures/(\w+)\.png\)", (ROOT / "README.md").read_text())
    assert set(shown) >= set(pictures.PICTURES)
    for name in pictures.PICTURES:
        path = ROOT / f"docs/pictures/{name}.png"
        assert path.stat().st_size <= pictures.MAX_BYTES
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width <= pictures.WIDTH


def test_a_picture_is_as_small_as_it_must_be() -> None:
    rng = np.random.default_rng(0)
    flat = Image.fromarray(np.full((300, 400, 3), 90, np.uint8))
    assert Image.open(io.BytesIO(pictures.encode(flat))).convert("RGB").getpixel((5, 5)) == (90, 90, 90)
    noise = Image.fromarray(rng.integers(0, 255, (250, 250, 3), np.uint8))
    assert len(pictures.encode(noise)) <= pictures.MAX_BYTES
    with pytest.raises(pictures.StoryjaxError, match="takes more than"):
        pictures.encode(noise.resize((900, 900), Image.Resampling.NEAREST).effect_spread(400))
