"""`storyjax track`: tracks all objects of a video."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storyjax.cli.faces import add_detector_flag
from storyjax.cli.gallery import add_gallery_flag
from storyjax.cli.models import add_models_flag
from storyjax.cli.tracks import add_track_flags
from storyjax.core.errors import StoryjaxError

if TYPE_CHECKING:
    from storyjax.story.track_names import TrackNames

TRACK = """\
Tracks all objects in a video, of whatever class, and writes a file of tracks and, optionally, a video with boxes,
numbers and trails.

  storyjax track street.mp4 --render tracked.mp4
  storyjax track MOT17/train/MOT17-09-SDP --out tracks.txt   a folder of images, in MOTChallenge's layout or any
  storyjax track street.mp4 --init boxes.json                tracks the objects in these boxes, and nothing else
  storyjax track street.mp4 --detections det.txt             uses the boxes of another detector (MOTChallenge's text)
  storyjax track street.mp4 --detections det.txt --detect    uses both
  storyjax track street.mp4 --detector DIR --classes person,dog   without an MQT: a published Deformable DETR detects

boxes.json has left, top, width and height in pixels (from 0), and optionally the first frame (from 1):

  [{"box": [57, 53, 20, 24], "id": 1}, {"box": [120, 30, 18, 32], "id": 2, "frame": 25}]

The tracks are MOTChallenge's text, a line for each box: frame, id, left, top, width, height, score, -1, -1, -1, frames
and pixels counted from 1. A frame that is missing or broken is reported, and tracking continues; frames of another size
are resized to that of the first. Boxes are clipped to the image, in pixels as the video is shown: upright and, where
its pixels are not square, stretched. The rendered video has the times of the source's frames, and its sound. Outputs
appear when tracking is done, or not at all. A video may be of any length: memory and speed do not depend on it.

With --names the tracks get the names of people, by their faces, and of things that a gallery has (`storyjax gallery
--help`): a track is judged over its whole time. NAME.names.json beside the tracks says which track is who, how sure
that is and who comes next, null for nobody known; the rendered video shows the names.

  storyjax track party.mp4 --names --gallery runs/gallery --render named.mp4

The model that comes with storyjax is small and was trained on StoryWorld alone (`storyjax data tracks --help` writes
examples): its tracks in other videos are not reliable. For those there is --detector, which needs no training: the
folder of a published Deformable DETR, as downloaded or as `storyjax import` makes it (that of `storyjax models get
track` is taken without asking), which finds objects of its classes, COCO's 80; overlap and the decoder's states link
them. It is no MQT: what the detector misses in a frame is missed. The eighth column of the tracks is then the class,
and the rendered video names it.
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
        "--min-score",
        type=float,
        metavar="S",
        help="with --detections: boxes with a lower score are left out; with --detector: start no track (default: 0.5)",
    )
    track.add_argument("--detector", metavar="DIR", help="folder of a published Deformable DETR, which detects; no MQT")
    track.add_argument("--classes", metavar="NAMES", help="with --detector: the classes to track, as person,dog")
    track.add_argument(
        "--shorter",
        type=int,
        metavar="PX",
        help="with --detector: shorter side of its images (default: 800); \
smaller is faster",
    )
    add_models_flag(track)
    add_track_flags(track, audio=True)
    track.add_argument("--out", metavar="TXT", help="file of the tracks (default: NAME.tracks.txt, here)")
    track.add_argument("--render", metavar="MP4", help="file of a video with the tracks drawn into it")
    track.add_argument("--names", action="store_true", help="names the tracks by the gallery, in NAME.names.json")
    add_gallery_flag(track, does="with --names: the folder of people and things (default: runs/gallery)")
    add_detector_flag(track)
    track.add_argument(
        "--checkpoint", metavar="DIR", help="a run's workdir, or shipped:NAME (default: what comes with storyjax)"
    )
    track.set_defaults(act=_track)


def _track(given: argparse.Namespace) -> int:
    from tqdm import tqdm

    from storyjax.core.bucket_copies import fetched
    from storyjax.core.buckets import is_bucket, place
    from storyjax.core.files import check_outputs, files_of
    from storyjax.mqt.render import check_render
    from storyjax.mqt.sequences import open_sequence
    from storyjax.mqt.track_files import clip_detections, read_initial, track_to_files

    if given.init and (given.detections or given.detect):
        raise StoryjaxError("--init tracks the given boxes and nothing else: leave --detections and --detect out.")
    _choose_detector(given)
    if given.min_score is not None and not (given.detections or given.detector):
        raise StoryjaxError("--min-score is for the boxes of --detections or --detector, which are not given.")
    _check_detector(given)
    if given.detect and not given.detections:
        raise StoryjaxError("--detect makes the model detect besides --detections; without these it always does.")
    if given.audio_track is not None and not given.render:
        raise StoryjaxError("--audio-track is the sound of --render, which is not given.")
    notes = _Notes()
    source = fetched(given.source) if is_bucket(given.source) else given.source
    video = open_sequence(source, given.detections, given.video_track)
    out = place(given.out or f"{Path(source).resolve().stem}.tracks.txt")
    if given.render:
        check_render(given.render)
    inputs = files_of(given.init, given.detections, given.checkpoint, given.detector)
    names = _names_file(given, out)
    outputs = (("--out", out), ("--render", given.render), ("the names", names))
    check_outputs(outputs, (*video.files, *inputs), make_folders=True)
    namer = _namer(given, video.fps) if names is not None else None
    for note in video.notes:
        notes(note)
    initial = read_initial(given.init, video) if given.init else None
    detections = None
    if given.detections:
        detections = clip_detections(video.detections["given"], video, given.detections, notes, given.min_score)
    protocol = "user" if given.init else "private"
    if given.detections:
        protocol = "private_public" if given.detect else "public"
    tracker = load_detector(given) if given.detector else load_tracker(given.checkpoint, protocol)
    with tqdm(total=video.length or None, desc="tracking", unit="frame", disable=None) as bar:
        notes.write = bar.write
        done = track_to_files(
            *(tracker, video, out, None if namer else given.render, detections, initial, notes, bar.update, inputs),
            audio_track=given.audio_track,
            watch=namer.see if namer else None,
        )
    notes.finish()
    if namer is not None and names is not None:
        _write_names(namer, video, out, names, given)
    rate = done.frames / max(done.seconds, 1e-9)
    also = f" and {given.render}" if given.render else ""
    if done.classes:
        print("classes (column 8): " + ", ".join(f"{number} {name}" for number, name in done.classes.items()))
    print(f"{done.tracks} tracks, {done.boxes} boxes in {done.frames} frames ({rate:.1f} a second): {out}{also}")
    return 0


def _names_file(given: argparse.Namespace, out: Path) -> Path | None:
    """Where the names go; None where none are wanted."""
    if not given.names and given.gallery is None:
        if given.face_detector is not None:
            raise StoryjaxError("--face-detector finds faces for --names, which is not given.")
        return None
    stem = out.name.removesuffix(out.suffix).removesuffix(".tracks")
    return out.with_name(f"{stem}.names.json")


def _namer(given: argparse.Namespace, fps: float) -> "TrackNames":
    """What names tracks; imports JAX, once all other input is checked."""
    from storyjax.gallery.gallery import Gallery
    from storyjax.story.describers import Describers
    from storyjax.story.options import StoryOptions
    from storyjax.story.track_names import TrackNames

    folder = given.gallery or "runs/gallery"
    gallery = Gallery(folder)
    if not gallery.entries():
        raise StoryjaxError(f"nobody is in {folder}, so no track has a name: 'storyjax gallery add NAME PHOTOS' first")
    return TrackNames(gallery, Describers(StoryOptions(models=given.models, face_detector=given.face_detector)), fps)


def _write_names(namer: "TrackNames", video: Any, out: Path, names: Path, given: argparse.Namespace) -> None:
    """Writes the names, and the video that shows them."""
    from storyjax.core.files import json_text, write_atomically
    from storyjax.mqt.track_files import render_tracks
    from storyjax.story.track_names import names_json

    found = namer.finish()
    write_atomically(names, json_text(names_json(Path(given.source).name, found), indent=1) + "\n")
    labels = {track.id: track.name for track in found if track.name is not None}
    if given.render:
        render_tracks(video, out, given.render, labels, given.audio_track)
    print(f"{len(labels)} tracks are of {', '.join(sorted(set(labels.values()))) or 'nobody known'}: {names}")


def _choose_detector(given: argparse.Namespace) -> None:
    """Sets --detector to that of the models folder, unless another model is named, or what an MQT alone takes."""
    from storyjax.weights.roles import model_for

    if given.detector or given.checkpoint or given.init or given.detections:
        return
    choice = model_for("track", given.models)
    if choice.origin in ("imported", "own"):
        given.detector = choice.place


def _check_detector(given: argparse.Namespace) -> None:
    """A StoryjaxError where --detector stands beside what it does not take, or its flags without it."""
    if given.detector:
        beside = ("init", "detections", "detect", "checkpoint")
        if wrong := [f"--{name}" for name in beside if getattr(given, name)]:
            raise StoryjaxError(f"--detector detects and tracks by itself: leave {', '.join(wrong)} out.")
        if given.min_score is not None and not 0 < given.min_score < 1:
            raise StoryjaxError(f"--min-score is {given.min_score}; a probability is between 0 and 1.")
        if given.shorter is not None and not 64 <= given.shorter <= 4096:
            raise StoryjaxError(f"--shorter is {given.shorter}; it must be from 64 to 4096 pixels.")
    elif wrong := [f"--{name}" for name in ("classes", "shorter") if getattr(given, name)]:
        raise StoryjaxError(f"{', '.join(wrong)} is for --detector, which is not given.")


def load_detector(given: argparse.Namespace) -> Any:
    """Returns the tracker of --detector; imports JAX, once all other input is checked."""
    import dataclasses

    from storyjax.mqt.detector_tracker import SHORTER, DetectorTracker
    from storyjax.mqt.linking import LinkOptions

    options = LinkOptions()
    if given.min_score is not None:
        low = min(options.low_score, given.min_score)
        options = dataclasses.replace(options, min_score=given.min_score, low_score=low)
    classes = [name.strip() for name in (given.classes or "").split(",") if name.strip()]
    print(f"storyjax: {given.detector} detects, overlap and appearance link (no MQT)", file=sys.stderr)
    return DetectorTracker.from_pretrained(given.detector, classes, options, given.shorter or SHORTER)


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
