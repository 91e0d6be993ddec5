"""When people and things are seen: the tracks of each, joined over cuts into times without a break."""

import sqlite3

from storyjax.story.naming import join_spans
from storyjax.story.rows import AUTO, USER, Appearance, Film
from storyjax.story.store import Story

GAP_S = 1.0  # a shorter break, as of a turned head or a missed box, is none


def store_appearances(story: Story, db: sqlite3.Connection, film: Film) -> None:
    """Stores when each entity of a film is seen, inside a transaction, in place of what was known before."""
    db.execute("DELETE FROM appearances WHERE film = ?", (film.id,))
    of_entity: dict[int, list] = {}
    rows = {track.id: track for track in story.tracks(film.id)}
    for track in rows.values():
        if track.entity is not None:
            span = (track.start_s, track.end_s, track.id, 1.0 if track.confidence is None else track.confidence)
            of_entity.setdefault(track.entity, []).append(span)
    for entity in sorted(of_entity):
        for start, end, ids, confidence in join_spans(of_entity[entity], GAP_S):
            tracks = [rows[one] for one in ids]
            source = USER if any(track.source == USER for track in tracks) else AUTO
            evidence = {"tracks": [track.number for track in tracks]}
            model = ", ".join(dict.fromkeys(track.model for track in tracks))
            row = Appearance(0, film.id, entity, start, end, round(confidence, 4), source, evidence, model)
            story.add(db, row)
    remove_unused_entities(db)


def remove_unused_entities(db: sqlite3.Connection) -> None:
    """Removes entities that nothing in any film is of."""
    used = " UNION ".join(
        f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL"
        for table, column in (("tracks", "entity"), ("utterances", "speaker"), ("appearances", "entity"))
    )
    db.execute(f"DELETE FROM entities WHERE id NOT IN ({used})")
