"""A small CLIP of StoryWorld: frames of its videos against sentences about them.

Frames come from the exported mp4 files, codec and all. Each frame's sentence also meets rewritten versions of itself
(another person, another doing, another place, the performers swapped), so that telling *who did what* pays.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int, UInt8
from ml_collections import ConfigDict

from storyjax.configuration import from_config
from storyjax.data.pipeline import eval_stream, train_stream
from storyjax.data.text import Tokenizer, WordTokenizer, pad
from storyjax.data.video import decode_frames
from storyjax.nn.clip import Clip, ClipConfig
from storyjax.nn.pixels import normalise
from storyjax.storyworld.cast import PEOPLE, PLACES, VEHICLES, phrases
from storyjax.storyworld.footage import Footage, Take
from storyjax.storyworld.language import sentence
from storyjax.storyworld.story import Event, Performance
from storyjax.storyworld.vocabulary import vocabulary
from storyjax.train.experiment import Batch, Experiment, Export, Input, Params, Task, summing_evaluator


@dataclass(frozen=True)
class ClipData:
    """Footage and what is drawn from it.

    Attributes:
        world: folder of the exported world; made if it is not there.
        train, val: stories in each split.
        events: events drawn from one video, a frame from each.
        rewrites: rewritten sentences for each frame.
        text_length: tokens of a sentence, the end token included.
    """

    world: str = "runs/storyworld"
    train: int = 600
    val: int = 100
    events: int = 12
    rewrites: int = 3
    text_length: int = 16
    workers: int = 0


def rewrite(event: Event, cast: list[str], rng: np.random.Generator) -> Event:
    """The event with one thing about it changed: who, what, where, or which performer does which."""
    performances = list(event.performances)
    place = event.place
    change = rng.choice(["who", "what", "where", "swap"] if len(performances) == 2 else ["who", "what", "where"])
    which = int(rng.integers(len(performances)))
    old = performances[which]
    if change == "who":
        pool = cast if rng.random() < 0.5 else list(PEOPLE)
        people = [name for name in pool if name not in {p.person for p in performances}] or list(PEOPLE)[:4]
        performances[which] = Performance(str(rng.choice(people)), old.action, old.thing)
    elif change == "what":
        performances[which] = Performance(old.person, *_other_phrase(event.role, old, rng))
    elif change == "where":
        place = str(rng.choice([name for name in PLACES if name != place]))
    else:
        first, second = performances
        performances = [
            Performance(second.person, first.action, first.thing),
            Performance(first.person, second.action, second.thing),
        ]
    return Event(event.start, event.end, event.role, place, tuple(performances))


def _other_phrase(role: str, old: Performance, rng: np.random.Generator) -> tuple[str, str | None]:
    if role == "travel":
        return "go", str(rng.choice([mode for mode in VEHICLES if mode != old.thing]))
    others = [phrase for phrase in phrases(role) if phrase != old.phrase]
    return others[int(rng.integers(len(others)))]


def load_frames(take: Take, rng: np.random.Generator, data: ClipData, size: int, tokenizer: Tokenizer) -> Batch:
    """Frames (n, y, x, 3) uint8, their sentences (n, l) and the rewritten ones (n, r, l) of one video."""
    story = take.story
    chosen = [story.events[i] for i in np.sort(rng.permutation(len(story.events))[: data.events])]
    times = np.array([rng.uniform(event.start + 0.15, event.end - 0.15) for event in chosen], np.float32)
    frames, _ = decode_frames(take.video, times, size)
    cast = [person.name for person in story.cast]

    def encode(event: Event) -> np.ndarray:
        return pad([*tokenizer.encode(sentence(event)), tokenizer.eos_id], data.text_length)

    rewritten = [[encode(rewrite(event, cast, rng)) for _ in range(data.rewrites)] for event in chosen]
    return {"frames": frames, "texts": np.stack([encode(e) for e in chosen]), "rewrites": np.array(rewritten)}


class Contrast:
    """The dual encoder with its loss and scores."""

    def __init__(self, config: ClipConfig):
        self.clip = Clip(config)

    def init(self, key: jax.Array) -> Params:
        c = self.clip.config
        images = jnp.zeros((1, c.vision.image_size, c.vision.image_size, 3))
        return self.clip.init(key, images, jnp.full((1, 2), c.text.eos_id, jnp.int32))["params"]

    def similarities(self, params: Params, batch: Batch) -> tuple[Float[Array, "i t"], Bool[Array, "i t"]]:
        """Scaled similarities of all frames with all sentences, true and rewritten (in this order), and which
        pairs are alike: a sentence that reads exactly like the frame's own is no negative."""
        images = normalise(rearrange(batch["frames"], "b n y x c -> (b n) y x c"))
        own = rearrange(batch["texts"], "b n l -> (b n) l")
        texts = jnp.concatenate([own, rearrange(batch["rewrites"], "b n r l -> (b n r) l")])
        logits = self.clip.apply({"params": params}, images, texts)
        alike = jnp.all(own[:, None, :] == texts[None, :, :], axis=-1)
        return logits, alike

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Symmetric InfoNCE; rewritten sentences are further negatives of every frame."""
        del key
        logits, alike = self.similarities(params, batch)
        count = logits.shape[0]
        diagonal = jnp.eye(count, logits.shape[1], dtype=bool)
        logits = jnp.where(alike & ~diagonal, -1e9, logits)
        to_text = -jax.nn.log_softmax(logits, axis=1)[jnp.arange(count), jnp.arange(count)]
        to_image = -jax.nn.log_softmax(logits[:, :count], axis=0)[jnp.arange(count), jnp.arange(count)]
        right = jnp.argmax(logits, axis=1) == jnp.arange(count)
        return (to_text.mean() + to_image.mean()) / 2, {"r1": right.astype(jnp.float32).mean()}

    def measure(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Sums: frames whose own sentence beats its rewrites, and the cosine margins."""
        valid = jnp.repeat(batch["record_valid"], batch["texts"].shape[1]).astype(jnp.float32)
        rewrites = batch["rewrites"].shape[2]
        logits, alike = self.similarities(params, {k: v for k, v in batch.items() if k != "record_valid"})
        count = logits.shape[0]
        own = jnp.diagonal(logits[:, :count])
        columns = count + jnp.arange(count)[:, None] * rewrites + jnp.arange(rewrites)[None, :]
        others = jnp.take_along_axis(jnp.where(alike, -jnp.inf, logits), columns, axis=1)
        best = jnp.argmax(jnp.where(alike & ~jnp.eye(*alike.shape, dtype=bool), -jnp.inf, logits), axis=1)
        return {
            "beats_rewrites": jnp.sum(valid * (own > others.max(axis=1))),
            "first": jnp.sum(valid * (best == jnp.arange(count))),
            "frames": jnp.sum(valid),
        }


def _finish(sums: dict[str, Any]) -> dict[str, float]:
    return {
        "frames/rewrite_acc": float(sums["beats_rewrites"] / sums["frames"]),
        "frames/r1_in_batch": float(sums["first"] / sums["frames"]),
    }


def exports(clip: Clip, text_length: int) -> dict[str, Export]:
    """Both towers, each for itself."""
    size = clip.config.vision.image_size
    about = "embeddings of unit length in the common space (b, p)"

    def images(params: Params, images: UInt8[Array, "b y x 3"]) -> dict[str, Array]:
        return {"embeddings": clip.apply({"params": params}, normalise(images), method=Clip.embed_images)}

    def texts(params: Params, ids: Int[Array, "b l"]) -> dict[str, Array]:
        return {"embeddings": clip.apply({"params": params}, ids, method=Clip.embed_texts)}

    pixels = Input(f"b, {size}, {size}, 3", jnp.uint8, "RGB pixels 0..255")
    words = Input(f"b, {text_length}", jnp.int32, "token ids with the end token, padded behind with 0")
    image = Export(images, "Embeds images.", {"images": pixels}, {"embeddings": about}, uses="vision.*|logit_scale")
    return {
        "embed_images": image,
        "embed_texts": Export(texts, "Embeds texts.", {"ids": words}, {"embeddings": about}, uses="text.*|logit_scale"),
    }


def build(config: ConfigDict) -> Experiment:
    """The experiment of `configs/storyworld_clip.py`."""
    tokenizer = WordTokenizer.from_words(vocabulary())
    text = {**config.model.get("text", {}), "vocab_size": tokenizer.vocab_size, "eos_id": tokenizer.eos_id}
    model = from_config(ClipConfig, {**config.model, "text": text}, "config.model")
    data = from_config(ClipData, config.data, "config.data")
    contrast = Contrast(model)
    footage = {split: Footage(data.world, split, {"train": data.train, "val": data.val}) for split in ("train", "val")}

    def load(take: Take, rng: np.random.Generator) -> Batch:
        return load_frames(take, rng, data, model.vision.image_size, tokenizer)

    task = Task(
        "contrast", lambda spec: train_stream(footage["train"], load, spec, workers=data.workers), contrast.loss
    )
    evaluator = summing_evaluator(
        "frames", lambda spec: eval_stream(footage["val"], load, spec), contrast.measure, _finish
    )
    return Experiment(
        name="towers.clip",
        init=contrast.init,
        trainable=".*",
        tasks=(task,),
        evaluators=(evaluator,),
        units="videos",
        steps_per_epoch=lambda: data.train // config.train.batch_size,
        exports=exports(contrast.clip, data.text_length),
    )
