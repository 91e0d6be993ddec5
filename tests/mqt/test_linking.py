"""Tracks from the detections of single frames."""

import numpy as np

from storyjax.mqt.linking import Found, Link, Linker, LinkOptions

RED, BLUE = (1.0, 0.0, 0.2), (0.0, 1.0, 0.2)
Row = tuple[float, float, tuple[float, ...]]


def found(*rows: Row, labels: tuple[int, ...] = ()) -> Found:
    """Boxes of 20 x 40 pixels at the height 10, of (left, score, embedding)."""
    boxes = np.array([(left, 10, 20, 40) for left, _, _ in rows], np.float32).reshape(-1, 4)
    return Found(
        boxes,
        np.array([score for _, score, _ in rows], np.float32),
        np.array(labels or [0] * len(rows), np.int64),
        np.array([embedding for _, _, embedding in rows], np.float32).reshape(-1, 3),
    )


def follow(linker: Linker, *frames: Found) -> list[dict[int, float]]:
    """By frame, the left edges of the tracks by their number."""
    return [{link.id: float(link.xywh_px[0]) for link in linker.update(frame)} for frame in frames]


def at_once() -> Linker:
    return Linker(LinkOptions(min_hits=1))


def test_boxes_that_overlap_continue_tracks_and_others_start_them() -> None:
    frames = follow(at_once(), found((0, 0.9, RED)), found((4, 0.9, RED), (80, 0.9, RED)), found((84, 0.9, RED)))
    assert frames == [{1: 0}, {1: 4, 2: 80}, {2: 84}]


def test_of_boxes_that_overlap_alike_each_continues_what_it_resembles() -> None:
    """Two that pass each other: by overlap alone they would be exchanged in the second frame."""
    before = found((0, 0.9, RED), (14, 0.9, BLUE))
    after = found((8, 0.9, RED), (6, 0.9, BLUE))
    assert follow(at_once(), before, after)[1] == {1: 8, 2: 6}


def test_weak_detections_continue_tracks_but_start_none() -> None:
    linker = at_once()
    weak = found((2, 0.3, RED), (100, 0.3, RED))
    assert follow(linker, found((0, 0.9, RED)), weak, found((4, 0.9, RED))) == [{1: 0}, {1: 2}, {1: 4}]
    assert follow(linker, found((100, 0.1, RED))) == [{}]


def test_a_track_is_reported_from_its_second_detection() -> None:
    assert follow(Linker(LinkOptions()), found((0, 0.9, RED)), found((1, 0.9, RED))) == [{}, {1: 1}]


def test_an_object_that_was_out_of_sight_comes_back_as_itself() -> None:
    hidden = [found((200, 0.9, BLUE))] * 5
    frames = follow(at_once(), found((0, 0.9, RED), (200, 0.9, BLUE)), *hidden, found((40, 0.9, RED), (200, 0.9, BLUE)))
    assert frames[-1] == {1: 40, 2: 200}


def test_it_does_not_where_it_resembles_another_track_more_is_far_away_of_another_class_or_lost_for_long() -> None:
    def number_of(box: Found, frames: int = 3, **options: float) -> int:
        linker = Linker(LinkOptions(min_hits=1, **options))  # type: ignore[arg-type]
        hidden = [found((200, 0.9, BLUE))] * frames
        *_, last = follow(linker, found((0, 0.9, RED), (200, 0.9, BLUE)), *hidden, box)
        return max(last)

    back = found((40, 0.9, RED), (200, 0.9, BLUE))
    assert number_of(back) == 2
    assert number_of(found((40, 0.9, BLUE), (200, 0.9, BLUE))) == 3
    assert number_of(found((600, 0.9, RED), (200, 0.9, BLUE))) == 3
    assert number_of(found((40, 0.9, RED), (200, 0.9, BLUE), labels=(1, 0))) == 3
    assert number_of(back, frames=6, max_lost=5) == 3


def test_the_class_of_a_track_is_what_most_of_its_detections_were() -> None:
    linker, last = at_once(), list[Link]()
    for label, score in ((1, 0.6), (2, 0.9), (1, 0.55), (2, 0.5)):
        last = linker.update(found((0, score, RED), labels=(label,)))
    assert [link.label for link in last] == [2]


def test_frames_without_detections_are_frames() -> None:
    nothing = found()
    assert follow(at_once(), nothing, found((0, 0.9, RED)), nothing, found((1, 0.9, RED))) == [{}, {1: 0}, {}, {1: 1}]
