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


@pytest.mark.parametrize("block", [64, 100, 4096])
def test_laughter_of_a_recording_does_not_depend_on_how_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """Loudness is relative to the loudest of the whole recording: what is quiet here is so beside the noise at its end.

    The moments and the windows are those of the recording as one wave, and no more of it is in memory than a block.
    """
    from storyjax.subtitles import laughter_detector

    monkeypatch.setattr(laughter_detector, "_FRAMES", block)
    monkeypatch.setattr(laughter_detector, "_WINDOWS", 8)
    rng = np.random.default_rng(0)
    quiet, loud = 0.05 * rng.standard_normal(8 * RATE), 0.5 * rng.standard_normal(RATE)
    write_wav(tmp_path / "a.wav", np.concatenate([quiet, loud]))

    class Decibels(laughter_detector.LaughterDetector):
        """In place of the network: how loud the middle of a window is, between 80 decibels below the loudest and it."""

        def __init__(self) -> None:
            self.config, self._stride, self._params = laughter_detector.LaughterConfig(mels=32), 4, {}
            self._judge = lambda params, windows: 1 + windows[:, 22].mean(axis=-1) / 80

    read: list[int] = []
    timeline = Timeline.open(tmp_path / "a.wav", tmp_path / "a.s16")
    slices = type(timeline.recording).__getitem__
    monkeypatch.setattr(
        type(timeline.recording), "__getitem__", lambda spool, part: read.append(1) or slices(spool, part)
    )
    times, found = Decibels().probabilities(timeline.recording)
    _, whole = Decibels().probabilities(slices(timeline.recording, slice(None)))
    np.testing.assert_array_equal(found, whole)
    np.testing.assert_allclose(np.diff(times), 4 * 186 / 8000)
    assert 0.2 < found[times < 7].max() < 0.6
    assert found[times > 8.2].min() > 0.75
    assert len(read) >= len(times) * 4 / block
    (laugh,) = Laughter(Decibels, "x", threshold=0.7).run(timeline, EpisodeRecords())
    assert (laugh.start, laugh.end) == (pytest.approx(8.0, abs=0.15), pytest.approx(9.0, abs=0.15))


def test_images_for_the_synchroniser_keep_their_aspect(tmp_path: Path) -> None:
    """A disc in a video of 16:9 is as wide as it is high."""
    import av

    y, x = np.mgrid[:180, :320]
    disc = (((y - 90) ** 2 + (x - 160) ** 2 < 50**2) * 255).astype(np.uint8)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for _ in range(2 * FPS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.repeat(disc[..., None], 3, 2), "rgb24")))
        container.mux(stream.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2 * RATE), np.float32), "fltp", "mono")
        silence.sample_rate = RATE
        container.mux([*sound.encode(silence), *sound.encode()])
    shapes: list[tuple[int, ...]] = []

    class Looking:
        def heat_maps(self, frames: np.ndarray, wave: np.ndarray) -> np.ndarray:
            bright = frames[0].mean(axis=-1) > 128
            shapes.append((*frames.shape[1:3], np.ptp(np.nonzero(bright)[1]) + 1, np.ptp(np.nonzero(bright)[0]) + 1))
            return np.zeros((len(frames), 9, 16), np.float32)

    timeline = Timeline.open(tmp_path / "a.mp4", tmp_path / "a.s16")
    records = EpisodeRecords(segments=[Segment(0.1, 1.5, "One.")])
    Synchronisation(Looking, peaks, "x", 90).run(timeline, records)
    (height, width, wide, high) = shapes[0]
    assert (height, width) == (90, 160)
    assert wide == pytest.approx(50, abs=1)
    assert high == pytest.approx(50, abs=1)
    # A square is what it was for those who still take one.
    assert timeline.frames([0.5], 64).shape == (1, 64, 64, 3)


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
