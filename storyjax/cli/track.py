"""`storyjax track`: everything that moves in a video, followed."""

import argparse
import sys
from pathlib import Path

TRACK = """\
Finds what there is in a video, of whatever kind, and follows each thing from frame to frame: a file of tracks and, if
you like, a video with boxes, numbers and trails.

  storyjax track street.mp4 --render tracked.mp4
  storyjax track MOT17/train/MOT17-09-SDP --out tracks.txt   a folder of pictures, in MOTChallenge's layout or any
  storyjax track street.mp4 --init boxes.json                follows what you point at, and nothing else
  storyjax track street.mp4 --detections det.txt             uses the boxes of another detector (MOTChallenge's text)
  storyjax track street.mp4 --detections det.txt --detect    uses both

boxes.json holds left, top, width and height in pixels (from 0), and may say from which frame on (from 1):

  [{"box": [57, 53, 20, 24], "id": 1}, {"box": [120, 30, 18, 32], "id": 2, "frame": 25}]

The tracks are MOTChallenge's text, a line for each box: frame, id, left, top, width, height, score, -1, -1, -1, frames
and pixels counted from 1. A frame that is missing or broken is reported, and tracking goes on; frames of another size
are brought to that of the first. Boxes are cut to the picture. The files appear when all is done, or not at all. A
video may be of any length: memory and speed do not depend on it.

The model that comes with storyjax is small and has seen nothing but StoryWorld (`storyjax data tracks --help` writes
some to try it on): what it finds in other videos is a guess.
"""
_NOTES = 20  # what is wrong with frames is told so many times; then only counted


def add(commands: argparse._SubParsersAction, made: dict[str, argparse.ArgumentParser]) -> None:
    """Adds the parsers to `commands`, and to `made` by name."""
    track = made["track"] = commands.add_parser("track", description=TRACK)
    track.add_argument("source", metavar="VIDEO_OR_FOLDER", help="a video file, or a folder of pictures")
    track.add_argument("--init", metavar="JSON", help="boxes to follow, and nothing else")
    track.add_argument("--detections", metavar="TXT", help="boxes of each frame, from another detector")
    track.add_argument("--detect", action="store_true", help="with --detections: the model also detects by itself")
    track.add_argument("--out", metavar="TXT", help="where the tracks go (default: NAME.tracks.txt, here)")
    track.add_argument("--render", metavar="MP4", help="where a video with the tracks drawn into it goes")
    track.add_argument(
        "--checkpoint", metavar="DIR", help="a run's workdir, or shipped:NAME (default: what comes with storyjax)"
    )
    track.set_defaults(act=_track)


def _track(given: argparse.Namespace) -> int:
    from tqdm import tqdm

    from storyjax.core.errors import StoryjaxError
    from storyjax.mqt.render import check_writable
    from storyjax.mqt.sequences import open_sequence
    from storyjax.mqt.track_files import cut_to_picture, read_initial, track_to_files

    if given.init and (given.detections or given.detect):
        raise StoryjaxError("--init follows what it is given and nothing else: leave --detections and --detect out.")
    if given.detect and not given.detections:
        raise StoryjaxError("--detect says that the model detects besides --detections; without these it does anyway.")
    notes = _Notes()
    film = open_sequence(given.source, given.detections)
    out = Path(given.out or f"{Path(given.source).resolve().stem}.tracks.txt")
    check_writable(out)
    if given.render:
        check_writable(given.render, (".mp4",))
    initial = read_initial(given.init, film) if given.init else None
    detections = None
    if given.detections:
        detections = cut_to_picture(film.detections["given"], film, given.detections, notes)
    protocol = "user" if given.init else "private"
    if given.detections:
        protocol = "private_public" if given.detect else "public"
    tracker = load_tracker(given.checkpoint, protocol)
    with tqdm(total=film.length or None, desc="tracking", unit="frame", disable=None) as bar:
        notes.write = bar.write
        done = track_to_files(tracker, film, out, given.render, detections, initial, notes, bar.update)
    notes.finish()
    rate = done.frames / max(done.seconds, 1e-9)
    also = f" and {given.render}" if given.render else ""
    print(f"{done.tracks} tracks, {done.boxes} boxes in {done.frames} frames ({rate:.1f} a second): {out}{also}")
    return 0


def load_tracker(checkpoint: str | None, protocol: str):
    """The tracker of a checkpoint; JAX is first imported here, when all else is known to be well."""
    from storyjax.mqt.predict import Tracker

    return Tracker.from_checkpoint(*((checkpoint,) if checkpoint else ()), protocol=protocol)


class _Notes:
    """Tells on standard error what is wrong with frames, the first few of them."""

    def __init__(self) -> None:
        self.count = 0
        self.write = lambda line, file: print(line, file=file)

    def __call__(self, line: str) -> None:
        self.count += 1
        if self.count <= _NOTES:
            self.write(f"storyjax: note: {line}", file=sys.stderr)

    def finish(self) -> None:
        if self.count > _NOTES:
            print(f"storyjax: note: and {self.count - _NOTES} more such frames", file=sys.stderr)
