"""The stages one by one: each gives what it promises on sounds and pictures made for it."""

from pathlib import Path

import numpy as np
import pytest
from conftest import ColourFinder
from PIL import Image
from standins import FPS, RATE, CorrelatingSync, SpectralVoices, peaks

from storyjax.errors import StoryjaxError
from storyjax.search.personal import PhotoError
from storyjax.storyworld.episode_film import write_film
from storyjax.storyworld.series import write_wav
from storyjax.subtitles.cast import Cast, Member
from storyjax.subtitles.stages import (
    Face,
    Faces,
    Guesses,
    Laugh,
    Laughter,
    Peaks,
    Products,
    Synchronisation,
    VoicePrints,
    around,
    find_laughs,
    network_source,
)
from storyjax.subtitles.timeline import Segment, Timeline

RED, BLUE, GREEN = (230, 20, 20), (20, 20, 230), (20, 200, 20)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    """Six seconds: a red picture, then a blue one, with one spot that follows the sound in the first and none after."""
    folder = tmp_path_factory.mktemp("film")
    rng = np.random.default_rng(0)
    loud = np.clip(np.convolve(rng.random(6 * FPS), np.ones(3) / 3, "same") * 2 - 0.6, 0, 1)
    wave = (np.repeat(loud, RATE // FPS) * 0.3 * rng.standard_normal(6 * RATE)).astype(np.float32)

    def frames():
        for number in range(6 * FPS):
            frame = np.full((64, 64, 3), RED if number < 3 * FPS else BLUE, np.uint8)
            if number < 3 * FPS:
                frame[28:36, 40:48] = 255 * loud[number] ** 0.7
            yield frame

    write_film(frames(), wave, folder / "film.mp4", 64)
    return Timeline.open(folder / "film.mp4", folder / "film.s16")


@pytest.fixture
def products() -> Products:
    return Products(segments=[Segment(0.2, 2.8, "One."), Segment(3.2, 5.8, "Two."), Segment(5.9, 6.0, "Oh!")])


def test_laughs_are_long_enough_stretches_above_the_threshold() -> None:
    times = np.arange(0, 4, 0.1)
    sure = np.zeros(40)
    sure[5:10], sure[20], sure[38:] = 0.9, 0.95, 0.85
    assert find_laughs(times, sure, 0.8, 0.2) == [Laugh(0.5, 1.0, 0.9), Laugh(3.8, 4.0, 0.85)]
    assert find_laughs(times, sure, 0.92, 0.05) == [Laugh(2.0, 2.1, 0.95)]
    assert find_laughs(times[:1], sure[:1], 0.8, 0.1) == []


def test_laughter_of_a_long_film_is_found_once_and_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storyjax.subtitles.stages._LAUGH_BLOCK_S", 5.0)
    wave = np.full(18 * RATE, 0.01, np.float32)
    wave[round(4.7 * RATE) : round(5.6 * RATE)] = 0.5  # across the border of two blocks
    wave[17 * RATE : round(17.8 * RATE)] = 0.5
    write_wav(tmp_path / "a.wav", wave)

    class Loudness:
        def probabilities(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            count = int(len(wave) / RATE / 0.1)
            hop = RATE // 10
            return np.arange(count) * 0.1, (wave[: count * hop].reshape(count, hop).mean(axis=1) > 0.2) * 0.99

    stage = Laughter(Loudness, "x")
    found = stage.run(Timeline.open(tmp_path / "a.wav", tmp_path / "a.s16"), Products())
    assert [(laugh.start, laugh.end) for laugh in found] == [
        (pytest.approx(4.7, abs=0.11), pytest.approx(5.6, abs=0.11)),
        (pytest.approx(17.0, abs=0.11), pytest.approx(17.8, abs=0.11)),
    ]


def test_one_peak_is_a_speaker_and_segments_with_laughter_are_left_out(film: Timeline, products: Products) -> None:
    stage = Synchronisation(CorrelatingSync, peaks, "x", 64)
    one, two, short = stage.run(film, products)
    assert [len(p.peaks) for p in (one, two, short)] == [1, 0, 0]
    (y, x, score) = one.peaks[0]
    assert (y, x) == (pytest.approx(32 / 64, abs=0.1), pytest.approx(44 / 64, abs=0.1))
    assert score > 0.5
    products.laughs = [Laugh(0.5, 1.2, 0.9)]
    assert [p.segment for p in stage.run(film, products)] == [1, 2]
    assert products.laughed_at == {0}


def test_long_segments_are_looked_at_in_pieces(film: Timeline, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Products(segments=[Segment(0.0, 3.0, "One.")])
    (at_once,) = Synchronisation(CorrelatingSync, peaks, "x", 64).run(film, whole)
    monkeypatch.setattr("storyjax.subtitles.stages._LOOK_S", 1.2)
    (in_pieces,) = Synchronisation(CorrelatingSync, peaks, "x", 64).run(film, whole)
    assert in_pieces.peaks[0][:2] == at_once.peaks[0][:2]


def member(folder: Path, name: str, colour: tuple[int, int, int]) -> Member:
    path = folder / f"{name}.png"
    Image.fromarray(np.full((40, 40, 3), colour, np.uint8)).save(path)
    return Member(name, name, (path,))


def test_faces_name_whom_the_pictures_show(film: Timeline, products: Products, tmp_path: Path) -> None:
    cast = Cast((member(tmp_path, "Rhea", RED), member(tmp_path, "Bluma", BLUE), member(tmp_path, "Gus", GREEN)))
    products.peaks = [Peaks(0, ((1.0, 1.0, 0.9),)), Peaks(1, ((1.0, 1.0, 0.9),)), Peaks(2, ())]
    first, second = Faces(ColourFinder, "x", cast, "film", frames=3).run(film, products)
    assert (first.segment, first.name, second.segment, second.name) == (0, "Rhea", 1, "Bluma")
    assert first.score > 0.99
    assert first.runner_up in ("Bluma", "Gus")
    stranger = Faces(ColourFinder, "x", Cast(cast.members[2:]), "film", least=0.9, frames=3)
    assert [face.name for face in stranger.run(film, products)] == [None, None]
    only = Cast(cast.members, {"film": ("Rhea", "Gus")})
    assert Faces(ColourFinder, "x", only, "film", frames=3).run(film, products)[1].best in ("Rhea", "Gus")


def test_around_a_peak_is_a_portrait_and_never_leaves_the_picture() -> None:
    frames = np.arange(2 * 40 * 40 * 3, dtype=np.uint32).reshape(2, 40, 40, 3).astype(np.uint8)
    frames[:, 18, 10] = 255
    seen = around(frames, (18 / 40, 10 / 40), 20)
    assert seen.shape == (2, 20, 20, 3)
    assert (seen[:, 9, 10] == 255).all()
    for place in ((0.0, 0.0), (1.0, 1.0), (0.5, 1.0)):
        assert around(frames, place, 20).shape == (2, 20, 20, 3)
    np.testing.assert_array_equal(around(frames, (0.9, 0.1), 40), frames)


def test_two_in_a_shot_are_told_apart_by_the_peak(tmp_path: Path) -> None:
    frames = [np.full((64, 64, 3), RED, np.uint8) for _ in range(50)]
    for frame in frames:
        frame[:, 32:] = BLUE
    write_film(iter(frames), np.full(2 * RATE, 0.01, np.float32), tmp_path / "two.mp4", 64)
    timeline = Timeline.open(tmp_path / "two.mp4", tmp_path / "two.s16")
    cast = Cast((member(tmp_path, "Rhea", RED), member(tmp_path, "Bluma", BLUE)))
    for x, name in ((0.2, "Rhea"), (0.8, "Bluma")):
        products = Products(segments=[Segment(0.2, 1.8, "One.")], peaks=[Peaks(0, ((0.5, x, 0.9),))])
        (face,) = Faces(ColourFinder, "x", cast, "two", frames=2, crop=0.4).run(timeline, products)
        assert face.name == name


def test_every_segment_is_guessed_at_whatever_its_peaks(film: Timeline, products: Products, tmp_path: Path) -> None:
    cast = Cast((member(tmp_path, "Rhea", RED), member(tmp_path, "Bluma", BLUE)))
    products.segments = 2 * products.segments
    products.peaks = [Peaks(1, ((0.5, 0.5, 0.9),))]
    made = Guesses(ColourFinder, "x", cast, "film", frames=2).run(film, products)
    assert [guess.segment for guess in made] == list(range(6)), "more than are looked at together"
    assert [guess.best for guess in made] == ["Rhea", "Bluma", "Bluma"] * 2


def test_people_are_enrolled_once_for_all_episodes(film: Timeline, products: Products, tmp_path: Path) -> None:
    enrolled = []

    class Counting(ColourFinder):
        def enrol(self, photos):
            enrolled.append(len(photos))
            return super().enrol(photos)

    cast = Cast((member(tmp_path, "Rhea", RED), member(tmp_path, "Bluma", BLUE)), {"first": ("Rhea",)})
    products.peaks = [Peaks(0, ((0.5, 0.5, 0.9),))]
    known: dict = {}
    for episode in ("first", "second", "third"):
        (face,) = Faces(Counting, "x", cast, episode, frames=2, known=known).run(film, products)
        assert face.best == "Rhea"
    assert len(enrolled) == 2


def test_a_photo_without_a_face_is_named(film: Timeline, products: Products, tmp_path: Path) -> None:
    class Strict(ColourFinder):
        def enrol(self, photos):
            raise PhotoError(0, "shows no face that can be found: choose another, or crop it to the face")

    cast = Cast((member(tmp_path, "Rhea", RED),))
    products.peaks = [Peaks(0, ((1.0, 1.0, 0.9),))]
    with pytest.raises(StoryjaxError, match=r"Rhea\.png, a photo of 'Rhea', shows no face"):
        Faces(Strict, "x", cast, "film").run(film, products)


def test_without_photos_somebody_is_asked_for_by_name_and_names_are_no_markup(tmp_path: Path) -> None:
    asked = []

    class Listening(ColourFinder):
        def embed_query(self, prompt, tokens):
            asked.append((prompt, list(tokens)))
            return super().embed_query(prompt, tokens)

    cast = Cast((Member("A", "Ana <x> *TOK*"), Member("B", "<>")))
    stage = Faces(Listening, "x", cast, "film")
    assert stage._queries.shape == (2, 64)
    assert asked == [("an image of Ana x TOK", []), ("an image of somebody", [])]


def test_every_segment_has_a_voice_of_unit_length_and_silence_none(film: Timeline, products: Products) -> None:
    products.segments.append(Segment(7.0, 8.0, "After the end."))
    rows = VoicePrints(SpectralVoices, "x").run(film, products)
    assert [row.segment for row in rows] == [0, 1, 2, 3]
    products.voices = rows
    lengths = np.linalg.norm(products.vectors(), axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 1, 0], atol=1e-4)


def test_sound_alone_has_no_pictures(tmp_path: Path, products: Products) -> None:
    write_wav(tmp_path / "a.wav", np.ones(RATE * 6) * 0.1)
    timeline = Timeline.open(tmp_path / "a.wav", tmp_path / "a.s16")
    assert not timeline.has_video
    assert Synchronisation(CorrelatingSync, peaks, "x").run(timeline, products) == []
    assert Faces(ColourFinder, "x", Cast(()), "a").run(timeline, products) == []
    assert Guesses(ColourFinder, "x", Cast((Member("A", "Ana"),)), "a").run(timeline, products) == []


def test_faces_round_trip_as_rows() -> None:
    face = Face(1, None, "Ana", 0.5, 0.2, None, 0.0)
    assert Face(*[getattr(face, f) for f in face.__dataclass_fields__]) == face


def test_another_network_in_the_same_place_is_another_source(tmp_path: Path) -> None:
    assert network_source(str(tmp_path)) == str(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = network_source(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"another")
    assert first != network_source(str(tmp_path)) != str(tmp_path)
    assert network_source("shipped:storyworld_sync").startswith("shipped:storyworld_sync (")
