"""The distance of a voice encoder from samples of voices, and where it is kept."""

import json
from pathlib import Path

import numpy as np
import pytest
from standins import RATE, SpectralVoices

from storyjax.cli import main
from storyjax.core.errors import StoryjaxError
from storyjax.storyworld.export.series import write_wav
from storyjax.storyworld.render.speech import Speaker, speak
from storyjax.subtitles import speaker_encoder
from storyjax.subtitles.calibrate import Calibration, best_distance, calibrate, pieces_of
from storyjax.subtitles.voices import encoder_distance


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voices")
    for name, speaker in (("Ana", Speaker("slt", 1.1)), ("Ben", Speaker("rms", 0.95))):
        (folder / name).mkdir()
        for number in (0, 5):
            write_wav(folder / name / f"{number}.wav", np.concatenate([speak(speaker, number + i) for i in range(3)]))
    return folder


def test_the_distance_lies_between_one_voice_and_two() -> None:
    same, other = np.array([0.1, 0.2, 0.3]), np.array([0.7, 0.8])
    assert best_distance(same, other) == pytest.approx(0.5)
    assert Calibration(same, other, 0.5).mistaken(0.5) == (0, 0)
    assert Calibration(same, other, 0.5).mistaken(0.75) == (0, 0.5)
    assert Calibration(same, other, 0.5).mistaken(0.2) == (pytest.approx(1 / 3), 0)
    # Each kind counts by its fraction: many pairs of two voices do not outvote few of one.
    assert 0.4 <= best_distance(np.array([0.1, 0.4]), np.concatenate([[0.3], np.full(9, 0.9)])) < 0.9
    assert best_distance(np.array([0.9]), np.array([0.1])) <= 2


def test_pauses_and_ends_are_no_pieces() -> None:
    rng = np.random.default_rng(0)
    loud, pause = rng.standard_normal(4 * RATE).astype("f4") * 0.1, np.zeros(2 * RATE, "f4")
    assert [len(piece) for piece in pieces_of([np.concatenate([loud, pause, loud[: RATE // 2]])])] == [2 * RATE] * 2
    assert len(pieces_of([np.tile(loud, 100)])) == 100
    assert pieces_of([loud[:100]]) == []


def test_real_samples_make_a_distance(voices: Path, tmp_path: Path) -> None:
    found, pieces = calibrate(voices, SpectralVoices())
    assert set(pieces) == {"Ana", "Ben"}
    assert np.median(found.same) < found.distance < np.median(found.other)
    (tmp_path / "Ana").mkdir()
    write_wav(tmp_path / "Ana" / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(3 * RATE))
    with pytest.raises(StoryjaxError, match=r"samples of 1 voices \(Ana\): give at least two people"):
        calibrate(tmp_path, SpectralVoices())


def test_the_command_says_and_keeps_it(voices: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(speaker_encoder.SpeakerEncoder, "from_pretrained", lambda place: SpectralVoices())
    place = tmp_path / "models" / "voices"
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(b"weights")
    (place / "config.json").write_text('{"architecture": "campplus"}')
    asked = ["subtitle", "calibrate", str(voices), "--models", str(tmp_path / "models")]
    assert main.run(asked) == 0
    said = capsys.readouterr().out
    distance = float(said.rsplit("--distance ", 1)[1].split()[0])
    assert "distance 0.5 (in use)" in said
    assert "pairs" in said
    assert encoder_distance(str(place)) == 0.5, "nothing is kept unasked"
    assert main.run([*asked, "--save"]) == 0
    assert encoder_distance(str(place)) == distance
    assert json.loads((place / "config.json").read_text())["architecture"] == "campplus"
    record = {"model": "campplus", "files": {"model.safetensors": {"bytes": 7}}}
    (place / "source.json").write_text(json.dumps(record))
    (place / "config.json").write_text('{"architecture": "campplus"}')
    assert main.run([*asked, "--save"]) == 0
    assert json.loads((place / "source.json").read_text()) == {**record, "distance": distance}
    assert main.run(["subtitle", "calibrate", str(voices), "--models", "off", "--save"]) == 2
    assert "comes with storyjax and stays as it is: pass --distance" in capsys.readouterr().err
