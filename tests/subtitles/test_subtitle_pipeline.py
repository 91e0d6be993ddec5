"""The whole pipeline on a short series: names, resuming at any stage, and one file after another of bad input."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from standins import RATE

from storyjax.cli import main
from storyjax.core.config import from_config, load_config
from storyjax.core.errors import StoryjaxError
from storyjax.storyworld.export.series import write_wav
from storyjax.subtitles import command, pipeline
from storyjax.subtitles.annotations import read_annotations
from storyjax.subtitles.cast import read_cast
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.evaluate import evaluate, exemplar_steps, judge
from storyjax.subtitles.networks import Networks
from storyjax.subtitles.pipeline import make_stages, run_stages, subtitle
from storyjax.subtitles.writers import why

STAGES = ("words", "segments", "laughs", "voices", "peaks", "faces")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def test_lines_are_named_from_faces_alone(series, videos, transcripts, networks, config, work) -> None:
    made = subtitle(videos, read_cast(series / "cast.json"), config, work, networks, transcripts, progress=False)
    episodes = read_annotations(series, "StoryWorld")
    judged = [j for subtitles, episode in zip(made, episodes, strict=True) for j in judge(subtitles, episode)]
    steps = exemplar_steps(judged)
    assert steps["speech/count"] > steps["synchronisation/count"] > 0
    assert steps["exemplar/count"] > 0
    assert made[0].exemplars == made[1].exemplars, "episodes share exemplars"
    named = [j for j in judged if j.name is not None]
    assert len(named) > len(judged) / 3
    right = np.mean([j.name == j.truth for j in named])
    assert right > 0.3, right  # by chance one of five
    evidence = why(made)
    assert len(evidence["episodes"][videos[0].stem]) == len(made[0].lines)
    numbers, _ = evaluate(list(zip(made, episodes, strict=True)))
    assert 0 < numbers["tv/der"] < 1.2


def test_samples_of_voices_name_lines_without_any_image(
    series, videos, transcripts, networks, config, tmp_path: Path
) -> None:
    def unwanted():
        raise AssertionError("sound alone has no images to look at")

    deaf = dataclasses.replace(networks, sync=unwanted, face_matcher=unwanted)
    from storyjax.data.audio import load_audio

    sound = tmp_path / f"{videos[0].stem}.wav"
    write_wav(sound, load_audio(videos[0]))
    (made,) = subtitle(
        [sound], read_cast(series / "cast_voices.json"), config, tmp_path / "w", deaf, transcripts, False
    )
    judged = judge(made, read_annotations(series, "StoryWorld")[0])
    listed = [j for j in judged if j.listed]
    assert np.mean([j.nearest == j.truth for j in listed]) > 0.7
    with pytest.raises(StoryjaxError, match=r"has no video track.*samples of voices"):
        subtitle([sound], read_cast(series / "cast.json"), config, tmp_path / "v", networks, transcripts, False)


def recorded(stages, log: list[str], stop_at: str | None = None):
    """Stages that note when they are run, and one that dies in the middle."""

    def noting(stage) -> Callable:
        run = stage.run

        def noted(timeline, records):
            log.append(stage.name)
            rows = run(timeline, records)
            if stage.name == stop_at:
                raise KeyboardInterrupt
            return rows

        return noted

    for stage in stages:
        stage.run = noting(stage)
    return stages


def test_killed_at_any_stage_it_goes_on_there(series, videos, transcripts, networks, config, tmp_path: Path) -> None:
    cast, video = read_cast(series / "cast.json"), videos[0]

    def stages(log: list[str], stop_at: str | None = None, **changes: object):
        changed = dataclasses.replace(config, **changes)
        return recorded(make_stages(cast, video.stem, changed, networks, transcripts[video.stem]), log, stop_at)

    whole = run_stages(video, stages([]), tmp_path / "whole", progress=False)
    log: list[str] = []
    for number, name in enumerate(STAGES):
        log.clear()
        with pytest.raises(KeyboardInterrupt):
            run_stages(video, stages(log, stop_at=name), tmp_path / "killed", progress=False)
        assert log == [name], f"stage {number} alone is left to do"
        log.clear()
        upto = stages(log)[: number + 1]
        run_stages(video, upto, tmp_path / "killed", progress=False)
        assert log == [name]
    log.clear()
    assert run_stages(video, stages(log), tmp_path / "killed", progress=False) == whole
    assert log == []
    run_stages(video, stages(log, face_threshold=0.5), tmp_path / "killed", progress=False)
    assert log == ["faces"], "another threshold redoes what depends on it"
    assert not list((tmp_path / "killed").rglob("*.part"))
    assert not list((tmp_path / "killed").rglob("*.s16")), "the sound is not kept when all is done"


def test_another_video_of_the_same_name_is_another_video(
    videos, series, transcripts, networks, config, tmp_path
) -> None:
    copy = tmp_path / videos[0].name
    shutil.copy(videos[0], copy)
    cast, log = read_cast(series / "cast.json"), []
    stages = recorded(make_stages(cast, copy.stem, config, networks, transcripts[copy.stem])[:3], log)
    run_stages(copy, stages, tmp_path / "w", progress=False)
    shutil.copy(videos[1], copy)
    run_stages(copy, stages, tmp_path / "w", progress=False)
    assert log == ["words", "segments", "laughs"] * 2


@pytest.fixture
def ask(series, config, networks, tmp_path):
    """Runs a request with the stand-ins, on one episode unless another video is given."""

    def ask(*videos: Path, **given: object) -> list:
        values = {"cast": str(series / "cast.json"), "cache_dir": str(tmp_path / "work"), **given}
        request = command.Request([str(v) for v in videos], **values)
        return command.run(request, config, networks)

    return ask


def test_files_go_where_they_were_asked_to(ask, videos, transcripts, tmp_path: Path) -> None:
    given = {"transcripts": [str(transcripts[v.stem]) for v in videos]}
    written = ask(*videos, out=str(tmp_path / "out" / "{}.vtt"), why=str(tmp_path / "why.json"), sdh=True, **given)
    assert [path.name for path, _ in written] == [f"{v.stem}.vtt" for v in videos]
    assert (tmp_path / "out" / f"{videos[0].stem}.vtt").read_text().startswith("WEBVTT")
    assert set(json.loads((tmp_path / "why.json").read_text())["episodes"]) == {v.stem for v in videos}
    text = command.summary(written)
    assert "lines" in text
    assert "exemplars" in text
    ask(*videos, out=str(tmp_path / "folder"), **given)
    assert len(list((tmp_path / "folder").glob("*.srt"))) == 2


def test_nothing_that_was_read_is_written_over(series, ask, videos, tmp_path: Path) -> None:
    film, cues, cast, photo = (tmp_path / name for name in ("film.mp4", "film.srt", "cast.json", "ana.png"))
    shutil.copy(videos[0], film)
    cues.write_text("1\n00:00:00,500 --> 00:00:02,500\nHello there.\n")
    shutil.copy(series / json.loads((series / "cast.json").read_text())["cast"][0]["photos"][0], photo)
    cast.write_text(json.dumps({"cast": [{"name": "Ana", "photos": ["ana.png"]}]}))
    (tmp_path / "link.json").symlink_to(cast)
    before = [path.read_bytes() for path in (film, cues, cast, photo)]
    for given in (
        {"transcripts": [str(cues)], "out": str(cues)},
        {"out": str(cast)},
        {"out": str(tmp_path / "link.json")},
        {"why": str(cast), "out": str(tmp_path / "other.srt")},
    ):
        with pytest.raises(StoryjaxError, match="a file that is read, which would be lost"):
            ask(film, cast=str(cast), **given)
    with pytest.raises(StoryjaxError, match="are the same file"):
        ask(film, cast=str(cast), out=str(tmp_path / "a.json"), why=str(tmp_path / "a.json"))
    assert [path.read_bytes() for path in (film, cues, cast, photo)] == before
    # Beside the video there are subtitles already, read or not: they stay.
    ((written, _),) = ask(film, cast=str(cast), transcripts=[str(cues)])
    assert written.name == "film.named.srt"
    assert written.read_text()
    assert [path.read_bytes() for path in (film, cues, cast, photo)] == before


def test_names_that_are_no_utf8_go_through_every_stage(ask, videos, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    film, cues = tmp_path / f"{name}.mp4", tmp_path / f"{name}.srt"
    shutil.copy(videos[0], film)
    cues.write_text("1\n00:00:00,500 --> 00:00:02,500\nHello there.\n")
    (tmp_path / "cast.json").write_text(json.dumps({"cast": [{"name": "Never Speaks"}]}))
    given = {"cast": str(tmp_path / "cast.json"), "transcripts": [str(cues)], "why": str(tmp_path / "why.json")}
    given["cache_dir"] = str(tmp_path / f"{name} work")
    for ending in (".json", ".rttm", ".vtt"):
        ask(film, out=str(tmp_path / f"{name}{ending}"), **given)
        assert (tmp_path / f"{name}{ending}").read_text("utf-8")
    assert json.loads((tmp_path / f"{name}.json").read_text())["episode"] == name
    assert "caf\ufffd" in (tmp_path / f"{name}.rttm").read_text("utf-8")


def test_a_cast_of_one_and_one_who_never_speaks(series, ask, videos, transcripts, tmp_path: Path) -> None:
    listed = json.loads((series / "cast.json").read_text())["cast"]
    for entry in listed:
        entry["photos"] = [str(series / photo) for photo in entry["photos"]]
    given = {"transcripts": [str(transcripts[videos[0].stem])], "out": str(tmp_path / "a.json")}
    (tmp_path / "one.json").write_text(json.dumps({"cast": listed[:1]}))
    ask(videos[0], cast=str(tmp_path / "one.json"), **given)
    names = {line["name"] for line in json.loads((tmp_path / "a.json").read_text())["lines"]}
    assert names <= {"Ana", None}
    (tmp_path / "mute.json").write_text(json.dumps({"cast": [{"name": "Never Speaks"}]}))
    ask(videos[0], cast=str(tmp_path / "mute.json"), **given)


def test_a_video_of_silence_has_no_lines(ask, networks, series, tmp_path: Path, config) -> None:
    write_wav(tmp_path / "quiet.wav", np.zeros(3 * RATE))
    listening = dataclasses.replace(networks, recogniser=lambda: lambda sound: [])
    request = command.Request(
        [str(tmp_path / "quiet.wav")],
        str(series / "cast_unnamed.json"),
        str(tmp_path / "q.srt"),
        cache_dir=str(tmp_path),
    )
    voices = json.loads((series / "cast_voices.json").read_text())["cast"]
    for entry in voices:
        entry["voices"] = [str(series / voice) for voice in entry["voices"]]
    (series / "cast_unnamed.json").write_text(json.dumps(voices))
    written = command.run(request, config, listening)
    assert (tmp_path / "q.srt").read_text() == ""
    assert "no speech was recognised" in command.summary(written)


def test_sound_that_ends_before_the_images_and_after_them(ask, series, tmp_path: Path) -> None:
    from storyjax.storyworld.render.episode_video import write_video

    rng = np.random.default_rng(0)
    for name, images, seconds in (("short", 4, 2.0), ("long", 2, 4.0)):
        frames = (np.full((64, 64, 3), 90, np.uint8) for _ in range(25 * images))
        wave = (0.1 * rng.standard_normal(round(seconds * RATE))).astype(np.float32)
        write_video(frames, wave, tmp_path / f"{name}.mp4", 64)
        (tmp_path / f"{name}.srt").write_text("1\n00:00:00,500 --> 00:00:03,500\nHello there.\n")
        cast = json.loads((series / "cast.json").read_text())["cast"]
        cast = [{**entry, "photos": [str(series / p) for p in entry["photos"]]} for entry in cast]
        (tmp_path / "cast.json").write_text(json.dumps(cast))
        given = {"cast": str(tmp_path / "cast.json"), "transcripts": [str(tmp_path / f"{name}.srt")]}
        ask(tmp_path / f"{name}.mp4", out=str(tmp_path / f"{name}.json"), **given)
        (line,) = json.loads((tmp_path / f"{name}.json").read_text())["lines"]
        assert line["text"] == "Hello there."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.mp4", "--cast", "cast.json"], "none.mp4 is not there"),
        (["video.mp4", "--cast", "none.json"], "none.json cannot be read"),
        (["video.mp4", "--cast", "cast.json", "--out", "a.doc"], "can't tell the format"),
        (["video.mp4", "video.mp4", "--cast", "cast.json", "--out", "a.srt"], "one file for 2 videos"),
        (["video.mp4", "--cast", "cast.json", "--why", "why.txt"], "--why writes JSON"),
        (["video.mp4", "--cast", "cast.json", "--transcript", "a.srt", "b.srt"], "1 videos and 2 transcripts"),
        (["video.mp4", "--cast", "cast.json", "--transcript", "a.srt"], "a.srt is not there"),
        (["video.mp4", "--cast", "cast.json", "--distance", "3"], "from 0 to 2"),
        (["video.mp4", "--cast", "cast.json", "--voices", "none"], "none is no folder"),
        (["video.mp4", "--cast", "cast.json"], "video.mp4 is empty"),
        (["mute.mp4", "--cast", "cast.json"], "mute.mp4 has no sound track"),
        (["video.mp4", "--cast", "other.json"], "but not in video"),
        (["video.mp4"], "video.mp4 is empty"),
        (["video.mp4", "--speakers", "0"], "--speakers"),
        (["video.mp4", "--cast", "cast.json", "--speakers", "2"], "--speakers"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("video.mp4").touch()
    Path("cast.json").write_text('{"cast": [{"name": "Ana"}]}')
    Path("other.json").write_text('{"cast": [{"name": "Ana"}], "episodes": {"s01": ["Ana"]}}')
    if "mute.mp4" in arguments:
        import sys

        sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
        from test_audio import write_video

        write_video(Path("mute.mp4"), 1.0, None)
    assert main.run(["subtitle", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("storyjax: error: ")
    assert message in error
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".srt", ".part")]


def test_match_photos_takes_the_settings_of_the_embedded_config(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SubtitleConfig] = []
    monkeypatch.setattr(command, "run", lambda request, config, uses: asked.append(config) or [])
    assert main.run(["subtitle", "a.mp4", "--cast", "cast.json", "--match", "photos"]) == 0
    assert main.run(["subtitle", "a.mp4", "--cast", "cast.json"]) == 0
    root = Path(__file__).parents[2] / "configs" / "subtitles_tv.py"
    assert asked[0] == from_config(SubtitleConfig, load_config(f"{root}:embedded").model)
    assert asked[1] == from_config(SubtitleConfig, {}), "the thesis's"


@pytest.mark.parametrize("how", ["neighbours", "mean"])
def test_labelled_voices_are_filtered_as_the_config_says(
    how, series, videos, transcripts, networks, config, work, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "keep_nearest" if how == "neighbours" else "keep_pure"
    monkeypatch.setattr(pipeline, other, None)
    made = subtitle(
        videos,
        read_cast(series / "cast.json"),
        dataclasses.replace(config, exemplar_filter=how),
        work,
        networks,
        transcripts,
        progress=False,
    )
    assert any(line.step == "exemplar" for subtitles in made for line in subtitles.lines)


def test_the_same_name_twice_is_refused(
    tmp_path: Path, networks: Networks, config: SubtitleConfig, series: Path
) -> None:
    videos = [tmp_path / "a" / "x.wav", tmp_path / "b" / "x.wav"]
    with pytest.raises(StoryjaxError, match="two of the videos are called 'x'"):
        subtitle(videos, read_cast(series / "cast.json"), config, tmp_path, networks)


def test_records_are_whole_or_not_there(tmp_path: Path) -> None:
    pipeline.write_json(tmp_path / "a.json", {"key": "k", "rows": [1]})
    assert pipeline._read(tmp_path / "a.json", "k") == [1]
    assert pipeline._read(tmp_path / "a.json", "other") is None
    (tmp_path / "a.json").write_text('{"key": "k", "rows": [1')
    assert pipeline._read(tmp_path / "a.json", "k") is None
