"""A frozen tower's tokens of every video, on disk: computed once, trained on for many epochs.

A folder holds one data set's split:

    features.json                         what was stored, of which videos, by which tower (`FeatureSpec`)
    features-00003-of-00016.array_record  the frames of some videos, one record a frame

A frame is a record of its own, so that a batch reads no more than the frames that it draws. Videos are cut evenly into
`frames` segments, and `draws` frames are stored of each, evenly spread: training takes a random one of each segment, as
it takes a random time of each when it reads pixels; evaluation takes the middle one, at exactly the time that it would
decode. `draws` is odd for that, and 1 is enough for what is only evaluated on.

A shard appears whole, under its name, or not at all; `write_missing` makes those that are not there or are damaged.
"""

import contextlib
import dataclasses
import hashlib
import json
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from jaxtyping import Array, Float, Float32, Float64, Num

from storyjax.core.bucket_copies import fetched
from storyjax.core.buckets import place
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import atomic_path, write_atomically
from storyjax.data.video import sample_times

Dtype = Literal["bfloat16", "float16", "int8"]
DTYPES = get_args(Dtype)
_NUMPY = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "int8": np.int8}
# Before a frame's tokens: what the record is, the frame's time (seconds), the checksum of the video it is from.
_HEAD = struct.Struct("<cdI")
_FRAME, _BROKEN = b"F", b"B"  # a record of a broken video says why, in words
_SPEC = "features.json"


@dataclass(frozen=True)
class FeatureSpec:
    """What a folder of features holds; two folders with the same spec hold the same.

    Attributes:
        tower: fingerprint of the frozen tower (`fingerprint`).
        frames: segments that a video is cut into: the frames of an example.
        draws: frames stored of each segment; odd.
        tokens, width: of one frame.
        dtype: the type in which tokens lie on disk; int8 has a scale for each token beside it.
        films: the names of the videos, in order.
        shards: files that they are in.
    """

    tower: str
    frames: int
    draws: int
    tokens: int
    width: int
    dtype: Dtype
    films: tuple[str, ...]
    shards: int

    def __post_init__(self) -> None:
        if self.draws < 1 or self.draws % 2 == 0:
            raise StoryjaxError(f"{self.draws} frames of each segment: it must be odd, for one to be in the middle.")

    @property
    def stored(self) -> int:
        """Frames stored of a video."""
        return self.frames * self.draws

    @property
    def record_bytes(self) -> int:
        """Bytes of a record: its head, scales and tokens."""
        scales = 4 * self.tokens if self.dtype == "int8" else 0
        return _HEAD.size + scales + self.tokens * self.width * np.dtype(_NUMPY[self.dtype]).itemsize

    def films_of(self, shard: int) -> range:
        """Returns the videos of a shard, by their index in `films`; sizes differ by one at most."""
        bounds = [len(self.films) * edge // self.shards for edge in (shard, shard + 1)]
        return range(*bounds)

    def shard_of(self, video: int) -> int:
        """Returns the number of the shard that a video, by its index, is in."""
        return next(shard for shard in range(self.shards) if video in self.films_of(shard))

    def path(self, folder: Path, shard: int) -> Path:
        """Returns the path of a shard."""
        return folder / f"features-{shard:05d}-of-{self.shards:05d}.array_record"


def fingerprint(tower: Mapping[str, np.ndarray], *also: object) -> str:
    """Changes with any weight of the tower, and with whatever else makes its tokens what they are."""
    digest = hashlib.sha256(repr(also).encode())
    for path in sorted(tower):
        digest.update(f"{path} {tower[path].dtype} {tower[path].shape}".encode())
        digest.update(np.ascontiguousarray(tower[path]).view(np.uint8).data)
    return digest.hexdigest()[:16]


def stored_times(duration_s: float, frames: int, draws: int) -> Float64[np.ndarray, " m"]:
    """Returns the times (seconds) of a video's stored frames: each of `frames` segments cut into `draws` parts, at the
    middle of each part; the middle part's is bit for bit what `sample_times` gives for evaluation."""
    inside = (np.arange(draws) + 0.5) / draws
    times = (np.arange(frames)[:, None] + inside[None]) * (duration_s / frames)
    times[:, draws // 2] = sample_times(duration_s, frames)
    return times.reshape(-1)


def encode_frame(seconds: float, checksum: int, tokens: Num[np.ndarray, "n e"], dtype: Dtype) -> bytes:
    """Returns a record. int8 is symmetric, with the largest magnitude of each token at 127."""
    head = _HEAD.pack(_FRAME, seconds, checksum)
    if dtype != "int8":
        return head + np.ascontiguousarray(tokens.astype(_NUMPY[dtype])).tobytes()
    values = tokens.astype(np.float32)
    scale = np.maximum(np.abs(values).max(axis=-1), 1e-12) / 127
    return head + scale.tobytes() + np.rint(values / scale[:, None]).astype(np.int8).tobytes()


def restore(
    tokens: Num[Array, "b t n e"], scale: Float[Array, "b t n"] | None, dtype: Any = jnp.float32
) -> Float[Array, "b t n e"]:
    """Tokens of a batch as the resampler takes them."""
    if scale is None:
        return tokens.astype(dtype)
    return (tokens.astype(jnp.float32) * scale[..., None]).astype(dtype)


# A video's place in `films` -> (seconds (m,), tokens (m, n, e), checksum of the video). StoryjaxError: it is broken.
Look = Callable[[int], tuple[Float32[np.ndarray, " m"], Num[np.ndarray, "m n e"], int]]


def write_shard(folder: Path, spec: FeatureSpec, shard: int, look: Look) -> int:
    """Writes a shard, beside its place and then renamed; returns how many of its videos are broken.

    Raises:
        StoryjaxError: the folder cannot be written.
    """
    path, broken = spec.path(folder, shard), 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, durable=True) as unfinished:
            # Groups of one: a reader that wants some frames of a video reads and unpacks no others.
            writer = ArrayRecordWriter(str(unfinished), "group_size:1")
            for video in spec.films_of(shard):
                try:
                    seconds, tokens, checksum = look(video)
                    records = [
                        encode_frame(float(when), checksum, frame, spec.dtype)
                        for when, frame in zip(seconds, tokens, strict=True)
                    ]
                except StoryjaxError as error:
                    broken += 1
                    records = [_BROKEN + " ".join(str(error).split()).encode()[:2000]] * spec.stored
                for record in records:
                    writer.write(record)
            writer.close()
            fault = shard_fault(unfinished, spec, shard)
            if fault:
                raise StoryjaxError(f"cannot write {path}: what was written {fault}; is the disk full?")
    except OSError as error:
        raise StoryjaxError(f"cannot write {path}: {error}; make room or choose another folder.") from error
    return broken


def shard_fault(path: Path, spec: FeatureSpec, shard: int) -> str:
    """Returns what is wrong with a shard, or "": every record is read, and ArrayRecord checks its sums."""
    expected = len(spec.films_of(shard)) * spec.stored
    if not path.exists():
        return "is not there"
    try:
        reader = ArrayRecordReader(str(fetched(path)))
        try:
            count = reader.num_records()
            if count != expected:
                return f"has {count} frames, not {expected}"
            for start in range(0, count, 256):
                for record in reader.read(start, min(start + 256, count)):
                    if len(record) != spec.record_bytes and record[:1] != _BROKEN:
                        return f"has a frame of {len(record)} bytes, not {spec.record_bytes}"
        finally:
            reader.close()
    except (RuntimeError, ValueError, IndexError) as error:
        return f"cannot be read ({' '.join(str(error).split())[:100]})"
    return ""


def start_folder(folder: Path, spec: FeatureSpec) -> None:
    """Makes the folder, or sees that the one there is of the same spec.

    Raises:
        StoryjaxError: it has other features, or cannot be written.
    """
    path = folder / _SPEC
    if path.exists():
        _refuse_other(folder, read_spec(folder), spec)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(dataclasses.asdict(spec), indent=1) + "\n")
    except OSError as error:
        raise StoryjaxError(f"cannot write features to {folder}: {error}; choose another folder.") from error


def read_spec(folder: Path) -> FeatureSpec:
    """Raises StoryjaxError where there are no features."""
    try:
        stored = json.loads((folder / _SPEC).read_text("utf-8"))
        return FeatureSpec(**{**stored, "films": tuple(stored["films"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoryjaxError(
            f"there are no features in {folder} ({error}); 'storyjax data features --help' says how to make them."
        ) from error


def _refuse_other(folder: Path, found: FeatureSpec, wanted: FeatureSpec) -> None:
    for name, words in (
        ("tower", "were computed by another vision tower"),
        ("frames", "cut videos into another number of segments"),
        ("draws", "have another number of frames of a segment"),
        ("dtype", "are of another type"),
        ("films", "are of other videos"),
        ("shards", "are in another number of shards"),
        ("tokens", "have another number of tokens"),
        ("width", "have another width"),
    ):
        old, new = getattr(found, name), getattr(wanted, name)
        if old != new:
            what = f"{len(old)} videos, not these {len(new)}" if name == "films" else f"{name} is {old}, not {new}"
            raise StoryjaxError(f"the features in {folder} {words} ({what}); choose another folder.")


def missing_shards(folder: Path, spec: FeatureSpec) -> list[int]:
    """Shards that are not there, or are damaged."""
    return [shard for shard in range(spec.shards) if shard_fault(spec.path(folder, shard), spec, shard)]


def write_missing(folder: Path, spec: FeatureSpec, look: Look) -> Iterator[int]:
    """Makes the shards that are missing, one after another; yields each one's number when it is there."""
    start_folder(folder, spec)
    for shard in missing_shards(folder, spec):
        write_shard(folder, spec, shard, look)
        yield shard


class FeatureStore:
    """Stored features, by video. Safe to read from many threads, and picklable. Shards in a bucket are copied to this
    machine when they are first read, since frames are read one by one.

    Args:
        folder: as `write_missing`, or `storyjax data features`, made it.
        tower: the fingerprint that they must have.
        frames: the frames that an example has.

    Raises:
        StoryjaxError: there are none, not all, or they are of another tower or another number of frames.
    """

    def __init__(self, folder: str | Path, tower: str, frames: int):
        self.folder = place(folder)
        self.spec = read_spec(self.folder)
        _refuse_other(self.folder, self.spec, dataclasses.replace(self.spec, tower=tower, frames=frames))
        there = sum(self.spec.path(self.folder, shard).exists() for shard in range(self.spec.shards))
        if there < self.spec.shards:
            raise StoryjaxError(
                f"the features in {folder} are not complete: {there} of {self.spec.shards} shards are there; give the "
                "command that makes them again."
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "spec": self.spec}  # open files stay in their process

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.spec.films)}

    @cached_property
    def _lock(self) -> contextlib.AbstractContextManager:
        return threading.Lock()

    @cached_property
    def _readers(self) -> dict[int, ArrayRecordReader]:
        return {}

    def _reader(self, shard: int) -> ArrayRecordReader:
        with self._lock:
            if shard not in self._readers:
                self._readers[shard] = ArrayRecordReader(str(fetched(self.spec.path(self.folder, shard))))
            return self._readers[shard]

    def number(self, name: str) -> int:
        """Returns a video's place. Raises StoryjaxError where its features are not stored."""
        if name not in self._numbers:
            raise StoryjaxError(f"{self.folder} has no features of {name}; make them of the data as it is now")
        return self._numbers[name]

    def draw(self, video: int, rng: np.random.Generator | None = None, source: bytes | None = None) -> dict[str, Any]:
        """Returns an example's frames: the middle one of each segment, or with a generator any.

        Args:
            source: the encoded video, where it is at hand: its features must be of these very bytes.

        Returns:
            "visual_tokens" (t, n, e) in the type they are stored in, "seconds" (t,), and with int8 "visual_scale"
            (t, n); `restore` puts them together.

        Raises:
            StoryjaxError: the video was broken when its features were made, or is another one now.
        """
        spec = self.spec
        drawn = np.full(spec.frames, spec.draws // 2) if rng is None else rng.integers(spec.draws, size=spec.frames)
        return self.read(video, np.arange(spec.frames) * spec.draws + drawn, source)

    def read(self, video: int, frames: Sequence[int] | np.ndarray, source: bytes | None = None) -> dict[str, Any]:
        """Chosen ones of a video's stored frames; otherwise as `draw`."""
        spec, shard = self.spec, self.spec.shard_of(video)
        first = (video - spec.films_of(shard).start) * spec.stored
        records = self._reader(shard).read([first + int(frame) for frame in frames])
        if records[0][:1] == _BROKEN:
            raise StoryjaxError(records[0][1:].decode(errors="replace"))
        heads = [_HEAD.unpack_from(record) for record in records]
        if source is not None and zlib.crc32(source) != heads[0][2]:
            raise StoryjaxError(f"the features of {spec.films[video]} in {self.folder} are of another video file")
        offset, kind = _HEAD.size, np.dtype(_NUMPY[spec.dtype])
        arrays = {"seconds": np.array([head[1] for head in heads], np.float32)}
        if spec.dtype == "int8":
            arrays["visual_scale"] = np.stack([np.frombuffer(r, "<f4", spec.tokens, offset) for r in records])
            offset += 4 * spec.tokens
        tokens = [np.frombuffer(record, kind, offset=offset) for record in records]
        return {"visual_tokens": np.stack(tokens).reshape(-1, spec.tokens, spec.width), **arrays}
