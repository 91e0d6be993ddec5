"""A small general CLIP: it knows looks, doings, things and places of StoryWorld, but nobody by name.

The published CLIP knows few people by name (thesis, Table 4.3), and a personalised model has to teach it. The CLIP of
`storyjax.embedded.clip` would not do in its place, for it learnt from sentences with names. This one learns from
sentences that describe people, many more of them, and things in many colours; names are words of its vocabulary that no
sentence had. Its image tower is that of `storyjax.embedded.clip` as it is, so stills are embedded once.

One sentence may be true of many pictures of a batch. Which it is true of follows from what it claims, and such pairs
are no negatives.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.params_io import load_flat, shipped, unflatten
from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.streams import StreamSpec
from storyjax.data.text import Tokenizer, WordTokenizer, encode_spliced
from storyjax.embedded.clip import rewrite
from storyjax.models.clip import Clip, ClipConfig
from storyjax.nn.image_normalisation import normalise
from storyjax.storyworld.draw import personal_objects
from storyjax.storyworld.draw.stills import EventStills, ThingStills
from storyjax.storyworld.story import descriptions
from storyjax.storyworld.story.descriptions import Description
from storyjax.storyworld.story.story import Story
from storyjax.train.experiment import Batch, Evaluator, Experiment, Params, Task, summing_evaluator


@dataclass(frozen=True)
class GenericClipData:
    """Stills and what is drawn from them.

    Attributes:
        folder: where the stills are kept; drawn when they are not there.
        stories, things: stories, each a still of every event, and rows of 16 photographs of things, for training.
        val: of each for validation.
        events: stills drawn from a story or a row of things.
        rewrites: rewritten sentences for each still of an event.
        text_length: tokens of a sentence, the end token included; longer ones are said otherwise.
        start: whose image tower it is.
    """

    folder: str = "runs/storyworld/stills"
    stories: int = 800
    things: int = 300
    val: int = 40
    events: int = 10
    rewrites: int = 1
    text_length: int = 24
    start: str = "storyworld_clip"
    workers: int = 0


def load_events(
    row: tuple[np.ndarray, Story], rng: np.random.Generator, data: GenericClipData, tokenizer: Tokenizer, length: int
) -> Batch:
    """Stills, embedded (n, p), the truth of each, and its sentences, the true one first, with what they claim."""
    embedded, story = row
    chosen = np.sort(rng.permutation(len(story.events))[: data.events])
    cast = [person.name for person in story.cast]
    out: dict[str, list[Any]] = {"texts": [], "text_place": [], "text_facts": [], "place": [], "facts": []}
    for event in (story.events[i] for i in chosen):
        place, facts = descriptions.truth(story, event)
        out["place"].append(np.int32(place))
        out["facts"].append(facts)
        told = [event] + [rewrite(event, cast, rng) for _ in range(data.rewrites)]
        described = [_short(lambda one=one: descriptions.describe(story, one, rng), tokenizer, length) for one in told]
        claimed = [descriptions.claims(one) for one in described]
        out["texts"].append([encode_spliced(tokenizer, one.text, length)[0] for one in described])
        out["text_place"].append(np.array([place for place, _ in claimed], np.int32))
        out["text_facts"].append([facts for _, facts in claimed])
    return {"stills": embedded[chosen], **{key: np.array(value) for key, value in out.items()}}


def _short(tell: Callable[[], Description], tokenizer: Tokenizer, length: int) -> Description:
    """A sentence of the right length: told again and again until it fits, as most do."""
    while True:
        told = tell()
        if len(tokenizer.encode(told.text)) < length:
            return told


def load_things(
    row: tuple[np.ndarray, list[personal_objects.Scene]],
    rng: np.random.Generator,
    data: GenericClipData,
    tokenizer: Tokenizer,
    length: int,
) -> Batch:
    """Photographs of things, embedded (n, p), and a sentence about each (n, l)."""
    embedded, scenes = row
    chosen = np.sort(rng.permutation(len(scenes))[: data.events])
    texts = [personal_objects.describe(scenes[i], rng) for i in chosen]
    encoded = [encode_spliced(tokenizer, text, length)[0] for text in texts]
    return {"stills": embedded[chosen], "texts": np.stack(encoded)}


def is_true(
    place: Int[Array, "n"], facts: Int[Array, "n p f"], text_place: Int[Array, "t"], text_facts: Int[Array, "t c f"]
) -> Bool[Array, "n t"]:
    """Whether each sentence is true of each still: its place is, and each of its claims is of some performer."""
    where = (text_place[None] < 0) | (text_place[None] == place[:, None])
    said = text_facts[None, :, :, None, :]
    matches = jnp.all((said == -1) | (said == facts[:, None, None, :, :]), axis=-1)
    return where & jnp.all(jnp.any(matches, axis=-1), axis=-1)


def contrast(logits: Float[Array, "n t"], alike: Bool[Array, "n t"]) -> Float[Array, ""]:
    """Symmetric InfoNCE of n pictures against t >= n texts, the i-th text the i-th picture's own; texts from n on are
    negatives of every picture; other pairs that are alike are left out."""
    count = logits.shape[0]
    diagonal = jnp.eye(*logits.shape, dtype=bool)
    logits = jnp.where(alike & ~diagonal, -1e9, logits)
    own = jnp.arange(count)
    to_text = -jax.nn.log_softmax(logits, axis=1)[own, own]
    to_image = -jax.nn.log_softmax(logits[:, :count], axis=0)[own, own]
    return (to_text.mean() + to_image.mean()) / 2


class GenericContrast:
    """The dual encoder with its two losses and scores."""

    def __init__(self, config: ClipConfig):
        self.clip = Clip(config)

    def init(self, key: jax.Array) -> Params:
        c = self.clip.config
        images = jnp.zeros((1, c.vision.image_size, c.vision.image_size, 3))
        return self.clip.init(key, images, jnp.full((1, 2), c.text.eos_id, jnp.int32))["params"]

    def _logits(self, params: Params, stills: Float[Array, "b n p"], texts: Array) -> Float[Array, "i t"]:
        embedded = self.clip.apply({"params": params}, texts, method=Clip.embed_texts)
        similarity = jnp.einsum("np,tp->nt", rearrange(stills, "b n p -> (b n) p"), embedded)
        return jnp.exp(params["logit_scale"]) * similarity

    def embedder(self, weights: Callable[[], dict[str, np.ndarray]]) -> Callable[[np.ndarray], np.ndarray]:
        """Pictures (n, y, x, 3) to their embeddings (n, p), by the frozen image tower."""

        @functools.cache
        def tower() -> Params:
            return jax.device_put(unflatten({**weights(), "logit_scale": np.float32(0.0)}))

        look = jax.jit(lambda p, x: self.clip.apply({"params": p}, normalise(x), method=Clip.embed_images))
        return lambda pictures: np.asarray(look(tower(), pictures))

    def events(self, params: Params, batch: Batch) -> tuple[Float[Array, "n t"], Bool[Array, "n t"]]:
        """Similarities of all stills with all sentences, the true ones first, and which are true of which."""
        split = {
            key: jnp.concatenate(
                [
                    rearrange(batch[key][:, :, 0], "b n ... -> (b n) ..."),
                    rearrange(batch[key][:, :, 1:], "b n r ... -> (b n r) ..."),
                ]
            )
            for key in ("texts", "text_place", "text_facts")
        }
        alike = is_true(
            rearrange(batch["place"], "b n -> (b n)"),
            rearrange(batch["facts"], "b n p f -> (b n) p f"),
            split["text_place"],
            split["text_facts"],
        )
        return self._logits(params, batch["stills"], split["texts"]), alike

    def things(self, params: Params, batch: Batch) -> tuple[Float[Array, "n n"], Bool[Array, "n n"]]:
        texts = rearrange(batch["texts"], "b n l -> (b n) l")
        alike = jnp.all(texts[:, None] == texts[None], axis=-1)
        return self._logits(params, batch["stills"], texts), alike

    def event_loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key
        return contrast(*self.events(params, batch)), {}

    def thing_loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key
        return contrast(*self.things(params, batch)), {}

    def measure_events(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Sums: stills whose own sentence beats the false ones among its rewrites, and all false ones of the batch."""
        valid = jnp.repeat(batch["record_valid"], batch["place"].shape[1]).astype(jnp.float32)
        logits, alike = self.events(params, batch)
        count = logits.shape[0]
        rewrites = batch["texts"].shape[2] - 1
        own = jnp.diagonal(logits[:, :count])
        false = jnp.where(alike, -jnp.inf, logits)
        columns = count + jnp.arange(count)[:, None] * rewrites + jnp.arange(rewrites)[None, :]
        others = jnp.take_along_axis(false, columns, axis=1)
        return {
            "beats_rewrites": jnp.sum(valid * (own > others.max(axis=1))),
            "first": jnp.sum(valid * (own > false[:, :count].max(axis=1))),
            "stills": jnp.sum(valid),
        }

    def measure_things(self, params: Params, batch: Batch) -> dict[str, Array]:
        valid = jnp.repeat(batch["record_valid"], batch["texts"].shape[1]).astype(jnp.float32)
        logits, alike = self.things(params, batch)
        own = jnp.diagonal(logits)
        first = own > jnp.where(alike, -jnp.inf, logits).max(axis=1)
        return {"first": jnp.sum(valid * first), "stills": jnp.sum(valid)}


def _shares(prefix: str, sums: dict[str, Any]) -> dict[str, float]:
    names = {"beats_rewrites": "rewrite_acc", "first": "r1_in_batch"}
    return {f"{prefix}/{names[key]}": float(sums[key] / sums["stills"]) for key in names if key in sums}


def make_tokenizer() -> WordTokenizer:
    return WordTokenizer.from_words(descriptions.generic_vocabulary())


def build(config: ConfigDict) -> Experiment:
    """The experiment of `configs/storyworld_clip_generic.py`."""
    tokenizer = make_tokenizer()
    text = {**config.model.get("text", {}), "vocab_size": tokenizer.vocab_size, "eos_id": tokenizer.eos_id}
    model = from_config(ClipConfig, {**config.model, "text": text}, "config.model")
    data = from_config(GenericClipData, config.data, "config.data")
    both = GenericContrast(model)
    size, length = model.vision.image_size, data.text_length
    embed = both.embedder(lambda: start())

    def stills(kind: str, split: str) -> EventStills | ThingStills:
        count = data.val if split == "val" else {"events": data.stories, "things": data.things}[kind]
        return (EventStills if kind == "events" else ThingStills)(data.folder, split, count, size, embed)

    loaders = {
        "events": lambda row, rng: load_events(row, rng, data, tokenizer, length),
        "things": lambda row, rng: load_things(row, rng, data, tokenizer, length),
    }
    measures = {"events": both.measure_events, "things": both.measure_things}

    def task(kind: str, loss: Any) -> Task:
        source = stills(kind, "train")

        def stream(spec: StreamSpec) -> Stream:
            source.look()
            return train_stream(source, loaders[kind], spec, workers=data.workers)

        return Task(kind, stream, loss)

    def evaluator(kind: str) -> Evaluator:
        source = stills(kind, "val")

        def stream(spec: StreamSpec) -> Stream:
            source.look()
            return eval_stream(source, loaders[kind], spec)

        return summing_evaluator(kind, stream, measures[kind], lambda sums: _shares(kind, sums))

    def start() -> dict[str, np.ndarray]:
        flat = load_flat(shipped(data.start) / "model.safetensors")
        return {path: array for path, array in flat.items() if path.startswith("vision")}

    return Experiment(
        name="embedded.clip_generic",
        init=both.init,
        pretrained=start,
        trainable=r"text/.*|text_projection/.*|logit_scale",
        tasks=(task("events", both.event_loss), task("things", both.thing_loss)),
        evaluators=(evaluator("events"), evaluator("things")),
        units="rows",
        steps_per_epoch=lambda: data.stories // config.train.batch_size,
    )
