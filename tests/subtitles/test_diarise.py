"""Subtitles without a cast list: clusters, names that are given afterwards, and voices that are remembered."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from storyjax.cli import main
from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.storyworld.export.series import write_wav
from storyjax.subtitles import command
from storyjax.subtitles.annotations import read_annotations
from storyjax.subtitles.cast import read_cast
from storyjax.subtitles.diarise import cluster_voices, join_small, mean_voices, name_sentences, name_voices
from storyjax.subtitles.exemplars import Assignment
from storyjax.subtitles.pipeline import subtitle
from storyjax.subtitles.records import Laugh, Line, Subtitles
from storyjax.subtitles.rename import name_speakers, rename
from storyjax.subtitles.voices import Encoder, Voice, Voices, encoder_distance, read_voices_file
from storyjax.subtitles.writers import FORMATS


def voices_of(owners: list[int], noise: float = 0.1) -> np.ndarray:
    """Embeddings of segments of these speakers, which are at right angles to each other."""
    rng = np.random.default_rng(0)
    return unit_norm(np.eye(8, dtype=np.float32)[owners] + noise * rng.standard_normal((len(owners), 8))).astype("f4")


def test_segments_are_clustered_and_numbered_in_the_order_of_first_speech() -> None:
    owners = [3, 3, 1, 3, 1, 5, 1]
    assert cluster_voices(voices_of(owners), [2.0] * 7, 0.5) == [0, 0, 1, 0, 1, 2, 1]
    assert len(set(cluster_voices(voices_of(owners), [2.0] * 7, 1.9))) == 1, "all are within a large distance"
    assert len(set(cluster_voices(voices_of(owners), [2.0] * 7, 0.5, speakers=2))) == 2


def test_a_short_segment_makes_no_speaker_and_silence_has_none() -> None:
    vectors = voices_of([0, 1, 2, 0])
    vectors[2] = unit_norm(vectors[1] + 1.5 * vectors[2])  # half a second that is like nobody
    assert cluster_voices(vectors, [2.0, 2.0, 0.4, 2.0], 0.5) == [0, 1, 1, 0]
    vectors[0] = 0
    assert cluster_voices(vectors, [2.0, 2.0, 0.4, 2.0], 0.5) == [None, 0, 0, 1]
    assert cluster_voices(vectors[:0], [], 0.5) == []
    assert cluster_voices(vectors[1:2], [0.3], 0.5) == [0]
    assert mean_voices(vectors[:0], [], []) == []


def test_a_cluster_of_a_few_seconds_joins_a_mean_voice_that_is_near() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 2, 2]]
    vectors[3] = unit_norm(vectors[0] + vectors[3])  # 0.29 from the first
    seconds, clusters = [4.0, 4.0, 4.0, 2.0, 8.0, 8.0], [0, 0, 0, 1, 2, 2]
    assert join_small(vectors, seconds, clusters, 0.5) == [0, 0, 0, 0, 1, 1]
    assert join_small(vectors, seconds, clusters, 0.2) == clusters, "too far"
    assert join_small(vectors, [*seconds[:3], 9.0, *seconds[4:]], clusters, 0.5) == clusters, "long enough for somebody"
    assert join_small(vectors, [1.0] * 6, clusters, 0.5) == clusters, "there is too little of everybody"
    assert join_small(vectors, seconds, [None, 0, 0, 0, 0, 0], 0.5) == [None, 0, 0, 0, 0, 0]


def test_a_remembered_voice_gives_its_name_and_others_get_numbers() -> None:
    ana, ben, other = (Voice(vector, 10.0) for vector in voices_of([0, 1, 2], 0.0))
    known = {"Ana": ana, "Speaker 1": other}
    assert name_voices([ben, ana], known, 0.5) == ["Speaker 2", "Ana"]
    assert name_voices([ben, ana], {}, 0.5) == ["Speaker 1", "Speaker 2"]


def test_known_voices_name_sentences_and_the_others_are_clustered() -> None:
    vectors = voices_of([0, 0, 3, 1, 3, 0, 5, 1])
    vectors[5] = 0  # silence
    known = {"Ana": Voice(np.eye(8, dtype="f4")[0], 9.0), "Speaker 1": Voice(np.eye(8, dtype="f4")[1], 9.0)}
    found, labels = name_sentences(vectors, [2.0] * 8, known, 0.5)
    assert [None if i is None else labels[i] for i in found] == [
        *("Ana", "Ana", "Speaker 2", "Speaker 1", "Speaker 2", None, "Speaker 3", "Speaker 1")
    ]
    found, labels = name_sentences(vectors, [2.0] * 8, known, 0.5, speakers=3)
    assert set(labels) == {"Ana", "Speaker 1", "Speaker 2"}
    found, labels = name_sentences(vectors[:2], [2.0] * 2, known, 0.5)
    assert (found, labels) == ([0, 0], ["Ana"])


LINES = ("Speaker 2", "Speaker 21", None, "Speaker 2")


def written(suffix: str, sdh: bool) -> str:
    nobody = Assignment(None, None, 2.0, None, 2.0)
    lines = tuple(
        Line(2.0 * n, 2.0 * n + 1, f"Speaker 2: is what {n} says, <i>", name, "speech", nobody)
        for n, name in enumerate(LINES)
    )
    return FORMATS[suffix](Subtitles("e", lines, (Laugh(1.0, 2.0, 0.9),), np.zeros((4, 2), "f4"), {}), sdh)


@pytest.mark.parametrize("sdh", [False, True])
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["Ana", "Łukasz {1}, Dr. <b>", "דנה"])
def test_names_change_as_if_they_had_been_written_so(suffix: str, sdh: bool, name: str, monkeypatch) -> None:
    before = written(suffix, sdh)
    renamed, met = rename(before, suffix, {"Speaker 2": name})
    monkeypatch.setitem(globals(), "LINES", (name, "Speaker 21", None, name))
    assert renamed == written(suffix, sdh) != before, "the words that are said stay"
    assert met["Speaker 2"] >= 2
    if name != name.upper() or not sdh:  # a script without capitals does not show what was in capitals
        back, _ = rename(renamed, suffix, {name: "Speaker 2"})
        assert back == before


@pytest.fixture
def ask(videos, transcripts, config, networks, tmp_path: Path):
    """Subtitles of an episode with the stand-ins; images and, unless it is wanted, laughter must not be looked at."""

    def unwanted():
        raise AssertionError("speech and voices alone are needed")

    def ask(number: int, out: str, **given):
        deaf = dataclasses.replace(networks, sync=unwanted, face_matcher=unwanted, laughter=unwanted)
        video = videos[number]
        request = command.Request(
            [str(video)],
            out=str(tmp_path / out),
            transcripts=[str(transcripts[video.stem])],
            cache_dir=str(tmp_path / "work"),
            **given,
        )
        return command.run(request, config, deaf)[0][1]

    return ask


def test_speakers_are_told_apart_named_and_known_again(ask, series, tmp_path: Path, capsys) -> None:
    first = ask(0, "one.srt", speakers=5)
    truth = read_annotations(series, "StoryWorld")
    by_label: dict[str, list[str]] = {}
    for line, true in zip(first.lines, truth[0].lines, strict=True):
        by_label.setdefault(str(line.name), []).append(true.speaker)
    assert set(by_label) == {f"Speaker {n}" for n in range(1, 6)}
    purity = sum(max(map(names.count, names)) for names in by_label.values()) / len(first.lines)
    assert purity > 0.7, by_label
    label = next(label for label, names in by_label.items() if len(set(names)) == 1 and len(names) > 1)
    whose = by_label[label][0]
    one, voices = tmp_path / "one.srt", tmp_path / "known" / "voices.json"
    assert main.run(["subtitle", "name", str(one), f"{label}={whose}", "--voices", str(voices)]) == 0
    assert "knows the voice" in capsys.readouterr().out
    assert f"\n{whose}: " in one.read_text()
    assert f"\n{label}: " not in one.read_text()
    assert whose in read_voices_file(tmp_path / "one.speakers.json").voices
    again = ask(0, "again.srt", speakers=5, voices=str(voices))
    assert all(new.name == whose for old, new in zip(first.lines, again.lines, strict=True) if old.name == label)
    with pytest.raises(StoryjaxError, match="a file that is read"):
        ask(1, "known/voices.json", voices=str(voices))


def test_a_wrong_name_is_taken_back(ask, tmp_path: Path) -> None:
    voices, one = tmp_path / "voices.json", str(tmp_path / "one.srt")
    ask(0, "one.srt", speakers=2)
    ask(1, "two.srt", speakers=2)
    name_speakers(one, ["Speaker 1=Ana", "Speaker 2=Ben"])
    ana, ben = (read_voices_file(voices).voices[name] for name in ("Ana", "Ben"))
    name_speakers(str(tmp_path / "two.srt"), ["Speaker 1=Ana"])
    both = read_voices_file(voices).voices["Ana"]
    assert both.seconds > ana.seconds
    assert len(both.parts) == 2
    name_speakers(str(tmp_path / "two.srt"), ["Ana=Ana"])
    assert read_voices_file(voices).voices["Ana"].seconds == both.seconds, "named again it counts once"
    told = name_speakers(one, ["Ana=Zoe"])
    assert "this voice is 'Zoe', no longer 'Ana'" in told
    known = read_voices_file(voices).voices
    np.testing.assert_allclose(known["Zoe"].vector, ana.vector, atol=1e-5)
    assert known["Ana"].seconds == pytest.approx(both.seconds - ana.seconds, abs=0.01), "the other episode's stays"
    name_speakers(one, ["Zoe=Ben", "Ben=Zoe"])
    known = read_voices_file(voices).voices
    np.testing.assert_allclose(known["Zoe"].vector, ben.vector, atol=1e-5)
    np.testing.assert_allclose(known["Ben"].vector, ana.vector, atol=1e-5)
    assert main.run(["subtitle", "forget", "Ana", "Zoe", "--voices", str(voices)]) == 0
    assert set(read_voices_file(voices).voices) == {"Ben"}


def test_what_cannot_be_forgotten_is_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voices.json").write_text(Voices(Encoder("a", "b"), {"Ana": Voice(np.ones(3, "f4"), 1.0)}).text())
    for arguments, message in (
        (["forget", "Anna"], "knows nobody called 'Anna'. Did you mean 'Ana'?"),
        (["forget"], "forget whom"),
        (["forget", "Ana", "--voices", "none.json"], "none.json cannot be read"),
        (["forget", "Ana", "--save"], "--save keeps the distance"),
        (["calibrate"], "calibrate takes one folder"),
        (["calibrate", "none"], "none is not there"),
    ):
        assert main.run(["subtitle", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert "Ana" in (tmp_path / "voices.json").read_text()


@pytest.mark.parametrize("word", ["name", "forget", "calibrate"])
def test_a_video_that_is_called_as_an_action_is_a_video(word: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(command, "run", lambda request, config, uses: asked.append(tuple(request.videos)) or [])
    (tmp_path / word).touch()
    assert main.run(["subtitle", word]) == 0
    assert main.run(["subtitle", f"./{word}", "b=c.mp4"]) == 0
    assert asked == [(word,), (f"./{word}", "b=c.mp4")]
    if word == "name":  # but not where names follow
        plain = tmp_path / "plain.srt"
        plain.write_text("1\n00:00:01,000 --> 00:00:02,000\nSpeaker 2: yes\n")
        assert main.run(["subtitle", "name", "plain.srt", "Speaker 2=Ana"]) == 0
        assert plain.read_text().endswith("Ana: yes\n")
        (tmp_path / "b=c.mp4").touch()
        assert main.run(["subtitle", "name", "b=c.mp4"]) == 0
        assert asked[-1] == ("name", "b=c.mp4")


def test_the_cast_list_is_read_once(videos, monkeypatch, series, tmp_path: Path) -> None:
    reads: list[str] = []
    monkeypatch.setattr(command, "read_cast", lambda path: reads.append(path) or read_cast(path))
    request = command.Request([str(videos[0])], str(series / "cast.json"), str(tmp_path / "x.doc"))
    assert command.unneeded_roles(request) == []
    assert request.cast_list is not None
    assert len(reads) == 1


def test_voices_of_another_encoder_are_refused(ask, tmp_path: Path) -> None:
    voices = tmp_path / "voices.json"
    voices.write_text(Voices(Encoder("other", "runs/other"), {"Ana": Voice(np.ones(3, "f4"), 1.0)}).text())
    with pytest.raises(StoryjaxError, match=r"voices of another encoder \(runs/other\)"):
        ask(0, "one.srt", voices=str(voices))
    voices.write_text("{}")
    with pytest.raises(StoryjaxError, match="is no voices file"):
        ask(0, "one.srt", voices=str(voices))


def test_plain_subtitles_are_renamed_and_no_voice_is_remembered(tmp_path: Path) -> None:
    plain = tmp_path / "plain.srt"
    plain.write_text("1\n00:00:01,000 --> 00:00:02,000\nSpeaker 2: yes\n")
    told = name_speakers(str(plain), ["Speaker 2=Ana"])
    assert "no voice was remembered" in told
    assert plain.read_text().endswith("Ana: yes\n")
    assert [p.name for p in tmp_path.iterdir()] == ["plain.srt"]
    for given, message in (
        (["Speaker 3=Ana"], r"nobody is called 'Speaker 3'"),
        (["Speaker 2"], r"names nobody"),
        (["Ana=Unknown"], r"stands for unknown speakers"),
        ([], r"nobody is named"),
    ):
        with pytest.raises(StoryjaxError, match=message):
            name_speakers(str(plain), given)


def test_a_cast_with_samples_of_voices_alone_needs_no_image(
    series, videos, transcripts, config, networks, tmp_path: Path
) -> None:
    def unwanted():
        raise AssertionError("speech and voices alone are needed")

    deaf = dataclasses.replace(networks, sync=unwanted, face_matcher=unwanted, laughter=unwanted)
    cast = read_cast(series / "cast_voices.json")
    cast = dataclasses.replace(cast, members=tuple(dataclasses.replace(m, photos=()) for m in cast.members))
    (made,) = subtitle(videos[:1], cast, config, tmp_path, deaf, transcripts, False, laughter=False)
    assert sum(line.name is not None for line in made.lines) > len(made.lines) / 2
    one = dataclasses.replace(cast, members=cast.members[:1])
    (made,) = subtitle(videos[:1], one, config, tmp_path, deaf, transcripts, False, laughter=False)
    assert {line.name for line in made.lines} <= {cast.members[0].name, None}


def test_a_video_without_speech_has_no_lines(config, networks, tmp_path: Path) -> None:
    sound = tmp_path / "hum.wav"
    write_wav(sound, 0.01 * np.sin(np.arange(16_000, dtype=np.float32)))
    silent = dataclasses.replace(networks, recogniser=lambda: lambda wave: [])
    request = command.Request([str(sound)], cache_dir=str(tmp_path / "work"))
    written_files = command.run(request, config, silent)
    assert command.summary(written_files).endswith("no speech was recognised")
    assert read_voices_file(tmp_path / "hum.speakers.json").voices == {}


def test_the_distance_is_the_encoders_own(tmp_path: Path) -> None:
    assert encoder_distance("shipped:storyworld_voices") == 0.23
    config = tmp_path / "config.json"
    for architecture, distance in (("ecapa", 0.75), ("campplus", 0.5)):
        config.write_text(json.dumps({"architecture": architecture}))
        assert encoder_distance(str(tmp_path)) == distance
    (tmp_path / "source.json").write_text(json.dumps({"distance": 0.4}))
    assert encoder_distance(str(tmp_path)) == 0.4
    (tmp_path / "source.json").write_text(json.dumps({"distance": 3}))
    with pytest.raises(StoryjaxError, match=r"source\.json: distance is 3"):
        encoder_distance(str(tmp_path))
