"""The work of `storyjax subtitle name`: other names in a file of subtitles, and voices that are remembered by them."""

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.files import check_outputs, json_text
from storyjax.gallery.gallery import Gallery
from storyjax.subtitles.cast import clean_name
from storyjax.subtitles.gallery_voices import find_entry, remember
from storyjax.subtitles.transcripts import read_text
from storyjax.subtitles.voices import SPEAKERS_SUFFIX, VOICES_FILE, Voices, read_voices_file, speakers_file
from storyjax.subtitles.writers import ass_text, isolated, known_format, one_word, srt_text, vtt_text, write_text

_SRT_CUE = re.compile(r"(?m)^(\s*\d[\d:,.]*\s*-->.*\r?\n)(\u2068?[^:\n\u2069]{1,80}\u2069?)(?=: )")
_VTT_CUE = re.compile(r"<v ([^>\n]*)>(?:([^<:\n]{1,80})(?=: ))?")
_ASS_CUE = re.compile(r"(?m)^(Dialogue: (?:[^,\n]*,){4})([^,\n]*)(,(?:[^,\n]*,){4})([^:\n]{1,80})(?=: )")
_RTTM_CUE = re.compile(r"(?m)^(SPEAKER (?:\S+ ){6})(\S+)")


@dataclass
class _Names:
    """New names by old ones, and which of the old ones were met."""

    new: Mapping[str, str]
    met: dict[str, int]

    def of(self, shown: str, quote: Callable[[str], str]) -> str:
        """The new name as a file shows it, for the name that it shows; other names stay. Capitals stay capitals."""
        for old, new in self.new.items():
            if shown == quote(old):
                self.met[old] = self.met.get(old, 0) + 1
                return quote(new)
            if shown == quote(old.upper()):
                self.met[old] = self.met.get(old, 0) + 1
                return quote(new.upper())
        self.met.setdefault(shown, 0)
        return shown


def rename(text: str, suffix: str, new: Mapping[str, str]) -> tuple[str, dict[str, int]]:
    """Returns subtitles with other names, and how many lines each name had that is in them (0: it stays).

    Args:
        text: of the file.
        suffix: its format, one of `writers.FORMATS`.
        new: the new names by the old ones; all change at once, so two may be exchanged.

    Raises:
        ValueError: a JSON file that is none.
    """
    names = _Names(new, {})
    if suffix == ".json":
        given = json.loads(text)
        for line in given["lines"]:
            if line["name"] is not None:
                line["name"] = names.of(line["name"], str)
        return json_text(given, indent=1) + "\n", names.met
    if suffix == ".srt":
        text = _SRT_CUE.sub(lambda m: m[1] + names.of(m[2], lambda n: srt_text(isolated(n))), text)
    elif suffix == ".rttm":
        text = _RTTM_CUE.sub(lambda m: m[1] + names.of(m[2], one_word), text)
    elif suffix == ".ass":
        text = _ASS_CUE.sub(lambda m: _in_ass(m, names), text)
    else:
        text = _VTT_CUE.sub(lambda m: _in_vtt(m, names), text)
    return text, names.met


def _in_vtt(cue: re.Match[str], names: _Names) -> str:
    """The voice tag, and the same name after it in subtitles for the deaf, whose names are in capitals."""
    tag = names.of(cue[1], vtt_text)
    if cue[2] is None:
        return f"<v {tag}>"
    plain = html.unescape(cue[1])
    again = plain == plain.upper() and cue[2] == _isolated_vtt(cue[1])
    return f"<v {tag}>{_isolated_vtt(tag) if again else cue[2]}"


def _isolated_vtt(quoted: str) -> str:
    return vtt_text(isolated(html.unescape(quoted)))


def _in_ass(cue: re.Match[str], names: _Names) -> str:
    """The field for actors, and the name before the text."""
    shown = names.of(cue[4], lambda n: ass_text(isolated(n)))
    field = _Names(names.new, {}).of(cue[2], lambda n: ass_text(n).replace(",", "‚"))
    return f"{cue[1]}{field}{cue[3]}{shown}"


def read_renames(given: Sequence[str]) -> dict[str, str]:
    """Returns new names by old ones, of "OLD=NEW". Raises StoryjaxError: one that is not so, or an old name twice."""
    found: dict[str, str] = {}
    for one in given:
        old, sign, new = (part.strip() for part in one.partition("="))
        if not sign or not old:
            raise StoryjaxError(f"'{one}' names nobody: write \"Speaker 2\"=Ana")
        if old in found:
            raise StoryjaxError(f"'{old}' is given two names: give one")
        found[old] = clean_name(new, f"'{one}'")
    if not found:
        raise StoryjaxError('nobody is named: write storyjax subtitle name FILE "Speaker 2"=Ana')
    return found


def name_speakers(
    file: str,
    given: Sequence[str],
    voices: str | None = None,
    out: str | None = None,
    gallery: str | None = None,
) -> str:
    """Renames speakers in a file of subtitles and in the file of speakers beside it, and remembers their voices.

    Args:
        file: subtitles that storyjax wrote; they are replaced, whole or not at all, unless `out` is another file.
        given: "OLD=NEW" for each speaker.
        voices: the voices file, or its folder; None: voices.json beside the subtitles.
        out: where the renamed subtitles go.
        gallery: a folder of people that is taught the voices, in place of a voices file.

    Returns:
        What was done, for people, a line each.

    Raises:
        StoryjaxError: what a person can fix, in one line; nothing is then changed.
    """
    path, new = Path(file), read_renames(given)
    if gallery is not None and voices is not None:
        raise StoryjaxError("--gallery keeps voices in place of a voices file: leave it or --voices out")
    people = None if gallery is None else Gallery(gallery)
    if people is not None:
        for name in new.values():
            find_entry(people, name)  # an error before anything is written
    suffix = known_format(path)
    if not path.is_file():
        raise StoryjaxError(f"there are no subtitles {path}: give the file that storyjax subtitle wrote")
    text, _ = read_text(path)
    try:
        renamed, met = rename(text, suffix, new)
    except (ValueError, KeyError, TypeError) as error:
        raise StoryjaxError(f"{path} is no JSON of storyjax subtitle ({error}): give the file that it wrote") from error
    if missing := [old for old in new if not met.get(old)]:
        others = [name for name in met if name not in new]
        raise StoryjaxError(f"nobody is called '{missing[0]}' in {path}.{nearest(missing[0], others)}")
    target, sidecar = Path(out or path), speakers_file(path)
    place = Path(voices) if voices is not None else path.parent / VOICES_FILE
    place = place / VOICES_FILE if place.is_dir() else place
    if place.suffix.lower() != ".json" or place.name.endswith(SPEAKERS_SUFFIX):
        raise StoryjaxError(f"--voices {place}: a voices file ends in .json (and not in {SPEAKERS_SUFFIX})")
    read = [sidecar] if target.resolve() == path.resolve() else [sidecar, path]
    outputs = [("--out" if out else "", target), ("--voices", place if people is None else None)]
    check_outputs(outputs, read, make_folders=True)
    here = _renamed_speakers(sidecar, new)
    writes, lines = _remembered(sidecar, speakers_file(target), place, new) if people is None else ([], [])
    if people is not None and here is not None:
        writes = [(speakers_file(target), here.text())]
    for file_path, content in [(target, renamed), *writes]:
        write_text(file_path, content)
    if people is not None:
        named = {} if here is None else {name: v for name, v in here.voices.items() if name in new.values()}
        taught = [] if here is None or not named else remember(people, Voices(here.encoder, named), path.stem)
        lines = taught or [f"no voice was remembered: {sidecar} is not there, or has none of {', '.join(new)}"]
    counts = ", ".join(f"{old} is {name} ({met[old]} lines)" for old, name in new.items())
    return "\n".join([f"{target}: {counts}", *lines])


def _renamed_speakers(sidecar: Path, new: Mapping[str, str]) -> Voices | None:
    """The speakers of a file of subtitles under their new names; None where no file has their voices."""
    if not sidecar.is_file():
        return None
    speakers = read_voices_file(sidecar)
    here = Voices(speakers.encoder)
    for label, voice in speakers.voices.items():
        here = here.with_voice(new.get(label, label), voice)
    return here


def _remembered(
    sidecar: Path, moved: Path, place: Path, new: Mapping[str, str]
) -> tuple[list[tuple[Path, str]], list[str]]:
    """The files to write so that voices are remembered, with their text, and lines for people."""
    if not sidecar.is_file():
        return [], [f"no voice was remembered: {sidecar} is not there, which a run without a cast list writes"]
    speakers = read_voices_file(sidecar)
    known = Voices(speakers.encoder)
    if place.is_file():
        known = read_voices_file(place)
        known.check_encoder(speakers.encoder, place)
    known = Voices(speakers.encoder, known.voices)
    remembered, lines = [], []
    here = _renamed_speakers(sidecar, new) or speakers
    for label, voice in speakers.voices.items():
        if label in new:
            for name, other in known.voices.items():  # a voice has one name: an earlier one is taken back
                if any(part.within(voice.sources) for part in other.sources):
                    known = known.without_voice(name, voice)
                    if name != new[label]:
                        lines.append(f"{place}: this voice is '{new[label]}', no longer '{name}'")
    for label, voice in speakers.voices.items():
        if label in new:  # after all were taken back, for names may be exchanged
            known = known.with_voice(new[label], voice)
            remembered.append(new[label])
    if not remembered:
        return [], [f"no voice was remembered: {sidecar} has none of {', '.join(new)}"]
    names = ", ".join(dict.fromkeys(remembered))
    lines.append(f"{place}: knows the voice of {names}; 'storyjax subtitle VIDEO --voices {place}' names it")
    return [(place, known.text()), (moved, here.text())], lines


def forget(names: Sequence[str], voices: str | None = None) -> str:
    """Takes names out of a voices file; returns what was done, for people.

    Args:
        names: of people in it.
        voices: the voices file, or its folder; None: voices.json here.

    Raises:
        StoryjaxError: there is no such file, or nobody of that name in it; nothing is then changed.
    """
    place = Path(voices or VOICES_FILE)
    place = place / VOICES_FILE if place.is_dir() else place
    if not names:
        raise StoryjaxError("forget whom? write storyjax subtitle forget Ana --voices voices.json")
    known = read_voices_file(place)
    for name in names:
        if name not in known.voices:
            raise StoryjaxError(f"{place} knows nobody called '{name}'.{nearest(name, list(known.voices))}")
        known = known.without_voice(name)
    check_outputs([("--voices", place)])
    write_text(place, known.text())
    left = f"; it knows {', '.join(known.voices)}" if known.voices else "; it knows nobody now"
    return f"{place}: forgot {', '.join(names)}{left}"
