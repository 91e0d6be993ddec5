"""Sentences that two people speak are cut between their voices; those of one are left whole."""

from pathlib import Path

import numpy as np
import pytest
from standins import RATE

from storyjax.storyworld.export.series import write_wav
from storyjax.subtitles.exemplars import Assignment, name_short
from storyjax.subtitles.records import EpisodeRecords
from storyjax.subtitles.timeline import Timeline, Word
from storyjax.subtitles.turns import SpeakerTurns, possible_turns

WHOSE = [0] * 6 + [1] * 6 + [0] * 6


class Pitch:
    """A voice is the sign of its wave."""

    dim = 2

    def embed(self, waves) -> np.ndarray:
        return np.stack([np.array([1, 0] if wave.mean() > 0 else [0, 1], np.float32) for wave in waves])


def sentence(marks: bool) -> list[Word]:
    """Eighteen words of 0.3 s, a mark after every sixth and after the third."""
    return [
        Word(f"w{n}" + ("," if marks and n in (2, 5, 11) else "." if n == 17 else ""), 0.3 * n, 0.3 * n + 0.29)
        for n in range(18)
    ]


@pytest.fixture
def timeline(tmp_path: Path) -> Timeline:
    write_wav(tmp_path / "a.wav", np.repeat([0.3 - 0.6 * who for who in WHOSE], round(0.3 * RATE)))
    return Timeline.open(tmp_path / "a.wav", tmp_path / "a.s16")


def test_it_is_cut_between_voices_and_nowhere_else(timeline: Timeline) -> None:
    pytest.importorskip("punkt")
    stage = SpeakerTurns("english", load=Pitch, source="x", distance=0.5)
    found = stage.run(timeline, EpisodeRecords(words=sentence(marks=True)))
    assert [segment.text.split()[0] for segment in found] == ["w0", "w6", "w12"]
    assert found[1].start == pytest.approx(1.8)
    whole = SpeakerTurns("english", load=Pitch, source="x", distance=1.5)
    assert len(whole.run(timeline, EpisodeRecords(words=sentence(marks=True)))) == 1
    assert len(stage.run(timeline, EpisodeRecords(words=sentence(marks=False)))) == 1, "not within a clause"
    assert stage.settings() != whole.settings()


def test_a_turn_needs_a_second_on_both_sides_and_a_mark_or_a_pause() -> None:
    words = sentence(marks=True)
    assert possible_turns(words) == [6, 12]
    later = [*words[:9], *(Word(w.text, w.start + 0.3, w.end + 0.3) for w in words[9:])]
    assert possible_turns(later) == [6, 9, 12]


def test_short_segments_have_the_nearest_voice_of_those_who_are_surely_heard() -> None:
    def given(name: str | None, nearest: str) -> Assignment:
        return Assignment(name, nearest, 0.6, None, 2.0)

    rows = [given("Ana", "Ana"), given(None, "Ana"), given(None, "Ben"), given(None, "Ana")]
    named = name_short(rows, [2.0, 0.5, 0.5, 2.0], 1.0)
    assert [row.name for row in named] == ["Ana", "Ana", None, None]
