"""StoryWorld in the layout of MOTChallenge (MOT17, MOT20) and of GMOT-40: sequences with their truth.

    train/NAME-DPM/{seqinfo.ini, img1/000001.jpg, gt/gt.txt, det/det.txt}    and so for FRCNN and SDP, as MOT17 has them
    kinds.json                                                               StoryWorld's own: what each track shows

Everything that moves is of interest here, so it has MOT17's class 1, whatever its kind. Where less than `LEAST` of
it shows its row has class 8 (distractor): a tracker may find it there or not, as with MOT17's reflections. Boxes are
of the whole moving object, hidden parts too, cut to the image. Sequences are numbered: 0001 on to train with, 8001 on
held out, 9001 on of kinds that training never shows. The three public detectors are imitated: each misses what is
hidden, errs about edges and sees what is not there, SDP least and DPM most.

    GenericMOT_JPEG_Sequence/KIND-0/img1/000000.jpg, track_label/KIND-0.txt  GMOT-40: sequences of one kind of object
"""

import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from storyjax.storyworld.draw.moving_objects import MORE_KINDS, RANDOM_VEHICLES, SEEN_KINDS, UNSEEN_KINDS
from storyjax.storyworld.export.export_once import export_once
from storyjax.storyworld.render.world import make_folder, write_text
from storyjax.storyworld.story.tracks import (
    Sequence,
    TrackStyle,
    Truth,
    plan_sequence,
    render_sequence,
    tracks_fingerprint,
)

LEAST = 0.3  # of a moving object must show for its row to count
COUNTS = {"train": 60, "held_out": 8, "unseen": 8}
FIRST = {"train": 1, "held_out": 8001, "unseen": 9001}
GMOT_COUNTS = {"kinds": 5, "sequences": 2}
# Seeds of the sequences; those of StoryWorld's stories lie elsewhere, and one world has at most 900,000.
_FIRST_SEED = 30_000_000
_QUALITY = 92


@dataclass(frozen=True)
class Detector:
    """The errors of an imitated detector: misses of a fully visible object, misses by how much is hidden, edges (as a
    fraction of the box), false alarms in a frame, and the spread of its scores."""

    miss: float
    blind: float
    edge: float
    alarms: float
    spread: float


DETECTORS = {
    "DPM": Detector(0.22, 0.9, 0.10, 0.9, 0.25),
    "FRCNN": Detector(0.10, 0.8, 0.05, 0.35, 0.15),
    "SDP": Detector(0.06, 0.6, 0.04, 0.3, 0.12),
}


def export_mot(
    directory: str | Path,
    counts: Mapping[str, int] | None = None,
    seed: int = 0,
    detectors: tuple[str, ...] = tuple(DETECTORS),
    style: TrackStyle | None = None,
    name: str = "StoryWorld",
    films: bool = False,
    more_kinds: bool = False,
    odd_rides: bool = False,
    people: bool = True,
) -> Path:
    """Writes `counts` sequences (train, held_out, unseen) in MOT17's layout; see `export_once`.

    With `more_kinds` the sequences to train with also show MORE_KINDS, among which are no unseen ones; with `odd_rides`
    RANDOM_VEHICLES, and three quarters of those who meet look alike. Without `people` only things and vehicles move,
    as among the unseen kinds: it separates the effect of being unseen from that of being no person.
    With a single detector the folders are called as MOT20's, without its name. `films` also writes what is held out and
    unseen as films/NAME.mp4.
    """
    counts = {**COUNTS, **(counts or {})}
    style = style or TrackStyle()
    if not people:
        style = replace(style, kinds=tuple(kind for kind in style.kinds if kind != "person"))
    made_of = {"counts": counts, "seed": seed, "detectors": list(detectors), "style": str(style), "name": name}
    more = {"films": films, "more_kinds": more_kinds, "odd_rides": odd_rides}
    made_of |= {key: True for key, on in more.items() if on}
    styles = dict.fromkeys(counts, style) | {"unseen": replace(style, kinds=UNSEEN_KINDS)}
    shown = (
        (SEEN_KINDS if more_kinds or odd_rides else style.kinds) + MORE_KINDS * more_kinds + RANDOM_VEHICLES * odd_rides
    )
    styles["train"] = replace(style, kinds=shown, alike=0.75 if odd_rides else style.alike)

    def write(folder: Path) -> None:
        kinds = {}
        for part in counts:
            for index in range(counts[part]):
                sequence = plan_sequence(sequence_seed(part, index, seed), styles[part])
                title = f"{name}-{FIRST[part] + index:04d}"
                kinds[title] = {str(m.number): m.look.kind for m in sequence.objects}
                _write_mot(folder / "train", title, sequence, detectors)
                if films and part != "train":
                    make_folder(folder / "films")
                    write_video(folder / "films" / f"{title}.mp4", sequence)
        write_text(folder / "kinds.json", json.dumps(kinds, indent=1))

    return export_once(directory, made_of, tracks_fingerprint(style), write)


def sequence_seed(part: str, index: int, seed: int) -> int:
    """Returns the seed of a sequence: the parts of a world never share one."""
    return _FIRST_SEED + 1_000_000 * seed + 300_000 * list(FIRST).index(part) + index


def _write_mot(folder: Path, title: str, sequence: Sequence, detectors: tuple[str, ...]) -> None:
    """One sequence with its truth, a folder for each detector; the images of all are the same files on disk."""
    names = [f"{title}-{detector}" for detector in detectors] if len(detectors) > 1 else [title]
    for name in names:
        for part in ("img1", "gt", "det"):
            make_folder(folder / name / part)
    truths = []
    for number, (frame, truth) in enumerate(render_sequence(sequence), 1):
        first = folder / names[0] / "img1" / f"{number:06d}.jpg"
        first.write_bytes(encode_jpeg(frame))
        for name in names[1:]:
            _same_file(first, folder / name / "img1" / first.name)
        truths.append(truth)
    for name, detector in zip(names, detectors, strict=True):
        style = sequence.style
        info = {"name": name, "imDir": "img1", "frameRate": style.fps, "seqLength": sequence.length}
        info |= {"imWidth": style.width, "imHeight": style.height, "imExt": ".jpg"}
        lines = ["[Sequence]", *(f"{key}={value}" for key, value in info.items()), ""]
        write_text(folder / name / "seqinfo.ini", "\n".join(lines))
        write_text(folder / name / "gt" / "gt.txt", "".join(_truth_lines(truths)))
        write_text(folder / name / "det" / "det.txt", "".join(detection_lines(sequence, truths, detector)))


def _truth_lines(truths: list[Truth]) -> list[str]:
    """Rows by track, as MOT17 has them: frame, id, box (pixels from 1), considered, class, visibility."""
    lines = []
    for number, truth in enumerate(truths, 1):
        for row, track in enumerate(truth.ids):
            left, top, width, height = truth.boxes[row]
            share = float(truth.visibility[row])
            considered, kind = (1, 1) if share >= LEAST else (0, 8)
            box = f"{left + 1:.0f},{top + 1:.0f},{width:.0f},{height:.0f}"
            lines.append((int(track), number, f"{number},{track},{box},{considered},{kind},{share:.5f}\n"))
    return [line for _, _, line in sorted(lines)]


def imitate(
    detector: str, sequence: Sequence, truths: list[Truth]
) -> Iterator[tuple[int, Float64[np.ndarray, " 4"], float]]:
    """Yields what an imitated detector says: (frame number from 1, left, top, width, height in pixels, score)."""
    how, style = DETECTORS[detector], sequence.style
    rng = np.random.default_rng([sequence.seed, list(DETECTORS).index(detector), 0xDE7])
    for number, truth in enumerate(truths, 1):
        for box, share in zip(truth.boxes.astype(np.float64), truth.visibility, strict=True):
            missed = rng.uniform() < how.miss + how.blind * (1 - float(share)) ** 2
            edges = rng.normal(0, how.edge, 4) * (box[2], box[3], box[2], box[3])
            score = float(np.clip(0.9 - 0.5 * (1 - share) + rng.normal(0, how.spread), 0.05, 1.0))
            if not missed and share > 0.1:
                size = np.maximum(box[2:] + edges[2:], 4)
                yield number, np.concatenate([box[:2] + edges[:2], size]), score
        for _ in range(rng.poisson(how.alarms)):
            size = rng.uniform(12, 36, 2)
            corner = rng.uniform(0, 1, 2) * (style.width - size[0], style.height - size[1])
            yield number, np.concatenate([corner, size]), float(np.clip(rng.normal(0.35, how.spread), 0.05, 1.0))


def detection_lines(sequence: Sequence, truths: list[Truth], detector: str) -> Iterator[str]:
    """Yields what an imitated detector says, as lines of MOTChallenge's text."""
    for number, (left, top, width, height), score in imitate(detector, sequence, truths):
        yield f"{number},-1,{left + 1:.2f},{top + 1:.2f},{width:.2f},{height:.2f},{score:.4f}\n"


def export_mot17(directory: str | Path, **arguments: Any) -> Path:
    """Returns `export_mot` as MOT17 is laid out: every sequence with the detections of three detectors."""
    return export_mot(directory, **arguments)


def export_mot20(directory: str | Path, **arguments: Any) -> Path:
    """Returns `export_mot` as MOT20 is laid out: one detector."""
    return export_mot(directory, **{"detectors": ("FRCNN",), "name": "StoryWorld20", **arguments})


def export_gmot(directory: str | Path, counts: Mapping[str, int] | None = None, seed: int = 0) -> Path:
    """Writes GMOT-40's layout: `counts` kinds (half of them never in training) and sequences of each."""
    counts = {**GMOT_COUNTS, **(counts or {})}
    pool = [kind for pair in zip(UNSEEN_KINDS, SEEN_KINDS[1:], strict=False) for kind in pair]

    def write(folder: Path) -> None:
        make_folder(folder / "track_label")
        for number, kind in enumerate(pool[: counts["kinds"]]):
            style = TrackStyle(kinds=(kind,), one_kind=True, movers=(4, 9))
            for index in range(counts["sequences"]):
                chosen = sequence_seed("unseen", 200_000 + 1000 * number + index, seed)
                _write_gmot(folder, f"{kind.replace(' ', '_')}-{index}", plan_sequence(chosen, style))

    return export_once(directory, {"counts": counts, "seed": seed}, tracks_fingerprint(), write)


def _write_gmot(folder: Path, title: str, sequence: Sequence) -> None:
    images = folder / "GenericMOT_JPEG_Sequence" / title / "img1"
    make_folder(images)
    lines = []
    for number, (frame, truth) in enumerate(render_sequence(sequence)):
        (images / f"{number:06d}.jpg").write_bytes(encode_jpeg(frame))
        for track, box, share in zip(truth.ids, truth.boxes, truth.visibility, strict=True):
            if share >= LEAST:  # GMOT-40 leaves out what is hidden
                left, top, width, height = box
                lines.append(f"{number},{track},{left:.0f},{top:.0f},{width:.0f},{height:.0f},1,-1,-1,-1\n")
    write_text(folder / "track_label" / f"{title}.txt", "".join(lines))


def write_video(path: Path, sequence: Sequence) -> None:
    """Writes a sequence as H.264 mp4, straight to `path`."""
    options = {"preset": "veryfast", "crf": "16", "g": str(sequence.style.fps), "x264-params": "no-mbtree=1"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=sequence.style.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = sequence.style.width, sequence.style.height, "yuv420p"
        stream.codec_context.thread_count = 1
        for index, (pixels, _) in enumerate(render_sequence(sequence)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def encode_jpeg(frame: UInt8[np.ndarray, "y x 3"]) -> bytes:
    """Returns an image as jpg, with colours in full resolution: small things have only a few pixels."""
    data = io.BytesIO()
    Image.fromarray(frame).save(data, "JPEG", quality=_QUALITY, subsampling=0)
    return data.getvalue()


def _same_file(first: Path, second: Path) -> None:
    """Another name for a file; a copy where the disk has no such names."""
    try:
        os.link(first, second)
    except OSError:
        second.write_bytes(first.read_bytes())
