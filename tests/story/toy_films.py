"""Toy films for tests: squares of one colour each are people, in shots of one background; with networks that read them.

A person's face is the colour of the square: a tracker that finds squares and a describer that returns colours stand in
for the networks, so that what is tested is the pipeline.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from storyjax.story.describers import Describers
from storyjax.story.name_stage import NameNetworks
from storyjax.story.naming import Thresholds
from storyjax.story.options import StoryOptions
from storyjax.story.stages import Networks
from storyjax.story.trackers import Seen

WIDTH, HEIGHT, RATE = 96, 64, 10
RED, GREEN, BLUE = (220, 30, 30), (30, 200, 40), (40, 60, 230)
GROUNDS = ((15, 15, 15), (235, 235, 235), (120, 120, 120))
Shot = tuple[float, Sequence[tuple[tuple[int, int, int], int]]]  # seconds, and (colour, left edge) of each square


def write_film(path: Path, shots: Sequence[Shot], sound: bool = False) -> Path:
    """Writes a film of these shots; squares move to the right."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 2_000_000
        audio = out.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number, (seconds, squares) in enumerate(shots):
            for step in range(round(seconds * RATE)):
                image = np.full((HEIGHT, WIDTH, 3), GROUNDS[number % 3], np.uint8)
                for colour, left in squares:
                    image[20:44, left + step // 4 : left + step // 4 + 24] = colour
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
        if audio is not None:
            samples = np.zeros((1, round(16000 * sum(seconds for seconds, _ in shots))), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate = 16000
            out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path


def colour_of(pixels: np.ndarray) -> np.ndarray:
    """A colour as a vector of unit length without its brightness."""
    mean = pixels.reshape(-1, 3).astype(np.float32)
    mean = mean[np.argmax(mean.max(axis=1) - mean.min(axis=1))]
    return (mean - mean.min()) / max(np.linalg.norm(mean - mean.min()), 1e-6)


class Squares:
    """A tracker of squares."""

    name = "squares"

    def start(self, width: int, height: int) -> None:
        """Begins a shot."""

    def step(self, image: np.ndarray) -> list[Seen]:
        """Returns the squares, the track of each numbered by its colour."""
        found = []
        for number in range(3):
            other = np.delete(image.astype(int), number, axis=2).max(axis=2)
            inside = image[..., number] > other + 60
            if inside.sum() > 40:
                (top, bottom), (left, right) = ((int(v.min()), int(v.max()) + 1) for v in np.nonzero(inside))
                found.append(Seen(number, (left, top, right - left, bottom - top), 0.9, "person", "person"))
        return found


class Colours(Describers):
    """Describes faces and images by their colours."""

    face_fingerprint = "colours"  # type: ignore[assignment]
    image_fingerprint = "colours"  # type: ignore[assignment]

    def describe_faces(self, heads: Any, cut: bool = False) -> list:
        """Returns the strongest colour of each."""
        return [colour_of(images[0]) for images in heads]

    def embed_images(self, images: Any) -> np.ndarray:
        """Returns the strongest colour of each."""
        return np.array([colour_of(image) for image in images], np.float32).reshape(-1, 3)


class ToyNetworks(Networks):
    """The networks of toy films."""

    def __init__(self, options: StoryOptions):
        super().__init__(options)
        self.describers = Colours(options)

    tracker = Squares()  # type: ignore[assignment]

    @property
    def names(self) -> NameNetworks:  # type: ignore[override]
        """What naming compares."""
        return NameNetworks("colours", self.speech.voices.id, "colours", Thresholds(0.9, 0.77), 0.9)
