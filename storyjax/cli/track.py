"""`storyjax track`: tracks all objects of a video."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storyjax.cli.tracks import add_track_flags

TRACK = """\
Tracks all objects in a video, of whatever class, and writes a file of tracks and, optionally, a video with boxes,
numbers and trails.

  storyjax track street.mp4 --render tracked.mp4
  storyjax track MOT17/train/MOT17-09-SDP --out tracks.txt   a folder of images, in MOTChallenge's layout or any
  storyjax track street.mp4 --init boxes.json                tracks the objects in these boxes, and nothing else
  storyjax track street.mp4 --detections det.txt             uses the boxes of another detector (MOTChallenge's text)
  storyjax track street.mp4 --detections det.txt --detect    uses both

boxes.json has left, top, width and height in pixels (from 0), and optionally the first frame (from 1):

  [{"box": [57, 53, 20, 24], "id": 1}, {"box": [120, 30, 18, 32], "id": 2, "frame": 25}]

The tracks are MOTChallenge's text, a line for each box: frame, id, left, top, width, height, score, -1, -1, -1, frames
and pixels counted from 1. A frame that is missing or broken is reported, and tracking continues; frames of another size
are resized to that of the first. Boxes are clipped to the image, in pixels as the film is shown: upright and, where its
pixels are not square, stretched. The rendered video has the times of the source's frames, and its sound. They
appear when tracking is done, or not at all. A video may be of any length: memory and speed do not depend on it.

The model that comes with storyjax is small and was trained on StoryWorld alone (`storyjax data tracks --help` writes
examples): its tracks in other videos are not reliable.
"""
_MAX_NOTES = 20  # faults of frames that are reported; further ones are only counted


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers to `commands`, and to `made` by name."""
    track = made["track"] = commands.add_parser("track", description=TRACK)
    track.add_argument("source", metavar="VIDEO_OR_FOLDER", help="a video file, or a folder of images")
    track.add_argument("--init", metavar="JSON", help="boxes of the objects to track, and nothing else")
    track.add_argument("--detections", metavar="TXT", help="boxes of each frame, from another detector")
    track.add_argument("--detect", action="store_true", help="with --detections: the model detects too")
    track.add_argument(
        "--min-score", type=float, metavar="S", help="with --detections: boxes with a lower score are left out"
    )
    add_track_flags(track, audio=True)
    track.add_argument("--out", metavar="TXT", help="file of the tracks (default: NAME.tracks.txt, here)")
    track.add_argument("--render", metavar="MP4", help="file of a video with the tracks drawn into it")
    track.add_argument(
        "--checkpoint", metavar="DIR", help="a run's workdir, or shipped:NAME (default: what comes with storyjax)"
    )
    track.set_defaults(act=_track)


def _track(given: argparse.Namespace) -> int:
    from tqdm import tqdm

    from storyjax.core.errors import StoryjaxError
    from storyjax.core.files import check_outputs, files_of
    from storyjax.mqt.render import check_render
    from storyjax.mqt.sequences import open_sequence
    from storyjax.mqt.track_files import clip_detections, read_initial, track_to_files

    if given.init and (given.detections or given.detect):
        raise StoryjaxError("--init tracks the given boxes and nothing else: leave --detections and --detect out.")
    if given.min_score is not None and not given.detections:
        raise StoryjaxError("--min-score is for the boxes of --detections, which are not given.")
    if given.detect and not given.detections:
        raise StoryjaxError("--detect makes the model detect besides --detections; without these it always does.")
    if given.audio_track is not None and not given.render:
        raise StoryjaxError("--audio-track is the sound of --render, which is not given.")
    notes = _Notes()
    video = open_sequence(given.source, given.detections, given.video_track)
    out = Path(given.out or f"{Path(given.source).resolve().stem}.tracks.txt")
    if given.render:
        check_render(given.render)
    inputs = files_of(given.init, given.detections, given.checkpoint)
    check_outputs((("--out", out), ("--render", given.render)), (*video.files, *inputs), make_folders=True)
    for note in video.notes:
        notes(note)
    initial = read_initial(given.init, video) if given.init else None
    detections = None
    if given.detections:
        detections = clip_detections(video.detections["given"], video, given.detections, notes, given.min_score)
    protocol = "user" if given.init else "private"
    if given.detections:
        protocol = "private_public" if given.detect else "public"
    tracker = load_tracker(given.checkpoint, protocol)
    with tqdm(total=video.length or None, desc="tracking", unit="frame", disable=None) as bar:
        notes.write = bar.write
        done = track_to_files(
            *(tracker, video, out, given.render, detections, initial, notes, bar.update, inputs),
            audio_track=given.audio_track,
        )
    notes.finish()
    rate = done.frames / max(done.seconds, 1e-9)
    also = f" and {given.render}" if given.render else ""
    print(f"{done.tracks} tracks, {done.boxes} boxes in {done.frames} frames ({rate:.1f} a second): {out}{also}")
    return 0


def load_tracker(checkpoint: str | None, protocol: str) -> Any:
    """Returns the tracker of a checkpoint (None: the default); imports JAX, once all other input is checked."""
    from storyjax.mqt.predict import Tracker
    from storyjax.weights.roles import tell_shipped

    tracker = Tracker.from_pretrained(checkpoint, protocol=protocol)
    tell_shipped("track", checkpoint)
    return tracker


class _Notes:
    """Reports faults of frames on standard error, up to _MAX_NOTES of them."""

    def __init__(self) -> None:
        self.count = 0
        self.write: Callable[..., Any] = print

    def __call__(self, line: str) -> None:
        self.count += 1
        if self.count <= _MAX_NOTES:
            self.write(f"storyjax: note: {line}", file=sys.stderr)

    def finish(self) -> None:
        """Reports how many more there were."""
        if self.count > _MAX_NOTES:
            print(f"storyjax: note: and {self.count - _MAX_NOTES} more such frames", file=sys.stderr)
