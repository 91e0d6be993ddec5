"""The numbers of every small variant and of all weights that ship are those that were recorded.

On the machine that they were recorded on to the last bit, elsewhere to what another processor changes. Recorded anew by
tools/record_golden.py. The evaluations as they are documented take minutes each:

    python -m pytest tests/golden -m long
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import golden
import pytest
from golden import ROOT, WEIGHTS
from recipes import LEFT_OUT, LONG, PAPER_IS_STORYWORLD, SHIPPED, SHORT, SMALL, STEPPED

# Between processors. Adam's first steps are as long where a gradient is nothing but rounding (the biases of attention's
# keys), so that parameters differ more than losses do.
LOSSES = 1e-6
SUMS = 1e-4
RESULTS = 0.02


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that all runs of a kind share: their data, and the programs of steps."""
    folder = tmp_path_factory.mktemp(request.param)
    with golden.surroundings(request.param, folder):
        yield folder


def recorded(kind: str, name: str) -> tuple[dict[str, Any], bool]:
    """What is recorded of a run, and whether it was on a machine like this."""
    content = golden.read(kind)
    return content["recorded"][name], content["machine"] == golden.machine()


@pytest.mark.parametrize("world", ["steps"], indirect=True)
@pytest.mark.parametrize("name", STEPPED)
def test_three_steps_are_those_recorded(name: str, world: Path, tmp_path: Path) -> None:
    expected, same = recorded("steps", name)
    found = golden.make("steps", name, world, tmp_path)
    if same:
        assert found["losses"] == expected["losses"]
        assert found["digest"] == expected["digest"]
    assert found["losses"].keys() == expected["losses"].keys()
    for task, losses in expected["losses"].items():
        assert found["losses"][task] == pytest.approx(losses, rel=LOSSES), task
    assert found["sums"].keys() == expected["sums"].keys()
    for module, (total, absolute) in expected["sums"].items():
        # The sum of numbers of both signs is as far off as that of their absolute values.
        assert found["sums"][module] == pytest.approx([total, absolute], abs=SUMS * absolute), module


@pytest.mark.parametrize("world", ["short"], indirect=True)
@pytest.mark.parametrize("weights", SHORT)
def test_a_short_evaluation_is_that_recorded(weights: str, world: Path, tmp_path: Path) -> None:
    compare("short", weights, world, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("world", ["long"], indirect=True)
@pytest.mark.parametrize("weights", LONG)
def test_a_long_evaluation_is_that_recorded(weights: str, world: Path, tmp_path: Path) -> None:
    compare("long", weights, world, tmp_path)


def compare(kind: str, weights: str, world: Path, workdir: Path) -> None:
    """Evaluates, and compares with what is recorded."""
    expected, same = recorded(kind, weights)
    found = golden.make(kind, weights, world, workdir)
    assert found.keys() == expected.keys()
    assert found == (expected if same else pytest.approx(expected, rel=RESULTS, abs=RESULTS))


def test_no_small_variant_is_left_out() -> None:
    """Every variant that runs on StoryWorld is stepped, or is said to be left out; nothing else is recorded."""
    small = set()
    for path in (ROOT / "configs").glob("*.py"):
        names: dict[str, Any] = {}
        exec(compile(path.read_text(), str(path), "exec"), names)
        for variant in names["VARIANTS"]:
            paper = variant == "paper" and path.stem in PAPER_IS_STORYWORLD
            if paper or variant.endswith("embedded") or variant in SMALL:
                small.add(f"{path.stem}:{variant}")
    assert small == {*STEPPED, *LEFT_OUT}
    assert not set(STEPPED) & set(LEFT_OUT)
    assert set(golden.read("steps")["recorded"]) == set(STEPPED)


def test_no_weights_that_ship_are_left_out() -> None:
    """Each is evaluated in both ways."""
    there = {folder.name for folder in WEIGHTS.iterdir() if folder.is_dir()}
    assert there == set(SHIPPED) == set(SHORT) == set(LONG)
    assert set(golden.read("short")["recorded"]) == there
    assert set(golden.read("long")["recorded"]) == there
