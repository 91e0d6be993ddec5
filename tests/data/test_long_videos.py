"""The builders of thesis Ch. 3 on what StoryWorld writes in the official layouts, and on what people do to them."""

import csv
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.ego4d import Ego4dLta, Ego4dMq, Ego4dNlq, taxonomy
from storyjax.data.builders.ego4d_narrations import Ego4dNarrations, sentence
from storyjax.data.builders.egoschema import EgoSchema
from storyjax.data.builders.kinetics import Countix, Kinetics400
from storyjax.data.builders.msrvtt import MsrVtt
from storyjax.data.builders.times import LONGEST_S, segment
from storyjax.data.builders.yttemporal import YtTemporal
from storyjax.data.video import probe
from storyjax.storyworld.export import long_videos
from storyjax.storyworld.story.language import sentence as told
from storyjax.storyworld.story.routines import ACTIONS, action, routine
from storyjax.storyworld.story.story import StoryStyle, make_story

STYLE = StoryStyle(events=8, event_seconds=1.0, scenes=2, mishaps=1)


def counts(source) -> tuple[int, ...]:
    """How many annotations each record has: the length of the first column."""
    return tuple(len(next(iter(columns.values()))) for columns in source.annotations)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("worlds")
    patched = pytest.MonkeyPatch()
    patched.setattr(long_videos, "SIZE", 32)
    for name, export in long_videos.EXPORTS.items():
        counts = {"train": 5, "test": 5} if name == "egoschema" else {"train": 5, "test": 1}
        more = {"style": STYLE} if name in ("yttemporal", "egoschema") else {}
        export(root / name, counts, fps=1 if name == "ego4d" else 2, **more)
    patched.undo()
    return {name: root / name for name in long_videos.EXPORTS}


def edit(path: Path, change) -> None:
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


@pytest.fixture
def copy(worlds: dict[str, Path], tmp_path: Path):
    return lambda name: Path(shutil.copytree(worlds[name], tmp_path / name))


def test_yttemporal_reads_folders_and_shards(worlds: dict[str, Path], tmp_path: Path) -> None:
    source = YtTemporal.prepare(worlds["yttemporal"], tmp_path, "train")
    assert len(source) == 5
    assert counts(source) == (8,) * 5
    story = make_story(long_videos.seeds("train", 1)[0], STYLE)
    record = source[0]
    assert record["sentence"] == [told(event) for event in story.events]
    np.testing.assert_allclose(record["start"], [event.start for event in story.events], atol=0.01)
    assert isinstance(record["video"], bytes)  # of a shard
    assert isinstance(source[1]["video"], str)
    for index in (0, 1):
        assert probe(source[index]["video"], "film").duration_s == pytest.approx(8, abs=1)
    again = YtTemporal.prepare(worlds["yttemporal"], tmp_path, "train")
    assert again.place == source.place


def test_egoschema_has_public_answers_and_the_narrations_exclude_its_videos(
    worlds: dict[str, Path], tmp_path: Path
) -> None:
    subset = EgoSchema.prepare(worlds["egoschema"], tmp_path, "subset")
    full = EgoSchema.prepare(worlds["egoschema"], tmp_path, "full")
    assert (len(subset), len(full)) == (4, 5)
    assert full[4]["answer"].tolist() == [-1]
    assert len(full[0]["options"]) == 1
    assert len(full[0]["options"][0]) == 5
    assert isinstance(full[0]["video"], bytes)
    narrations = Ego4dNarrations.prepare(worlds["egoschema"], tmp_path, "train")
    first = long_videos.seeds("train", 5, 1)[0]
    assert tuple(narrations.video_ids) == tuple(f"{first + i}@0" for i in (2, 3, 4))  # one excluded, one unsure
    record = narrations[0]
    assert set(record["kind"]) == {"C", "O", "summary"}
    assert not any("#" in text for text in record["sentence"])
    assert (np.asarray(record["end"]) > np.asarray(record["start"])).any()
    assert sentence("#C C opens #unsure the door") == "C opens the door"


def test_ego4d_has_actions_moments_and_queries(worlds: dict[str, Path], tmp_path: Path) -> None:
    folder = worlds["ego4d"]
    story = routine(long_videos.seeds("train", 5, 2)[4])
    lta = Ego4dLta.prepare(folder, tmp_path, "train")
    assert counts(lta) == (ACTIONS,) * 5
    record = lta[4]
    true = [action(event.lead, event.place) for event in story.events]
    assert list(zip(record["verb"], record["noun"], strict=True)) == true
    assert record["segment"] == pytest.approx((0.0, story.duration))  # of the whole video, as the clip is not there
    assert lta[0]["segment"] == (0.0, -1.0)
    verbs, nouns = taxonomy(folder)
    assert {verb for verb, _ in true} <= set(verbs)
    assert {noun for _, noun in true} <= set(nouns)
    moments = Ego4dMq.prepare(folder, tmp_path, "train")[4]
    assert len(moments["label"]) == ACTIONS
    assert len(set(moments["label"])) < 7
    queries = Ego4dNlq.prepare(folder, tmp_path, "train")[4]
    assert len(queries["query"]) == len(set(queries["query"]))
    assert queries["start"][0] == 0.0


def test_a_routine_repeats_itself() -> None:
    story = routine(3)
    actions = [event.performances for event in story.events]
    period = next(p for p in range(1, 8) if actions[p:] == actions[:-p])
    assert 3 <= period <= 6
    assert routine(3) == story


def test_clips_have_captions_labels_and_counts(worlds: dict[str, Path], tmp_path: Path) -> None:
    captions = MsrVtt.prepare(worlds["msrvtt"], tmp_path, "train")
    assert len(captions) == 5
    assert len(captions[0]["caption"]) == 3
    assert len(MsrVtt.prepare(worlds["msrvtt"], tmp_path, "test")) == 1
    labels = Kinetics400.prepare(worlds["kinetics"], tmp_path, "train")
    assert labels[0]["label"][0].split()[0].endswith("ing")
    counted = Countix.prepare(worlds["countix"], tmp_path, "train")
    assert {int(counted[i]["count"][0]) for i in range(5)} <= set(range(2, 9))
    assert counted[0]["segment"] == (0.0, 8.0)
    assert probe(counted[0]["video"], "clip").duration_s == pytest.approx(8, abs=0.2)


def test_segments_are_put_right_or_refused() -> None:
    assert segment(-0.2, 5.0, 10.0) == (0.0, 5.0, "")
    assert segment(8.0, 10.3, 10.0) == (8.0, 10.0, "")
    assert segment(1000.0, 1100.0, 2000.0) == (1000.0, LONGEST_S, "")
    for start, end, duration, why in (
        (8.0, 12.0, 10.0, "past the end of the video at 10.00 s"),
        (11.0, 12.0, 10.0, "past the end"),
        (1024.0, 1030.0, None, "beyond the 1024 s"),
        (5.0, 4.0, None, "not a time span"),
        (-3.0, 4.0, None, "not a time span"),
        ("soon", 4.0, None, "no number"),
        (float("nan"), 4.0, None, "not finite"),
    ):
        assert why in segment(start, end, duration)[2]


def test_what_is_broken_is_counted_and_named(copy, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = copy("ego4d")

    def spoil(table: dict) -> None:
        table["clips"][0]["verb"] = " "
        table["clips"][1]["action_clip_end_sec"] = 900.0

    edit(folder / "annotations" / "fho_lta_train.json", spoil)
    with caplog.at_level(logging.WARNING):
        source = Ego4dLta.prepare(folder, tmp_path, "train")
    assert counts(source)[0] == ACTIONS - 2
    assert len(source.broken) == 2
    assert "its verb or noun is empty" in caplog.text
    assert "past the end of the video" in caplog.text
    with pytest.raises(StoryjaxError, match=r"annotations cannot be used \(1\.3%\), more than the allowed 1\.0%"):
        Ego4dLta.prepare(folder, tmp_path, "train", max_broken_fraction=0.01)
    next((folder / "clips").iterdir()).unlink()
    with pytest.raises(StoryjaxError, match=r"annotations cannot be used \(2\d\.\d%\)"):
        Ego4dLta.prepare(folder, tmp_path, "train")


def test_unknown_versions_and_missing_data_say_what_to_get(copy, tmp_path: Path) -> None:
    folder = copy("ego4d")
    edit(folder / "annotations" / "nlq_train.json", lambda table: table.update(version="v3"))
    with pytest.raises(StoryjaxError, match="version 'v3' is unknown"):
        Ego4dNlq.prepare(folder, tmp_path, "train")
    edit(folder / "annotations" / "nlq_train.json", lambda table: table.update(version="v1"))
    assert len(Ego4dNlq.prepare(folder, tmp_path, "train")) == 5
    with pytest.raises(StoryjaxError, match=r"has no split 'vall'.*Did you mean 'val'"):
        Ego4dNlq.prepare(folder, tmp_path, "vall")
    for builder in (Ego4dLta, Ego4dMq, Ego4dNlq, Ego4dNarrations, EgoSchema, MsrVtt, Kinetics400, Countix, YtTemporal):
        with pytest.raises(StoryjaxError, match=r"is missing\): get .*"):
            builder.prepare(tmp_path / "nothing", tmp_path, builder.SPLITS[0])


def test_missing_videos_of_the_web_are_tolerated(copy, tmp_path: Path) -> None:
    folder = copy("yttemporal")
    gone = sorted((folder / "videos").glob("*.mp4"))[1:3]
    for path in gone:
        path.unlink()
    lines = (folder / "asr" / "train.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    first["text"][0], first["start"][1] = "  ", 2000.0
    first["end"][1] = 2001.0
    (folder / "asr" / "train.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]))
    source = YtTemporal.prepare(folder, tmp_path, "train")
    assert len(source) == 5 - len(gone)
    assert counts(source)[0] == 6
    assert any("it is empty" in line for line in source.broken)
    assert any("beyond the 1024 s" in line for line in source.broken)
    (folder / "shards" / "train-00000.tar").write_bytes(b"x" * 2000)
    with pytest.raises(StoryjaxError, match="cannot be read as a tar file"):
        YtTemporal.prepare(folder, tmp_path, "train")


def test_broken_rows_of_the_small_tables(copy, tmp_path: Path) -> None:
    folder = copy("msrvtt")
    edit(folder / "train_val_videodatainfo.json", lambda table: table["sentences"][0].update(caption=""))
    assert len(MsrVtt.prepare(folder, tmp_path, "train", max_broken_fraction=0.2)[0]["caption"]) == 2
    folder = copy("egoschema")
    edit(folder / "subset_answers.json", lambda table: table.update({next(iter(table)): 7}))
    source = EgoSchema.prepare(folder, tmp_path, "subset", max_broken_fraction=0.5)
    assert len(source) == 3
    assert "answer 7 is not one of 0 to 4" in source.broken[0]
    folder = copy("countix")
    rows = list(csv.reader((folder / "countix_train.csv").read_text().splitlines()))
    rows[1][-1] = "0"
    with (folder / "countix_train.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    source = Countix.prepare(folder, tmp_path, "train", max_broken_fraction=0.5)
    assert len(source) == 4
    assert "0 repetitions in 8.0 s" in source.broken[0]
