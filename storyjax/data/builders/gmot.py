"""GMOT-40 (Bai et al. 2021): forty sequences of ten kinds of object, to track without knowing what they are.

The official files, read from `root`, as the GMOT-40 archive unpacks:

    GenericMOT_JPEG_Sequence/airplane-0/img1/000000.jpg ...    track_label/airplane-0.txt

Frames count from 0 there, and pixels too; here frames count from 1, as everywhere. There is no training set (§2.4.1:
the model trains on pairs simulated from COCO), and no frame rate in the files: it is taken as 25.
"""

import re
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.detection import MOST_PIXELS
from storyjax.data.builders.frames import FramesBuilder, SequenceFiles, SequenceListing
from storyjax.data.mot_text import Rows, rows

FPS = 25.0


class Gmot40(FramesBuilder):
    """GMOT-40, one record a frame."""

    TITLE = "GMOT-40"
    SPLITS = ("test",)

    @staticmethod
    def read(root: Path) -> SequenceListing:
        """Returns the sequences, all of the split "test"; see `OfficialBuilder`."""
        found = SequenceListing()
        labels = sorted(root.glob("track_label/*.txt"))
        if not labels:
            raise StoryjaxError(
                f"GMOT-40 is not in {root} (no track_label/*.txt): get it from github.com/Spritea/GMOT40 and unpack it"
                " there"
            )
        for path in labels:
            images = root / "GenericMOT_JPEG_Sequence" / path.stem / "img1"
            by_number = {int(p.stem): p for p in images.glob("*.jpg") if p.stem.isdigit() and p.stat().st_size}
            truth = _read_rows(path, found.broken)
            if not by_number:
                found.broken.append(f"{images} holds no images")
                found.lost_rows += len(truth)
                continue
            length = max(by_number) + 1
            size = next((s for p in by_number.values() if (s := _size(p)) is not None), None)
            if size is None:
                found.broken.append(f"{images}: none of its files is an image")
                found.lost_rows += len(truth)
                continue
            found.broken += [
                f"{images}: the image of frame {i} is missing" for i in range(length) if i not in by_number
            ]
            beyond = truth.frame > length
            found.broken += [f"{path.name}: a row of frame {f - 1}" for f in truth.frame[beyond]]
            in_order = tuple(by_number.get(i) for i in range(length))
            found.sequences.append(
                SequenceFiles(path.stem, "test", FPS, *size, in_order, truth[~beyond], every_kind=True)
            )
        return found


def _read_rows(path: Path, broken: list[str]) -> Rows:
    """frame (from 0), id, left, top, width, height (pixels from 0); further columns say nothing."""
    kept = []
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
        try:
            values = [float(v) for v in re.split(r"[,\s]+", line.strip()) if v][:6]
        except ValueError:
            values = []
        bounded = len(values) == 6 and max(map(abs, values)) < MOST_PIXELS  # neither NaN nor endless
        if bounded and values[0] >= 0 and min(values[4:]) > 0:
            kept.append(values)
        elif line.strip():
            broken.append(f"{path.name} line {number} is no box ({line[:40]!r})")
    table = np.array(kept, np.float64).reshape(-1, 6)
    return rows(table[:, 0] + 1, table[:, 1], table[:, 2:6])


def _size(path: Path) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
