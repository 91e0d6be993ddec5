"""Initialisation from CLIP: a start for the resampler in which its prompt's words already match frames.

The small vision tower was trained beside a text tower (CLIP), so every word of its sentences has a direction in the
space that frames are projected to: the mean embedding of the sentences with the word, less the mean of all. These
directions become the resampler's vocabulary, CLIP's projection its visual projection, and its attentions start by
passing on what they attend to: before any training a word attends to the frames that show it, takes over what they show
and when, and hands this to the queries, which then attend to the frames that are alike.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from storyjax.core.config import from_config
from storyjax.core.params_io import load_flat, unflatten
from storyjax.data.text import Tokenizer, pad
from storyjax.models.clip import Clip, ClipConfig
from storyjax.storyworld.story.cast import ACTIONS
from storyjax.storyworld.story.language import sentence
from storyjax.storyworld.story.story import make_story
from storyjax.tcr.resampler import TcrConfig

_STORIES = range(60_000_000, 60_000_400)
_SHARPNESS = 1.5  # of queries and keys at the start, each


def start_from_clip(folder: Path, tokenizer: Tokenizer, sizes: TcrConfig) -> dict[str, np.ndarray]:
    """Returns starting values of the resampler's parameters, flat, from the CLIP in `folder`; its common space must
    be as wide as the resampler.
    """
    flat = load_flat(folder / "model.safetensors")
    projection = flat["vision_projection/kernel"]
    start = {
        "tcr/vocabulary": _word_directions(folder, flat, tokenizer, sizes),
        "tcr/visual_projection/kernel": projection * np.sqrt(sizes.width) / np.linalg.norm(projection),
    }
    identity = np.eye(sizes.width, dtype=np.float32)
    for block in range(sizes.blocks):
        for part in ("value", "out"):
            start[f"tcr/block_{block}/self_attention/{part}/kernel"] = identity
    for block in sizes.cross_attention_blocks:
        for part in ("query", "key"):
            start[f"tcr/block_{block}/cross_attention/{part}/kernel"] = _SHARPNESS * identity
        for part in ("value", "out"):
            start[f"tcr/block_{block}/cross_attention/{part}/kernel"] = identity
    return start


def _word_directions(
    folder: Path, flat: dict[str, np.ndarray], tokenizer: Tokenizer, sizes: TcrConfig
) -> Float[np.ndarray, "v d"]:
    """A row for each word; words that no sentence has get small random ones."""
    stored = json.loads((folder / "config.json").read_text())
    clip = Clip(from_config(ClipConfig, stored, f"{folder}/config.json"))
    sentences = [tokenizer.encode(sentence(event)) for seed in _STORIES for event in make_story(seed).events]
    ids = np.stack([pad([*words, tokenizer.eos_id], 16) for words in sentences])
    embed = jax.jit(lambda ids: clip.apply({"params": unflatten(flat)}, ids, method=Clip.embed_texts))
    embedded = np.asarray(embed(jnp.asarray(ids)))
    rows = np.random.default_rng(0).normal(scale=0.1, size=(sizes.vocab_size, sizes.width)).astype(np.float32)
    present = (ids[..., None] == np.arange(sizes.vocab_size)).any(axis=1)
    for word in np.flatnonzero(present.sum(axis=0) >= 10):
        # A word of nearly every sentence ("in", "the") says nothing.
        if present[:, word].mean() < 0.9:
            direction = embedded[present[:, word]].mean(axis=0) - embedded.mean(axis=0)
            rows[word] = 0.5 * np.sqrt(sizes.width) * direction / np.linalg.norm(direction)
    for action in ACTIONS.values():  # sentences are in the past tense, questions also in others
        (past,) = tokenizer.encode(action.past)
        for form in (action.base, action.gerund):
            (other,) = tokenizer.encode(form)
            rows[other] = rows[past]
    return rows
