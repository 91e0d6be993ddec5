"""Reading transcripts: SRT, VTT, and JSON (Whisper's and WhisperX's, or a list of cues) as timed words.

Cues without times of their words get them in proportion to the words' letters.
"""

import html
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.subtitles.timeline import Word

SUFFIXES = (".srt", ".vtt", ".json")
_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{2})[,.](\d{1,3})"
_CUE = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
_TAGS = re.compile(r"<[^<>\n]*>|\{\\[^{}\n]*\}")


def read_transcript(path: str | os.PathLike[str]) -> list[Word]:
    """Returns the words of a transcript in the order of their times (seconds).

    Raises:
        StoryjaxError: not there, of an unknown kind, without any cue, or with times that make no sense.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise StoryjaxError(f"the transcript {path} is none of {', '.join(SUFFIXES)}: convert it, or leave it out")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise StoryjaxError(f"the transcript {path} cannot be read ({error.strerror}): check the path") from error
    except UnicodeDecodeError as error:
        raise StoryjaxError(f"the transcript {path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    words = _from_json(path, text) if suffix == ".json" else _from_cues(path, text)
    if not words:
        raise StoryjaxError(f"the transcript {path} holds no timed words: check that it is the right file")
    return sorted(words, key=lambda word: (word.start, word.end))


def _from_cues(path: Path, text: str) -> list[Word]:
    words: list[Word] = []
    cue: tuple[float, float, int] | None = None
    lines: list[str] = []

    def close() -> None:
        if cue is not None:
            words.extend(_spread(path, cue[0], cue[1], _plain(" ".join(lines)), f"line {cue[2]}"))

    rows = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, row in enumerate(rows, 1):
        if match := _CUE.match(row):
            close()
            parts = match.groups()
            cue, lines = (_seconds(parts[:4]), _seconds(parts[4:]), number), []
        elif cue is not None and not row.strip():
            close()
            cue, lines = None, []
        elif cue is not None:
            lines.append(row)
    close()
    return words


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + int(seconds or 0) + float(f"0.{fraction}")


def _plain(text: str) -> str:
    """A cue's words without tags, and without the dash that marks another speaker."""
    return re.sub(r"(^|\s)[-–—]\s+", " ", html.unescape(_TAGS.sub("", text))).strip()


def _spread(path: Path, start: float, end: float, text: str, where: str) -> list[Word]:
    tokens = text.split()
    if not tokens:
        return []
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end):
        raise StoryjaxError(f"{path}, {where}: from {start:g} to {end:g} s is no span of time")
    weights = [len(token) + 1 for token in tokens]
    total, at, words = sum(weights), 0, []
    for token, weight in zip(tokens, weights, strict=True):
        first, at = at, at + weight
        words.append(Word(token, start + (end - start) * first / total, start + (end - start) * at / total))
    return words


def _from_json(path: Path, text: str) -> list[Word]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise StoryjaxError(f"the transcript {path} is no JSON ({error}): export it again") from error
    cues = given.get("segments", given.get("words")) if isinstance(given, dict) else given
    if not isinstance(cues, list):
        raise StoryjaxError(f'{path} has no list of "segments" or "words" with start, end and text')
    words: list[Word] = []
    for number, cue in enumerate(cues, 1):
        where = f"entry {number}"
        if not isinstance(cue, Mapping):
            raise StoryjaxError(f"{path}, {where}: not an object with start, end and text")
        inner = cue.get("words")
        if isinstance(inner, list) and inner and all(isinstance(w, Mapping) for w in inner):
            words += _timed(path, where, cue, inner)
        else:
            spoken = str(cue.get("text", cue.get("word", "")))
            words += _spread(path, *_span(path, where, cue), _plain(spoken), where)
    return words


def _timed(path: Path, where: str, cue: Mapping[str, Any], inner: list[Mapping[str, Any]]) -> list[Word]:
    """Words with times of their own; WhisperX leaves them out of words that it could not align, such as numbers."""
    words: list[Word] = []
    last = float(cue.get("start") or 0.0)
    for entry in inner:
        text = str(entry.get("word", entry.get("text", ""))).strip()
        if not text:
            continue
        if entry.get("start") is None or entry.get("end") is None:
            start = end = last
        else:
            start, end = _span(path, where, entry)
        last = max(last, end)
        words.append(Word(text, start, max(start, end), float(entry.get("probability", entry.get("score", 1.0)) or 0)))
    return words


def _span(path: Path, where: str, entry: Mapping[str, Any]) -> tuple[float, float]:
    try:
        start, end = float(entry["start"]), float(entry["end"])
    except (KeyError, TypeError, ValueError):
        raise StoryjaxError(f"{path}, {where}: start or end is missing or no number of seconds") from None
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end):
        raise StoryjaxError(f"{path}, {where}: from {start:g} to {end:g} s is no span of time")
    return start, end
