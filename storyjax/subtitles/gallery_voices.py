"""People of the gallery in subtitles: as the cast, by their voices and faces; and voices that go into the gallery."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.notes import tell
from storyjax.data.audio import RATE
from storyjax.gallery.gallery import Entry, Evidence, Gallery, Taught
from storyjax.gallery.names import name_key
from storyjax.gallery.reading import stale_line
from storyjax.gallery.record import FACE, PERSON, TOKEN, VOICE
from storyjax.subtitles.cast import MOST_PHOTOS, Cast, Member, read_voices
from storyjax.subtitles.records import SpeakerModel
from storyjax.subtitles.speaker_encoder import SpeakerEncoder
from storyjax.subtitles.stages import embed_voices
from storyjax.subtitles.voices import Encoder, Voice, Voices, read_voices_file

_SPOKEN_S = 10.0  # a recording is embedded in pieces of this length


def taught_by_recordings(
    name: str, files: Sequence[str], place: str, network: SpeakerModel | None = None
) -> list[Taught]:
    """Returns what is to be learned of recordings: a mean voice of each, with its seconds.

    Args:
        name: whose voice it is.
        files: sound files with this voice alone, or voices files (voices.py) that have the name.
        place: of the voice encoder, a folder or "shipped:NAME".
        network: to be used instead of the one that lies there.

    Raises:
        StoryjaxError: a file is not there, no sound, silent or too short.
    """
    for file in files:
        if not Path(file).is_file():
            raise StoryjaxError(f"{file} is not there: --voice takes sound files")
    encoder = Encoder.at(place)
    found = []
    for file in files:
        if Path(file).suffix.lower() == ".json":
            found.append(_of_voices_file(name, Path(file), encoder))
            continue
        network = network or SpeakerEncoder.from_pretrained(place)
        (wave,) = read_voices(Member(name, name, voices=(Path(file),)))
        size = round(_SPOKEN_S * RATE)
        pieces = [piece for i in range(0, len(wave), size) if len(piece := wave[i : i + size]) >= RATE // 2]
        lengths = np.asarray([len(piece) / RATE for piece in pieces])
        mean = unit_norm((lengths[:, None] * embed_voices(network, pieces)).sum(axis=0), eps=1e-9)
        found.append(taught_voice(encoder, Voice(mean.astype(np.float32), float(lengths.sum())), Path(file).name))
    return found


def taught_voice(encoder: Encoder, voice: Voice, source: str) -> Taught:
    """Returns what is to be learned of a voice: each of its parts is a row."""
    parts = voice.sources
    rows = np.stack([part.vector for part in parts]).astype(np.float32)
    label = encoder.place if encoder.place.startswith("shipped:") else Path(encoder.place).name
    return Taught(VOICE, encoder.id, rows, source, seconds=[part.seconds for part in parts], model=label)


def _of_voices_file(name: str, file: Path, encoder: Encoder) -> Taught:
    voices = read_voices_file(file)
    voices.check_encoder(encoder, file)
    found = {name_key(other): voice for other, voice in voices.voices.items()}.get(name_key(name))
    if found is None:
        raise StoryjaxError(f"{file} knows nobody called '{name}'.{nearest(name, list(voices.voices))}")
    return taught_voice(encoder, found, file.name)


def known_voices(gallery: Gallery, encoder: Encoder) -> Voices:
    """Returns the people's voices by name that an encoder made, as a voices file has them."""
    voices = Voices(encoder)
    for entry in gallery.entries(PERSON):
        for one, rows in gallery.rows(entry):
            if (one.role, one.fingerprint) == (VOICE, encoder.id):
                for voice in _voices(one, rows):
                    voices = voices.with_voice(entry.name, voice)
    return voices


def _voices(one: Evidence, rows: Float32[np.ndarray, "n d"]) -> list[Voice]:
    """The voices in rows of the gallery; of one whose seconds nobody knows, a second."""
    return [Voice(row, seconds) for row, seconds in zip(rows, one.seconds or (1.0,) * len(rows), strict=True)]


def cast_of_gallery(gallery: Gallery, encoder: Encoder) -> Cast:
    """Returns the people of a gallery as a cast list: with the voices that an encoder made, faces and pictures.

    Those of whom nothing can be used are named in a note, and left out.
    """
    members, unused = [], []
    known, people = known_voices(gallery, encoder).voices, gallery.entries(PERSON)
    for entry in people:
        vectors: dict[tuple[str, str], np.ndarray] = {}
        for one, rows in gallery.rows(entry):
            key = (one.role, one.fingerprint)
            if one.role == FACE:
                vectors[key] = np.concatenate([vectors[key], rows]) if key in vectors else rows
            elif one.role == TOKEN:
                vectors[key] = rows  # the newest
        photos, voice = tuple(gallery.pictures(entry)[:MOST_PHOTOS]), known.get(entry.name)
        if photos or voice is not None:
            members.append(Member(entry.name, entry.name, photos, voice=voice, vectors=vectors))
        else:
            unused.append(entry.name)
    if stale := [entry for entry in gallery.stale(VOICE, encoder.id) if entry.kind == PERSON]:
        tell(stale_line(stale, VOICE))
    if not people:
        tell(f"nobody is in {gallery.folder} yet: 'storyjax gallery add' and 'storyjax subtitle name' add people")
    if unused:
        tell(f"{gallery.folder} has neither pictures nor a voice of {', '.join(unused)}, who cannot be named")
    return Cast(tuple(members), source=str(gallery.folder))


def source_of(film: str) -> str:
    """Returns the source of voices that subtitles of a film taught."""
    return f"film:{film}#speech"


def remember(gallery: Gallery, voices: Voices, film: str) -> list[str]:
    """Teaches a gallery voices by name, and returns lines for people. A voice has one name: others lose it.

    Args:
        gallery: to be taught; names that it does not have are added.
        voices: of people in one film.
        film: its name.

    Raises:
        StoryjaxError: a name cannot be in the gallery; nothing is then changed.
    """
    source, lines = source_of(film), []
    known = {name: find_entry(gallery, name) for name in voices.voices}
    for entry in gallery.entries(PERSON):  # before any is taught, for names may be exchanged
        for one, rows in gallery.rows(entry):
            if (one.role, one.fingerprint, one.source) != (VOICE, voices.encoder.id, source):
                continue
            named = [v for name, v in voices.voices.items() if name_key(name) != name_key(entry.name)]
            kept = [v for v in _voices(one, rows) if not any(v.within(other.sources) for other in named)]
            if len(kept) == len(rows):
                continue
            lines.append(f"{gallery.folder}: this voice is no longer '{entry.name}'")
            _replace(gallery, entry, voices.encoder, kept, source)
    for name, voice in voices.voices.items():
        taught = [taught_voice(voices.encoder, voice, source)]
        there = known[name]
        if there is None or gallery.by_id(there.id) is None:  # it had nothing but this voice, under another name
            gallery.create(name, PERSON, taught=taught)
        else:
            gallery.learn_all(there, taught)
    if voices.voices:
        lines.append(f"{gallery.folder}: knows the voice of {', '.join(voices.voices)}")
    return lines


def find_entry(gallery: Gallery, name: str) -> Entry | None:
    """Returns the person of a name; None where there is none, and the name can be taken.

    Raises:
        StoryjaxError: it is a thing's, or cannot be a name in a gallery.
    """
    entry = next((one for one in gallery.entries() if name_key(one.name) == name_key(name)), None)
    if entry is None:
        gallery.check_new(name)
    elif entry.kind != PERSON:
        raise StoryjaxError(f"'{entry.name}' is a {entry.category} in {gallery.folder}: give the speaker another name")
    return entry


def _replace(gallery: Gallery, entry: Entry, encoder: Encoder, kept: Sequence[Voice], source: str) -> None:
    """Leaves somebody these voices of a source; who has then nothing at all is forgotten."""
    if kept:
        rows = np.stack([voice.vector for voice in kept])
        gallery.learn(entry, VOICE, encoder.id, rows, source, seconds=[voice.seconds for voice in kept])
        return
    left = gallery.unlearn(entry, source)
    if not left.counts and not gallery.pictures(left):
        gallery.forget(left.name)
