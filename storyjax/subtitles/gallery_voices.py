"""Voices in the gallery: what recordings teach it, and its people as remembered voices (voices.py)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.data.audio import RATE
from storyjax.gallery.gallery import Gallery, Taught
from storyjax.gallery.record import PERSON, VOICE
from storyjax.subtitles.cast import Member, read_voices
from storyjax.subtitles.records import SpeakerModel
from storyjax.subtitles.speaker_encoder import SpeakerEncoder
from storyjax.subtitles.stages import embed_voices
from storyjax.subtitles.voices import Encoder, Voice, Voices

_SPOKEN_S = 10.0  # a recording is embedded in pieces of this length


def taught_by_recordings(files: Sequence[str], place: str, network: SpeakerModel | None = None) -> list[Taught]:
    """Returns what is to be learned of recordings: a mean voice of each, with its seconds.

    Args:
        files: sound files with one voice alone.
        place: of the voice encoder, a folder or "shipped:NAME".
        network: to be used instead of the one that lies there.

    Raises:
        StoryjaxError: a file is not there, no sound, silent or too short.
    """
    for file in files:
        if not Path(file).is_file():
            raise StoryjaxError(f"{file} is not there: --voice takes sound files")
    encoder = Encoder.at(place)
    network = network or SpeakerEncoder.from_pretrained(place)
    found = []
    for file in files:
        (wave,) = read_voices(Member(Path(file).name, "", voices=(Path(file),)))
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


def known_voices(gallery: Gallery, encoder: Encoder) -> Voices:
    """Returns the people's voices by name that an encoder made, as a voices file has them."""
    voices = Voices(encoder)
    for entry in gallery.entries(PERSON):
        for one, rows in gallery.rows(entry):
            if (one.role, one.fingerprint) != (VOICE, encoder.id):
                continue
            for row, seconds in zip(rows, one.seconds or (1.0,) * len(rows), strict=True):
                voices = voices.with_voice(entry.name, Voice(row, seconds))
    return voices
