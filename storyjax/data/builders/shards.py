"""Shards of prepared records, each written by itself, whole or not at all, by whatever process.

While a data set is prepared, its unfinished folder holds

    plan.json, plan/                    what each shard is made of, the same whoever makes the shards
    NAME/VERSION/NAME-SPLIT.array_record-00000-of-00012     its records, as TFDS names and reads them
    labels-SPLIT-00000-of-00012.jsonl .npy                  its labels (labels.py)
    done/SPLIT-00000.json               written last: how many records there are, and the digest of all that was written

so that a preparation that was stopped goes on with the shards that have no mark, and so that neither the number of
workers nor the machine that they are on changes a byte. TFDS's own way to prepare on Beam was not taken: it groups all
records by their keys in the runner, which keeps what was done only for as long as that runner lives, cuts shards by the
sizes of all records, and serialises features in an order left to chance (serialise.py).
"""

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python import array_record_module

from storyjax.core.errors import StoryjaxError, first_line
from storyjax.core.files import atomic_path, write_atomically
from storyjax.data.builders.broken import BrokenCount
from storyjax.data.builders.labels import LabelWriter, label_file
from storyjax.data.builders.serialise import ExampleWriter

# As TFDS writes them, but that zstd takes half the time, for files that are a twentieth larger.
_FORMAT = "group_size:1,zstd:1"
Builder = type[Any]  # a subclass of base.OfficialBuilder


@dataclass(frozen=True)
class Shard:
    """One of the `total` shards of a split."""

    split: str
    number: int
    total: int

    @property
    def mark(self) -> str:
        """The name of its mark, and of its part of the plan, without an ending."""
        return f"{self.split}-{self.number:05d}"


@dataclass
class Done:
    """What is known of a shard that was written.

    Attributes:
        records, size: how many records it has, and their bytes.
        digest: of all that was written.
        lost, rows: how many annotations were lost in reading, and how many there were, where shards read annotations.
        broken: what could not be used, where shards read annotations.
        media: a digest of the sizes and dates of the media files, where shards look for them.
    """

    records: int = 0
    size: int = 0
    digest: str = ""
    lost: int = 0
    rows: int = 0
    broken: dict[str, Any] = field(default_factory=lambda: BrokenCount().note())
    media: str = ""


_WRITERS: dict[Builder, ExampleWriter] = {}


def example_writer(builder: Builder) -> ExampleWriter:
    """Returns what serialises the records of a data set, made once."""
    if builder not in _WRITERS:
        _WRITERS[builder] = ExampleWriter(builder(items={}, data_dir="unused").features())
    return _WRITERS[builder]


def records_folder(place: Path, builder: Builder) -> Path:
    """Returns where TFDS looks for the records of a data set that is prepared in `place`."""
    return place / builder.name / str(builder.VERSION)


def record_file(place: Path, builder: Builder, shard: Shard) -> Path:
    """Returns the file of a shard's records, as TFDS names it."""
    name = f"{builder.name}-{shard.split}.array_record-{shard.number:05d}-of-{shard.total:05d}"
    return records_folder(place, builder) / name


def write_shard(
    place: Path, builder: Builder, shard: Shard, batches: Iterable[tuple[Iterable[bytes], Iterable[Any]]], done: Done
) -> None:
    """Writes a shard and, last of all, its mark.

    Args:
        place: the unfinished folder.
        builder: of the data set.
        shard: which one it is.
        batches: some records each, serialised, with the label of each or no labels.
        done: takes up what is known of the records; when the batches have come to their end, what else it says is kept.

    Raises:
        OSError: it cannot be written.
    """
    digest = hashlib.sha256()
    records_folder(place, builder).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as files:
        # ArrayRecord takes no stream; one that ends its file with an exception leaves nothing.
        path = files.enter_context(atomic_path(record_file(place, builder, shard)))
        text, places = (
            files.enter_context(atomic_path(place / label_file(shard.split, shard.number, shard.total, ending)))
            for ending in ("jsonl", "npy")
        )
        labels = files.enter_context(LabelWriter(text, places))
        records = files.enter_context(_records(path))
        for serialised, known in batches:
            for record in serialised:
                records.write(record)
                digest.update(record)
                done.records += 1
                done.size += len(record)
            for label in known:
                digest.update(labels.add(label))
    done.digest = digest.hexdigest()
    write_atomically(mark_file(place, shard), json.dumps(asdict(done)))


@contextlib.contextmanager
def _records(path: Path) -> Iterator[Any]:
    """Yields ArrayRecord's writer, whose errors are OSErrors."""
    try:
        writer = array_record_module.ArrayRecordWriter(os.fspath(path), _FORMAT)
        try:
            yield writer
        finally:
            writer.close()
    except RuntimeError as error:
        raise OSError(errno.EIO, first_line(error, 200), str(path)) from error


def mark_file(place: Path, shard: Shard) -> Path:
    """Returns the file that says that a shard is complete."""
    return place / "done" / f"{shard.mark}.json"


def save_plan(place: Path, key: str, shards: Sequence[Shard], **more: Any) -> None:
    """Notes which shards there will be; a preparation with another `key` begins anew.

    Args:
        place: the unfinished folder; `more` is what shards need to know besides, as JSON holds it.
    """
    for folder in (place / "done", place / "plan"):
        folder.mkdir(parents=True, exist_ok=True)
    content = {"key": key, "shards": [[shard.split, shard.number, shard.total] for shard in shards], **more}
    write_atomically(place / "plan.json", json.dumps(content))


def load_plan(place: Path) -> dict[str, Any]:
    """Returns what `save_plan` noted, {} where it was not called."""
    try:
        return json.loads((place / "plan.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def planned_shards(plan: dict[str, Any]) -> list[Shard]:
    """Returns the shards of a plan, in their order."""
    return [Shard(*each) for each in plan["shards"]]


def numbered_shards(split: str, total: int) -> list[Shard]:
    """Returns all shards of a split."""
    return [Shard(split, number, total) for number in range(total)]


def load_done(place: Path, shards: Sequence[Shard]) -> list[Done | None]:
    """Returns what is known of each shard, None of one that is not complete."""
    there = {path.name for path in (place / "done").glob("*.json")}
    found: list[Done | None] = []
    for shard in shards:
        path = mark_file(place, shard)
        found.append(Done(**json.loads(path.read_text("utf-8"))) if path.name in there else None)
    return found


def make_shards(
    work: Callable[[int], str], place: Path, shards: Sequence[Shard], run: Callable[[Callable, Sequence[int]], object]
) -> list[Done]:
    """Makes the shards that are not complete, and returns what is known of all.

    Args:
        work: makes the shard of that number in the plan; picklable.
        place: the unfinished folder.
        run: calls `work` with each of some numbers, here or elsewhere.

    Raises:
        StoryjaxError: a shard could not be made.
    """
    todo = [number for number, done in enumerate(load_done(place, shards)) if done is None]
    if todo:
        run(work, todo)
    found = load_done(place, shards)
    if missing := [shard.mark for shard, done in zip(shards, found, strict=True) if done is None]:
        raise StoryjaxError(
            f"{len(missing)} of {len(shards)} shards were not made, the first is {missing[0]}: workers must see"
            f" {place} under that path; give the command again to make the rest"
        )
    return [done for done in found if done is not None]


def describe(place: Path, builder: Builder, shards: Sequence[Shard], done: Sequence[Done]) -> None:
    """Writes TFDS's description of the records beside them: their features, and how many each shard has."""
    lengths: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}
    for shard, each in zip(shards, done, strict=True):
        lengths.setdefault(shard.split, []).append(each.records)
        sizes[shard.split] = sizes.get(shard.split, 0) + each.size
    with tempfile.TemporaryDirectory(prefix="storyjax-") as scratch:
        made = builder(items={}, data_dir=scratch)
        template = tfds.core.ShardedFileTemplate(
            data_dir=made.data_path, dataset_name=made.name, filetype_suffix="array_record"
        )
        infos = [
            tfds.core.SplitInfo(
                name=split, shard_lengths=found, num_bytes=sizes[split], filename_template=template.replace(split=split)
            )
            for split, found in lengths.items()
        ]
        made.info.set_splits(tfds.core.splits.SplitDict(infos))
        made.info.write_to_directory(scratch)
        for path in Path(scratch).iterdir():
            if path.is_file():
                write_atomically(records_folder(place, builder) / path.name, path.read_bytes())
