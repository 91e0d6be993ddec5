"""Whom a segment shows: by CLIP-PAD's query, and by photos alone."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from standins import RATE, ColourMatcher

from storyjax.core.errors import StoryjaxError
from storyjax.search.protocol import PhotoError
from storyjax.storyworld.export.series import write_wav
from storyjax.storyworld.render.episode_video import write_video
from storyjax.subtitles.cast import Cast, Member
from storyjax.subtitles.faces import CastEmbeddings, Faces, RawFaceLabels, around
from storyjax.subtitles.records import EpisodeRecords, Face, Peaks
from storyjax.subtitles.timeline import Segment, Timeline

RED, BLUE, GREEN = (230, 20, 20), (20, 20, 230), (20, 200, 20)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    """Six seconds: a red image, then a blue one."""
    folder = tmp_path_factory.mktemp("video")
    frames = (np.full((64, 64, 3), RED if number < 75 else BLUE, np.uint8) for number in range(150))
    write_video(frames, np.full(6 * RATE, 0.01, np.float32), folder / "video.mp4", 64)
    return Timeline.open(folder / "video.mp4", folder / "video.s16")


@pytest.fixture
def records() -> EpisodeRecords:
    return EpisodeRecords(segments=[Segment(0.2, 2.8, "One."), Segment(3.2, 5.8, "Two."), Segment(5.9, 6.0, "Oh!")])


def member(folder: Path, name: str, colour: tuple[int, int, int]) -> Member:
    path = folder / f"{name}.png"
    Image.fromarray(np.full((40, 40, 3), colour, np.uint8)).save(path)
    return Member(name, name, (path,))


def test_faces_name_the_people_in_the_images(video: Timeline, records: EpisodeRecords, tmp_path: Path) -> None:
    cast = Cast((member(tmp_path, "Rhea", RED), member(tmp_path, "Bluma", BLUE), member(tmp_path, "Gus", GREEN)))
    records.peaks = [Peaks(0, ((1.0, 1.0, 0.9),)), Peaks(1, ((1.0, 1.0, 0.9),)), Peaks(2, ())]
    first, second = Faces(ColourMatcher, "x", cast, "video", frames=3).run(video, records)
    assert (first.segment, first.name, second.segment, second.name) == (0, "Rhea", 1, "Bluma")
    assert first.score > 0.99
    assert first.runner_up in ("Bluma", "Gus")
    stranger = Faces(ColourMatcher, "x", Cast(cast.members[2:]), "video", min_cosine=0.9, frames=3)
    assert [face.name for face in stranger.run(video, records)] == [None, None]
    only = Cast(cast.members, {"video": ("Rhea", "Gus")})
    assert Faces(ColourMatcher, "x", only, "video", frames=3).run(video, records)[1].best in ("Rhea", "Gus")


def test_around_a_peak_is_a_portrait_and_never_leaves_the_image() -> None:
    frames = np.arange(2 * 40 * 40 * 3, dtype=np.uint32).reshape(2, 40, 40, 3).astype(np.uint8)
    frames[:, 18, 10] = 255
    seen = around(frames, (18 / 40, 10 / 40), 20)
    assert seen.shape == (2, 20, 20, 3)
    assert (seen[:, 9, 10] == 255).all()
    for place in ((0.0, 0.0), (1.0, 1.0), (0.5, 1.0)):
        assert around(frames, place, 20).shape == (2, 20, 20, 3)
    np.testing.assert_array_equal(around(frames, (0.9, 0.1), 40), frames)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    """Two seconds of two people, red at the left and blue at the right."""
    folder = tmp_path_factory.mktemp("two")
    frames = [np.full((64, 64, 3), RED, np.uint8) for _ in range(50)]
    for frame in frames:
        frame[:, 32:] = BLUE
    write_video(iter(frames), np.full(2 * RATE, 0.01, np.float32), folder / "two.mp4", 64)
    return Timeline.open(folder / "two.mp4", folder / "two.s16")


@pytest.mark.parametrize("match", ["query", "photos"])
@pytest.mark.parametrize("crops", [(0.4,), (0.3, 0.4)])
def test_two_in_a_shot_are_told_apart_by_the_peak(match, crops, two: Timeline, tmp_path: Path) -> None:
    cast = Cast((member(tmp_path, "Rhea", RED), member(tmp_path, "Bluma", BLUE)))
    for x, name in ((0.2, "Rhea"), (0.8, "Bluma")):
        records = EpisodeRecords(segments=[Segment(0.2, 1.8, "One.")], peaks=[Peaks(0, ((0.5, x, 0.9),))])
        (face,) = Faces(ColourMatcher, "x", cast, "two", frames=2, crop_scales=crops, match_mode=match).run(
            two, records
        )
        assert face.name == name
        assert face.similarity > 0.9


class FacesOnly(ColourMatcher):
    """Has no queries, and remembers what it was shown."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def embed_query(self, prompt, tokens):
        raise AssertionError("nobody is asked for by name")

    def embed_images(self, images):
        raise AssertionError("no image is embedded as a whole")

    def describe_faces(self, faces):
        self.seen.append(faces)
        return np.stack([self._colours(face) for face in faces])


def test_photos_alone_tell_who_it_is_and_who_is_a_stranger(
    video: Timeline, records: EpisodeRecords, tmp_path: Path
) -> None:
    matcher = FacesOnly()
    cast = Cast((member(tmp_path, "Rhea", RED), member(tmp_path, "Gus", GREEN)))
    records.peaks = [Peaks(0, ((0.5, 0.5, 0.9),)), Peaks(1, ((0.5, 0.5, 0.9),))]
    stage = Faces(
        lambda: matcher, "x", cast, "video", min_cosine=0.6, frames=3, crop_scales=(0.5, 1.0), match_mode="photos"
    )
    first, second = stage.run(video, records)
    assert (first.name, first.best) == ("Rhea", "Rhea")
    assert second.name is None, "blue is nobody's colour"
    assert [faces.shape for faces in matcher.seen] == [(2 * 3 * 2, 16, 16, 3)]


def test_a_wide_image_is_not_squeezed(tmp_path: Path) -> None:
    frames = [np.full((32, 96, 3), BLUE, np.uint8) for _ in range(50)]
    for frame in frames:
        frame[:, 32:64] = RED
    write_wide(frames, tmp_path / "wide.mp4")
    matcher = FacesOnly()
    records = EpisodeRecords(segments=[Segment(0.2, 1.8, "One.")], peaks=[Peaks(0, ((0.5, 0.5, 0.9),))])
    timeline = Timeline.open(tmp_path / "wide.mp4", tmp_path / "wide.s16")
    cast = Cast((member(tmp_path, "Rhea", RED),))
    Faces(lambda: matcher, "x", cast, "wide", frames=1, crop_scales=(0.8,), match_mode="photos").run(timeline, records)
    (face,) = matcher.seen[0]
    assert (np.abs(face.astype(int) - RED).max(axis=2) < 40).all(), "all of the square is of the red middle"


def write_wide(frames: list[np.ndarray], path: Path) -> None:
    """A video that is three times as wide as high, with sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.height, video.width, video.pix_fmt = *frames[0].shape[:2], "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        sound = av.AudioFrame.from_ndarray(np.full((1, 2 * RATE), 0.01, np.float32), format="fltp", layout="mono")
        sound.sample_rate = RATE
        container.mux(audio.encode(sound))
        for stream in (video, audio):
            container.mux(stream.encode())


def test_by_photos_everybody_needs_one_or_a_voice(video: Timeline, records: EpisodeRecords, tmp_path: Path) -> None:
    records.peaks = [Peaks(0, ((0.5, 0.5, 0.9),))]
    red, unseen = member(tmp_path, "Rhea", RED), Member("Gus", "Gus")
    with pytest.raises(StoryjaxError, match="'Gus' has no photo, and faces are matched by photos: add one"):
        Faces(FacesOnly, "x", Cast((red, unseen)), "video", match_mode="photos").run(video, records)
    heard = Member("Gus", "Gus", voices=(tmp_path / "gus.wav",))
    (face,) = Faces(FacesOnly, "x", Cast((red, heard)), "video", match_mode="photos").run(video, records)
    assert (face.best, face.runner_up) == ("Rhea", None)
    assert Faces(FacesOnly, "x", Cast((heard,)), "video", match_mode="photos").run(video, records) == []


def test_photos_and_queries_are_known_apart(video: Timeline, records: EpisodeRecords, tmp_path: Path) -> None:
    class Turned(ColourMatcher):
        def embed_query(self, prompt, tokens):
            return super().embed_query(prompt, tokens)[::-1].copy()

    cast = Cast((member(tmp_path, "Rhea", RED), member(tmp_path, "Bluma", BLUE)))
    records.peaks = [Peaks(0, ((0.5, 0.5, 0.9),))]
    known: CastEmbeddings = {}
    for match in ("photos", "query"):
        Faces(Turned, "x", cast, "video", frames=2, match_mode=match, cast_embeddings=known).run(video, records)
    rhea = cast.members[0]
    np.testing.assert_array_equal(known["photos", rhea][::-1], known["query", rhea])


def test_every_segment_has_a_raw_label_whatever_its_peaks(
    video: Timeline, records: EpisodeRecords, tmp_path: Path
) -> None:
    cast = Cast((member(tmp_path, "Rhea", RED), member(tmp_path, "Bluma", BLUE)))
    records.segments = 2 * records.segments
    records.peaks = [Peaks(1, ((0.5, 0.5, 0.9),))]
    made = RawFaceLabels(ColourMatcher, "x", cast, "video", frames=2).run(video, records)
    assert [label.segment for label in made] == list(range(6)), "more than are looked at together"
    assert [label.best for label in made] == ["Rhea", "Bluma", "Bluma"] * 2


def test_people_are_enrolled_once_for_all_episodes(video: Timeline, records: EpisodeRecords, tmp_path: Path) -> None:
    enrolled = []

    class Counting(ColourMatcher):
        def enrol(self, photos, *, notes=None):
            enrolled.append(len(photos))
            return super().enrol(photos, notes=notes)

    cast = Cast((member(tmp_path, "Rhea", RED), member(tmp_path, "Bluma", BLUE)), {"first": ("Rhea",)})
    records.peaks = [Peaks(0, ((0.5, 0.5, 0.9),))]
    known: CastEmbeddings = {}
    for episode in ("first", "second", "third"):
        (face,) = Faces(Counting, "x", cast, episode, frames=2, cast_embeddings=known).run(video, records)
        assert face.best == "Rhea"
    assert len(enrolled) == 2


def test_a_photo_without_a_face_is_named(video: Timeline, records: EpisodeRecords, tmp_path: Path) -> None:
    class Strict(ColourMatcher):
        def enrol(self, photos, *, notes=None):
            raise PhotoError(0, "shows no face that can be found: choose another, or crop it to the face")

    cast = Cast((member(tmp_path, "Rhea", RED),))
    records.peaks = [Peaks(0, ((1.0, 1.0, 0.9),))]
    with pytest.raises(StoryjaxError, match=r"Rhea\.png, a photo of 'Rhea', shows no face"):
        Faces(Strict, "x", cast, "video").run(video, records)


def test_without_images_nobody_is_seen(tmp_path: Path, records: EpisodeRecords) -> None:
    write_wav(tmp_path / "a.wav", np.ones(RATE * 6) * 0.1)
    timeline = Timeline.open(tmp_path / "a.wav", tmp_path / "a.s16")
    records.peaks = [Peaks(0, ((0.5, 0.5, 0.9),))]
    cast = Cast((Member("A", "Ana"),))
    assert Faces(ColourMatcher, "x", cast, "a").run(timeline, records) == []
    assert RawFaceLabels(ColourMatcher, "x", cast, "a").run(timeline, records) == []


def test_without_photos_somebody_is_asked_for_by_name_and_names_are_no_markup(tmp_path: Path) -> None:
    asked = []

    class Listening(ColourMatcher):
        def embed_query(self, prompt, tokens):
            asked.append((prompt, list(tokens)))
            return super().embed_query(prompt, tokens)

    cast = Cast((Member("A", "Ana <x> *TOK*"), Member("B", "<>")))
    stage = Faces(Listening, "x", cast, "video")
    assert stage._cast_vectors.shape == (2, 64)
    assert asked == [("an image of Ana x TOK", []), ("an image of somebody", [])]


def test_faces_round_trip_as_rows() -> None:
    face = Face(1, None, "Ana", 0.5, 0.2, None, 0.0)
    assert Face(*[getattr(face, f) for f in face.__dataclass_fields__]) == face
