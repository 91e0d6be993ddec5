"""The networks that ship, on episodes, voices and laughs of StoryWorld that they have never met."""

import numpy as np
import pytest

from storyjax.embedded.speaker_encoder import HELD_OUT, voice_scores
from storyjax.storyworld.export.series import held_out_episode
from storyjax.storyworld.render.episode_video import FPS, episode_frames, episode_sound
from storyjax.storyworld.render.sounds import laughter, music, room
from storyjax.storyworld.render.speech import RATE, Speaker, speak
from storyjax.storyworld.story.dialogue import text_numbers
from storyjax.subtitles.av_sync import SyncDetector, peaks
from storyjax.subtitles.laughter_detector import LaughterDetector
from storyjax.subtitles.speaker_encoder import SpeakerEncoder


def test_the_voice_encoder_tells_unheard_voices_apart() -> None:
    encoder = SpeakerEncoder.from_pretrained("shipped:storyworld_voices")
    sentences = text_numbers(held_out=True)[0]
    waves, voice = [], []
    for number, speaker in enumerate(HELD_OUT):
        for turn in range(4):
            waves.append(np.array(speak(speaker, sentences[(3 * number + 5 * turn) % len(sentences)])))
            voice.append(number)
    vectors = encoder.embed(waves)
    measured = voice_scores(vectors, np.array(voice))
    assert measured["voices/unheard_nearest"] > 0.8  # chance 0.07
    assert measured["voices/unheard_equal_error"] < 0.2


def test_the_laughter_detector_hears_laughter_and_takes_nothing_else_for_it() -> None:
    detector = LaughterDetector.from_pretrained("shipped:storyworld_laughter")
    rng = np.random.default_rng(123)
    sound = room(18 * RATE, rng)
    for start, made in (
        (1, speak(Speaker("awb", 1.05), text_numbers(held_out=True)[0][3])),
        (5, laughter(2.5, rng) * 0.6),
        (9, music(2.0, rng) * 0.5),
        (12, speak(Speaker("slt", 0.9), text_numbers(held_out=True)[0][5])),
        (15, laughter(2.0, rng) * 0.5),
    ):
        sound[start * RATE : start * RATE + len(made)] += made
    times, probability = detector.probabilities(sound)
    inside = ((times > 5.3) & (times < 6.8)) | ((times > 15.3) & (times < 16.4))
    outside = (times < 4.5) | ((times > 8.0) & (times < 14.5))
    assert (probability[inside] > 0.8).mean() > 0.8
    assert (probability[outside] > 0.8).mean() < 0.05


@pytest.fixture(scope="module")
def looks() -> list[tuple[bool, list, tuple[float, float, float] | None]]:
    """For some lines of an episode: whether the speaker is seen, the peaks, and where the head is."""
    detector = SyncDetector.from_pretrained("shipped:storyworld_sync")
    episode = held_out_episode(3, 40.0, seed=9)
    sound, made = episode_sound(episode), []
    for line in episode.lines:
        shot = next(shot for shot in episode.shots if shot.start <= (line.start + line.end) / 2 < shot.end)
        first, last = (round(t * FPS) for t in (max(line.start, shot.start), min(line.end, shot.end)))
        if last - first < 25:
            continue
        frames = np.stack(list(episode_frames(episode, range(first, last))))
        maps = detector.heat_maps(frames, sound[first * RATE // FPS : last * RATE // FPS])
        figure = next((f for f in shot.figures if f.name == line.speaker), None)
        places = [(*detector.pixel(peak[:2], (128, 128)), peak[2]) for peak in peaks(maps.mean(axis=0))]
        made.append((line.visible, places, figure and (figure.y, figure.x, figure.unit)))
    return made


def test_one_peak_says_that_the_speaker_is_seen_and_where(looks) -> None:
    single = [(visible, places[0], head) for visible, places, head in looks if len(places) == 1]
    assert len(looks) >= 8
    assert len(single) >= 0.3 * sum(visible for visible, _, _ in looks)
    assert np.mean([visible for visible, _, _ in single]) > 0.7
    near = [
        np.hypot(place[0] / 128 - head[0], place[1] / 128 - head[1]) < 0.4 * head[2]
        for visible, place, head in single
        if visible
    ]
    assert np.mean(near) > 0.7
