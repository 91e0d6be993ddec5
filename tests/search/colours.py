"""A model that encodes colours only, and videos that change colour, so that a test knows what must be found when."""

import hashlib
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.search.protocol import PhotoError, PhotoNote, names_in

RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 200, 20), (20, 20, 220), (240, 240, 240)
WIDTH, DIM, SIZE = 8, 32, 8


class Colours:
    """A ConceptEncoder for which a person is a colour. A black photo shows no face, a half black one two."""

    width, dim, image_size, keep_aspect = WIDTH, DIM, SIZE, False

    def __init__(self, kind: str = "person", vision: str = "eye", weights: str = "colours", wait_s: float = 0.0):
        self.kind, self.vision_fingerprint, self.fingerprint = kind, vision, f"{weights}-{kind}"
        self.wait_s = wait_s
        self.embedded = 0
        self._basis = np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0][:, :WIDTH]

    def _features(self, images: np.ndarray) -> np.ndarray:
        colour = images.reshape(len(images), -1, 3).mean(1) / 255 - 0.4
        return np.concatenate([colour, np.zeros((len(images), WIDTH - 3))], 1)

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        assert images.shape[1:] == (SIZE, SIZE, 3)
        assert images.dtype == np.uint8
        time.sleep(self.wait_s)
        self.embedded += len(images)
        return self._unit(self._features(images))

    def _unit(self, features: np.ndarray) -> np.ndarray:
        out = features @ self._basis.T
        return (out / np.linalg.norm(out, axis=-1, keepdims=True)).astype(np.float32)

    def enrol(self, photos: Sequence[np.ndarray], category: str | None = None, progress=None, notes=None) -> np.ndarray:
        kept, errors = [], []
        for index, photo in enumerate(photos):
            dark = (photo.max(-1) < 10).mean()
            if dark > 0.9:
                errors.append(PhotoError(index, "shows no face"))
                notes(PhotoNote(index, "shows no face", left_out=True))
                continue
            if dark > 0.4:
                notes(PhotoNote(index, "shows 2 faces: the largest is taken"))
            kept.append(photo)
            if progress:
                progress(index + 1, len(photos))
        if not kept:
            raise errors[0]
        return np.stack([self._features(photo[None])[0] for photo in kept]).mean(0, keepdims=True).astype(np.float32)

    def embed_query(self, prompt: str, tokens: dict[str, np.ndarray], categories=None) -> np.ndarray:
        del categories
        if len(prompt.split()) > 20:
            raise StoryjaxError(f"the prompt has {len(prompt.split())} words, and the model reads 20: shorten it")
        if not names_in(prompt):  # words: those of colours
            words = {"red": RED, "green": GREEN, "blue": BLUE}
            colour = np.mean([words[word] for word in prompt.split() if word in words], axis=0)
            return self._unit(self._features(np.uint8(colour)[None, None, None])[0])
        return self._unit(sum(tokens[name][0] for name in names_in(prompt)))


def photo(path: Path, colour: tuple[int, int, int], size: int = 48) -> Path:
    Image.new("RGB", (size, size), colour).save(path)
    return path


def video(path: Path, colours: Sequence[tuple[int, int, int]], seconds_each: float = 2.0, fps: int = 8) -> Path:
    """A video that shows each colour for some seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        each = round(seconds_each * fps)
        for number in range(each * len(colours)):
            image = np.full((48, 64, 3), colours[number // each], np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def film(path: Path, image: np.ndarray) -> None:
    """A video of two seconds that shows one image."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *image.shape[1::-1], "yuv420p", 2_000_000
        for _ in range(16):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def contents(store) -> list[tuple]:
    """Everything in an index, sorted and without ids, for comparing two of them."""
    with store.reading() as db:
        rows = db.execute(
            "SELECT f.path, f.state, v.kind, v.clip, v.start_s, v.end_s, v.vector, s.jpeg FROM files f"
            " LEFT JOIN vectors v ON v.file = f.id LEFT JOIN stills s ON s.id = v.still"
        )
        return sorted(
            tuple(hashlib.md5(x).hexdigest() if isinstance(x, bytes) else str(x) for x in row) for row in rows
        )
