"""The stage that names the tracks and the sentences of a film, and its rows of entities."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from storyjax.core.arrays import unit_norm
from storyjax.core.files import json_text
from storyjax.gallery.matching import Match, match
from storyjax.story.describers import Describers
from storyjax.story.known import FACE, IMAGE, VOICE, Knowledge
from storyjax.story.mouths import speaking_tracks
from storyjax.story.naming import (
    NOBODY,
    Named,
    SentenceFacts,
    Thresholds,
    TrackFacts,
    best_similarity,
    name_film,
)
from storyjax.story.options import BOTH
from storyjax.story.rows import OBJECT, PERSON, THING, USER, Entity, Film, Track, Utterance
from storyjax.story.speech import Speech
from storyjax.story.store import Story
from storyjax.subtitles.pipeline import distance_of

_SURE_VOICE = 0.9  # confidence from which a sentence of another film is a sample of a voice
GROUP = "entity "  # the key of a group of another film: this and its id
_LIKE_A_PERSON = 0.1  # so much below the threshold of faces something that may be anything counts as a person


@dataclass(frozen=True)
class NameNetworks:
    """The networks whose vectors are compared, by their fingerprints, and the thresholds of their cosines."""

    face: str
    voice: str
    image: str
    thresholds: Thresholds
    image_threshold: float

    @classmethod
    def of(cls, describers: Describers, speech: Speech) -> "NameNetworks":
        """Returns those of the describers and of speech."""
        thresholds = Thresholds(describers.face_threshold, 1 - distance_of(speech.config))
        return cls(
            describers.face_fingerprint,
            speech.voices.id,
            describers.image_fingerprint,
            thresholds,
            describers.image_threshold,
        )


@dataclass(frozen=True)
class Facts:
    """What naming starts from: a film's tracks and sentences with their vectors by id, and by sentence the tracks whose
    mouths move with it (mouths.py)."""

    tracks: Sequence[Track]
    sentences: Sequence[Utterance]
    faces: Mapping[int, Float32[np.ndarray, "_ e"]]
    images: Mapping[int, Float32[np.ndarray, "_ d"]]
    voices: Mapping[int, Float32[np.ndarray, "_ d"]]
    speaking: Mapping[int, tuple[int, ...]]


def read_facts(story: Story, film: Film, networks: NameNetworks) -> Facts:
    """Returns the facts of a film."""
    vectors = {
        role: _by_owner(story, role, model, film.id)
        for role, model in ((FACE, networks.face), (IMAGE, networks.image), (VOICE, networks.voice))
    }
    tracks, sentences = story.tracks(film.id), story.utterances(film.id)
    speaking = speaking_tracks(story, sentences, [one for one in tracks if one.id in vectors[FACE]])
    return Facts(tracks, sentences, vectors[FACE], vectors[IMAGE], vectors[VOICE], speaking)


def _by_owner(story: Story, role: str, model: str, film: int) -> dict[int, Float32[np.ndarray, "_ d"]]:
    found: dict[int, list[np.ndarray]] = {}
    for vector in story.vectors(role, model, film):
        found.setdefault(vector.owner, []).append(vector.vector)
    return {owner: np.stack(rows) for owner, rows in found.items()}


def people_and_things(
    facts: Facts, knowledge: Knowledge, networks: NameNetworks
) -> tuple[list[Track], dict[int, Match]]:
    """Returns the tracks that may be of people, and of the others which thing each is, how probable, and the next."""
    people: list[Track] = []
    things: dict[int, Match] = {}
    for track in facts.tracks:
        images, faces = facts.images.get(track.id), facts.faces.get(track.id)
        told = track.evidence.get("kind")
        found = None if images is None else match(images, knowledge.images, networks.image_threshold)
        if told == PERSON or (not told and _like_a_person(faces, found, knowledge, networks)):
            people.append(track)
        else:
            things[track.id] = Match(None, 0.0, None) if found is None else found
    return people, things


def _like_a_person(faces: Any, found: Any, knowledge: Knowledge, networks: NameNetworks) -> bool:
    """Whether something whose kind the tracker does not know is a person: it looks like a face more than like a thing
    that is known."""
    if faces is None:
        return False
    likeness = best_similarity(faces, knowledge.faces)
    if found is not None and found.id is not None:
        return likeness >= networks.thresholds.face and likeness > found.confidence
    return not knowledge.faces or likeness >= networks.thresholds.face - _LIKE_A_PERSON


def name_people(
    facts: Facts, people: Sequence[Track], knowledge: Knowledge, networks: NameNetworks, by: str = BOTH
) -> Named:
    """Returns who the tracks of people and the sentences are of."""
    none = np.zeros((0, 1), np.float32)
    tracks = [TrackFacts(one.id, one.start_s, one.end_s, facts.faces.get(one.id, none)) for one in people]
    sentences = [
        SentenceFacts(
            *(one.id, one.start_s, one.end_s, str(one.evidence.get("voice"))),
            *(_first(facts.voices.get(one.id)), facts.speaking.get(one.id)),
        )
        for one in facts.sentences
    ]
    return name_film(tracks, sentences, knowledge.faces, knowledge.voices, networks.thresholds, by)


def _first(rows: Float32[np.ndarray, "n d"] | None) -> Float32[np.ndarray, " d"] | None:
    return None if rows is None else rows[0]


def store_names(
    story: Story, db: sqlite3.Connection, film: Film, knowledge: Knowledge, networks: NameNetworks, by: str
) -> None:
    """Names a film's tracks and sentences inside a transaction; what a person said of one stays."""
    _sync_entities(story, db, knowledge)
    groups = {
        key: rows
        for key, rows in _groups_of(story, networks.face).items()
        if best_similarity(rows, knowledge.faces) < networks.thresholds.face  # somebody who has a name by now
    }
    db.execute("UPDATE tracks SET entity = NULL, confidence = NULL WHERE film = ? AND source != ?", (film.id, USER))
    db.execute(
        "UPDATE utterances SET speaker = NULL, confidence = NULL WHERE film = ? AND source != ?", (film.id, USER)
    )
    facts = read_facts(story, film, networks)
    voices = {**_voices_of_others(story, film, networks.voice), **knowledge.voices}
    with_groups = Knowledge(knowledge.entries, {**knowledge.faces, **groups}, voices, knowledge.images)
    people, things = people_and_things(facts, knowledge, networks)
    named = name_people(facts, people, with_groups, networks, by)
    entities = _Entities(story, db, knowledge)
    for track in people:
        given = named.tracks[track.id]
        evidence = {**track.evidence, **given.evidence}
        _set_track(db, track, PERSON, entities.of(given.who), given.confidence if given.who else None, evidence)
    for track in facts.tracks:
        if track.id in things:
            thing = things[track.id]
            kind = OBJECT if thing.id is None else THING
            evidence = {**track.evidence, "runner_up": entities.name(thing.runner_up)}
            _set_track(
                db, track, kind, entities.of(thing.id or NOBODY), thing.confidence if thing.id else None, evidence
            )
    for sentence in facts.sentences:
        spoken = named.sentences[sentence.id]
        who = entities.of(spoken.who)
        label = entities.name(spoken.who) or str(sentence.evidence.get("voice") or "Unknown")
        db.execute(
            "UPDATE utterances SET speaker = ?, label = ?, confidence = ?, evidence = ? WHERE id = ? AND source != ?",
            (
                *(who, label, spoken.confidence if who else None),
                *(json_text({**sentence.evidence, **spoken.evidence, "by": by}), sentence.id, USER),
            ),
        )


def _set_track(
    db: sqlite3.Connection, track: Track, kind: str, entity: int | None, confidence: float | None, evidence: Any
) -> None:
    db.execute(
        "UPDATE tracks SET kind = ?, entity = ?, confidence = ?, evidence = ? WHERE id = ? AND source != ?",
        (kind, entity, confidence, json_text(evidence), track.id, USER),
    )


def _groups_of(story: Story, model: str) -> dict[str, Float32[np.ndarray, "_ e"]]:
    """The faces of groups that nobody has named, over all films, so that a group keeps its number."""
    with story.reading() as db:
        rows = db.execute(
            "SELECT e.id, v.vector FROM vectors v JOIN tracks t ON t.id = v.owner JOIN entities e ON e.id = t.entity"
            " WHERE v.role = ? AND v.model = ? AND e.gallery IS NULL AND e.kind = ? ORDER BY v.id",
            (FACE, model, PERSON),
        ).fetchall()
    found: dict[str, list[np.ndarray]] = {}
    for entity, vector in rows:
        found.setdefault(f"{GROUP}{entity}", []).append(np.frombuffer(vector, "<f4"))
    return {key: np.stack(vectors) for key, vectors in found.items()}


def _voices_of_others(story: Story, film: Film, model: str) -> dict[str, Float32[np.ndarray, "1 d"]]:
    """The mean voice of everybody in the sentences of other films that are surely theirs, by key."""
    with story.reading() as db:
        rows = db.execute(
            "SELECT e.id, e.gallery, v.vector FROM vectors v JOIN utterances u ON u.id = v.owner"
            " JOIN entities e ON e.id = u.speaker WHERE v.role = ? AND v.model = ? AND u.film != ?"
            " AND (u.confidence >= ? OR u.source = ?) ORDER BY v.id",
            (VOICE, model, film.id, _SURE_VOICE, USER),
        ).fetchall()
    found: dict[str, list[np.ndarray]] = {}
    for entity, gallery, vector in rows:
        found.setdefault(gallery or f"{GROUP}{entity}", []).append(np.frombuffer(vector, "<f4"))
    return {key: unit_norm(np.mean(vectors, axis=0), axis=None, eps=1e-9)[None] for key, vectors in found.items()}


def _sync_entities(story: Story, db: sqlite3.Connection, knowledge: Knowledge) -> None:
    """Gives entities of the gallery the names that they have there now."""
    for entity in story.entities():
        known = knowledge.entries.get(entity.gallery or "")
        if known is not None and (known.name, known.category) != (entity.name, entity.category):
            make_room(story, db, known.name, entity.id)
            db.execute(
                "UPDATE entities SET name = ?, category = ? WHERE id = ?", (known.name, known.category, entity.id)
            )


def make_room(story: Story, db: sqlite3.Connection, name: str, but: int = 0) -> None:
    """Gives another name to whatever group has one that is needed for an entry of the gallery."""
    for entity in story.entities():
        if entity.name == name and entity.id != but:
            free = next_name(story, entity.kind)
            db.execute("UPDATE entities SET name = ? WHERE id = ?", (free, entity.id))


def next_name(story: Story, kind: str) -> str:
    """Returns "Person N" (or "Thing N") with the smallest N that is free."""
    word = "Person" if kind == PERSON else "Thing"
    taken = {entity.name for entity in story.entities()}
    return next(f"{word} {n}" for n in range(1, len(taken) + 2) if f"{word} {n}" not in taken)


class _Entities:
    """The rows of entities by key, made when they are first needed."""

    def __init__(self, story: Story, db: sqlite3.Connection, knowledge: Knowledge):
        self._story, self._db, self._known = story, db, knowledge.entries
        self._ids: dict[str, int] = {one.gallery: one.id for one in story.entities() if one.gallery}
        self._names: dict[int, str] = {one.id: one.name for one in story.entities()}

    def of(self, key: str) -> int | None:
        """Returns the id of a candidate's row; None for NOBODY."""
        if key == NOBODY:
            return None
        if key.startswith(GROUP):
            return int(key.removeprefix(GROUP))
        if key not in self._ids:
            known = self._known.get(key)
            if known is None:
                row = Entity(0, PERSON, next_name(self._story, PERSON))
            else:
                make_room(self._story, self._db, known.name)
                row = Entity(0, known.kind, known.name, known.category, known.key)
            self._ids[key] = self._story.add(self._db, row)
            self._names[self._ids[key]] = row.name
        return self._ids[key]

    def name(self, key: str | None) -> str | None:
        """Returns the name of a candidate, without making a row of one that is known; None for NOBODY."""
        if not key:
            return None
        return self._known[key].name if key in self._known else self._names.get(self.of(key) or 0)
