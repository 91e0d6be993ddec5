"""Tracking metrics: those of the field's toolkit, on what is known of them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.mot_text import Rows, concatenate, no_rows, read_rows, rows
from storyjax.metrics.tracking import box_iou, matched, track_map, tracking_scores


def published(name: str) -> tuple[Rows, Rows]:
    """A benchmark sequence's truth and a tracker's output, as the motmetrics package ships them."""
    package = importlib.util.find_spec("motmetrics")
    assert package is not None
    assert package.submodule_search_locations is not None
    folder = Path(package.submodule_search_locations[0]) / "data" / name
    return read_rows(folder / "gt.txt", truth=True), read_rows(folder / "test.txt")


# As motmetrics' own documentation gives them, rounded to three places.
@pytest.mark.parametrize(
    ("name", "mota", "idf1", "switches", "mt", "ml"),
    [("TUD-Campus", 0.526, 0.558, 7, 1, 1), ("TUD-Stadtmitte", 0.564, 0.645, 7, 5, 1)],
)
def test_published_tracks_get_their_published_scores(
    name: str, mota: float, idf1: float, switches: int, mt: int, ml: int
) -> None:
    scores = tracking_scores(*([each] for each in published(name)))
    assert scores["mota"] == pytest.approx(mota, abs=6e-4)
    assert scores["idf1"] == pytest.approx(idf1, abs=6e-4)
    assert (scores["id_switches"], scores["mt"], scores["ml"]) == (switches, mt, ml)
    assert 0.3 < scores["hota"] < 0.5


def a_sequence(seed: int, tracks: int = 4, frames: int = 12) -> Rows:
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(0, 80, (tracks, 2)), rng.uniform(-2, 2, (tracks, 2))
    return concatenate(
        rows(
            [frame] * tracks,
            range(1, tracks + 1),
            np.concatenate([start + 40 * np.arange(tracks)[:, None] + frame * speed, np.full((tracks, 2), 20.0)], 1),
            kind=[1] * tracks,
        )
        for frame in range(1, frames + 1)
    )


def renumbered(found: Rows, by: dict[int, int]) -> Rows:
    return Rows(**{**found.__dict__, "id": np.array([by[int(n)] for n in found.id], np.int32)})


def test_the_truth_is_perfect_whatever_it_is_called() -> None:
    truth = [a_sequence(0), a_sequence(1, 3, 7)]
    found = [renumbered(each, {1: 7, 2: 1, 3: 99, 4: 2}) for each in truth]
    for tracks in (truth, found):
        scores = tracking_scores(truth, tracks)
        assert (scores["mota"], scores["idf1"], scores["hota"]) == pytest.approx((1, 1, 1))
        assert (scores["mt"], scores["ml"], scores["id_switches"]) == (7, 0, 0)
        assert track_map(truth, tracks) == 1


def test_an_exchange_of_numbers_costs_identity_and_two_switches() -> None:
    truth = a_sequence(0, tracks=2, frames=20)
    late = truth.frame > 10
    found = concatenate([truth[~late], renumbered(truth[late], {1: 2, 2: 1})])
    scores = tracking_scores([truth], [found])
    assert scores["id_switches"] == 2
    assert scores["mota"] == pytest.approx(1 - 2 / 40)
    assert scores["idf1"] == pytest.approx(0.5)
    assert scores["hota"] < 0.8
    # Each found track overlaps each true one in a third of their volume together.
    assert track_map([truth], [found]) == 0
    assert track_map([truth], [found], threshold=0.3) == 1


def test_what_is_on_a_distractor_does_not_count_and_elsewhere_does() -> None:
    truth = a_sequence(3, tracks=2)
    extra = rows([1, 2], [9, 9], [[300, 300, 20, 20], [300, 300, 20, 20]], score=[0, 0], kind=[8, 8])
    excused = tracking_scores([concatenate([truth, extra])], [concatenate([truth, extra])])
    assert excused["false_alarms"] == 0
    assert excused["mota"] == 1
    blamed = tracking_scores([truth], [concatenate([truth, extra])])
    assert blamed["false_alarms"] == 2


def test_nothing_found_is_nothing_reached() -> None:
    truth = a_sequence(0)
    scores = tracking_scores([truth], [no_rows()])
    assert (scores["mota"], scores["idf1"], scores["hota"]) == (0, 0, 0)
    assert (scores["ml"], scores["misses"]) == (4, len(truth))
    assert track_map([truth], [no_rows()]) == 0


def test_a_sequence_in_which_nobody_is_and_nobody_was_found_changes_nothing() -> None:
    truth = a_sequence(0)
    alone = tracking_scores([truth], [truth[truth.id > 1]])
    assert tracking_scores([truth, no_rows()], [truth[truth.id > 1], no_rows()]) == alone
    nothing = tracking_scores([no_rows()], [no_rows()])
    assert (nothing["mota"], nothing["idf1"], nothing["hota"], nothing["misses"]) == (0, 0, 0, 0)


def test_track_map_averages_over_kinds() -> None:
    truth = a_sequence(0, tracks=2)
    kinds = np.where(truth.id == 1, 3, 5).astype(np.int32)
    truth = Rows(**{**truth.__dict__, "kind": kinds})
    assert track_map([truth], [truth[truth.id == 1]]) == pytest.approx(0.5)


def test_a_number_twice_in_a_frame_is_an_error_of_one_line() -> None:
    truth = a_sequence(0)
    with pytest.raises(StoryjaxError, match="number 1 twice in frame 1"):
        tracking_scores([truth], [concatenate([truth, truth[:1]])])


def test_matching_prefers_the_best_sum_and_refuses_the_poor() -> None:
    a = np.array([[0, 0, 10, 10], [6, 0, 10, 10], [90, 90, 5, 5]], np.float32)
    b = np.array([[5, 0, 10, 10], [1, 0, 10, 10]], np.float32)
    assert sorted(matched(box_iou(a, b))) == [(0, 1), (1, 0)]
    assert box_iou(a, a).diagonal() == pytest.approx([1, 1, 1])
