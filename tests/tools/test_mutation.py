"""Mistakes are put in where they matter, one at a time, and tests that see them are told from those that do not."""

import ast
import json
from pathlib import Path

import pytest

TEXT = '''"""Words."""
import numpy as np


def kept(scores, least: int = 3, *, names=("é", "b")):
    """Returns 7 of them."""
    if not scores or least < 0:
        raise ValueError(f"{least + 1} is wrong")
    order = np.argsort(-np.asarray(scores))[::-1]
    print("é", len(scores) + 1); total = np.min(order, axis=0) * 2.5
    return [one for one in order if one is not None and total]
'''


@pytest.fixture(scope="module")
def mutation(load_tool):
    return load_tool("mutation")


def changes(mutation, text: str) -> set[tuple[str, str]]:
    return {(one.old, one.new) for one in mutation.mutants_of("storyjax/a.py", text)}


def test_mistakes_are_made_in_code_and_not_in_words(mutation) -> None:
    found = changes(mutation, TEXT)
    assert ("least < 0", "(least <= 0)") in found
    assert ("not scores", "(scores)") in found
    assert ("-np.asarray(scores)", "(np.asarray(scores))") in found
    assert ("np.argsort(-np.asarray(scores))[::-1]", "(np.argsort(-np.asarray(scores)))") in found
    assert ("np.min(order, axis=0)", "(np.max(order, axis=0))") in found
    assert ("np.min(order, axis=0)", "(np.min(order, axis=1))") in found
    assert {new for old, new in found if old == "3"} == {"4"}
    assert {new for old, new in found if old == "2.5"} == {"5.0"}
    assert ("one is not None and total", "(one is not None or total)") in found
    assert not any("wrong" in old or "Returns" in old or old == "least + 1" for old, _ in found)
    assert not any("len(scores)" in old for old, _ in found)  # what is printed


def test_every_mistake_is_valid_and_changes_its_line_alone(mutation) -> None:
    made = mutation.mutants_of("storyjax/a.py", TEXT)
    assert len({one.name for one in made}) == len(made)
    for one in made:
        changed = one.applied(TEXT)
        ast.parse(changed)
        pairs = zip(TEXT.splitlines(), changed.splitlines(), strict=True)
        assert [number for number, (old, new) in enumerate(pairs, 1) if old != new] == [one.line]


def test_samples_repeat_and_reach_small_modules(mutation) -> None:
    large = mutation.mutants_of("storyjax/a.py", TEXT * 9)
    small = mutation.mutants_of("storyjax/b.py", "x = 1 + 2\n")
    drawn = mutation.sample([large, small], 30, 5)
    assert drawn == mutation.sample([large, small], 30, 5) != mutation.sample([large, small], 30, 6)
    assert len(set(drawn)) == 30
    assert {one.path for one in drawn} == {"storyjax/a.py", "storyjax/b.py"}
    assert len(mutation.sample([large, small], 10_000, 5)) == len(large) + len(small)


def test_a_mistake_that_a_test_sees_is_told_from_one_that_none_sees(mutation, tmp_path: Path) -> None:
    (tmp_path / "storyjax").mkdir()
    (tmp_path / "storyjax" / "__init__.py").write_text("")
    text = "def larger(a, b):\n    return a > b\n"
    (tmp_path / "storyjax" / "a.py").write_text(text)
    test = "from storyjax.a import larger\n\n\ndef test_it():\n    assert larger(2, 1) and not larger(1, {})\n"
    (mistake,) = mutation.mutants_of("storyjax/a.py", text)
    assert mistake.new == "(a >= b)"
    for other, result in ((2, "survived"), (1, "killed")):
        (tmp_path / "test_a.py").write_text(test.format(other))
        row = mutation.attempt(tmp_path, mistake, ["test_a.py"], 5.0)
        assert row["result"] == result
        assert row["name"] == "storyjax/a.py:2:11:compare:(a >= b)"
        assert (tmp_path / "storyjax" / "a.py").read_text() == text


def test_the_fastest_tests_of_a_line_are_run_up_to_a_time(mutation) -> None:
    (mistake,) = mutation.mutants_of("storyjax/a.py", "x = 1 + y\n")[:1]
    covered = {"tests": {"slow": 9.0, "quick": 0.5, "other": 0.1, "middle": 2.0}}
    covered["lines"] = {"storyjax/a.py": {"1": [0, 1, 3], "2": [2]}}
    assert mutation.tests_of(covered, mistake, 3.0) == ["quick", "middle"]
    assert mutation.tests_of(covered, mistake, 0.0) == ["quick"]
    assert mutation.tests_of(covered, mistake, 99.0) == ["quick", "middle", "slow"]


def test_a_report_counts_what_changes_nothing_apart(mutation, tmp_path: Path, capsys) -> None:
    rows = [
        {"name": "a:1", "module": "nn", "old": "1", "new": "2", "result": "killed"},
        {"name": "a:2", "module": "nn", "old": "x\n  +  1", "new": "x - 1", "result": "survived"},
        {"name": "b:3", "module": "tcr", "old": "1", "new": "2", "result": "survived"},
        {"name": "b:4", "module": "tcr", "old": "1", "new": "2", "result": "killed by time"},
    ]
    (tmp_path / "rows").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "same").write_text("b:3: never read\n")
    mutation.main(["report", str(tmp_path / "rows"), "--equivalent", str(tmp_path / "same")])
    page = capsys.readouterr().out
    assert "| nn | 2 | 1 | 50% |\n| tcr | 1 | 1 | 100% |\n| all | 3 | 2 | 67% |" in page
    assert "not counted: 1." in page
    assert "- `a:2` (was `x + 1`): not seen\n- `b:3` (was `1`): never read\n" in page
