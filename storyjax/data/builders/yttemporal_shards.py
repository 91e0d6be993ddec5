"""Preparing YT-Temporal-1B in shards that read the annotations themselves, in a memory that does not grow with it.

The files of sentences are cut into pieces of SHARD_TEXT bytes, at ends of lines; a shard's records are those of its
piece's lines, in their order. So nobody holds all annotations, and each worker reads its own. Three things of the whole
corpus are needed on the way: which videos are wanted, where their tar files have them (yttemporal_index.py), and which
video has an earlier line elsewhere. The last is found out afterwards, from which videos each shard met: where an
earlier one has met a video, the later shard is made anew without it. That is rare, and what comes of it goes by the
files alone.
"""

import functools
import hashlib
import io
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Int

from storyjax.core.bucket_copies import fetched
from storyjax.core.buckets import listed, place, remove_tree
from storyjax.core.files import write_atomically
from storyjax.data.beam import spread
from storyjax.data.builders.base import Made
from storyjax.data.builders.broken import BrokenCount
from storyjax.data.builders.prepared import is_prepared
from storyjax.data.builders.preparing import announce, begun, cannot_prepare, finish, unfinished_folder
from storyjax.data.builders.segments import AnnotatedVideo, SegmentListing, find_video
from storyjax.data.builders.shards import (
    Builder,
    Done,
    Shard,
    load_plan,
    make_shards,
    mark_file,
    numbered_shards,
    planned_shards,
    save_plan,
    write_shard,
)
from storyjax.data.builders.starts import load_start, save_start
from storyjax.data.builders.yttemporal_index import (
    Table,
    digests,
    has_tar,
    listed_ids,
    members_media,
    write_ids,
    write_members,
    write_tar,
)

SHARD_TEXT = 2**26  # bytes of sentences in a shard, about: 11,000 videos of 60 sentences
_LINES = 128  # that are read before they are looked up
_BLOCK = 2**22


def prepare_streamed(builder: Builder, root: Path, cache: Path, split: str, allowed: float, key: str) -> Made:
    """Prepares a split, and goes on with it where that was stopped.

    Args:
        builder, root, split: the data set.
        cache: where prepared folders go.
        allowed: fraction of the sentences that may be unusable.
        key: changes with any of the official files, and with the code that reads them.

    Raises:
        StoryjaxError: too many sentences cannot be used, a tar file is damaged, or `cache` cannot be written.
    """
    with unfinished_folder(cache, split) as unfinished:
        if (start := load_start(cache, key)) is not None:  # of another process that we waited for
            names, (lines, number) = start["folders"], start["broken"]
            return Made(cache / names[split], (split,), {"broken": lines, "broken_count": number}, start["counts"])
        plan = begun(unfinished, key)
        if plan is None:
            announce(unfinished, root, split)
            plan = _plan(root, split, unfinished, key)
        tars = len(plan["tars"])
        scan = [number for number in range(tars) if not has_tar(unfinished / "index", number)]
        if scan:
            spread(functools.partial(_scan_tar, str(unfinished)), scan)
        write_members(unfinished / "index", tars)
        shards = planned_shards(plan)
        done, met = _made(builder, unfinished, shards)
        broken, lost, rows = BrokenCount(), sum(each.lost for each in done), sum(each.rows for each in done)
        for each in done:
            broken.merge(each.broken)
        missing = _missing(root, split, unfinished, met)
        broken.merge(missing)
        lost, rows = lost + missing["broken_count"], rows + missing["broken_count"]
        note = broken.note()
        usable = any(each.records for each in done)
        builder.report(note["broken"], (lost, rows), root, split, usable, allowed, number=broken.number)
        files = sorted(path.name for path in unfinished.glob(f"broken-{split}-*.txt"))
        state = [[asdict(each) for each in done], plan["tars"], missing]
        mark = hashlib.sha256(f"{builder.name} {builder.VERSION} {json.dumps(state)}".encode()).hexdigest()[:12]
        folder = cache / f"{split}-{mark}"
        if is_prepared(folder):  # by other code from the same files
            remove_tree(unfinished)
        else:
            finish(builder, unfinished, folder, shards, done, {"summary.json": {**note, "broken_files": files}})
        made = Made(folder, (split,), note, (lost, rows))
        save_start(cache, key, made.start())
    return made


def _plan(root: Path, split: str, unfinished: Path, key: str) -> dict[str, Any]:
    """Writes what is wanted, and which pieces of which files each shard reads."""
    index = unfinished / "index"
    index.mkdir(parents=True, exist_ok=True)
    write_ids(index, ids_table(root, split))
    pieces: list[list[list[int]]] = [[]]
    room = SHARD_TEXT
    for number, path in enumerate(sentence_files(root)):
        for piece in _pieces(path):
            if room <= 0:
                pieces.append([])
                room = SHARD_TEXT
            pieces[-1].append([number, *piece])
            room -= piece[1] - piece[0]
    tars = [[path.name, (info := path.stat()).st_size, info.st_mtime_ns] for path in tar_files(root)]
    save_plan(unfinished, key, numbered_shards(split, len(pieces)), root=str(root), tars=tars, pieces=pieces)
    return load_plan(unfinished)


def ids_table(root: Path, split: str) -> Path:
    """Returns the list of a split's videos."""
    return root / f"yttemporal1b_ids_{split}.csv"


def sentence_files(root: Path) -> list[Path]:
    """Returns the files of sentences, in their order."""
    return sorted((root / "asr").glob("*.jsonl"))


def tar_files(root: Path) -> list[Path]:
    """Returns the tar files of videos, in their order."""
    return sorted((root / "shards").glob("*.tar"))


def _pieces(path: Path) -> Iterator[list[int]]:
    """Yields [start, end, number of the first line] of pieces of a file. A line belongs to where it begins."""
    size = path.stat().st_size
    if size <= SHARD_TEXT * 3 // 2:
        yield [0, size, 1]
        return
    starts = list(range(0, size, SHARD_TEXT))
    with path.open("rb") as file:
        position = ends = 0
        for start, end in itertools.pairwise([*starts, size]):
            while position < start - 1:  # a line that begins at `start` is the first of the piece
                block = file.read(min(_BLOCK, start - 1 - position))
                ends, position = ends + block.count(b"\n"), position + len(block)
            yield [start, end, ends + 1 + (start > 0)]


def _scan_tar(unfinished: str, number: int) -> str:
    folder = place(unfinished)
    plan = load_plan(folder)
    with cannot_prepare(folder.parent):
        write_tar(folder / "index", number, place(plan["root"]) / "shards" / plan["tars"][number][0])
    return plan["tars"][number][0]


def _made(builder: Builder, unfinished: Path, shards: Sequence[Shard]) -> tuple[list[Done], np.ndarray]:
    """What is known of each shard, and the rows of the ids that have been met, each in one shard only."""
    work = functools.partial(make_shard, builder, str(unfinished))
    while True:
        done = make_shards(work, unfinished, shards, spread)
        met = np.zeros(Table(unfinished / "index", "ids").values.max(initial=-1) + 1, bool)
        anew = False
        for shard in shards:
            rows = np.load(fetched(_beside(unfinished, shard, "met")))
            if met[rows].any():
                _add_again(unfinished, shard, rows[met[rows]])
                mark_file(unfinished, shard).unlink()
                anew = True
            met[rows] = True
        if not anew:
            return done, met


def _beside(unfinished: Path, shard: Shard, what: str) -> Path:
    return unfinished / "done" / f"{shard.mark}.{what}.npy"


def _again(unfinished: Path, shard: Shard) -> Int[np.ndarray, " n"]:
    """The rows of the ids that an earlier shard has met."""
    path = _beside(unfinished, shard, "again")
    return np.load(fetched(path)) if path.exists() else np.zeros(0, np.int64)


def _add_again(unfinished: Path, shard: Shard, rows: Int[np.ndarray, " n"]) -> None:
    out = io.BytesIO()
    np.save(out, np.union1d(_again(unfinished, shard), rows))
    write_atomically(_beside(unfinished, shard, "again"), out.getvalue())


def _missing(root: Path, split: str, unfinished: Path, met: np.ndarray) -> dict[str, Any]:
    """Names the wanted videos that no line is about, as `BrokenCount.note`."""
    wanted = np.zeros(len(met), bool)
    wanted[Table(unfinished / "index", "ids").values[:, 0]] = True  # the first row of each
    lines = (
        f"video {name}: no line of asr/*.jsonl has its sentences"
        for row, name in enumerate(listed_ids(ids_table(root, split)))
        if row < len(wanted) and wanted[row] and not met[row]
    )
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace") as file:
        broken = BrokenCount(file)
        broken.add(lines if (wanted & ~met).any() else ())
        _keep(file, broken, unfinished / f"broken-{split}-without-sentences.txt")
    return broken.note()


def _keep(file: IO[str], broken: BrokenCount, path: Path) -> None:
    """Writes the lines of what could not be used, if there are any."""
    if broken.number:
        file.seek(0)
        write_atomically(path, file.read())
    else:
        path.unlink(missing_ok=True)


@functools.lru_cache(maxsize=2)
def _tables(unfinished: str, key: str) -> tuple[Table, Table]:
    """The tables of a preparation with this key, mapped once by each worker."""
    del key
    index = place(unfinished) / "index"
    return Table(index, "ids"), Table(index, "members")


def make_shard(builder: Builder, unfinished: str, number: int) -> str:
    """Makes shard `number` of the plan of an unfinished folder, and returns its name."""
    folder = place(unfinished)
    with cannot_prepare(folder.parent):
        plan = load_plan(folder)
        root, shard = place(plan["root"]), planned_shards(plan)[number]
        with listed(root / "videos"), _Reading(builder, folder, plan, root, shard) as reading:
            lines = reading.lines(sentence_files(root), plan["pieces"][number])
            write_shard(folder, builder, shard, reading.batches(lines), reading.done)
    return shard.mark


class _Reading:
    """A shard's lines as they become records; a context manager."""

    def __init__(self, builder: Builder, folder: Path, plan: dict[str, Any], root: Path, shard: Shard):
        self.done = Done()
        self._builder, self._folder, self._root, self._shard = builder, folder, root, shard
        self._ids, self._members = _tables(str(folder), plan["key"])
        self._tars = [root / "shards" / name for name, _, _ in plan["tars"]]
        self._met = set(_again(folder, shard).tolist())  # so that its rows are passed over
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        self._broken = BrokenCount(self._file)

    def __enter__(self) -> "_Reading":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def lines(self, files: Sequence[Path], pieces: Sequence[Sequence[int]]) -> Iterator[tuple[str, bytes]]:
        """Yields each line of the pieces, and what it is called."""
        for number, start, end, first in pieces:
            with files[number].open("rb") as file:
                position = start
                if start:
                    file.seek(start - 1)
                    position += len(file.readline()) - 1
                for line, raw in enumerate(file, first):
                    if position >= end:
                        break
                    position += len(raw)
                    yield f"{files[number].name} line {line}", raw

    def batches(self, lines: Iterator[tuple[str, bytes]]) -> Iterator[tuple[Iterator[bytes], Any]]:
        """Yields the records and the labels of some lines at a time, and notes what else is known of the shard."""
        again, media = len(self._met), hashlib.sha256()
        rows: list[int] = []
        while batch := list(itertools.islice(lines, _LINES)):
            found = SegmentListing()
            items = self._read(found, batch, rows)
            for item in items:
                if item.media.length < 0:
                    info = item.media.path.stat()
                    media.update(f"{item.media.path.name} {info.st_size} {info.st_mtime_ns}\n".encode())
            yield self._builder.serialised(items), self._builder.labels(items)
            self._broken.add(found.broken)
            self.done.lost += found.lost
            self.done.rows += found.rows
        assert again + len(rows) == len(self._met)
        self.done.broken, self.done.media = self._broken.note(), media.hexdigest()
        name = f"broken-{self._shard.split}-{self._shard.number:05d}-of-{self._shard.total:05d}.txt"
        _keep(self._file, self._broken, self._folder / name)
        out = io.BytesIO()
        np.save(out, np.array(rows, np.int64))
        write_atomically(_beside(self._folder, self._shard, "met"), out.getvalue())

    def _read(self, found: SegmentListing, batch: list[tuple[str, bytes]], rows: list[int]) -> list[AnnotatedVideo]:
        """The videos of some lines that have any sentence left; `rows` takes up those of their ids."""
        parsed = [(where, line) for where, raw in batch if (line := self._builder.parse(found, where, raw)) is not None]
        names = [str(line.get("video_id")) for _, line in parsed]
        keys = digests(names)
        media = members_media(self._members.find(keys), self._tars)
        for row, video, (where, line), in_tar in zip(
            self._ids.find(keys)[:, 0].tolist(), names, parsed, media, strict=True
        ):
            if row < 0 or row in self._met:
                continue
            self._met.add(row)
            rows.append(row)
            at, why = (in_tar, "") if in_tar else find_video([self._root / "videos"], video)
            self._builder.annotate(found, where, line, video, at, why)
        return found.by_split("")[""]
