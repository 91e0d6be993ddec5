"""Episodes of the series: what is said is heard, mouths move with it, and the annotations say what happens."""

import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from storyjax.storyworld.export.series import (
    CAST,
    episode_cast,
    export_series,
    held_out_episode,
    training_episode,
    truth_of,
)
from storyjax.storyworld.render.episode_video import FPS, episode_frames, episode_sound, frame_count
from storyjax.storyworld.render.sounds import laughter
from storyjax.storyworld.render.speech import BASES, RATE, Speaker, openness, speak
from storyjax.storyworld.story.dialogue import EXCLAMATIONS, SENTENCES, TEXTS, text_numbers
from storyjax.storyworld.story.episodes import Character, EpisodeStyle, write_episode


def test_every_voice_says_every_line_and_the_bank_is_small() -> None:
    for base in BASES:
        for number in (0, len(SENTENCES) - 1, len(TEXTS) - 1):
            wave = speak(Speaker(base), number)
            assert 0.2 < len(wave) / RATE < 5.0
            assert np.sqrt((wave**2).mean()) == pytest.approx(0.1, rel=1e-3)
    bank = Path("storyjax/storyworld/voice_bank")
    bank = bank if bank.exists() else Path(__file__).parents[2] / bank
    assert sum(file.stat().st_size for file in bank.iterdir()) < 2_000_000


def test_a_scale_makes_another_voice_faster_and_higher() -> None:
    low, high = speak(Speaker("rms", 0.9), 3), speak(Speaker("rms", 1.2), 3)
    assert len(low) / len(high) == pytest.approx(1.2 / 0.9, rel=0.01)

    def centre(wave: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(wave)) ** 2
        return float((power * np.arange(len(power))).sum() / power.sum()) * RATE / len(wave)

    assert centre(high) > 1.15 * centre(low)


def test_training_and_held_out_lines_are_disjoint() -> None:
    train, held = (set(a) | set(b) for a, b in (text_numbers(False), text_numbers(True)))
    assert not train & held
    assert train | held == set(range(len(SENTENCES) + len(EXCLAMATIONS)))
    assert {line.saying for line in training_episode(1).lines} <= train
    assert {line.saying for line in held_out_episode(1).lines} <= held


@pytest.fixture(scope="module")
def episode():
    return held_out_episode(2, seconds=90.0)


def test_an_episode_has_all_that_makes_it_hard(episode) -> None:
    listed = {character.name for character in episode_cast(2)}
    shots = [shot.figures for shot in episode.shots]
    assert {line.speaker for line in episode.lines} - listed, "somebody whom the cast list does not know"
    assert any(not line.visible for line in episode.lines), "lines off-screen"
    assert any(len(figures) == 2 for figures in shots), "two faces in one shot"
    assert any(figure.chews for figures in shots for figure in figures), "a mouth that moves without speaking"
    assert episode.laughs
    assert episode.music
    assert any(line.text in EXCLAMATIONS for line in episode.lines)
    assert any(b.start < a.end for number in range(6) for a, b in pairwise(held_out_episode(number).lines)), "overlaps"


def test_shots_follow_each_other_and_lines_say_who_is_seen(episode) -> None:
    assert episode.shots[0].start == 0.0
    assert episode.shots[-1].end == pytest.approx(episode.duration)
    assert all(a.end == pytest.approx(b.start) for a, b in pairwise(episode.shots))
    for line in episode.lines:
        middle = (line.start + line.end) / 2
        shot = next(shot for shot in episode.shots if shot.start <= middle < shot.end)
        following = [s for s in episode.shots if s.start < line.end - 0.3 and s.end > line.start + 0.3]
        if len(following) == 1:  # nobody interrupts
            assert line.visible == any(figure.name == line.speaker for figure in shot.figures)


def test_a_seed_is_an_episode(episode) -> None:
    assert held_out_episode(2, seconds=90.0) == episode
    assert held_out_episode(3, seconds=90.0) != episode
    ten = list(range(40, 50))
    first = np.stack(list(episode_frames(episode, ten)))
    np.testing.assert_array_equal(np.stack(list(episode_frames(episode, ten[5:]))), first[5:])


def test_mouths_move_with_the_speech_and_only_then() -> None:
    cast = [Character("ana", Speaker("slt")), Character("ben", Speaker("rms"))]
    style = EpisodeStyle(seconds=10.0, single=0.0, pair=1.0, reaction=0.0, chewing=0.0, laughs=0.0, interrupts=0.0)
    episode = write_episode(5, cast, (), style)
    line = max(episode.lines, key=lambda line: line.end - line.start)
    shot = next(shot for shot in episode.shots if shot.start <= line.start and shot.end >= line.end - 0.1)
    opened = openness(speak(line.voice, line.saying), FPS)
    numbers = range(round(line.start * FPS), round(line.start * FPS) + len(opened) - 2)
    frames = np.stack(list(episode_frames(episode, numbers))).astype(float)
    follows = {}
    for figure in shot.figures:
        x, y = figure.x * 128, (figure.y + 0.11 * figure.unit) * 128
        patch = frames[:, round(y) - 5 : round(y) + 6, round(x) - 6 : round(x) + 7].mean(axis=(1, 2, 3))
        follows[figure.name] = abs(float(np.corrcoef(patch, opened[: len(numbers)])[0, 1]))
    listener = next(name for name in follows if name != line.speaker)
    assert follows[line.speaker] > 0.6
    assert follows[listener] < 0.35


def test_every_line_is_in_the_sound(episode) -> None:
    wave = episode_sound(episode)
    assert len(wave) == round(episode.duration * RATE)
    assert frame_count(episode) == round(episode.duration * FPS)
    for line in episode.lines[:8]:
        said = line.gain * speak(line.voice, line.saying)
        heard = wave[round(line.start * RATE) :][: len(said)]
        assert float(heard @ said / (said @ said)) == pytest.approx(1.0, abs=0.15)


def test_laughter_bursts_out_and_calms_down() -> None:
    wave = laughter(2.0, np.random.default_rng(0))
    thirds = [float(np.sqrt((part**2).mean())) for part in np.array_split(wave, 3)]
    assert thirds[0] > 0.05
    assert thirds[2] < 0.6 * thirds[0]


def test_the_export_keeps_the_published_layout(tmp_path: Path) -> None:
    folder = export_series(tmp_path / "series", episodes=1, seconds=8.0, photos=2, things=True)
    name = "StoryWorld_01x01"
    rows = list(csv.reader((folder / f"csv/StoryWorld/{name}.csv").read_text().splitlines()))
    turns = [line.split() for line in (folder / f"rttm/StoryWorld/{name}.rttm").read_text().splitlines()]
    assert [(r[0], r[2]) for r in rows] == [(t[3], t[7]) for t in turns]
    assert all(turn[:3] == ["SPEAKER", name, "1"] and len(turn) == 10 for turn in turns)
    cast = dict(line.split(",") for line in (folder / f"castlist/StoryWorld/{name}.txt").read_text().splitlines())
    assert cast == {c.name.capitalize(): c.name for c in episode_cast(1)}
    listed = json.loads((folder / "cast.json").read_text())
    assert [entry["name"].lower() for entry in listed["cast"]] == [c.name for c in CAST]
    assert all((folder / photo).is_file() for entry in listed["cast"] for photo in entry["photos"])
    voices = json.loads((folder / "cast_voices.json").read_text())
    assert all((folder / voice).is_file() for entry in voices["cast"] for voice in entry["voices"])
    truth = json.loads((folder / f"truth/{name}.json").read_text())
    assert [line["text"] for line in truth["lines"]] == [row[3] for row in rows]
    assert (folder / f"video/StoryWorld/{name}.mp4").stat().st_size > 10_000
    things = json.loads((folder / "things.json").read_text())
    assert [(t["name"], t["category"], t["owner"]) for t in things][:2] == [
        ("Chia", "dog", "Ana"),
        ("Rolo", "dog", "Ben"),
    ]
    assert all((folder / photo).is_file() for thing in things for photo in thing["photos"])
    assert [len(thing["boxes"]) for thing in things] == [2] * len(things)
    assert truth["shots"] == truth_of(held_out_episode(1, 8.0, things=True), [c.name for c in episode_cast(1)])["shots"]
    questions = json.loads((folder / f"questions/{name}.json").read_text())
    assert questions
    said = [line["text"] for line in truth["lines"]]
    quoted = [text for question in questions if question["answerable"] for text in said if text in question["question"]]
    assert quoted
