"""A short series with simple stand-ins for the networks, shared by the tests of this folder."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from standins import ColourMatcher, CorrelatingSync, NoLaughter, SpectralVoices, peaks

from storyjax.storyworld.export.series import export_series
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.networks import Networks
from storyjax.weights.pretrained import Pretrained


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes of half a minute."""
    return export_series(tmp_path_factory.mktemp("world") / "series", episodes=2, seconds=30.0, photos=2)


@pytest.fixture(scope="session")
def videos(series: Path) -> list[Path]:
    return sorted((series / "video" / "StoryWorld").glob("*.mp4"))


@pytest.fixture(scope="session")
def transcripts(series: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What is said in each episode, with its times, as a person would bring it along."""
    folder, found = tmp_path_factory.mktemp("transcripts"), {}
    for truth in sorted((series / "truth").glob("*.json")):
        path = folder / f"{truth.stem}.json"
        path.write_text(json.dumps({"segments": json.loads(truth.read_text())["lines"]}))
        found[truth.stem] = path
    return found


@pytest.fixture
def networks() -> Networks:
    def no_recogniser():
        raise AssertionError("a transcript was given: nothing is to be recognised")

    return Networks(no_recogniser, NoLaughter, CorrelatingSync, peaks, SpectralVoices, ColourMatcher)


@pytest.fixture
def config() -> SubtitleConfig:
    return SubtitleConfig(
        speaker_encoder=Pretrained("a"),
        laughter=Pretrained("b"),
        lwtnet=Pretrained("c"),
        clip_pad=Pretrained("d"),
        min_cosine=0.0,
        distance=0.6,
    )
