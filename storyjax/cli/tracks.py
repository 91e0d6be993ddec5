"""The flags that choose a video's tracks, the same in every command."""

import argparse

from storyjax.core.errors import StoryjaxError


def add_track_flags(parser: argparse.ArgumentParser, *, video: bool = True, audio: bool = False) -> None:
    """Adds --video-track and --audio-track to a parser."""
    rule = "from 1 on (default: the file's own default; commentary, covers and previews are passed over)"
    if video:
        parser.add_argument("--video-track", type=_number, metavar="N", help=f"which of its video tracks, {rule}")
    if audio:
        parser.add_argument("--audio-track", type=_number, metavar="N", help=f"which of its sound tracks, {rule}")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise StoryjaxError(f"a track is given by its number, from 1 on, not by '{text}'")
    return int(text)
