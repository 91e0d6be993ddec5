"""story.json: a story as one JSON document, by the schema docs/story.schema.json."""

import os
from pathlib import Path
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import json_text, write_atomically
from storyjax.story.rows import Film
from storyjax.story.store import Story

VERSION = 1
NAME = "story.json"


def document(story: Story, films: list[Film] | None = None) -> dict[str, Any]:
    """Returns a story, or what it says of some films, as JSON; times are seconds, boxes are left to other formats."""
    entities = story.entities()
    chosen = story.films() if films is None else films
    return {
        "format": "storyjax story",
        "version": VERSION,
        "entities": [
            {"id": one.id, "kind": one.kind, "name": one.name, "category": one.category, "gallery": one.gallery}
            for one in entities
        ],
        "films": [_film(story, film) for film in chosen],
    }


def _film(story: Story, film: Film) -> dict[str, Any]:
    numbers = {shot.id: shot.number for shot in story.shots(film.id)}
    captions: dict[int, list[dict[str, Any]]] = {}
    for caption in story.captions(film.id):
        row = {"kind": caption.kind, "text": caption.text, "confidence": _rounded(caption.confidence)}
        captions.setdefault(caption.shot, []).append(row | {"model": caption.model})
    return {
        "name": film.name,
        "path": film.path,
        "digest": film.digest,
        "duration": _rounded(film.duration_s),
        "width": film.width,
        "height": film.height,
        "fps": _rounded(film.fps),
        "state": film.state,
        "reason": film.reason,
        "shots": [
            {"number": one.number, **_time(one), "captions": captions.get(one.id, [])} for one in story.shots(film.id)
        ],
        "tracks": [
            {
                "number": one.number,
                "shot": numbers[one.shot],
                "kind": one.kind,
                "category": one.category,
                "entity": one.entity,
                **_time(one),
                **_stands_on(one),
            }
            for one in story.tracks(film.id)
        ],
        "appearances": [{"entity": one.entity, **_time(one), **_stands_on(one)} for one in story.appearances(film.id)],
        "utterances": [
            {
                "number": one.number,
                "speaker": one.speaker,
                "label": one.label,
                "text": one.text,
                **_time(one),
                **_stands_on(one),
            }
            for one in story.utterances(film.id)
        ],
    }


def _time(row: Any) -> dict[str, Any]:
    return {"start": _rounded(row.start_s), "end": _rounded(row.end_s)}


def _stands_on(row: Any) -> dict[str, Any]:
    confidence = _rounded(row.confidence)
    return {"confidence": confidence, "source": row.source, "evidence": dict(row.evidence), "model": row.model}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def write_document(story: Story) -> Path:
    """Writes story.json into the story's folder and returns its place. Raises StoryjaxError: it cannot be written."""
    path = story.folder / NAME
    try:
        write_atomically(path, json_text(document(story), indent=1) + "\n")
    except OSError as error:
        raise StoryjaxError(
            f"cannot write {os.fspath(path)} ({error.strerror}): check space and permissions"
        ) from error
    return path
