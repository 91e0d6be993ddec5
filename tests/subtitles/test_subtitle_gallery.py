"""Subtitles with a gallery: its people are the cast, by voices and by faces, and what is learnt of voices goes back."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from standins import ColourMatcher

from storyjax.cli import main
from storyjax.core.errors import StoryjaxError
from storyjax.data.images import read_image
from storyjax.gallery.gallery import Gallery
from storyjax.subtitles import command
from storyjax.subtitles.annotations import read_annotations
from storyjax.subtitles.cast import Member, read_cast
from storyjax.subtitles.faces import portrait_embedding, query_embedding
from storyjax.subtitles.gallery_voices import cast_of_gallery, known_voices, remember, taught_by_recordings
from storyjax.subtitles.rename import name_speakers
from storyjax.subtitles.voices import Encoder, Voice, Voices, read_voices_file

ENCODER = Encoder("a", "a")


@pytest.fixture
def ask(videos, transcripts, config, networks, tmp_path: Path):
    """Subtitles of an episode by a gallery, with the stand-ins; `seen`: whether images may be looked at."""

    def unwanted():
        raise AssertionError("voices alone are needed")

    def ask(number: int, out: str, seen: bool = False, **given):
        used = networks if seen else dataclasses.replace(networks, sync=unwanted, face_matcher=unwanted)
        video = videos[number]
        places = {"transcripts": [str(transcripts[video.stem])], "cache_dir": str(tmp_path / "work")}
        request = command.Request([str(video)], out=str(tmp_path / out), encoder=ENCODER, **places, **given)
        return command.run(request, config, used)[0][1]

    return ask


def test_named_speakers_are_taught_and_known_again(ask, tmp_path: Path, capsys) -> None:
    folder, one = str(tmp_path / "gallery"), str(tmp_path / "one.srt")
    first = ask(0, "one.srt", gallery=folder, speakers=3)
    assert {line.name for line in first.lines} == {"Speaker 1", "Speaker 2", "Speaker 3"}
    told = main.run(["subtitle", "name", one, "Speaker 1=Ana", "Speaker 2=Ben", "--gallery", folder])
    assert (told, "knows the voice of Ana, Ben" in capsys.readouterr().out) == (0, True)
    gallery = Gallery(folder)
    voices = known_voices(gallery, ENCODER).voices
    sidecar = read_voices_file(tmp_path / "one.speakers.json").voices
    assert set(sidecar) == {"Ana", "Ben", "Speaker 3"}
    np.testing.assert_allclose(voices["Ana"].vector, sidecar["Ana"].vector, atol=1e-5)
    assert voices["Ana"].seconds == pytest.approx(sidecar["Ana"].seconds, abs=1e-3)
    again = ask(0, "again.srt", gallery=folder, speakers=3)
    for old, new in zip(first.lines, again.lines, strict=True):
        assert new.name == {"Speaker 1": "Ana", "Speaker 2": "Ben"}.get(old.name, new.name)
    assert "no longer 'Ana'" in name_speakers(one, ["Ana=Zoe"], gallery=folder)
    assert [entry.name for entry in gallery.entries()] == ["Ben", "Zoe"]  # nothing else was known of Ana
    name_speakers(one, ["Zoe=Ben", "Ben=Zoe"], gallery=folder)
    swapped = known_voices(gallery, ENCODER).voices
    np.testing.assert_allclose(swapped["Ben"].vector, voices["Ana"].vector, atol=1e-5)
    np.testing.assert_allclose(swapped["Zoe"].vector, voices["Ben"].vector, atol=1e-5)
    gallery.create("chia", "thing", "dog")
    before = Path(one).read_text()
    for wrong, message in ((["Ben=chia"], "'chia' is a dog"), (["Ben=a/b"], "holds '/'")):
        with pytest.raises(StoryjaxError, match=message):
            name_speakers(one, wrong, gallery=folder)
    with pytest.raises(StoryjaxError, match="leave it or --voices out"):
        name_speakers(one, ["Ben=Ana"], "voices.json", gallery=folder)
    assert Path(one).read_text() == before
    assert main.run(["subtitle", "forget", "Ben", "--gallery", folder]) == 2


def test_people_are_known_by_face_and_their_voices_flow_back(ask, series, videos, tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    for member in read_cast(series / "cast.json").members:
        gallery.create(member.name, "person", pictures=[read_image(photo) for photo in member.photos])
    folder = {"gallery": str(gallery.folder)}
    made = ask(0, "one.json", True, teach=True, **folder)
    truth = read_annotations(series, "StoryWorld")[0]
    named = [(line.name, true.speaker) for line, true in zip(made.lines, truth.lines, strict=True) if line.name]
    assert len(named) > len(made.lines) / 3
    assert np.mean([name == speaker for name, speaker in named]) > 0.3  # by chance one of five
    taught = known_voices(gallery, ENCODER).voices
    assert set(taught) == {line.name for line in made.lines if line.step == "exemplar"} & set(taught) != set()
    source = gallery.evidence(gallery.get(next(iter(taught))))[-1].source
    assert source == f"film:{videos[0].stem}#speech"
    for entry in gallery.entries():
        if entry.name not in taught:
            gallery.forget(entry.name)
    later = ask(1, "two.srt", **folder)  # now by voices, and no image is looked at
    assert {line.name for line in later.lines} & set(taught)


def test_what_stands_beside_a_gallery(ask, series, tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    gallery.create("Ana", "person")
    folder = {"gallery": str(gallery.folder)}
    with pytest.raises(StoryjaxError, match="leave it or --cast out"):
        ask(0, "one.srt", cast=str(series / "cast.json"), **folder)
    with pytest.raises(StoryjaxError, match="a folder with --voices out"):
        ask(0, "one.srt", voices=str(tmp_path), **folder)
    assert cast_of_gallery(gallery, ENCODER).members == ()
    voices = Voices(ENCODER, {"Ana": Voice(np.eye(5, dtype=np.float32)[0], 3.0)})
    (tmp_path / "voices.json").write_text(voices.text())  # of earlier versions
    (row,) = taught_by_recordings("ana", [str(tmp_path / "voices.json")], "a")
    assert (row.source, tuple(row.seconds)) == ("voices.json", (3.0,))
    with pytest.raises(StoryjaxError, match="knows nobody called 'Anna'"):
        taught_by_recordings("Anna", [str(tmp_path / "voices.json")], "a")
    remember(gallery, voices, "film")
    (member,) = cast_of_gallery(gallery, ENCODER).members
    assert member.voice is not None
    assert cast_of_gallery(gallery, Encoder("other", "other")).members == ()


def test_vectors_of_the_matchers_network_serve_in_place_of_photos() -> None:
    class Matcher(ColourMatcher):
        fingerprint, photo_fingerprint = "tokens", "faces"

        def embed_query(self, prompt: str, tokens: dict[str, np.ndarray]) -> np.ndarray:
            return tokens["somebody"][0]

    face, token = np.eye(2, dtype=np.float32), np.full((1, 3), 7, np.float32)
    known = {("face", "faces"): 2 * face, ("face", "others"): -face, ("token", "tokens"): token}
    ana = Member("Ana", "Ana", vectors=known)
    np.testing.assert_allclose(portrait_embedding(Matcher(), ana), np.full(2, 0.5**0.5), atol=1e-6)
    assert np.array_equal(query_embedding(Matcher(), ana), token[0])
