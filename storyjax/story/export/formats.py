"""Writing a story for other programs: `storyjax story export`."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import check_outputs, json_text, write_atomically
from storyjax.data.mot_text import format_rows, rows
from storyjax.story.export.document import document
from storyjax.story.export.elan import to_eaf
from storyjax.story.export.iiif import to_iiif
from storyjax.story.rows import Film
from storyjax.story.schema import FILE
from storyjax.story.store import Story
from storyjax.subtitles.exemplars import Assignment
from storyjax.subtitles.records import Line, Subtitles
from storyjax.subtitles.writers import to_rttm, to_vtt

DEFAULT_URL = "http://localhost:8000"
_NOBODY = Assignment(None, None, 2.0, None, 2.0)


@dataclass(frozen=True)
class Format:
    """A format of one file for each film.

    Attributes:
        ending: of the files.
        text: makes the text of a film; `url` is of IIIF manifests.
    """

    ending: str
    text: Callable[[Story, Film, str], str]


def _subtitles(story: Story, film: Film) -> Subtitles:
    lines = [Line(one.start_s, one.end_s, one.text, one.label, "speech", _NOBODY) for one in story.utterances(film.id)]
    return Subtitles(film.name, tuple(lines), (), np.zeros((len(lines), 0), np.float32), {})


def _mot(story: Story, film: Film) -> str:
    """Tracks in MOTChallenge's text; frames are counted from 1, at the film's own rate."""
    size = np.array([film.width, film.height, film.width, film.height], np.float32)
    parts = []
    for track in story.tracks(film.id):
        boxes = story.boxes(track.id)
        frames = np.round(boxes[:, 0] * film.fps).astype(int) + 1
        parts += [
            (int(frame), track.number + 1, box[1:5] * size, float(box[5]))
            for frame, box in zip(frames, boxes, strict=True)
        ]
    parts.sort(key=lambda part: part[:2])
    columns = [list(column) for column in zip(*parts, strict=True)] if parts else [[], [], np.zeros((0, 4)), []]
    return "".join(format_rows(rows(columns[0], columns[1], np.array(columns[2]).reshape(-1, 4), columns[3])))


def _elan(story: Story, film: Film, url: str) -> str:
    del url
    media = story.media(film)
    return to_eaf(story, film, media if media.exists() else None)


FORMATS: Mapping[str, Format] = {
    "vtt": Format(".vtt", lambda story, film, url: to_vtt(_subtitles(story, film))),
    "rttm": Format(".rttm", lambda story, film, url: to_rttm(_subtitles(story, film))),
    "elan": Format(".eaf", _elan),
    "mot": Format(".txt", lambda story, film, url: _mot(story, film)),
    "iiif": Format(".json", lambda story, film, url: json_text(to_iiif(story, film, url), indent=1) + "\n"),
}
NAMES = ("json", "csv", *FORMATS)


def export(
    story: Story, to: str, out: str | os.PathLike[str], film: str | None = None, url: str = DEFAULT_URL
) -> list[Path]:
    """Writes a story, or one film of it, and returns the files.

    Args:
        story: what is written.
        to: one of NAMES.
        out: of json a file; of csv a folder; of the others a file for one film, or a folder.
        film: the name of the film that is meant; None: all.
        url: where a IIIF manifest and the films will be found.

    Raises:
        StoryjaxError: an unknown format or film, or a file that cannot be written.
    """
    choose(to, NAMES, "--to")
    films = [story.film(film)] if film is not None else story.films()
    if not films:
        raise StoryjaxError(f"the story in {story.folder} has no films yet: 'storyjax story VIDEO --out DIR' first")
    out = Path(out)
    if to == "json":
        texts = {out: json_text(document(story, films), indent=1) + "\n"}
    elif to == "csv":
        texts = {out / f"{name}.csv": text for name, text in _tables(story, films).items()}
    else:
        one = FORMATS[to]
        single = len(films) == 1 and out.suffix.lower() == one.ending and not out.is_dir()
        places = [out] if single else [out / f"{name}{one.ending}" for name in _file_names(films)]
        texts = {place: one.text(story, each, url) for place, each in zip(places, films, strict=True)}
    read = [story.folder / FILE, *(story.media(each) for each in films)]
    check_outputs([("--out", path) for path in texts], read, make_folders=True)
    for path, text in texts.items():
        try:
            write_atomically(path, text)
        except OSError as error:
            raise StoryjaxError(f"cannot write {path} ({error.strerror}): check space and permissions") from error
    return list(texts)


def _file_names(films: Sequence[Film]) -> list[str]:
    """Names that are files' on any system."""
    return ["".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in film.name) for film in films]


def _tables(story: Story, films: Sequence[Film]) -> dict[str, str]:
    names: dict[int | None, str] = {entity.id: entity.name for entity in story.entities()}
    seen, said, tracks, shots = [], [], [], []
    for film in films:
        numbers = {shot.id: shot.number for shot in story.shots(film.id)}
        captions: dict[int, list[str]] = {}
        for caption in story.captions(film.id):
            captions.setdefault(caption.shot, []).append(f"{caption.kind}: {caption.text}")
        shots += [
            (film.name, one.number, one.start_s, one.end_s, "; ".join(captions.get(one.id, [])))
            for one in story.shots(film.id)
        ]
        seen += [
            (film.name, names[one.entity], one.start_s, one.end_s, one.confidence, one.source)
            for one in story.appearances(film.id)
        ]
        said += [
            (film.name, one.label, one.start_s, one.end_s, one.text, one.confidence, one.source)
            for one in story.utterances(film.id)
        ]
        tracks += [
            (
                *(film.name, one.number, numbers[one.shot], one.kind, one.category, names.get(one.entity)),
                *(one.start_s, one.end_s, one.confidence, one.source),
            )
            for one in story.tracks(film.id)
        ]
    time = ("start", "end")
    return {
        "shots": _csv(("film", "shot", *time, "shows"), shots),
        "appearances": _csv(("film", "name", *time, "confidence", "source"), seen),
        "utterances": _csv(("film", "speaker", *time, "text", "confidence", "source"), said),
        "tracks": _csv(("film", "track", "shot", "kind", "class", "name", *time, "confidence", "source"), tracks),
    }


def _csv(heading: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heading)
    for line in lines:
        writer.writerow([round(value, 4) if isinstance(value, float) else value for value in line])
    return out.getvalue()
