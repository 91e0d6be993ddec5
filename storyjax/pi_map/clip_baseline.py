"""Things without training: the thesis's CLIP baseline of text and image (Table 5.1a, "text + image"), `ClipThings`.

A thing is the mean embedding of its photos. A query is the mean of that and of the sentence's embedding, in which the
category stands for the name; as `clip_both` of `storyjax/pi_map/evaluate.py`, which measures it.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.data.images import Square
from storyjax.gallery.record import IMAGE
from storyjax.pi_map.data import unit
from storyjax.pi_map.enrolment import localised
from storyjax.pi_map.localise import Detector
from storyjax.pi_map.prompts import MARKER, with_category
from storyjax.search.clip_encoder import ClipEncoder, OverClip
from storyjax.search.protocol import THING, Notes, names_in

_THING = "thing"  # for a name without a category


class ClipThings(OverClip):
    """A `storyjax.search.protocol.ConceptEncoder` for things, by any published CLIP alone.

    Args:
        clip: embeds images and sentences.
        detector: finds the thing in its photos, which are cropped to it; without it whole photos are used.
    """

    kind = THING
    photo_role = IMAGE

    def __init__(self, clip: ClipEncoder, detector: Detector | None = None):
        self.clip, self.width, self.detector = clip, clip.dim, detector

    @property
    def fingerprint(self) -> str:
        """The same: what is kept of a thing is in the space of images, and no text tower changes it."""
        return f"image-{self.vision_fingerprint}"

    def enrol(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        category: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        notes: Notes | None = None,
    ) -> Float32[np.ndarray, "1 d"]:
        """Returns the mean embedding, of unit length, of the photos.

        Args:
            photos: RGB, of any size.
            category: "dog".
            progress: called once, with (photos, photos).
            notes: called with photos in which the detector finds nothing; they serve as they are.

        Raises:
            StoryjaxError: no photos or no category.
        """
        if not photos:
            raise StoryjaxError("no photos to enrol a thing from; give three to five")
        if category is None or not category.strip():
            raise StoryjaxError("a thing needs the general word for it, for instance 'dog'")
        mean = self.photo_vectors(photos, category, notes)[0].mean(axis=0, keepdims=True)
        if progress is not None:
            progress(len(photos), len(photos))
        return unit(mean)

    @property
    def photo_fingerprint(self) -> str:
        """The hash of the image tower."""
        return self.vision_fingerprint

    def photo_vectors(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        category: str | None = None,
        notes: Notes | None = None,
    ) -> tuple[Float32[np.ndarray, "n d"], list[int]]:
        """Returns the embedding of each photo, cropped to the thing by the detector if any, and all numbers."""
        cropped = photos
        if self.detector is not None:
            cropped = localised(photos, category or _THING, self.detector, "crop", notes)
        square = Square(self.image_size, self.keep_aspect)
        return self.embed_images(np.stack([square(photo) for photo in cropped])), list(range(len(photos)))

    def embed_query(
        self,
        prompt: str,
        tokens: Mapping[str, Float32[np.ndarray, "c w"]],
        categories: Mapping[str, str] | None = None,
    ) -> Float32[np.ndarray, " d"]:
        """Returns the mean, of unit length, of the sentence's embedding and the things', in equal parts.

        Raises:
            StoryjaxError: an unknown name, or a prompt longer than the text tower's context.
        """
        names = names_in(prompt)
        if unknown := [name for name in names if name not in tokens]:
            raise StoryjaxError(f"<{unknown[0]}> is not enrolled: enrol it first, from photos of it")
        sentence = prompt.replace(MARKER, " ")
        for name in names:
            sentence = with_category(sentence.replace(f"<{name}>", MARKER), (categories or {}).get(name, _THING))
        text = self.clip.embed_query(sentence, {})
        if not names:
            return text
        images = np.concatenate([tokens[name] for name in names])
        return unit(text + unit(images.mean(axis=0)))
