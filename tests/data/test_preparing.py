"""Preparing in shards: the same bytes whoever makes them, and on from where it was stopped."""

import json
import os
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from cloud_storage import BUCKET, cloud_storage
from tensorflow_datasets.core import example_serializer

from storyjax.core.bucket_copies import upload_folder
from storyjax.core.buckets import BucketPath, place
from storyjax.core.errors import StoryjaxError
from storyjax.data import beam
from storyjax.data.builders import preparing, starts, yttemporal_shards
from storyjax.data.builders.broken import KEPT, BrokenCount
from storyjax.data.builders.nextqa import COLUMNS, NextQA
from storyjax.data.builders.segments import AnnotatedVideo, Media
from storyjax.data.builders.serialise import ExampleWriter
from storyjax.data.builders.yttemporal import YtTemporal

VIDEOS = 24


def line(video: int, **changes) -> str:
    start = [1.5 * i for i in range(video % 4 + 1)]
    end = [each + 1 for each in start]
    text = [f"sentence {i} of video {video}" for i in range(len(start))]
    return json.dumps({"video_id": f"v{video:02d}", "start": start, "end": end, "text": text, **changes})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos in folders and tars, in three files of sentences; some are told twice, some never."""
    root = tmp_path_factory.mktemp("world") / "ytt"
    for name in ("asr", "videos", "shards"):
        (root / name).mkdir(parents=True)
    ids = [f"v{video:02d}" for video in range(VIDEOS)]
    (root / "yttemporal1b_ids_train.csv").write_text("\n".join(["video_id", *ids, "v03", "never-1", "never-2"]))
    for video in ids[:10]:
        (root / "videos" / f"{video}.mp4").write_bytes(video.encode())
    for number, some in enumerate((ids[8:15], ids[13:22])):  # v22 and v23 are nowhere
        with tarfile.open(root / "shards" / f"{number}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for video in some:
                (root / "film").write_bytes(f"{video} of {number}".encode() * 100)
                tar.add(root / "film", f"./films/{video}.mp4")
    (root / "film").unlink()
    (root / "asr" / "0.jsonl").write_text("\n".join(map(line, range(14))))
    wrong = line(14, start=[-9, 1, 2], end=[3, 4, 5], text=["early", " ", "plain"])
    second = [line(3, text=["told again"] * 4), "no JSON", wrong, *map(line, range(15, 20)), line(99)]
    (root / "asr" / "1.jsonl").write_text("\n".join(second) + "\n")
    (root / "asr" / "2.jsonl").write_text("\n".join([line(16, text=["again"]), *map(line, range(18, 24))]))
    return root


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yttemporal_shards, "SHARD_TEXT", 400)
    monkeypatch.setattr(yttemporal_shards, "_BLOCK", 100)
    monkeypatch.setattr(preparing, "SHARD_BYTES", 3000)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def prepare(world: Path, cache: Path, run: beam.Run | None = None):
    with beam.spreading(run) if run else beam.spreading(lambda work, shards: [work(shard) for shard in shards]):
        return YtTemporal.prepare(world, cache, "train")


def test_shards_hold_what_reading_all_at_once_gives(world: Path, tmp_path: Path) -> None:
    source, listing = prepare(world, tmp_path), YtTemporal.read(world, "train")
    lengths = json.loads((source.folder / "counts-train.json").read_text())["counts"]
    assert len(lengths) > 5
    assert max(lengths) < 8
    expected = listing.by_split("train")["train"]
    assert [record["video_id"] for record in source] == [video.video_id for video in expected]
    for record, columns, video in zip(source, source.annotations, expected, strict=True):
        assert columns == video.columns
        assert record["sentence"] == video.columns["sentence"]
        np.testing.assert_array_equal(record["start"], np.float32(video.columns["start"]))
        media = Path(record["video"]).read_bytes() if isinstance(record["video"], str) else record["video"]
        assert media == video.media.read()
    assert "told again" not in str(expected)
    assert source[14]["video"].endswith(b"v14 of 1"), "of two tars with one video, the later counts"
    # What is left out is the same too, and is counted by reasons.
    named = [text for path in source.folder.glob("broken-*.txt") for text in path.read_text().splitlines()]
    assert sorted(named) == sorted(listing.broken) == sorted(source.broken)
    assert source.summary["broken_reasons"]["no line of \u2026 has its sentences"] == 2
    assert source.summary["broken_count"] == len(listing.broken) == len(named) == 7


def test_bytes_do_not_depend_on_who_makes_shards_in_which_order(world: Path, tmp_path: Path) -> None:
    first = prepare(world, tmp_path / "a")
    second = prepare(world, tmp_path / "b", lambda work, shards: [work(shard) for shard in reversed(shards)])
    assert first.folder.name == second.folder.name
    assert content(first.folder) == content(second.folder)
    assert not [name for name in content(tmp_path / "a") if "plan" in name or "unfinished" in name]


def nextqa(root: Path) -> Path:
    (root / "NExTVideo").mkdir(parents=True)
    row = ["9", "9", "9", "why", "0", "1", "CW", *"abcde"]
    rows = [[f"{video}", *row] for video in range(VIDEOS)]
    (root / "val.csv").write_text("\n".join(",".join(each) for each in (COLUMNS, *rows)))
    (root / "map_vid_vidorID.json").write_text("{}")
    for video in range(VIDEOS):
        (root / "NExTVideo" / f"{video}.mp4").write_bytes(bytes([video]) * 500)
    return root


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("data_set", ["streamed", "listed"])
def test_what_was_stopped_goes_on(data_set: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder, root, split = (
        (YtTemporal, world, "train") if data_set == "streamed" else (NextQA, nextqa(tmp_path / "nextqa"), "val")
    )
    made: list[int] = []

    def stop(work: Callable[[int], str], shards: Sequence[int]) -> None:
        if "_scan_tar" in repr(work):
            for shard in shards:
                work(shard)
            return
        for shard in shards[1:3]:
            work(shard)
        raise StoppedError

    def go_on(work: Callable[[int], str], shards: Sequence[int]) -> None:
        made.extend(shards)
        for shard in shards:
            work(shard)

    with pytest.raises(StoppedError), beam.spreading(stop):
        builder.prepare(root, tmp_path / "a", split)
    with beam.spreading(go_on):
        source = builder.prepare(root, tmp_path / "a", split)
    assert {1, 2}.isdisjoint(made) or data_set == "streamed"  # one of those has a video that is told twice
    assert {0, 3}.issubset(made)
    assert content(source.folder) == content(builder.prepare(root, tmp_path / "b", split).folder)
    # What other code has left is begun anew.
    with pytest.raises(StoppedError), beam.spreading(stop):
        builder.prepare(root, tmp_path / "c", split)
    monkeypatch.setattr(starts, "_readers", lambda: "other code")
    made.clear()
    with beam.spreading(go_on):
        builder.prepare(root, tmp_path / "c", split)
    assert {0, 1, 2, 3}.issubset(made)


def test_a_worker_that_sees_other_paths_is_one_line(world: Path, tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match=r"shards were not made, the first is train-00000: workers must see"):
        prepare(world, tmp_path, lambda work, shards: [work(s) for s in shards if "_scan_tar" in repr(work)])


def test_all_of_it_may_lie_in_a_bucket(world: Path, tmp_path: Path) -> None:
    with cloud_storage():
        root, cache = (place(f"gs://{BUCKET}/{name}") for name in ("ytt", "prepared"))
        assert isinstance(root, BucketPath)
        upload_folder(world, root)
        found, expected = prepare(root, cache), prepare(world, tmp_path)
        left = {path.name for path in cache.glob("*/*")}
        assert left == {found.folder.name} | {name for name in left if name.startswith((".start-", ".train.lock"))}
        assert list(found.labels) == list(expected.labels)
        for record, local in zip(found, expected, strict=True):
            video = local["video"]
            assert record["video"] == (video if isinstance(video, bytes) else Path(video).read_bytes())
        assert prepare(root, cache, lambda *_: pytest.fail("prepared anew")).folder == found.folder


def test_names_of_what_is_broken_stay_few() -> None:
    broken, parts = BrokenCount(), [BrokenCount() for _ in range(3)]
    lines = [f"video {i}: its time {i}.5 to {i} s is not a time span" for i in range(3 * KEPT)]
    lines += [f"video a: reason {'x' * i}" for i in range(200)]
    for part, some in zip(parts, (lines[:5], lines[5:700], lines[700:]), strict=True):
        part.add(some)
        broken.merge(part.note())
    note = broken.note()
    assert note["broken"] == lines[:KEPT]
    assert note["broken_count"] == sum(note["broken_reasons"].values()) == len(lines)
    assert note["broken_reasons"]["its time \u2026 to \u2026 s is not a time span"] == 3 * KEPT
    assert len(note["broken_reasons"]) <= 102


def test_what_is_broken_of_a_list_is_named_in_full_beside_the_summary(tmp_path: Path) -> None:
    root = nextqa(tmp_path / "nextqa")
    row = ["9", "9", "9", "why", "0", "1", "CW", *"abcde"]
    with (root / "val.csv").open("a") as file:
        file.writelines("\n" + ",".join([f"gone{video}", *row]) for video in range(KEPT + 9))
    source = NextQA.prepare(root, tmp_path / "out", "val", max_broken_fraction=1.0)
    assert len(source.broken) == KEPT
    assert source.summary["broken_count"] == KEPT + 9
    assert len((source.folder / "broken.txt").read_text().splitlines()) == KEPT + 9


@pytest.mark.parametrize("texts", [[], ["a" * 200, "ü", ""], ["x"] * 3])
def test_fast_bytes_are_those_of_tfds(texts: list[str], tmp_path: Path) -> None:
    times = [1.25 * i for i in range(len(texts))]
    video = AnnotatedVideo("id", Media(Path("/films/a.tar"), 2**40), 1.0, -1.0)
    video.columns = {"sentence": texts, "start": times, "end": times}
    writer = ExampleWriter(YtTemporal(items={}, data_dir=tmp_path).features())
    (record,), (fast,) = YtTemporal.records([video]), YtTemporal.serialised([video])
    assert fast == writer(record)
    parsed = example_serializer.tf_example_pb2.Example.FromString(fast)
    assert [each.decode() for each in parsed.features.feature["sentence"].bytes_list.value] == texts
    assert list(parsed.features.feature["place"].int64_list.value) == [2**40, -1]


BEAM = os.environ.get("STORYJAX_BEAM")


def beam_python() -> Path:
    """The Python of the environment with Beam in it, to which this one's packages are added behind its own."""
    (packages,) = Path(str(BEAM)).glob("lib/python*/site-packages")
    if packages.parent.name != f"python{sys.version_info.major}.{sys.version_info.minor}":
        pytest.skip(f"{BEAM} is of {packages.parent.name}")
    here = [each for each in sys.path if each.endswith("site-packages") and each != str(packages)]
    (packages / "storyjax_tests.pth").write_text("\n".join(here))
    return packages.parents[2] / "bin" / "python"


@pytest.mark.skipif(not BEAM, reason="STORYJAX_BEAM names no environment with Apache Beam in it; .ci/run makes one")
def test_beam_makes_the_same_bytes_and_a_killed_worker_is_one_line(tmp_path: Path) -> None:
    root = nextqa(tmp_path / "nextqa")
    script = f"""
        import functools, os
        from pathlib import Path
        from storyjax.core.errors import StoryjaxError
        from storyjax.data import beam
        from storyjax.data.builders import preparing
        from storyjax.data.builders.nextqa import NextQA

        if __name__ == "__main__":
            preparing.SHARD_BYTES = 3000
            run = lambda n: functools.partial(beam.run_shards, options=beam.runner_options(None, n, ()))
            for workers in (1, 3):
                with beam.spreading(run(workers)):
                    NextQA.prepare(Path({str(root)!r}), Path({str(tmp_path)!r}, str(workers)), "val")
            try:
                run(1)(os._exit, [9])
            except StoryjaxError as error:
                print(error)
    """
    (tmp_path / "go.py").write_text(textwrap.dedent(script))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [beam_python(), tmp_path / "go.py"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "a worker was killed" in done.stdout
    assert done.stdout.count("\n") == 1
    expected = NextQA.prepare(root, tmp_path / "here", "val").folder
    assert len(list(expected.rglob("*array_record*"))) > 3
    for workers in ("1", "3"):
        assert content(tmp_path / workers / "next_qa" / expected.name) == content(expected)


def test_what_beam_is_asked() -> None:
    assert beam.runner_options("flink", None, ["--flink_master=a:1"]) == ["--runner=FlinkRunner", "--flink_master=a:1"]
    assert "--direct_num_workers=3" in beam.runner_options(None, 3, ())
    with pytest.raises(StoryjaxError, match="--workers is 0: give 1 or more"):
        beam.runner_options("direct", 0, ())
    with pytest.raises(StoryjaxError, match="--workers is for the direct runner: say how many spark takes by its own"):
        beam.runner_options("spark", 2, ())
