"""A small CLIP of StoryWorld: frames of its videos against sentences about them.

Frames come from the exported mp4 files, codec and all. Each frame's sentence also meets rewritten versions of itself
(another person, another doing, another place, the performers swapped), so that telling *who did what* pays.

A sentence names the performers from left to right, and the patches that show one performer also meet the sentence of
that one alone. Without the second, frames are embedded as a bag of words (swapped performers go unnoticed), and what a
patch shows can only be told by a reader that knows where the patch lies, which a resampler does not.
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
from storyjax.storyworld.render.video_cache import Footage, Take
from storyjax.storyworld.story.cast import PEOPLE, PLACES, VEHICLES, phrases
from storyjax.storyworld.story.language import sentence
from storyjax.storyworld.story.stage import Shot, placements, shot_at
from storyjax.storyworld.story.story import Event, Performance
from storyjax.storyworld.story.vocabulary import vocabulary
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
        parts: weight of the performers' own patches against their own sentences.
        keep_patches: share of a performer's patches that each step looks at.
    """

    world: str = "runs/storyworld"
    train: int = 600
    val: int = 100
    events: int = 12
    rewrites: int = 3
    text_length: int = 16
    parts: float = 1.0
    keep_patches: float = 0.5
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


# A patch shows a performer when at least this share of it lies in the box of the performer, or of the thing dealt with.
_OVERLAP = 0.25
_PERFORMERS = 2


def seen_patches(shot: Shot, grid: int) -> Bool[np.ndarray, "r n"]:
    """The patches of a `grid` × `grid` picture, row by row, that show each performer of `shot.figures`; none for those
    that there are not."""
    edges = np.arange(grid) / grid
    patches = np.zeros((_PERFORMERS, grid, grid))
    for row, figure in enumerate(shot.figures):
        for placement in placements(shot):
            if placement.performer == figure.performance.person:
                x0, y0, x1, y1 = placement.box
                across = np.clip(np.minimum(x1, edges + 1 / grid) - np.maximum(x0, edges), 0, None) * grid
                down = np.clip(np.minimum(y1, edges + 1 / grid) - np.maximum(y0, edges), 0, None) * grid
                patches[row] = np.maximum(patches[row], np.outer(down, across))
    # A performer too small to fill any patch is seen in the one that shows most.
    least = np.minimum(_OVERLAP, patches.max(axis=(1, 2), keepdims=True))
    return ((patches >= least) & (patches > 0)).reshape(_PERFORMERS, -1)


def load_frames(take: Take, rng: np.random.Generator, data: ClipData, sizes: ViTConfig, tokenizer: Tokenizer) -> Batch:
    """Frames (n, y, x, 3) uint8 of one video, their sentences (n, l) and the rewritten ones (n, r, l); of each
    performer in them the own sentence (n, 2, l) and the patches (n, 2, p) bool."""
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
    nobody = np.full(data.text_length, tokenizer.eos_id)
    return {
        "frames": frames,
        "texts": np.stack([encode(event) for event in events]),
        "rewrites": np.array(rewritten),
        "part_texts": np.stack([[*texts, *[nobody] * (_PERFORMERS - len(texts))] for texts in alone]),
        "parts": np.stack([seen_patches(shot, sizes.image_size // sizes.patch_size) for shot in shots]),
    }


def _from_left_to_right(shot: Shot) -> Event:
    figures = sorted(shot.figures, key=lambda figure: figure.x)
    return replace(shot.event, performances=tuple(figure.performance for figure in figures))


class Contrast:
    """The dual encoder with its loss and scores."""

    def __init__(self, config: ClipConfig, data: ClipData):
        self.clip, self.data = Clip(config), data

    def init(self, key: jax.Array) -> Params:
        c = self.clip.config
        images = jnp.zeros((1, c.vision.image_size, c.vision.image_size, 3))
        return self.clip.init(key, images, jnp.full((1, 2), c.text.eos_id, jnp.int32))["params"]

    def similarities(
        self, params: Params, batch: Batch, key: jax.Array | None
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Scaled similarities, and which pairs are alike (a sentence that reads exactly like one's own is no negative):
        of all frames (i,) with all sentences, true and rewritten, in this order, and of all parts with all their
        sentences; those of no performer are alike everything."""
        apply = functools.partial(self.clip.apply, {"params": params})
        images = normalise(rearrange(batch["frames"], "b n y x c -> (b n) y x c"))
        parts = rearrange(batch["parts"], "b n r p -> (b n) r p")
        weights = jnp.pad(self._thinned(parts, key), [(0, 0), (0, 0), (self.clip.config.vision.cls_token, 0)])
        of_frames, of_parts = apply(images, weights, method=Clip.embed_with_parts)
        own = rearrange(batch["texts"], "b n l -> (b n) l")
        texts = jnp.concatenate([own, rearrange(batch["rewrites"], "b n r l -> (b n r) l")])
        part_texts = rearrange(batch["part_texts"], "b n r l -> (b n r) l")
        embedded = apply(jnp.concatenate([texts, part_texts]), method=Clip.embed_texts)
        scale = jnp.exp(params["logit_scale"])
        frames = scale * jnp.einsum("ip,tp->it", of_frames, embedded[: len(texts)])
        of_parts = rearrange(of_parts, "b r p -> (b r) p")
        performers = scale * jnp.einsum("ip,tp->it", of_parts, embedded[len(texts) :])
        nobody = ~_somebody(batch)
        alike_parts = _alike(part_texts, part_texts) | nobody[:, None] | nobody[None, :]
        return (frames, _alike(own, texts)), (performers, alike_parts)

    def _thinned(self, parts: Bool[Array, "b r n"], key: jax.Array | None) -> Float[Array, "b r n"]:
        """The patches of each part; with a key a random share of them, so that every patch tells what it shows."""
        if key is None:
            return parts.astype(jnp.float32)
        kept = parts & jax.random.bernoulli(key, self.data.keep_patches, parts.shape)
        return jnp.where(jnp.any(kept, axis=-1, keepdims=True), kept, parts).astype(jnp.float32)

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Symmetric InfoNCE of frames, with rewritten sentences as further negatives, and of performers' patches."""
        (frames, alike), (parts, alike_parts) = self.similarities(params, batch, key)
        everyone = jnp.ones(frames.shape[0])
        of_frames, right = _info_nce(frames, alike, everyone)
        of_parts, right_parts = _info_nce(parts, alike_parts, _somebody(batch).astype(jnp.float32))
        return of_frames + self.data.parts * of_parts, {"r1": right, "parts": of_parts, "parts_r1": right_parts}

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Sums: frames whose own sentence beats its rewrites, and the cosine margins."""
        valid = jnp.repeat(batch["record_valid"], batch["texts"].shape[1]).astype(jnp.float32)
        rewrites = batch["rewrites"].shape[2]
        (logits, alike), (parts, alike_parts) = self.similarities(params, batch, None)
        count = logits.shape[0]
        own = jnp.diagonal(logits[:, :count])
        columns = count + jnp.arange(count)[:, None] * rewrites + jnp.arange(rewrites)[None, :]
        others = jnp.take_along_axis(jnp.where(alike, -jnp.inf, logits), columns, axis=1)
        best = jnp.argmax(jnp.where(alike & ~jnp.eye(*alike.shape, dtype=bool), -jnp.inf, logits), axis=1)
        somebody = _somebody(batch)
        somebody = somebody & jnp.repeat(batch["record_valid"], len(somebody) // len(batch["record_valid"]))
        best_part = jnp.argmax(
            jnp.where(alike_parts & ~jnp.eye(*alike_parts.shape, dtype=bool), -jnp.inf, parts), axis=1
        )
        return {
            "beats_rewrites": jnp.sum(valid * (own > others.max(axis=1))),
            "first": jnp.sum(valid * (best == jnp.arange(count))),
            "frames": jnp.sum(valid),
            "parts_first": jnp.sum(somebody * (best_part == jnp.arange(len(parts)))),
            "parts": jnp.sum(somebody),
        }


def _somebody(batch: Batch) -> Bool[Array, " i"]:
    """Which parts there are."""
    return jnp.any(rearrange(batch["parts"], "b n r p -> (b n r) p"), axis=-1)


def _alike(a: Array, b: Array) -> Bool[Array, "i t"]:
    return jnp.all(a[:, None, :] == b[None, :, :], axis=-1)


def _info_nce(
    logits: Float[Array, "i t"], alike: Bool[Array, "i t"], weight: Float[Array, " i"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """InfoNCE over rows and over the first columns, whose own are on the diagonal, and the share of rows that are
    right: means by `weight`."""
    count = logits.shape[0]
    logits = jnp.where(alike & ~jnp.eye(*logits.shape, dtype=bool), -1e9, logits)
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
    contrast = Contrast(model, data)
    footage = {split: Footage(data.world, split, {"train": data.train, "val": data.val}) for split in ("train", "val")}

    def load(take: Take, rng: np.random.Generator) -> Batch:
        return load_frames(take, rng, data, model.vision, tokenizer)

    task = Task(
        "contrast", lambda spec: train_stream(footage["train"], load, spec, workers=data.workers), contrast.loss
    )
    evaluator = summing_evaluator(
        "frames", lambda spec: eval_stream(footage["val"], load, spec), contrast.eval_step, _finish
    )
    return Experiment(
        name="embedded.clip",
        init=contrast.init,
        trainable=".*",
        tasks=(task,),
        evaluators=(evaluator,),
        units="videos",
        steps_per_epoch=lambda: data.train // config.train.batch_size,
        exports=exports(contrast.clip, data.text_length),
    )
