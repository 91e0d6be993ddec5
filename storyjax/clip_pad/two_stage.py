"""People without training: the two-stage search of §4.7.6 (CLIP-PAD*) with published networks, `TwoStageFinder`.

A face encoder describes the enrolled faces and those in the indexed frames, and CLIP reads the sentence, in which "a
person" stands for the name. The search walks down both ranked lists until enough clips are in both
(`storyjax/search/query.py`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.clip_pad.data import Sizes
from storyjax.clip_pad.detect import Detector, check_pick, find_detector, loose_crop
from storyjax.clip_pad.face_photos import SMALLEST, each_description, mean_description
from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten
from storyjax.gallery.record import FACE
from storyjax.models.seresnet import SEResNet, SEResNetConfig, centre
from storyjax.search.clip_encoder import ClipEncoder, OverClip
from storyjax.search.protocol import PERSON, Notes, embed_in_batches, fingerprint, names_in, replace_names
from storyjax.train.experiment import Params
from storyjax.weights.pretrained import Pretrained

_FACE_CROP = 0.875  # the central 224 of 256 pixels, as VGGFace2's networks were published for
_ANYBODY = "a person"


class FaceEncoder:
    """A `storyjax.search.protocol.FaceEncoder`: a published SE-ResNet and what finds faces for it.

    Args:
        config, params: of the SE-ResNet.
        detector: returns what finds faces, and is called when it is first needed; it may return None: photos are then
            loose crops, and images have no faces.
        pick: which face of an enrolled photo with several is meant.
    """

    def __init__(
        self,
        config: SEResNetConfig,
        params: Params,
        detector: Callable[[], Detector | None],
        pick: str = "largest",
    ):
        self._params = jax.tree.map(jnp.asarray, params)
        self.dim, self.side, self.pick, self._find = config.embedding_dim, config.image_size, check_pick(pick), detector
        self._square = Sizes(0, config.image_size, face_crop=_FACE_CROP, face_aspect=config.keep_aspect).face_square
        network = SEResNet(config)
        self._describe = jax.jit(lambda params, faces: network.apply({"params": params}, centre(faces, config)))

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], detector: str | None = None, pick: str | None = None
    ) -> "FaceEncoder":
        """Returns the encoder of a folder of weights, as `storyjax models get faces` makes it.

        Args:
            folder: see `storyjax.weights.pretrained`.
            detector: as `--face-detector` takes it; None: the best that is installed.
            pick: see the class; None: "largest".

        Raises:
            StoryjaxError: no SE-ResNet is there, or there is no such `pick`.
        """
        config, params = Pretrained(str(folder)).network("face")
        return cls(config, params, lambda: find_detector(detector, "best", "--face-detector"), pick or "largest")

    @cached_property
    def detector(self) -> Detector | None:
        """What finds faces; errors as of `detect.find_detector`."""
        return self._find()

    @cached_property
    def fingerprint(self) -> str:
        """The hash of all weights."""
        return fingerprint({name: np.asarray(leaf) for name, leaf in flatten(self._params).items()})

    def describe(self, faces: UInt8[np.ndarray, "n y x 3"]) -> Float32[np.ndarray, "n e"]:
        """Returns the descriptions, of unit length, of faces at the encoder's size."""
        each = embed_in_batches(lambda part: self._describe(self._params, part), faces, self.dim)
        return unit_norm(each).astype(np.float32)

    def as_face(self, crop: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """Returns a loose crop at the encoder's size."""
        return self._square(crop)

    def crops_in(self, image: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "k s s 3"]:
        """Returns the faces that are found in an image, at the encoder's size; without a detector none."""
        loose = [loose_crop(image, box) for box in (self.detector(image) if self.detector is not None else [])]
        faces = [self._square(crop) for crop in loose if min(crop.shape[:2]) >= SMALLEST]
        return np.stack(faces) if faces else np.zeros((0, *(self.side,) * 2, 3), np.uint8)

    def describe_photos(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        progress: Callable[[int, int], None] | None = None,
        notes: Notes | None = None,
    ) -> Float32[np.ndarray, " e"]:
        """Returns the mean description of a person's photos; arguments and errors as of `mean_description`."""
        mean = mean_description(photos, self._square, self.describe, self.detector, self.pick, progress, notes)
        return mean.astype(np.float32)

    def photo_vectors(
        self, photos: Sequence[UInt8[np.ndarray, "_ _ 3"]], notes: Notes | None = None
    ) -> tuple[Float32[np.ndarray, "n e"], list[int]]:
        """Returns the description of each photo's face, and which photos have one; errors as of `each_description`."""
        each, used = each_description(photos, self._square, self.describe, self.detector, self.pick, notes=notes)
        return each.astype(np.float32), used


class TwoStageFinder(OverClip):
    """A `storyjax.search.protocol.ConceptEncoder` for people, whose tokens are descriptions of faces.

    Args:
        clip: loads the CLIP, when it is first needed: enrolling needs none.
        faces: the face encoder.
    """

    kind = PERSON
    photo_role = FACE

    def __init__(self, clip: Callable[[], ClipEncoder], faces: FaceEncoder):
        self._load, self.faces, self.width = clip, faces, faces.dim

    @cached_property
    def clip(self) -> ClipEncoder:  # type: ignore[override]
        """The CLIP; errors as of `ClipEncoder.from_pretrained`."""
        return self._load()

    @property
    def fingerprint(self) -> str:
        """The hash of the face encoder: any CLIP goes with an enrolled face."""
        return f"face-{self.faces.fingerprint}"

    @property
    def photo_fingerprint(self) -> str:
        """The hash of the face encoder."""
        return self.faces.fingerprint

    def photo_vectors(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        category: str | None = None,
        notes: Notes | None = None,
    ) -> tuple[Float32[np.ndarray, "n e"], list[int]]:
        """Returns the description of each photo's face, and which photos have one."""
        del category
        return self.faces.photo_vectors(photos, notes)

    def enrol(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        category: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        notes: Notes | None = None,
    ) -> Float32[np.ndarray, "1 e"]:
        """Returns the mean description of the face in the photos; arguments and errors as of `PersonFinder.enrol`."""
        if category is not None:
            raise StoryjaxError(f"a person is enrolled from faces and has no category: leave out '{category}'")
        return self.faces.describe_photos(photos, progress, notes)[None]

    def embed_query(
        self,
        prompt: str,
        tokens: Mapping[str, Float32[np.ndarray, "c w"]],
        categories: Mapping[str, str] | None = None,
    ) -> Float32[np.ndarray, " d"]:
        """Returns the embedding, of unit length, of the sentence with "a person" for every name.

        Raises:
            StoryjaxError: a name is not enrolled, or the prompt is longer than the text tower takes.
        """
        del categories
        if unknown := [name for name in names_in(prompt) if name not in tokens]:
            raise StoryjaxError(f"nobody is enrolled as '{unknown[0]}': enrol them first, from photos of the face")
        return self.clip.embed_query(replace_names(prompt, lambda name: _ANYBODY), {})
