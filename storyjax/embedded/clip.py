"""A small CLIP of StoryWorld: frames of its videos against sentences about them.

Frames are decoded from the exported mp4 files. The negatives of a frame's sentence include rewritten versions of it
(another person, another action, another place, the performers exchanged), so that the network has to encode *who did
what*.

A sentence names the performers from left to right, and the patches that show one performer are also matched with the
sentence about that performer alone. Without the second, frames are embedded as a bag of words (exchanged performers go
unnoticed), and the contents of a patch can only be read together with its position, which a resampler does not have.
"""

import functools
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int, UInt8
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.data.pipeline import eval_stream, train_stream
from storyjax.data.text import Tokenizer, WordTokenizer, pad
from storyjax.data.video import decode_frames
from storyjax.models.clip import Clip, ClipConfig
from storyjax.models.vit import ViTConfig
from storyjax.nn.image_normalisation import normalise
from storyjax.storyworld.render.video_cache import StoryVideo, StoryVideoCache
from storyjax.storyworld.story.cast import PEOPLE, PLACES, VEHICLES, phrases
from storyjax.storyworld.story.language import sentence
from storyjax.storyworld.story.stage import Shot, placements, shot_at
from storyjax.storyworld.story.story import Event, Performance
from storyjax.storyworld.story.vocabulary import vocabulary
from storyjax.train.experiment import Batch, Experiment, Export, Input, Params, Task, summing_evaluator


@dataclass(frozen=True)
class ClipData:
    """Videos and what is drawn from them.

    Attributes:
        root: folder of the exported videos; written if it is not there.
        train_stories, val_stories: stories in each split, each one video.
        events: events drawn from one video, a frame from each.
        rewrites: rewritten sentences for each frame.
        text_length: tokens of a sentence, the end token included.
        part_weight: weight of the loss of the performers' own patches against their own sentences.
        patch_keep_prob: probability that a performer's patch is used in a step.
        workers: processes that load data.
    """

    root: str = "runs/storyworld"
    train_stories: int = 600
    val_stories: int = 100
    events: int = 12
    rewrites: int = 3
    text_length: int = 16
    part_weight: float = 1.0
    patch_keep_prob: float = 0.5
    workers: int = 0


def rewrite(event: Event, cast: list[str], rng: np.random.Generator) -> Event:
    """Returns the event with one fact changed: who, what, where, or which performer does which."""
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


# A patch shows a performer when at least this fraction of it lies in the box of the performer or of the object.
_MIN_OVERLAP = 0.25
_PERFORMERS = 2


def visible_patches(shot: Shot, grid: int) -> Bool[np.ndarray, "r n"]:
    """Returns the patches of a `grid` × `grid` image, row by row, that show each performer of `shot.figures`.

    The second row is False everywhere if there is one performer.
    """
    edges = np.arange(grid) / grid
    patches = np.zeros((_PERFORMERS, grid, grid))
    for row, figure in enumerate(shot.figures):
        for placement in placements(shot):
            if placement.performer == figure.performance.person:
                x0, y0, x1, y1 = placement.box
                across = np.clip(np.minimum(x1, edges + 1 / grid) - np.maximum(x0, edges), 0, None) * grid
                down = np.clip(np.minimum(y1, edges + 1 / grid) - np.maximum(y0, edges), 0, None) * grid
                patches[row] = np.maximum(patches[row], np.outer(down, across))
    # A performer too small to fill any patch is assigned the one that shows most.
    least = np.minimum(_MIN_OVERLAP, patches.max(axis=(1, 2), keepdims=True))
    return ((patches >= least) & (patches > 0)).reshape(_PERFORMERS, -1)


def load_frames(
    take: StoryVideo, rng: np.random.Generator, data: ClipData, sizes: ViTConfig, tokenizer: Tokenizer
) -> Batch:
    """Returns frames (n, y, x, 3) uint8 of one video, their sentences (n, l) and the rewritten ones (n, r, l).

    Of both performers in a frame it returns a sentence about that one alone, "part_texts" (n, 2, l), and the patches,
    "parts" (n, 2, p) bool.
    """
    story = take.story
    chosen = [story.events[i] for i in np.sort(rng.permutation(len(story.events))[: data.events])]
    times = np.array([rng.uniform(event.start + 0.15, event.end - 0.15) for event in chosen], np.float32)
    frames, _ = decode_frames(take.video, times, sizes.image_size)
    cast = [person.name for person in story.cast]
    shots = [shot_at(story, float(time)) for time in times]
    events = [_from_left_to_right(shot) for shot in shots]

    def encode(event: Event) -> np.ndarray:
        return pad([*tokenizer.encode(sentence(event)), tokenizer.eos_id], data.text_length)

    rewritten = [[encode(rewrite(event, cast, rng)) for _ in range(data.rewrites)] for event in events]
    alone = [[encode(replace(s.event, performances=(f.performance,))) for f in s.figures] for s in shots]
    empty = np.full(data.text_length, tokenizer.eos_id)
    return {
        "frames": frames,
        "texts": np.stack([encode(event) for event in events]),
        "rewrites": np.array(rewritten),
        "part_texts": np.stack([[*texts, *[empty] * (_PERFORMERS - len(texts))] for texts in alone]),
        "parts": np.stack([visible_patches(shot, sizes.image_size // sizes.patch_size) for shot in shots]),
    }


def _from_left_to_right(shot: Shot) -> Event:
    figures = sorted(shot.figures, key=lambda figure: figure.x)
    return replace(shot.event, performances=tuple(figure.performance for figure in figures))


class ContrastiveObjective:
    """The dual encoder with its loss and scores."""

    def __init__(self, config: ClipConfig, data: ClipData):
        self.clip, self.data = Clip(config), data

    def init(self, key: jax.Array) -> Params:
        """Returns random parameters."""
        c = self.clip.config
        images = jnp.zeros((1, c.vision.image_size, c.vision.image_size, 3))
        return self.clip.init(key, images, jnp.full((1, 2), c.text.eos_id, jnp.int32))["params"]

    def similarities(
        self, params: Params, batch: Batch, key: jax.Array | None
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Returns scaled similarities, and which pairs are no negatives because the sentence is the frame's own.

        They are of all frames with all sentences, the true ones before the rewritten ones, and of all parts with the
        sentences of all parts; parts without a performer have no negatives. With a key, patches of parts are dropped.
        """
        apply: Any = functools.partial(self.clip.apply, {"params": params})
        images = normalise(rearrange(batch["frames"], "b n y x c -> (b n) y x c"))
        parts = rearrange(batch["parts"], "b n r p -> (b n) r p")
        weights = jnp.pad(self._drop_patches(parts, key), [(0, 0), (0, 0), (self.clip.config.vision.cls_token, 0)])
        of_frames, of_parts = apply(images, weights, method=Clip.embed_with_parts)
        own = rearrange(batch["texts"], "b n l -> (b n) l")
        texts = jnp.concatenate([own, rearrange(batch["rewrites"], "b n r l -> (b n r) l")])
        part_texts = rearrange(batch["part_texts"], "b n r l -> (b n r) l")
        embedded = apply(jnp.concatenate([texts, part_texts]), method=Clip.embed_texts)
        scale = jnp.exp(params["logit_scale"])
        frames = scale * jnp.einsum("ip,tp->it", of_frames, embedded[: len(texts)])
        of_parts = rearrange(of_parts, "b r p -> (b r) p")
        performers = scale * jnp.einsum("ip,tp->it", of_parts, embedded[len(texts) :])
        empty = ~_has_performer(batch)
        same_parts = _same_text(part_texts, part_texts) | empty[:, None] | empty[None, :]
        return (frames, _same_text(own, texts)), (performers, same_parts)

    def _drop_patches(self, parts: Bool[Array, "b r n"], key: jax.Array | None) -> Float[Array, "b r n"]:
        """The patches of each part; with a key a random subset, so that every patch encodes what it shows."""
        if key is None:
            return parts.astype(jnp.float32)
        kept = parts & jax.random.bernoulli(key, self.data.patch_keep_prob, parts.shape)
        return jnp.where(jnp.any(kept, axis=-1, keepdims=True), kept, parts).astype(jnp.float32)

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the symmetric InfoNCE of frames, with rewrites as more negatives, and of performers' patches."""
        (frames, same), (parts, same_parts) = self.similarities(params, batch, key)
        of_frames, right = _info_nce(frames, same, jnp.ones(frames.shape[0]))
        of_parts, right_parts = _info_nce(parts, same_parts, _has_performer(batch).astype(jnp.float32))
        return of_frames + self.data.part_weight * of_parts, {"r1": right, "parts": of_parts, "parts_r1": right_parts}

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns sums over a batch: numbers of frames and parts, and of those whose own sentence scores highest.

        "beats_rewrites" compares it with its rewrites, "first" and "parts_first" with all of the batch.
        """
        valid = jnp.repeat(batch["record_valid"], batch["texts"].shape[1]).astype(jnp.float32)
        rewrites = batch["rewrites"].shape[2]
        (logits, same), (parts, same_parts) = self.similarities(params, batch, None)
        count = logits.shape[0]
        own = jnp.diagonal(logits[:, :count])
        columns = count + jnp.arange(count)[:, None] * rewrites + jnp.arange(rewrites)[None, :]
        others = jnp.take_along_axis(jnp.where(same, -jnp.inf, logits), columns, axis=1)
        best = jnp.argmax(jnp.where(same & ~_diagonal(same), -jnp.inf, logits), axis=1)
        counted = _has_performer(batch)
        counted = counted & jnp.repeat(batch["record_valid"], len(counted) // len(batch["record_valid"]))
        best_part = jnp.argmax(jnp.where(same_parts & ~_diagonal(same_parts), -jnp.inf, parts), axis=1)
        return {
            "beats_rewrites": jnp.sum(valid * (own > others.max(axis=1))),
            "first": jnp.sum(valid * (best == jnp.arange(count))),
            "frames": jnp.sum(valid),
            "parts_first": jnp.sum(counted * (best_part == jnp.arange(len(parts)))),
            "parts": jnp.sum(counted),
        }


def _has_performer(batch: Batch) -> Bool[Array, " i"]:
    """Which parts show a performer."""
    return jnp.any(rearrange(batch["parts"], "b n r p -> (b n r) p"), axis=-1)


def _diagonal(pairs: Bool[Array, "i t"]) -> Bool[Array, "i t"]:
    return jnp.eye(pairs.shape[0], pairs.shape[1], dtype=bool)


def _same_text(a: Array, b: Array) -> Bool[Array, "i t"]:
    return jnp.all(a[:, None, :] == b[None, :, :], axis=-1)


def _info_nce(
    logits: Float[Array, "i t"], same: Bool[Array, "i t"], weight: Float[Array, " i"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """InfoNCE over rows and over the first columns, with the positives on the diagonal, and the accuracy of rows.

    Both are means weighted by `weight`; pairs of `same` off the diagonal are no negatives.
    """
    count = logits.shape[0]
    logits = jnp.where(same & ~_diagonal(same), -1e9, logits)
    rows = jnp.diagonal(jax.nn.log_softmax(logits, axis=1)[:, :count])
    columns = jnp.diagonal(jax.nn.log_softmax(logits[:, :count], axis=0))
    right = jnp.argmax(logits, axis=1) == jnp.arange(count)
    total = jnp.sum(weight)
    return -jnp.sum(weight * (rows + columns)) / (2 * total), jnp.sum(weight * right) / total


def _finish(sums: dict[str, Any]) -> dict[str, float]:
    return {
        "frames/rewrite_acc": float(sums["beats_rewrites"] / sums["frames"]),
        "frames/r1_in_batch": float(sums["first"] / sums["frames"]),
        "parts/r1_in_batch": float(sums["parts_first"] / sums["parts"]),
    }


def exports(clip: Clip, text_length: int) -> dict[str, Export]:
    """Returns both encoders as functions of their own."""
    size = clip.config.vision.image_size
    about = "embeddings of unit length in the common space (b, p)"

    def images(params: Params, images: UInt8[Array, "b y x 3"]) -> dict[str, Array]:
        embeddings: Any = clip.apply({"params": params}, normalise(images), method=Clip.embed_images)
        return {"embeddings": embeddings}

    def texts(params: Params, ids: Int[Array, "b l"]) -> dict[str, Array]:
        embeddings: Any = clip.apply({"params": params}, ids, method=Clip.embed_texts)
        return {"embeddings": embeddings}

    pixels = Input(f"b, {size}, {size}, 3", jnp.uint8, "RGB pixels 0..255")
    words = Input(f"b, {text_length}", jnp.int32, "token ids with the end token, padded behind with 0")
    image = Export(images, "Embeds images.", {"images": pixels}, {"embeddings": about}, uses="vision.*|logit_scale")
    return {
        "embed_images": image,
        "embed_texts": Export(texts, "Embeds texts.", {"ids": words}, {"embeddings": about}, uses="text.*|logit_scale"),
    }


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of `configs/storyworld_clip.py`."""
    tokenizer = WordTokenizer.from_words(vocabulary())
    text = {**config.model.get("text", {}), "vocab_size": tokenizer.vocab_size, "eos_id": tokenizer.eos_id}
    model = from_config(ClipConfig, {**config.model, "text": text}, "config.model")
    data = from_config(ClipData, config.data, "config.data")
    objective = ContrastiveObjective(model, data)
    counts = {"train": data.train_stories, "val": data.val_stories}
    footage = {split: StoryVideoCache(data.root, split, counts) for split in ("train", "val")}

    def load(take: StoryVideo, rng: np.random.Generator) -> Batch:
        return load_frames(take, rng, data, model.vision, tokenizer)

    task = Task(
        "contrast", lambda spec: train_stream(footage["train"], load, spec, workers=data.workers), objective.loss
    )
    evaluator = summing_evaluator(
        "frames", lambda spec: eval_stream(footage["val"], load, spec), objective.eval_step, _finish
    )
    return Experiment(
        name="embedded.clip",
        init=objective.init,
        trainable=".*",
        tasks=(task,),
        evaluators=(evaluator,),
        units="videos",
        steps_per_epoch=lambda: data.train_stories // config.train.batch_size,
        exports=exports(objective.clip, data.text_length),
    )
