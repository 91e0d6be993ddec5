"""`storyjax gallery`, with models of colours and of loudness in place of networks."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storyjax.cli import main
from storyjax.gallery.gallery import Gallery
from storyjax.search.protocol import PhotoError, PhotoNote
from storyjax.search.store import CLIP, FACE, FRAME, Row, Store

RED, GREEN, BLACK = (220, 20, 20), (20, 200, 20), (0, 0, 0)


class Colours:
    """A person or thing is the colour of its photos; a black photo shows nobody."""

    source = "shipped:colours"
    width = dim = 3
    image_size, keep_aspect, vision_fingerprint = 8, False, "eye"

    def __init__(self, kind: str):
        self.kind, self.photo_role = kind, "face" if kind == "person" else "image"
        self.fingerprint, self.photo_fingerprint = f"{kind}-model", f"{kind}-photos"

    def enrol(self, photos, category=None, progress=None, notes=None) -> np.ndarray:
        vectors, _ = self.photo_vectors(photos, category, notes)
        return vectors.mean(0, keepdims=True)

    def embed_images(self, images) -> np.ndarray:
        return self.photo_vectors(images)[0]

    def embed_query(self, prompt, tokens, categories=None) -> np.ndarray:
        return np.mean([token[0] for token in tokens.values()], 0)

    def photo_vectors(self, photos, category=None, notes=None) -> tuple[np.ndarray, list[int]]:
        used = [index for index, photo in enumerate(photos) if photo.any()]
        for index in set(range(len(photos))) - set(used):
            notes(PhotoNote(index, "shows no face", left_out=True))
        if not used:
            raise PhotoError(0, "shows no face")
        means = np.stack([photos[index].reshape(-1, 3).mean(0) for index in used])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32), used


class Loudness:
    def embed(self, waves) -> np.ndarray:
        return np.asarray([[1, np.abs(sound).max()] for sound in waves], np.float32)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORYJAX_MODELS", "off")
    monkeypatch.setattr("storyjax.cli.gallery.model_loader", lambda *_, **__: Colours)
    loudness = classmethod(lambda cls, place: Loudness())
    monkeypatch.setattr("storyjax.subtitles.speaker_encoder.SpeakerEncoder.from_pretrained", loudness)
    for name, colour in (("ana1", RED), ("ana2", RED), ("dark", BLACK), ("chia", GREEN)):
        Image.new("RGB", (64, 48), colour).save(tmp_path / f"{name}.png")
    with wave.open("ana.wav", "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((10_000 * np.sin(np.arange(16000 * 12) / 9)).astype("<i2").tobytes())
    return tmp_path


def said(capsys, *words: str, code: int = 0) -> str:
    assert main.run(["gallery", *words]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_adds_lists_renames_merges_and_forgets(here: Path, capsys) -> None:
    done = said(capsys, "add", "ana", "ana1.png", "dark.png", "--voice", "ana.wav")
    assert "person 'ana' in runs/gallery: learned 1 token, 1 face, 1 voice" in done
    assert "dog 'chia' in runs/gallery: learned 1 token, 1 image" in said(
        capsys, "add", "chia", "chia.png", "--thing", "dog"
    )
    assert "learned 1 token, 1 face" in said(capsys, "add", "Ana", "ana2.png")  # more of the same person
    lines = said(capsys, "list").splitlines()
    assert lines[0].startswith("ana   person; 2 face (shipped:colours); 1 voice (shipped:")
    assert "; 1 token (shipped:colours); 2 photos; since 20" in lines[0]
    assert lines[1].startswith("chia  dog; 1 token (shipped:colours); 1 image (shipped:colours); 1 photo; since 20")
    (ana, _) = json.loads(said(capsys, "list", "--json"))
    assert [(one["role"], one["source"]) for one in ana["evidence"]] == [
        ("face", "ana1.png"),
        ("voice", "ana.wav"),
        ("token", "enrolled"),
        ("face", "ana2.png"),
    ]
    gallery = Gallery("runs/gallery")
    assert gallery.evidence(gallery.get("ana"))[1].seconds == (12.0,)
    said(capsys, "add", "anna", "ana1.png")
    assert "'anna' and 'ana' are one" in said(capsys, "merge", "anna", "ana")
    assert "'ana' is 'Ana Weiß' now" in said(capsys, "rename", "ana", "Ana Weiß")
    assert "2 entries" in said(capsys, "export", "people.zip")
    assert "'Ana Weiß' is forgotten" in said(capsys, "forget", "ana weiß")
    assert [entry.name for entry in gallery.entries()] == ["chia"]
    assert "Ana Weiß" in said(capsys, "import", "people.zip")


def test_what_cannot_be_done_is_one_line(here: Path, capsys) -> None:
    said(capsys, "add", "ana", "ana1.png")
    said(capsys, "add", "chia", "chia.png", "--thing", "dog")
    for words, line in (
        (["add", "ben"], "nothing is given"),
        (["add", "ben", "dark.png"], "shows no face"),
        (["add", "ben", "none.png"], "is not there"),
        (["add", "ana", "ana1.png", "--thing", "dog"], "'ana' is a person"),
        (["add", "chia", "--voice", "ana.wav"], "--voice is for people"),
        (["add", "a/b", "ana1.png"], "holds '/'"),
        (["add", "ben", "--voice", "none.wav"], "none.wav is not there"),
        (["rename", "ana", "Chia"], "such as 'Chia (baker)'"),
        (["merge", "ana", "chia"], "only entries of one kind"),
        (["forget", "bob"], "'bob' is not enrolled"),
        (["import", "none.zip"], "is not there"),
        (["lost"], "there is no 'gallery lost'"),
        (["forgt", "ana"], "Did you mean"),
        (["forget", "ana", "--index", "none"], "no index in none"),
    ):
        text = said(capsys, *words, code=2)
        assert line in text, text
        assert len(text.strip().splitlines()) == 1, text
    assert [entry.name for entry in Gallery("runs/gallery").entries()] == ["ana", "chia"]
    assert "storyjax gallery add ana" in said(capsys)


def test_forgetting_goes_into_an_index(here: Path, capsys) -> None:
    said(capsys, "add", "ana", "ana1.png")
    gallery = Gallery("runs/gallery")
    (face,) = gallery.vectors("face", "person-photos")[gallery.get("ana").id]
    other = np.asarray([0, 0, 1], np.float32)
    meta = {"vision_fingerprint": "v", "keep_aspect": "1", "root": "", "every_s": "2", "dim": "3", "face_dim": "3"}
    store = Store.create("index", meta | {"face_fingerprint": "person-photos"})
    rows = [(CLIP, b"clip 1"), (FRAME, b"her picture"), (FACE, b"her picture"), (FRAME, b"his"), (FACE, b"his")]
    near = face + np.asarray([0, 0, 0.02], np.float32)
    vectors = [other, other, near / np.linalg.norm(near), other, other]
    kinds = [Row(kind, 0, 0.0, 2.0, vector, still) for (kind, still), vector in zip(rows, vectors, strict=True)]
    store.add(store.begin_file(b"film.mp4", 1, 1), kinds, 1, True)
    store.close()
    (here / "index" / "face.0.1.faiss").touch()
    assert "1 faces of 'ana' removed, with the 1 images" in said(capsys, "forget", "ana", "--index", "index")
    left = b"".join(path.read_bytes() for path in (here / "index").iterdir())
    assert b"her picture" not in left
    assert vectors[2].astype("<f4").tobytes() not in left
    assert b"his" in left
    assert not list((here / "index").glob("*.faiss"))
    store = Store.open("index")
    assert [store.count(kind) for kind in (CLIP, FRAME, FACE)] == [1, 1, 1]
    store.close()
