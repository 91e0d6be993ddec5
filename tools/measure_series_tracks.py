"""Measures a tracker of people and things on a StoryWorld series: five images a second, each shot by itself.

    storyjax data series --things --out runs/series_things
    python tools/measure_series_tracks.py runs/series_things [--checkpoint shipped:mqt_storyworld_series] [--seconds 60]

Prints, for people, things and all: recall and precision of boxes at an IoU of 0.5, IDF1 within shots, and for a tracker
with classes the fraction of matched boxes whose class is right. `--set birth_threshold=0.7` sets its options.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from storyjax.data.mot_text import Rows, rows
from storyjax.data.video import every_frame
from storyjax.metrics.story import read_truth
from storyjax.metrics.tracking import box_iou, matched, tracking_scores
from storyjax.mqt.predict import Tracker

RATE = 5  # images a second
KINDS = {"people": "person", "things": "thing"}


def images_by_shot(video: Path, truth: dict, seconds: float) -> Iterator[tuple[dict, list[np.ndarray]]]:
    """Yields (shot, images) of a video, RATE images a second, up to that time."""
    kept: dict[int, list[np.ndarray]] = {}
    wanted = 0.0
    for frame in every_frame(video):
        if frame.start_s >= seconds:
            break
        if frame.image is None or frame.start_s < wanted - 1e-3:
            continue
        wanted = frame.start_s + 1 / RATE
        index = max(i for i, shot in enumerate(truth["shots"]) if shot["start"] <= frame.start_s + 1e-3)
        kept.setdefault(index, []).append(frame.image)
    for index, images in kept.items():
        yield truth["shots"][index], images


def true_rows(shot: dict, frames: int, size: tuple[int, int], kind: str) -> Rows:
    """Returns the rows of the ground truth of a shot."""
    boxes = np.array([one["box"] for one in shot[kind]], np.float64).reshape(-1, 4) * (*size, *size)
    boxes[:, 2:] -= boxes[:, :2]
    frame = np.repeat(np.arange(1, frames + 1), len(boxes))
    return rows(frame, np.tile(np.arange(1, len(boxes) + 1), frames), np.tile(boxes, (frames, 1)))


def found_rows(tracker: Tracker, images: list[np.ndarray]) -> tuple[Rows, list[str]]:
    """Returns the rows of a tracker's output, and the class of each; "" where it has none."""
    height, width = images[0].shape[:2]
    tracker.start(width, height)
    found = [(number, one) for number, image in enumerate(images, 1) for one in tracker.step(image)]
    boxes = np.array([one.xywh_px for _, one in found], np.float64).reshape(-1, 4)
    made = rows([number for number, _ in found], [one.id for _, one in found], boxes, [one.score for _, one in found])
    return made, [getattr(one, "label", "") for _, one in found]


def joined(first: Rows, second: Rows) -> Rows:
    """Returns both, the numbers of the second ones after those of the first."""
    beyond = int(first.id.max(initial=0))
    return rows(
        np.concatenate([first.frame, second.frame]),
        np.concatenate([first.id, second.id + beyond]),
        np.concatenate([first.xywh_px, second.xywh_px]),
    )


def class_is_right(found: Rows, labels: list[str], truth: dict[str, Rows]) -> list[bool]:
    """Returns, for each box that is on somebody or something, whether its class is right."""
    right = []
    both = joined(truth["people"], truth["things"])
    first_thing = int(truth["people"].id.max(initial=0)) + 1
    for number in np.unique(found.frame):
        here, there = np.flatnonzero(found.frame == number), both.frame == number
        kinds = np.where(both.id[there] >= first_thing, KINDS["things"], KINDS["people"])
        for i, j in matched(box_iou(found.xywh_px[here], both.xywh_px[there])):
            right.append(labels[here[i]] == kinds[j])
    return right


def main() -> None:
    """Measures the tracker that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", type=Path, nargs="+", help="folders that `storyjax data series --things` wrote")
    default = "shipped:mqt_storyworld_series"
    parser.add_argument("--checkpoint", default=default, help=f"a run's workdir, or shipped:NAME (default: {default})")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of each episode (default: all)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the tracker")
    given = parser.parse_args()
    options = {key: json.loads(value) for key, value in (each.split("=") for each in given.set)}
    tracker = Tracker.from_pretrained(given.checkpoint, **options)
    truths: dict[str, list[Rows]] = {"people": [], "things": [], "all": []}
    found: dict[str, list[Rows]] = {name: [] for name in truths}
    right: list[bool] = []
    for video in sorted(path for folder in given.series for path in folder.glob("video/*/*.mp4")):
        truth = read_truth(video.parents[2] / "truth" / f"{video.stem}.json")
        for shot, images in images_by_shot(video, truth, given.seconds):
            size = (images[0].shape[1], images[0].shape[0])
            there = {kind: true_rows(shot, len(images), size, kind) for kind in KINDS}
            made, labels = found_rows(tracker, images)
            right += class_is_right(made, labels, there)
            for kind, label in KINDS.items():
                truths[kind].append(there[kind])
                found[kind].append(made[np.array([each == label for each in labels], bool)])
            truths["all"].append(joined(there["people"], there["things"]))
            found["all"].append(made)
    for name in truths:
        scores = tracking_scores(truths[name], found[name])
        print(f"{name}: " + ", ".join(f"{key} {scores[key]:.4f}" for key in ("recall", "precision", "idf1")))
    print(f"class right: {np.mean(right):.4f}" if tracker.labels else "the tracker has no classes")


if __name__ == "__main__":
    main()
