"""The tables of story.sqlite, version 1, which other programs may read.

Times are seconds from the film's beginning; boxes are left, top, width and height as fractions of the image; a
`confidence` is from 0 to 1; `evidence` is a JSON object that says what a row stands on; `model` names the network that
made it. `source` is "auto" for what storyjax found and "user" for what a person said, which stays through every re-run.
Paths are relative to the folder of story.sqlite, so that folder and films can be moved together.
"""

FILE = "story.sqlite"
VERSION = 1

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
-- A film: `state` is "new", "partial", "done" or "broken", and `reason` says why it is broken.
CREATE TABLE films (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, digest TEXT NOT NULL, duration_s REAL NOT NULL, width INTEGER NOT NULL,
    height INTEGER NOT NULL, fps REAL NOT NULL, has_video INTEGER NOT NULL, has_audio INTEGER NOT NULL,
    state TEXT NOT NULL, reason TEXT);
-- What has been done of a film: `key` is the hash of a stage's settings and of all that it was made from.
CREATE TABLE stages (
    film INTEGER NOT NULL REFERENCES films(id) ON DELETE CASCADE, name TEXT NOT NULL, key TEXT NOT NULL,
    model TEXT NOT NULL, done_at TEXT NOT NULL, cpu_s REAL NOT NULL, PRIMARY KEY (film, name));
-- People and things: `gallery` is the id of the gallery's entry; without one they are a group that nobody has named
-- yet, called "Person 1", "Thing 1" ...
CREATE TABLE entities (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT UNIQUE NOT NULL, category TEXT, gallery TEXT UNIQUE);
CREATE TABLE shots (
    id INTEGER PRIMARY KEY, film INTEGER NOT NULL REFERENCES films(id) ON DELETE CASCADE, number INTEGER NOT NULL,
    start_s REAL NOT NULL, end_s REAL NOT NULL, still INTEGER REFERENCES stills(id), UNIQUE (film, number));
-- Something followed through one shot: `kind` is "person", "thing" or "object" (neither is known); `category` is the
-- detector's class. `entity` is who or what it is, NULL where that is not sure.
CREATE TABLE tracks (
    id INTEGER PRIMARY KEY, film INTEGER NOT NULL REFERENCES films(id) ON DELETE CASCADE, number INTEGER NOT NULL,
    shot INTEGER NOT NULL REFERENCES shots(id), kind TEXT NOT NULL, category TEXT, start_s REAL NOT NULL,
    end_s REAL NOT NULL, entity INTEGER REFERENCES entities(id), confidence REAL, source TEXT NOT NULL,
    still INTEGER REFERENCES stills(id), evidence TEXT NOT NULL, model TEXT NOT NULL, UNIQUE (film, number));
CREATE TABLE boxes (
    track INTEGER NOT NULL REFERENCES tracks(id) ON DELETE CASCADE, time_s REAL NOT NULL, "left" REAL NOT NULL,
    top REAL NOT NULL, width REAL NOT NULL, height REAL NOT NULL, score REAL NOT NULL, PRIMARY KEY (track, time_s))
    WITHOUT ROWID;
-- When somebody or something is seen: the tracks of an entity, joined over cuts. One row for each time without a break.
CREATE TABLE appearances (
    id INTEGER PRIMARY KEY, film INTEGER NOT NULL REFERENCES films(id) ON DELETE CASCADE,
    entity INTEGER NOT NULL REFERENCES entities(id), start_s REAL NOT NULL, end_s REAL NOT NULL,
    confidence REAL NOT NULL, source TEXT NOT NULL, evidence TEXT NOT NULL, model TEXT NOT NULL);
-- What is said: `speaker` is NULL where it is not sure; `label` is what subtitles show ("Ana", "Speaker 2", "Unknown").
CREATE TABLE utterances (
    id INTEGER PRIMARY KEY, film INTEGER NOT NULL REFERENCES films(id) ON DELETE CASCADE, number INTEGER NOT NULL,
    start_s REAL NOT NULL, end_s REAL NOT NULL, text TEXT NOT NULL, speaker INTEGER REFERENCES entities(id),
    label TEXT NOT NULL, confidence REAL, source TEXT NOT NULL, evidence TEXT NOT NULL, model TEXT NOT NULL,
    UNIQUE (film, number));
CREATE VIRTUAL TABLE utterances_text USING fts5 (
    text, content='utterances', content_rowid='id', tokenize='unicode61 remove_diacritics 2');
CREATE TRIGGER utterances_added AFTER INSERT ON utterances BEGIN
    INSERT INTO utterances_text (rowid, text) VALUES (new.id, new.text); END;
CREATE TRIGGER utterances_removed AFTER DELETE ON utterances BEGIN
    INSERT INTO utterances_text (utterances_text, rowid, text) VALUES ('delete', old.id, old.text); END;
CREATE TRIGGER utterances_changed AFTER UPDATE OF text ON utterances BEGIN
    INSERT INTO utterances_text (utterances_text, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO utterances_text (rowid, text) VALUES (new.id, new.text); END;
-- What a shot shows, in words: `kind` is "caption" or "place".
CREATE TABLE captions (
    id INTEGER PRIMARY KEY, film INTEGER NOT NULL REFERENCES films(id) ON DELETE CASCADE,
    shot INTEGER NOT NULL REFERENCES shots(id), kind TEXT NOT NULL, text TEXT NOT NULL, confidence REAL,
    evidence TEXT NOT NULL, model TEXT NOT NULL);
-- Vectors of unit length, little-endian float32. `role`: "frame" (CLIP; of a shot at `time_s`), "face", "image" (of a
-- track's box), "voice" (of an utterance). `owner` is the id of the shot, the track or the utterance.
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY, film INTEGER NOT NULL REFERENCES films(id) ON DELETE CASCADE, role TEXT NOT NULL,
    owner INTEGER NOT NULL, time_s REAL NOT NULL, model TEXT NOT NULL, vector BLOB NOT NULL);
CREATE TABLE stills (
    id INTEGER PRIMARY KEY, film INTEGER NOT NULL REFERENCES films(id) ON DELETE CASCADE, jpeg BLOB NOT NULL);
-- What a person corrected, in order. `target` names what it is about in words that survive a re-run (JSON: the film's
-- digest, times, a box), `value` what was said of it (JSON). See storyjax/story/corrections/correct.py.
CREATE TABLE corrections (
    id INTEGER PRIMARY KEY, made_at TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL, value TEXT NOT NULL);
CREATE INDEX tracks_of_entity ON tracks(entity);
CREATE INDEX tracks_by_time ON tracks(film, start_s);
CREATE INDEX appearances_of_entity ON appearances(entity, film, start_s);
CREATE INDEX appearances_by_time ON appearances(film, start_s);
CREATE INDEX utterances_of_speaker ON utterances(speaker, film, start_s);
CREATE INDEX utterances_by_time ON utterances(film, start_s);
CREATE INDEX captions_of_shot ON captions(shot);
CREATE INDEX vectors_of_owner ON vectors(role, owner);
"""


def statements(text: str) -> list[str]:
    """Returns the statements of an SQL text; a trigger is one statement."""
    found: list[str] = []
    begun: list[str] = []
    for line in text.splitlines():
        if line.startswith("--") or not line.strip():
            continue
        begun.append(line)
        joined = "\n".join(begun)
        trigger = "CREATE TRIGGER" in joined
        if line.rstrip().endswith("END;" if trigger else ";"):
            found.append(joined)
            begun = []
    return found
