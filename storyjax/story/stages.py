"""The stages of a film. What takes long is prepared first; what was prepared is then stored in one transaction."""

import shutil
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import json_text
from storyjax.core.notes import tell
from storyjax.data.video import lazy_frames
from storyjax.story import appearances, captions, name_stage, naming, places, shot_detection, speech
from storyjax.story.corrections.correct import apply_corrections
from storyjax.story.describers import Describers
from storyjax.story.film_pass import FilmPass
from storyjax.story.known import Knowledge, learn, state_of
from storyjax.story.options import StoryOptions
from storyjax.story.rows import Film, Shot, Track, Vector
from storyjax.story.store import Story
from storyjax.story.trackers import FilmTracker, choose_tracker, load_tracker
from storyjax.story.views import VIEWS
from storyjax.subtitles.stages import network_source

Report = Callable[[float], None]  # gets the seconds of the film that are done


class Networks:
    """The networks of all stages; each is loaded when it is first needed."""

    def __init__(self, options: StoryOptions):
        self.options = options
        self.describers = Describers(options)
        self.speech = speech.Speech.choose(options)
        self.tracker_choice = choose_tracker(options)

    @cached_property
    def tracker(self) -> FilmTracker:
        """What follows people and things."""
        return load_tracker(self.tracker_choice, self.options)

    @cached_property
    def captioner(self) -> captions.Captioner:
        """What says in words what shots show."""
        return captions.load_captioner(self.options)

    @cached_property
    def knowledge(self) -> Knowledge:
        """What the gallery and the cast list know."""
        return learn(self.options, self.describers, self.speech)

    def relearn(self) -> None:
        """Makes `knowledge` be read anew: the gallery changed."""
        self.__dict__.pop("knowledge", None)

    @cached_property
    def names(self) -> name_stage.NameNetworks:
        """What naming compares."""
        return name_stage.NameNetworks.of(self.describers, self.speech)


@runtime_checkable
class Stage(Protocol):
    """A stage. `name` is in the table `stages`; `needs` are the stages that it is made from."""

    name: str
    needs: tuple[str, ...]

    def settings(self, film: Film) -> Mapping[str, Any]:
        """Returns, as JSON, all that its result depends on besides the film and the stages it needs."""
        ...

    def model(self) -> str:
        """Names the network that makes it; "" where there is none."""
        ...

    def prepare(self, film: Film, media: Path, report: Report) -> Any:
        """Returns what `store` stores; other processes may read the story meanwhile."""
        ...

    def store(self, db: sqlite3.Connection, film: Film, prepared: Any) -> None:
        """Stores the rows inside a transaction, in place of what was there."""
        ...


@dataclass
class Images:
    """Shots, tracks, stills, faces and vectors."""

    story: Story
    networks: Networks
    name: str = "images"
    needs: tuple[str, ...] = ()

    def settings(self, film: Film) -> Mapping[str, Any]:
        """See `Stage`."""
        del film
        networks = self.networks
        return {
            "fps": networks.options.fps,
            "shots": shot_detection.NAME,
            "tracker": networks.tracker_choice.source,
            "describers": networks.describers.source,
            "views": VIEWS,
        }

    def model(self) -> str:
        """See `Stage`."""
        return self.networks.tracker_choice.source

    def prepare(self, film: Film, media: Path, report: Report) -> Path | None:
        """Returns the folder of a story that holds this film's images alone; None for sound alone.

        The shots that a stopped run left there under the same settings are kept.
        """
        if not film.has_video:
            return None
        folder = self.story.folder / speech.WORK / f"{film.digest[:16]}.images"
        settings, networks = json_text(dict(self.settings(film))), self.networks
        if not _made_with(folder, settings):
            shutil.rmtree(folder, ignore_errors=True)
        with Story.create(folder) as scratch, scratch.transaction() as db:
            if not scratch.films():
                scratch.add(db, replace(film, id=1))
                db.execute("INSERT INTO meta VALUES ('settings', ?)", (settings,))
            film = scratch.films()[0]
            one = FilmPass(scratch, db, film, networks.tracker, networks.describers, networks.options.fps)
            one.run(shot_detection.cut_frames(lazy_frames(media), film.fps), report)
            if one.damaged:
                tell(f"{film.name}: {one.damaged} damaged images are left out")
        return folder

    def store(self, db: sqlite3.Connection, film: Film, prepared: Path | None) -> None:
        """See `Stage`."""
        for table in ("captions", "appearances", "tracks", "shots"):
            db.execute(f"DELETE FROM {table} WHERE film = ?", (film.id,))
        db.execute("DELETE FROM vectors WHERE film = ? AND role != 'voice'", (film.id,))
        db.execute("DELETE FROM stills WHERE film = ?", (film.id,))
        if prepared is not None:
            with Story.open(prepared) as scratch:
                _copy(scratch, self.story, db, film)
            shutil.rmtree(prepared, ignore_errors=True)


def _made_with(folder: Path, settings: str) -> bool:
    """Whether a folder holds what a stopped run left under the same settings."""
    try:
        with Story.open(folder) as scratch:
            return scratch.meta().get("settings") == settings
    except StoryjaxError:
        return False


def _copy(scratch: Story, story: Story, db: sqlite3.Connection, film: Film) -> None:
    """Copies what the images of a film show from one story to another."""
    stills: dict[int | None, int | None] = {None: None}
    with scratch.reading() as source:
        for still, jpeg in source.execute("SELECT id, jpeg FROM stills ORDER BY id"):
            stills[still] = db.execute("INSERT INTO stills (film, jpeg) VALUES (?, ?)", (film.id, jpeg)).lastrowid
        shots = {
            one.id: story.add(db, replace(one, id=0, film=film.id, still=stills[one.still]))
            for one in scratch.rows(Shot, "ORDER BY id")
        }
        tracks: dict[int, int] = {}
        for one in scratch.rows(Track, "ORDER BY id"):
            row = replace(one, id=0, film=film.id, shot=shots[one.shot], still=stills[one.still])
            tracks[one.id] = story.add(db, row)
            boxes = source.execute("SELECT * FROM boxes WHERE track = ? ORDER BY time_s", (one.id,))
            db.executemany(
                "INSERT INTO boxes VALUES (?, ?, ?, ?, ?, ?, ?)", ((tracks[one.id], *box[1:]) for box in boxes)
            )
        for vector in scratch.rows(Vector, "ORDER BY id"):
            owner = (shots if vector.role == "frame" else tracks)[vector.owner]
            story.add(db, replace(vector, id=0, film=film.id, owner=owner))


@dataclass
class Speech:
    """What is said."""

    story: Story
    networks: Networks
    name: str = "speech"
    needs: tuple[str, ...] = ()

    def settings(self, film: Film) -> Mapping[str, Any]:
        """See `Stage`."""
        return self.networks.speech.settings(self.networks.options.transcripts.get(film.name))

    def model(self) -> str:
        """See `Stage`."""
        return str(self.networks.speech.config.recognition.model)

    def prepare(self, film: Film, media: Path, report: Report) -> Any:
        """See `speech.hear`."""
        del report
        transcript = self.networks.options.transcripts.get(film.name)
        return speech.hear(film, media, self.networks.speech, transcript, self.story.folder / speech.WORK)

    def store(self, db: sqlite3.Connection, film: Film, prepared: Any) -> None:
        """See `Stage`."""
        db.execute("DELETE FROM utterances WHERE film = ?", (film.id,))
        db.execute("DELETE FROM vectors WHERE film = ? AND role = 'voice'", (film.id,))
        speech.store(self.story, db, film, prepared, self.networks.speech)


@dataclass
class Names:
    """Who the tracks and the sentences are of."""

    story: Story
    networks: Networks
    name: str = "names"
    needs: tuple[str, ...] = ("images", "speech")

    def settings(self, film: Film) -> Mapping[str, Any]:
        """See `Stage`."""
        del film
        networks, describers = self.networks, self.networks.describers
        cosines = [describers.face_threshold, describers.image_threshold, networks.options.distance]
        return {
            "by": networks.options.names_by,
            "known": state_of(networks.options),
            "thresholds": cosines,
            "naming": naming.VERSION,
        }

    def model(self) -> str:
        """See `Stage`."""
        return self.networks.options.names_by

    def prepare(self, film: Film, media: Path, report: Report) -> None:
        """Loads what is needed."""
        del film, media, report
        _ = self.networks.knowledge, self.networks.names

    def store(self, db: sqlite3.Connection, film: Film, prepared: None) -> None:
        """See `Stage`."""
        networks = self.networks
        name_stage.store_names(self.story, db, film, networks.knowledge, networks.names, networks.options.names_by)
        apply_corrections(self.story, film)


@dataclass
class Appearances:
    """When everybody is seen."""

    story: Story
    name: str = "appearances"
    needs: tuple[str, ...] = ("names",)

    def settings(self, film: Film) -> Mapping[str, Any]:
        """See `Stage`."""
        del film
        return {"gap": appearances.GAP_S}

    def model(self) -> str:
        """See `Stage`."""
        return ""

    def prepare(self, film: Film, media: Path, report: Report) -> None:
        """Nothing."""

    def store(self, db: sqlite3.Connection, film: Film, prepared: None) -> None:
        """See `Stage`."""
        appearances.store_appearances(self.story, db, film)


@dataclass
class Places:
    """Which place each shot shows, where places to choose from were given."""

    story: Story
    networks: Networks
    name: str = "places"
    needs: tuple[str, ...] = ("images",)

    def settings(self, film: Film) -> Mapping[str, Any]:
        """See `Stage`."""
        del film
        return {"places": list(self.networks.options.places), "describers": self.networks.describers.source}

    def model(self) -> str:
        """See `Stage`."""
        return self.networks.describers.clip_choice.place if self.networks.options.places else ""

    def prepare(self, film: Film, media: Path, report: Report) -> Any:
        """Returns the vectors of the places' names."""
        del film, media, report
        given = self.networks.options.places
        return places.embed_places(given, self.networks.describers) if given else None

    def store(self, db: sqlite3.Connection, film: Film, prepared: Any) -> None:
        """See `Stage`."""
        db.execute("DELETE FROM captions WHERE film = ? AND kind = ?", (film.id, places.PLACE))
        if prepared is not None:
            given = self.networks.options.places
            places.store_places(self.story, db, film, given, prepared, self.networks.describers)


@dataclass
class Captions:
    """What each shot shows in a model's words, where that was asked for."""

    story: Story
    networks: Networks
    name: str = "captions"
    needs: tuple[str, ...] = ("images",)

    def settings(self, film: Film) -> Mapping[str, Any]:
        """See `Stage`."""
        del film
        return {"model": self.model()}

    def model(self) -> str:
        """See `Stage`."""
        options = self.networks.options
        return network_source(captions.captioner_choice(options).place) if options.captions else ""

    def prepare(self, film: Film, media: Path, report: Report) -> captions.Told:
        """See `captions.caption_shots`; nothing where it was not asked for, or there are no images."""
        if not self.networks.options.captions or not film.has_video:
            return ()
        return captions.caption_shots(self.story.shots(film.id), media, self.networks.captioner, report)

    def store(self, db: sqlite3.Connection, film: Film, prepared: captions.Told) -> None:
        """See `Stage`."""
        db.execute("DELETE FROM captions WHERE film = ? AND kind = ?", (film.id, captions.CAPTION))
        captions.store_captions(self.story, db, film, prepared, captions.captioner_choice(self.networks.options).place)


def all_stages(story: Story, networks: Networks) -> list[Stage]:
    """Returns the stages in their order."""
    return [
        *(Images(story, networks), Speech(story, networks), Names(story, networks), Appearances(story)),
        *(Places(story, networks), Captions(story, networks)),
    ]
