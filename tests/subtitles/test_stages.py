"""The stages one by one: each gives what it promises on sounds and images made for it."""

from pathlib import Path

import numpy as np
import pytest
from standins import FPS, RATE, CorrelatingSync, SpectralVoices, peaks

from storyjax.storyworld.export.series import write_wav
from storyjax.storyworld.render.episode_video import write_video
from storyjax.subtitles.records import EpisodeRecords, Laugh
from storyjax.subtitles.stages import (
    Laughter,
    Synchronisation,
    VoiceEmbeddings,
    ahead,
    find_laughs,
    network_source,
)
from storyjax.subtitles.timeline import Segment, Timeline

RED, BLUE = (230, 20, 20), (20, 20, 230)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    """Six seconds: a red image, then a blue one, with one spot that follows the sound in the first and none after."""
    folder = tmp_path_factory.mktemp("video")
    rng = np.random.default_rng(0)
    loud = np.clip(np.convolve(rng.random(6 * FPS), np.ones(3) / 3, "same") * 2 - 0.6, 0, 1)
    wave = (np.repeat(loud, RATE // FPS) * 0.3 * rng.standard_normal(6 * RATE)).astype(np.float32)

    def frames():
        for number in range(6 * FPS):
            frame = np.full((64, 64, 3), RED if number < 3 * FPS else BLUE, np.uint8)
            if number < 3 * FPS:
                frame[28:36, 40:48] = 255 * loud[number] ** 0.7
            yield frame

    write_video(frames(), wave, folder / "video.mp4", 64)
    return Timeline.open(folder / "video.mp4", folder / "video.s16")


@pytest.fixture
def records() -> EpisodeRecords:
    return EpisodeRecords(segments=[Segment(0.2, 2.8, "One."), Segment(3.2, 5.8, "Two."), Segment(5.9, 6.0, "Oh!")])


def test_laughs_are_long_enough_stretches_above_the_threshold() -> None:
    times = np.arange(0, 4, 0.1)
    sure = np.zeros(40)
    sure[5:10], sure[20], sure[38:] = 0.9, 0.95, 0.85
    assert find_laughs(times, sure, 0.8, 0.2) == [Laugh(0.5, 1.0, 0.9), Laugh(3.8, 4.0, 0.85)]
    assert find_laughs(times, sure, 0.92, 0.05) == [Laugh(2.0, 2.1, 0.95)]
    assert find_laughs(times[:1], sure[:1], 0.8, 0.1) == []


def test_laughter_of_a_long_film_is_found_once_and_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storyjax.subtitles.stages._LAUGH_BLOCK_S", 5.0)
    wave = np.full(18 * RATE, 0.01, np.float32)
    wave[round(4.7 * RATE) : round(5.6 * RATE)] = 0.5  # across the border of two blocks
    wave[17 * RATE : round(17.8 * RATE)] = 0.5
    write_wav(tmp_path / "a.wav", wave)

    class Loudness:
        def probabilities(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            count = int(len(wave) / RATE / 0.1)
            hop = RATE // 10
            return np.arange(count) * 0.1, (wave[: count * hop].reshape(count, hop).mean(axis=1) > 0.2) * 0.99

    stage = Laughter(Loudness, "x")
    found = stage.run(Timeline.open(tmp_path / "a.wav", tmp_path / "a.s16"), EpisodeRecords())
    assert [(laugh.start, laugh.end) for laugh in found] == [
        (pytest.approx(4.7, abs=0.11), pytest.approx(5.6, abs=0.11)),
        (pytest.approx(17.0, abs=0.11), pytest.approx(17.8, abs=0.11)),
    ]


def test_one_peak_is_a_speaker_and_segments_with_laughter_are_left_out(
    video: Timeline, records: EpisodeRecords
) -> None:
    stage = Synchronisation(CorrelatingSync, peaks, "x", 64)
    one, two, short = stage.run(video, records)
    assert [len(p.peaks) for p in (one, two, short)] == [1, 0, 0]
    (y, x, score) = one.peaks[0]
    assert (y, x) == (pytest.approx(32 / 64, abs=0.1), pytest.approx(44 / 64, abs=0.1))
    assert score > 0.5
    records.laughs = [Laugh(0.5, 1.2, 0.9)]
    assert [p.segment for p in stage.run(video, records)] == [1, 2]
    assert records.laughed_at == {0}


def test_long_segments_are_looked_at_in_pieces(video: Timeline, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = EpisodeRecords(segments=[Segment(0.0, 3.0, "One.")])
    (at_once,) = Synchronisation(CorrelatingSync, peaks, "x", 64).run(video, whole)
    monkeypatch.setattr("storyjax.subtitles.stages._SYNC_PIECE_S", 1.2)
    (in_pieces,) = Synchronisation(CorrelatingSync, peaks, "x", 64).run(video, whole)
    assert in_pieces.peaks[0][:2] == at_once.peaks[0][:2]


def test_every_segment_has_a_voice_of_unit_length_and_silence_none(video: Timeline, records: EpisodeRecords) -> None:
    records.segments.append(Segment(7.0, 8.0, "After the end."))
    rows = VoiceEmbeddings(SpectralVoices, "x").run(video, records)
    assert [row.segment for row in rows] == [0, 1, 2, 3]
    records.voices = rows
    lengths = np.linalg.norm(records.vectors(), axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 1, 0], atol=1e-4)


def test_sound_alone_has_no_images(tmp_path: Path, records: EpisodeRecords) -> None:
    write_wav(tmp_path / "a.wav", np.ones(RATE * 6) * 0.1)
    timeline = Timeline.open(tmp_path / "a.wav", tmp_path / "a.s16")
    assert not timeline.has_video
    assert Synchronisation(CorrelatingSync, peaks, "x").run(timeline, records) == []


def test_another_network_in_the_same_place_is_another_source(tmp_path: Path) -> None:
    assert network_source(str(tmp_path)) == str(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = network_source(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"another")
    assert first != network_source(str(tmp_path)) != str(tmp_path)
    assert network_source("shipped:storyworld_sync").startswith("shipped:storyworld_sync (")


def test_what_is_made_ahead_keeps_its_order_and_its_errors() -> None:
    made = []

    def items():
        for number in range(4):
            made.append(number)
            yield number
        raise ValueError("the fifth")

    taken = ahead(items())
    assert next(taken) == 0
    assert next(taken) == 1
    assert len(made) <= 3, "no more than one is made before it is wanted"
    with pytest.raises(ValueError, match="the fifth"):
        list(taken)
    assert made == [0, 1, 2, 3]
    assert list(ahead(iter([]))) == []
