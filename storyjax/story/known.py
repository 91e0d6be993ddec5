"""Who and what is known before a film is looked at: the gallery, a cast list, and groups of other films."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

from storyjax.core.errors import StoryjaxError
from storyjax.core.notes import tell
from storyjax.data.images import read_image
from storyjax.gallery.gallery import Entry, Gallery
from storyjax.gallery.names import name_key
from storyjax.story.describers import Describers
from storyjax.story.options import StoryOptions
from storyjax.story.rows import PERSON, THING
from storyjax.story.speech import Speech
from storyjax.subtitles.cast import Cast, Member, read_cast, read_photos, read_voices
from storyjax.subtitles.stages import embed_voices, file_state

FACE, VOICE, IMAGE = "face", "voice", "image"
_SAMPLE_S = 10.0  # a sample of a voice is embedded in pieces of this length


@dataclass(frozen=True)
class Known:
    """Somebody or something known; `key` is the gallery's id, or made of the name in a cast list."""

    key: str
    name: str
    kind: str
    category: str | None = None


@dataclass
class Knowledge:
    """All that is known.

    Attributes:
        entries: by key.
        faces, voices: of people by key.
        images: of things by key.
    """

    entries: dict[str, Known] = field(default_factory=dict)
    faces: dict[str, Float32[np.ndarray, "_ e"]] = field(default_factory=dict)
    voices: dict[str, Float32[np.ndarray, "_ d"]] = field(default_factory=dict)
    images: dict[str, Float32[np.ndarray, "_ d"]] = field(default_factory=dict)


def state_of(options: StoryOptions) -> str:
    """Returns a text that changes when the gallery or the cast list does."""
    parts: list[object] = []
    if options.gallery is not None and options.gallery.is_dir():
        for path in sorted(options.gallery.rglob("*")):
            if path.is_file() and not any(part[0] == "." for part in path.relative_to(options.gallery).parts):
                parts.append([str(path.relative_to(options.gallery)), path.stat().st_size, path.stat().st_mtime_ns])
    if options.cast is not None:
        for member in read_cast(options.cast).members:
            parts.append([member.name, [file_state(path) for path in (*member.photos, *member.voices)]])
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def learn(options: StoryOptions, describers: Describers, speech: Speech) -> Knowledge:
    """Returns what the gallery and the cast list know; of other networks' vectors, what the pictures give anew.

    Raises:
        StoryjaxError: the gallery or the cast list cannot be read.
    """
    knowledge = Knowledge()
    if options.gallery is not None:
        _learn_gallery(knowledge, Gallery(options.gallery), describers, speech)
    if options.cast is not None:
        _learn_cast(knowledge, read_cast(options.cast), describers, speech)
    return knowledge


def _learn_gallery(knowledge: Knowledge, gallery: Gallery, describers: Describers, speech: Speech) -> None:
    entries = gallery.entries()
    if not entries:
        return
    for entry in entries:
        knowledge.entries[entry.id] = Known(entry.id, entry.name, entry.kind, entry.category)
    people = [entry for entry in entries if entry.kind == PERSON]
    things = [entry for entry in entries if entry.kind == THING]
    if people:
        knowledge.faces |= gallery.vectors(FACE, describers.face_fingerprint, PERSON)
        knowledge.voices |= gallery.vectors(VOICE, speech.voices.id, PERSON)
        _tell_stale("voices", gallery.stale(VOICE, speech.voices.id), "give samples with 'storyjax gallery add'")
        _from_pictures(knowledge.faces, gallery, people, describers, FACE)
    if things:
        knowledge.images |= gallery.vectors(IMAGE, describers.image_fingerprint, THING)
        _from_pictures(knowledge.images, gallery, things, describers, IMAGE)


def _from_pictures(
    found: dict[str, Float32[np.ndarray, "_ d"]],
    gallery: Gallery,
    entries: Sequence[Entry],
    describers: Describers,
    role: str,
) -> None:
    """Adds vectors of the pictures of those who have none of this network; says who has no pictures either."""
    left = []
    for entry in (entry for entry in entries if entry.id not in found):
        images = [read_image(path) for path in gallery.pictures(entry)]
        if not images:
            left.append(entry)
            continue
        vectors = describers.describe_photos(images) if role == FACE else describers.embed_images(images)
        if len(vectors):
            found[entry.id] = vectors
        else:
            left.append(entry)
    what = "faces" if role == FACE else "images"
    _tell_stale(
        what, [entry for entry in left if entry.counts.get(role)], "add photos again with 'storyjax gallery add'"
    )


def _tell_stale(what: str, entries: Sequence[Entry], remedy: str) -> None:
    if entries:
        names = ", ".join(entry.name for entry in entries[:5]) + (" ..." if len(entries) > 5 else "")
        tell(f"the gallery's {what} of {names} are of another network and are not used: {remedy}")


def _learn_cast(knowledge: Knowledge, cast: Cast, describers: Describers, speech: Speech) -> None:
    by_name = {name_key(known.name): known for known in knowledge.entries.values()}
    for member in cast.members:
        known = by_name.get(name_key(member.name))
        if known is not None and known.kind != PERSON:
            raise StoryjaxError(
                f"{cast.source}: '{member.name}' is a thing of the gallery: give the person another name"
            )
        known = known or Known(cast_key(member.name), member.name, PERSON)
        knowledge.entries[known.key] = known
        if member.photos:
            vectors = describers.describe_photos(read_photos(member)[1])
            if not len(vectors):
                tell(f"no photo of '{member.name}' in {cast.source} shows a face that can be found")
            else:
                _add(knowledge.faces, known.key, vectors)
    with_voices = [member for member in cast.members if member.voices]
    if with_voices:
        for member, vectors in zip(with_voices, _sample_voices(with_voices, speech), strict=True):
            _add(
                knowledge.voices,
                (by_name.get(name_key(member.name)) or Known(cast_key(member.name), "", "")).key,
                vectors,
            )


def cast_key(name: str) -> str:
    """Returns the key of somebody in a cast list who is not in the gallery."""
    return hashlib.sha256(f"cast {name_key(name)}".encode()).hexdigest()[:32]


def _add(found: dict[str, Float32[np.ndarray, "_ d"]], key: str, vectors: Float32[np.ndarray, "_ d"]) -> None:
    found[key] = np.concatenate([found[key], vectors]) if key in found else vectors


def _sample_voices(members: Sequence[Member], speech: Speech) -> list[Float32[np.ndarray, "_ d"]]:
    from storyjax.data.audio import RATE
    from storyjax.subtitles.speaker_encoder import SpeakerEncoder

    encoder = SpeakerEncoder.from_pretrained(speech.config.speaker_encoder.weights)
    size, found = round(_SAMPLE_S * RATE), []
    for member in members:
        pieces = [wave[i : i + size] for wave in read_voices(member) for i in range(0, len(wave), size)]
        found.append(embed_voices(encoder, [piece for piece in pieces if len(piece) >= RATE // 2]))
    return found
