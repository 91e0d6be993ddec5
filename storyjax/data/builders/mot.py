"""MOT17 and MOT20 (Milan et al. 2016, Dendorfer et al. 2020): people in the street, with public detections.

The official files, read from `root`, as MOT17.zip and MOT20.zip of motchallenge.net unpack:

    train/NAME/{seqinfo.ini, img1/000001.jpg ..., gt/gt.txt, det/det.txt}    test/NAME/... without gt

MOT17 has each sequence three times, as NAME-DPM, NAME-FRCNN and NAME-SDP, with the same images and truth and another
detector's boxes; here it is one sequence with three sets of detections. MOT20 has one set, called "public".

The ablations of the thesis hold out one sequence of the training set (§2.4.1): `held_out` names sequences, or
patterns of their names, that go to the split "held_out", and `unseen` others that go to "unseen" (StoryWorld's
sequences of kinds that training never shows).
"""

import configparser
import fnmatch
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.frames import (
    FramesBuilder,
    SequenceFiles,
    SequenceListing,
)
from storyjax.data.mot_text import Rows, no_rows, read_rows

DETECTORS = ("DPM", "FRCNN", "SDP")
_PICTURE = re.compile(r"0*(\d+)")


class _Mot(FramesBuilder):
    SPLITS = ("train", "held_out", "unseen", "test")

    @classmethod
    def read(cls, root: Path, held_out: Iterable[str] = (), unseen: Iterable[str] = ()) -> SequenceListing:
        """Returns the sequences of all splits; see `OfficialBuilder`.

        Args:
            root: the folder of the official files.
            held_out, unseen: patterns, as of a shell ("MOT17-0*"), of names of training sequences that go to these
                splits. One that fits nothing is a StoryjaxError.
        """
        return read_mot(root, cls.TITLE, tuple(held_out), tuple(unseen))


class Mot17(_Mot):
    """MOT17, one record a frame."""

    TITLE = "MOT17"


class Mot20(_Mot):
    """MOT20, one record a frame."""

    TITLE = "MOT20"


class SeriesTracks(_Mot):
    """StoryWorld's series in MOTChallenge's layout, one record a frame: whole people and things, all of which count.

    The class of a row is 0 for people and 1 for things, as LABELS names them; gt.txt counts them from 1.
    """

    TITLE, LABELS = "the tracks of StoryWorld's series", ("person", "thing")

    @classmethod
    def read(cls, root: Path, held_out: Iterable[str] = (), unseen: Iterable[str] = ()) -> SequenceListing:
        """Returns the sequences of all splits; see `_Mot.read`."""
        if not any(root.glob("train/*/seqinfo.ini")):
            raise StoryjaxError(
                f"{cls.TITLE} are not in {root} (no train/*/seqinfo.ini): config.data.synthetic writes them, as"
                " configs/mqt_series.py has it"
            )
        found = read_mot(root, "MOT17", tuple(held_out), tuple(unseen))
        found.sequences = [
            replace(each, every_kind=True, truth=replace(each.truth, kind=each.truth.kind - 1))
            for each in found.sequences
        ]
        return found


def read_mot(
    root: Path, title: str = "MOT17", held_out: tuple[str, ...] = (), unseen: tuple[str, ...] = ()
) -> SequenceListing:
    """Returns the sequences of a data set in MOTChallenge's layout; see `_Mot.read`. `title` says which classes are
    distractors, a name of DISTRACTORS."""
    found = SequenceListing()
    folders = [path for part in ("train", "test") for path in sorted(root.glob(f"{part}/*/seqinfo.ini"))]
    if not any(path.parts[-3] == "train" for path in folders):
        raise StoryjaxError(
            f"{title} is not in {root} (no train/*/seqinfo.ini): get {title}.zip from motchallenge.net/data/{title} and"
            " unpack it there"
        )
    sequences: dict[tuple[str, str], dict[str, Path]] = {}
    for path in folders:
        name, detector = _split_name(path.parent.name)
        sequences.setdefault((path.parts[-3], name), {})[detector] = path.parent
    for (part, name), by_detector in sequences.items():
        split = part
        if part == "train":
            names = (name, *(folder.name for folder in by_detector.values()))
            split = "held_out" if _fits(names, held_out) else "unseen" if _fits(names, unseen) else "train"
        found.sequences.append(_read_sequence(name, split, title, by_detector, found.broken))
    training = [name for part, name in sequences if part == "train"]
    training_folders = [path.parent.name for path in folders if path.parts[-3] == "train"]
    for pattern in (*held_out, *unseen):
        if not fnmatch.filter([*training, *training_folders], pattern):
            there = ", ".join(training[:9])
            raise StoryjaxError(f"no sequence of {title} in {root} fits '{pattern}'; there are {there}")
    return found


def _fits(names: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    """Whether a sequence, by its name or that of one of its folders, fits one of the patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _split_name(folder: str) -> tuple[str, str]:
    """A sequence's name without its detector, and the detector."""
    name, _, last = folder.rpartition("-")
    return (name, last) if name and last in DETECTORS else (folder, "public")


def _read_sequence(name: str, split: str, title: str, folders: dict[str, Path], broken: list[str]) -> SequenceFiles:
    first = folders[min(folders, key=lambda detector: (detector not in DETECTORS, detector))]
    fps, width, height, length, images = read_seqinfo(first)
    truth = no_rows()
    if (first / "gt" / "gt.txt").exists():
        truth = _within(read_rows(first / "gt" / "gt.txt", truth=True, broken=broken), length, f"{first}/gt", broken)
    elif split != "test":
        raise StoryjaxError(f"{first} has no gt/gt.txt: unpack the training set again")
    paths = _pictures(images, length)
    broken += [f"{images}: the image of frame {i} is missing" for i, path in enumerate(paths, 1) if path is None]
    detections = {}
    for detector, folder in sorted(folders.items()):
        if (folder / "det" / "det.txt").exists():
            detected = read_rows(folder / "det" / "det.txt", broken=broken)
            detections[detector] = _within(detected, length, f"{folder}/det", broken)
    return SequenceFiles(name, split, fps, width, height, paths, truth, detections, benchmark=title)


def read_seqinfo(folder: Path) -> tuple[float, int, int, int, Path]:
    """Returns (frames a second, width, height, frames, folder of images) of a sequence, as its seqinfo.ini says."""
    path = folder / "seqinfo.ini"
    parser = configparser.ConfigParser()
    try:
        parser.read_string(path.read_text("utf-8-sig"))
        section = parser["Sequence"]
        numbers = float(section["frameRate"]), int(section["imWidth"]), int(section["imHeight"])
        length, images = int(section["seqLength"]), folder / section.get("imDir", "img1")
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError, ValueError) as error:
        raise StoryjaxError(f"{path} is not what it should be ({str(error).splitlines()[0]}): get it again") from error
    if not math.isfinite(numbers[0]) or min(*numbers, length) <= 0:
        raise StoryjaxError(f"{path} gives sizes, a rate or a length that are not above zero: get it again")
    return *numbers, length, images


def _pictures(folder: Path, length: int) -> tuple[Path | None, ...]:
    """The image of each frame by the number in its name; None where it is missing or empty."""
    numbered = {}
    try:
        for path in folder.glob("*"):
            if (match := _PICTURE.fullmatch(path.stem)) and path.is_file() and path.stat().st_size:
                numbered[int(match[1])] = path
    except (OSError, ValueError) as error:  # of a name in seqinfo.ini that no folder can have
        raise StoryjaxError(f"{str(folder)!r:.200} cannot be looked into ({error}): check seqinfo.ini") from error
    return tuple(numbered.get(number) for number in range(1, length + 1))


def _within(found: Rows, length: int, where: str, broken: list[str]) -> Rows:
    """Without rows of frames that the sequence does not have."""
    beyond = found.frame > length
    if beyond.any():
        broken += [f"{where}: a row of frame {f}, of {length}" for f in found.frame[beyond]]
    return found[~beyond]
