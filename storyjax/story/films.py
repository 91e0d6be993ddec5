"""The films that a story is of: which files, their digests, and their rows."""

import hashlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from storyjax.core.errors import StoryjaxError
from storyjax.core.notes import tell
from storyjax.data.audio import has_audio
from storyjax.data.containers import open_container
from storyjax.data.video import VideoError, probe
from storyjax.data.video_files import VIDEO_SUFFIXES
from storyjax.search.media_files import scan
from storyjax.story.rows import NEW, Film
from storyjax.story.store import Story


def find_films(places: Sequence[str | os.PathLike[str]], out: Path) -> list[Path]:
    """Returns the films that were named, and those in folders that were named, each once.

    Raises:
        StoryjaxError: a place is not there, or a folder holds no video.
    """
    found: dict[Path, None] = {}
    for place in map(Path, places):
        if place.is_dir():
            inside = scan(place, out)
            videos = [place / os.fsdecode(file.path) for file in inside.found if file.video]
            for name, reason in inside.left_out.items():
                tell(f"{place / name} is left out: {reason}")
            if not videos:
                raise StoryjaxError(
                    f"{place} holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}): give another folder"
                )
            found |= dict.fromkeys(videos)
        elif place.is_file():
            found[place] = None
        else:
            raise StoryjaxError(f"{place} is not there: give videos, or a folder of videos")
    films = list({path.resolve(): path for path in found}.values())
    return films


def film_names(films: Sequence[Path]) -> list[str]:
    """Returns a name for each film: its file's without the ending; where several have it, with their folders."""
    names = [path.stem for path in films]
    depth = 1
    while len(set(names)) < len(names) and depth < 32:
        twice = {name for name in names if names.count(name) > 1}
        depth += 1
        longer = [" - ".join([*path.resolve().parts[-depth:-1], path.name]) for path in films]
        names = [new if name in twice else name for name, new in zip(names, longer, strict=True)]
    return names


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits. Raises StoryjaxError: it cannot be read."""
    try:
        with open(path, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise StoryjaxError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def enter_film(story: Story, path: Path, name: str) -> Film:
    """Returns the row of a film, made or brought up to date. What is known of another file of that name is removed.

    Raises:
        StoryjaxError: it is no film that can be read.
    """
    state = path.stat()
    relative = os.path.relpath(path.resolve(), story.folder.resolve())
    known = {film.name: film for film in story.films()}.get(name)
    if known is not None and (known.size, known.mtime_ns) == (state.st_size, state.st_mtime_ns):
        if known.path != relative:
            with story.transaction() as db:
                db.execute("UPDATE films SET path = ? WHERE id = ?", (relative, known.id))
        return story.film(name)
    digest = file_digest(path)
    if known is not None and known.digest == digest:
        with story.transaction() as db:
            db.execute("UPDATE films SET path = ?, mtime_ns = ? WHERE id = ?", (relative, state.st_mtime_ns, known.id))
        return story.film(name)
    film = _probed(path, name, relative, digest)
    with story.transaction() as db:
        if known is not None:
            remove_film(db, known.id)
        story.add(db, film)
    return story.film(name)


def _probed(path: Path, name: str, relative: str, digest: str) -> Film:
    state, sound = path.stat(), has_audio(path)
    try:
        info = probe(path)
        seen = True
    except VideoError:
        if not sound:
            raise
        seen = False
    duration = info.duration_s if seen else _length_s(path)
    size = (info.width, info.height, info.fps) if seen else (0, 0, 0.0)
    return Film(0, name, relative, state.st_size, state.st_mtime_ns, digest, duration, *size, seen, sound, NEW)


def _length_s(path: Path) -> float:
    with open_container(path) as container:
        return (container.duration or 0) / 1e6


def remove_film(db: sqlite3.Connection, film: int) -> None:
    """Removes a film with everything that is known of it, inside a transaction."""
    for table in ("captions", "appearances", "tracks", "utterances", "vectors", "shots", "stills", "stages"):
        db.execute(f"DELETE FROM {table} WHERE film = ?", (film,))
    db.execute("DELETE FROM films WHERE id = ?", (film,))
