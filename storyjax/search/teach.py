"""The work of `storyjax gallery add`: what models can tell of photos and recordings goes into the gallery."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.gallery.format1 import ENROLLED
from storyjax.gallery.gallery import Entry, Gallery, Taught
from storyjax.gallery.record import PERSON, THING, TOKEN
from storyjax.search.photos import make_token, photo_paths, readable_photos
from storyjax.search.protocol import ConceptEncoder, PhotoEncoder

# Loads the model for a kind ("person", "thing", "text", or "images" for an index).
Load = Callable[[str], ConceptEncoder]
# Recordings of one voice each -> what is to be learned of them.
LoadVoices = Callable[[Sequence[str]], list[Taught]]


def add(
    gallery: Gallery,
    name: str,
    photos: Sequence[str],
    category: str | None,
    recordings: Sequence[str],
    load: Load,
    load_voices: LoadVoices,
) -> tuple[Entry, list[Taught]]:
    """Adds somebody or something to a gallery, or more of what is known of them, and returns it with what was learned.

    Args:
        gallery: to be written to.
        name: of an entry, or a new one.
        photos: files, or folders of them; those that cannot be used are named on standard error and left out.
        category: of a thing; None: a person, or the thing that has the name already.
        recordings: sound files with the person's voice alone.
        load: the model of a kind, "person" or "thing".
        load_voices: describes the recordings.

    Raises:
        StoryjaxError: nothing was given; a name, a category, all of the photos or a recording cannot be used.
            Nothing is then changed.
    """
    if not photos and not recordings:
        raise StoryjaxError(f"of '{name}' nothing is given: name photos, or recordings of the voice with --voice")
    if category is not None and not category.strip():
        raise StoryjaxError("--thing is empty: give the category, for instance --thing dog")
    entry = _known(gallery, name)
    kind = entry.kind if entry is not None else THING if category else PERSON
    if entry is not None and category is not None and entry.category != category:
        what = f"a {entry.category or entry.kind}"
        raise StoryjaxError(f"'{entry.name}' is {what} in {gallery.folder}: leave --thing out, or give another name")
    if kind == THING and recordings:
        raise StoryjaxError("--voice is for people: a thing has none")
    if entry is None:
        name = gallery.check_new(name)
    taught = load_voices(recordings) if recordings else []
    if photos:
        paths, images = readable_photos(photo_paths(photos))
        taught = [*learned(load(kind), images, paths, category or (entry.category if entry else None)), *taught]
    if entry is None:
        return gallery.create(name, kind, category, taught=taught), taught
    return gallery.learn_all(entry, taught), taught


def _known(gallery: Gallery, name: str) -> Entry | None:
    try:
        return gallery.get(name)
    except StoryjaxError:
        return None


def learned(
    model: ConceptEncoder,
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    paths: Sequence[Path],
    category: str | None,
) -> list[Taught]:
    """Returns what a model learns of photos: a token for prompts, and of models that can tell, a vector for each.

    Args:
        model: of the kind.
        images: of the photos.
        paths: of the same; their names are the sources.
        category: of a thing.

    Raises:
        StoryjaxError: none of the photos can be used.
    """
    label = model_label(model)
    token, unused = make_token(model, images, paths, category)
    kept = [number for number in range(len(images)) if number not in unused]
    used = [images[number] for number in kept]
    found = [Taught(TOKEN, model.fingerprint, token, ENROLLED, model=label)]
    if not isinstance(model, PhotoEncoder):
        return [Taught(TOKEN, model.fingerprint, token, ENROLLED, used, model=label)]
    vectors, numbers = model.photo_vectors(used, category, lambda note: None)
    names = _distinct([paths[kept[number]].name for number in numbers])
    for vector, number, source in zip(vectors, numbers, names, strict=True):
        row = np.asarray(vector, np.float32)[None]
        found.append(Taught(model.photo_role, model.photo_fingerprint, row, source, [used[number]], model=label))
    return found


def _distinct(names: Sequence[str]) -> list[str]:
    """The same names; of those that are there twice, as of two folders, the later ones with a number."""
    found: list[str] = []
    for name in names:
        tried, number = name, 2
        while tried in found:
            tried, number = f"{name} ({number})", number + 1
        found.append(tried)
    return found


def model_label(model: object) -> str | None:
    """Returns what people call a model: "shipped:NAME", or the name of its folder; None where it does not say."""
    source = str(getattr(model, "source", "") or "")
    return (source if source.startswith("shipped:") else Path(source).name) or None
