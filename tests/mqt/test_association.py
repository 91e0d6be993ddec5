"""Association without a network: memory, lost and recovered tracks, new tracks, hypotheses, bounds."""

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.mqt.association import Association, TrackerConfig
from storyjax.mqt.memory import Candidates, Memory, nms, pairwise_iou

NONE = Candidates(*(np.zeros((0, width), np.float32) for width in (4, 6, 6)), np.zeros(0, np.float32))


def appearance(kind: int, angle: float = 0.0) -> np.ndarray:
    """An appearance of that kind, turned by `angle` (radians) from it."""
    vector = np.zeros(6, np.float32)
    vector[kind], vector[5] = np.cos(angle), np.sin(angle)
    return vector


def candidates(*things: tuple[float, np.ndarray, float]) -> Candidates:
    """(x of the middle, appearance, objectness) each, of boxes as large as a tenth of the image."""
    if not things:
        return NONE
    boxes = np.array([[x, 0.5, 0.1, 0.1] for x, _, _ in things], np.float32)
    appearances = np.stack([appearance for _, appearance, _ in things])
    return Candidates(
        boxes, appearances, appearances.copy(), np.array([objectness for *_, objectness in things], np.float32)
    )


def step(association: Association, own: Candidates, det: Candidates, given: Candidates = NONE, apart: float = 0.0):
    return association.update(own, np.full(len(own), apart, np.float32), det, given)


def test_what_is_seen_again_keeps_its_number_and_what_is_new_gets_the_next() -> None:
    association = Association(TrackerConfig())
    first = step(association, NONE, candidates((0.2, appearance(0), 0.9), (0.8, appearance(1), 0.9)))
    assert [track.id for track in first] == [1, 2]
    own = candidates((0.25, appearance(0, 0.1), 0.9), (0.75, appearance(1, 0.1), 0.9))
    second = step(association, own, candidates((0.25, appearance(0), 0.8), (0.5, appearance(2), 0.9)))
    assert [track.id for track in second] == [1, 2, 3]
    assert second[0].best.box[0] == pytest.approx(0.25)


@pytest.mark.parametrize(
    "own", [(0.25, appearance(0, 1.2), 0.9), (0.25, appearance(0), 0.2)], ids=["unlike", "nothing there"]
)
def test_a_lost_track_waits_and_is_recovered_elsewhere_by_its_appearance(own: tuple) -> None:
    association = Association(TrackerConfig(max_age=3))
    step(association, NONE, candidates((0.2, appearance(0), 0.9)))
    assert step(association, candidates(own), NONE) == []
    assert len(association.hypotheses()) == 1
    back = step(association, candidates(own), candidates((0.9, appearance(0, 0.2), 0.9)))
    assert [(track.id, round(float(track.best.box[0]), 2)) for track in back] == [(1, 0.9)]


def test_a_track_is_forgotten_when_it_is_gone_too_long() -> None:
    association = Association(TrackerConfig(max_age=2))
    step(association, NONE, candidates((0.2, appearance(0), 0.9)))
    for waiting in (1, 1, 0):
        step(association, candidates((0.2, appearance(3), 0.9)), NONE)
        assert len(association.tracks) == waiting
    again = step(association, NONE, candidates((0.2, appearance(0), 0.9)))
    assert [track.id for track in again] == [2]


def test_two_tracks_on_one_place_leave_it_to_the_more_similar() -> None:
    association = Association(TrackerConfig())
    step(association, NONE, candidates((0.2, appearance(0), 0.9), (0.8, appearance(1), 0.9)))
    both = candidates((0.5, appearance(0, 0.5), 0.9), (0.5, appearance(1, 0.1), 0.9))
    assert [track.id for track in step(association, both, NONE)] == [2]


def test_order_of_tracks_does_not_matter() -> None:
    things = [(0.1, appearance(0), 0.9), (0.4, appearance(1), 0.8), (0.8, appearance(2), 0.7)]
    later = [(0.15, appearance(0, 0.2), 0.9), (0.45, appearance(3), 0.8), (0.75, appearance(2, 0.1), 0.7)]
    found = []
    for order in ([0, 1, 2], [2, 0, 1]):
        association = Association(TrackerConfig())
        step(association, NONE, candidates(*things))
        association.tracks = [association.tracks[i] for i in order]
        active = step(association, candidates(*(later[i] for i in order)), candidates((0.6, appearance(1), 0.9)))
        found.append({track.id: round(float(track.best.box[0]), 3) for track in active})
    assert found[0] == found[1] == {1: 0.15, 2: 0.6, 3: 0.75}


def test_new_tracks_are_reported_once_they_have_min_hits() -> None:
    association = Association(TrackerConfig(min_hits=2))
    assert step(association, NONE, candidates((0.2, appearance(0), 0.9))) == []
    assert [track.id for track in step(association, candidates((0.2, appearance(0), 0.9)), NONE)] == [1]
    step(association, candidates((0.2, appearance(0), 0.9)), candidates((0.7, appearance(1), 0.9)))
    assert len(association.tracks) == 2
    # A track of a single frame is not kept.
    step(association, candidates((0.2, appearance(0), 0.9), (0.7, appearance(3), 0.9)), NONE)
    assert len(association.tracks) == 1


def test_protocols_say_what_starts_tracks() -> None:
    det, given = candidates((0.2, appearance(0), 0.9)), candidates((0.8, appearance(1), 0.1), (0.6, appearance(2), 0.6))
    counts = {"private": 1, "public": 1, "private_public": 2, "user": 2}
    for protocol, count in counts.items():
        assert len(step(Association(TrackerConfig(protocol=protocol)), NONE, det, given)) == count


def test_a_users_box_starts_its_own_track_and_det_queries_bring_lost_ones_back() -> None:
    association = Association(TrackerConfig(protocol="user", match_threshold=0.65))
    hidden = candidates((0.2, appearance(3), 0.1))
    step(association, NONE, NONE, candidates((0.2, appearance(0), 0.9)))
    assert step(association, hidden, NONE) == []
    # The user names a look-alike, which a det query sees too: the lost track is not there.
    like = candidates((0.8, appearance(0, 0.3), 0.9))
    found = step(association, hidden, like, like)
    assert [(track.id, round(float(track.best.box[0]), 1)) for track in found] == [(2, 0.8)]
    # A det query sees the first one itself again, and something that nobody named.
    own = candidates((0.2, appearance(3), 0.1), (0.8, appearance(0, 0.3), 0.9))
    found = step(association, own, candidates((0.5, appearance(0), 0.9), (0.3, appearance(4), 0.9)))
    assert [(track.id, round(float(track.best.box[0]), 1)) for track in found] == [(1, 0.5), (2, 0.8)]


def test_hypotheses_keep_what_may_be_it_until_one_lasts() -> None:
    config = TrackerConfig(hypotheses=3, agreement_threshold=0.1)
    association = Association(config)
    step(association, NONE, candidates((0.2, appearance(0), 0.9)))
    own = candidates((0.25, appearance(0, 0.4), 0.9))
    step(association, own, candidates((0.25, appearance(0, 0.4), 0.9), (0.7, appearance(0, 0.3), 0.9)), apart=0.5)
    first = association.tracks[0]
    assert [round(float(each.box[0]), 2) for each in first.hypotheses] == [0.25, 0.7]
    assert len(association.hypotheses()) == 2 + 1  # the detection is also a track of its own
    # Where pos and id agree one is enough.
    step(association, candidates(*[(0.3, appearance(0), 0.9)] * 3), NONE, apart=0.01)
    assert len(first.hypotheses) == 1


def test_what_is_kept_is_bounded() -> None:
    config = TrackerConfig(max_tracks=4, hypotheses=2, memory_last=5)
    association = Association(config)
    rng = np.random.default_rng(0)
    for _ in range(40):
        things = [
            (float(x), appearance(int(kind)), 0.9)
            for x, kind in zip(rng.uniform(size=9), rng.integers(5, size=9), strict=True)
        ]
        own = [(float(each.box[0]), each.appearance, 0.9) for each in association.hypotheses()]
        step(association, candidates(*own), candidates(*things), apart=1.0)
        assert len(association.tracks) <= 4
        assert len(association.hypotheses()) <= config.rows
        assert all(len(track.memory) <= 6 for track in association.tracks)


def test_memory_keeps_first_and_last() -> None:
    memory = Memory(1, 2, "min")
    for kind in (0, 1, 2, 3):
        memory.add(appearance(kind))
    similarity = memory.similarity(np.stack([appearance(kind) for kind in range(4)]))
    np.testing.assert_allclose(similarity, [1, 0, 1, 1], atol=1e-6)
    average = Memory(1, 2, "avg")
    for kind in (0, 1, 2):
        average.add(appearance(kind))
    np.testing.assert_allclose(average.similarity(appearance(1)[None]), [3**-0.5], atol=1e-6)


def test_overlaps_and_suppression() -> None:
    boxes = np.array([[0.5, 0.5, 0.2, 0.2], [0.6, 0.5, 0.2, 0.2], [0.5, 0.5, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(pairwise_iou(boxes, boxes)[0], [1, 1 / 3, 0], atol=1e-6)
    found = nms(candidates((0.2, appearance(0), 0.3), (0.21, appearance(1), 0.9), (0.9, appearance(2), 0.1)), 0.6)
    np.testing.assert_allclose(found.objectness, [0.9, 0.1])


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(StoryjaxError, match="hypotheses is 0"):
        TrackerConfig(hypotheses=0)
    with pytest.raises(StoryjaxError, match="memory_first"):
        TrackerConfig(memory_first=0, memory_last=0)
