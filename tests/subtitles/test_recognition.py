"""Recognition with the real Whisper, in pieces, and sentences by the real Punkt."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.audio import RATE
from storyjax.storyworld.export.series import write_wav
from storyjax.storyworld.render.speech import Speaker, speak
from storyjax.storyworld.story.dialogue import TEXTS
from storyjax.subtitles.recognition import RecognitionConfig, load_recogniser, recognise
from storyjax.subtitles.sentences import split_sentences
from storyjax.subtitles.timeline import Timeline, Word


def timed(text: str, start: float = 0.0, step: float = 0.3) -> list[Word]:
    return [Word(w, start + i * step, start + (i + 0.9) * step) for i, w in enumerate(text.split())]


def test_sentences_have_the_times_of_their_words() -> None:
    segments = split_sentences(timed("I met Dr. Smith at noon. He said no. What? I see."))
    assert [s.text for s in segments] == ["I met Dr. Smith at noon.", "He said no.", "What?", "I see."]
    assert segments[1].start == pytest.approx(6 * 0.3)
    assert segments[1].end == pytest.approx(8.9 * 0.3)


def test_a_long_pause_ends_a_sentence_and_nothing_is_lost() -> None:
    words = [*timed("he never came"), *timed("back again.", 5.0)]
    assert [s.text for s in split_sentences(words)] == ["he never came", "back again."]
    endless = timed(" ".join(["word"] * 300))
    segments = split_sentences(endless)
    assert all(s.end - s.start <= 30.0 for s in segments)
    assert sum(len(s.text.split()) for s in segments) == 300
    assert split_sentences([]) == []


def test_pieces_are_cut_where_it_is_quiet_and_times_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storyjax.subtitles.recognition._PIECE_S", 4.0)
    monkeypatch.setattr("storyjax.subtitles.recognition._SEARCH_S", 2.0)
    wave = 0.2 * np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32)
    for quiet in (3.0, 6.2):
        wave[round((quiet - 0.3) * RATE) : round((quiet + 0.3) * RATE)] *= 0.01
    write_wav(tmp_path / "a.wav", wave)
    timeline = Timeline.open(tmp_path / "a.wav", tmp_path / "a.s16")
    lengths = []

    def hears(sound: np.ndarray) -> list[Word]:
        lengths.append(len(sound) / RATE)
        return [Word("first", 0.1, 0.2), Word("late", 99.0, 100.0)]

    words = recognise(timeline, hears)
    assert lengths[0] == pytest.approx(3.0, abs=0.3)
    assert lengths[0] + lengths[1] == pytest.approx(6.2, abs=0.3)
    assert sum(lengths) == pytest.approx(10.0, abs=0.01)
    starts = [w.start for w in words if w.text == "first"]
    np.testing.assert_allclose(starts, np.cumsum([0, *lengths[:-1]]) + 0.1, atol=1e-6)
    assert max(w.end for w in words) <= 10.0


def test_silence_is_not_recognised(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(3 * RATE))
    timeline = Timeline.open(tmp_path / "a.wav", tmp_path / "a.s16")

    def invents(sound: np.ndarray) -> list[Word]:
        raise AssertionError("silence makes recognisers invent words")

    assert recognise(timeline, invents) == []


def test_whisper_understands_the_voices_of_storyworld() -> None:
    sound = np.zeros(9 * RATE, np.float32)
    for start, speaker, text in ((0.5, Speaker("slt", 1.1), 0), (4.5, Speaker("rms", 0.95), 5)):
        said = speak(speaker, text)
        sound[round(start * RATE) :][: len(said)] = said
    words = load_recogniser(RecognitionConfig(threads=1, beam=1))(sound)
    segments = split_sentences(words)
    assert [s.text for s in segments] == [TEXTS[0], TEXTS[5]]
    assert segments[0].start == pytest.approx(0.5, abs=0.5)
    assert segments[1].start == pytest.approx(4.5, abs=0.3)
    assert all(a.end <= b.start + 0.05 for a, b in itertools.pairwise(words))


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match="Did you mean 'faster-whisper'"):
        load_recogniser(RecognitionConfig(engine="faster_whisper"))
    with pytest.raises(StoryjaxError, match="there is no folder"):
        load_recogniser(RecognitionConfig(model=str(tmp_path / "none")))
    (tmp_path / "model").mkdir()
    with pytest.raises(StoryjaxError, match="cannot be loaded") as error:
        load_recogniser(RecognitionConfig(model=str(tmp_path / "model")))
    assert "\n" not in str(error.value)
    with pytest.raises(StoryjaxError, match="no sentence model for 'elvish'"):
        split_sentences(timed("Hello."), "elvish")
