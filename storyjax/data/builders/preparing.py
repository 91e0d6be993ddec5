"""Preparing a data set once, under a name that changes with the files it was made from.

A preparation may be killed and called again, which goes on where it stopped, and called by many processes at once: it
appears whole, and once. Its shards (shards.py) are made in this process, or wherever `storyjax.data.beam` spreads them.
"""

import contextlib
import fcntl
import functools
import itertools
import json
import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from storyjax.core.bucket_copies import copy_objects
from storyjax.core.bucket_lock import bucket_lock
from storyjax.core.buckets import BucketPath, is_bucket, place, remove_tree
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import UNFINISHED, write_atomically
from storyjax.data.beam import spread
from storyjax.data.builders.labels import write_label_counts
from storyjax.data.builders.prepared import COMPLETE, is_prepared
from storyjax.data.builders.shards import (
    Builder,
    Done,
    Shard,
    describe,
    load_plan,
    make_shards,
    numbered_shards,
    planned_shards,
    save_plan,
    write_shard,
)
from storyjax.data.builders.starts import reader_code

_LOG = logging.getLogger(__name__)
SHARD_BYTES = 2**28  # of media in a shard, about
_ONLY_UNFINISHED = ("plan", "done", "index")


def prepare_once(
    builder: Builder,
    root: Path,
    cache: Path,
    fingerprint: str,
    items: Mapping[str, Sequence[Any]],
    part: str = "",
    beside: Mapping[str, Any] | None = None,
) -> Path:
    """Returns the folder of the prepared data set: made now of the items of each split, or found.

    It is `cache`/`fingerprint` or, where only a `part` of the data set is prepared, `cache`/`part`-`fingerprint`; parts
    can be prepared at the same time.

    Args:
        builder: of the data set.
        root: the folder of the official files.
        cache: where prepared folders of this data set go.
        fingerprint: changes with the official files.
        items: of each split.
        part: the split, where each is prepared by itself.
        beside: texts, and what is written as JSON, by file name, beside the records.

    Raises:
        StoryjaxError: `cache` cannot be written, or a record cannot be made.
    """
    folder = cache / (f"{part}-{fingerprint}" if part else fingerprint)
    if is_prepared(folder):
        return folder
    with unfinished_folder(cache, part) as unfinished:
        if not is_prepared(folder):
            announce(folder, root, part)
            key = f"{fingerprint} {reader_code()}"
            if (plan := begun(unfinished, key)) is None:
                plan = _plan(builder, unfinished, key, items)
            shards = planned_shards(plan)
            done = make_shards(functools.partial(make_shard, builder, str(unfinished)), unfinished, shards, spread)
            finish(builder, unfinished, folder, shards, done, beside or {})
    return folder


@contextlib.contextmanager
def unfinished_folder(cache: Path, part: str) -> Iterator[Path]:
    """Yields where what is prepared lies until it is complete; one process at a time is given it.

    Raises:
        StoryjaxError: in place of any OSError: `cache` cannot be written.
    """
    hidden = f".{part}." if part else "."
    with cannot_prepare(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f"{hidden}lock"):
            yield cache / f"{hidden}unfinished"


@contextlib.contextmanager
def cannot_prepare(cache: Path) -> Iterator[None]:
    """Turns any OSError into a StoryjaxError that says that `cache` cannot be written."""
    try:
        yield
    except OSError as error:
        known = error.strerror if is_bucket(error.filename or "") else None
        raise StoryjaxError(
            f"cannot prepare data in {cache}: {known or error}; make room or choose another cache_dir"
        ) from error


def announce(folder: Path, root: Path, part: str) -> None:
    """Says in the log what is prepared, and what was prepared of other files."""
    _LOG.info("preparing %s from %s", folder, root)
    for older in sorted(folder.parent.glob(f"{part}-*" if part else "[!.]*")):
        _LOG.info("%s was prepared from other files; delete it if they are gone", older)


def begun(unfinished: Path, key: str) -> dict[str, Any] | None:
    """Returns the plan of a preparation with this key that was stopped. What any other left is removed: None."""
    plan = load_plan(unfinished)
    if plan.get("key") == key:
        _LOG.info("going on with the shards that are missing in %s", unfinished)
        return plan
    remove_tree(unfinished)
    return None


def _plan(builder: Builder, unfinished: Path, key: str, items: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Writes which items each shard is made of: the same whoever makes the shards."""
    shards: list[Shard] = []
    (unfinished / "plan").mkdir(parents=True, exist_ok=True)
    for split, found in items.items():
        spreadable = builder.spreadable(split, found)
        ends = list(_cuts(map(builder.weight, spreadable)))
        numbered = numbered_shards(split, len(ends))
        for shard, (start, end) in zip(numbered, itertools.pairwise([0, *ends]), strict=True):
            write_atomically(unfinished / "plan" / f"{shard.mark}.pickle", pickle.dumps(list(spreadable[start:end])))
        shards += numbered
    save_plan(unfinished, key, shards)
    return load_plan(unfinished)


def _cuts(weights: Iterator[int]) -> Iterator[int]:
    """Yields the end of each shard: the place before which its items weigh SHARD_BYTES, or all end."""
    number = total = 0
    for weight in weights:
        number, total = number + 1, total + weight
        if total >= SHARD_BYTES:
            yield number
            total = 0
    if total or not number:
        yield number


def make_shard(builder: Builder, unfinished: str, number: int) -> str:
    """Makes shard `number` of the plan of an unfinished folder, and returns its name."""
    folder = place(unfinished)
    with cannot_prepare(folder.parent):
        shard = planned_shards(load_plan(folder))[number]
        items = pickle.loads((folder / "plan" / f"{shard.mark}.pickle").read_bytes())
        write_shard(folder, builder, shard, [(builder.serialised(items), builder.labels(items))], Done())
    return shard.mark


def finish(
    builder: Builder,
    unfinished: Path,
    folder: Path,
    shards: Sequence[Shard],
    done: Sequence[Done],
    beside: Mapping[str, Any],
) -> None:
    """Completes what the shards lack, and gives the folder its name.

    Args:
        builder, unfinished, shards, done: of the data set, whose shards are complete.
        folder: what it will be called.
        beside: texts, and what is written as JSON, by file name, beside the records.
    """
    describe(unfinished, builder, shards, done)
    counts: dict[str, list[int]] = {}
    for shard, each in zip(shards, done, strict=True):
        counts.setdefault(shard.split, []).append(each.records)
    for split, found in counts.items():
        write_label_counts(unfinished, split, found)
    for name, content in beside.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=1)
        write_atomically(unfinished / name, text.encode("utf-8", "backslashreplace"))
    if isinstance(folder, BucketPath) and isinstance(unfinished, BucketPath):
        folder.remove_tree()  # of a copy that was killed: we hold the lock
        aside = (*_ONLY_UNFINISHED, "plan.json")
        copy_objects(unfinished, folder, lambda name: name.partition("/")[0] not in aside)
        (folder / COMPLETE).write_text(json.dumps({"shards": len(shards)}), "utf-8")
        unfinished.remove_tree()
        return
    for left in unfinished.rglob(UNFINISHED):  # of workers that were killed
        left.unlink()
    unfinished.rename(folder)
    for name in _ONLY_UNFINISHED:
        remove_tree(folder / name)
    (folder / "plan.json").unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the system lets go of the lock when its holder is killed, and a bucket a little later."""
    if isinstance(path, BucketPath):
        with bucket_lock(path, "", wait=True):
            yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
