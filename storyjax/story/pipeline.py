"""From films to a story: the stages of each film, done once, resumable at every stage.

A stage of a film is one transaction of story.sqlite, stored under a key: the hash of its settings, of the film's digest
and of the keys of the stages that it is made from. A run does only what is not there under its key: one that was killed
goes on where it was, a new film is added to those that are there, and a changed setting redoes what depends on it.

    images       shots, tracks, stills, faces and vectors, in one pass (film_pass.py)
    speech       sentences and their voices (speech.py)
    names        who the tracks and the sentences are of (name_stage.py, naming.py); corrections are made again
    appearances  when everybody is seen (appearances.py)
    places       which place each shot shows, where places to choose from were given (places.py)
    captions     what each shot shows in a model's words, where that was asked for (captions.py)
"""

import datetime
import functools
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from storyjax.core.files import exclusive_lock, json_text
from storyjax.data.audio import AudioError
from storyjax.data.video import VideoError
from storyjax.gallery.gallery import Gallery
from storyjax.story.export.document import write_document
from storyjax.story.films import enter_film, film_names, find_films
from storyjax.story.options import StoryOptions
from storyjax.story.rows import BROKEN, DONE, PARTIAL, Film
from storyjax.story.stages import Networks, Stage, all_stages
from storyjax.story.store import Story
from storyjax.story.teach import teach_voices

FORMAT = 1  # of the stages' rows; another number makes all anew
Progress = Callable[[Film, str, float], None]  # the film, the stage, and how many seconds of it are done


def silent(film: Film, stage: str, done_s: float) -> None:
    """Progress that nobody sees."""
    del film, stage, done_s


@dataclass
class Done:
    """What a run did.

    Attributes:
        films: names of the films that are done.
        broken: why others are left out, by name.
        stages: stages that were run now, as (film, stage).
        taught: whose voices the gallery was taught, with repetitions.
        seconds, film_seconds: that it took, and that the films are long.
    """

    films: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    stages: list[tuple[str, str]] = field(default_factory=list)
    taught: list[str] = field(default_factory=list)
    seconds: float = 0.0
    film_seconds: float = 0.0
    out: str = ""

    def lines(self) -> list[str]:
        """Returns what was done, for people."""
        rows = [f"{name} is left out: {reason}" for name, reason in self.broken.items()]
        films = "1 film" if len(self.films) == 1 else f"{len(self.films)} films"
        if self.films and not self.stages:
            rows.append(f"{self.out}: {films}, nothing new")
        elif self.films:
            rate = self.film_seconds / max(self.seconds, 1e-9)
            rows.append(f"{self.out}: {films}, {self.film_seconds:.0f} s, in {self.seconds:.0f} s ({rate:.1f}x)")
        if self.taught:
            rows.append(f"the gallery was taught the voices of {', '.join(dict.fromkeys(self.taught))}")
        return rows


def make_story(
    places: Sequence[str | Path],
    out: str | Path,
    options: StoryOptions,
    progress: Progress = silent,
    networks: Networks | None = None,
) -> Done:
    """Makes or continues a story, and returns what was done; broken films are named and passed over.

    Args:
        places: films, and folders of films.
        out: the story's folder.
        options: how it is made.
        progress: called while it is made.
        networks: instead of those that the options name.

    Raises:
        StoryjaxError: what a person can fix, in one line.
    """
    options.check()
    out = Path(out)
    films = find_films(places, out)
    done, begun = Done(out=str(out)), time.monotonic()
    busy = f"another process makes the story in {out}: wait until it is done"
    with Story.create(out) as story, exclusive_lock(out / ".lock", busy):
        networks = networks or Networks(options)
        stages = all_stages(story, networks)
        if options.gallery is not None:
            story.set_meta("gallery", os.path.relpath(options.gallery, out))  # where corrections go
        for path, name in zip(films, film_names(films), strict=True):
            try:
                film = enter_film(story, path, name)
                run_stages(story, film, path, stages, progress, done)
            except (VideoError, AudioError) as error:
                done.broken[name] = str(error)
                _mark_broken(story, name, str(error))
                continue
            done.films.append(name)
            if options.teach and options.gallery is not None:
                voices = networks.speech.voices.id
                if taught := teach_voices(story, film, Gallery(options.gallery), voices):
                    done.taught += taught
                    networks.relearn()
            done.film_seconds += film.duration_s
        write_document(story)
    done.seconds = time.monotonic() - begun
    return done


def run_stages(story: Story, film: Film, media: Path, stages: Sequence[Stage], progress: Progress, done: Done) -> None:
    """Does what is not done yet of a film.

    Raises:
        StoryjaxError: the film cannot be used; what was known of it before stays.
    """
    keys: dict[str, str] = {}
    with story.reading() as db:
        known = dict(db.execute("SELECT name, key FROM stages WHERE film = ?", (film.id,)))
    for stage in stages:
        before = [keys[name] for name in stage.needs] or [film.digest]
        key = keys[stage.name] = _hash([FORMAT, stage.name, dict(stage.settings(film)), before])
        if known.get(stage.name) == key:
            continue
        if film.state == DONE:
            _set_state(story, film, PARTIAL)
        progress(film, stage.name, 0.0)
        begun = time.process_time()
        prepared = stage.prepare(film, media, functools.partial(progress, film, stage.name))
        with story.transaction() as db:
            stage.store(db, film, prepared)
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            row = (film.id, stage.name, key, stage.model(), now, round(time.process_time() - begun, 3))
            db.execute("INSERT OR REPLACE INTO stages VALUES (?, ?, ?, ?, ?, ?)", row)
        done.stages.append((film.name, stage.name))
    _set_state(story, film, DONE)


def _set_state(story: Story, film: Film, state: str, reason: str | None = None) -> None:
    with story.transaction() as db:
        db.execute("UPDATE films SET state = ?, reason = ? WHERE id = ?", (state, reason, film.id))


def _mark_broken(story: Story, name: str, reason: str) -> None:
    known = [film for film in story.films() if film.name == name]
    if known:
        _set_state(story, known[0], BROKEN, reason)


def _hash(value: object) -> str:
    return hashlib.sha256(json_text(value).encode()).hexdigest()[:24]
