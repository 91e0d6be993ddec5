"""The measurements of §6.3, on segments whose fate is known, and the layouts that the truth comes in."""

from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.subtitles.annotations import AnnotatedEpisode, TrueLine, read_annotations, read_lines
from storyjax.subtitles.evaluate import (
    Judged,
    best_distance,
    draw_curves,
    evaluate,
    exemplar_steps,
    judge,
    per_character,
    precision_curve,
)
from storyjax.subtitles.exemplars import Assignment
from storyjax.subtitles.records import Line, Subtitles
from storyjax.subtitles.statistics import exemplars_by_character, show_statistics


def judged(truth: str | None, nearest: str, distance: float, name: str | None = "", **given: object) -> Judged:
    values = {"listed": truth != "Waiter", "duration": 3.0, "visible": None, "step": "speech", "label": None, **given}
    return Judged(truth, name=nearest if name == "" else name, nearest=nearest, distance=distance, **values)


def test_a_stranger_is_rightly_unknown() -> None:
    assert judged("Ana", "Ana", 0.1).right
    assert not judged("Ana", "Ben", 0.1).right
    assert not judged("Ana", "Ana", 0.9, None).right
    assert judged("Waiter", "Ana", 0.9, None).right
    assert not judged("Waiter", "Ana", 0.9).right


def test_a_show_is_counted_and_speech_that_overlaps_counts_once() -> None:
    first = (
        TrueLine(0, 10, "Ana", ""),
        TrueLine(5, 15, "Ben", ""),
        TrueLine(6, 7, "Ana", ""),
        TrueLine(20, 25, "Ben", ""),
    )
    second = (TrueLine(1, 2, "Ana", ""), TrueLine(3, 4, "Mia", ""), TrueLine(4, 5, "Waiter", ""))
    episodes = [AnnotatedEpisode(name, lines, (), None) for name, lines in (("a", first), ("b", second))]
    assert show_statistics(episodes, [30.0, 30.0]) == {
        "episodes": 2.0,
        "minutes": 1.0,
        "characters": 4.0,
        "speech": pytest.approx(23 / 60),
        "speakers_min": 2.0,
        "speakers_mean": 2.5,
        "speakers_max": 3.0,
    }


def test_exemplars_are_counted_for_the_characters_who_have_most() -> None:
    labels = ["a", "a", "a", "b", "b", "c", "c", "d", "d", "e", "f"]
    exemplars = [judged("a", "a", 0.1, step="exemplar", label=label) for label in labels]
    others = [judged("a", "a", 0.1, step="face", label="a"), judged("a", "a", 0.1)]
    found = exemplars_by_character([*exemplars, *others])
    assert [found[f"rank_{i}/count"] for i in range(1, 5)] == [3, 2, 2, 2]
    assert (found["rank_1/precision"], found["rank_2/precision"]) == (1.0, 0.0)
    assert (found["others/count"], found["others/precision"]) == (2.0, 0.0)
    assert exemplars_by_character(others) == {}


def test_a_segment_belongs_to_who_speaks_most_of_it() -> None:
    truth = (
        TrueLine(0.0, 2.0, "Ana", "a", True),
        TrueLine(2.0, 5.0, "Ben", "b", False),
        TrueLine(8.0, 9.0, "Ana", "c"),
    )
    episode = AnnotatedEpisode("e", truth, (("Ana", None),), None)

    def line(start: float, end: float) -> Line:
        return Line(start, end, "x", "Ana", "speech", Assignment("Ana", "Ana", 0.2, None, 2.0))

    made = Subtitles("e", (line(0.5, 3.0), line(1.0, 5.0), line(5.5, 7.0)), (), np.zeros((0, 2), np.float32), {})
    first, second, third = judge(made, episode)
    assert (first.truth, first.listed, first.visible) == ("Ana", True, True)
    assert (second.truth, second.listed, second.visible) == ("Ben", False, False)
    assert third.truth is None


def test_steps_count_what_is_left_and_how_much_of_it_is_right() -> None:
    rows = [
        judged("Ana", "Ana", 0.1, step="exemplar", label="Ana", likely="Ana", raw_label="Ana"),
        judged("Ana", "Ana", 0.1, step="exemplar", label="Ana", likely="Ana", raw_label="Ben"),
        judged("Ben", "Ana", 0.1, step="face", label="Ana", likely="Ana", raw_label="Ben"),
        judged("Ben", "Ana", 0.1, step="synchronisation", likely="Ana", raw_label="Ana"),
        judged("Ben", "Ana", 0.1, step="speech", raw_label="Ana"),
    ]
    steps = exemplar_steps(rows)
    order = ("speech", "laughter", "synchronisation", "face", "exemplar")
    assert [steps[f"{s}/count"] for s in order] == [5, 4, 4, 3, 2]
    assert steps["exemplar/yield"] == pytest.approx(0.4)
    assert [steps[f"{s}/precision"] for s in order] == pytest.approx([2 / 5, 2 / 4, 2 / 4, 2 / 3, 1])
    silent = exemplar_steps([judged("Ana", "Ana", 0.1), judged(None, "Ana", 0.1)])
    assert not [key for key in silent if "precision" in key], "nothing was looked at"


def test_the_curve_falls_where_far_voices_are_wrong_and_the_oracle_knows_who_has_exemplars() -> None:
    rows = [
        judged("Ana", "Ana", 0.1),
        judged("Ben", "Ben", 0.2),
        judged("Waiter", "Ana", 0.6),
        judged("Leo", "Ana", 0.8),
    ]
    rows += [judged(None, "Ana", 0.0)]
    curve = precision_curve(rows, ["Ana", "Ben"])
    np.testing.assert_allclose(curve.pocs, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(curve.precision, [1, 1, 2 / 3, 0.5])
    assert curve.oracle == 0.5
    assert curve.precision_at(0.5) == 1.0
    assert not len(precision_curve(rows, [], longer_than=5.0).pocs)


def test_the_best_distance_lies_between_friends_and_strangers() -> None:
    rows = [judged("Ana", "Ana", d) for d in (0.1, 0.2, 0.3)] + [judged("Waiter", "Ana", d) for d in (0.5, 0.6)]
    assert best_distance(rows) == pytest.approx(0.4)
    assert best_distance([judged("Waiter", "Ana", 0.1)]) == 0.0
    assert best_distance([]) == 0.0


def test_characters_are_averaged_one_by_one() -> None:
    rows = [judged("Ana", "Ana", 0.1)] * 3 + [judged("Ben", "Ana", 0.1), judged("Ben", "Ben", 0.1)]
    rows += [judged("Leo", "Ana", 0.9, None)]
    rates = per_character(rows)
    assert rates["Ana"] == (0.75, 1.0)
    assert rates["Ben"] == (1.0, 0.5)
    assert rates["Leo"] == (None, 0.0)


def test_a_perfect_result_has_perfect_numbers(tmp_path: Path) -> None:
    truth = tuple(
        TrueLine(3.0 * i, 3.0 * i + 2.5, n, f"line {n} {i}.") for i, n in enumerate(("Ana", "Ben", "Ana", "Waiter"))
    )
    episode = AnnotatedEpisode("e", truth, (("Ana", None), ("Ben", None)), None)
    lines = tuple(
        Line(t.start, t.end, t.text, None if t.speaker == "Waiter" else t.speaker, "exemplar",
             Assignment(None, t.speaker, 0.1 + i / 10, None, 2.0), t.speaker)
        for i, t in enumerate(truth)
    )  # fmt: skip
    made = Subtitles("e", lines, (), np.zeros((4, 2), np.float32), {"Ana": 2, "Ben": 1})
    numbers, curves = evaluate([(made, episode)], "show")
    perfect = ("accuracy", "extra_unknown", "character_precision", "character_recall", "exemplar_precision")
    assert [numbers[f"show/{key}"] for key in perfect] == [1.0] * 5
    assert [numbers[f"show/{key}"] for key in ("der", "der_overlap", "wer")] == [0.0] * 3
    assert numbers["show/exemplar_yield"] == 1.0
    assert numbers["show/chance"] == 0.5
    draw_curves({"Show & <b>": curves}, tmp_path / "c.svg")
    image = (tmp_path / "c.svg").read_text()
    assert image.count("<polyline") == 2
    assert "Show &amp; &lt;b&gt;" in image


def test_the_published_layout_of_storyworld(series: Path) -> None:
    episodes = read_annotations(series, "StoryWorld")
    assert [e.name for e in episodes] == ["StoryWorld_01x01", "StoryWorld_01x02"]
    assert [e.name for e in read_annotations(series, "StoryWorld", "val")] == ["StoryWorld_01x02"]
    assert [e.name for e in read_annotations(series, "StoryWorld", "test")] == ["StoryWorld_01x01"]
    assert all(e.video is not None and e.video.is_file() for e in episodes)
    assert any(line.visible is False for e in episodes for line in e.lines)
    with pytest.raises(StoryjaxError, match="Did you mean 'StoryWorld'"):
        read_annotations(series, "Storyworld")


def test_tables_as_the_authors_publish_them(tmp_path: Path) -> None:
    for folder in ("csv", "castlist"):
        (tmp_path / folder / "Show").mkdir(parents=True)
    table = tmp_path / "csv" / "Show" / "Show_03x05.csv"
    table.write_text('6.19,9.22,Jerry,"has a very active, life?"\n1.98,5.24,Dr. Cox,Does it\n')
    (tmp_path / "castlist" / "Show" / "Show_03x05.txt").write_text("Jerry,Jerry Seinfeld\nReader,unknown\n")
    (episode,) = read_annotations(tmp_path, "Show")
    assert [line.speaker for line in episode.lines] == ["Dr. Cox", "Jerry"]
    assert episode.lines[1].text == "has a very active, life?"
    assert episode.cast == (("Jerry", "Jerry Seinfeld"), ("Reader", None))
    assert episode.video is None
    for row in ("x,2,Ana,Hi", "3,2,Ana,Hi", "1,2"):
        table.write_text(f"0,1,Ana,Yes\n{row}\n")
        with pytest.raises(StoryjaxError, match="row 2: not start,end,speaker"):
            read_lines(table)
