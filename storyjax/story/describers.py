"""What describes faces and images for a story: published networks of the models folder, or those that ship."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.clip_pad.detect import find_detector, loose_crop
from storyjax.clip_pad.face_photos import SMALLEST
from storyjax.clip_pad.predict import PersonFinder
from storyjax.clip_pad.two_stage import FaceEncoder
from storyjax.core.arrays import unit_norm
from storyjax.core.notes import tell
from storyjax.data.images import Square
from storyjax.search.clip_encoder import ClipEncoder
from storyjax.story.options import StoryOptions
from storyjax.subtitles.stages import network_source
from storyjax.weights.roles import Choice, model_for

# Cosines from which two descriptions are of one face: of VGGFace2's SE-ResNet-50, of StoryWorld's encoder.
PUBLISHED_FACE, SHIPPED_FACE = 0.55, 0.5
# Cosines from which two image vectors are of one thing.
PUBLISHED_IMAGE, SHIPPED_IMAGE = 0.8, 0.45


class Describers:
    """Faces and image vectors; each network is loaded when it is first needed.

    Args:
        options: the models folder and the face detector.
    """

    def __init__(self, options: StoryOptions):
        self._options = options
        self.faces_choice: Choice = model_for("faces", options.models, "find")
        self.clip_choice: Choice = model_for("find", options.models)

    @property
    def source(self) -> str:
        """Names all networks, with the states of their files."""
        detector = self._options.face_detector or ""
        return " ".join([*(network_source(one.place) for one in (self.faces_choice, self.clip_choice)), detector])

    @property
    def published_faces(self) -> bool:
        """Whether faces are described by a published network."""
        return self.faces_choice.origin in ("imported", "own")

    @property
    def published_clip(self) -> bool:
        """Whether images are described by a published CLIP."""
        return self.clip_choice.origin in ("imported", "own")

    @property
    def face_threshold(self) -> float:
        """The cosine from which two descriptions are of one face."""
        return PUBLISHED_FACE if self.published_faces else SHIPPED_FACE

    @property
    def head_scales(self) -> tuple[float, ...]:
        """The squares around a head that are described, in shorter sides of the person's box: StoryWorld's encoder was
        trained on loose photographs, and takes two of them."""
        return (1.2,) if self.published_faces else (1.6, 2.0)

    @property
    def image_threshold(self) -> float:
        """The cosine from which two image vectors are of one thing."""
        return PUBLISHED_IMAGE if self.published_clip else SHIPPED_IMAGE

    @cached_property
    def _shipped(self) -> PersonFinder:
        return PersonFinder.from_pretrained(None)

    @cached_property
    def _faces(self) -> FaceEncoder | None:
        if not self.published_faces:
            return None
        return FaceEncoder.from_pretrained(self.faces_choice.place, self._options.face_detector)

    @cached_property
    def _clip(self) -> Any:
        if self.published_clip:
            return ClipEncoder.from_pretrained(self.clip_choice.place)
        tell(
            "story: faces and images by the networks that ship, which know StoryWorld's synthetic world only;"
            " `storyjax models get find faces` brings published ones",
            key="story networks",
        )
        return self._shipped

    @cached_property
    def face_fingerprint(self) -> str:
        """Names the network that describes faces."""
        return self._shipped.photo_fingerprint if self._faces is None else self._faces.fingerprint

    @property
    def image_fingerprint(self) -> str:
        """Names the network that embeds images."""
        return str(self._clip.vision_fingerprint)

    def describe_faces(
        self, heads: Sequence[Sequence[UInt8[np.ndarray, "_ _ 3"]]], cut: bool = False
    ) -> list[Float32[np.ndarray, " e"] | None]:
        """Returns a description of unit length of each; None where no face is found.

        Args:
            heads: of each, one or more images around somebody's head, whose descriptions are averaged.
            cut: whether they are crops of a face that was found already.
        """
        crops = [
            (i, crop)
            for i, images in enumerate(heads)
            for image in images
            if (crop := self._face(image, cut)) is not None
        ]
        found: list[Float32[np.ndarray, " e"] | None] = [None] * len(heads)
        if not crops:
            return found
        faces = np.stack([crop for _, crop in crops])
        vectors = self._faces.describe(faces) if self._faces is not None else self._shipped.describe_faces(faces)
        of = np.array([i for i, _ in crops])
        for i in dict.fromkeys(of.tolist()):
            found[i] = unit_norm(vectors[of == i].mean(axis=0), axis=None, eps=1e-9).astype(np.float32)
        return found

    def _face(self, head: UInt8[np.ndarray, "y x 3"], cut: bool) -> UInt8[np.ndarray, "s s 3"] | None:
        if min(head.shape[:2]) < SMALLEST:
            return None
        if self._faces is None:
            return self._shipped.as_face(head)
        detector = None if cut else self._detector
        if detector is not None:
            boxes = list(detector(head))
            if not boxes:
                return None
            head = loose_crop(head, max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1])))
        return self._faces.as_face(head) if min(head.shape[:2]) >= SMALLEST else None

    @cached_property
    def _detector(self) -> Any:
        return find_detector(self._options.face_detector, "best", "--face-detector")

    def describe_photos(self, photos: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "n e"]:
        """Returns descriptions of the face in each photo in which one is found."""
        found = [vector for vector in self.describe_faces([[photo] for photo in photos]) if vector is not None]
        return np.stack(found) if found else np.zeros((0, 1), np.float32)

    def embed_images(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "n d"]:
        """Returns the vectors of images of any size, as CLIP takes them."""
        square = Square(self._clip.image_size, self._clip.keep_aspect)
        if not len(images):
            return np.zeros((0, self._clip.dim), np.float32)
        return np.asarray(self._clip.embed_images(np.stack([square(image) for image in images])))

    def embed_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Returns the vectors of sentences without names."""
        return np.stack([self._clip.embed_query(text, {}) for text in texts])
