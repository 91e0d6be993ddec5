"""A short series with simple stand-ins for the networks, shared by the tests of this folder."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from standins import CorrelatingSync, NoLaughter, SpectralVoices, peaks

from storyjax.storyworld.export.series import export_series
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.pipeline import Networks
from storyjax.weights.pretrained import Pretrained


class ColourMatcher:
    """Knows people by the colours of their photos."""

    image_size = 32

    def enrol(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        return np.mean([self._colours(np.asarray(photo)) for photo in photos], axis=0)[None]

    def embed_query(self, prompt: str, tokens: Mapping[str, np.ndarray]) -> np.ndarray:
        vector = tokens["somebody"][0] if tokens else np.ones(64, np.float32)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        return np.stack([self._colours(image) for image in images])

    def describe_photos(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        return self.enrol(photos)[0]

    def as_face(self, crop: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(crop).resize((16, 16)))

    def describe_faces(self, faces: np.ndarray) -> np.ndarray:
        return self.embed_images(faces)

    @staticmethod
    def _colours(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        middle = image[height // 4 :, width // 4 : -width // 4].reshape(-1, 3) // 64
        counts = np.bincount(middle @ np.array([16, 4, 1]), minlength=64).astype(np.float32)
        return counts / np.linalg.norm(counts)


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
