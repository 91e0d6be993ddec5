"""Cast lists: what is in them, and every way in which they are wrong."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.storyworld.export.series import write_wav
from storyjax.subtitles.cast import read_cast, read_photos, read_voices


def write(folder: Path, cast: object, **further: object) -> Path:
    path = folder / "cast.json"
    path.write_text(json.dumps({"cast": cast, **further}), encoding="utf-8")
    return path


@pytest.fixture
def photo(tmp_path: Path) -> str:
    (tmp_path / "ana").mkdir()
    for number in range(3):
        Image.fromarray(np.full((20, 20, 3), 80 * number, np.uint8)).save(tmp_path / "ana" / f"{number}.png")
    return "ana/1.png"


def test_photos_voices_actors_and_episodes(tmp_path: Path, photo: str) -> None:
    write_wav(tmp_path / "ben.wav", np.sin(np.arange(16000) / 20) * 0.5)
    entries = [
        {"name": " Ana  Maria ", "actor": "Ana M.", "photos": ["ana"]},
        {"name": "בן", "photos": photo, "voices": ["ben.wav"]},
        {"name": "Dr. <b>X</b>: the 2nd"},
    ]
    cast = read_cast(write(tmp_path, entries, episodes={"s1": ["בן"]}))
    assert cast.names == ("Ana Maria", "בן", "Dr. <b>X</b>: the 2nd")
    assert [m.actor for m in cast.members] == ["Ana M.", "בן", "Dr. <b>X</b>: the 2nd"]
    assert len(read_photos(cast.members[0])[1]) == 3
    assert len(read_voices(cast.members[1])[0]) == 16000
    assert [m.name for m in cast.of("s1")] == ["בן"]
    assert cast.of("s2") == cast.members


@pytest.mark.parametrize(
    ("cast", "message"),
    [
        ([], "lists nobody"),
        ([{"photos": []}], "entry 1 has no name"),
        ([{"name": "Ana"}, {"name": "ANA"}], "'ANA' twice"),
        ([{"name": "   "}], "the name is empty"),
        ([{"name": "unknown"}], "stands for unknown speakers"),
        ([{"name": "A\x00b"}], r"U\+0000"),
        ([{"name": "Ana", "photo": []}], "unknown 'photo'. Did you mean 'photos'"),
        ([{"name": "Ana", "photos": ["none.jpg"]}], "none.jpg is not there"),
        ([{"name": "Ana", "photos": ["ana/1.png"] * 11}], "11 photos: 10 are enough"),
        ([{"name": "Ana", "photos": [3]}], "must be a list of paths"),
        ([{"name": "Ana", "voices": ["ana"]}], "holds no voices"),
    ],
)
def test_a_wrong_list_is_one_line(tmp_path: Path, photo: str, cast: object, message: str) -> None:
    del photo
    with pytest.raises(StoryjaxError, match=message) as error:
        read_cast(write(tmp_path, cast))
    assert "\n" not in str(error.value)


def test_wrong_files_and_episodes(tmp_path: Path) -> None:
    with pytest.raises(StoryjaxError, match="cannot be read"):
        read_cast(tmp_path / "none.json")
    (tmp_path / "cast.json").write_text("{'cast'")
    with pytest.raises(StoryjaxError, match="is no JSON"):
        read_cast(tmp_path / "cast.json")
    with pytest.raises(StoryjaxError, match="'Bob' of episode 's1' is not in the cast"):
        read_cast(write(tmp_path, [{"name": "Ana"}], episodes={"s1": ["Bob"]}))


def test_a_broken_photo_and_a_silent_voice_are_named(tmp_path: Path, caplog) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    write_wav(tmp_path / "mute.wav", np.zeros(16000))
    cast = read_cast(write(tmp_path, [{"name": "Ana", "photos": ["bad.jpg"], "voices": ["mute.wav"]}]))
    with pytest.raises(StoryjaxError, match=r"bad\.jpg, a photo of 'Ana'"):
        read_photos(cast.members[0])
    Image.new("RGB", (20, 20)).save(tmp_path / "good.png")
    both = read_cast(write(tmp_path, [{"name": "Ana", "photos": ["bad.jpg", "good.png"]}]))
    with caplog.at_level(logging.WARNING, "storyjax.notes"):
        paths, images = read_photos(both.members[0])
    assert ([path.name for path in paths], len(images)) == (["good.png"], 1)
    assert "bad.jpg, a photo of 'Ana', cannot be used" in caplog.text
    with pytest.raises(StoryjaxError, match=r"mute\.wav, a sample of the voice of 'Ana', is silent"):
        read_voices(cast.members[0])


def test_a_folder_of_voices(tmp_path: Path) -> None:
    cast = read_cast(write(tmp_path, [{"name": "Ana"}, {"name": "Ben"}]))
    voices = tmp_path / "voices"
    (voices / "Ana").mkdir(parents=True)
    with pytest.raises(StoryjaxError, match="holds no sound file for anybody"):
        cast.with_voices(voices)
    write_wav(voices / "Ana" / "1.wav", np.ones(16000) * 0.1)
    write_wav(voices / "Ben.wav", np.ones(16000) * 0.1)
    assert [len(m.voices) for m in cast.with_voices(voices).members] == [1, 1]
    with pytest.raises(StoryjaxError, match="is no folder"):
        cast.with_voices(tmp_path / "nowhere")
