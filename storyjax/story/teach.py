"""Voices that a film taught, for the gallery: `storyjax story --teach`.

Somebody of the gallery whose face was seen is heard, too; the mean voice of the sentences that are surely theirs
becomes a row of their entry, with the source "film:NAME", which `Gallery.unlearn` takes back.
"""

import numpy as np

from storyjax.core.arrays import unit_norm
from storyjax.gallery.gallery import Gallery
from storyjax.story.known import VOICE
from storyjax.story.rows import Film
from storyjax.story.store import Story

_SURE = 0.9  # confidence of a sentence from which it teaches
_LEAST_S = 5.0  # so many seconds of sentences are a sample


def teach_voices(story: Story, film: Film, gallery: Gallery, encoder: str) -> list[str]:
    """Teaches the gallery the voices of a film that it has not been taught yet; returns whose.

    Args:
        story, film: that has names.
        gallery: whose people were named.
        encoder: the id of the encoder of voices.
    """
    source = f"film:{film.name}"
    voices = {vector.owner: vector.vector for vector in story.vectors(VOICE, encoder, film.id)}
    taught = []
    for entity in story.entities():
        entry = gallery.by_id(entity.gallery) if entity.gallery else None
        if entry is None or any((one.role, one.source) == (VOICE, source) for one, _ in gallery.rows(entry)):
            continue
        said = [
            line
            for line in story.utterances(film.id, entity.id)
            if line.id in voices and (line.confidence or 0) >= _SURE
        ]
        seconds = sum(line.end_s - line.start_s for line in said)
        if seconds >= _LEAST_S:
            weights = np.array([line.end_s - line.start_s for line in said], np.float32)
            mean = unit_norm(weights @ np.stack([voices[line.id] for line in said]), axis=None, eps=1e-9)
            gallery.learn(entry, VOICE, encoder, mean[None].astype(np.float32), source, seconds=(seconds,))
            taught.append(entry.name)
    return taught
