"""Enrolling a particular thing from a few photos, and asking for it: `ThingFinder` (storyjax/search/protocol.py).

finder = ThingFinder.from_checkpoint()
token = finder.enrol(photos, category="dog")
query = finder.embed_query("an image of <chia> in the park", {"chia": token})
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, UInt8
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, unflatten, weights_folder
from storyjax.pi_map.config import make_model
from storyjax.pi_map.data import resize, unit
from storyjax.pi_map.enrolment import Bank, Enrolment, EnrolmentConfig
from storyjax.pi_map.localise import Detector, Pointing, point_out
from storyjax.pi_map.model import PersonalClip, embed_in_batches
from storyjax.pi_map.towers import FrozenClip
from storyjax.search.protocol import THING, fingerprint, names_in, replace_names
from storyjax.train.checkpoint import load_trainable
from storyjax.train.params import validate_params

SHIPPED = "shipped:pi_map_storyworld"


def clip_fingerprint(weights: Mapping[str, np.ndarray], part: str = "") -> str:
    """The hash of a CLIP's weights, or of those of a part ("vision": the image tower and its projection)."""
    named = {path.removeprefix("clip/"): array for path, array in weights.items() if path.startswith("clip/")}
    return fingerprint({path: array for path, array in named.items() if path.startswith(part)})


class ThingFinder:
    """A frozen CLIP with π: implements `storyjax.search.protocol.Personaliser` for things."""

    kind = THING

    def __init__(
        self,
        model: PersonalClip,
        clip: FrozenClip,
        weights: Mapping[str, np.ndarray],
        *,
        bank: Bank | None = None,
        attributes: Sequence[str] = (),
        detector: Detector | None = None,
        enrolment: EnrolmentConfig | None = None,
        ending: str = "",
        point: Pointing = "ellipse",
    ):
        """
        Args:
            model, clip, weights: the architecture, where its words come from, and all parameters, flat.
            bank: other things to tell a new one from; without it a thing is only told from its kind.
            attributes: words that a thing may be described with ("red", "striped blue and white"): the one that fits
                its photos best makes its dense caption y*, where none is given.
            detector: finds the thing in its photos (§5.3.1); without it the whole photo is looked at.
            point: how what the detector finds is pointed out.
            enrolment: how a token is learnt.
            ending: what every sentence ends with that the text tower learnt from; queries get it where they lack it.
        """
        self.model, self.clip = model, clip
        self.params = jax.tree.map(np.asarray, unflatten(dict(weights)))
        self.width, self.dim = model.config.text.width, model.config.projection_dim
        self.image_size = model.config.vision.image_size
        self.vision_fingerprint = clip_fingerprint(weights, "vision")
        self.fingerprint = fingerprint(weights)
        self.attributes, self.detector, self.ending = tuple(attributes), detector, ending
        self.point = point
        self.length = model.config.text.max_length
        self._images = jax.jit(model.images)
        self._texts = jax.jit(model.texts)
        self._enrolment = Enrolment(model, clip, self.params, bank, enrolment or EnrolmentConfig())

    @classmethod
    def from_checkpoint(cls, checkpoint: str | Path = SHIPPED, detector: Detector | None = None) -> "ThingFinder":
        """Of "shipped:NAME", of a folder like it, or of the workdir of a run of `configs/pi_map_*.py`.

        Raises:
            StoryjaxError: there is none, or its weights are of another model.
        """
        folder = weights_folder(str(checkpoint))
        try:
            config = ConfigDict(json.loads((folder / "config.json").read_text("utf-8")))
            described = config.model
        except (OSError, ValueError, AttributeError) as error:
            raise StoryjaxError(f"{folder} holds no π-map: its config.json cannot be read ({error})") from error
        model, section = make_model(described)
        weights = {**section.clip.parameters(), **load_trainable(checkpoint)}
        abstract = flatten(jax.eval_shape(model.init, jax.random.key(0)))
        validate_params(weights, abstract, set(abstract), str(folder))
        bank = Bank.load(folder / Bank.FILE) if (folder / Bank.FILE).exists() else None
        enrolment = from_config(EnrolmentConfig, config.get("enrolment", {}), f"{folder}/config.json enrolment")
        options = {"bank": bank, "attributes": config.get("attributes", ()), "ending": config.get("ending", "")}
        options["point"] = config.get("data", {}).get("point", "ellipse")
        return cls(model, section.clip, weights, detector=detector, enrolment=enrolment, **options)

    def embed_images(self, images: UInt8[np.ndarray, "n y x 3"]) -> Float32[np.ndarray, "n d"]:
        """Embeddings of unit length of RGB images, `image_size` pixels each side."""
        if not len(images):
            return np.zeros((0, self.dim), np.float32)
        return embed_in_batches(lambda part: self._images(self.params, part), images)

    def enrol(
        self,
        photos: Sequence[UInt8[np.ndarray, "y x 3"]],
        category: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        caption: str | None = None,
    ) -> Float32[np.ndarray, "c w"]:
        """The token of the thing that the photos show: a short training of a copy of π (§5.3.2).

        Args:
            photos: RGB, of any size; three to five are enough (Table 5.2).
            category: the general word for it, "dog".
            progress: called with (steps done, of how many).
            caption: a dense description of it, y*; without one it is made of the attribute that fits best.

        Raises:
            StoryjaxError: no photos or no category, or a caption that is too long for the text tower.
        """
        if not photos:
            raise StoryjaxError("no photos to enrol a thing from; give three to five")
        if category is None or not category.strip():
            raise StoryjaxError("a thing needs the general word for it, for instance 'dog'")
        whole, local = self._embed_photos(photos, category)
        caption = caption or self._describe(whole, category)
        plain = self._enrolment.config.prompt.replace("*", f"a {category}")
        return self._enrolment.learn(whole, local, (caption, plain, plain), progress).astype(np.float32)

    def token_of(self, photos: Sequence[UInt8[np.ndarray, "y x 3"]], category: str) -> Float32[np.ndarray, "1 w"]:
        """An image as a query, without any training (§5.3.3): π of the averaged embeddings of the photos."""
        _, local = self._embed_photos(photos, category)
        return np.asarray(self.model.tokens(self.params, jnp.asarray(unit(local.mean(axis=0, keepdims=True)))))

    def _embed_photos(
        self, photos: Sequence[UInt8[np.ndarray, "y x 3"]], category: str
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
        """f_v(x) and f_v(x_loc) of each photo."""
        size = self.image_size
        whole = self.embed_images(np.stack([resize(photo, size) for photo in photos]))
        if self.detector is None:
            return whole, whole
        shown = [point_out(photo, self.detector.detect(photo, category), self.point) for photo in photos]
        return whole, self.embed_images(np.stack([resize(photo, size) for photo in shown]))

    def _describe(self, whole: Float[np.ndarray, "n d"], category: str) -> str:
        """y*: the generic caption with the attribute that is nearest to the photos, if any are known."""
        prompt = self._enrolment.config.prompt
        if not self.attributes:
            return prompt.replace("*", f"a {category}")
        candidates = [prompt.replace("*", f"a {words} {category}") for words in self.attributes]
        texts = np.concatenate(
            [self._enrolment.embed_texts(tuple(candidates[i : i + 64])) for i in range(0, len(candidates), 64)]
        )
        return candidates[int((texts @ unit(whole.mean(axis=0))).argmax())]

    def embed_query(self, prompt: str, tokens: Mapping[str, Float32[np.ndarray, "c w"]]) -> Float32[np.ndarray, " d"]:
        """The embedding of unit length of a prompt in which every `<name>` is a key of `tokens`.

        Raises:
            StoryjaxError: an unknown name, or a prompt longer than the text tower's context.
        """
        unknown = [name for name in names_in(prompt) if name not in tokens]
        if unknown:
            raise StoryjaxError(f"no token for <{unknown[0]}>: enrol it first")
        vectors: list[np.ndarray] = []

        def marks(name: str) -> str:
            vectors.extend(tokens[name])
            return " * " * len(tokens[name])

        # A person's own stars would be taken for tokens.
        text = replace_names(prompt.replace("*", " "), marks).rstrip(" .") + self.ending
        ids, slots = self.clip.encode(text, self.length)
        if not vectors:
            return np.asarray(self._texts(self.params, ids[None]))[0]
        return np.asarray(self._texts(self.params, ids[None], np.stack(vectors)[None], slots[None]))[0]
