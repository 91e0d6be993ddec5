"""Groups of a video's examples: the same ones as a list of all of them would hold."""

import numpy as np
import pytest

from storyjax.core.files import write_atomically
from storyjax.tcr.example_counts import example_counts
from storyjax.tcr.loader import ExampleGroups
from storyjax.tcr.tasks import Options

COUNTS = np.array([3, 0, 1, 8, 0, 5, 0])


def listed(size: int, seed: int | None) -> list[tuple[int, tuple[int, ...]]]:
    """All groups, made one after the other."""
    groups = []
    for index, count in enumerate(COUNTS.tolist()):
        order = list(range(count)) if seed is None else np.random.default_rng([seed, index]).permutation(count).tolist()
        for start in range(0, count, size):
            rows = order[start : start + size]
            while seed is not None and len(rows) < size:
                rows.append(order[(len(rows) - len(order[start : start + size])) % count])
            groups.append((index, tuple(rows)))
    return groups


@pytest.mark.parametrize("seed", [None, 0, 7])
@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_groups_are_those_of_a_list_of_all(size: int, seed: int | None) -> None:
    groups = ExampleGroups([{"name": name} for name in "abcdefg"], COUNTS, size, seed)
    assert [groups.group(i) for i in range(len(groups))] == listed(size, seed)
    assert groups[len(groups) - 1].record == {"name": "f"}
    with pytest.raises(IndexError):
        groups[len(groups)]


def test_nothing_is_no_group() -> None:
    assert len(ExampleGroups([], np.zeros(0, np.int64), 4, 0)) == 0


class Records:
    """A split of three videos with two, no and five sentences."""

    split = "train"

    def __init__(self, folder) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return 3

    @property
    def annotations(self):
        return [{"sentence": ["a"] * n} for n in (2, 0, 5)]


def test_examples_are_counted_once_for_the_same_options(tmp_path) -> None:
    records, counted = Records(tmp_path), []

    def count(columns, options) -> int:
        counted.append(options.bins)
        return len(columns["sentence"])

    for bins in (1000, 1000, 7):
        assert example_counts(records, "cap", count, Options(bins=bins)).tolist() == [2, 0, 5]
    assert counted == [1000] * 3 + [7] * 3
    for path in tmp_path.glob("examples-*.npy"):
        write_atomically(path, b"damaged")
    assert example_counts(records, "cap", lambda columns, _: 1, Options()).tolist() == [1, 1, 1]
