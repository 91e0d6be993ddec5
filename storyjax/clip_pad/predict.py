"""Enrolling people from photos and asking for them: `PersonFinder`, what `storyjax find` needs of CLIP-PAD.

A photo is expected to be a loose crop: one face with some of what is around it. Where it is more than that, a
`Detector` cuts the face out; without one the whole photo is the crop.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8
from ml_collections import ConfigDict

from storyjax.clip_pad.config import make_model, make_tokenizer, pretrained
from storyjax.clip_pad.data import MARKER, Sizes, encode, resize
from storyjax.clip_pad.detect import DETECTORS, Box
from storyjax.clip_pad.model import ClipPad
from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, unflatten, weights_folder
from storyjax.data.text import Tokenizer
from storyjax.search.protocol import PERSON, PhotoError, fingerprint, replace_names
from storyjax.train.checkpoint import load_trainable
from storyjax.train.experiment import Params
from storyjax.train.params import validate_params

DEFAULT = "shipped:clip_pad_storyworld"
_BATCH = 32  # images that are embedded at a time; the last batch is filled up, so that one program does for all
_SMALLEST = 8  # pixels: less of a face says nothing


@runtime_checkable
class Detector(Protocol):
    """Finds faces: a photo to their boxes, left, top, right, bottom in pixels, the surest first."""

    def __call__(self, photo: UInt8[np.ndarray, "y x 3"]) -> Sequence[Box]: ...


class PersonFinder:
    """A `storyjax.search.protocol.Personaliser` for people.

    Args:
        model, params: CLIP-PAD and all its parameters.
        tokenizer: CLIP's.
        sizes: as in training.
        detector: cuts faces out of photos; None takes each photo as the loose crop of one face.
        loose: how much a found box grows, as a share of its size (VGGFace2's loose crops: 1).
    """

    kind = PERSON

    def __init__(
        self,
        model: ClipPad,
        params: Params,
        tokenizer: Tokenizer,
        sizes: Sizes,
        detector: Detector | None = None,
        loose: float = 1.0,
        source: str = "",
    ):
        self.model, self.params, self.tokenizer, self.sizes = model, params, tokenizer, sizes
        self.detector, self.loose, self.source = detector, loose, source
        clip = model.config.clip
        self.width, self.dim, self.image_size = clip.text.width, clip.projection_dim, clip.vision.image_size
        self._embed_images = jax.jit(model.embed_images)
        self._describe = jax.jit(model.describe_faces)
        self._tokens = jax.jit(model.tokens)
        self._embed_texts = jax.jit(model.embed_texts)

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike[str] | None = None, detector: Detector | None = None
    ) -> "PersonFinder":
        """Loads a model.

        Args:
            path: a run's workdir, a folder with model.safetensors and config.json, "shipped:NAME" for weights that come
                with storyjax, or None for the small CLIP-PAD of StoryWorld among those.
            detector: see the class; None takes the one that the checkpoint's config names, if any.

        Raises:
            StoryjaxError: there is nothing at `path`, it is of another model, or the frozen networks' weights are not
                there.
        """
        where = str(DEFAULT if path is None else path)
        folder = weights_folder(where)
        config = _read_config(folder, where)
        model = make_model(config.model, config.get("precision", "float32"))
        abstract = flatten(jax.eval_shape(model.init, jax.random.key(0)))
        flat = pretrained(config.model, model) | load_trainable(folder)
        validate_params(flat, abstract, set(abstract), where)
        params = {name: jnp.asarray(flat[name], leaf.dtype) for name, leaf in abstract.items()}
        sizes = from_config(
            Sizes,
            {
                "clip": model.config.clip.vision.image_size,
                "face": model.config.face.image_size,
                **{
                    key: config.data[key]
                    for key in ("frames", "text_length", "face_crop", "ending")
                    if key in config.data
                },
            },
            f"{where}: config.data",
        )
        named = config.data.get("detector")
        if detector is None and named is not None:
            detector = DETECTORS[choose(named, DETECTORS, f"{where}: config.data.detector")]()
        return cls(model, unflatten(params), make_tokenizer(config.model), sizes, detector, source=where)

    @cached_property
    def vision_fingerprint(self) -> str:
        """Hash of the image tower and its projection."""
        return fingerprint(
            {name: np.asarray(leaf) for name, leaf in flatten(self.params["clip"]).items() if name.startswith("vision")}
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all weights that a word or a query depends on."""
        return fingerprint(
            {n: np.asarray(leaf) for n, leaf in flatten(self.params).items() if not n.startswith("original/")}
        )

    def embed_images(self, images: UInt8[np.ndarray, "n y x 3"]) -> Float32[np.ndarray, "n d"]:
        """Embeddings of unit length of square RGB images of `image_size` pixels."""
        return self._batched(lambda part: self._embed_images(self.params, part), np.asarray(images), self.dim)

    def describe_faces(self, faces: UInt8[np.ndarray, "n y x 3"]) -> Float32[np.ndarray, "n e"]:
        """Descriptions of unit length of loose crops at the face encoder's size."""
        width = self.model.config.face.embedding_dim
        return self._batched(lambda part: self._describe(self.params, part), np.asarray(faces), width)

    @staticmethod
    def _batched(embed: Callable[[np.ndarray], jax.Array], images: np.ndarray, width: int) -> np.ndarray:
        out = np.zeros((len(images), width), np.float32)
        for first in range(0, len(images), _BATCH):
            part = images[first : first + _BATCH]
            filled = np.pad(part, [(0, _BATCH - len(part)), (0, 0), (0, 0), (0, 0)])
            out[first : first + len(part)] = np.asarray(embed(filled))[: len(part)]
        return out

    def enrol(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        category: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Float32[np.ndarray, "1 w"]:
        """The word for a person: photos are loose crops of one face; their descriptions are averaged (§4.3.1).

        Raises PhotoError for a photo that cannot serve, StoryjaxError without photos or with a category.
        """
        if category is not None:
            raise StoryjaxError(f"a person is enrolled from faces and has no category: leave out '{category}'")
        mean = self.describe_photos(photos, progress)
        return np.asarray(self._tokens(self.params, mean[None]))[0]

    def describe_photos(
        self, photos: Sequence[UInt8[np.ndarray, "_ _ 3"]], progress: Callable[[int, int], None] | None = None
    ) -> Float32[np.ndarray, " e"]:
        """The mean description of somebody's photos, of unit length. Raises as `enrol` does."""
        if not len(photos):
            raise StoryjaxError("give at least one photo of the person's face")
        faces = []
        for index, photo in enumerate(photos):
            faces.append(self.as_face(self._crop(index, np.asarray(photo))))
            if progress is not None:
                progress(index + 1, len(photos))
        mean = self.describe_faces(np.stack(faces)).mean(axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-12)

    def as_face(self, crop: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """A loose crop at the face encoder's size."""
        return resize(crop, self.sizes.face, self.sizes.face_crop)

    def _crop(self, index: int, photo: np.ndarray) -> np.ndarray:
        """The loose crop of the one face in a photo."""
        height, width = photo.shape[:2]
        if min(height, width) < _SMALLEST:
            raise PhotoError(index, f"has {width} × {height} pixels: too small to show a face")
        if self.detector is None:
            return photo
        boxes = list(self.detector(photo))
        if not boxes:
            raise PhotoError(index, "shows no face that can be found: choose another, or crop it to the face")
        if len(boxes) > 1:
            raise PhotoError(index, f"shows {len(boxes)} faces: crop it to the one that is meant")
        left, top, right, bottom = boxes[0]
        grow_x, grow_y = self.loose * (right - left) / 2, self.loose * (bottom - top) / 2
        columns = slice(max(0, round(left - grow_x)), min(width, round(right + grow_x)))
        rows = slice(max(0, round(top - grow_y)), min(height, round(bottom + grow_y)))
        crop = photo[rows, columns]
        if min(crop.shape[:2]) < _SMALLEST:
            raise PhotoError(index, "shows a face too small to tell whose it is: choose a closer one")
        return crop

    def embed_query(self, prompt: str, tokens: Mapping[str, Float32[np.ndarray, "c w"]]) -> Float32[np.ndarray, " d"]:
        """The embedding of unit length of a prompt in which every `<name>` is a key of `tokens`.

        Raises StoryjaxError for a name without a token, or a prompt longer than the text tower takes.
        """
        rows: list[np.ndarray] = []

        def place(name: str) -> str:
            if name not in tokens:
                raise StoryjaxError(f"nobody is enrolled as '{name}': enrol them first, from photos of the face")
            rows.extend(np.asarray(tokens[name], np.float32))
            return " ".join([MARKER] * len(tokens[name]))

        if MARKER in prompt:
            raise StoryjaxError(f"a prompt names people as <name>; {MARKER} has a meaning of its own")
        spliced = replace_names(prompt, place)
        ids, slots = encode(self.tokenizer, spliced, self.sizes)
        continuous = np.stack(rows) if rows else np.zeros((1, self.width), np.float32)
        embedded = self._embed_texts(self.params, ids[None], continuous[None], slots[None])
        return np.asarray(embedded)[0]


def _read_config(folder: Path, where: str) -> ConfigDict:
    """What a checkpoint says of itself."""
    path = folder / "config.json"
    try:
        config = ConfigDict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"{where} is no CLIP-PAD: {path} cannot be read ({error})") from error
    model = config.get("model")
    if model is None or not {"clip", "face", "adaptor_width"} <= set(model):
        raise StoryjaxError(f"{where} is no CLIP-PAD: its config.json describes another model; give another checkpoint")
    return ConfigDict({"data": {}, **config})
