"""The networks of the subtitles, each loaded when it is first needed."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.faces import CastEmbeddings
from storyjax.subtitles.recognition import Recogniser, load_recogniser
from storyjax.subtitles.records import FaceMatcher, LaughterModel, SpeakerModel, SyncModel


@dataclass(frozen=True)
class Networks:
    """How to load each network; each is loaded when it is first needed, and once.

    Attributes:
        recogniser, laughter, sync, speaker_encoder, face_matcher: make the networks.
        find_peaks: heat map -> (row, column, score) of its peaks.
        cast_embeddings: what people are compared by, which is computed once, too.
    """

    recogniser: Callable[[], Recogniser]
    laughter: Callable[[], LaughterModel]
    sync: Callable[[], SyncModel]
    find_peaks: Callable[[np.ndarray], Sequence[tuple[float, float, float]]]
    speaker_encoder: Callable[[], SpeakerModel]
    face_matcher: Callable[[], FaceMatcher]
    cast_embeddings: CastEmbeddings = field(default_factory=dict)


def load_networks(config: SubtitleConfig) -> Networks:
    """Returns the networks of a config; nothing is read until one is needed."""

    def laughter() -> LaughterModel:
        from storyjax.subtitles.laughter_detector import LaughterDetector

        return LaughterDetector.from_pretrained(config.laughter.weights)

    def sync() -> SyncModel:
        from storyjax.subtitles.av_sync import SyncDetector

        return SyncDetector.from_pretrained(config.lwtnet.weights)

    def find_peaks(heat: np.ndarray) -> Sequence[tuple[float, float, float]]:
        from storyjax.subtitles.av_sync import peaks

        return peaks(heat, config.peak_threshold, config.max_peaks)

    def speaker_encoder() -> SpeakerModel:
        from storyjax.subtitles.speaker_encoder import SpeakerEncoder

        return SpeakerEncoder.from_pretrained(config.speaker_encoder.weights)

    def face_matcher() -> FaceMatcher:
        from storyjax.clip_pad.predict import PersonFinder

        return PersonFinder.from_pretrained(config.clip_pad.weights, detector=config.face_detector, pick=config.pick)

    once = functools.cache
    return Networks(
        once(lambda: load_recogniser(config.recognition)),
        once(laughter),
        once(sync),
        find_peaks,
        once(speaker_encoder),
        once(face_matcher),
    )
