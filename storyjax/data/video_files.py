"""Files that are taken for videos: what they are called, and whether they can be opened at all."""

import errno
import io
import os

from storyjax.core.bucket_copies import fetched
from storyjax.core.errors import StoryjaxError

Source = str | os.PathLike | bytes

# Endings of files that are taken for videos.
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp"),
    *(".mts", ".m2ts", ".vob", ".ogv", ".ogm", ".dv", ".3g2", ".asf", ".f4v", ".mxf", ".m2v", ".mpe", ".qt", ".divx"),
    *(".rm", ".rmvb", ".wtv", ".y4m", ".nut", ".amv", ".mjpg", ".mjpeg", ".h264", ".h265", ".hevc"),
)


class VideoError(StoryjaxError):
    """A video that cannot be used: missing, empty, not a video, encrypted, or without a frame that can be decoded."""


def locate(source: Source, name: str | None) -> tuple[str, str | io.BytesIO, int]:
    """Returns what to call the source, what FFmpeg opens, and its length in bytes. Raises VideoError: there is none; or
    StoryjaxError: it is in a bucket and cannot be fetched."""
    file: str | io.BytesIO
    if isinstance(source, bytes):
        where, file, length = name or "video", io.BytesIO(source), len(source)
    else:
        where, path = name or os.fspath(source), fetched(source)  # of a bucket: a copy on this machine
        # "file:" keeps FFmpeg from reading "12:30.mp4" as a protocol.
        file = f"file:{path}"
        try:
            length = path.stat().st_size
        except (OSError, ValueError) as error:  # ValueError: no file could have this name
            why = getattr(error, "strerror", None) or error
            raise VideoError(f"{where} cannot be read ({why}): check the path") from error
        if not path.is_file():
            raise VideoError(f"{where} is not a file: give the path of one video")
        if not os.access(path, os.R_OK):
            denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            raise VideoError(f"{where} cannot be read (permission denied): make it readable") from denied
    if length == 0:
        raise VideoError(f"{where} is empty (0 bytes): copy or download it again")
    return where, file, length
