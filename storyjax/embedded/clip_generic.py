"""A small general CLIP: it knows appearances, actions, objects and places of StoryWorld, but no names.

The published CLIP knows few people by name (thesis, Table 4.3), and a personalised model has to teach it. The CLIP of
`storyjax.embedded.clip` is no substitute, for it was trained on sentences with names. This one is trained on sentences
that describe many more people, and objects in many colours; names are words of its vocabulary that no sentence has. Its
image encoder is that of `storyjax.embedded.clip`, frozen, so stills are embedded once.

One sentence may be true of many images of a batch. Which ones follows from the facts it states, and such pairs are no
negatives.
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

# The shipped network whose image encoder it is.
_IMAGE_ENCODER = "storyworld_clip"


@dataclass(frozen=True)
class GenericClipData:
    """Stills and the examples drawn from them.

    Attributes:
        root: folder of the stills; drawn if they are not there.
        stories, things: stories, with a still of every event, and rows of 16 photographs of objects, for training.
        val: of each for validation.
        events: stills drawn from a story or a row of objects.
        rewrites: rewritten sentences for each still of an event.
        text_length: tokens of a sentence, the end token included; longer sentences are drawn again.
        workers: processes that load data.
    """

    root: str = "runs/storyworld/stills"
    stories: int = 800
    things: int = 300
    val: int = 40
    events: int = 10
    rewrites: int = 1
    text_length: int = 24
    workers: int = 0


def load_events(
    row: tuple[np.ndarray, Story], rng: np.random.Generator, data: GenericClipData, tokenizer: Tokenizer, length: int
) -> Batch:
    """Returns embedded stills (n, p), the facts of each, its sentences, the true one first, and their facts."""
    embedded, story = row
    chosen = np.sort(rng.permutation(len(story.events))[: data.events])
    cast = [person.name for person in story.cast]
    out: dict[str, list[Any]] = {"texts": [], "text_place": [], "text_facts": [], "place": [], "facts": []}
    for event in (story.events[i] for i in chosen):
        place, facts = descriptions.truth(story, event)
        out["place"].append(np.int32(place))
        out["facts"].append(facts)
        rewritten = [event] + [rewrite(event, cast, rng) for _ in range(data.rewrites)]
        described = [
            _short_enough(functools.partial(descriptions.describe, story, one, rng), tokenizer, length)
            for one in rewritten
        ]
        claimed = [descriptions.claims(one) for one in described]
        out["texts"].append([encode_spliced(tokenizer, one.text, length)[0] for one in described])
        out["text_place"].append(np.array([place for place, _ in claimed], np.int32))
        out["text_facts"].append([facts for _, facts in claimed])
    return {"stills": embedded[chosen], **{key: np.array(value) for key, value in out.items()}}


def _short_enough(draw: Callable[[], Description], tokenizer: Tokenizer, length: int) -> Description:
    """A description of fewer than `length` tokens, drawn again until it is one, as most are."""
    while True:
        drawn = draw()
        if len(tokenizer.encode(drawn.text)) < length:
            return drawn


def load_things(
    row: tuple[np.ndarray, list[personal_objects.Scene]],
    rng: np.random.Generator,
    data: GenericClipData,
    tokenizer: Tokenizer,
    length: int,
) -> Batch:
    """Returns embedded photographs of objects (n, p) and a sentence about each (n, l)."""
    embedded, scenes = row
    chosen = np.sort(rng.permutation(len(scenes))[: data.events])
    texts = [personal_objects.describe(scenes[i], rng) for i in chosen]
    encoded = [encode_spliced(tokenizer, text, length)[0] for text in texts]
    return {"stills": embedded[chosen], "texts": np.stack(encoded)}


def is_true(
    place: Int[Array, " n"], facts: Int[Array, "n p f"], text_place: Int[Array, " t"], text_facts: Int[Array, "t c f"]
) -> Bool[Array, "n t"]:
    """Returns whether each sentence is true of each still.

    It is if its place is the still's, and each fact that it states is one of some performer's.

    Args:
        place: number of each still's place.
        facts: of each still's performers.
        text_place: the place that each sentence names, or a negative number for none.
        text_facts: the facts of each clause of each sentence; -1 for what it does not state.
    """
    where = (text_place[None] < 0) | (text_place[None] == place[:, None])
    said = text_facts[None, :, :, None, :]
    matches = jnp.all((said == -1) | (said == facts[:, None, None, :, :]), axis=-1)
    return where & jnp.all(jnp.any(matches, axis=-1), axis=-1)


def contrast(logits: Float[Array, "n t"], alike: Bool[Array, "n t"]) -> Float[Array, ""]:
    """Returns the symmetric InfoNCE of n images against t >= n texts.

    The i-th text is the positive of the i-th image, texts from n on are negatives of every image, and other pairs of
    which `alike` is True are left out.
    """
    count = logits.shape[0]
    diagonal = jnp.eye(logits.shape[0], logits.shape[1], dtype=bool)
    logits = jnp.where(alike & ~diagonal, -1e9, logits)
    own = jnp.arange(count)
    to_text = -jax.nn.log_softmax(logits, axis=1)[own, own]
    to_image = -jax.nn.log_softmax(logits[:, :count], axis=0)[own, own]
    return (to_text.mean() + to_image.mean()) / 2


class GenericObjective:
    """The dual encoder with its two losses and scores."""

    def __init__(self, config: ClipConfig):
        self.clip = Clip(config)

    def init(self, key: jax.Array) -> Params:
        """Returns random parameters."""
        c = self.clip.config
        images = jnp.zeros((1, c.vision.image_size, c.vision.image_size, 3))
        return self.clip.init(key, images, jnp.full((1, 2), c.text.eos_id, jnp.int32))["params"]

    def _logits(self, params: Params, stills: Float[Array, "b n p"], texts: Array) -> Float[Array, "i t"]:
        embedded: Any = self.clip.apply({"params": params}, texts, method=Clip.embed_texts)
        similarity = jnp.einsum("np,tp->nt", rearrange(stills, "b n p -> (b n) p"), embedded)
        return jnp.exp(params["logit_scale"]) * similarity

    def embedder(self, weights: Callable[[], dict[str, np.ndarray]]) -> Callable[[np.ndarray], np.ndarray]:
        """Returns a function of images (n, y, x, 3) to their embeddings (n, p), by the frozen image encoder."""

        @functools.cache
        def encoder() -> Params:
            return jax.device_put(unflatten({**weights(), "logit_scale": np.float32(0.0)}))

        embed: Any = jax.jit(lambda p, x: self.clip.apply({"params": p}, normalise(x), method=Clip.embed_images))
        return lambda images: np.asarray(embed(encoder(), images))

    def events(self, params: Params, batch: Batch) -> tuple[Float[Array, "n t"], Bool[Array, "n t"]]:
        """Returns similarities of all stills with all sentences, the true ones first, and which are true of which."""
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
        """Returns similarities of all photographs of objects with all sentences, and which sentences are equal."""
        texts = rearrange(batch["texts"], "b n l -> (b n) l")
        alike = jnp.all(texts[:, None] == texts[None], axis=-1)
        return self._logits(params, batch["stills"], texts), alike

    def event_loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the loss of stills of events, and nothing to log."""
        del key
        return contrast(*self.events(params, batch)), {}

    def thing_loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the loss of photographs of objects, and nothing to log."""
        del key
        return contrast(*self.things(params, batch)), {}

    def event_eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns sums: stills whose own sentence scores higher than its false rewrites, and than all false ones."""
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

    def thing_eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns sums: photographs whose own sentence scores higher than all others of the batch."""
        valid = jnp.repeat(batch["record_valid"], batch["texts"].shape[1]).astype(jnp.float32)
        logits, alike = self.things(params, batch)
        own = jnp.diagonal(logits)
        first = own > jnp.where(alike, -jnp.inf, logits).max(axis=1)
        return {"first": jnp.sum(valid * first), "stills": jnp.sum(valid)}


def _finish(prefix: str, sums: dict[str, Any]) -> dict[str, float]:
    names = {"beats_rewrites": "rewrite_acc", "first": "r1_in_batch"}
    return {f"{prefix}/{names[key]}": float(sums[key] / sums["stills"]) for key in names if key in sums}


def make_tokenizer() -> WordTokenizer:
    """Returns the tokenizer of descriptions; its vocabulary also has the names that none of them uses."""
    return WordTokenizer.from_words(descriptions.generic_vocabulary())


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of `configs/storyworld_clip_generic.py`."""
    tokenizer = make_tokenizer()
    text = {**config.model.get("text", {}), "vocab_size": tokenizer.vocab_size, "eos_id": tokenizer.eos_id}
    model = from_config(ClipConfig, {**config.model, "text": text}, "config.model")
    data = from_config(GenericClipData, config.data, "config.data")
    objective = GenericObjective(model)
    size, length = model.vision.image_size, data.text_length
    embed = objective.embedder(lambda: start())

    def stills(kind: str, split: str) -> EventStills | ThingStills:
        count = data.val if split == "val" else {"events": data.stories, "things": data.things}[kind]
        return (EventStills if kind == "events" else ThingStills)(data.root, split, count, size, embed)

    loaders = {
        "events": lambda row, rng: load_events(row, rng, data, tokenizer, length),
        "things": lambda row, rng: load_things(row, rng, data, tokenizer, length),
    }
    measures = {"events": objective.event_eval_step, "things": objective.thing_eval_step}

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

        return summing_evaluator(kind, stream, measures[kind], lambda sums: _finish(kind, sums))

    def start() -> dict[str, np.ndarray]:
        flat = load_flat(shipped(_IMAGE_ENCODER) / "model.safetensors")
        return {path: array for path, array in flat.items() if path.startswith("vision")}

    return Experiment(
        name="embedded.clip_generic",
        init=objective.init,
        pretrained=start,
        trainable=r"text/.*|text_projection/.*|logit_scale",
        tasks=(task("events", objective.event_loss), task("things", objective.thing_loss)),
        evaluators=(evaluator("events"), evaluator("things")),
        units="rows",
        steps_per_epoch=lambda: data.stories // config.train.batch_size,
    )
