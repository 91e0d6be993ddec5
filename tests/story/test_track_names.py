"""`storyjax track --names`: tracks are named by the gallery over their whole time, with colours for networks."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from storyjax.cli import track as command
from storyjax.cli.main import run
from storyjax.gallery.gallery import Gallery
from storyjax.mqt.predict import TrackedObject
from storyjax.story import describers
from storyjax.story.track_names import TrackNames

RED, GREEN, BLUE, GREY = (220, 20, 20), (20, 200, 20), (20, 20, 220), (90, 90, 90)
PLACES = {1: (4, 4), 2: (40, 4), 3: (76, 4)}  # of the tracks: left, top


def unit(colour: tuple[int, int, int]) -> np.ndarray:
    vector = np.asarray(colour, np.float32)
    return vector / np.linalg.norm(vector)


class Describers(describers.Describers):
    """A face or thing is its colour; grey has none."""

    face_fingerprint, image_fingerprint = "face network", "image network"
    face_threshold, image_threshold, head_scales = 0.8, 0.8, (1.2,)

    def __init__(self, options: object = None):
        pass

    def describe_faces(self, heads, cut: bool = False) -> list[np.ndarray | None]:
        means = [np.asarray(each[0]).reshape(-1, 3).mean(0) for each in heads]
        return [None if np.ptp(mean) < 20 else unit(mean) for mean in means]

    def embed_images(self, images) -> np.ndarray:
        return np.stack([unit(image.reshape(-1, 3).mean(0) + 0.1) for image in images])


def frame(*colours: tuple[int, int, int]) -> np.ndarray:
    image = np.full((40, 112, 3), 90, np.uint8)
    for (left, top), colour in zip(PLACES.values(), colours, strict=False):
        image[top : top + 32, left : left + 32] = colour
    return image


class Tracker:
    """Three tracks that stay where they are."""

    def start(self, width: int, height: int) -> None:
        pass

    def step(self, image, detections=None, others=None) -> list[TrackedObject]:
        if image is None:
            return []
        boxes = [(id, (float(left), float(top), 32.0, 32.0)) for id, (left, top) in PLACES.items()]
        return [TrackedObject(id, box, 0.9, np.ones(2, np.float32)) for id, box in boxes]

    def detect(self, image) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


def made_gallery(folder: Path) -> Gallery:
    gallery = Gallery(folder)
    ana, ben = gallery.create("Ana", "person"), gallery.create("Ben", "person")
    gallery.learn(ana, "face", "face network", unit(RED)[None], "a.jpg")
    gallery.learn(ben, "face", "face network", unit(GREEN)[None], "b.jpg")
    chia = gallery.create("Chia", "thing", "dog")
    gallery.learn(chia, "image", "image network", unit(BLUE)[None], "c.jpg")
    return gallery


def followed(gallery: Gallery, frames: list[np.ndarray]) -> dict[int, str | None]:
    namer, tracker = TrackNames(gallery, Describers(), 5.0), Tracker()
    for number, image in enumerate(frames, 1):
        namer.see(number, number / 5, image, tracker.step(image))
    return {track.id: track.name for track in namer.finish()}


def test_a_track_is_judged_over_its_whole_time(tmp_path: Path) -> None:
    gallery = made_gallery(tmp_path)
    steady = [frame(RED, GREEN, BLUE)] * 9
    assert followed(gallery, [*steady, frame(GREEN, RED, BLUE)]) == {1: "Ana", 2: "Ben", 3: "Chia"}
    assert followed(gallery, [frame(GREY, GREEN, GREY)] * 9) == {1: None, 2: "Ben", 3: None}
    assert followed(gallery, []) == {}


def test_nobody_is_twice_in_one_image(tmp_path: Path) -> None:
    gallery = made_gallery(tmp_path)
    like_ana = (220, 60, 60)
    assert followed(gallery, [frame(like_ana, RED, BLUE)] * 9) == {1: None, 2: "Ana", 3: "Chia"}


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    namer = TrackNames(made_gallery(tmp_path), Describers(), 5.0)
    image = frame(RED)
    for number in range(1, 400):
        one = TrackedObject(number // 4, (4.0, 4.0, 32.0, 32.0), 0.9, np.ones(2, np.float32))
        namer.see(number, number / 5, image, [one])
        assert len(namer._open) < 16
    assert len(namer.finish()) == 100


def test_the_command_writes_names_and_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "load_tracker", lambda checkpoint, protocol: Tracker())
    monkeypatch.setattr("storyjax.story.describers.Describers", Describers)
    Path("video").mkdir()
    for number in range(6):
        Image.fromarray(frame(RED, GREEN, BLUE)).save(f"video/{number}.png")
    assert run(["track", "video", "--names"]) == 2
    assert "nobody is in runs/gallery" in capsys.readouterr().err
    gallery = made_gallery(tmp_path / "runs" / "gallery")
    stranger = gallery.create("Zoe", "person")
    gallery.learn(stranger, "face", "another network", unit(BLUE)[None], "z.jpg")
    assert run(["track", "video", "--names", "--render", "out.mp4"]) == 0
    said = capsys.readouterr()
    assert "3 tracks are of Ana, Ben, Chia: video.names.json" in said.out
    assert "the face of Zoe from another model only: 'storyjax gallery add NAME'" in said.err
    names = json.loads(Path("video.names.json").read_text())
    assert (names["format"], names["video"]) == (1, "video")
    assert [(one["id"], one["name"], one["kind"], one["by"]) for one in names["tracks"]] == [
        (1, "Ana", "person", "face"),
        (2, "Ben", "person", "face"),
        (3, "Chia", "thing", "image"),
    ]
    assert names["tracks"][0]["entry"] == gallery.get("ana").id
    assert names["tracks"][0]["confidence"] > 0.8
    with av.open("out.mp4") as named:
        shown = [image.to_ndarray(format="rgb24") for image in named.decode(video=0)]
    assert run(["track", "video", "--out", "plain.txt", "--render", "plain.mp4"]) == 0
    with av.open("plain.mp4") as plain:
        unnamed = [image.to_ndarray(format="rgb24") for image in plain.decode(video=0)]
    assert len(shown) == len(unnamed) == 6
    assert (np.abs(shown[3].astype(int) - unnamed[3]).max(-1) > 90).sum() > 50  # the names' letters
    assert Path("plain.txt").read_bytes() == Path("video.tracks.txt").read_bytes()
    assert not Path("plain.names.json").exists()
    assert run(["track", "video", "--face-detector", "none"]) == 2
