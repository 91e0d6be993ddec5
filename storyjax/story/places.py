"""Which place each shot shows, of a list of names: CLIP's zero-shot classification of the shot's frames."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.story.describers import Describers
from storyjax.story.rows import Caption, Film
from storyjax.story.store import Story

PLACE = "place"
_TEMPERATURE = 0.01  # CLIP's own
_LEAST = 0.5  # probability from which a place is believed
_PROMPT = "an image of the {}"


def read_places(text: str) -> tuple[str, ...]:
    """Returns the names of places: separated by commas, or the lines of a file.

    Raises:
        StoryjaxError: there are fewer than two, or the file cannot be read.
    """
    path = Path(text)
    if "," not in text and path.is_file():
        try:
            parts = path.read_text("utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise StoryjaxError(f"--places {text} cannot be read ({error}): write one place in every line") from error
    else:
        parts = text.split(",")
    names = tuple(dict.fromkeys(" ".join(part.split()) for part in parts if part.strip()))
    if len(names) < 2:
        raise StoryjaxError(f"--places {text}: give two places or more, with commas, or a file with one in every line")
    return names


def store_places(
    story: Story,
    db: sqlite3.Connection,
    film: Film,
    places: Sequence[str],
    texts: Float32[np.ndarray, "p d"],
    describers: Describers,
) -> None:
    """Stores the place of each shot of a film that is probable enough, inside a transaction.

    Args:
        story, db, film: whose shots they are.
        places: the names to choose from.
        texts: their vectors, as `embed_places` makes them.
        describers: who made the vectors of the frames.
    """
    frames: dict[int, list[np.ndarray]] = {}
    for vector in story.vectors("frame", describers.image_fingerprint, film.id):
        frames.setdefault(vector.owner, []).append(vector.vector)
    for shot in story.shots(film.id):
        if shot.id not in frames:
            continue
        mean = unit_norm(np.mean(frames[shot.id], axis=0), axis=None, eps=1e-9)
        levels = (texts @ mean) / _TEMPERATURE
        chances = np.exp(levels - levels.max())
        chances /= chances.sum()
        best = int(chances.argmax())
        if chances[best] >= _LEAST:
            evidence = {"frames": len(frames[shot.id]), "of": list(places)}
            row = Caption(0, film.id, shot.id, PLACE, places[best], round(float(chances[best]), 4), evidence, "CLIP")
            story.add(db, row)


def embed_places(places: Sequence[str], describers: Describers) -> Float32[np.ndarray, "p d"]:
    """Returns the vectors of the sentences that name the places."""
    return unit_norm(describers.embed_texts([_PROMPT.format(_bare(place)) for place in places]), eps=1e-9)


def _bare(place: str) -> str:
    """A name without its article, for the sentence has one."""
    first, _, rest = place.partition(" ")
    return rest if rest and first.lower() in ("a", "an", "the") else place
