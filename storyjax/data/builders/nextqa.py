"""NExT-QA: multiple-choice questions about causes, times and descriptions of everyday videos (thesis §3.3.1).

The official layout, read from `manual_dir`:

    train.csv val.csv test.csv      one line a question, with the columns COLUMNS; others are ignored
    map_vid_vidorID.json            {video: "folder/vidorid"}
    NExTVideo/folder/vidorid.mp4    the videos, from VidOR

`answer` is the 0-based number of the right option; `type` is CW CH (causal), TN TC TP (temporal) or DL DC DO DB
(descriptive). A prepared record is one video with all its questions: videos are decoded once for many questions.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.data.builders.broken import name_broken
from storyjax.data.builders.prepared import file_size, prepare_once
from storyjax.data.builders.tables import read_rows

COLUMNS = ("video", "frame_count", "width", "height", "question", "answer", "qid", "type", "a0", "a1", "a2", "a3", "a4")
SPLITS = ("train", "val", "test")
OPTIONS = 5

_MOST_BYTES = 2**31 - 2**20  # a record must stay under protobuf's 2 GiB

_INSTRUCTIONS = (
    "get the annotations (folder dataset/nextqa of https://github.com/doc-doc/NExT-QA: train.csv, val.csv, test.csv and"
    " map_vid_vidorID.json) and the videos (NExTVideo, linked there, from VidOR) and put them in that folder"
)


@dataclass
class AnnotatedVideo:
    """A video and its questions; the lists have one entry a question."""

    video_id: str
    path: Path
    question: list[str] = field(default_factory=list)
    options: list[list[str]] = field(default_factory=list)
    answer: list[int] = field(default_factory=list)
    type: list[str] = field(default_factory=list)
    qid: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Summary:
    """What was prepared. `broken` has a line for everything left out: questions, and videos with all of theirs."""

    split: str
    fingerprint: str
    video_ids: tuple[str, ...]
    question_counts: tuple[int, ...]
    broken: tuple[str, ...]


def read_annotations(manual_dir: str | Path, split: str) -> tuple[list[AnnotatedVideo], list[str], float]:
    """The split's usable videos in the order of the table, a line for each thing left out, and its share of questions.

    Raises:
        StoryjaxError: there is no such data set or split, or its files are not what they should be.
    """
    manual_dir = Path(manual_dir)
    if split not in SPLITS:
        raise StoryjaxError(f"NExT-QA has no split '{split}', only {', '.join(SPLITS)}.{nearest(split, SPLITS)}")
    table, places, folder = manual_dir / f"{split}.csv", manual_dir / "map_vid_vidorID.json", manual_dir / "NExTVideo"
    for needed in (table, places, folder):
        if not needed.exists():
            raise StoryjaxError(f"NExT-QA is not in {manual_dir} ({needed.name} is missing): {_INSTRUCTIONS}")
    where = _read_places(places)
    videos: dict[str, AnnotatedVideo] = {}
    unusable: dict[str, str] = {}
    broken, rows, lost, seen = [], 0, 0, set()
    for line, row in read_rows(table, COLUMNS):
        rows += 1
        video_id = row["video"] or ""
        if video_id not in videos and video_id not in unusable:
            path = folder / f"{where.get(video_id, video_id)}.mp4"
            why = _unusable(video_id, path, where)
            if why:
                unusable[video_id] = why
                broken.append(f"video {video_id}: {why}")
            else:
                videos[video_id] = AnnotatedVideo(video_id, path)
        why = _wrong(row) or ("its qid is there twice" if (video_id, row["qid"]) in seen else "")
        seen.add((video_id, row["qid"]))
        if video_id in unusable:
            lost += 1
        elif why:
            lost += 1
            broken.append(f"{table.name} line {line} (video {video_id}): {why}")
        else:
            _append(videos[video_id], row)
    if not rows:
        raise StoryjaxError(f"{table} holds no questions: download it again")
    return [video for video in videos.values() if video.answer], broken, lost / rows


def _read_places(path: Path) -> dict[str, str]:
    try:
        places = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"{path} cannot be read as JSON ({error}): download it again") from error
    if not isinstance(places, dict):
        raise StoryjaxError(f"{path} must be an object from video to 'folder/vidorid': download it again")
    return {str(video): str(place) for video, place in places.items()}


def _unusable(video_id: str, path: Path, places: dict[str, str]) -> str:
    """Why a video cannot be used, or nothing. Whether it can be decoded is found out when it is."""
    try:
        size = file_size(path)
    except OSError as error:
        listed = "" if video_id in places else " (and map_vid_vidorID.json does not list it)"
        return f"{path} cannot be read: {error.strerror}{listed}"
    if not path.is_file():
        return f"{path} is not a file"
    if size == 0:
        return f"{path} is empty"
    if size > _MOST_BYTES:
        return f"{path} has {size / 2**30:.1f} GiB, more than a record can hold (2 GiB)"
    return ""


def _wrong(row: dict[str, Any]) -> str:
    """What is wrong with a question, or nothing."""
    short = [name for name in COLUMNS if row[name] is None]
    if short:
        return f"the line ends before {short[0]}"
    answer = row["answer"].strip()
    if not (answer.isascii() and answer.isdigit() and int(answer) < OPTIONS):
        return f"answer '{answer}' is not one of 0 to {OPTIONS - 1}"
    empty = [name for name in ("question", "type", "qid") if not row[name].strip()]
    return f"{empty[0]} is empty" if empty else ""


def _append(video: AnnotatedVideo, row: dict[str, str]) -> None:
    video.question.append(row["question"].strip())
    video.options.append([row[f"a{option}"].strip() for option in range(OPTIONS)])
    video.answer.append(int(row["answer"]))
    video.type.append(row["type"].strip())
    video.qid.append(row["qid"].strip())


class NextQA(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder; `prepare` below is the usual way to it.

    Splits are those whose table is in manual_dir, or `only`. Records keep the order of the table. What cannot be used
    is left out and, unless `quiet`, named in the log and held against `max_broken_fraction`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "One record a video, with flat ragged questions."}
    # TFDS would look beside this file for checksums of downloads, by a package it does not require; there are none.
    code_path = None
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def __init__(
        self,
        *,
        only: tuple[str, ...] | None = None,
        max_broken_fraction: float = 0.05,
        quiet: bool = False,
        **kwargs: Any,
    ):
        self.only, self.max_broken_fraction, self.quiet = only, max_broken_fraction, quiet
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "video_id": tfds.features.Text(),
                    "video": tfds.features.Scalar(np.object_),  # the mp4 as it is
                    "question": tfds.features.Sequence(tfds.features.Text()),
                    "options": tfds.features.Sequence(tfds.features.Text()),  # OPTIONS for each question, in a row
                    "answer": tfds.features.Tensor(shape=(None,), dtype=np.int32),
                    "type": tfds.features.Sequence(tfds.features.Text()),
                    "qid": tfds.features.Sequence(tfds.features.Text()),
                }
            ),
            homepage="https://github.com/doc-doc/NExT-QA",
            disable_shuffling=True,  # training shuffles, and evaluation keeps the order of the table
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        manual_dir = Path(dl_manager.manual_dir)
        splits = self.only or [split for split in SPLITS if (manual_dir / f"{split}.csv").exists()] or SPLITS[:1]
        return {split: self._generate_examples(manual_dir, split) for split in splits}

    def _generate_examples(self, manual_dir: Path, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        videos, broken, share = read_annotations(manual_dir, split)
        if not self.quiet:
            report_broken(broken, share, self.max_broken_fraction, f"NExT-QA {split} in {manual_dir}")
        for index, video in enumerate(videos):
            yield (
                index,
                {
                    "video_id": video.video_id,
                    "video": video.path.read_bytes(),
                    "question": video.question,
                    "options": [option for options in video.options for option in options],
                    "answer": np.array(video.answer, np.int32),
                    "type": video.type,
                    "qid": video.qid,
                },
            )

    @classmethod
    def prepare(cls, root: str | Path, cache_dir: str | Path, split: str, **options: Any) -> "NextQASource":
        """Returns a split as a source of records; see `prepare` for the options and errors."""
        return prepare(root, cache_dir, split, **options)


def report_broken(broken: list[str], share: float, max_broken_fraction: float, where: str) -> None:
    """Names what is left out in the log.

    Raises:
        StoryjaxError: it is more than `max_broken_fraction` of the questions.
    """
    name_broken(broken)
    if share > max_broken_fraction:
        raise StoryjaxError(
            f"{where}: {share:.1%} of the questions cannot be used, more than the allowed {max_broken_fraction:.1%};"
            f" complete or mend the data; the first of {len(broken)}: {broken[0]}"
        )


class NextQASource:
    """A prepared split, by record: one video with its questions.

    Item i is {"video_id": str, "video": bytes, "question": [str], "options": [[str] * 5], "answer": (k,) int32,
    "type": [str], "qid": [str]}. Safe to read from many threads, and picklable.
    """

    def __init__(self, folder: str | Path):
        """Args: folder: as `prepare` made it. Raises StoryjaxError where it is not."""
        self.folder = Path(folder)
        try:
            summary = json.loads((self.folder / "summary.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise StoryjaxError(f"{self.folder} is no prepared NExT-QA split ({error}): prepare it again") from error
        self.summary = Summary(**{key: tuple(v) if isinstance(v, list) else v for key, v in summary.items()})

    @property
    def question_counts(self) -> tuple[int, ...]:
        """Questions of each record."""
        return self.summary.question_counts

    @cached_property
    def _records(self) -> Any:
        builder = tfds.builder_from_directory(self.folder / "next_qa" / str(NextQA.VERSION))
        return builder.as_data_source(self.summary.split)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "summary": self.summary}  # open files stay in their process

    def __len__(self) -> int:
        return len(self.summary.video_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        try:
            record = self._records[index]
        except (ValueError, RuntimeError) as error:
            raise StoryjaxError(
                f"record {index} of {self.folder} cannot be read ({error}): delete the folder to prepare it again"
            ) from error
        texts = {name: [text.decode() for text in record[name]] for name in ("question", "options", "type", "qid")}
        options = texts["options"]
        return {
            "video_id": record["video_id"].decode(),
            "video": record["video"],
            "answer": record["answer"],
            **texts,
            "options": [options[start : start + OPTIONS] for start in range(0, len(options), OPTIONS)],
        }


def prepare(
    manual_dir: str | Path, data_dir: str | Path, split: str, *, max_broken_fraction: float = 0.05
) -> NextQASource:
    """The split as records under `data_dir`: made now, or found there if the files in `manual_dir` are the same.

    May be killed and called again, and called by many processes at once: a preparation appears whole, and once.

    Raises:
        StoryjaxError: the data set is not there (what to get and where to put it), too much of it cannot be used, or
            `data_dir` cannot be written.
    """
    manual_dir, root = Path(manual_dir), Path(data_dir) / "nextqa"
    videos, broken, share = read_annotations(manual_dir, split)
    report_broken(broken, share, max_broken_fraction, f"NExT-QA {split} in {manual_dir}")
    fingerprint = _fingerprint(manual_dir, split, videos, broken)
    counts = tuple(len(video.answer) for video in videos)
    summary = Summary(split, fingerprint, tuple(video.video_id for video in videos), counts, tuple(broken))
    folder = prepare_once(
        # What cannot be used has been reported already, with its share.
        lambda data: NextQA(data_dir=data, only=(split,), max_broken_fraction=1.0, quiet=True),
        manual_dir,
        root,
        fingerprint,
        part=split,
        beside={"summary.json": asdict(summary)},
    )
    return NextQASource(folder)


def _fingerprint(manual_dir: Path, split: str, videos: list[AnnotatedVideo], broken: list[str]) -> str:
    """Changes with the annotations, and with the name, size or date of any video of the split."""
    digest = hashlib.sha256(f"{NextQA.VERSION} {split}".encode())
    digest.update((manual_dir / f"{split}.csv").read_bytes())
    for video in videos:
        found = video.path.stat()
        digest.update(f"{video.path.relative_to(manual_dir)} {found.st_size} {found.st_mtime_ns}\n".encode())
    digest.update("\n".join(broken).encode())
    return digest.hexdigest()[:12]
