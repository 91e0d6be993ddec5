"""Reading transcripts: SRT, VTT, and JSON (Whisper's and WhisperX's, or a list of cues) as timed words.

Cues without times of their words get them in proportion to the words' letters. Files are taken as people have them:
without blank lines or with too many, in any encoding, rolling; what is not understood is left out and named.
"""

import html
import itertools
import json
import math
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.data.encodings import decode_text
from storyjax.subtitles.languages import CLOSERS, WIDE_STOPS
from storyjax.subtitles.timeline import Word

SUFFIXES = (".srt", ".vtt", ".json")
_FRACTION = r"(?:[,.:](\d{1,9}))?"
# 0:01:02,5 and 01:02.500, with or without milliseconds; and 00.01.02,500 as some programs write it.
_TIME = rf"(?:(?:(\d+):)?(\d{{1,2}}):(\d{{2}}){_FRACTION}|(\d+)\.(\d{{2}})\.(\d{{2}}){_FRACTION})"
_ARROW = r"\s*(?:-{1,3}\s?>|[–—→]>?)\s*"
_CUE = re.compile(rf"^\s*{_TIME}{_ARROW}{_TIME}(?!\S)")
_LIKE_TIMES = re.compile(rf"^\s*\d[\d:.,]*{_ARROW}\S*\d")
_TAGS = re.compile(r"<[^<>\n]*>|\{\\[^{}\n]*\}")
_WORD_TIMES = re.compile(r"<\d+:\d{2}(?::\d{2})?\.\d+>")  # YouTube's, in subtitles that roll
_NO_CUES = ("WEBVTT", "NOTE", "STYLE", "REGION", "X-TIMESTAMP", "Kind:", "Language:")
_NAMED = 5  # faults that a note names; further ones are counted
_TOUCH_S = 0.1
_SENTENCES = re.compile(rf"[^{WIDE_STOPS}]*[{WIDE_STOPS}]+{CLOSERS}|[^{WIDE_STOPS}]+")


@dataclass(frozen=True)
class Transcript:
    """A transcript as it was read.

    Attributes:
        path: of the file.
        words: in the order of their times (seconds).
        left_out: what was not understood, and where.
        encoding: of the file where it was guessed by its letters; None: it is certain.
    """

    path: Path
    words: list[Word]
    left_out: tuple[str, ...] = ()
    encoding: str | None = None

    def notes(self) -> list[str]:
        """Returns what people should know of the reading, in lines."""
        lines = []
        if self.encoding is not None:
            lines.append(f"{self.path} is read as {self.encoding}, by its letters: --encoding names another")
        if self.left_out:
            more = len(self.left_out) - _NAMED
            named = "; ".join(self.left_out[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
            lines.append(f"{self.path}: left out what is not understood: {named}")
        return lines


@dataclass(frozen=True)
class _Cue:
    """Lines of text that are shown from `start` to `end`; `where` is its place in the file."""

    start: float
    end: float
    lines: tuple[str, ...]
    where: str


def read_transcript(path: str | os.PathLike[str], encoding: str | None = None) -> list[Word]:
    """Returns the words of a transcript in the order of their times (seconds), as `parse_transcript` does."""
    return parse_transcript(path, encoding).words


def parse_transcript(path: str | os.PathLike[str], encoding: str | None = None) -> Transcript:
    """Returns the words of a transcript, and what in it was not understood.

    Args:
        path: an SRT, VTT or JSON file.
        encoding: of the file; None: UTF-8, or what its byte order mark or its letters say.

    Raises:
        StoryjaxError: not there, of an unknown kind, in an unknown encoding, or without any timed word.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise StoryjaxError(f"the transcript {path} is none of {', '.join(SUFFIXES)}: convert it, or leave it out")
    text, guessed = read_text(path, encoding)
    left_out: list[str] = []
    words = _from_json(path, text, left_out) if suffix == ".json" else _from_cues(text, suffix == ".vtt", left_out)
    if not words:
        why = f" ({left_out[0]})" if left_out else ""
        raise StoryjaxError(f"the transcript {path} holds no timed words{why}: check that it is the right file")
    return Transcript(path, sorted(words, key=lambda word: (word.start, word.end)), tuple(left_out), guessed)


def read_text(path: Path, encoding: str | None = None) -> tuple[str, str | None]:
    """Returns the text of a file, and its encoding where that is a guess. Raises StoryjaxError: it cannot be read."""
    try:
        data = path.read_bytes()
        return (data.decode(encoding), None) if encoding else decode_text(data)
    except OSError as error:
        raise StoryjaxError(f"the transcript {path} cannot be read ({error.strerror}): check the path") from error
    except LookupError as error:
        raise StoryjaxError(f"--encoding {encoding} is not known: give utf-8, utf-16, cp1252 ...") from error
    except UnicodeDecodeError as error:
        kind = encoding or "UTF-8"
        raise StoryjaxError(
            f"the transcript {path} is not {kind} (byte {error.start}): name its encoding with --encoding, or save it"
            " as UTF-8"
        ) from error


def _from_cues(text: str, vtt: bool, left_out: list[str]) -> list[Word]:
    """The words of SRT or VTT. What an SRT file has between two lines of times is the first one's text, blank lines in
    it too, but not the number of the next cue; in VTT a blank line ends a cue."""
    rows = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    starts = [i for i, row in enumerate(rows) if _CUE.match(row) or _LIKE_TIMES.match(row)]
    numbers = sum(i > 0 and rows[i - 1].strip().isdecimal() for i in starts)
    numbered = numbers * 2 > len(starts)
    head = _shown(rows, 0, starts[0] if starts else len(rows), numbered, bool(starts))
    _name_strays(rows, head, vtt, bool(starts), left_out)
    cues: list[_Cue] = []
    for start, stop in itertools.pairwise([*starts, len(rows)]):
        body = _shown(rows, start + 1, stop, numbered, stop < len(rows))
        if vtt:
            blank = next((i for i in body if not rows[i].strip()), None)
            if blank is not None:
                _name_strays(rows, range(blank, body.stop), vtt, stop < len(rows), left_out)
                body = range(body.start, blank)
        where, match = f"line {start + 1}", _CUE.match(rows[start])
        lines = tuple(plain for i in body if (plain := _untagged(rows[i])))
        if match is None:
            left_out.append(f"{where}: times that are not understood ({rows[start].strip()[:40]})")
            continue
        parts = match.groups()
        cue = _Cue(_seconds(parts[:8]), _seconds(parts[8:]), lines, where)
        if cue.end < cue.start:
            left_out.append(f"{where}: from {cue.start:g} to {cue.end:g} s is no span of time")
        elif lines:
            cues.append(cue)
    if _rolls(cues, text):
        cues = _said_once(cues)
    return [word for cue in cues for word in _spread(cue.start, cue.end, _plain(" ".join(cue.lines)))]


def _shown(rows: list[str], start: int, stop: int, numbered: bool, followed: bool) -> range:
    """The rows from `start` to `stop` without the number of the cue that follows."""
    last = stop - 1
    is_number = followed and last >= start and rows[last].strip().isdecimal()
    if is_number and (numbered or last == start or not rows[last - 1].strip()):
        return range(start, last)
    return range(start, stop)


def _name_strays(rows: list[str], places: range, vtt: bool, followed: bool, left_out: list[str]) -> None:
    """Names text that is in no cue; in VTT, remarks and the names of cues may be there."""
    block: list[int] = []
    for i in (*places, places.stop):
        if i < places.stop and rows[i].strip():
            block.append(i)
            continue
        name_of_cue = followed and i == places.stop and len(block) == 1
        if block and not (vtt and (name_of_cue or rows[block[0]].lstrip("\ufeff ").startswith(_NO_CUES))):
            left_out.append(f"line {block[0] + 1}: text in no cue ({rows[block[0]].strip()[:40]})")
        block = []


def _rolls(cues: list[_Cue], text: str) -> bool:
    """Whether each cue shows again what the one before showed, as automatic subtitles do that roll upwards."""
    pairs = list(itertools.pairwise(cues))
    repeated = sum(b.start <= a.end + _TOUCH_S and a.lines[-1] == b.lines[0] for a, b in pairs)
    return repeated > 0 and (bool(_WORD_TIMES.search(text)) or (len(pairs) > 1 and repeated >= 0.6 * len(pairs)))


def _said_once(cues: list[_Cue]) -> list[_Cue]:
    """The cues without the lines that the one before showed already."""
    kept = [cues[0]]
    for before, cue in itertools.pairwise(cues):
        most = min(len(before.lines), len(cue.lines)) if cue.start <= before.end + _TOUCH_S else 0
        again = next((n for n in range(most, 0, -1) if before.lines[-n:] == cue.lines[:n]), 0)
        if cue.lines[again:]:
            kept.append(replace(cue, lines=cue.lines[again:]))
    return kept


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts[:4] if parts[1] is not None else parts[4:]
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + int(seconds or 0) + float(f"0.{fraction or 0}")


def _untagged(row: str) -> str:
    return " ".join(html.unescape(_TAGS.sub("", row)).split())


def _plain(text: str) -> str:
    """A cue's words without the dash that marks another speaker."""
    return re.sub(r"(^|\s)[-–—]\s+", " ", text).strip()


def _spread(start: float, end: float, text: str) -> list[Word]:
    """The words of a cue, with times in proportion to their letters; where no spaces are, its sentences."""
    tokens = [(part, number == 0) for token in text.split() for number, part in enumerate(_SENTENCES.findall(token))]
    weights = [len(token) + 1 for token, _ in tokens]
    total, at = sum(weights), 0
    words: list[Word] = []
    for (token, space), weight in zip(tokens, weights, strict=True):
        first, at = at, at + weight
        times = (start + (end - start) * first / total, start + (end - start) * at / total)
        words.append(Word(token, *times, space=space and (bool(words) or _spaced(token))))
    return words


def _spaced(token: str) -> bool:
    """Whether a space is before a word that another one comes before: not in Chinese and Japanese."""
    wide = unicodedata.east_asian_width(token[0]) in "WF"
    return not wide or unicodedata.name(token[0], "").startswith("HANGUL")


def _from_json(path: Path, text: str, left_out: list[str]) -> list[Word]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise StoryjaxError(f"the transcript {path} is no JSON ({error}): export it again") from error
    cues = given
    if isinstance(given, dict):
        cues = next((given[key] for key in ("segments", "words", "lines") if key in given), None)
    if not isinstance(cues, list):
        raise StoryjaxError(f'{path} has no list of "segments", "words" or "lines" with start, end and text')
    words: list[Word] = []
    for number, cue in enumerate(cues, 1):
        where = f"entry {number}"
        if not isinstance(cue, Mapping):
            left_out.append(f"{where}: not an object with start, end and text")
            continue
        inner = cue.get("words")
        if isinstance(inner, list) and inner and all(isinstance(w, Mapping) for w in inner):
            words += _timed(where, cue, inner, left_out)
        elif spoken := _plain(_untagged(_spoken(cue))):
            if span := _span(where, cue, left_out):
                words += _spread(*span, spoken)
        elif not any(isinstance(cue.get(key), str) for key in ("text", "word")):
            left_out.append(f"{where}: no text")
    return words


def _spoken(entry: Mapping[str, Any]) -> str:
    """The text of an entry; null is no text."""
    given = next((entry[key] for key in ("text", "word") if entry.get(key) is not None), "")
    return str(given) if isinstance(given, str | int | float) else ""


def _timed(where: str, cue: Mapping[str, Any], inner: list[Mapping[str, Any]], left_out: list[str]) -> list[Word]:
    """Words with times of their own; WhisperX leaves them out of words that it could not align, such as numbers."""
    words: list[Word] = []
    last = _number(cue.get("start")) or 0.0
    for entry in inner:
        text = _spoken(entry).strip()
        if not text:
            continue
        if entry.get("start") is None or entry.get("end") is None:
            start = end = last
        elif span := _span(f"{where} ('{text[:20]}')", entry, left_out):
            start, end = span
        else:
            continue
        last = max(last, end)
        probability = _number(entry.get("probability", entry.get("score", 1.0))) or 0.0
        words.append(Word(text, start, max(start, end), probability, space=_spaced(text)))
    return words


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _span(where: str, entry: Mapping[str, Any], left_out: list[str]) -> tuple[float, float] | None:
    """Start and end of an entry; None, and a line in `left_out`, where they are none."""
    try:
        start, end = float(entry["start"]), float(entry["end"])
    except (KeyError, TypeError, ValueError):
        left_out.append(f"{where}: start or end is missing or no number of seconds")
        return None
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end):
        left_out.append(f"{where}: from {start:g} to {end:g} s is no span of time")
        return None
    return start, end
