"""The metrics of a film's story, against numbers worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.metrics.story import (
    NamedTrack,
    Span,
    lane_scores,
    pooled,
    read_truth,
    speech_scores,
    track_names,
    true_appearances,
)

LEFT, RIGHT, DOG = [0.0, 0.2, 0.4, 1.0], [0.5, 0.1, 0.9, 0.9], [0.4, 0.8, 0.6, 1.0]
TRUTH = {
    "lines": [
        {"start": 0.0, "end": 4.0, "speaker": "Ana", "listed": True},
        {"start": 3.0, "end": 5.0, "speaker": "Ben", "listed": True},  # while Ana ends
        {"start": 4.5, "end": 8.5, "speaker": "Ruth", "listed": False},
    ],
    "laughs": [],
    "shots": [
        {"start": 0.0, "end": 2.0, "place": "park", "people": [], "things": []},
        {
            "start": 2.0,
            "end": 5.0,
            "place": "park",
            "people": [{"name": "Ana", "listed": True, "box": LEFT}, {"name": "Ruth", "listed": False, "box": RIGHT}],
            "things": [{"name": "Chia", "category": "dog", "owner": "Ana", "box": DOG}],
        },
        {
            "start": 5.0,
            "end": 6.0,
            "place": "park",
            "people": [{"name": "Ben", "listed": True, "box": LEFT}],
            "things": [],
        },
    ],
}


def test_lanes_are_measured_in_seconds_by_name() -> None:
    truth = true_appearances(TRUTH)
    assert truth == [Span(2.0, 5.0, "Ana"), Span(5.0, 6.0, "Ben")]  # Ruth is not listed
    assert true_appearances(TRUTH, "things") == [Span(2.0, 5.0, "Chia")]
    # 4 true seconds. Ana: 2.5 to 6 in two spans that overlap (3.5 s, 2.5 right); Ben: never; Mia: 2 s that are wrong.
    found = [Span(2.5, 5.0, "Ana"), Span(4.0, 6.0, "Ana"), Span(0.0, 2.0, "Mia"), Span(5.0, 6.0, None)]
    scores = lane_scores(truth, found)
    assert scores == pytest.approx({"precision": 2.5 / 5.5, "recall": 2.5 / 4, "f1": 5 / 9.5})
    assert lane_scores(truth, truth) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert lane_scores(truth, []) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_episodes_are_pooled_by_their_seconds() -> None:
    first = [Span(0.0, 1.0, "Ana")], [Span(0.0, 1.0, "Ana")]
    second = [Span(0.0, 9.0, "Ana")], [Span(0.0, 4.0, "Ben"), Span(3.0, 6.0, "Ana")]
    assert pooled([first, second]) == pytest.approx({"precision": 4 / 8, "recall": 4 / 10, "f1": 8 / 18})
    assert pooled([]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_speech_counts_seconds_of_listed_speakers() -> None:
    # Ana's 4 s: 0 to 3 named so; Ben's 2 s: 4 to 5. Ruth alone speaks from 5 to 8.5: Ben's line covers 1 s of that.
    found = [Span(0.0, 3.0, "Ana"), Span(3.0, 4.0, None), Span(4.0, 6.0, "Ben")]
    scores = speech_scores(TRUTH, found)
    assert scores == pytest.approx({"right": 4 / 6, "precision": 4 / 5, "others_named": 1 / 3.5})
    nobody = {**TRUTH, "lines": TRUTH["lines"][:2]}
    assert speech_scores(nobody, found)["others_named"] == 0.0


def track(name: str | None, *boxes: tuple[float, list[float]]) -> NamedTrack:
    """Returns a track of boxes at times."""
    return NamedTrack(name, np.array([time for time, _ in boxes]), np.array([box for _, box in boxes]))


def test_a_track_belongs_to_whom_most_of_its_boxes_are_on() -> None:
    nudged = [0.02, 0.2, 0.42, 1.0]
    tracks = [
        track("Ana", (2.0, LEFT), (3.0, nudged), (4.0, [0.0, 0.0, 0.1, 0.1])),  # two of three on Ana: right
        track("Ana", (4.5, nudged), (5.5, LEFT), (5.8, LEFT)),  # most of it is on Ben: wrong
        track(None, (5.1, LEFT)),  # Ben without a name
        track(None, (2.5, RIGHT)),  # Ruth, rightly without a name
        track("Ben", (3.5, RIGHT)),  # Ruth, named
        track("Mia", (2.5, LEFT), (3.5, [0.4, 0.2, 0.8, 1.0])),  # half is not most: nobody
        track(None, (1.0, LEFT)),  # where nobody is
    ]
    names = track_names(TRUTH, tracks)
    assert names == pytest.approx({"right": 2 / 5, "tracks": 5.0, "unnamed": 1 / 5, "false": 2.0, "false_named": 1.0})
    assert track_names(TRUTH, [track("Chia", (2.5, DOG))], "things")["right"] == 1.0
    assert track_names(TRUTH, [])["right"] == 0.0


def test_boxes_that_overlap_by_half_match_and_by_less_do_not() -> None:
    half = [0.0, 0.2, 0.2, 1.0]  # half of the box of Ana: IoU 0.5
    assert track_names(TRUTH, [track("Ana", (3.0, half))])["tracks"] == 1.0
    assert track_names(TRUTH, [track("Ana", (3.0, [0.0, 0.2, 0.19, 1.0]))])["false"] == 1.0


def test_a_truth_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"lines": [], "laughs": []}))
    with pytest.raises(StoryjaxError, match="does not say who is in which shot"):
        read_truth(path)
    with pytest.raises(StoryjaxError, match="can't read the truth"):
        read_truth(tmp_path / "none.json")
    path.write_text(json.dumps(TRUTH))
    assert read_truth(path) == TRUTH
