"""What every reader of video and sound agrees on: how a file is opened, its 0:00, which tracks count.

0:00 is the earliest start of the file's images and sounds: what players show first.
"""

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av

from storyjax.core.bucket_copies import fetched
from storyjax.core.errors import StoryjaxError
from storyjax.core.notes import tell
from storyjax.data.video_files import Source

# Sound may start this much (seconds) before 0:00, for its encoder's priming, without moving 0:00.
_PRIMING_S = 0.5
# Sample entries of encrypted mp4s, and of iTunes' protected movies and songs.
_ENCRYPTED = {"encv", "enca", "drmi", "drms", "p608"}
_DISPOSITION = av.stream.Disposition
_UNKNOWN = {"apac"}  # Apple's spatial sound, which FFmpeg takes for AAC where a file says so beside it
# Still images, such as covers.
_NO_FILM = _DISPOSITION.attached_pic | _DISPOSITION.timed_thumbnails | _DISPOSITION.still_image
# Commentary, audio description, music without voices.
_ASIDE = (
    _DISPOSITION.comment
    | _DISPOSITION.visual_impaired
    | _DISPOSITION.descriptions
    | _DISPOSITION.clean_effects
    | _DISPOSITION.karaoke
)
_ASIDE_TITLE = re.compile(r"comment|audio descri|described|preview|thumbnail", re.IGNORECASE)
_KINDS = {"video": "--video-track", "audio": "--audio-track"}


def open_container(source: Source) -> av.container.InputContainer:
    """Returns an opened file or encoded bytes. Raises av.FFmpegError or OSError where it is no media file."""
    # "file:" keeps FFmpeg from reading "12:30.mp4" as a protocol.
    file: Any = io.BytesIO(source) if isinstance(source, bytes) else f"file:{fetched(source)}"
    # Metadata in old encodings must not stop a good video; a playlist must not make us open other places.
    return av.open(file, "r", metadata_errors="replace", options={"protocol_whitelist": "file"})


def demux(container: av.container.InputContainer, stream: av.stream.Stream) -> Iterator[av.Packet]:
    """Yields a track's packets, then the empty one that ends it. Raises av.FFmpegError where reading fails.

    A track that only begins somewhere within the file, as in transport streams, was not there when it was opened, and
    PyAV 18 fails at the end of all tracks with an IndexError for it.
    """
    with contextlib.suppress(IndexError):
        yield from container.demux(stream)


def seconds_of_start(container: av.container.InputContainer) -> Fraction:
    """Returns the second on the container's clock that is 0:00: the earliest start of its images and sounds.

    A cover does not count, and sound that starts a little before 0 (priming of its encoder) starts at 0.
    """
    starts: list[Fraction] = []
    for stream in (*container.streams.video, *container.streams.audio):
        if stream.start_time is None or not stream.time_base or (stream.type == "video" and is_cover(stream)):
            continue
        start = stream.start_time * stream.time_base
        starts.append(Fraction(0) if stream.type == "audio" and -_PRIMING_S < start < 0 else start)
    return min(starts, default=Fraction(0))


def is_cover(stream: av.stream.Stream) -> bool:
    """Returns whether a video track is a cover, or images for seeking: no video."""
    return bool(stream.disposition & _NO_FILM)


def choose_track(
    container: av.container.InputContainer, kind: str, number: int | None, where: str
) -> av.stream.Stream | None:
    """Returns the track that counts; None where there is none of the kind (covers do not count).

    Passed over are those that cannot be decoded, then commentary and the like, then previews (a single image, or
    shorter than half of the longest), then what is not the default; of those left the first counts. Where there was a
    choice it is reported.

    Args:
        kind: "video" or "audio".
        number: the track that a person asked for, from 1 among those of the kind.
        where: the file's name, for messages.

    Raises:
        StoryjaxError: there is no such number, or that track cannot be decoded.
    """
    streams = container.streams.video if kind == "video" else container.streams.audio
    tracks = [stream for stream in streams if not (kind == "video" and is_cover(stream))]
    if not tracks:
        return None
    if number is not None:
        if not 1 <= number <= len(tracks):
            known = _listed(tracks)
            raise StoryjaxError(f"{where} has no {kind} track {number}: {_KINDS[kind]} can be {known}")
        if not _decodable(tracks[number - 1]):
            raise StoryjaxError(
                f"{where}: its {kind} track {number} is coded in an unknown way: give another {_KINDS[kind]}"
            )
        return tracks[number - 1]
    longest = max(map(_length, tracks))

    def rank(track: av.stream.Stream) -> tuple[bool, ...]:
        preview = kind == "video" and (track.frames == 1 or _length(track) < longest / 2)
        aside = bool(track.disposition & _ASIDE) or bool(_ASIDE_TITLE.search(track.metadata.get("title", "")))
        return (not _decodable(track), aside, preview and longest > 0, not track.disposition & _DISPOSITION.default)

    chosen = min(tracks, key=rank)  # of equals the first
    if len(tracks) > 1:
        tell(
            f"{where} has {len(tracks)} {kind} tracks ({_listed(tracks)}): {tracks.index(chosen) + 1} is used;"
            f" {_KINDS[kind]} chooses",
            (where, kind, "choice"),
        )
    return chosen


def _decodable(track: av.stream.Stream) -> bool:
    context = track.codec_context
    return context is not None and track.time_base is not None and _tag(track) not in _UNKNOWN


def _tag(track: av.stream.Stream) -> str:
    """The four letters by which a container names the coding; empty where they are none."""
    try:
        return str(track.codec_context.codec_tag)
    except UnicodeDecodeError:  # damage
        return ""


def _length(track: av.stream.Stream) -> float:
    """Seconds that the container gives a track; 0 where it does not say."""
    if (tagged := tagged_end(track)) is not None:  # Matroska: more exact than the duration of a first block
        return tagged
    return float(track.duration * track.time_base) if track.duration and track.time_base else 0.0


def tagged_end(track: av.stream.Stream) -> float | None:
    """Returns the second where a track ends as Matroska's muxers write it in a tag ("00:01:02.5"), or None."""
    stamp = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", track.metadata.get("DURATION", ""))
    if stamp is None:
        return None
    hours, minutes, seconds = map(float, stamp.groups())
    return 3600 * hours + 60 * minutes + seconds


def _listed(tracks: Sequence[av.stream.Stream]) -> str:
    """Tracks as a person knows them: number, language, title, coding."""
    lines = []
    for number, track in enumerate(tracks, 1):
        said = [track.codec_context.name if _decodable(track) else "unknown coding"]
        if isinstance(track, av.VideoStream) and track.codec_context is not None:
            said.append(f"{track.codec_context.width} × {track.codec_context.height}")
        said += [track.metadata[name] for name in ("language", "title") if track.metadata.get(name, "und") != "und"]
        lines.append(f"{number}: {', '.join(said)}")
    return "; ".join(lines)


def is_encrypted(stream: av.stream.Stream, packet: av.Packet | None = None) -> bool:
    """Returns whether a track, or a packet of it, is encrypted."""
    if packet is not None and packet.size and packet.has_sidedata("encryption_info"):
        return True
    return stream.codec_context is not None and _tag(stream).lower() in _ENCRYPTED
