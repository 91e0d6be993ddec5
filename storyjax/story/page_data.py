"""What the pages of the app show, as plain values that become JSON: of the whole story, of a film, of a time in it.

Everything long comes in pages (`offset`, `limit`) or in windows of time, so that a film of hours opens as fast as one
of minutes. Times are seconds; boxes are left, top, width and height as fractions of the image.
"""

from collections.abc import Sequence
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.story.rows import Caption, Entity, Film
from storyjax.story.store import Story
from storyjax.subtitles.writers import isolated, vtt_text

PAGE = 500
MOST_ROWS = 5000
MOST_WINDOW_S = 60.0
_BOXES_MARGIN_S = 1.0
_SHORTEST_CUE_S = 0.3

Json = dict[str, Any]


class UnknownRow(StoryjaxError):
    """Something that the story does not have."""


def library(story: Story) -> Json:
    """Returns all films, each with its picture and what is known of it, and how many people and things there are."""
    with story.reading() as db:
        counts = {
            name: dict(db.execute(f"SELECT film, {what} FROM {table} GROUP BY film").fetchall())
            for name, table, what in (
                ("shots", "shots", "count(*)"),
                ("lines", "utterances", "count(*)"),
                ("seen", "appearances", "count(DISTINCT entity)"),
            )
        }
        kinds = dict(db.execute("SELECT kind, count(*) FROM entities GROUP BY kind").fetchall())
    films = [
        {
            **film_facts(film),
            "still": _film_still(story, film.id),
            **{name: counts[name].get(film.id, 0) for name in ("shots", "lines", "seen")},
        }
        for film in story.films()
    ]
    return {"name": story.folder.resolve().name, "films": films, "kinds": kinds}


def film_facts(film: Film) -> Json:
    """Returns what the probe of a film told."""
    return {
        "id": film.id,
        "name": film.name,
        "duration": film.duration_s,
        "width": film.width,
        "height": film.height,
        "fps": film.fps,
        "video": film.has_video,
        "audio": film.has_audio,
        "state": film.state,
        "reason": film.reason,
    }


def film_of(story: Story, film: int) -> Film:
    """Returns a film by its number. Raises UnknownRow: there is none."""
    found = story.rows(Film, "WHERE id = ?", [film])
    if not found:
        raise UnknownRow(f"the story has no film number {film}")
    return found[0]


def _film_still(story: Story, film: int) -> int | None:
    """The picture that stands for a film: of a shot with somebody in it, not at the beginning, where titles are."""
    with story.reading() as db:
        found = db.execute(
            "SELECT s.still FROM shots s JOIN films f ON f.id = s.film WHERE s.film = ? AND s.still IS NOT NULL"
            " ORDER BY EXISTS (SELECT 1 FROM tracks t WHERE t.shot = s.id AND t.entity IS NOT NULL) DESC,"
            " abs(s.start_s - f.duration_s * 0.4) LIMIT 1",
            (film,),
        ).fetchone()
    return None if found is None else found[0]


def entities(
    story: Story, kind: str | None = None, film: int | None = None, offset: int = 0, limit: int = PAGE
) -> Json:
    """Returns people and things, those longest seen or heard first.

    Args:
        story: the story.
        kind: "person" or "thing"; None: both.
        film: those of this film alone; None: of all.
        offset: how many are left out.
        limit: the most that are returned.
    """
    where = [] if film is None else [film]
    of = "" if film is None else "WHERE film = ?"
    with story.reading() as db:
        seen = {
            row[0]: row[1:]
            for row in db.execute(
                f"SELECT entity, sum(end_s - start_s), count(*), count(DISTINCT film) FROM appearances {of} GROUP BY 1",
                where,
            )
        }
        said = {
            row[0]: row[1:]
            for row in db.execute(
                f"SELECT speaker, sum(end_s - start_s), count(*), count(DISTINCT film) FROM utterances {of} GROUP BY 1",
                where,
            )
        }
        best = "max(coalesce(confidence, 0) + min(end_s - start_s, 5) / 50)"
        stills = {
            row[0]: row[1]
            for row in db.execute(
                f"SELECT entity, still, {best} FROM tracks WHERE still IS NOT NULL AND entity IS NOT NULL GROUP BY 1"
            )
        }
    found = [one for one in story.entities(kind) if film is None or one.id in seen or one.id in said]

    def facts(entity: Entity) -> Json:
        shown, spoken = seen.get(entity.id, (0.0, 0, 0)), said.get(entity.id, (0.0, 0, 0))
        return {
            **entity_facts(entity),
            "still": stills.get(entity.id),
            "seen": round(shown[0], 1),
            "appearances": shown[1],
            "said": round(spoken[0], 1),
            "lines": spoken[1],
            "films": max(shown[2], spoken[2]),
        }

    rows = sorted(
        (facts(one) for one in found), key=lambda row: (not row["named"], -row["seen"] - row["said"], row["id"])
    )
    return {"total": len(rows), "rows": rows[offset : offset + limit]}


def entity(story: Story, number: int) -> Json:
    """Returns somebody or something, and the films in which they are seen or speak, each with the first time.

    Raises:
        UnknownRow: there is no such person or thing.
    """
    found = story.rows(Entity, "WHERE id = ?", [number])
    if not found:
        raise UnknownRow("there is no such person or thing: it was changed meanwhile")
    films: dict[int, Json] = {
        one.id: {"id": one.id, "name": one.name, "seen": 0.0, "lines": 0, "first": one.duration_s}
        for one in story.films()
    }
    for appearance in story.appearances(entity=number):
        film = films[appearance.film]
        film["seen"] += appearance.end_s - appearance.start_s
        film["first"] = min(film["first"], appearance.start_s)
    for line in story.utterances(speaker=number):
        film = films[line.film]
        film["lines"] += 1
        film["first"] = min(film["first"], line.start_s)
    return {**entity_facts(found[0]), "films": [one for one in films.values() if one["seen"] or one["lines"]]}


def entity_facts(entity: Entity) -> Json:
    """Returns who or what an entity is."""
    return {
        "id": entity.id,
        "name": entity.name,
        "kind": entity.kind,
        "category": entity.category,
        "named": entity.named,
    }


def film(story: Story, film: int) -> Json:
    """Returns a film, who is in it, and how many rows of each kind there are. Raises UnknownRow: no such film."""
    facts = film_facts(film_of(story, film))
    with story.reading() as db:
        counts = {
            table: db.execute(f"SELECT count(*) FROM {table} WHERE film = ?", (film,)).fetchone()[0]
            for table in ("shots", "tracks", "appearances", "utterances", "captions")
        }
    return {**facts, "counts": counts, "entities": entities(story, film=film, limit=MOST_ROWS)["rows"]}


def shots(story: Story, film: int, offset: int = 0, limit: int = PAGE) -> Json:
    """Returns shots in order: number, start, end, picture (or None), and what they show in words."""
    with story.reading() as db:
        rows = db.execute(
            "SELECT id, number, start_s, end_s, still FROM shots WHERE film = ? ORDER BY number LIMIT ? OFFSET ?",
            (film, limit, offset),
        ).fetchall()
        total = _count(story, "shots", film)
    shown: dict[int, list[str]] = {}
    if rows:
        between = [film, min(row[0] for row in rows), max(row[0] for row in rows)]
        for caption in story.rows(Caption, "WHERE film = ? AND shot BETWEEN ? AND ? ORDER BY id", between):
            shown.setdefault(caption.shot, []).append(caption.text)
    return {
        "total": total,
        "rows": [
            {"number": number, "start": start, "end": end, "still": still, "shows": shown.get(id_, [])}
            for id_, number, start, end, still in rows
        ],
    }


def lanes(story: Story, film: int, offset: int = 0, limit: int = MOST_ROWS) -> Json:
    """Returns when who is seen and speaks, by time: rows of "seen" or "said", entity (0: nobody knows), start, end."""
    with story.reading() as db:
        rows = db.execute(
            "SELECT 'seen', entity, start_s, end_s FROM appearances WHERE film = :film UNION ALL"
            " SELECT 'said', coalesce(speaker, 0), start_s, end_s FROM utterances WHERE film = :film"
            " ORDER BY 3, 4, 1, 2 LIMIT :limit OFFSET :offset",
            {"film": film, "limit": limit, "offset": offset},
        ).fetchall()
        total = _count(story, "appearances", film) + _count(story, "utterances", film)
    return {"total": total, "rows": [[a, b, round(c, 3), round(d, 3)] for a, b, c, d in rows]}


def utterances(story: Story, film: int, offset: int = 0, limit: int = PAGE) -> Json:
    """Returns what is said, in order."""
    with story.reading() as db:
        rows = db.execute(
            "SELECT id, number, start_s, end_s, text, coalesce(speaker, 0), label, confidence, source FROM utterances"
            " WHERE film = ? ORDER BY start_s, id LIMIT ? OFFSET ?",
            (film, limit, offset),
        ).fetchall()
        total = _count(story, "utterances", film)
    names = ("id", "number", "start", "end", "text", "entity", "label", "confidence", "source")
    return {"total": total, "rows": [dict(zip(names, row, strict=True)) for row in rows]}


def tracks(story: Story, film: int, start: float, end: float) -> Json:
    """Returns what is seen in a window of at most 60 s: tracks, each with its boxes there (time, left, top, width,
    height) and, around it, those of a second."""
    end = min(end, start + MOST_WINDOW_S)
    with story.reading() as db:
        rows = db.execute(
            "SELECT id, number, kind, category, start_s, end_s, coalesce(entity, 0), confidence, source, still"
            " FROM tracks WHERE film = ? AND start_s < ? AND end_s >= ? ORDER BY start_s, id",
            (film, end, start),
        ).fetchall()
        boxes: dict[int, list[list[float]]] = {row[0]: [] for row in rows}
        for track, *box in db.execute(
            'SELECT b.track, b.time_s, b."left", b.top, b.width, b.height FROM tracks t JOIN boxes b'
            " ON b.track = t.id WHERE t.film = ? AND t.start_s < ? AND t.end_s >= ? AND b.time_s BETWEEN ? AND ?"
            " ORDER BY b.track, b.time_s",
            (film, end, start, start - _BOXES_MARGIN_S, end + _BOXES_MARGIN_S),
        ):
            boxes[track].append([round(value, 4) for value in box])
    names = ("id", "number", "kind", "category", "start", "end", "entity", "confidence", "source", "still")
    return {
        "start": start,
        "end": end,
        "rows": [{**dict(zip(names, row, strict=True)), "boxes": boxes[row[0]]} for row in rows],
    }


def search(story: Story, words: str, film: int | None = None, limit: int = 50) -> Json:
    """Returns what is said and shown that holds all the words: "said" (best match first), "shown" (by time), and
    "names" of people and things."""
    said = [
        {"film": u.film, "start": u.start_s, "end": u.end_s, "text": u.text, "label": u.label, "entity": u.speaker or 0}
        for u in story.said(words, film, limit)
    ]
    terms = [word.casefold() for word in words.split()]
    if not terms:
        return {"said": [], "shown": [], "names": []}
    like = " AND ".join(r"c.text LIKE ? ESCAPE '\'" for _ in terms) + ("" if film is None else " AND c.film = ?")
    values: Sequence[Any] = [f"%{_quoted(term)}%" for term in terms] + ([] if film is None else [film])
    with story.reading() as db:
        shown = db.execute(
            "SELECT s.film, s.start_s, s.end_s, c.text, s.still FROM captions c JOIN shots s ON s.id = c.shot"
            f" WHERE {like} ORDER BY s.film, s.start_s LIMIT ?",
            [*values, limit],
        ).fetchall()
    names = [entity_facts(one) for one in story.entities() if all(term in one.name.casefold() for term in terms)]
    keys = ("film", "start", "end", "text", "still")
    return {"said": said, "shown": [dict(zip(keys, row, strict=True)) for row in shown], "names": names[:limit]}


def webvtt(story: Story, film: int) -> str:
    """Returns a film's subtitles as WebVTT, with the speaker as a voice tag; the identifier of a cue is the speaker's
    number (0: nobody knows)."""
    cues = ["WEBVTT\n"]
    for line in story.utterances(film):
        if text := " ".join(line.text.split()):
            stop = max(line.end_s, line.start_s + _SHORTEST_CUE_S)
            name = vtt_text(isolated(line.label))
            cues.append(
                f"{line.speaker or 0}\n{_stamp(line.start_s)} --> {_stamp(stop)}\n<v {name}>{vtt_text(text)}</v>\n"
            )
    return "\n".join(cues)


def _stamp(seconds: float) -> str:
    whole = round(max(0.0, seconds) * 1000)
    return f"{whole // 3600000:02d}:{whole // 60000 % 60:02d}:{whole // 1000 % 60:02d}.{whole % 1000:03d}"


def _quoted(term: str) -> str:
    return term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _count(story: Story, table: str, film: int) -> int:
    with story.reading() as db:
        return db.execute(f"SELECT count(*) FROM {table} WHERE film = ?", (film,)).fetchone()[0]
