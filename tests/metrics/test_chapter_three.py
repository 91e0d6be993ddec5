"""The metrics of thesis Ch. 3, each against cases worked out by hand."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.metrics.anticipation import complete, damerau_levenshtein, edit_distances
from storyjax.metrics.captioning import cider
from storyjax.metrics.choices import choice_sums
from storyjax.metrics.counting import counting, counting_sums, selection, selection_sums
from storyjax.metrics.grounding import (
    Detection,
    average_precision,
    constant_answers,
    moment_queries,
    query_recall,
    recall_at,
    temporal_iou,
    tiles,
)
from storyjax.metrics.penn_treebank import words


@pytest.mark.parametrize(
    ("a", "b", "distance", "plain"),
    [
        ("", "abc", 3, 3),
        ("abc", "abc", 0, 0),
        ("kitten", "sitting", 3, 3),
        ("ab", "ba", 1, 2),
        ("ca", "abc", 2, 3),  # swap, then insert between: the restricted form needs three
        ("abcdef", "abcfad", 3, 3),
    ],
)
def test_damerau_levenshtein(a: str, b: str, distance: int, plain: int) -> None:
    assert damerau_levenshtein(a, b) == damerau_levenshtein(b, a) == distance
    assert damerau_levenshtein(a, b, transpositions=False) == plain


def test_edit_distance_takes_the_best_candidate_for_verbs_nouns_and_actions_apart() -> None:
    truth = [("wash", "cup"), ("dry", "cup"), ("cut", "apple"), ("eat", "apple")]
    verbs_right = [(verb, "pan") for verb, _ in truth]
    nouns_right = [("hold", noun) for _, noun in truth]
    assert edit_distances([verbs_right, nouns_right], truth) == {"verb": 0.0, "noun": 0.0, "action": 1.0}
    swapped = [truth[1], truth[0], *truth[2:]]
    # The headline is what the challenge's code computes (lta_metrics.py: editdistance.eval), where a swap is two edits.
    assert edit_distances([swapped], truth) == {"verb": 0.5, "noun": 0.0, "action": 0.5}
    assert edit_distances([swapped], truth, transpositions=True) == {"verb": 0.25, "noun": 0.0, "action": 0.25}
    assert complete(truth[:1], 3) == [truth[0]] * 3
    assert complete([], 2) == [("", "")] * 2
    assert len(complete(truth, 3)) == 3


def test_temporal_iou() -> None:
    iou = temporal_iou(np.array([[0.0, 4.0], [5.0, 5.0]]), np.array([[2.0, 6.0], [4.0, 9.0]]))
    np.testing.assert_allclose(iou, [[2 / 6, 0.0], [0.0, 0.0]])


def test_average_precision_counts_an_instance_once() -> None:
    truth = {"a": [(0.0, 10.0)], "b": [(0.0, 10.0), (20.0, 30.0)]}
    found = {
        "a": [Detection(0.0, 10.0, 0.9), Detection(1.0, 10.0, 0.8)],  # the second finds what is taken
        "b": [Detection(20.0, 30.0, 0.7), Detection(50.0, 60.0, 0.95)],
        "c": [Detection(0.0, 10.0, 0.6)],  # of a video without the class
    }
    # In the order of scores: wrong, right, wrong, right, wrong. Precision 1/2 at recall 1/3, 2/4 at 2/3, none at 1.
    assert average_precision(found, truth, 0.5) == pytest.approx(1 / 3 * 0.5 + 1 / 3 * 0.5)
    # a: its one, by the first; b: of two, the first two detections find one.
    assert recall_at({"wave": found}, {"wave": truth}, 0.5) == pytest.approx(2 / 3)


def test_equals_are_taken_as_the_challenges_code_takes_them() -> None:
    # The first detection overlaps both instances by 1/2, and the second only the first instance, by 6/8: the official
    # code (argsort()[::-1]) gives the first detection the last instance, and both are right.
    truth = {"a": [(0.0, 8.0), (4.0, 12.0)]}
    found = {"a": [Detection(2.0, 10.0, 0.9), Detection(0.0, 6.0, 0.8)]}
    assert average_precision(found, truth, 0.5) == 1.0
    # Of equal scores the last is first: right, wrong, and not the other way about.
    equal = {"a": [Detection(90.0, 99.0, 0.5), Detection(0.0, 8.0, 0.5)]}
    assert average_precision(equal, {"a": truth["a"][:1]}, 0.5) == 1.0


def test_recall_is_of_the_instances_of_all_classes_together() -> None:
    spans = [(10.0 * i, 10.0 * i + 5) for i in range(9)]
    truth = {"wave": {"a": [(0.0, 10.0)]}, "jump": {"a": spans[:4], "b": spans[4:]}, "hop": {"c": [(0.0, 1.0)]}}
    found = {
        "wave": {"a": [Detection(90.0, 99.0, 0.2), Detection(0.0, 10.0, 0.9)]},
        "jump": {"a": [Detection(0.0, 100.0, 0.9)] * 4, "b": [Detection(*spans[0], 0.9)]},  # b has another one
    }
    assert recall_at(found, truth, 0.5) == pytest.approx(1 / 11)  # 1 of 1, 0 of 9 and, of hop, 0 of 1
    found["jump"]["b"] = [Detection(90.0, 99.0, 1.0)] * 5 + [Detection(*span, 0.1) for span in spans[4:]]
    assert recall_at(found, truth, 0.5) == pytest.approx(1 / 11)  # as many as there are instances are looked at
    assert recall_at(found, truth, 0.5, times=2) == pytest.approx(6 / 11)
    assert moment_queries(found, truth)["recall_1x_0.5"] == pytest.approx(1 / 11)
    with pytest.raises(ValueError, match="without instances"):
        recall_at(found, {"wave": {"a": []}}, 0.5)


def test_an_overlap_of_the_threshold_itself_is_precise_and_not_recalled() -> None:
    truth, half = {"wave": {"a": [(0.0, 10.0)]}}, {"wave": {"a": [Detection(0.0, 5.0, 1.0)]}}
    assert temporal_iou(np.array([[0.0, 5.0]]), np.array([[0.0, 10.0]]))[0, 0] == 0.5
    results = moment_queries(half, truth)
    assert (results["map_0.5"], results["recall_1x_0.5"]) == (1.0, 0.0)
    assert recall_at(half, truth, 0.49) == 1.0
    asked = query_recall([[(0.0, 5.0)], [(0.0, 3.0)], [(0.0, 5.1)]], [(0.0, 10.0)] * 3)
    assert (asked["r@1_0.5"], asked["r@1_0.3"]) == pytest.approx((1 / 3, 2 / 3))
    # A constant answer that reaches the threshold alone is worth nothing either.
    assert constant_answers([(0.0, 5.0), (0.0, 10.0), (0.0, 10.0)], 1) == [(0.0, 10.0)]


def test_moment_queries_average_over_classes_and_thresholds() -> None:
    truth = {"wave": {"a": [(0.0, 10.0)]}, "jump": {"a": [(0.0, 10.0)]}, "never": {"a": []}}
    found = {"wave": {"a": [Detection(0.0, 10.0, 1.0)]}, "jump": {"a": [Detection(0.0, 3.5, 1.0)]}}  # IoU 0.35
    results = moment_queries(found, truth)
    assert results["map_0.3"] == 1.0
    assert results["map_0.4"] == 0.5
    assert results["avg_map"] == pytest.approx((1 + 1 + 1 + 0.5 + 0.5) / 5)
    assert results["recall_1x_0.5"] == 0.5


def test_query_recall_is_the_mean_over_two_thresholds() -> None:
    answers = [[(0.0, 10.0)], [(0.0, 4.0), (0.0, 10.0)], [(90.0, 95.0)], []]
    results = query_recall(answers, [(0.0, 10.0)] * 4)
    assert (results["r@1_0.3"], results["r@1_0.5"], results["r@5_0.5"]) == (0.5, 0.25, 0.5)
    assert (results["mr@1"], results["mr@5"]) == (0.375, 0.5)


def test_chance_is_the_best_that_is_the_same_for_all() -> None:
    truth = [(0.0, 2.0), (0.0, 2.0), (0.0, 2.4), (10.0, 12.0), (10.0, 12.0), (30.0, 31.0)]
    assert constant_answers(truth, 3) == [(0.0, 2.0), (10.0, 12.0), (30.0, 31.0)]
    assert query_recall([constant_answers(truth)] * 6, truth)["mr@1"] == pytest.approx(0.5)
    cut = tiles(10.0, 2.4)
    assert [(one.start, one.end) for one in cut] == [(0.0, 2.5), (2.5, 5.0), (5.0, 7.5), (7.5, 10.0)]
    assert len({one.score for one in cut}) == 1


def test_cider_of_hand_worked_captions() -> None:
    references = [["a man rides a horse"], ["two dogs play"]]
    assert cider(["a man rides a horse", "two dogs play"], references)[1] == pytest.approx(
        [10.0, 7.5]
    )  # of three words: no 4-gram
    # "dogs play": its words' vector is (idf, idf) against (idf, idf, idf): cosine 2 / sqrt(6); its bigram is one of
    # two: 1 / sqrt(2); no longer n-gram. One bigram shorter: exp(-1 / 72).
    expected = 10 / 4 * math.exp(-1 / 72) * (2 / math.sqrt(6) + 1 / math.sqrt(2))
    mean, each = cider(["nothing of it", "dogs play"], references)
    assert each == pytest.approx([0.0, expected])
    assert mean == pytest.approx(expected / 2)
    # Repeating a word is clipped to the reference's count.
    assert cider(["x", "dogs dogs dogs"], references)[1][1] == pytest.approx(
        10 / 4 * math.exp(-0 / 72) * (1 / (3 * math.sqrt(3)))
    )


# Each as CoreNLP 3.4.1's PTBTokenizer gave it, called as pycocoevalcap 1.2 calls it, without its punctuation.
@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A black-and-white dog / cat and/or fish.", "a black-and-white dog / cat and/or fish"),
        ("it's don't can't cannot won't I'm they've", "it 's do n't ca n't can not wo n't i 'm they 've"),
        ("a man (in a hat) sits; he eats: \"pizza\" 'fine'", "a man -lrb- in a hat -rrb- sits he eats pizza fine"),
        ("the dogs' owner's 3-year-old t-shirt", "the dogs owner 's 3-year-old t-shirt"),
        (
            "Mr. Smith meets Dr. Jones at 5 p.m. in the U.S. today",
            "mr. smith meets dr. jones at 5 p.m. in the u.s. today",
        ),
        ("cost $5.00 or 50% or 1/2 cup or 3,000 men", "cost $ 5.00 or 50 % or 1/2 cup or 3,000 men"),
        ("hello...world what?! yes!! end.", "hello world what ?! yes !! end"),
        ("foo_bar a--b a - b a—b", "foo_bar a b a b a b"),
        ("12:30 1980s 24/7 rock'n'roll o'clock", "12:30 1980s 24/7 rock 'n' roll o'clock"),
        ("don’t “quoted” [x] R&B a&b", "do n't quoted -lsb- x -rsb- r&b a & b"),
        ("semi- -ish a man,a dog.a cat 10' 5\" ", "semi ish a man a dog.a cat 10 5"),
        ("ex-wife's mother-in-law's and/ wi-fi", "ex-wife 's mother-in-law 's and / wi-fi"),
    ],
)
def test_words_are_those_of_the_reference_tokenizer(caption: str, expected: str) -> None:
    assert words(caption) == expected.split()


def test_cider_is_cocos() -> None:
    captions = ["A black-and-white dog isn't chasing the cat.", "a man and/or a woman rides a bike (at night)"]
    captions.append("the boy's t-shirt is red")
    references = [
        ["a black and white dog doesn't chase a cat", "a black-and-white dog is chasing the cat"],
        ["a man and/or woman is riding a bike at night", "somebody rides a bike (at night)"],
        ["the boy's t-shirt is red / blue", "a boy wears a red t-shirt"],
    ]
    # By pycocoevalcap 1.2 (PTBTokenizer, then Cider); a tokenizer that drops hyphens and slashes gives 5.2172.
    assert cider(captions, references)[1] == pytest.approx([3.56161711, 4.18535814, 4.7734822], abs=1e-6)
    assert cider(captions, references)[0] == pytest.approx(4.173485814675277, abs=1e-6)


def test_counting_and_selection_ignore_padding() -> None:
    sums = counting_sums(jnp.array([3.4, 7.0, 99.0]), jnp.array([4.0, 4.0, 1.0]), jnp.array([True, True, False]))
    result = counting({name: float(value) for name, value in sums.items()})
    assert result == pytest.approx({"mae": (0.6 / 4 + 3 / 4) / 2, "obo": 0.5})
    chosen = jnp.array([[True, True, False, False], [True] * 4])
    truth = jnp.array([[True, False, True, True], [True] * 4])
    sums = selection_sums(chosen, truth, jnp.array([True, False]))
    assert selection({name: float(value) for name, value in sums.items()}) == pytest.approx(
        {"precision": 0.5, "recall": 1 / 3}
    )


def test_choices_leave_out_hidden_answers() -> None:
    scores = jnp.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.3, 0.7]])
    sums = choice_sums(scores, jnp.array([1, 1, -1, 0]), jnp.array([True, True, True, False]))
    assert (float(sums["asked"]), float(sums["right"])) == (2.0, 1.0)
    assert sums["chosen"].tolist() == [1.0, 1.0]
