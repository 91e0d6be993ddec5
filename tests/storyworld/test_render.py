"""Pictures and videos of stories: always the same, plain in a single small frame, and whole on disk."""

import itertools
import subprocess
import sys
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from storyjax.storyworld.draw import sprites
from storyjax.storyworld.render.render import frame_times, render_frames, render_story
from storyjax.storyworld.story.cast import ACTIONS, KINDS, PEOPLE, PLACES, VEHICLES, phrases
from storyjax.storyworld.story.stage import shot_at
from storyjax.storyworld.story.story import Camera, Event, Performance, Story, StoryStyle, make_story

_SHORT = StoryStyle(event_seconds=1.0, event_jitter=0.1)


def _picture(performance: Performance, place: str = "park", seconds: float = 1.0) -> np.ndarray:
    """A story of one event, always on the same spot, seen by a tower: 64 x 64 pixels."""
    role = ACTIONS[performance.action].role
    event = Event(0.0, 3.0, role, place, (performance,))
    story = Story(1, (PEOPLE[performance.person],), (), (event,), (), Camera(0.0, 0.0, 10.0))
    frame = Image.fromarray(render_frames(story, [seconds])[0])
    return np.asarray(frame.resize((64, 64), Image.Resampling.BICUBIC), dtype=np.float32)


def _least_distance(groups: dict[object, list[np.ndarray]]) -> tuple[float, object]:
    """The smallest mean distance in grey levels between images of different groups, and between which."""
    pairs = itertools.combinations(groups, 2)
    return min((min(float(np.abs(x - y).mean()) for x in groups[a] for y in groups[b]), str((a, b))) for a, b in pairs)


def test_a_moment_always_looks_the_same():
    story = make_story(5)
    times = frame_times(story, 1)
    frames = render_frames(story, times)
    assert frames.shape == (len(times), 96, 96, 3)
    assert frames.dtype == np.uint8
    sprites.figure.cache_clear()
    sprites.background.cache_clear()
    backwards = render_frames(make_story(5), times[::-1])
    np.testing.assert_array_equal(frames, backwards[::-1])
    assert (frames[0] != render_frames(make_story(6), [0.0])[0]).any()


def test_every_action_and_thing_is_plain_in_any_frame():
    beats = (0.4, 0.75, 1.05)
    kinds = [phrase for role in ("neutral", "mishap", "reaction") for phrase in phrases(role)]
    groups = {kind: [_picture(Performance("leo", *kind), seconds=t) for t in beats] for kind in kinds}
    distance, closest = _least_distance(groups)
    assert distance > 3.0, closest


def test_people_places_and_vehicles_differ():
    people = {name: [_picture(Performance(name, "dance"))] for name in PEOPLE}
    distance, closest = _least_distance(people)
    assert distance > 3.0, closest
    rides = {
        (vehicle, place): [_picture(Performance("ana", "go", vehicle), place)]
        for vehicle in VEHICLES
        for place in PLACES
    }
    distance, closest = _least_distance(rides)
    assert distance > 8.0, closest


def test_faces_differ_whatever_people_wear(monkeypatch):
    clothes = {"shirt": (200, 60, 60), "trousers": (60, 60, 90)}
    monkeypatch.setattr(sprites, "EVERYONE", {name: replace(person, **clothes) for name, person in PEOPLE.items()})
    sprites.figure.cache_clear()
    faces = {name: [_picture(Performance(name, "sing"))] for name in PEOPLE}
    sprites.figure.cache_clear()
    distance, closest = _least_distance(faces)
    assert distance > 1.5, closest


def test_every_kind_of_thing_is_used_or_drawn():
    drawn = {thing for action in ACTIONS.values() for thing in action.things}
    assert set(KINDS) - drawn == set()


@pytest.mark.parametrize(("size", "fps"), [(96, 4), (64, 2)])
def test_a_video_shows_the_story(tmp_path, size, fps):
    story = make_story(3, _SHORT)
    path = tmp_path / "story.mp4"
    assert render_story(story, path, size, fps) == len(frame_times(story, fps))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.duration * stream.time_base) == pytest.approx(story.duration, abs=1 / fps)
        decoded = list(container.decode(video=0))
    times = frame_times(story, fps)
    assert [frame.time for frame in decoded] == pytest.approx(times)
    keys = [index for index, frame in enumerate(decoded) if frame.key_frame]
    assert max(later - key for key, later in itertools.pairwise([*keys, len(decoded)])) <= fps
    expected = render_frames(story, times, size).astype(np.float32)
    seen = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded]).astype(np.float32)
    # Half the colour resolution costs most of this; another frame of the same event is farther away.
    assert np.abs(seen - expected).mean() < 9.0
    assert np.abs(seen.mean(-1) - expected.mean(-1)).mean() < 5.0
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_story_gives_the_same_file(tmp_path):
    story = make_story(4, _SHORT)
    for name in ("a.mp4", "b.mp4"):
        render_story(story, tmp_path / name, size=64)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_failed_video_leaves_nothing_behind(tmp_path, monkeypatch):
    shots = itertools.count()

    def breaking(story, seconds):
        if next(shots) == 20:
            raise OSError("no space left on device")
        return shot_at(story, seconds)

    monkeypatch.setattr("storyjax.storyworld.render.render.shot_at", breaking)
    with pytest.raises(OSError, match="no space"):
        render_story(make_story(3, _SHORT), tmp_path / "story.mp4")
    assert list(tmp_path.iterdir()) == []


def test_the_world_is_rendered_without_jax():
    program = (
        "import sys, storyjax.storyworld.export.nextqa; sys.exit(bool({'jax', 'flax', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
