"""Learning one token from a few photos: the personalisation of §5.3.2 for a single new object.

The negatives are not the other objects of a data set but those of a bank that comes with the model, so that enrolment
needs no data set.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import load_flat, load_metadata, save_tree
from storyjax.pi_map.localise import Detector, Pointing, mark
from storyjax.pi_map.losses import LossConfig, personalisation_loss
from storyjax.pi_map.model import PersonalClip
from storyjax.pi_map.prompts import PromptEncoder
from storyjax.search.protocol import Notes, PhotoNote
from storyjax.train.experiment import Params

CHUNK = 10  # steps between two reports of progress


@dataclass(frozen=True)
class EnrolmentConfig:
    """How a token is learned.

    Attributes:
        steps: of training; each has all photos of the object and `negatives` other objects.
        learning_rate, warmup_steps: AdamW with a cosine that ends at zero, as in §5.3.5.
        negatives: rows of the bank in a step.
        prompt: the prompt of the token in training.
    """

    steps: int = 200
    learning_rate: float = 1e-4
    warmup_steps: int = 20
    negatives: int = 15
    prompt: str = "a photo of *"


@dataclass(frozen=True)
class NegativeBank:
    """Other objects: f_v(x), f_v(x_loc) and the object of each of n photos; the captions (y*, y_s, y_g) of each object.

    Its file is safetensors, but is called `FILE`: a folder's *.safetensors are the shards of its model.
    """

    FILE: ClassVar = "things.bank"

    whole: Float[np.ndarray, "n d"]
    local: Float[np.ndarray, "n d"]
    objects: np.ndarray
    captions: tuple[tuple[str, str, str], ...]

    def save(self, path: str | Path) -> None:
        """Writes the bank in half precision."""
        arrays = {"whole": self.whole, "local": self.local, "objects": self.objects}
        save_tree(path, arrays, {"captions": json.dumps(self.captions)}, dtype=np.float16)

    @classmethod
    def load(cls, path: str | Path) -> "NegativeBank":
        """Returns a bank from its file.

        Raises:
            StoryjaxError: it is not there, or is no bank.
        """
        flat, metadata = load_flat(path), load_metadata(path)
        try:
            captions = tuple(
                (dense, specific, generic) for dense, specific, generic in json.loads(metadata["captions"])
            )
            return cls(flat["whole"], flat["local"], flat["objects"].astype(np.int32), captions)
        except (KeyError, ValueError) as error:
            raise StoryjaxError(
                f"{path} is no bank of other objects ({error}); download the model's files again"
            ) from error


def localised(
    photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    category: str,
    detector: Detector,
    way: Pointing,
    notes: Notes | None = None,
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Returns x_loc of each photo of a thing: marked, or cropped, where a detector finds the category (§5.3.1).

    A photo in which it finds nothing stays as it is, and `notes` is called with that.
    """
    found = []
    for index, photo in enumerate(photos):
        box = detector.detect(photo, category)
        if box is None and notes is not None:
            notes(PhotoNote(index, f"shows no {category} that --detector finds: the whole photo is used"))
        found.append(mark(photo, box, way))
    return found


class Enrolment:
    """Trains a copy of π on one object; compiled once for each number of photos."""

    def __init__(
        self,
        model: PersonalClip,
        prompts: PromptEncoder,
        params: Params,
        bank: NegativeBank | None,
        config: EnrolmentConfig,
    ):
        self.model, self.prompts, self.params, self.config = model, prompts, params, config
        self.bank = bank
        self.length = model.config.text.max_length
        self.loss_config = LossConfig()
        self._embed_texts = jax.jit(lambda ids: model.embed_texts(params, ids))
        if bank is not None:
            rows = [self.embed_texts(row) for row in bank.captions]
            self.bank_texts = np.stack(rows)

    def embed_texts(self, texts: tuple[str, ...]) -> Float[np.ndarray, "n d"]:
        """Returns f_t of texts without tokens."""
        return np.asarray(self._embed_texts(np.stack([self.prompts.encode(text, self.length)[0] for text in texts])))

    def learn(
        self,
        whole: Float[np.ndarray, "n d"],
        local: Float[np.ndarray, "n d"],
        captions: tuple[str, str, str],
        progress: Callable[[int, int], None] | None = None,
        seed: int = 0,
    ) -> Float[np.ndarray, "1 d"]:
        """Returns the token of an object.

        Args:
            whole, local: f_v(x) and f_v(x_loc) of its photos.
            captions: (y*, y_s, y_g).
            progress: called with (steps done, of how many).
            seed: draws the negatives.
        """
        own = np.repeat(self.embed_texts(captions)[None], len(whole), axis=0)
        batch = {"whole": whole, "local": local, "texts": own, "objects": np.full(len(whole), -1, np.int32)}
        pi = self.params["pi"]
        start, advance = self._programs(len(whole))
        state = start(pi)
        rng = np.random.default_rng(seed)
        for done in range(0, self.config.steps, CHUNK):
            pi, state = advance(pi, state, self._batches(batch, rng))
            if progress is not None:
                progress(min(done + CHUNK, self.config.steps), self.config.steps)
        return np.asarray(self.model.tokens({"pi": pi}, jnp.asarray(local))).mean(axis=0, keepdims=True)

    def _batches(self, own: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """CHUNK batches: the object's photos, and negatives."""
        if self.bank is None:
            return {key: np.repeat(value[None], CHUNK, axis=0) for key, value in own.items()}
        count = min(self.config.negatives, len(self.bank.objects))
        drawn = np.stack([rng.permutation(len(self.bank.objects))[:count] for _ in range(CHUNK)])
        others = {
            "whole": self.bank.whole[drawn],
            "local": self.bank.local[drawn],
            "texts": self.bank_texts[self.bank.objects[drawn]],
            "objects": self.bank.objects[drawn],
        }
        return {key: np.concatenate([np.repeat(own[key][None], CHUNK, axis=0), others[key]], axis=1) for key in own}

    @functools.lru_cache(maxsize=8)  # noqa: B019 (an enrolment lives as long as its model)
    def _programs(self, photos: int) -> tuple[Callable, Callable]:
        """(the optimiser's init, CHUNK steps of training), for a number of photos."""
        del photos
        c = self.config
        schedule = optax.warmup_cosine_decay_schedule(0.0, c.learning_rate, c.warmup_steps, c.steps)
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.01))
        ids, slots = self.prompts.encode(c.prompt, self.length)

        def loss(pi: Params, batch: Mapping[str, Array]) -> Float[Array, ""]:
            params = {**self.params, "pi": pi}
            tokens = self.model.tokens(params, batch["local"])
            prompted = self.model.embed_prompt(params, tokens, ids, slots)
            texts = (batch["texts"][:, 0], batch["texts"][:, 1], batch["texts"][:, 2])
            return personalisation_loss(tokens, batch["whole"], prompted, texts, batch["objects"], self.loss_config)[0]

        def step(carry: tuple, batch: Mapping[str, Array]) -> tuple[tuple, None]:
            pi, state = carry
            updates, state = optimizer.update(jax.grad(loss)(pi, batch), state, pi)
            return (optax.apply_updates(pi, updates), state), None

        @jax.jit
        def advance(pi: Params, state: object, batches: Mapping[str, Array]) -> tuple:
            return jax.lax.scan(step, (pi, state), batches)[0]

        return optimizer.init, advance
