"""Indexing a folder of images and videos, and updating its index.

Videos become clips of 2 s, 16 frames at 8 per second, whose embeddings are averaged (§4.7.2): back to back or, as in
the thesis for a season of Seinfeld, one every 15 or 30 s. The frames at every full second of a clip are also indexed,
because things are searched for in frames (§5.4), and with a face encoder the faces in them (§4.7.6). Videos stream: an
hour needs the memory of half a minute.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import PIL
from jaxtyping import Float32
from PIL import Image
from tqdm import tqdm

from storyjax.core.errors import StoryjaxError, is_of_surroundings
from storyjax.core.files import exclusive_lock
from storyjax.core.notes import tell
from storyjax.data.images import SUFFIXES as IMAGE_SUFFIXES
from storyjax.data.images import ImageError, Square, read_image, reads_heif
from storyjax.data.video import probe
from storyjax.data.video_files import VIDEO_SUFFIXES, VideoError
from storyjax.search.clips import (
    CLIP_FPS,
    CLIP_S,
    STILL_PIXELS,
    Clip,
    batches,
    clip_starts,
    clips_of,
    jpeg,
    mean_pooled,
)
from storyjax.search.media_files import MediaFile, Scan, scan
from storyjax.search.protocol import TEXT, ConceptEncoder, FaceEncoder, faces_of
from storyjax.search.store import BROKEN, CLIP, DONE, FACE, FILE, FRAME, IMAGE, KnownFile, Row, Store
from storyjax.search.vectors import Vectors

# A video with a longer duration is most likely damaged.
MAX_S = 100 * 3600.0
# Clips, or images, that are embedded and stored together: the most that a killed run loses.
_BATCH = 16


@dataclass
class Summary:
    """What an indexing run did.

    Attributes:
        images, videos, clips: newly indexed.
        unchanged, vanished: files that were in the index before.
        broken: reasons by path, for files that cannot be read, and for what could not be looked at.
        kept: files that could not be looked for now and stay in the index, by the folder that hides them.
        ignored: how many files have which ending that no image or video has (`media_files.Scan`).
    """

    images: int = 0
    videos: int = 0
    clips: int = 0
    unchanged: int = 0
    vanished: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)


def build_index(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    encoder: ConceptEncoder,
    every_s: float | None = None,
    show_progress: bool = True,
    video_track: int | None = None,
) -> Summary:
    """Indexes the images and videos in `folder` and below into the folder `out`, and returns what it did.

    Args:
        folder: is searched with all folders inside.
        out: a new folder, or an index of `folder`, which is updated.
        encoder: embeds images, and describes the faces in them if it searches in two stages.
        every_s: seconds between the starts of clips; None for the index's own (of a new one: 2, back to back).
        show_progress: whether to show progress bars.
        video_track: of every video, from 1; None: the index's own (of a new one: as `containers.choose_track` says).

    Raises:
        StoryjaxError: there is nothing to index, none of it can be read, `out` is the index of another folder, model or
            spacing, or another process is writing it.
    """
    root = Path(folder)
    check_request(root, every_s)
    seen = scan(root, Path(out))
    if b"." in seen.unseen:
        raise StoryjaxError(f"{folder} cannot be read ({seen.left_out['.']}): check its permissions and its disk")
    if not seen.found and not (seen.unseen and (Path(out) / FILE).is_file()):
        raise StoryjaxError(
            f"{folder} holds no images or videos: give a folder with {', '.join(IMAGE_SUFFIXES[:3])},"
            f" {', '.join(VIDEO_SUFFIXES[:4])} and the like"
        )
    faces = faces_of(encoder)
    meta = {
        "root": os.fsencode(root.resolve()).hex(),
        "vision_fingerprint": encoder.vision_fingerprint,
        "dim": str(encoder.dim),
        "image_size": str(encoder.image_size),
        "keep_aspect": str(int(encoder.keep_aspect)),
        "every_s": repr(float(every_s or CLIP_S)),
        "video_track": str(video_track or 0),
        "face_fingerprint": faces.fingerprint if faces else "",
        "face_dim": str(faces.dim if faces else 0),
        "published": str(int(faces is not None or encoder.kind == TEXT)),
    }
    store = Store.create(out, meta)
    try:
        busy = f"another process is indexing into {store.folder}: wait until it has ended"
        with exclusive_lock(store.folder / ".lock", busy):
            known = index_meta(store)
            _check_same(store, known, meta, every_s, video_track)
            summary = Summary(ignored=dict(seen.ignored))
            _Builder(store, root, encoder, known, show_progress, summary).run(seen)
            _refresh_vectors(store, show_progress)
            if not store.count():
                name, why = next(iter(summary.broken.items()))
                raise StoryjaxError(
                    f"none of the {len(summary.broken)} images and videos in {folder} can be read; {name}: {why}"
                )
            return summary
    finally:
        store.close()


def check_request(folder: str | os.PathLike[str], every_s: float | None) -> None:
    """Checks a request before a model is loaded.

    Raises:
        StoryjaxError: `folder` is no folder, or clips would overlap.
    """
    root = Path(folder)
    try:
        is_folder, is_file = root.is_dir(), root.is_file()
    except (OSError, ValueError):  # no folder can have this name
        is_folder = is_file = False
    if not is_folder:
        raise StoryjaxError(f"{root} is {'a file' if is_file else 'not there'}: give a folder of images and videos")
    if every_s is not None and not (math.isfinite(every_s) and every_s >= CLIP_S):
        raise StoryjaxError(f"--every is {every_s:g}: clips are {CLIP_S:g} s long, so give {CLIP_S:g} or more")


def _check_same(
    store: Store, known: dict[str, str], meta: dict[str, str], every_s: float | None, video_track: int | None
) -> None:
    other = "give another --out, or remove that folder"
    if known["root"] != meta["root"]:
        raise StoryjaxError(f"{store.folder} is the index of {os.fsdecode(bytes.fromhex(known['root']))}: {other}")
    check_model(store, meta["vision_fingerprint"])
    if known["keep_aspect"] != meta["keep_aspect"]:
        raise StoryjaxError(f"{store.folder} was made of images without their aspect ratio: {other}")
    if not known["face_fingerprint"] and meta["face_fingerprint"]:
        tell(f"{store.folder} was made without faces and stays so: another --out makes an index that finds people")
    elif known["face_fingerprint"] != meta["face_fingerprint"]:
        raise StoryjaxError(f"{store.folder} was made {_with_faces(known)}, not {_with_faces(meta)}: {other}")
    if every_s is not None and known["every_s"] != meta["every_s"]:
        raise StoryjaxError(f"{store.folder} has a clip every {float(known['every_s']):g} s, not {every_s:g}: {other}")
    if video_track is not None and known["video_track"] != meta["video_track"]:
        raise StoryjaxError(f"{store.folder} was not made of the video tracks {video_track}: {other}")


def _with_faces(meta: dict[str, str]) -> str:
    fingerprint = meta.get("face_fingerprint", "")
    return f"with the faces of the encoder {fingerprint}" if fingerprint else "without faces"


def check_model(store: Store, vision_fingerprint: str, faces: FaceEncoder | None = None) -> None:
    """Raises StoryjaxError unless the image tower of that fingerprint, and the face encoder if any, made the index."""
    known, again = index_meta(store), "index again with 'storyjax find index FOLDER --out' another folder"
    if known["vision_fingerprint"] != vision_fingerprint:
        raise StoryjaxError(
            f"the index in {store.folder} was made by another model: {again}, or give the model that made it with"
            " --checkpoint or --clip"
        )
    if faces is not None and known["face_fingerprint"] != faces.fingerprint:
        raise StoryjaxError(
            f"the index in {store.folder} was made {_with_faces(known)}, so nobody can be found in it by this face"
            f" encoder: {again}"
        )


# What the first indexes by a published CLIP have after its fingerprint.
_CROPPED = "-crop"


def index_meta(store: Store) -> dict[str, str]:
    """Returns `Store.meta` of an index with what earlier versions did not store, or stored differently.

    Version 0.1 squashed images, but for those of a published CLIP, behind whose fingerprint it said so. An index that
    kept the aspect ratio and does not say whose it is was made by a published model: those that ship squash images.
    """
    meta = store.meta()
    fingerprint = meta["vision_fingerprint"]
    cropped = fingerprint.endswith(_CROPPED)
    keep_aspect = meta.get("keep_aspect", str(int(cropped)))
    return {
        **{"published": keep_aspect, "face_fingerprint": "", "video_track": "0"},
        **meta,
        "vision_fingerprint": fingerprint.removesuffix(_CROPPED),
        "keep_aspect": keep_aspect,
    }


def made_by_published(folder: str | os.PathLike[str]) -> bool:
    """Returns whether a published CLIP made an index; False where there is none that can be opened."""
    try:
        store = Store.open(folder)
    except StoryjaxError:
        return False
    try:
        return index_meta(store)["published"] == "1"
    finally:
        store.close()


class _Builder:
    """One run over the files of a folder."""

    def __init__(
        self,
        store: Store,
        root: Path,
        encoder: ConceptEncoder,
        meta: dict[str, str],
        show_progress: bool,
        done: Summary,
    ):
        self.store, self.root, self.encoder, self.every_s = store, root, encoder, float(meta["every_s"])
        self.square = Square(encoder.image_size, encoder.keep_aspect)
        self.track = int(meta.get("video_track", "0")) or None
        self.faces = faces_of(encoder) if meta.get("face_fingerprint") else None
        self.summary = done
        self.show_progress = show_progress

    def run(self, seen: Scan) -> None:
        known, found = self.store.files(), seen.found
        mounts = [bytes.fromhex(name) for name in self.store.meta().get("mounts", "").split()]
        seen.miss(mounts)
        lost = seen.lost_from_view(known)
        self.summary.broken |= seen.left_out
        self.summary.kept = {_shown(place): len(paths) for place, paths in lost.items()}
        vanished = sorted(set(known) - {file.path for file in found} - {p for paths in lost.values() for p in paths})
        if vanished:
            self.store.forget(vanished)
        self.summary.vanished = len(vanished)
        # What this version, or a package installed since, may be able to read is tried once more.
        same_readers = self.store.meta().get("readers") == _readers()
        todo: list[tuple[MediaFile, KnownFile | None]] = []
        for file in found:
            before = known.get(file.path)
            changed = before is None or (before.size, before.mtime_ns) != (file.size, file.mtime_ns)
            if before is None or changed or (before.state == BROKEN and not same_readers):
                todo.append((file, None))
            elif before.state == BROKEN:
                self.summary.broken[_shown(file.path)] = before.reason or "cannot be read"
            elif before.state == DONE:
                self.summary.unchanged += 1
            else:
                todo.append((file, before))
        bar = "{desc}{percentage:3.0f}%|{bar}| {n:.1f}/{total:.0f} files [{elapsed}<{remaining}]"
        with tqdm(
            total=len(todo), desc="indexing", bar_format=bar, disable=not self.show_progress, leave=False, delay=0.5
        ) as self.bar:
            self._images([file for file, _ in todo if not file.video])
            for file, before in todo:
                if file.video:
                    self._video(file, before)
        now = " ".join(place.hex() for place in {*seen.mounts, *(set(mounts) & set(lost))})
        if now != self.store.meta().get("mounts", ""):
            self.store.set_meta("mounts", now)
        if not same_readers:
            self.store.set_meta("readers", _readers())

    def _images(self, files: Sequence[MediaFile]) -> None:
        for start in range(0, len(files), _BATCH):
            kept, squares, crops = [], [], []
            for file in files[start : start + _BATCH]:
                try:
                    image = read_image(self.root / os.fsdecode(file.path))
                except ImageError as error:
                    self._broken(file, None, error)
                    continue
                squares.append(self.square(image))
                crops.append(self.faces.crops_in(image) if self.faces else None)
                thumbnail = Image.fromarray(image)
                thumbnail.thumbnail((STILL_PIXELS, STILL_PIXELS))
                kept.append((file, jpeg(np.asarray(thumbnail))))
            if not kept:
                continue
            embedded = self.encoder.embed_images(np.stack(squares))
            described = self._described(crops)
            for (file, still), vector, faces in zip(kept, embedded, described, strict=True):
                begun = self.store.begin_file(file.path, file.size, file.mtime_ns)
                rows = [Row(IMAGE, 0, None, None, vector, still), *(Row(FACE, 0, None, None, f, still) for f in faces)]
                self.store.add(begun, rows, 0, done=True)
                self.summary.images += 1
                self.bar.update()

    def _video(self, file: MediaFile, before: KnownFile | None) -> None:
        begun, path = before, self.root / os.fsdecode(file.path)
        counted = 0.0
        try:
            duration = probe(path, track=self.track).duration_s
            if duration > MAX_S:
                raise VideoError(
                    f"{path} has a duration of {duration / 3600:,.0f} hours: repair it, or divide it into parts"
                )
            begun = begun or self.store.begin_file(file.path, file.size, file.mtime_ns)
            starts = clip_starts(duration, self.every_s)
            clip = begun.clips
            crop = self.faces.crops_in if self.faces else None
            for clips in batches(clips_of(path, starts[clip:], duration, self.square, self.track, crop), _BATCH):
                rows = self._rows(clips, clip)
                clip += len(clips)
                self.store.add(begun, rows, len(clips), done=clip == len(starts))
                self.summary.clips += len(clips)
                self.bar.update(len(clips) / len(starts))
                counted += len(clips) / len(starts)
            self.summary.videos += 1
            self.bar.update(1 - counted)
        except (VideoError, av.FFmpegError) as error:  # the second: a decoded frame cannot be converted
            self.bar.update(-counted)
            self._broken(file, begun, error)

    def _rows(self, clips: Sequence["Clip"], first: int) -> list[Row]:
        """The rows of consecutive clips; `first` is the number of the first."""
        embedded = self.encoder.embed_images(np.concatenate([clip.frames for clip in clips]))
        described = iter(self._described([crops for clip in clips for crops in clip.faces.values()]))
        rows, at = [], 0
        for number, clip in enumerate(clips, first):
            frames = embedded[at : at + len(clip.frames)]
            at += len(clip.frames)
            end = clip.start_s + CLIP_S
            rows.append(Row(CLIP, number, clip.start_s, end, mean_pooled(frames), clip.stills[clip.centre]))
            for index, still in clip.stills.items():
                if index % CLIP_FPS == 0:
                    time = clip.start_s + index / CLIP_FPS
                    rows.append(Row(FRAME, number, time, time, frames[index], still))
                    rows += [Row(FACE, number, time, time, face, still) for face in next(described)]
        return rows

    def _described(self, crops: Sequence[np.ndarray | None]) -> list[Float32[np.ndarray, "k e"]]:
        """The descriptions of the faces of each image; none where faces are not looked for."""
        found = [each for each in crops if each is not None]
        if self.faces is None or not sum(map(len, found)):
            return [np.zeros((0, 0), np.float32) for _ in crops]
        return np.split(self.faces.describe(np.concatenate(found)), np.cumsum([len(each) for each in found])[:-1])

    def _broken(self, file: MediaFile, begun: KnownFile | None, error: Exception) -> None:
        """Names a file that cannot be read. It is read again when it has changed; at once where its surroundings (a
        permission, a disk, memory) were to blame, and what is known of it stays meanwhile."""
        path = str(self.root / os.fsdecode(file.path))
        reason = str(error).removeprefix(path).strip().encode(errors="replace").decode()
        if not is_of_surroundings(error):
            begun = begun or self.store.begin_file(file.path, file.size, file.mtime_ns)
            self.store.mark_broken(begun, reason)
        self.summary.broken[_shown(file.path)] = reason
        self.bar.update()


def _readers() -> str:
    """What files are read with: where it changes, files that could not be read may be readable."""
    return f"2, av {av.__version__}, pillow {PIL.__version__}, heif {reads_heif()}"


def _shown(path: bytes) -> str:
    return path.decode(errors="replace")


def _refresh_vectors(store: Store, show_progress: bool) -> None:
    """Updates the FAISS files from the rows."""
    for kind in (IMAGE, CLIP, FRAME, *([FACE] if store.meta().get("face_fingerprint") else [])):
        with tqdm(desc="vectors", unit=" vectors", leave=False, delay=0.5, disable=not show_progress) as bar:

            def report(done: int, of: int, bar: tqdm = bar) -> None:
                bar.total = of
                bar.update(done - bar.n)

            Vectors.open(store, kind, report).save(store, kind)
