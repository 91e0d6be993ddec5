"""StoryVideoCache is made once, and a world that looks otherwise gets videos of its own."""

from pathlib import Path

from storyjax.storyworld.render import video_cache
from storyjax.storyworld.render.video_cache import StoryVideoCache


def test_videos_are_rendered_once_and_show_their_stories(tmp_path: Path, monkeypatch) -> None:
    films = StoryVideoCache(tmp_path, "val", {"val": 1})
    take = films[0]
    assert len(films) == 1
    assert take.story.seed == video_cache.FIRST_SEED["val"]
    made = Path(take.video).stat().st_mtime_ns
    assert Path(StoryVideoCache(tmp_path, "val", {"val": 1})[0].video).stat().st_mtime_ns == made
    monkeypatch.setattr(video_cache, "fingerprint", lambda asked: "another")
    assert StoryVideoCache(tmp_path, "val", {"val": 1})[0].video != take.video
