"""An index knows each file once and wholly, however often its making is killed, and notices what changes."""

import errno
import fcntl
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from colours import BLUE, DIM, GREEN, RED, WHITE, Colours, contents, photo, video
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.data import images, video_files
from storyjax.data.video import probe
from storyjax.search import command, indexing, media_files, vectors
from storyjax.search.indexing import build_index, clip_starts
from storyjax.search.query import Searcher
from storyjax.search.store import CLIP, FRAME, IMAGE, Row, Store
from storyjax.search.vectors import Vectors


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    (folder / "more").mkdir()
    video(folder / "a.mp4", [RED, GREEN, BLUE, GREEN, WHITE])
    video(folder / "more" / "b.mkv", [GREEN, RED], seconds_each=2.5)
    photo(folder / "blue.png", BLUE)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


@pytest.fixture
def folder(videos: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(videos, tmp_path / "films", copy_function=shutil.copy2))


def index(folder: Path, out: Path, **settings) -> tuple:
    summary = build_index(folder, out, Colours(), show_progress=False, **settings)
    store = Store.open(out)
    known = contents(store)
    store.close()
    return summary, known


def like(colour: tuple[int, int, int]) -> np.ndarray:
    model = Colours()
    return model._unit(model._features(np.full((1, 8, 8, 3), colour, np.uint8)))[0]


def test_clips_and_frames_have_their_times(folder: Path, tmp_path: Path) -> None:
    summary, known = index(folder, tmp_path / "index")
    assert (summary.images, summary.videos, summary.clips) == (1, 2, 5 + 3)
    assert [len([row for row in known if row[2] == kind]) for kind in (IMAGE, CLIP, FRAME)] == [1, 8, 15]
    with Searcher(tmp_path / "index", Colours()) as searcher:
        hits = searcher.search(like(GREEN), 3).hits
        assert {(hit.path, hit.times()) for hit in hits[:2]} == {("a.mp4", "0:02–0:04"), ("a.mp4", "0:06–0:08")} or {
            hit.path for hit in hits[:3]
        } == {"a.mp4", "more/b.mkv"}
        assert min(hit.score for hit in hits) > 0.99
        best = searcher.search(like(BLUE), 20)
        assert {best.hits[0].times(), best.hits[1].times()} == {"image", "0:04–0:06"}
        assert len(best.hits) == 9  # all there is, each once
        assert (best.images, best.clips) == (1, 8)
    with Searcher(tmp_path / "index", Colours(kind="thing")) as searcher:
        hits = searcher.search(like(WHITE), 20).hits
        assert (hits[0].path, hits[0].times()) == ("a.mp4", "0:08–0:10")
        assert len({(hit.path, hit.start_s) for hit in hits}) == len(hits) == 9


def test_a_clip_is_the_mean_of_its_frames(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    video(tmp_path / "films" / "a.mp4", [RED, BLUE], seconds_each=1)
    build_index(tmp_path / "films", tmp_path / "index", Colours(), show_progress=False)
    with Searcher(tmp_path / "index", Colours()) as searcher:
        (hit,) = searcher.search(like(RED), 5).hits
    halves = (like(RED) + like(BLUE)) / np.linalg.norm(like(RED) + like(BLUE))
    assert hit.score == pytest.approx(float(halves @ like(RED)), abs=0.01)


def test_spacing() -> None:
    assert clip_starts(61.0, 30.0) == [0.0, 30.0, 60.0]
    assert clip_starts(60.0, 30.0) == [0.0, 30.0]
    assert clip_starts(0.1, 2.0) == [0.0]


def test_only_what_changed_is_read_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    index(folder, out)
    summary, before = index(folder, out)
    assert (summary.unchanged, summary.images, summary.videos) == (3, 0, 0)
    photo(folder / "red.png", RED)
    (folder / "more" / "b.mkv").unlink()
    video(folder / "a.mp4", [BLUE], seconds_each=3)
    os.utime(folder / "a.mp4", ns=(1, 1))
    summary, after = index(folder, out)
    assert (summary.unchanged, summary.images, summary.videos, summary.vanished) == (1, 1, 1, 1)
    assert after != before
    _, anew = index(folder, tmp_path / "anew")
    assert after == anew
    with Searcher(out, Colours()) as searcher:
        assert {hit.path for hit in searcher.search(like(RED), 20).hits} == {"red.png", "blue.png", "a.mp4"}


def test_broken_files_are_skipped_and_named(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "a.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.mp4").touch()
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 but no more")
    (folder / "nowhere.png").symlink_to(folder / "none")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    summary, _ = index(folder, tmp_path / "index")
    assert set(summary.broken) == {"cut.mp4", "empty.mp4", "cut.jpg", "nowhere.png"}
    assert (summary.images, summary.videos) == (2, 2)
    assert not any(str(folder) in reason or "\n" in reason for reason in summary.broken.values())
    again, _ = index(folder, tmp_path / "index")
    assert again.broken == summary.broken
    (folder / "cut.mp4").write_bytes(whole)
    repaired, _ = index(folder, tmp_path / "index")
    assert set(repaired.broken) == {"empty.mp4", "cut.jpg", "nowhere.png"}
    assert repaired.videos == 1


def test_a_video_of_an_impossible_duration_is_broken(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(indexing, "MAX_S", 8.0)
    summary, _ = index(folder, tmp_path / "index")
    assert summary.broken == {"a.mp4": "has a duration of 0 hours: repair it, or divide it into parts"}


def test_a_damaged_video_is_indexed_without_what_is_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "films").mkdir()
    path = video(tmp_path / "films" / "a.mp4", [RED, GREEN, BLUE])
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for at, size in packets[20:23]:
        data[at : at + size] = bytes(size)
    path.write_bytes(data)
    summary, _ = index(tmp_path / "films", tmp_path / "index")
    assert (summary.clips, summary.broken) == (3, {})
    assert re.search(r"a\.mp4 is damaged: \d+ frames are left out", caplog.text)


def test_a_video_that_was_cut_short_gives_what_it_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "films").mkdir()
    path = video(tmp_path / "films" / "a.mkv", [RED, GREEN, BLUE] * 20)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.8)])
    summary, known = index(tmp_path / "films", tmp_path / "index")
    assert not summary.broken
    there = probe(path).duration_s
    assert 60 < there < 118
    assert summary.clips == len(clip_starts(there, 2.0)) == sum(row[2] == CLIP for row in known)
    assert "a.mkv was cut short" in caplog.text


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "is not there"),
        (lambda folder: (shutil.rmtree(folder), folder.touch()), "is a file"),
        (lambda folder: (shutil.rmtree(folder), folder.mkdir()), "holds no images or videos"),
        (lambda folder: [p.write_bytes(b"x") for p in folder.rglob("*.*")], "none of the 3 images and videos in"),
    ],
    ids=["missing", "file", "empty", "all broken"],
)
def test_nothing_to_index_is_one_line(folder: Path, tmp_path: Path, prepare, message: str) -> None:
    prepare(folder)
    with pytest.raises(StoryjaxError, match=message):
        index(folder, tmp_path / "index")


def test_an_index_of_something_else(folder: Path, videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    index(folder, out)
    with pytest.raises(StoryjaxError, match="is the index of"):
        index(videos, out)
    with pytest.raises(StoryjaxError, match="has a clip every 2 s, not 30"):
        index(folder, out, every_s=30.0)
    for wrong in (1.0, -2.0, float("nan"), float("inf")):
        with pytest.raises(StoryjaxError, match="--every is"):
            index(folder, out, every_s=wrong)
    with pytest.raises(StoryjaxError, match="made by another model"):
        build_index(folder, out, Colours(vision="other"), show_progress=False)
    with pytest.raises(StoryjaxError, match="made by another model"):
        Searcher(out, Colours(vision="other"))
    with pytest.raises(StoryjaxError, match="holds something else than an index"):
        index(folder, folder)
    with pytest.raises(StoryjaxError, match="no index in"):
        Store.open(tmp_path / "none")
    (out / "index.sqlite").write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    with pytest.raises(StoryjaxError, match="is damaged"):
        Store.open(out)


def test_a_faiss_file_may_be_lost_or_damaged(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    index(folder, out)
    with Searcher(out, Colours()) as searcher:
        expected = [(hit.path, hit.start_s) for hit in searcher.search(like(RED), 9).hits]
    for damage in (b"", b"IxFI" + bytes(100), None):
        for path in out.glob("*.faiss"):
            path.unlink() if damage is None else path.write_bytes(damage)
        with Searcher(out, Colours()) as searcher:
            assert [(hit.path, hit.start_s) for hit in searcher.search(like(RED), 9).hits] == expected


def test_inverted_lists_find_what_exact_search_finds(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(vectors, "EXACT_UP_TO", 1000)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, DIM)) + 3 * rng.normal(size=(40, DIM)).repeat(100, 0)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    store = Store.create(tmp_path / "index", {"dim": str(DIM), "vision_fingerprint": "eye"})
    for name, part in ((b"a.mp4", slice(0, 2500)), (b"b.mp4", slice(2500, 4000))):
        file = store.begin_file(name, 1, 1)
        store.add(file, [Row(CLIP, i, 2.0 * i, 2.0 * i + 2, v, b"x") for i, v in enumerate(rows[part])], 1, done=True)
        lists = Vectors.open(store, CLIP)
        lists.save(store, CLIP)
    assert [path.name for path in store.folder.glob("*.faiss")] == ["clip.2500.2.faiss"]  # learned once, added to
    assert len(lists) == 4000
    found = 0
    for number, query in list(enumerate(rows))[::100]:
        ids, scores = lists.nearest(store, query, 10)
        exact = np.argsort(-(rows @ query))[:10]
        assert ids[0] - 1 == number  # nobody gets stuck in a far corner
        found += len(set(ids - 1) & set(exact))
        assert np.allclose(scores, rows[ids - 1] @ query, atol=1e-6)
        assert (np.diff(scores) <= 0).all()
    assert found / 400 > 0.95
    store.forget([b"b.mp4"])
    shrunk = Vectors.open(store, CLIP)
    assert len(shrunk) == 2500
    assert shrunk.ids().max() == 2500
    store.close()


SLOW_BUILD = """
import sys; sys.path.insert(0, {tests!r})
from colours import Colours
from storyjax.search import indexing
indexing._BATCH = 2
print("ready", flush=True)
indexing.build_index({folder!r}, {out!r}, Colours(wait_s=float(sys.argv[1])), show_progress=False)
"""


def test_killed_at_any_moment_nothing_is_lost_or_twice(folder: Path, tmp_path: Path) -> None:
    video(folder / "long.mp4", [RED, GREEN, BLUE, WHITE] * 6)
    _, expected = index(folder, tmp_path / "whole")
    out, draw = tmp_path / "index", random.Random()
    code = SLOW_BUILD.format(tests=str(Path(__file__).parent), folder=str(folder), out=str(out))
    kills = 0
    for _ in range(40):
        # While it is to be killed, a call of the model takes so long that no run can come to the end before.
        wait_s = 0.3 if kills < 4 else 0.0
        with subprocess.Popen([sys.executable, "-c", code, str(wait_s)], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            try:
                process.wait(timeout=draw.uniform(0.05, 0.4) if kills < 4 else None)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                continue
        assert process.returncode == 0
        break
    assert kills == 4
    store = Store.open(out)
    assert contents(store) == expected
    for kind in (IMAGE, CLIP, FRAME):
        assert np.array_equal(Vectors.open(store, kind).ids(), store.ids(kind))
    store.close()


def test_two_at_a_time_are_refused(folder: Path, tmp_path: Path) -> None:
    index(folder, tmp_path / "index")
    with open(tmp_path / "index" / ".lock") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoryjaxError, match="another process is indexing into"):
            index(folder, tmp_path / "index")
    index(folder, tmp_path / "index")


def refuse(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """Looking into `folder` fails as it does on a disk that does not answer."""
    scandir = os.scandir

    def failing(path):
        if Path(path) == folder:
            raise OSError(number, os.strerror(number), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)


def test_what_cannot_be_looked_at_now_stays(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    out = tmp_path / "index"
    (tmp_path / "disk").mkdir()
    photo(tmp_path / "disk" / "red.png", RED)
    (folder / "linked").symlink_to(tmp_path / "disk", target_is_directory=True)
    _, before = index(folder, out)
    assert {row[0] for row in before} >= {hash_of(b"linked/red.png"), hash_of(b"more/b.mkv")}
    with monkeypatch.context() as patch:
        refuse(patch, folder / "more", errno.ENOTCONN)
        summary, after = index(folder, out)
    assert after == before
    assert "Transport endpoint" in summary.broken["more"]
    assert (summary.vanished, summary.kept) == (0, {"more": 1})
    # Disks that are not mounted leave an empty folder, or links to nothing.
    device = media_files._device
    with monkeypatch.context() as patch:
        patch.setattr(media_files, "_device", lambda path: -1 if Path(path) == folder / "more" else device(path))
        assert index(folder, out)[1] == before
    (folder / "more" / "b.mkv").rename(tmp_path / "b.mkv")
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    for _ in range(2):
        summary, after = index(folder, out)
    assert "not mounted" in summary.broken["more"]
    assert after == before
    assert (summary.vanished, summary.kept) == (0, {"more": 1, "linked": 1})
    assert "is a link to nothing" in summary.broken["linked"]
    (tmp_path / "disk").mkdir()
    summary, after = index(folder, out)
    assert after == before
    assert "not mounted" in summary.broken["linked"]
    # What is really gone is dropped.
    (folder / "linked").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(media_files, "_device", lambda path: -1 if Path(path) == folder / "more" else device(path))
        summary, after = index(folder, out)
    assert (summary.vanished, summary.kept) == (2, {})
    assert len(after) < len(before)
    with monkeypatch.context() as patch:
        refuse(patch, folder, errno.EACCES)
        with pytest.raises(StoryjaxError, match="cannot be read"):
            index(folder, out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoryjaxError, match="no images or videos"):
        index(tmp_path / "empty", out)


def hash_of(path: bytes) -> str:
    return hashlib.md5(path).hexdigest()


def test_an_error_of_the_surroundings_is_tried_again(folder: Path, tmp_path: Path, monkeypatch) -> None:
    (folder / "cut.png").write_bytes((folder / "blue.png").read_bytes()[:50])
    _, whole = index(folder, tmp_path / "whole")

    def no_disk(*arguments, **options):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(images.Image, "open", no_disk)
        patch.setattr(video_files.os, "access", lambda path, mode: False)
        with pytest.raises(StoryjaxError, match="none of the 4 images and videos"):
            index(folder, tmp_path / "index")
    summary, known = index(folder, tmp_path / "index")
    assert known == whole
    assert list(summary.broken) == ["cut.png"]
    # Of a file that has changed and cannot be read for the moment, the old rows stay.
    photo(folder / "blue.png", RED)
    with monkeypatch.context() as patch:
        patch.setattr(images.Image, "open", no_disk)
        summary, known = index(folder, tmp_path / "index")
    assert known == whole
    assert set(summary.broken) == {"cut.png", "blue.png"}
    assert index(folder, tmp_path / "index")[0].images == 1


def test_new_readers_try_what_was_broken_once_more(folder: Path, tmp_path: Path, monkeypatch) -> None:
    (folder / "cut.png").write_bytes((folder / "blue.png").read_bytes()[:50])
    index(folder, tmp_path / "index")
    tried: list[str] = []
    read = indexing.read_image
    monkeypatch.setattr(indexing, "read_image", lambda path: tried.append(path.name) or read(path))
    index(folder, tmp_path / "index")
    assert tried == []
    monkeypatch.setattr(indexing, "_readers", lambda: "others")
    index(folder, tmp_path / "index")
    assert tried == ["cut.png"]
    index(folder, tmp_path / "index")
    assert tried == ["cut.png"]


def test_everything_that_is_left_out_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "album"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jfif", "b.avif", "c.jp2", "d.tga"):
        photo(folder / name, RED, 64) if name != "a.jfif" else Image.new("RGB", (64, 64), RED).save(
            folder / name, "JPEG"
        )
    for name, kind in (("e.mts", "mpegts"), ("f.m2ts", "mpegts"), ("g.3g2", "mp4")):
        video(folder / "sub" / "x.mp4", [RED])
        with av.open(str(folder / "sub" / "x.mp4")) as source, av.open(str(folder / name), "w", format=kind) as made:
            stream = made.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    made.mux(packet)
    (folder / "sub" / "x.mp4").unlink()
    (folder / "h.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    (folder / "notes.txt").write_text("")
    (folder / "raw.CR3").write_bytes(b"x")
    (folder / "no_ending").write_bytes(b"x")
    (folder / ".hidden.png").write_bytes(b"x")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "again").symlink_to("sub", target_is_directory=True)
    (folder / "circle").symlink_to(".", target_is_directory=True)
    (folder / "itself.png").symlink_to("itself.png")
    summary, _ = index(folder, folder / "index")
    assert (summary.images, summary.videos) == (4, 3)
    assert set(summary.broken) == {"h.heic", "pipe.jpg", "gone.jpg", "again", "circle", "itself.png"}
    assert "pillow-heif" in summary.broken["h.heic"] or images.reads_heif()
    assert "is a link to sub" in summary.broken["again"]
    assert summary.ignored == {".txt": 1, ".cr3": 1, "": 1, "hidden": 1}
    told = "\n".join(command._notes(summary))
    assert "left out 3 files, no images or videos: 1 without ending, 1 .cr3, 1 .txt" in told
