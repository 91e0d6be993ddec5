"""Measuring trackers: overlap alone, the private setting, user-initialised tracking and offline enhancements."""

import dataclasses

import numpy as np
import pytest
from following import OverlapTracker, TruthTracker, UserTracker, squares, two_that_cross

from storyjax.data.mot_text import Rows, concatenate, rows
from storyjax.metrics.tracking import tracking_scores
from storyjax.mqt import offline
from storyjax.mqt.eval_tracking import (
    crosses,
    enhance,
    first_boxes,
    from_first_boxes,
    offline_evaluator,
    reverse,
    track,
    tracking_evaluator,
    user_initialised_evaluator,
)
from storyjax.mqt.iou_tracker import IouTracker


def boxes(*corners: float) -> np.ndarray:
    return np.array([[x, 10, 20, 20] for x in corners], np.float32).reshape(-1, 4)


def test_overlap_alone_follows_what_moves_slowly_and_waits_a_little() -> None:
    tracker = IouTracker(max_age=2)
    assert [[one.id for one in tracker.step(boxes(x, 100 - x))] for x in range(0, 30, 5)] == [[1, 2]] * 6
    assert tracker.step(boxes()) == []
    assert [one.id for one in tracker.step(boxes(25))] == [1]
    for _ in range(3):
        tracker.step(boxes())
    assert [one.id for one in tracker.step(boxes(25))] == [3]


def test_overlap_alone_reports_a_track_after_min_hits() -> None:
    tracker = IouTracker(min_hits=2, min_score=0.5)
    assert tracker.step(boxes(1), np.float32([0.9])) == []
    assert [one.id for one in tracker.step(boxes(1), np.float32([0.9]))] == [1]
    assert tracker.step(boxes(1), np.float32([0.4])) == []


def test_a_tracker_that_knows_the_truth_beats_overlap_where_paths_cross() -> None:
    video, truth = two_that_cross()
    assert crosses(truth)
    evaluator = tracking_evaluator("mot17", lambda params: TruthTracker(truth), lambda: [video], lambda: [video])
    parts: list[None] = []
    results = evaluator.run({}, lambda: parts.append(None))
    assert results["mot17/mota"] == results["mot17/idf1"] == results["mot17/unseen_mota"] == 1
    assert results["mot17/crossing_idf1"] == 1
    # They meet and turn back: overlap goes on straight and exchanges them, or makes new ones.
    assert results["mot17/iou_baseline_idf1"] <= 0.8
    assert results["mot17/iou_baseline_crossing_idf1"] == results["mot17/iou_baseline_idf1"]
    assert len(parts) == 3


def test_a_tracker_gets_public_detections_where_they_are_asked_for() -> None:
    video = squares(30, missing=(7,))
    tracker = OverlapTracker()
    evaluator = tracking_evaluator("m", lambda params: tracker, lambda: [video], detector="good", with_baseline=False)
    results = evaluator.run({}, lambda: None)
    assert set(results) == {f"m/{name}" for name in ("mota", "idf1", "hota", "mt", "ml", "id_switches")}
    assert results["m/mota"] < 1
    assert tracker.seen[5:8] == [(True, 1), (False, None), (True, 1)]


def test_user_initialised_tracks_have_the_numbers_that_were_given() -> None:
    video = squares(12)
    given = rows([1, 1, 4, 9], [5, 9, 7, 5], [[1, 8, 6, 6], [20, 2, 5, 5], [10, 1, 4, 4], [30, 20, 1, 1]])
    found = {number: each for number, _, each in from_first_boxes(UserTracker(), video, given)}
    assert [one.id for one in found[1]] == [5, 9]
    assert [one.id for one in found[4]] == [5, 9, 7]
    assert [one.id for one in found[12]] == [5, 9, 7]  # the second box of 5 starts nothing
    assert found[12][2].xywh_px == (10, 1, 4, 4)
    assert first_boxes(given).frame.tolist() == [1, 4, 1]


def test_what_starts_in_a_broken_frame_starts_in_the_next() -> None:
    video = squares(6, missing=(1, 2))
    given = rows([1, 2], [5, 6], [[1, 8, 6, 6], [20, 2, 5, 5]])
    found = {number: [one.id for one in each] for number, _, each in from_first_boxes(UserTracker(), video, given)}
    assert found == {1: [], 2: [], 3: [5, 6], 4: [5, 6], 5: [5, 6], 6: [5, 6]}


def test_track_map_of_user_initialised_tracking() -> None:
    video, truth = two_that_cross()
    video = dataclasses.replace(video, categories={1: 4, 2: 6})
    results = user_initialised_evaluator("tao", lambda params: TruthTracker(truth), lambda: [video]).run({}, lambda: 0)
    assert results["tao/track_map"] == pytest.approx(1)
    assert results["tao/mota"] == 1


def line(number: int, first: int, last: int, y: float = 0.0) -> Rows:
    frames = np.arange(first, last + 1)
    where = np.stack([3.0 * frames, np.full(len(frames), y), *np.full((2, len(frames)), 20.0)], 1)
    return rows(frames, [number] * len(frames), where)


def test_filling_bridges_short_gaps_by_straight_lines() -> None:
    whole = line(1, 1, 20)
    gap = np.isin(whole.frame, range(8, 12))
    filled = offline.fill_gaps(whole[~gap], max_gap=4)
    assert np.array_equal(filled.frame, whole.frame)
    assert np.allclose(filled.xywh_px, whole.xywh_px)
    assert len(offline.fill_gaps(whole[~gap], max_gap=3)) == 16
    assert len(offline.fill_gaps(whole)) == 20


def test_only_what_both_passes_see_is_confirmed() -> None:
    forward = concatenate([line(1, 1, 30), line(2, 5, 9, y=200.0)])
    backward = concatenate([line(4, 3, 30), line(6, 1, 30, y=80.0)])
    assert offline.track_overlaps(forward, backward)[1, 4] == pytest.approx(1.0)
    assert set(offline.confirm_by_overlap(forward, backward).id) == {1}
    drifted = Rows(**{**backward.__dict__, "xywh_px": backward.xywh_px + np.float32((12, 0, 0, 0))})
    assert len(offline.confirm_by_overlap(forward, drifted)) == 0  # 8 / 32 of the total area


def test_a_track_that_was_lost_between_is_joined_where_it_looks_the_same() -> None:
    forward = concatenate([line(1, 1, 12), line(3, 15, 30), line(2, 1, 30, y=90.0)])
    backward = concatenate([line(7, 1, 30), line(8, 1, 30, y=90.0)])
    one, other = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    back = {7: one, 8: other}
    joined = offline.confirm_by_appearance(forward, backward, {1: one, 3: one, 2: other}, back)
    assert set(joined.id) == {1, 2}
    assert len(joined) == len(forward)
    apart = offline.confirm_by_appearance(forward, backward, {1: one, 3: other, 2: other}, back)
    assert set(apart.id) == {1, 2, 3}
    ways = enhance(forward, backward, {1: one, 3: one, 2: other}, back)
    assert len(ways["b2f_id_tf"]) == 60
    truth = [concatenate([line(1, 1, 30), line(2, 1, 30, y=90.0)])]
    assert tracking_scores(truth, [ways["b2f_id_tf"]])["idf1"] == 1
    assert tracking_scores(truth, [ways["online"]])["idf1"] < 0.9


def test_what_looks_the_same_must_overlap_again() -> None:
    one, other = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    elsewhere = offline.confirm_by_appearance(line(1, 1, 30), line(7, 1, 30, y=200.0), {1: one}, {7: one})
    assert not len(elsewhere)
    # The passes lose the object in different places: of neither part does the other pass have enough alone.
    gap = line(7, 1, 30)
    parts = gap[~np.isin(gap.frame, range(8, 24))], line(8, 8, 23, y=8.0)
    backward = concatenate([*parts, line(9, 1, 30, y=200.0)])
    forward = concatenate([line(1, 1, 30), line(2, 1, 30, y=200.0)])
    assert set(offline.confirm_by_overlap(forward, backward).id) == {2}
    found = offline.confirm_by_appearance(forward, backward, {1: one, 2: other}, {7: one, 8: one, 9: other})
    assert set(found.id) == {1, 2}
    assert set(offline.confirm_by_appearance(forward, backward, {1: one}, {7: one, 8: other, 9: other}).id) == {2}


def test_offline_evaluation_plays_the_sequence_backwards() -> None:
    video, truth = two_that_cross()
    assert [int(n) for n, _ in reverse(video).frames()] == list(range(1, video.length + 1))
    first = next(iter(squares(9).frames()))[1]
    assert np.array_equal(list(reverse(squares(9)).frames())[-1][1], first)
    again = offline.reverse_frames(offline.reverse_frames(truth, 40), 40)
    assert np.array_equal(again.frame, truth.frame)
    # The sequence is the same from both ends, so a tracker that knows the truth is right in both passes.
    results = offline_evaluator("mot17", lambda params: TruthTracker(truth), lambda: [video]).run({}, lambda: None)
    assert {name.split("/")[1] for name in results} == {"online", "b2f_track", "b2f_id", "b2f_id_tf", "tf"}
    assert all(results[f"mot17/{way}/mota"] == 1 for way in ("online", "b2f_track", "tf"))


def test_tracks_of_a_sequence_are_rows() -> None:
    video = squares(20)
    found = track(OverlapTracker(), video)
    assert tracking_scores([video.ground_truth], [found])["mota"] == 1
