"""The kinds of files that people have, through `ask`, `track`, `find` and `subtitle` with the weights that ship.

Each file gives the right result (frames, upright boxes, rows of the index, cues at their times), or exit code 2 and one
line on standard error that names it. What this build of FFmpeg cannot encode is skipped by name. All of it takes
minutes: `python -m pytest -m long tests/inputs/test_whole_list.py`.
"""

import contextlib
import functools
import io
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from make_inputs import HEIGHT, LENGTH, LINES, SOUNDS, VIDEOS, WIDTH, Audio, Video, base
from make_tables import FOLDERS, PHOTOS, SHORT, TABLES, Boxes, Folder, Photo
from PIL import Image

from storyjax.cli.main import run
from storyjax.data.mot_text import Rows, read_rows
from storyjax.data.video import probe
from storyjax.search.store import BROKEN, CLIP, DONE, FRAME, IMAGE, Store
from storyjax.storyworld.export.series import write_wav
from storyjax.storyworld.render.speech import speak
from storyjax.storyworld.story.dialogue import TEXTS

ROWS = (*VIDEOS, *PHOTOS, *SOUNDS, *FOLDERS, *TABLES)
QUESTION = ("who danced ?", "--options", "ana", "ben", "mia", "--json")
# The same images in another coding: at least this fraction of boxes is found again (0.1 of mirrored or turned images),
# the cosine of embeddings (0.6 of turned ones), the mean difference of thumbnails in grey levels (20 and more of
# mirrored or turned ones) and the sum of differences of attention (0.4 of turned ones).
SAME_BOXES, SAME_VECTORS = 0.8, 0.98
MOST_GREY, MOST_ATTENTION = 8.0, 0.3
MIN_BOXES = 40  # in the tracks of the base, so that there is something to compare


@dataclass(frozen=True)
class Done:
    """A command that has run."""

    code: int
    out: str
    err: list[str]


def command(*argv: str | Path) -> Done:
    """Runs a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(map(str, argv)))
    return Done(code, out.getvalue(), err.getvalue().splitlines())


def refused(done: Done, path: Path, reason: str) -> None:
    """A command said in one line what is wrong with the file; which weights it uses is a note of every command."""
    assert done.code == 2, done
    said = [line for line in done.err if "uses the weights that ship" not in line]
    assert len(said) == 1, done.err
    assert said[0].startswith("storyjax: error: ")
    assert path.name in said[0]
    assert reason in said[0]


@dataclass
class Place:
    """Where the files lie: `skipped` has the reason why some could not be made, `hits` the names that `find` gave."""

    root: Path
    skipped: dict[str, str] = field(default_factory=dict)
    hits: set[str] = field(default_factory=set)

    @property
    def album(self) -> Path:
        """The folder that is indexed."""
        return self.root / "album"

    def made(self, row: Any, folder: str) -> Path:
        """Returns the file of a row, made now unless it is there."""
        path = self.root / folder / row.name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() and row.name not in self.skipped:
            try:
                row.make(path, base())
            except av.codec.codec.UnknownCodecError as error:
                path.unlink(missing_ok=True)
                self.skipped[row.name] = f"{row.name}: this FFmpeg has no encoder {error.args[-1]}"
        return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """All videos and images, indexed; networks are loaded and compiled once."""
    from storyjax.clip_pad.predict import PersonFinder
    from storyjax.mqt.predict import Tracker
    from storyjax.subtitles import networks
    from storyjax.subtitles.av_sync import SyncDetector
    from storyjax.subtitles.laughter_detector import LaughterDetector
    from storyjax.subtitles.speaker_encoder import SpeakerEncoder
    from storyjax.tcr.predict import Predictor

    found = Place(tmp_path_factory.mktemp("inputs"))
    with pytest.MonkeyPatch.context() as patch:
        for network in (PersonFinder, Tracker, SyncDetector, LaughterDetector, SpeakerEncoder, Predictor):
            patch.setattr(network, "from_pretrained", functools.cache(network.from_pretrained))
        patch.setattr(networks, "load_recogniser", functools.cache(networks.load_recogniser))
        patch.setenv("SVT_LOG", "0")  # the encoder of AV1 is talkative
        patch.chdir(found.root)
        for row in (*VIDEOS, *PHOTOS):
            found.made(row, "album")
        write_cast(found.root)
        index(found)
        yield found


def write_cast(root: Path) -> None:
    """A cast list with a sample of the voice of each speaker, who says something else in it."""
    cast = []
    for _, name, voice, text in LINES:
        samples = [f"{name}{number}.wav" for number in range(3)]
        for number, sample in enumerate(samples):
            write_wav(root / sample, np.array(speak(voice, text + 7 + 3 * number)))
        cast.append({"name": name, "voices": samples})
    (root / "cast.json").write_text(json.dumps({"cast": cast}))


def index(place: Place) -> None:
    """Indexes the album, and searches it for whoever is in the plain photo."""
    done = command("find", "index", place.album, "--out", place.root / "index")
    assert done.code == 0, done
    done = command(
        "find", "An image of <x>", "--index", "index", "--face", place.album / "plain.jpg", "--top", "1000", "--json"
    )
    assert done.code == 0, done
    place.hits = {Path(hit["file"]).name for hit in json.loads(done.out)["hits"]}


def small_grey(jpeg: bytes) -> np.ndarray:
    """A thumbnail in few pixels, without colour."""
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("L").resize((24, 24), Image.Resampling.BOX), np.float32)


def indexed(place: Place, name: str) -> tuple[str, str, dict[str, list[tuple[float, np.ndarray, np.ndarray]]]]:
    """What the index has of a file: its state, the reason for it, and (start, vector, thumbnail) of rows by kind."""
    store = Store.open(place.root / "index")
    try:
        file = store.files()[name.encode()]
        rows: dict[str, list[tuple[float, np.ndarray, np.ndarray]]] = {}
        query = "SELECT kind, start_s, vector, jpeg FROM vectors v JOIN stills s ON s.id = still WHERE v.file = ?"
        with store.reading() as db:
            for kind, start, vector, jpeg in db.execute(f"{query} ORDER BY v.id", (file.id,)):
                rows.setdefault(kind, []).append((start, np.frombuffer(vector, "<f4"), small_grey(jpeg)))
        return file.state, file.reason or "", rows
    finally:
        store.close()


@functools.cache
def tracked(path: Path) -> tuple[Done, Rows | None]:
    """The tracks of a file or folder."""
    out = Path(f"tracks of {path.name}.txt")
    done = command("track", path, "--out", out)
    return done, read_rows(out) if out.exists() else None


def found_again(reference: Rows, found: Rows, scale: tuple[float, float], frames: int) -> float:
    """The fraction of boxes of the first frames of which half or more is covered by a box of the same frame."""
    wanted = reference[reference.frame <= frames]
    x, y = scale
    boxes = wanted.xywh_px * np.array([x, y, x, y], np.float32)
    again = 0
    for frame, (left, top, width, height) in zip(wanted.frame, boxes, strict=True):
        others = found.xywh_px[found.frame == frame]
        wide = np.minimum(left + width, others[:, 0] + others[:, 2]) - np.maximum(left, others[:, 0])
        high = np.minimum(top + height, others[:, 1] + others[:, 3]) - np.maximum(top, others[:, 1])
        both = wide.clip(0) * high.clip(0)
        again += bool((both / (width * height + others[:, 2] * others[:, 3] - both) >= 0.5).any())
    return again / max(1, len(wanted))


def check_track(row: Video, path: Path, place: Place) -> None:
    done, found = tracked(path)
    if row.error:
        return refused(done, path, row.error)
    assert done.code == 0, done
    least, most = row.frames if isinstance(row.frames, tuple) else (row.frames, row.frames)
    frames = int(done.out.partition(" boxes in ")[2].split()[0])
    assert least <= frames <= most
    if row.same:
        _, reference = tracked(place.album / "base.mp4")
        info = probe(path)
        scale = info.width / WIDTH, info.height / HEIGHT
        assert reference is not None
        assert len(reference) > MIN_BOXES
        assert found is not None
        assert found_again(reference, found, scale, min(least, row.same)) >= SAME_BOXES


def check_ask(row: Video, path: Path, place: Place) -> None:
    done = command("ask", path, *QUESTION)
    if row.error:
        return refused(done, path, row.error)
    assert done.code == 0, done
    answer = json.loads(done.out)
    assert answer["duration_s"] == pytest.approx(row.seconds, abs=0.5 if row.name.startswith(("cut", "edit")) else 0.11)
    assert answer["seconds"] == sorted(answer["seconds"])
    assert answer["seconds"][-1] <= answer["duration_s"]
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-3)
    if row.same == row.frames == LENGTH:
        reference = json.loads(command("ask", place.album / "base.mp4", *QUESTION).out)
        assert answer["seconds"] == pytest.approx(reference["seconds"], abs=2e-3)
        assert answer["option"] == reference["option"]
        assert np.abs(np.subtract(answer["attention"], reference["attention"])).sum() <= MOST_ATTENTION
    return None


def check_find(row: Video, place: Place) -> None:
    state, reason, rows = indexed(place, row.name)
    if row.error:
        assert state == BROKEN
        assert row.error in reason
        return
    assert state == DONE, reason
    if row.name.endswith(".gif"):  # is indexed as an image
        assert len(rows[IMAGE]) == 1
        return
    seconds = probe(place.album / row.name).duration_s
    assert [start for start, *_ in rows[CLIP]] == [2.0 * k for k in range(math.ceil(round(seconds / 2, 3)))]
    assert all(0 <= start <= seconds for start, *_ in rows[FRAME])
    assert row.name in place.hits
    if row.same >= 20 and row.seconds >= 2:
        _, _, reference = indexed(place, "base.mp4")
        assert rows[CLIP][0][1] @ reference[CLIP][0][1] >= SAME_VECTORS
        assert np.abs(rows[CLIP][0][2] - reference[CLIP][0][2]).mean() <= MOST_GREY


def check_subtitle(path: Path, late: float, heard: tuple[int, ...], exact: bool) -> None:
    out = Path(f"{path.name}.json")
    done = command("subtitle", path, "--cast", "cast.json", "--out", out)
    assert done.code == 0, done
    lines = json.loads(out.read_text())["lines"]
    assert len(lines) == len(heard), lines
    for line, number in zip(lines, heard, strict=True):
        start, name, _, text = LINES[number]
        assert line["start"] == pytest.approx(start + late, abs=0.4)
        if exact:
            assert line["text"] == TEXTS[text]
            assert line["name"] == name


def check_video(row: Video, place: Place) -> None:
    path = place.made(row, "album")
    if row.name in place.skipped:
        pytest.skip(place.skipped[row.name])
    check_track(row, path, place)
    check_ask(row, path, place)
    check_find(row, place)
    if row.sound is not None:
        check_subtitle(path, row.sound, (0, 1), exact=True)
    else:
        done = command("subtitle", path, "--cast", "cast.json", "--out", f"{path.name}.json")
        refused(done, path, row.error if row.error in "".join(done.err) and row.error else "has no sound track")


def check_photo(row: Photo, place: Place) -> None:
    path = place.made(row, "album")
    state, reason, rows = indexed(place, row.name)
    asked = command("ask", path, *QUESTION)
    gallery = ("--gallery", f"gallery of {row.name}")
    enrolled = command("find", "enrol", "ana", path, *gallery)
    if row.error:
        assert state == BROKEN
        assert row.error in reason
        refused(asked, path, row.error)
        return refused(enrolled, path, row.error)
    assert state == DONE, reason
    assert [len(rows[IMAGE]), row.name in place.hits] == [1, True]
    _, vector, thumbnail = indexed(place, "plain.jpg")[2][IMAGE][0]
    if row.same:
        assert np.abs(rows[IMAGE][0][2] - thumbnail).mean() <= MOST_GREY
    if row.same == "colour":
        assert rows[IMAGE][0][1] @ vector >= SAME_VECTORS
    assert asked.code == 0, asked
    assert json.loads(asked.out)["duration_s"] in (1.0, 0.6)  # an animation has its own
    if row.enrols:
        return refused(enrolled, path, row.enrols)
    assert enrolled.code == 0, enrolled
    assert "1 photo" in command("find", "list", *gallery).out
    return None


def check_sound(row: Audio, place: Place) -> None:
    path = place.made(row, "sounds")
    check_subtitle(path, 0.0, row.heard, row.exact)
    for done in (command("track", path, "--out", "none.txt"), command("ask", path, *QUESTION)):
        refused(done, path, "video")


def check_folder(row: Folder, place: Place) -> None:
    done, found = tracked(place.made(row, "frames"))
    assert done.code == 0, done
    assert f"boxes in {row.frames} frames" in done.out
    _, reference = tracked(place.made(FOLDERS[0], "frames"))
    assert found is not None
    assert reference is not None
    same = reference.frame <= row.frames
    assert np.array_equal(found.xywh_px, reference.xywh_px[same])


def check_boxes(row: Boxes, place: Place) -> None:
    frames = place.made(FOLDERS[0], "frames")

    def tracks(one: Boxes) -> tuple[Done, Path]:
        path = place.made(one, "tables")
        out = place.root / f"tracks by {one.name}"
        return command("track", frames, one.flag, path, "--out", out), out

    done, out = tracks(row)
    if row.error:
        return refused(done, place.root / "tables" / row.name, row.error)
    assert done.code == 0, done
    assert f"boxes in {SHORT} frames" in done.out
    found = read_rows(out)
    boxes = found.xywh_px
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2] <= WIDTH).all()
    assert (boxes[:, 1] + boxes[:, 3] <= HEIGHT).all()
    if row.like:
        (like,) = (other for other in TABLES if other.name == row.like)
        assert out.read_text() == tracks(like)[1].read_text()
    return None


CHECKS: dict[type, Any] = {
    Video: check_video,
    Photo: check_photo,
    Audio: check_sound,
    Folder: check_folder,
    Boxes: check_boxes,
}


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_whole_list(row: Any, place: Place) -> None:
    CHECKS[type(row)](row, place)


@pytest.mark.long
def test_all_of_the_album_is_in_the_index_or_named(place: Place) -> None:
    shutil.rmtree(place.root / "again", ignore_errors=True)
    made = [row for row in (*VIDEOS, *PHOTOS) if row.name not in place.skipped]
    again = command("find", "index", place.album, "--out", "index")
    broken = [row.name for row in made if row.error]
    named = [line.split()[3].rstrip(":") for line in again.err if "note: skipped" in line]
    assert sorted(named) == sorted(broken)
    assert f"{len(made) - len(broken)} unchanged" in again.out
