"""Readers of data sets' annotations, given damaged ones: what is usable is given, and the rest is counted or refused.

Files are damaged in two ways: their bytes, as in test_damaged_files.py, and their content: values of JSON and fields of
tables are replaced by unlikely ones, removed or repeated, so that files stay readable and readers get further. Whatever
happens, a reader gives a listing or raises a StoryjaxError of one line that names the file or its folder; it does not
hang; all annotations in the file are either usable or counted as broken; and what is usable can become records.
`python -m pytest -m long tests/inputs` tries 1,000 variants of each kind.
"""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import tensorflow_datasets as tfds
from annotated_images import IMAGE_KINDS
from annotated_videos import VIDEO_KINDS
from annotation_kind import Kind
from hypothesis import strategies
from test_damaged_files import LONGEST_S, damage

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.segments import SegmentListing

FEW, MANY = 24, 1000
KINDS = VIDEO_KINDS | IMAGE_KINDS
DEEP = "nested"  # stands for lists in lists, thousands deep
VALUES = (
    None,
    True,
    False,
    float("nan"),
    float("inf"),
    -1,
    0,
    1.5,
    2**31,
    2**63,
    10**400,
    1e300,
    "",
    "one",
    "9" * 5000,
)
VALUES += ("\ud800", "a\0b", "../up", "x" * 300, "line\nline", "\u2028", DEEP, [], {}, [None], {"id": None}, [[1, 2]])
FIELDS = ("", " ", "nan", "inf", "1e999", "1e300", "-1", "0", "2147483648", "9" * 5000, "\0", "\u2028", "\ud800", '"')
FIELDS += ("x" * 300, "../up", "a\0b", "'", '""', "true", "a,b", "\t", "#", "é", "½", "٣", "\r", "1_0", "-1e-9")


@strategies.composite
def altered_json(draw: Callable[..., Any]) -> Callable[[bytes], bytes]:
    """One to three values of a JSON file (or of each of its lines) replaced, removed or repeated."""
    kinds = strategies.sampled_from(("replace", "replace", "remove", "repeat"))
    fraction = strategies.floats(0, 1, exclude_max=True)
    steps = [
        (draw(kinds), draw(fraction), draw(strategies.sampled_from(VALUES)))
        for _ in range(draw(strategies.integers(1, 3)))
    ]

    def apply(whole: bytes) -> bytes:
        text = whole.decode()
        try:
            tree = [json.loads(text)]
        except ValueError:
            tree = [json.loads(line) for line in text.splitlines()]
        for kind, place, value in steps:
            everything = list(_nodes(tree))
            holder, key = everything[int(place * len(everything))]
            if kind == "replace":
                holder[key] = json.loads(json.dumps(value))
            elif kind == "remove":
                del holder[key]
            elif isinstance(holder, list):
                holder.insert(key, json.loads(json.dumps(holder[key])))
            if not tree:
                break
        deep = "[" * 9000 + "]" * 9000
        return "\n".join(json.dumps(each).replace(f'"{DEEP}"', deep) for each in tree).encode()

    return apply


def _nodes(tree: Any) -> Any:
    """Yields the place of each value in a tree, (what holds it, key or index)."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _nodes(tree[key])


@strategies.composite
def altered_table(draw: Callable[..., Any]) -> Callable[[bytes], bytes]:
    """One to three fields or lines of a table replaced, removed or repeated."""
    kinds = strategies.sampled_from(("field", "field", "field", "short", "remove", "repeat"))
    fraction = strategies.floats(0, 1, exclude_max=True)
    steps = [
        (draw(kinds), draw(fraction), draw(fraction), draw(strategies.sampled_from(FIELDS)))
        for _ in range(draw(strategies.integers(1, 3)))
    ]

    def apply(whole: bytes) -> bytes:
        rows = whole.decode().split("\n")
        for kind, line, place, value in steps:
            number = int(line * len(rows))
            fields = re.split(r"([,= ])", rows[number])  # separators stay
            at = 2 * int(place * ((len(fields) + 1) // 2))
            if kind == "field":
                rows[number] = "".join([*fields[:at], value, *fields[at + 1 :]])
            elif kind == "short":
                rows[number] = "".join(fields[:at])
            elif kind == "remove" and len(rows) > 1:
                del rows[number]
            elif kind == "repeat":
                rows.insert(number, rows[number])
        return "\n".join(rows).encode("utf-8", "surrogatepass")

    return apply


def alterations(kind: Kind) -> Any:
    """The ways in which a kind of file is damaged."""
    if kind.path.endswith(".tar"):
        return damage()
    json_like = kind.path.endswith((".json", ".jsonl", ".odgt"))
    return strategies.one_of(altered_json() if json_like else altered_table(), damage())


def check_counts(kind: Kind, listing: Any, data: bytes) -> None:
    """All annotations of the file are usable or counted."""
    lost, _ = listing.counts()
    aside = sum(listing.aside.values()) if isinstance(listing, SegmentListing) else 0
    given, used = kind.given(data), kind.used(listing)
    if given is not None:
        assert used + lost + aside >= given, (used, lost, aside, given, listing.broken[:5])


def check_records(kind: Kind, listing: Any, features: tfds.features.FeaturesDict) -> None:
    """What is usable can be written."""
    for found in listing.by_split(kind.split or "").values():
        json.dumps(list(kind.builder.labels(found)))
        assert all(isinstance(kind.builder.state(item), bytes) for item in found)
        for record in kind.builder.records(kind.builder.spreadable("train", found)):
            features.encode_example(record)
    json.dumps({"broken": listing.broken, **kind.builder.summary(listing)})


def check(name: str, root: Path, examples: int) -> None:
    """Reads so many damaged files of a kind."""
    kind = KINDS[name]()
    path, whole = kind.write(root), kind.content
    features = tfds.features.FeaturesDict(kind.builder.features(kind.builder))
    listing = kind.read(root)  # as it is
    assert not listing.broken
    assert kind.given(whole) in (None, kind.used(listing))
    check_records(kind, listing, features)

    @hypothesis.settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @hypothesis.given(alterations(kind))
    def run(altered: Callable[[bytes], bytes]) -> None:
        data = altered(whole)
        path.write_bytes(data)
        begun, line = time.process_time(), path.name
        try:
            listing = kind.read(root)
            check_counts(kind, listing, data)
            check_records(kind, listing, features)
        except StoryjaxError as error:
            line = str(error)
        assert "\n" not in line
        assert path.name in line or str(root) in line
        assert time.process_time() - begun < LONGEST_S

    run()


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_annotations(kind: str, tmp_path: Path) -> None:
    check(kind, tmp_path, FEW)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_damaged_annotations(kind: str, tmp_path: Path) -> None:
    check(kind, tmp_path, MANY)
