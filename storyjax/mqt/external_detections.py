"""Boxes of a better detector, for "private+" and "private+ & public" of §2.6.2 and "ours + Mask R-CNN" of Table 2.4.

A folder of MOTChallenge's text files (data/mot_text.py), one for each sequence:

    NAME.txt    or    NAME/det/det.txt    or    NAME/det.txt

NAME is the sequence's, with or without MOT17's name of a public detector (MOT17-02, MOT17-02-FRCNN), and for TAO the
path of the video below `frames`, such as val/YFCC100M/v_25685519b728afd746dfd1b2fe77c. Frames and pixels count from 1;
TAO's frames are all of the video's, in order.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.data.builders.mot import DETECTORS
from storyjax.data.mot_text import Rows, read_rows

EXTERNAL = "external"  # their name among a sequence's detections
_KEY = "config.data.detections_dir"


def detection_files(folder: str | Path, known: Collection[str]) -> dict[str, Path]:
    """Returns the file of each sequence that has one, by the sequence's name.

    Args:
        folder: see the module.
        known: the names of all sequences that there are.

    Raises:
        StoryjaxError: the folder is not there or holds no files, or a file is of no known sequence, or two are of one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StoryjaxError(
            f"{_KEY}: there is no folder {folder}: put a text file of detections of each sequence there (NAME.txt, a"
            " line 'frame,-1,left,top,width,height,score' for each box)"
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.txt")):
        name = _sequence_of(path.relative_to(folder))
        for detector in DETECTORS:
            if name not in known and name.endswith(f"-{detector}"):
                name = name.removesuffix(f"-{detector}")
        if name not in known:
            raise StoryjaxError(f"{_KEY}: {path} is of no sequence that there is.{nearest(name, known)} Remove it")
        if name in found:
            raise StoryjaxError(f"{_KEY}: {found[name]} and {path} are of one sequence, {name}: remove one of them")
        found[name] = path
    if not found:
        raise StoryjaxError(f"{_KEY}: {folder} holds no text files of detections (NAME.txt for each sequence)")
    return found


def _sequence_of(path: Path) -> str:
    """The name of the sequence that a file is of, by its path in the folder."""
    if path.name == "det.txt" and len(path.parts) > 1:
        path = path.parent
        return str(path.parent if path.name == "det" and len(path.parts) > 1 else path)
    return str(path.with_suffix(""))


def read_detections(files: Mapping[str, Path], name: str, length: int) -> Rows:
    """Returns the detections of a sequence of `length` frames.

    Raises:
        StoryjaxError: there are none of it, or a row of them cannot be used, or is of a frame that there is not.
    """
    if name not in files:
        raise StoryjaxError(
            f"{_KEY} has no detections of {name}: add {name}.txt; an empty file says that there are none"
        )
    found = read_rows(files[name])
    if len(found) and found.frame.max() > length:
        raise StoryjaxError(
            f"{files[name]} has detections in frame {found.frame.max()}, but {name} has {length} frames"
        )
    return found
