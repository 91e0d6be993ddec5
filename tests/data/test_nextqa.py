"""The official layout becomes one record a video; what cannot be used is named, counted and bounded."""

import csv
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders import preparing
from storyjax.data.builders.nextqa import COLUMNS, NextQA

VIDEOS = 5
TYPES = ("CW", "CH", "TN", "TC", "TP", "DL", "DC", "DO", "DB")


def counts(source) -> tuple[int, ...]:
    """How many annotations each record has: the length of the first column."""
    return tuple(len(next(iter(columns.values()))) for columns in source.annotations)


def question_rows() -> list[dict[str, object]]:
    """Video v has v + 1 questions, and the tables of the real thing mix the videos."""
    rows = [
        {
            "video": 4000 + video,
            "frame_count": 90,
            "width": 640,
            "height": 480,
            "question": f"why, in video {video}, did “question {qid}” arise?",
            "answer": (video + qid) % 5,
            "qid": qid,
            "type": TYPES[(video + qid) % len(TYPES)],
            **{f"a{option}": f"option {option} of {video}, {qid}" for option in range(5)},
        }
        for video in range(VIDEOS)
        for qid in range(video + 1)
    ]
    return rows[::2] + rows[1::2]


def write_dataset(folder: Path, rows: list[dict[str, object]], split: str = "val", columns=(*COLUMNS, "extra")) -> Path:
    (folder / "NExTVideo" / "1164").mkdir(parents=True, exist_ok=True)
    for video in range(VIDEOS):
        (folder / "NExTVideo" / "1164" / f"77{video}.mp4").write_bytes(bytes([video]) * 1000)
    (folder / "map_vid_vidorID.json").write_text(json.dumps({str(4000 + v): f"1164/77{v}" for v in range(VIDEOS)}))
    with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="more", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def dataset(tmp_path) -> Path:
    return write_dataset(tmp_path / "nextqa", question_rows())


def test_a_record_is_a_video_with_its_questions(dataset, tmp_path):
    source = NextQA.prepare(dataset, tmp_path / "prepared", "val")
    assert len(source) == VIDEOS
    assert sum(counts(source)) == len(question_rows())
    for index, video_id in enumerate(dict.fromkeys(str(row["video"]) for row in question_rows())):
        expected = [row for row in question_rows() if str(row["video"]) == video_id]
        record = source[index]
        assert record["video_id"] == source.video_ids[index] == video_id
        assert record["video"] == bytes([int(video_id) - 4000]) * 1000
        assert record["question"] == [row["question"] for row in expected]
        assert record["options"] == [[row[f"a{option}"] for option in range(5)] for row in expected]
        assert record["answer"].tolist() == [row["answer"] for row in expected]
        assert record["type"] == [row["type"] for row in expected]
        assert record["qid"] == [str(row["qid"]) for row in expected]
        assert counts(source)[index] == len(expected)
    with pytest.raises(IndexError):
        source[VIDEOS]


def test_reading_from_threads_and_after_pickling(dataset, tmp_path):
    source = NextQA.prepare(dataset, tmp_path / "prepared", "val")
    source[0]
    copied = pickle.loads(pickle.dumps(source))
    order = [index % VIDEOS for index in range(200)]
    with ThreadPoolExecutor(8) as threads:
        assert [record["video_id"] for record in threads.map(copied.__getitem__, order)] == [
            source.video_ids[index] for index in order
        ]


def test_prepared_once_while_the_files_are_the_same(dataset, tmp_path, monkeypatch):
    first = NextQA.prepare(dataset, tmp_path / "prepared", "val")
    monkeypatch.setattr(preparing, "make_shards", lambda *_: pytest.fail("prepared anew"))
    assert NextQA.prepare(dataset, tmp_path / "prepared", "val").folder == first.folder
    monkeypatch.undo()
    (dataset / "NExTVideo" / "1164" / "772.mp4").write_bytes(b"another video")
    second = NextQA.prepare(dataset, tmp_path / "prepared", "val")
    assert second.folder != first.folder
    assert [record["video"] for record in second].count(b"another video") == 1
    assert [record["video"] for record in first].count(b"another video") == 0


def test_a_killed_preparation_is_made_again(dataset, tmp_path):
    script = f"""
        import os, pathlib, signal
        from storyjax.data.builders import nextqa
        read = pathlib.Path.read_bytes
        def read_or_die(path):
            if path.name == "773.mp4":
                os.kill(os.getpid(), signal.SIGKILL)
            return read(path)
        pathlib.Path.read_bytes = read_or_die
        nextqa.NextQA.prepare({str(dataset)!r}, {str(tmp_path / "prepared")!r}, "val")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -signal.SIGKILL
    left = os.listdir(tmp_path / "prepared" / "next_qa")
    assert any("unfinished" in name for name in left)
    assert not any(name.startswith("val-") for name in left)
    source = NextQA.prepare(dataset, tmp_path / "prepared", "val")
    assert len([record["video"] for record in source]) == VIDEOS
    assert not any("unfinished" in name for name in os.listdir(tmp_path / "prepared" / "next_qa"))


def test_what_is_broken_is_left_out_named_and_counted(dataset, tmp_path, caplog):
    rows = question_rows()
    rows[0]["answer"] = 5  # the only question of the first video
    rows[1]["answer"] = ""
    rows[2]["qid"] = rows[2]["question"] = ""
    rows.append(dict(rows[-1]))
    write_dataset(dataset, rows)
    (dataset / "NExTVideo" / "1164" / "773.mp4").write_bytes(b"")
    (dataset / "NExTVideo" / "1164" / "774.mp4").unlink()
    with caplog.at_level(logging.WARNING):
        source = NextQA.prepare(dataset, tmp_path / "prepared", "val", max_broken_fraction=0.9)
    assert set(source.video_ids) == {"4001", "4002"}
    text = "\n".join(source.broken)
    for said in ("773.mp4 is empty", "774.mp4 cannot be read", "val.csv line 2 (video 4000): answer '5'", "answer ''"):
        assert said in text
        assert said in caplog.text
    assert sum(counts(source)) < 6
    # The fraction counts questions, those of missing videos too; it holds for data prepared earlier as well.
    with pytest.raises(
        StoryjaxError, match=r"val.* questions cannot be used \(\d+\.\d%\), more than the allowed 50\.0%"
    ) as caught:
        NextQA.prepare(dataset, tmp_path / "prepared", "val", max_broken_fraction=0.5)
    assert "\n" not in str(caught.value)


def test_a_video_missing_from_the_map_is_found_by_its_own_name(dataset, tmp_path):
    (dataset / "map_vid_vidorID.json").write_text("{}")
    for video in range(VIDEOS):
        (dataset / "NExTVideo" / f"{4000 + video}.mp4").write_bytes(b"x")
    assert len(NextQA.prepare(dataset, tmp_path / "prepared", "val")) == VIDEOS


def refuse(dataset: Path, cache_dir: Path, split: str = "val") -> str:
    with pytest.raises(StoryjaxError) as caught:
        NextQA.prepare(dataset, cache_dir, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_data_set_that_is_not_there_says_what_to_get(tmp_path):
    line = refuse(tmp_path / "nothing", tmp_path / "prepared")
    for said in ("val.csv", "nothing", "https://github.com/doc-doc/NExT-QA", "NExTVideo", "map_vid_vidorID.json"):
        assert said in line


def test_tables_that_are_not_the_official_ones(dataset, tmp_path):
    out = tmp_path / "prepared"
    assert "Did you mean 'val'?" in refuse(dataset, out, "vall")
    write_dataset(dataset, question_rows(), columns=[name for name in COLUMNS if name != "a3"])
    assert "lacks the column(s) a3" in refuse(dataset, out)
    write_dataset(dataset, [])
    assert "holds no questions" in refuse(dataset, out)
    (dataset / "val.csv").write_bytes(b"\xff\xfe\x00bad")
    assert "val.csv" in refuse(dataset, out)
    write_dataset(dataset, question_rows())
    (dataset / "map_vid_vidorID.json").write_text("{")
    assert "cannot be read as JSON" in refuse(dataset, out)
    (dataset / "map_vid_vidorID.json").unlink()
    assert "map_vid_vidorID.json is missing" in refuse(dataset, out)


def test_a_place_that_cannot_be_written(dataset, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "choose another cache_dir" in refuse(dataset, tmp_path / "file")


def test_a_damaged_record_names_the_folder(dataset, tmp_path):
    source = NextQA.prepare(dataset, tmp_path / "prepared", "val")
    (shard,) = (source.folder / "next_qa" / "1.0.0").glob("*array_record*")
    shard.write_bytes(b"\0" * shard.stat().st_size)
    with pytest.raises(StoryjaxError, match="delete the folder to prepare it again"):
        NextQA.SOURCE(source.folder, NextQA, "val")[0]
    with pytest.raises(StoryjaxError, match="no prepared data set"):
        print(NextQA.SOURCE(tmp_path, NextQA, "val").broken)


def test_the_builder_by_itself(dataset, tmp_path):
    write_dataset(dataset, question_rows(), split="train")
    builder = NextQA(data_dir=tmp_path / "tfds")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=dataset))
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 5, "val": 5}
    assert len(builder.as_data_source("train")[4]["options"]) % 5 == 0
