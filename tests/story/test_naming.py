"""Naming tracks and sentences by faces and voices together, on vectors that are made up."""

import numpy as np
import pytest

from storyjax.core.arrays import unit_norm
from storyjax.story.naming import (
    NOBODY,
    Named,
    SentenceFacts,
    Thresholds,
    TrackFacts,
    cluster_tracks,
    join_spans,
    name_film,
)
from storyjax.story.options import FACES, VOICES

AT = Thresholds(face=0.55, voice=0.7)
NO_FACE = np.zeros((0, 8), np.float32)


def like(direction: int, close: float = 0.9, seed: int = 0, rows: int = 3) -> np.ndarray:
    """Vectors that are near an axis, with that cosine on average."""
    rng = np.random.default_rng([direction, seed])
    noise = rng.normal(size=(rows, 8))
    noise[:, direction] = 0
    noise = unit_norm(noise) * np.sqrt(1 - close**2)
    noise[:, direction] = close
    return noise.astype(np.float32)


def voice(direction: int, seed: int) -> np.ndarray:
    return like(direction, 0.95, seed, 1)[0]


ANA, BEN = "a" * 32, "b" * 32
FACES_OF = {ANA: like(0, 0.99), BEN: like(1, 0.99)}


def film(
    tracks: list[TrackFacts], sentences: list[SentenceFacts], by: str = "both", voices: dict | None = None
) -> Named:
    return name_film(tracks, sentences, FACES_OF, voices or {}, AT, by)


def test_faces_name_tracks_and_strangers_are_grouped() -> None:
    tracks = [
        TrackFacts(1, 0, 5, like(0)),
        TrackFacts(2, 5, 9, like(1)),
        TrackFacts(3, 9, 12, like(2)),
        TrackFacts(4, 12, 15, like(2, seed=1)),
        TrackFacts(5, 15, 18, like(3)),
        TrackFacts(6, 18, 18.4, like(4)),  # too short to be a group
    ]
    named = film(tracks, [], FACES)
    assert [named.tracks[i].who for i in (1, 2)] == [ANA, BEN]
    assert named.groups == {"group 0": [3, 4], "group 1": [5]}
    assert [named.tracks[i].who for i in (3, 4, 5, 6)] == ["group 0", "group 0", "group 1", NOBODY]
    assert named.tracks[1].confidence > 0.95


def test_nobody_is_twice_in_one_image() -> None:
    tracks = [
        TrackFacts(1, 0, 5, like(0, 0.95)),
        TrackFacts(2, 2, 6, like(0, 0.75)),
        TrackFacts(3, 6, 9, like(0, 0.75)),
    ]
    named = film(tracks, [], FACES)
    assert [named.tracks[i].who for i in (1, 2, 3)] == [ANA, NOBODY, ANA]


def test_a_voice_that_is_learnt_on_screen_names_what_is_said_off_screen() -> None:
    tracks = [TrackFacts(1, 0, 5, like(0)), TrackFacts(2, 5, 10, like(1)), TrackFacts(3, 10, 15, like(0))]
    sentences = [
        SentenceFacts(1, 1, 3, "", voice(5, 1)),
        SentenceFacts(2, 6, 8, "", voice(6, 1)),
        SentenceFacts(3, 11, 13, "", voice(6, 2)),  # Ben, while Ana is seen
        SentenceFacts(4, 16, 18, "", voice(5, 2)),  # Ana, while nobody is
        SentenceFacts(5, 18, 20, "", voice(7, 1)),  # a voice that is nobody's
    ]
    named = film(tracks, sentences)
    assert [named.sentences[i].who for i in (1, 2, 3, 4, 5)] == [ANA, BEN, BEN, ANA, NOBODY]
    alone = film(tracks, sentences, FACES)
    assert [alone.sentences[i].who for i in (1, 2, 3, 4, 5)] == [ANA, BEN, ANA, NOBODY, NOBODY]


def test_a_track_without_a_good_face_takes_the_voice_of_who_speaks() -> None:
    tracks = [TrackFacts(1, 0, 5, like(0)), TrackFacts(2, 5, 10, like(1)), TrackFacts(3, 10, 15, NO_FACE)]
    sentences = [
        SentenceFacts(1, 1, 3, "", voice(5, 1)),
        SentenceFacts(2, 6, 8, "", voice(6, 1)),
        SentenceFacts(3, 11, 13, "", voice(6, 2)),
    ]
    named = film(tracks, sentences)
    assert named.tracks[3].who == BEN
    assert named.tracks[3].evidence["sentences"] == 1
    assert film(tracks, sentences, FACES).tracks[3].who == NOBODY


def test_voices_alone_name_who_is_alone_on_screen() -> None:
    tracks = [TrackFacts(1, 0, 5, like(1)), TrackFacts(2, 5, 10, like(0)), TrackFacts(3, 5, 10, like(1))]
    sentences = [SentenceFacts(1, 1, 3, "", voice(5, 1)), SentenceFacts(2, 6, 8, "", voice(6, 1))]
    named = film(tracks, sentences, VOICES, {ANA: voice(5, 9)[None], BEN: voice(6, 9)[None]})
    assert [named.sentences[i].who for i in (1, 2)] == [ANA, BEN]
    assert named.tracks[1].who == ANA  # the voice says so, whatever the face looks like
    assert [named.tracks[i].who for i in (2, 3)] == [NOBODY, NOBODY]
    assert named.groups == {}


@pytest.mark.parametrize("by", ["both", FACES, VOICES])
def test_an_empty_film_and_nobody_known(by: str) -> None:
    assert film([], [], by).tracks == {}
    named = name_film([TrackFacts(1, 0, 2, NO_FACE)], [SentenceFacts(1, 0, 1, "", None)], {}, {}, AT, by)
    assert named.tracks[1].who == NOBODY
    assert named.sentences[1].who == NOBODY


def test_groups_are_numbered_as_they_appear() -> None:
    late, early = TrackFacts(1, 50, 55, like(3)), TrackFacts(2, 1, 9, like(2))
    assert cluster_tracks([late, early], {}, 0.55) == {"group 0": [2], "group 1": [1]}


def test_spans_are_joined_over_short_breaks() -> None:
    spans = [(4.0, 6.0, 2, 0.5), (0.0, 3.5, 1, 1.0), (9.0, 10.0, 3, 0.8)]
    joined = join_spans(spans, 1.0)
    assert [(start, end, ids) for start, end, ids, _ in joined] == [(0.0, 6.0, [1, 2]), (9.0, 10.0, [3])]
    assert joined[0][3] == pytest.approx((3.5 * 1 + 2 * 0.5) / 5.5)


def test_who_speaks_is_whose_mouth_moves() -> None:
    """Two are on screen, and no voice is known; then only one of them, whose mouth does not move."""
    tracks = [TrackFacts(1, 0, 5, like(0)), TrackFacts(2, 0, 5, like(1)), TrackFacts(3, 5, 20, like(0))]
    said = [
        SentenceFacts(1, 0, 2, "Speaker 1", voice(4, 0), (2,)),
        SentenceFacts(2, 2, 4, "Speaker 2", voice(5, 0), (1,)),
        SentenceFacts(3, 6, 8, "Speaker 1", voice(4, 1), ()),
        SentenceFacts(4, 9, 11, "Speaker 1", voice(4, 2), ()),
        SentenceFacts(5, 12, 14, "Speaker 2", voice(5, 1), (3,)),
    ]
    named = film(tracks, said)
    assert [named.sentences[i].who for i in range(1, 6)] == [BEN, ANA, BEN, BEN, ANA]
    without = film(tracks, [SentenceFacts(s.id, s.start_s, s.end_s, s.label, s.voice) for s in said])
    assert [without.sentences[i].who for i in (3, 4)] == [ANA, ANA]  # who is seen is then taken for who speaks
