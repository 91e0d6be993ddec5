"""Forgetting somebody: every row, vector, picture and correction of a person or thing goes, and stays no free page.

Tracks and sentences themselves stay, for they say what the film shows and what is said; but nothing any more says of
whom they are, and nothing is left by which that could be found out again: no faces, no voices, no pictures.
"""

import os
import shutil
import sqlite3
from pathlib import Path

from storyjax.core.files import json_text
from storyjax.story.export.document import NAME, write_document
from storyjax.story.rows import OBJECT, Entity
from storyjax.story.speech import WORK
from storyjax.story.store import Story

UNKNOWN = "Unknown"


def forget_entity(folder: str | os.PathLike[str], gallery_id: str) -> str:
    """Removes an entry of the gallery from a story, and returns what was removed, in a line.

    Args:
        folder: of the story.
        gallery_id: the entry's id.

    Raises:
        StoryjaxError: there is no story, or it cannot be written; nothing is then changed.
    """
    with Story.open(folder) as story:
        found = [entity for entity in story.entities() if entity.gallery == gallery_id]
        if not found:
            return f"{folder}: nothing in it is of that entry"
        (entity,) = found
        with story.transaction() as db:
            counts = _remove(story, db, entity)
        with story.reading() as db:
            db.execute("VACUUM")
        shutil.rmtree(Path(folder) / WORK, ignore_errors=True)  # the stages' results: voices of sentences
        if (Path(folder) / NAME).exists():
            write_document(story)
    tracks, sentences = counts
    left = f"{tracks} tracks and {sentences} sentences have no name any more"
    return f"{folder}: {left}, their vectors and pictures are gone"


def _remove(story: Story, db: sqlite3.Connection, entity: Entity) -> tuple[int, int]:
    tracks = [row[0] for row in db.execute("SELECT id FROM tracks WHERE entity = ?", (entity.id,))]
    sentences = [row[0] for row in db.execute("SELECT id FROM utterances WHERE speaker = ?", (entity.id,))]
    for track in tracks:
        _remove_track(db, track)
    for sentence in sentences:
        db.execute("DELETE FROM vectors WHERE role = 'voice' AND owner = ?", (sentence,))
    db.execute(
        "UPDATE utterances SET speaker = NULL, label = ?, confidence = NULL, source = 'auto', evidence = '{}'"
        " WHERE speaker = ?",
        (UNKNOWN, entity.id),
    )
    db.execute("DELETE FROM appearances WHERE entity = ?", (entity.id,))
    for table, column in (("tracks", "evidence"), ("utterances", "evidence"), ("appearances", "evidence")):
        _forget_in_text(db, table, column, entity.name)
    _forget_corrections(db, entity)
    db.execute("DELETE FROM entities WHERE id = ?", (entity.id,))
    return len(tracks), len(sentences)


def _remove_track(db: sqlite3.Connection, track: int) -> None:
    """Takes away by what a track could be recognised, and the pictures of the shot that show it."""
    shot, own = db.execute("SELECT shot, still FROM tracks WHERE id = ?", (track,)).fetchone()
    shown = db.execute("SELECT still FROM shots WHERE id = ?", (shot,)).fetchone()[0]
    pictures = {still for still in (own, shown) if still is not None}
    db.execute("DELETE FROM vectors WHERE role IN ('face', 'image') AND owner = ?", (track,))
    db.execute("DELETE FROM vectors WHERE role = 'frame' AND owner = ?", (shot,))
    for still in pictures:
        db.execute("UPDATE tracks SET still = NULL WHERE still = ?", (still,))
        db.execute("UPDATE shots SET still = NULL WHERE still = ?", (still,))
        db.execute("DELETE FROM stills WHERE id = ?", (still,))
    db.execute(
        "UPDATE tracks SET entity = NULL, confidence = NULL, kind = ?, source = 'auto', evidence = '{}' WHERE id = ?",
        (OBJECT, track),
    )


def _forget_in_text(db: sqlite3.Connection, table: str, column: str, name: str) -> None:
    """Empties the evidence of rows that name somebody: as the next likely, for instance."""
    quoted = json_text(name)
    db.execute(f"UPDATE {table} SET {column} = '{{}}' WHERE instr({column}, ?) > 0", (quoted,))


def _forget_corrections(db: sqlite3.Connection, entity: Entity) -> None:
    for text in (json_text(entity.name), str(entity.gallery)):
        db.execute("DELETE FROM corrections WHERE instr(target, ?) > 0 OR instr(value, ?) > 0", (text, text))
