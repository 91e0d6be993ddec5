"""What the frozen networks see, computed once: for training sets small enough to be looked at before training.

Image tower and face encoder give the same numbers every epoch. Where `config.data.embed_once` says so, every photo and
clip is decoded and embedded before the first step; a step then is the text tower's and the adaptor's alone. Frames are
taken at the same times in each epoch.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from tqdm import tqdm

from storyjax.clip_pad.data import Sizes, resize
from storyjax.clip_pad.model import ClipPad
from storyjax.core.errors import StoryjaxError
from storyjax.train.experiment import Params

_CHUNK = 32


class Bank:
    """Embeddings by record number, made when they are first asked for.

    Args:
        model: whose frozen parts look.
        params: gives all parameters of these parts, as a tree.
        sizes: of what they look at.
    """

    def __init__(self, model: ClipPad, params: Callable[[], Params], sizes: Sizes):
        self.sizes = sizes
        self._params, self._lock = params, threading.Lock()
        self._on_device: Params | None = None
        self._clips, self._faces = jax.jit(model.embed_clips), jax.jit(model.describe_faces)

    def _weights(self) -> Params:
        with self._lock:
            if self._on_device is None:
                self._on_device = jax.device_put(self._params())
            return self._on_device

    def clips(
        self, what: str, records: Sequence[int], read: Callable[[int], np.ndarray]
    ) -> dict[int, np.ndarray | StoryjaxError]:
        """The embedding (p,) of each record's frames (t, y, x, 3), or why the record is broken."""
        return self._look(what, records, read, lambda frames: self._clips(self._weights(), frames))

    def faces(
        self, what: str, records: Sequence[int], read: Callable[[int], np.ndarray]
    ) -> dict[int, np.ndarray | StoryjaxError]:
        """The description (e,) of each record's face (y, x, 3), of unit length, or why the record is broken."""

        def fitted(record: int) -> np.ndarray:
            return resize(read(record), self.sizes.face, self.sizes.face_crop)

        return self._look(what, records, fitted, lambda faces: self._faces(self._weights(), faces))

    @staticmethod
    def _look(what: str, records: Sequence[int], read: Callable, look: Callable) -> dict:
        def attempt(record: int) -> np.ndarray | StoryjaxError:
            try:
                return read(record)
            except StoryjaxError as error:
                return error

        found: dict[int, np.ndarray | StoryjaxError] = {}
        firsts = range(0, len(records), _CHUNK)
        with ThreadPoolExecutor() as pool:
            for first in tqdm(firsts, desc=f"looking at {what}", unit=f"{_CHUNK} of them"):
                part = list(records[first : first + _CHUNK])
                read_ones = list(pool.map(attempt, part))
                whole = [(r, image) for r, image in zip(part, read_ones, strict=True) if isinstance(image, np.ndarray)]
                found.update({r: e for r, e in zip(part, read_ones, strict=True) if isinstance(e, StoryjaxError)})
                if whole:
                    images = np.stack([image for _, image in whole])
                    filled = np.pad(images, [(0, _CHUNK - len(images)), *[(0, 0)] * (images.ndim - 1)])
                    seen = np.asarray(look(filled))
                    found.update({r: seen[row] for row, (r, _) in enumerate(whole)})
        return found
