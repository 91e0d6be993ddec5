"""`storyjax find` with published networks from the models folder: people in two stages, things by their mean picture.

The faces are StoryWorld's, with the face encoder that ships for them; boxes come from a stand-in, as no published
detector finds drawn faces.
"""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from colours import film
from hub_detr import small_detr, write_detr
from PIL import Image

from storyjax.cli.main import run
from storyjax.clip_pad.detect import LOOSE
from storyjax.clip_pad.evaluate import two_stage
from storyjax.clip_pad.two_stage import FaceEncoder
from storyjax.core.arrays import unit_norm
from storyjax.core.params_io import weights_folder
from storyjax.data.images import Square
from storyjax.gallery.gallery import Gallery
from storyjax.mqt.detector_tracker import DetectorTracker
from storyjax.pi_map.localise import crop_to
from storyjax.search.clip_encoder import ClipEncoder
from storyjax.search.walk import walk
from storyjax.storyworld.draw.faces import PHOTO_SIZE, photograph
from storyjax.storyworld.story.population import EVERYONE

ANA, BEN, CLEO = [name for name, person in EVERYONE.items() if person.known][:3]
# Who is in which image; the two of the last, side by side.
SHOWN = {"0.png": (ANA,), "1.png": (BEN,), "2.png": (CLEO,), "3.png": (ANA,), "4.png": (BEN,), "5.png": (ANA, BEN)}
PROMPT = "<ana>, blue"
INNER = round(PHOTO_SIZE / (1 + LOOSE))  # side of a box whose loose crop is the whole photo


def canvas(names: Sequence[str], seed: int) -> np.ndarray:
    """Photos of people side by side on white."""
    image = np.full((96, 180, 3), 255, np.uint8)
    for place, name in enumerate(names):
        image[16 : 16 + PHOTO_SIZE, 12 + 84 * place :][:, :PHOTO_SIZE] = photograph(name, np.random.default_rng(seed))[
            0
        ]
    return image


def boxes(image: np.ndarray) -> list[tuple[float, float, float, float]]:
    """The faces in a `canvas`, of any size."""
    scale, rim = image.shape[1] / 180, (PHOTO_SIZE - INNER) / 2
    found = []
    for place in (12, 96):
        middle = image[round(48 * scale), round((place + 20) * scale) : round((place + 44) * scale)]
        if middle.std(axis=0).max() > 10:  # neither white nor of one colour
            corners = (place + rim, 16 + rim, place + rim + INNER, 16 + rim + INNER)
            found.append(tuple(scale * side for side in corners))
    return found


@pytest.fixture(scope="module")
def world(hub_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a CLIP and a face encoder, images and a video with their index, two people and a thing."""
    world = tmp_path_factory.mktemp("world")
    shutil.copytree(hub_clip, world / "models" / "find")
    shutil.copytree(weights_folder("shipped:storyworld_faces"), world / "models" / "faces")
    for folder in ("media", "ana", "ben", "mug"):
        (world / folder).mkdir()
    for seed, (name, people) in enumerate(SHOWN.items()):
        Image.fromarray(canvas(people, seed)).save(world / "media" / name)
    film(world / "media" / "film.mp4", canvas((ANA,), 50))
    Image.new("RGB", (50, 50), (205, 40, 25)).save(world / "media" / "mug.png")
    for folder, person in (("ana", ANA), ("ben", BEN)):
        for seed in (100, 101):
            Image.fromarray(photograph(person, np.random.default_rng(seed))[0]).save(world / folder / f"{seed}.png")
    for number, colour in enumerate(((200, 30, 30), (220, 60, 20))):
        Image.new("RGB", (40, 30), colour).save(world / "mug" / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        settle(world, patch)
        assert run(["find", "index", "media", "--out", "index"]) == 0
        for person in ("ana", "ben"):
            assert run(["find", "enrol", person, person, "--face-detector", "none"]) == 0
        assert run(["find", "enrol", "chia", "mug", "--thing", "mug"]) == 0
    return world


def settle(world: Path, patch: pytest.MonkeyPatch) -> None:
    """Goes to a world, whose models folder is used, and whose faces `boxes` finds."""
    patch.chdir(world)
    patch.setenv("STORYJAX_MODELS", str(world / "models"))
    patch.setattr("storyjax.clip_pad.two_stage.find_detector", lambda given, *_: None if given == "none" else boxes)


@pytest.fixture
def here(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settle(world, monkeypatch)
    return world


def found(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:
    capsys.readouterr()
    assert run(["find", *words, "--index", "index", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    return [{**hit, "file": Path(hit["file"]).name} for hit in hits]


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert run(["find", *words]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_people_are_found_by_face_and_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["find", PROMPT, "--index", "index"]) == 0
    told = capsys.readouterr().err
    assert f"find: uses find from {here}/models/find (your own), faces from {here}/models/faces (your own)" in told
    hits = found(capsys, PROMPT)
    assert {hit["file"] for hit in hits} == {*SHOWN, "film.mp4"}
    faces = {hit["file"]: hit["face"] for hit in hits}
    others = {name for name, people in SHOWN.items() if ANA not in people}
    assert min(faces[name] for name in faces if name not in others) > max(faces[name] for name in others) + 0.05
    # The order is that of the walk of §4.7.6 over both rankings, computed anew from the pictures.
    clip = ClipEncoder.from_pretrained(here / "models/find")
    encoder = FaceEncoder.from_pretrained(here / "models/faces")
    photos = [np.asarray(Image.open(path)) for path in sorted((here / "ana").iterdir())]
    square = Square(clip.image_size, True)
    ana = unit_norm(encoder.describe(np.stack([encoder._square(photo) for photo in photos])).mean(axis=0), axis=None)
    sentence = clip.embed_query("a person, blue", {})
    images = {name: np.asarray(Image.open(here / "media" / name)) for name in SHOWN}
    texts = {name: float(clip.embed_images(square(image)[None])[0] @ sentence) for name, image in images.items()}
    best = {name: float((encoder.describe(encoder.crops_in(image)) @ ana).max()) for name, image in images.items()}
    scores = {hit["file"]: hit["score"] for hit in hits}
    for name in SHOWN:
        assert (scores[name], faces[name]) == pytest.approx((texts[name], best[name]), abs=1e-4)
    # A picture of nobody has its place among the sentence's.
    mug = square(np.asarray(Image.open(here / "media/mug.png")))
    scores["mug.png"] = float(clip.embed_images(mug[None])[0] @ sentence)
    faces["mug.png"] = -1.0
    names = list(scores)
    merged = two_stage(np.array([[scores[n] for n in names]]), np.array([[faces[n] for n in names]]))[0]
    assert (np.diff([merged[names.index(hit["file"])] for hit in hits]) <= 0).all()
    assert [hit["file"] for hit in found(capsys, PROMPT, "--top", "3")] == [hit["file"] for hit in hits[:3]]
    # Two people: both must be there.
    both = found(capsys, "<ana> <Ben>")
    assert max(both, key=lambda hit: hit["face"])["file"] == "5.png"
    assert found(capsys, "<x> dances", "--face", "ben/100.png", "--face-detector", "none")
    # Words alone, in the same index.
    assert "face" not in found(capsys, "a red room")[0]


def test_what_does_not_go_together_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["find", "index", "media", "--out", "plain", "--face-detector", "none"]) == 0
    assert "was made without faces" in fails(capsys, PROMPT, "--index", "plain")
    assert run(["find", "index", "media", "--out", "plain"]) == 0
    assert "plain was made without faces and stays so" in capsys.readouterr().err
    (here / "models" / "faces").rename(here / "models" / "away")
    assert "storyjax models get faces --from senet50_128.pth" in fails(capsys, PROMPT, "--index", "index")
    assert "with the faces of the encoder" in fails(capsys, "index", "media", "--out", "index")
    assert found(capsys, "a red room")  # words need no faces
    (here / "models" / "away").rename(here / "models" / "faces")
    shipped = ("--checkpoint", "shipped:clip_pad_storyworld")
    assert "was enrolled with another model" in fails(capsys, PROMPT, "--index", "index", *shipped)


def test_indexes_of_earlier_versions_are_known_as_those_of_a_published_clip(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["find", "index", "mug", "--out", "old", "--face-detector", "none"]) == 0

    def hits() -> list[dict]:
        assert run(["find", "a red room", "--index", "old", "--json"]) == 0
        return json.loads(capsys.readouterr().out)["hits"]

    capsys.readouterr()
    before = hits()
    for change in (
        "DELETE FROM meta WHERE key IN ('published', 'face_fingerprint', 'face_dim')",
        "DELETE FROM meta WHERE key = 'keep_aspect'",
        "UPDATE meta SET value = value || '-crop' WHERE key = 'vision_fingerprint'",
    ):
        with contextlib.closing(sqlite3.connect(here / "old" / "index.sqlite")) as db:
            db.execute(change)
            db.commit()
        if "keep_aspect" not in change:  # both were changed at once
            assert hits() == before
    assert run(["find", "index", "mug", "--out", "old", "--face-detector", "none"]) == 0
    assert "2 unchanged" in capsys.readouterr().out
    assert "was made without faces, so nobody can be found in it" in fails(capsys, PROMPT, "--index", "old")


def test_things_are_found_by_their_mean_picture_and_the_sentence(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hits = found(capsys, "an image of <chia>")
    clip = ClipEncoder.from_pretrained(here / "models/find")
    square = Square(clip.image_size, True)
    mugs = clip.embed_images(np.stack([square(np.asarray(Image.open(path))) for path in (here / "mug").iterdir()]))
    query = clip.embed_query("an image of a mug", {}) + unit_norm(mugs.mean(axis=0), axis=None)
    query /= np.linalg.norm(query)
    for hit in hits:
        if hit["start_s"] is None:
            image = np.asarray(Image.open(here / "media" / hit["file"]))
            assert hit["score"] == pytest.approx(float(clip.embed_images(square(image)[None])[0] @ query), abs=1e-4)
    assert hits[0]["file"] == "mug.png"


class Boxes(DetectorTracker):
    """A detector that finds the same boxes in every image."""

    def __init__(self, boxes: Sequence[tuple[float, float, float, float]]) -> None:
        self.boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.boxes, np.linspace(0.9, 0.8, len(self.boxes), dtype=np.float32)


def enrolled(name: str) -> np.ndarray:
    gallery = Gallery("runs/gallery")
    return gallery.rows(gallery.get(name))[0][1]


def test_things_are_cropped_to_the_box_of_a_published_detector(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    Image.fromarray(image).save(here / "rex.png")
    enrol = ("find", "enrol", "rex", "rex.png", "--thing")
    capsys.readouterr()
    assert run([*enrol, "dog", "--detector", "track"]) == 2
    assert "the models folder has no detector: 'storyjax models get track'" in capsys.readouterr().err
    write_detr(small_detr(), here / "models" / "track")
    asked: list[Sequence[str]] = []

    def load(folder: str, classes: Sequence[str], *_: object) -> Boxes:
        assert folder == str(here / "models" / "track")
        asked.append(classes)
        return Boxes([] if classes == ["person"] else [(20, 10, 30, 30), (0, 0, 9, 9)])

    monkeypatch.setattr("storyjax.mqt.class_detector.DetectorTracker.from_pretrained", load)
    clip = ClipEncoder.from_pretrained(here / "models/find")
    square = Square(clip.image_size, True)
    whole, part = (clip.embed_images(square(x)[None]) for x in (image, crop_to(image, (0.25, 1 / 6, 0.625, 2 / 3))))
    assert np.abs(part - whole).max() > 1e-3
    for category, flags, said, expected in (
        ("dog", ["--detector", "track"], "", part),
        ("poodle", ["--detector", str(here / "models/track"), "--class", "cup"], "", part),
        ("poodle", ["--detector", "track"], "no class 'poodle', so the most certain box of any class is taken", part),
        ("person", ["--detector", "track"], "rex.png shows no person that --detector finds: the whole", whole),
    ):
        assert run([*enrol, category, *flags]) == 0
        err = capsys.readouterr().err
        assert said in err
        assert said or "rex" not in err
        np.testing.assert_allclose(enrolled("rex"), expected, atol=1e-4)
        assert run(["find", "forget", "rex"]) == 0
    assert asked == [["dog"], ["cup"], [], ["person"]]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--detector", "track"], "--detector is for things: give --thing CATEGORY"),
        (["--thing", "mug", "--class", "cup"], "--class is what --detector looks for, which is not given"),
        (
            ["--thing", "mug", "--detector", "media"],
            "--detector: media has no config.json: give 'track', or the folder",
        ),
        (
            ["--thing", "mug", "--detector", "models/find"],
            "describes a model of the type 'clip', not 'deformable_detr'",
        ),
        (["--thing", "mug", "--detector", "detr", "--class", "cpu"], "no class 'cpu'. Did you mean 'cup'? It has cup,"),
        (["--thing", "mug", "--caption", "a mug"], "--caption teaches a π-map, which --checkpoint names"),
        (["--thing", "mug", "--tokens", "no.safetensors"], "--tokens takes the place of photos"),
        (["--thing", "mug", "--caption", " "], "--caption is empty"),
        (["--thing", "mug", "--caption", "no.json"], "no.json cannot be read as captions"),
    ],
)
def test_what_a_thing_cannot_be_enrolled_with_is_one_line(
    flags: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (here / "detr").exists():
        write_detr(small_detr(), here / "detr")
    capsys.readouterr()
    assert run(["find", "enrol", "pip", "mug", *flags]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1], lines


@pytest.mark.parametrize("seed", range(3))
def test_the_walk_is_that_of_the_measured_baseline(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(2, 60))
    orders = [list(np.argsort(-row)) for row in scores]
    orders[1] = orders[1][:40]  # some clips show nobody
    scores[1, [i for i in range(60) if i not in orders[1]]] = -np.inf
    depths: list[int] = []

    def ranked(count: int) -> list[tuple[list[int], bool]]:
        depths.append(count)
        return [(order[:count], count >= len(order)) for order in orders]

    merged = two_stage(scores[:1], scores[1:])[0]
    got = walk(ranked, 5)
    np.testing.assert_allclose(merged[got], np.sort(merged)[::-1][:5])
    assert set(walk(ranked, 50)) == set(orders[1])
    assert depths[0] == 20
