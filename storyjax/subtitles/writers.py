"""Writing subtitles: SRT, VTT, ASS, RTTM and JSON. Names and words are text everywhere, never markup.

A name with a colon, a tag, a brace or a line break cannot end a cue, open a style or add a line; names of scripts that
run from right to left are kept apart from what follows by Unicode's isolates.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.files import json_text, write_atomically
from storyjax.subtitles.cast import UNKNOWN
from storyjax.subtitles.records import Line, Subtitles

_SHORTEST_CUE_S = 0.3
_FSI, _PDI = "\u2068", "\u2069"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]+")
_LONE = re.compile("[\ud800-\udfff]")  # halves of a character: what is no UTF-8 in a name
# A word joiner: breaks up what would be a marker, and is not seen.
_JOINER = "\u2060"
_SRT_LOOK_ALIKES = str.maketrans("<>{}\\", "‹›()＼")


@dataclass(frozen=True)
class Cue:
    """A text that is shown from `start` to `end` (seconds). `name` is None for a sound, such as laughter."""

    start: float
    end: float
    name: str | None
    text: str


def cues(subtitles: Subtitles, sdh: bool = False) -> list[Cue]:
    """Returns the cues in order; for the deaf and hard of hearing (`sdh`) with names in capitals, and laughter."""
    found = []
    for line in subtitles.lines:
        name = line.name or UNKNOWN
        text = _flat(line.text)
        if text:
            end = max(line.end, line.start + _SHORTEST_CUE_S)
            found.append(Cue(line.start, end, name.upper() if sdh else name, text))
    if sdh:
        found += [Cue(laugh.start, max(laugh.end, laugh.start + 0.8), None, "[laughter]") for laugh in subtitles.laughs]
    return sorted(found, key=lambda cue: (cue.start, cue.end))


def _flat(text: str) -> str:
    """Text in one line, without invisible characters that have an effect."""
    text = _LONE.sub("\N{REPLACEMENT CHARACTER}", unicodedata.normalize("NFC", text))
    return " ".join(_CONTROLS.sub(" ", text).split())


def isolated(name: str) -> str:
    """Returns a name that does not change the direction of its neighbours: isolated if it has right-to-left letters."""
    name = _flat(name)
    if any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in name):
        return f"{_FSI}{name}{_PDI}"
    return name


def _said(cue: Cue, quote: Callable[[str], str]) -> str:
    return quote(cue.text) if cue.name is None else f"{quote(isolated(cue.name))}: {quote(cue.text)}"


def to_srt(subtitles: Subtitles, sdh: bool = False) -> str:
    """Returns SubRip. Players read tags in it, so brackets and braces of names and words become their look-alikes."""
    blocks = [
        f"{number}\n{_stamp(cue.start, ',')} --> {_stamp(cue.end, ',')}\n{_said(cue, srt_text)}\n"
        for number, cue in enumerate(cues(subtitles, sdh), 1)
    ]
    return "\n".join(blocks)


def srt_text(text: str) -> str:
    """Returns text without what players of SubRip read as tags."""
    return text.translate(_SRT_LOOK_ALIKES).replace("-->", "→")


def to_vtt(subtitles: Subtitles, sdh: bool = False) -> str:
    """Returns WebVTT, with the speaker as a voice tag, which players can style; SDH also shows the name."""
    blocks = ["WEBVTT\n"]
    for cue in cues(subtitles, sdh):
        stamps = f"{_stamp(cue.start, '.')} --> {_stamp(cue.end, '.')}"
        if cue.name is None:
            text = vtt_text(cue.text)
        else:
            shown = f"{vtt_text(isolated(cue.name))}: " if sdh else ""
            text = f"<v {vtt_text(_flat(cue.name))}>{shown}{vtt_text(cue.text)}</v>"
        blocks.append(f"{stamps}\n{text}\n")
    return "\n".join(blocks)


def vtt_text(text: str) -> str:
    """Returns text with the characters of WebVTT's markup escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_ASS_HEAD = """\
[Script Info]
ScriptType: v4.00+
WrapStyle: 0
ScaledBorderAndShadow: yes
PlayResX: 1280
PlayResY: 720

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,48,&H00FFFFFF,&H000000FF,&H00000000,&H64000000,0,0,0,0,100,100,0,0,1,2,1,2,40,40,40,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def to_ass(subtitles: Subtitles, sdh: bool = False) -> str:
    """Returns Advanced SubStation Alpha, with the speaker in the field for actors and before the text."""
    rows = []
    for cue in cues(subtitles, sdh):
        # The field ends at a comma.
        actor = "" if cue.name is None else ass_text(_flat(cue.name)).replace(",", "‚")
        rows.append(
            f"Dialogue: 0,{_ass_stamp(cue.start)},{_ass_stamp(cue.end)},Default,{actor},0,0,0,,{_said(cue, ass_text)}\n"
        )
    return _ASS_HEAD + "".join(rows)


def ass_text(text: str) -> str:
    """Returns text for ASS: braces open overrides and a backslash a command, so both are broken up."""
    return text.replace("\\", f"\\{_JOINER}").replace("{", "(").replace("}", ")")


def to_rttm(subtitles: Subtitles, sdh: bool = False) -> str:
    """Returns who speaks when, as diarisation is measured: a name is one word there, so spaces become underscores."""
    del sdh
    episode = one_word(subtitles.episode)
    return "".join(
        f"SPEAKER {episode} 1 {line.start:.3f} {max(line.end - line.start, 0.001):.3f} <NA> <NA>"
        f" {one_word(line.name or UNKNOWN)} <NA> <NA>\n"
        for line in subtitles.lines
    )


def one_word(name: str) -> str:
    """Returns a name as RTTM has it, one word."""
    return "_".join(_flat(name).split()) or "_"


def to_json(subtitles: Subtitles, sdh: bool = False) -> str:
    """Returns lines and laughter as JSON, for programs."""
    del sdh
    rows = [
        {"start": round(line.start, 3), "end": round(line.end, 3), "name": line.name, "text": line.text}
        for line in subtitles.lines
    ]
    laughs = [{"start": laugh.start, "end": laugh.end} for laugh in subtitles.laughs]
    whole = {"episode": subtitles.episode, "lines": rows, "laughter": laughs}
    return json_text(whole, indent=1) + "\n"


def why(all_subtitles: Sequence[Subtitles]) -> dict[str, Any]:
    """Returns, as JSON, the evidence for each line: its voice's distances, face, peaks and the last step it passed."""
    return {
        "exemplars": dict(all_subtitles[0].exemplars) if all_subtitles else {},
        "episodes": {s.episode: [_reasons(line) for line in s.lines] for s in all_subtitles},
    }


def _reasons(line: Line) -> dict[str, Any]:
    voice = asdict(line.assignment)
    return {
        "start": round(line.start, 3),
        "end": round(line.end, 3),
        "text": line.text,
        "name": line.name,
        "voice": {key: voice[key] for key in ("nearest", "distance", "runner_up", "runner_up_distance")},
        "passed": line.step,
        **line.evidence,
    }


FORMATS: Mapping[str, Callable[[Subtitles, bool], str]] = {
    ".srt": to_srt,
    ".vtt": to_vtt,
    ".ass": to_ass,
    ".rttm": to_rttm,
    ".json": to_json,
}


def write_subtitles(subtitles: Subtitles, path: str | os.PathLike[str], sdh: bool = False) -> None:
    """Writes the format that the file's ending names; whole or not at all."""
    path = Path(path)
    write_text(path, FORMATS[known_format(path)](subtitles, sdh))


def known_format(path: str | os.PathLike[str]) -> str:
    """Returns the ending of a path, in lower case. Raises StoryjaxError if it is none of FORMATS."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise StoryjaxError(
            f"can't tell the format of {path}.{nearest(suffix, FORMATS)} Known endings: {', '.join(FORMATS)}"
        )
    return suffix


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 with plain line ends so that the file appears whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise StoryjaxError(f"can't write {path}: {error.strerror or error}; choose another --out") from error


def _stamp(seconds: float, point: str) -> str:
    milliseconds = max(0, round(seconds * 1000))
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _ass_stamp(seconds: float) -> str:
    centiseconds = max(0, round(seconds * 100))
    hours, rest = divmod(centiseconds, 360_000)
    minutes, rest = divmod(rest, 6000)
    return f"{hours}:{minutes:02d}:{rest // 100:02d}.{rest % 100:02d}"
