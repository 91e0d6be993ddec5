"""Enrolling people from photos and embedding queries for them: `PersonFinder`, which `storyjax find` uses.

finder = PersonFinder.from_pretrained()
token = finder.enrol(photos)
query = finder.embed_query("an image of <ana> in the park", {"ana": token})

A `Detector` crops photos to a face with some of what is around it; without one the whole photo is that loose crop.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import jax
import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.clip_pad.config import frozen_parameters, make_model, make_sizes, make_tokenizer
from storyjax.clip_pad.data import MARKER, Sizes, encode
from storyjax.clip_pad.detect import LOOSE, VARIABLE, Detector, check_pick, find_detector
from storyjax.clip_pad.face_photos import each_description, mean_description
from storyjax.clip_pad.model import TRAINABLE, ClipPad
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten
from storyjax.data.text import Tokenizer
from storyjax.gallery.record import FACE
from storyjax.search.protocol import PERSON, Notes, embed_in_batches, fingerprint, replace_names
from storyjax.train.experiment import Params
from storyjax.train.restore import open_trained

DEFAULT = "shipped:clip_pad_storyworld"
DETECTOR_VARIABLE = VARIABLE  # of the environment, as of `detect.find_detector`


class PersonFinder:
    """A `storyjax.search.protocol.ConceptEncoder` for people.

    Args:
        model, params: CLIP-PAD and all its parameters.
        tokenizer: CLIP's.
        sizes: as in training.
        detector: finds faces in photos; None takes each photo as the loose crop of one face.
        source: where the model came from.
        pick: which face of a photo with several is meant, as of `detect.pick_face`.

    Raises:
        StoryjaxError: there is no such `pick`.
    """

    kind = PERSON
    photo_role = FACE
    spoken_names = True  # `storyjax find` asks by name and face, as `storyjax.search.protocol.spoken` says

    def __init__(
        self,
        model: ClipPad,
        params: Params,
        tokenizer: Tokenizer,
        sizes: Sizes,
        detector: Detector | None = None,
        source: str = "",
        pick: str = "largest",
    ):
        self.model, self.params, self.tokenizer, self.sizes = model, params, tokenizer, sizes
        self.detector, self.source, self.pick = detector, source, check_pick(pick)
        clip = model.config.clip
        self.width, self.dim, self.image_size = clip.text.width, clip.projection_dim, clip.vision.image_size
        self.keep_aspect = clip.keep_aspect
        self._embed_images = jax.jit(model.embed_images)
        self._describe = jax.jit(model.describe_faces)
        self._tokens = jax.jit(model.tokens)
        self._embed_texts = jax.jit(model.embed_texts)

    @classmethod
    def from_pretrained(
        cls,
        place: str | os.PathLike[str] | None = None,
        *,
        precision: str | None = None,
        detector: Detector | str | None = None,
        pick: str | None = None,
    ) -> "PersonFinder":
        """Returns the finder of a trained model.

        Args:
            place: a run's workdir, a folder with config.json and model.safetensors, "shipped:NAME", or None for the
                small model of StoryWorld that comes with storyjax.
            precision: the name of a policy instead of the model's own.
            detector: see the class; or a name or file, as `--face-detector` takes it. None takes the one that the
                model's config names, if any (`detect.find_detector`).
            pick: see the class; None: "largest".

        Raises:
            StoryjaxError: there is no model at `place`, it is of another kind, its frozen networks or its detector are
                not there, or there is no such `pick`.
        """
        trained = open_trained(
            place,
            default=DEFAULT,
            chapter="CLIP-PAD",
            experiments=("clip_pad",),
            parts=("clip", "face"),
            precision=precision,
        )
        config, source = trained.config, trained.source
        model = make_model(config.model, trained.policy.name)
        params = trained.parameters(model.init, TRAINABLE, frozen_parameters(config.model))
        sizes = make_sizes(model, config.data, f"{source}: config.data")
        if detector is None or isinstance(detector, str):
            detector = find_detector(detector, config.data.get("detector"), f"{source}: config.data.detector")
        return cls(model, params, make_tokenizer(config.model), sizes, detector, source, pick or "largest")

    @cached_property
    def vision_fingerprint(self) -> str:
        """The hash of the image tower and its projection."""
        return fingerprint(
            {name: np.asarray(leaf) for name, leaf in flatten(self.params["clip"]).items() if name.startswith("vision")}
        )

    @cached_property
    def fingerprint(self) -> str:
        """The hash of all weights that a token or a query depends on."""
        return fingerprint(
            {n: np.asarray(leaf) for n, leaf in flatten(self.params).items() if not n.startswith("original/")}
        )

    def embed_images(self, images: UInt8[np.ndarray, "n y x 3"]) -> Float32[np.ndarray, "n d"]:
        """Returns the embeddings, of unit length, of square RGB images of `image_size` pixels."""
        return embed_in_batches(lambda part: self._embed_images(self.params, part), np.asarray(images), self.dim)

    def describe_faces(self, faces: UInt8[np.ndarray, "n y x 3"]) -> Float32[np.ndarray, "n e"]:
        """Returns the descriptions, of unit length, of loose crops at the face encoder's size."""
        width = self.model.config.face.embedding_dim
        return embed_in_batches(lambda part: self._describe(self.params, part), np.asarray(faces), width)

    def enrol(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        category: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        notes: Notes | None = None,
    ) -> Float32[np.ndarray, "1 w"]:
        """Returns the token of a person: the photos' descriptions are averaged (§4.3.1).

        Args:
            photos: RGB, of any size, of the person.
            category: None; people have no category.
            progress: called with (photos done, of how many).
            notes: called with what there is to say of single photos; those that cannot be used are then left out.

        Raises:
            PhotoError: a photo, or with `notes` every photo, cannot be used: too small, or without a face.
            StoryjaxError: there are no photos, or a category is given.
        """
        if category is not None:
            raise StoryjaxError(f"a person is enrolled from faces and has no category: leave out '{category}'")
        mean = self.describe_photos(photos, progress, notes)
        return np.asarray(self._tokens(self.params, mean[None]))[0]

    def describe_photos(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        progress: Callable[[int, int], None] | None = None,
        notes: Notes | None = None,
    ) -> Float32[np.ndarray, " e"]:
        """Returns the mean description, of unit length, of a person's photos; arguments and errors as of `enrol`."""
        loose = LOOSE if self.sizes.face_loose is None else self.sizes.face_loose
        describe, detector = self.describe_faces, self.detector
        return mean_description(photos, self.as_face, describe, detector, self.pick, progress, notes, loose)

    @cached_property
    def photo_fingerprint(self) -> str:
        """The hash of the face encoder."""
        return fingerprint({name: np.asarray(leaf) for name, leaf in flatten(self.params["face"]).items()})

    def photo_vectors(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        category: str | None = None,
        notes: Notes | None = None,
    ) -> tuple[Float32[np.ndarray, "n e"], list[int]]:
        """Returns the description of each photo's face, and which photos have one; errors as of `enrol`."""
        del category
        loose = LOOSE if self.sizes.face_loose is None else self.sizes.face_loose
        describe, detector = self.describe_faces, self.detector
        return each_description(photos, self.as_face, describe, detector, self.pick, notes=notes, loose=loose)

    def as_face(self, crop: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """Returns a loose crop at the face encoder's size."""
        return self.sizes.face_square(crop)

    def embed_query(
        self,
        prompt: str,
        tokens: Mapping[str, Float32[np.ndarray, "c w"]],
        categories: Mapping[str, str] | None = None,
    ) -> Float32[np.ndarray, " d"]:
        """Returns the embedding, of unit length, of a prompt in which every `<name>` is a key of `tokens`.

        Raises:
            StoryjaxError: a name has no token, or the prompt is longer than the text tower takes.
        """
        del categories  # the tokens say more
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
