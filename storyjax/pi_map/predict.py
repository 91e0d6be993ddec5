"""Enrolling a particular thing from a few photos, and embedding queries for it: `ThingFinder`.

finder = ThingFinder.from_pretrained()
token = finder.enrol(photos, category="dog")
query = finder.embed_query("an image of <chia> in the park", {"chia": token})
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, UInt8

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten
from storyjax.gallery.record import IMAGE
from storyjax.pi_map.config import TRAINABLE, clip_square, frozen_parameters, make_model
from storyjax.pi_map.data import unit
from storyjax.pi_map.enrolment import Enrolment, EnrolmentConfig, NegativeBank, localised
from storyjax.pi_map.localise import Detector, Pointing
from storyjax.pi_map.model import PersonalClip, embed_in_batches
from storyjax.pi_map.prompts import PromptEncoder, with_category
from storyjax.search.protocol import THING, Notes, fingerprint, names_in, replace_names
from storyjax.train.experiment import Params
from storyjax.train.restore import open_trained

DEFAULT = "shipped:pi_map_storyworld"


def clip_fingerprint(weights: Mapping[str, np.ndarray], part: str = "") -> str:
    """Returns the hash of a CLIP's weights, or of those of a part ("vision": the image tower and its projection).

    Args:
        weights: flat; those of the CLIP are below "clip/".
    """
    named = {path.removeprefix("clip/"): array for path, array in weights.items() if path.startswith("clip/")}
    return fingerprint({path: array for path, array in named.items() if path.startswith(part)})


class ThingFinder:
    """A frozen CLIP with π; a `storyjax.search.protocol.ConceptEncoder` for things."""

    kind = THING
    photo_role = IMAGE

    def __init__(
        self,
        model: PersonalClip,
        prompts: PromptEncoder,
        params: Params,
        *,
        bank: NegativeBank | None = None,
        attributes: Sequence[str] = (),
        detector: Detector | None = None,
        enrolment: EnrolmentConfig | None = None,
        ending: str = "",
        point: Pointing = "ellipse",
        caption: str | None = None,
    ):
        """
        Args:
            model, prompts, params: the architecture, the encoder of its prompts, and all parameters.
            bank: other things as negatives; without it nothing can be enrolled.
            attributes: words that may describe a thing ("red", "striped blue and white"): the one closest to its photos
                makes its dense caption y*, if none is given.
            detector: finds the thing in its photos (§5.3.1); without it the whole photo is used.
            enrolment: how a token is learned.
            ending: the end of every sentence that the text tower was trained on; added to queries.
            point: how the detector's box is marked.
            caption: y* of what is enrolled, where `enrol` gets none.
        """
        self.model, self.prompts = model, prompts
        self.params = jax.tree.map(np.asarray, params)
        weights = flatten(self.params)
        self.width, self.dim = model.config.text.width, model.config.projection_dim
        self.image_size, self.keep_aspect = model.config.vision.image_size, model.config.keep_aspect
        self.vision_fingerprint = clip_fingerprint(weights, "vision")
        self.photo_fingerprint = self.vision_fingerprint
        self.fingerprint = fingerprint(weights)
        self.attributes, self.detector, self.ending = tuple(attributes), detector, ending
        self.point, self.caption = point, caption
        self.length = model.config.text.max_length
        self._images = jax.jit(model.embed_images)
        self._texts = jax.jit(model.embed_texts)
        self._enrolment = Enrolment(model, prompts, self.params, bank, enrolment or EnrolmentConfig())

    @cached_property
    def clip_fingerprint(self) -> str:
        """The hash of CLIP's weights, which learned tokens belong to (tokens.py)."""
        return clip_fingerprint(flatten(self.params))

    @classmethod
    def from_pretrained(
        cls,
        place: str | os.PathLike[str] | None = None,
        *,
        precision: str | None = None,
        detector: Detector | None = None,
        caption: str | None = None,
    ) -> "ThingFinder":
        """Returns the finder of a trained model.

        Args:
            place: the workdir of a run of `configs/pi_map_*.py`, a folder with config.json and model.safetensors,
                "shipped:NAME", or None for the small model of StoryWorld that comes with storyjax.
            precision: the name of a policy instead of the model's own.
            detector, caption: see the class.

        Raises:
            StoryjaxError: there is no model at `place`, it is of another kind, or its frozen CLIP is not there.
        """
        trained = open_trained(
            place,
            default=DEFAULT,
            chapter="π-map",
            experiments=("pi_map", "pi_map.pretrain"),
            parts=("clip", "pi"),
            precision=precision,
        )
        config, folder = trained.config, trained.folder
        model, section = make_model(config.model, trained.policy.name)
        params = trained.parameters(model.init, TRAINABLE, frozen_parameters(section.clip))
        bank = NegativeBank.load(folder / NegativeBank.FILE) if (folder / NegativeBank.FILE).exists() else None
        enrolment = from_config(EnrolmentConfig, config.get("enrolment", {}), f"{trained.source}/config.json enrolment")
        options: dict[str, Any] = {key: config[key] for key in ("attributes", "ending") if key in config}
        options["caption"] = caption
        if "point" in config.data:
            options["point"] = config.data.point
        prompts = PromptEncoder(section.clip, section.clip.family)
        return cls(model, prompts, params, bank=bank, detector=detector, enrolment=enrolment, **options)

    def embed_images(self, images: UInt8[np.ndarray, "n y x 3"]) -> Float32[np.ndarray, "n d"]:
        """Returns the embeddings, of unit length, of RGB images of `image_size` pixels each side."""
        if not len(images):
            return np.zeros((0, self.dim), np.float32)
        return embed_in_batches(lambda part: self._images(self.params, part), images)

    def enrol(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        category: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        notes: Notes | None = None,
        caption: str | None = None,
    ) -> Float32[np.ndarray, "c w"]:
        """Returns the token of the thing in the photos, by a short training of a copy of π (§5.3.2).

        Args:
            photos: RGB, of any size; three to five are enough (Table 5.2).
            category: "dog".
            progress: called with (steps done, of how many).
            notes: called with photos in which the detector finds nothing; they serve as they are.
            caption: a dense description of it, y*; None: the class's, or without one the closest attribute.

        Raises:
            StoryjaxError: no photos, category or bank of negatives, or a caption that is too long for the text tower.
        """
        if not photos:
            raise StoryjaxError("no photos to enrol a thing from; give three to five")
        if category is None or not category.strip():
            raise StoryjaxError("a thing needs the general word for it, for instance 'dog'")
        if self._enrolment.bank is None:
            raise StoryjaxError(
                f"this π-map has no bank of other things ({NegativeBank.FILE}), without which a token learns nothing:"
                " give a run of configs/pi_map_thisismy.py or its like, which writes one as it starts or is resumed"
                " (one of configs/pi_map_imagenet.py, whose images have no captions, is what it starts from)"
            )
        whole, local = self._embed_photos(photos, category, notes)
        dense = caption or self.caption
        dense = dense.rstrip(" .") + self.ending if dense else self._describe(whole, category)
        plain = with_category(self._enrolment.config.prompt, category)
        return self._enrolment.learn(whole, local, (dense, plain, plain), progress).astype(np.float32)

    def photo_vectors(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        category: str | None = None,
        notes: Notes | None = None,
    ) -> tuple[Float32[np.ndarray, "n d"], list[int]]:
        """Returns the embedding of each photo, cropped to the thing by the detector if any, and all numbers."""
        cropped = photos
        if self.detector is not None and category:
            cropped = localised(photos, category, self.detector, "crop", notes)
        square = clip_square(self.model.config)
        return self.embed_images(np.stack([square(photo) for photo in cropped])), list(range(len(photos)))

    def token_of(self, photos: Sequence[UInt8[np.ndarray, "_ _ 3"]], category: str) -> Float32[np.ndarray, "1 w"]:
        """Returns π of the averaged embeddings of the photos: an image as a query, without training (§5.3.3)."""
        _, local = self._embed_photos(photos, category)
        return np.asarray(self.model.tokens(self.params, jnp.asarray(unit(local.mean(axis=0, keepdims=True)))))

    def _embed_photos(
        self, photos: Sequence[UInt8[np.ndarray, "_ _ 3"]], category: str, notes: Notes | None = None
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
        """f_v(x) and f_v(x_loc) of each photo."""
        square = clip_square(self.model.config)
        whole = self.embed_images(np.stack([square(photo) for photo in photos]))
        if self.detector is None:
            return whole, whole
        marked = localised(photos, category, self.detector, self.point, notes)
        return whole, self.embed_images(np.stack([square(photo) for photo in marked]))

    def _describe(self, whole: Float[np.ndarray, "n d"], category: str) -> str:
        """y*: the generic caption with the attribute that is closest to the photos, if there are any."""
        prompt = self._enrolment.config.prompt
        if not self.attributes:
            return with_category(prompt, category)
        candidates = [with_category(prompt, f"{words} {category}") for words in self.attributes]
        texts = np.concatenate(
            [self._enrolment.embed_texts(tuple(candidates[i : i + 64])) for i in range(0, len(candidates), 64)]
        )
        return candidates[int((texts @ unit(whole.mean(axis=0))).argmax())]

    def embed_query(
        self,
        prompt: str,
        tokens: Mapping[str, Float32[np.ndarray, "c w"]],
        categories: Mapping[str, str] | None = None,
    ) -> Float32[np.ndarray, " d"]:
        """Returns the embedding, of unit length, of a prompt in which every `<name>` is a key of `tokens`.

        Raises:
            StoryjaxError: an unknown name, or a prompt longer than the text tower's context.
        """
        del categories  # the tokens say more
        unknown = [name for name in names_in(prompt) if name not in tokens]
        if unknown:
            raise StoryjaxError(f"no token for <{unknown[0]}>: enrol it first")
        vectors: list[np.ndarray] = []

        def place(name: str) -> str:
            vectors.extend(tokens[name])
            return " * " * len(tokens[name])

        # A "*" of the prompt itself would be read as a token.
        text = replace_names(prompt.replace("*", " "), place).rstrip(" .") + self.ending
        ids, slots = self.prompts.encode(text, self.length)
        if not vectors:
            return np.asarray(self._texts(self.params, ids[None]))[0]
        return np.asarray(self._texts(self.params, ids[None], np.stack(vectors)[None], slots[None]))[0]
