"""What a model must offer, so that people and things can be enrolled from photos and found by naming them.

CLIP-PAD (`storyjax/clip_pad`, people) and π-map (`storyjax/pi_map`, things) implement it; search knows no more of them.
Both leave CLIP's image tower frozen, so one index of images serves both.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.errors import StoryjaxError

PERSON, THING = "person", "thing"
# A name in a prompt stands between angle brackets: "An image of <ana> entering the room".
_NAMED = re.compile(r"<([^<>]*)>")


@runtime_checkable
class Personaliser(Protocol):
    """A model that turns photos of somebody, or something, into a word of its text tower.

    Attributes:
        vision_fingerprint: hash of the image tower and its projection; an index made by another is refused.
        fingerprint: hash of all weights; a gallery's token made by another is refused.
        kind: "person" or "thing".
        width: of the text tower's token embeddings.
        dim: of the space that images and texts share.
        image_size: side in pixels of the square images that `embed_images` takes.
    """

    vision_fingerprint: str
    fingerprint: str
    kind: str
    width: int
    dim: int
    image_size: int

    def embed_images(self, images: UInt8[np.ndarray, "n y x 3"]) -> Float32[np.ndarray, "n d"]:
        """Embeddings of unit length of RGB images (`image_size` pixels each side); batched inside."""
        ...

    def enrol(
        self,
        photos: Sequence[UInt8[np.ndarray, "y x 3"]],
        category: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Float32[np.ndarray, "c w"]:
        """The c >= 1 token embeddings that stand for who or what the RGB photos (of any size) show.

        `category` is the general word for a thing ("dog"); `progress(done, of)` is called while it works. Raises
        PhotoError for a photo that cannot serve, StoryjaxError for a category that the model cannot use.
        """
        ...

    def embed_query(self, prompt: str, tokens: Mapping[str, Float32[np.ndarray, "c w"]]) -> Float32[np.ndarray, " d"]:
        """The embedding of unit length of a prompt in which every `<name>` is a key of `tokens`.

        Raises StoryjaxError for a prompt longer than the text tower's context.
        """
        ...


class PhotoError(StoryjaxError):
    """A photo that cannot serve: none or several faces in it, too small. `index` counts the given photos from 0."""

    def __init__(self, index: int, reason: str):
        super().__init__(f"photo {index + 1} {reason}")
        self.index, self.reason = index, reason


def names_in(prompt: str) -> list[str]:
    """The names that stand between angle brackets in a prompt, in order, each once.

    >>> names_in("<ana> and <ben> dance, <ana> sings")
    ['ana', 'ben']
    """
    return list(dict.fromkeys(_NAMED.findall(prompt)))


def replace_names(prompt: str, replacement: Callable[[str], str]) -> str:
    """The prompt with every `<name>`, brackets and all, replaced by `replacement(name)`."""
    return _NAMED.sub(lambda match: replacement(match[1]), prompt)


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """A short hash of named arrays: of their names, shapes, precision and values, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name}|{array.shape}|{array.dtype}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
