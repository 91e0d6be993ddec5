"""CLIP alone, any published one, for `storyjax find`: plain sentences, no names, nothing to train. SigLIP serves too.

Names of people and things are what `storyjax/clip_pad/two_stage.py` and `storyjax/pi_map/clip_baseline.py` add.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, weights_folder
from storyjax.data.text import Tokenizer, encode_spliced
from storyjax.models.clip import Clip, ClipConfig
from storyjax.models.siglip import Siglip, SiglipConfig
from storyjax.nn.image_normalisation import CLIP_MEAN, CLIP_STD, SIGLIP_MEAN, SIGLIP_STD, normalise
from storyjax.search.protocol import TEXT, Notes, embed_in_batches, fingerprint, names_in
from storyjax.weights.pretrained import Pretrained

_MARKER = "\0"  # in no prompt


class OverClip:
    """The part of a `storyjax.search.protocol.ConceptEncoder` that leaves images to a published CLIP, `self.clip`."""

    clip: "ClipEncoder"

    @property
    def dim(self) -> int:
        """Width of CLIP's common space."""
        return self.clip.dim

    @property
    def image_size(self) -> int:
        """Side of CLIP's images, in pixels."""
        return self.clip.image_size

    @property
    def keep_aspect(self) -> bool:
        """Whether CLIP sees central squares."""
        return self.clip.keep_aspect

    @property
    def vision_fingerprint(self) -> str:
        """The hash of CLIP's image tower and its projection."""
        return self.clip.vision_fingerprint

    def embed_images(self, images: UInt8[np.ndarray, "n y x 3"]) -> Float32[np.ndarray, "n d"]:
        """Returns CLIP's embeddings of images."""
        return self.clip.embed_images(images)


class ClipEncoder:
    """A `storyjax.search.protocol.ConceptEncoder` that knows words only, and enrols nobody.

    Args:
        config, params: a CLIP or a SigLIP and its parameters.
        tokenizer: its own.
        source: where they came from.
    """

    kind = TEXT

    def __init__(self, config: ClipConfig | SiglipConfig, params: Any, tokenizer: Tokenizer, source: str = ""):
        model: Clip | Siglip
        if isinstance(config, ClipConfig):
            model, self.dim, pixels = Clip(config), config.projection_dim, (CLIP_MEAN, CLIP_STD)
        else:
            model, self.dim, pixels = Siglip(config), config.vision.width, (SIGLIP_MEAN, SIGLIP_STD)
        self.keep_aspect = isinstance(config, ClipConfig)  # SigLIP was trained on whole images, squashed
        self._params = jax.tree.map(jnp.asarray, params)
        self._config, self._tokenizer, self._source = config, tokenizer, source
        self.width, self.image_size = config.text.width, config.vision.image_size

        def embed_images(params: Any, images: UInt8[jax.Array, "b y x 3"]) -> Any:
            scaled = normalise(images, jnp.float32, *pixels)
            return model.apply({"params": params}, scaled, method=type(model).embed_images)

        self._embed_images = jax.jit(embed_images)
        self._embed_texts = jax.jit(
            lambda params, ids: model.apply({"params": params}, ids, method=type(model).embed_texts)
        )

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> "ClipEncoder":
        """Returns the encoder of a folder of published weights: as downloaded, or as `storyjax import` writes it.

        Raises:
            StoryjaxError: neither a CLIP nor a SigLIP is there, or not all of it.
        """
        place = str(folder)
        if not (weights_folder(place) / "config.json").is_file():
            raise StoryjaxError(
                f"--clip: {place} has no config.json; make the folder with 'storyjax import clip-vit-l-14 --from"
                f" openai/clip-vit-large-patch14 --out {place}', or name one that was downloaded"
            )
        pretrained, kind = Pretrained(place), _kind(weights_folder(place) / "config.json")
        config, params = pretrained.network(kind)
        return cls(config, params, pretrained.tokenizer(kind), place)

    @cached_property
    def vision_fingerprint(self) -> str:
        """The hash of the image tower and its projection."""
        return fingerprint(self._arrays("vision"))

    @cached_property
    def fingerprint(self) -> str:
        """The hash of all weights."""
        return fingerprint(self._arrays(""))

    def _arrays(self, prefix: str) -> dict[str, np.ndarray]:
        flat = flatten(self._params)
        return {name: np.asarray(leaf) for name, leaf in flat.items() if name.startswith(prefix)}

    def embed_images(self, images: UInt8[np.ndarray, "n y x 3"]) -> Float32[np.ndarray, "n d"]:
        """Returns the embeddings, of unit length, of square RGB images of `image_size` pixels."""
        return embed_in_batches(lambda part: self._embed_images(self._params, part), images, self.dim)

    def enrol(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        category: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        notes: Notes | None = None,
    ) -> Float32[np.ndarray, "1 w"]:
        """Raises StoryjaxError: CLIP alone learns no names."""
        del photos, category, progress, notes
        raise StoryjaxError(
            "CLIP alone learns no names: enrol with the model that comes with storyjax, or --checkpoint"
        )

    def embed_query(
        self,
        prompt: str,
        tokens: Mapping[str, Float32[np.ndarray, "c w"]],
        categories: Mapping[str, str] | None = None,
    ) -> Float32[np.ndarray, " d"]:
        """Returns the embedding, of unit length, of a sentence without names.

        Raises:
            StoryjaxError: the prompt names somebody, or is longer than the text tower takes.
        """
        if names := names_in(prompt):
            raise StoryjaxError(f"CLIP alone knows no names: describe <{names[0]}> in words")
        del tokens, categories
        ids, _ = encode_spliced(self._tokenizer, prompt, self._config.text.max_length, _MARKER)
        embedded: Any = self._embed_texts(self._params, jnp.asarray(ids)[None])
        return np.asarray(embedded)[0]


def _kind(path: Path) -> str:
    """The kind of network that a config.json describes: "siglip", or "clip", whose errors are told by its loader."""
    try:
        stored = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return "clip"
    is_siglip = isinstance(stored, dict) and (stored.get("model_type") == "siglip" or "logit_bias_init" in stored)
    return "siglip" if is_siglip else "clip"
