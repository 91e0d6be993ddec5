"""The frozen networks' embeddings of a training set, computed once before training.

Image tower and face encoder give the same numbers every epoch. With `config.data.embed_once`, every photo and clip is
decoded and embedded before the first step, so that a step runs the text tower and the adaptor alone; frames then have
the same times in each epoch.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from tqdm import tqdm

from storyjax.clip_pad.data import Sizes
from storyjax.clip_pad.model import ClipPad
from storyjax.core.errors import StoryjaxError
from storyjax.train.experiment import Params

_CHUNK = 32


class FeatureCache:
    """Computes embeddings by record number.

    Args:
        model: with the frozen networks.
        params: returns all parameters of these networks, as a tree; called at the first use.
        sizes: of their inputs.
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
        """Returns the embedding (p,) of each record's frames (t, y, x, 3), or the error of a broken record.

        Args:
            what: the records' name, for the progress bar.
            read: record number -> frames.
        """
        return self._embed(what, records, read, lambda frames: self._clips(self._weights(), frames))

    def faces(
        self, what: str, records: Sequence[int], read: Callable[[int], np.ndarray]
    ) -> dict[int, np.ndarray | StoryjaxError]:
        """Returns the description (e,) of each record's face (y, x, 3), of unit length, or the record's error.

        Args:
            what: the records' name, for the progress bar.
            read: record number -> photo.
        """

        def resized(record: int) -> np.ndarray:
            return self.sizes.face_square(read(record))

        return self._embed(what, records, resized, lambda faces: self._faces(self._weights(), faces))

    @staticmethod
    def _embed(
        what: str,
        records: Sequence[int],
        read: Callable[[int], np.ndarray],
        embed: Callable[[np.ndarray], jax.Array],
    ) -> dict[int, np.ndarray | StoryjaxError]:
        def attempt(record: int) -> np.ndarray | StoryjaxError:
            try:
                return read(record)
            except StoryjaxError as error:
                return error

        found: dict[int, np.ndarray | StoryjaxError] = {}
        firsts = range(0, len(records), _CHUNK)
        with ThreadPoolExecutor() as pool:
            for first in tqdm(firsts, desc=f"embedding {what}", unit=f"{_CHUNK} of them"):
                part = list(records[first : first + _CHUNK])
                images_read = list(pool.map(attempt, part))
                readable = [
                    (r, image) for r, image in zip(part, images_read, strict=True) if isinstance(image, np.ndarray)
                ]
                found.update({r: e for r, e in zip(part, images_read, strict=True) if isinstance(e, StoryjaxError)})
                if readable:
                    images = np.stack([image for _, image in readable])
                    filled = np.pad(images, [(0, _CHUNK - len(images)), *[(0, 0)] * (images.ndim - 1)])
                    embedded = np.asarray(embed(filled))
                    found.update({r: embedded[row] for row, (r, _) in enumerate(readable)})
        return found
