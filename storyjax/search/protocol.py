"""The protocol of models that enrol people or things from photos and embed queries that name them.

CLIP-PAD (`storyjax/clip_pad`, people) and π-map (`storyjax/pi_map`, things) implement it, and so do the thesis's
baselines of both, for which published networks need no training. All leave CLIP's image tower frozen, so one index of
images serves both chapters.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.gallery.record import PERSON as PERSON
from storyjax.gallery.record import THING as THING

# Kinds of model besides PERSON and THING; TEXT knows words only (clip_encoder.py), IMAGES is whatever fills an index.
TEXT, IMAGES = "text", "images"
# A name in a prompt stands between angle brackets: "An image of <ana> entering the room".
_NAMED = re.compile(r"<([^<>]*)>")


@runtime_checkable
class ConceptEncoder(Protocol):
    """A model that turns photos of a person or thing into token embeddings of its text tower.

    Attributes:
        kind: "person", "thing" or "text".
        width: of the text tower's token embeddings.
        dim: of the common space of images and texts.
        image_size: side in pixels of the square images that `embed_images` takes.
        keep_aspect: whether those are the central squares of images, as of the published networks, or whole images
            without their aspect ratio (`storyjax.data.images.square_area`).
    """

    kind: str
    width: int

    @property
    def dim(self) -> int:
        """Width of the common space of images and texts."""
        ...

    @property
    def image_size(self) -> int:
        """Side in pixels of the square images that `embed_images` takes."""
        ...

    @property
    def keep_aspect(self) -> bool:
        """Whether those are central squares of images; see above."""
        ...

    @property
    def vision_fingerprint(self) -> str:
        """Hash of the image tower and its projection; an index made by another is refused."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of all weights; a gallery's token made by another is refused."""
        ...

    def embed_images(self, images: UInt8[np.ndarray, "n y x 3"]) -> Float32[np.ndarray, "n d"]:
        """Returns the embeddings, of unit length, of RGB images (`image_size` pixels each side); batched inside."""
        ...

    def enrol(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        category: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        notes: "Notes | None" = None,
    ) -> Float32[np.ndarray, "c w"]:
        """Returns the c >= 1 token embeddings of the person or thing in the photos.

        Args:
            photos: RGB, of any size.
            category: of a thing, "dog"; None for a person.
            progress: called with (done, of how many).
            notes: called with what there is to say of single photos. A photo that cannot be used is then left out;
                without it, it is an error.

        Raises:
            PhotoError: a photo cannot be used; with `notes`, none of them can, and the error is the first one's.
            StoryjaxError: the model cannot use the category.
        """
        ...

    def embed_query(
        self,
        prompt: str,
        tokens: Mapping[str, Float32[np.ndarray, "c w"]],
        categories: Mapping[str, str] | None = None,
    ) -> Float32[np.ndarray, " d"]:
        """Returns the embedding, of unit length, of a prompt in which every `<name>` is a key of `tokens`.

        Args:
            prompt: with names between < and >.
            tokens: what `enrol` returned, by name.
            categories: of things, by name ("dog"): the word that a text tower reads which knows no tokens.

        Raises:
            StoryjaxError: the prompt is longer than the text tower's context.
        """
        ...


@runtime_checkable
class FaceEncoder(Protocol):
    """Finds the faces in images and describes them.

    Attributes:
        dim: of a description.
    """

    dim: int

    @property
    def fingerprint(self) -> str:
        """Hash of all weights."""
        ...

    def crops_in(self, image: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "k s s 3"]:
        """Returns the faces in an RGB image of any size, as the encoder takes them."""
        ...

    def describe(self, faces: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n e"]:
        """Returns the descriptions, of unit length, of such faces; batched inside."""
        ...


@runtime_checkable
class PhotoEncoder(Protocol):
    """A `ConceptEncoder` that can also say what each photo shows, in vectors that are compared with those of tracks.

    Attributes:
        photo_role: the vectors' role in a gallery: "face" of people, "image" of things.
    """

    photo_role: str

    @property
    def photo_fingerprint(self) -> str:
        """Hash of the network that makes the vectors."""
        ...

    def photo_vectors(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        category: str | None = None,
        notes: "Notes | None" = None,
    ) -> tuple[Float32[np.ndarray, "n d"], list[int]]:
        """Returns a vector of unit length for each photo that can be used, and the numbers of those photos.

        Raises:
            PhotoError: a photo cannot be used; with `notes`, none of them can.
        """
        ...


def faces_of(encoder: ConceptEncoder) -> FaceEncoder | None:
    """Returns the face encoder of a model that searches for people in two stages (§4.7.6); None of another model.

    The tokens of such a model are descriptions of faces, and an index that it makes has those of all faces.
    """
    return getattr(encoder, "faces", None)


def spoken(encoder: ConceptEncoder) -> bool:
    """Returns whether a prompt is to have people's names in words beside their tokens, "ana <ana>": the best way to ask
    CLIP-PAD (§4.4, Table 4.4). Models that do not say so are asked by the token alone."""
    return bool(getattr(encoder, "spoken_names", False))


def speak(prompt: str, name: str) -> str:
    """Returns the prompt with a name in words before each of its `<name>`, where it does not stand there already.

    >>> speak("<ana> and Ana <ana>", "ana")
    'ana <ana> and ana <ana>'
    """
    plain = re.escape(name)
    named = re.compile(rf"(?:(?<!\w){plain}\s+)?<{plain}>", re.IGNORECASE)
    return named.sub(lambda _: f"{name} <{name}>", prompt)


class PhotoError(StoryjaxError):
    """A photo that cannot be used: too small, no face or several. `index` counts the given photos from 0."""

    def __init__(self, index: int, reason: str):
        super().__init__(f"photo {index + 1} {reason}")
        self.index, self.reason = index, reason


@dataclass(frozen=True)
class PhotoNote:
    """What there is to say of a photo.

    Attributes:
        index: of the photo, from 0.
        text: begins with a verb: "shows 2 faces: the largest is taken".
        left_out: whether the photo cannot be used.
    """

    index: int
    text: str
    left_out: bool = False


Notes = Callable[[PhotoNote], None]


_BATCH = 32


def embed_in_batches(
    embed: Callable[[np.ndarray], Any], images: UInt8[np.ndarray, "n y x 3"], width: int
) -> Float32[np.ndarray, "n d"]:
    """Returns `embed` of all images, a batch at a time; the last is padded, so that one program serves all.

    Args:
        embed: of a batch of images, (b, width).
        images: any number of them, of one size.
        width: of the embeddings.
    """
    out = np.zeros((len(images), width), np.float32)
    for first in range(0, len(images), _BATCH):
        part = images[first : first + _BATCH]
        filled = np.pad(part, [(0, _BATCH - len(part)), (0, 0), (0, 0), (0, 0)])
        out[first : first + len(part)] = np.asarray(embed(filled))[: len(part)]
    return out


def names_in(prompt: str) -> list[str]:
    """Returns the names between angle brackets in a prompt, in order, each once.

    >>> names_in("<ana> and <ben> dance, <ana> sings")
    ['ana', 'ben']
    """
    return list(dict.fromkeys(_NAMED.findall(prompt)))


def replace_names(prompt: str, replacement: Callable[[str], str]) -> str:
    """Returns the prompt with every `<name>`, brackets included, replaced by `replacement(name)`."""
    return _NAMED.sub(lambda match: replacement(match[1]), prompt)


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns a short hash of named arrays: of their names, shapes, types and values, in any order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name}|{array.shape}|{array.dtype}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
