"""The NExT-QA export: the official layout, complete and repeatable, with splits that share nothing."""

import csv
import json
from itertools import pairwise

import av
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.storyworld.export import nextqa
from storyjax.storyworld.export.nextqa import COLUMNS, export_nextqa, story_seeds
from storyjax.storyworld.render.world import render_missing
from storyjax.storyworld.story.questions import questions
from storyjax.storyworld.story.story import StoryStyle, make_story

_STYLE = StoryStyle(event_seconds=1.0, event_jitter=0.1)
_COUNTS = {"train": 3, "val": 2, "test": 1}


def _export(directory, **changes):
    settings = {"counts": _COUNTS, "style": _STYLE, "size": 32, "fps": 2, "processes": 1, "progress": False}
    return export_nextqa(directory, **{**settings, **changes})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return _export(tmp_path_factory.mktemp("world") / "nextqa")


def _stamps(directory):
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def _rows(directory, split):
    with open(directory / f"{split}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_it_has_the_official_layout(world):
    paths = json.loads((world / "map_vid_vidorID.json").read_text())
    assert len(paths) == sum(_COUNTS.values())
    for split, count in _COUNTS.items():
        rows = _rows(world, split)
        assert tuple(rows[0]) == COLUMNS
        assert len({row["video"] for row in rows}) == count
        for row in rows:
            with av.open(str(world / "NExTVideo" / f"{paths[row['video']]}.mp4")) as container:
                stream = container.streams.video[0]
                assert int(row["frame_count"]) == stream.frames
                assert (int(row["width"]), int(row["height"])) == (stream.width, stream.height) == (32, 32)
    assert set(world.iterdir()) == {
        world / name
        for name in (
            "train.csv",
            "val.csv",
            "test.csv",
            "map_vid_vidorID.json",
            "NExTVideo",
            "stories",
            "manifest.json",
        )
    }


def test_its_questions_are_those_of_the_stories(world):
    for split in _COUNTS:
        rows = _rows(world, split)
        for video in {row["video"] for row in rows}:
            story = make_story(int(video), _STYLE)
            told = [(q.question, q.type, q.answer, *q.options, number) for number, q in enumerate(questions(story))]
            written = [
                (r["question"], r["type"], int(r["answer"]), *(r[f"a{i}"] for i in range(5)), int(r["qid"]))
                for r in rows
                if r["video"] == video
            ]
            assert written == told
            truth = json.loads((world / "stories" / f"{video}.json").read_text())
            assert truth["cast"] == [person.name for person in story.cast]
            assert [event["place"] for event in truth["events"]] == [event.place for event in story.events]
            assert [q["evidence"] for q in truth["questions"]] == [q.evidence for q in questions(story)]


def test_no_story_is_in_two_splits_or_worlds():
    ranges = [story_seeds(split, 1_000_000, seed) for split in nextqa.SPLITS for seed in range(4)]
    ranges.sort(key=lambda seeds: seeds.start)
    assert all(low.stop <= high.start for low, high in pairwise(ranges))
    assert len(ranges) == 12


def test_a_finished_world_is_left_alone(world):
    before = _stamps(world)
    assert _export(world) == world
    assert _stamps(world) == before


def test_an_unfinished_world_is_completed(tmp_path):
    directory = _export(tmp_path / "world")
    # As a process that is killed leaves it: begun, a video missing, another one in the making, no table, no manifest.
    (directory / "manifest.json").rename(directory / "begun.json")
    videos = sorted(directory.rglob("*.mp4"))
    whole = videos[0].read_bytes()
    videos[0].rename(videos[0].with_name(".1.mp4.1.part"))
    (directory / "test.csv").unlink()
    before = _stamps(directory)
    _export(directory)
    assert videos[0].read_bytes() == whole
    assert all(before[path] == path.stat().st_mtime_ns for path in videos[1:])
    assert not list(directory.rglob(".*"))
    assert (directory / "manifest.json").exists()
    assert len(_rows(directory, "test")) > 0


def test_a_world_drawn_differently_is_written_again(world, tmp_path):
    directory = _export(tmp_path / "world", counts={"train": 1})
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps({**manifest, "fingerprint": "older"}))
    (video,) = directory.rglob("*.mp4")
    video.write_bytes(b"an older picture")
    _export(directory, counts={"train": 1})
    assert len(video.read_bytes()) > 1000


def test_it_never_writes_over_something_else(world, tmp_path):
    with pytest.raises(StoryjaxError, match=r"another StoryWorld \(size 32 instead of 64"):
        _export(world, size=64)
    (tmp_path / "train.csv").write_text("somebody's real data")
    with pytest.raises(StoryjaxError, match="holds something else"):
        _export(tmp_path)
    with pytest.raises(StoryjaxError, match=r"can't make the folder|holds something else"):
        _export(tmp_path / "train.csv" / "world")
    with pytest.raises(StoryjaxError, match="Did you mean 'train'"):
        _export(tmp_path / "new", counts={"trian": 1})
    with pytest.raises(StoryjaxError, match="1 to 1000000 stories, not 0"):
        _export(tmp_path / "new", counts={"train": 0})


def test_processes_render_what_one_renders(tmp_path):
    def jobs(folder):
        return [(seed, tmp_path / folder / f"{seed}.mp4") for seed in range(16)]

    assert render_missing(jobs("one"), _STYLE, 32, 2, processes=1, progress=False) == 16
    assert render_missing(jobs("two"), _STYLE, 32, 2, processes=2, progress=False) == 16
    assert render_missing(jobs("two"), _STYLE, 32, 2, processes=2, progress=False) == 0
    for (_, one), (_, two) in zip(jobs("one"), jobs("two"), strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_a_process_that_fails_gives_one_line(tmp_path):
    jobs = [(seed, tmp_path / f"{seed}.mp4") for seed in range(16)]
    jobs[7] = (7, tmp_path / f"{'7' * 246}.mp4")  # no room in the name for the unfinished file's
    with pytest.raises(StoryjaxError, match=r"can't write the videos of stories to .* name too long") as raised:
        render_missing(jobs, _STYLE, 32, 2, processes=2, progress=False)
    assert "\n" not in str(raised.value)
