"""Diarisation and word error rates against numbers that can be worked out by hand."""

import pytest

from storyjax.metrics.diarisation import DiarisationErrorRate, Turn, word_error_rate


def rate(reference: list[Turn], hypothesis: list[Turn], duration: float = 20.0, **settings: object) -> float:
    metric = DiarisationErrorRate(**{"collar_s": 0.0, **settings})
    metric.add(reference, hypothesis, duration)
    return metric.rate()


TRUE = [Turn(0.0, 4.0, "ana"), Turn(6.0, 10.0, "ben")]


def test_missed_false_and_confused_speech_add_up() -> None:
    assert rate(TRUE, TRUE) == 0.0
    assert rate(TRUE, [Turn(0.0, 4.0, "ana")]) == pytest.approx(0.5)
    assert rate(TRUE, [*TRUE, Turn(12.0, 16.0, "ana")]) == pytest.approx(0.5)
    assert rate(TRUE, [Turn(0.0, 4.0, "x"), Turn(6.0, 9.0, "y"), Turn(9.0, 10.0, "x")]) == pytest.approx(1 / 8)


def test_names_do_not_matter_unless_they_are_asked_for() -> None:
    other = [Turn(0.0, 4.0, "x"), Turn(6.0, 10.0, "y")]
    assert rate(TRUE, other) == 0.0
    assert rate(TRUE, other, names=True) == pytest.approx(1.0)


def test_a_quarter_of_a_second_on_both_sides_of_a_boundary_does_not_count() -> None:
    late = [Turn(0.24, 4.24, "ana"), Turn(6.24, 9.76, "ben")]
    assert rate(TRUE, late, collar_s=0.25) == 0.0
    assert rate(TRUE, late) > 0.1
    assert rate(TRUE, [Turn(0.5, 4.0, "ana"), TRUE[1]], collar_s=0.25) == pytest.approx(0.25 / 7)


def test_overlapping_speech_is_counted_when_asked_for() -> None:
    both = [Turn(0.0, 6.0, "ana"), Turn(4.0, 10.0, "ben")]
    one = [Turn(0.0, 5.0, "ana"), Turn(5.0, 10.0, "ben")]
    assert rate(both, one) == 0.0
    assert rate(both, one, overlap=True) == pytest.approx(2 / 12)


def test_nobody_speaks_twice_at_once() -> None:
    # By NIST's md-eval-22 (-af), which counts speakers: 0, and 18.18 % of the scored time of those who speak.
    reference = [Turn(0.0, 4.0, "ana"), Turn(3.0, 6.0, "ana"), Turn(8.0, 10.0, "ben"), Turn(9.0, 12.0, "eva")]
    right = [Turn(0.0, 6.0, "ana"), *reference[2:]]
    assert rate(reference, right, overlap=True) == 0.0
    assert rate(right, reference, overlap=True) == 0.0
    found = [Turn(0.0, 5.0, "x"), Turn(8.0, 10.5, "y"), Turn(9.5, 12.0, "z")]
    assert rate(reference, found, overlap=True) == pytest.approx(2 / 11)
    # Joined first, as dscore does, they have no boundary inside: 14.71 %. Turns that touch keep theirs: 15.62 %.
    assert rate(reference, found, overlap=True, collar_s=0.25) == pytest.approx(0.1470588, abs=1e-6)
    touching = [Turn(0.0, 3.0, "ana"), Turn(3.0, 6.0, "ana"), *reference[2:]]
    assert rate(touching, found, overlap=True, collar_s=0.25) == pytest.approx(1.25 / 8.0, abs=1e-6)


def test_episodes_are_weighted_by_their_speech() -> None:
    metric = DiarisationErrorRate(collar_s=0.0)
    assert metric.add([Turn(0.0, 1.0, "a")], [], 5.0) == 1.0
    assert metric.add([Turn(0.0, 3.0, "a")], [Turn(0.0, 3.0, "b")], 5.0) == 0.0
    assert metric.rate() == pytest.approx(0.25)


def test_words_after_whispers_normaliser() -> None:
    assert word_error_rate(["Mr. Smith won't pay $5!"], ["mister smith will not pay five dollars"]) == pytest.approx(0)
    assert word_error_rate(["red green blue grey", ""], ["red blue grey pink", "noise"]) == pytest.approx(2 / 4)
    assert word_error_rate([""], ["anything"]) == 0.0
