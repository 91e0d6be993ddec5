"""TCR's initialisation without the language model, stage (i) (thesis §3.2.2): contrastive and matching objectives.

Contrastive: the mean of a text's outputs, and the learnt query most similar to it, are drawn together against the other
pairs of the batch. Matching: queries and text see each other; a binary classifier on every query output, averaged, says
whether they belong together; negatives are drawn within the batch, the more similar the likelier, as BLIP-2 does.

Matching puts the task token [TRG] before the sentence, for it is the one that stands before sentences later on.
Pre-training with the language model, stage (ii), is `tcr.finetune` with three recipes (configs/tcr_ytt_pretrain.py).
"""

import functools
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.pipeline import Stream, eval_stream
from storyjax.data.streams import StreamSpec
from storyjax.tcr.config import frozen_towers, make_model, make_tokenizer
from storyjax.tcr.experiment import Source, TasksData
from storyjax.tcr.loader import FRAME_ARRAYS, Ablation
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.patch_dropout import all_patches, drop_patches
from storyjax.tcr.resampler import time_to_bin
from storyjax.tcr.unimodal import TextAlone, VideoQueries
from storyjax.train.experiment import Batch, Experiment, Params, Task, summing_evaluator

TEMPERATURE = 0.07  # at the start; it is learnt


class Matcher(nn.Module):
    """A binary classifier of every query output, averaged; and the temperature of the contrastive objective."""

    @nn.compact
    def __call__(self, queries: Float[Array, "b k q d"]) -> tuple[Float[Array, "b k"], Float[Array, ""]]:
        logits = nn.Dense(1, name="match")(queries)[..., 0]
        scale = self.param("log_scale", nn.initializers.constant(jnp.log(1 / TEMPERATURE)), ())
        return jnp.mean(logits, axis=-1), scale


@dataclass(frozen=True)
class Initialisation:
    """The two objectives and their scores. Parameters: {"vision", "tcr", "head"}."""

    model: VideoLanguageModel

    def init(self, key: Array) -> Params:
        keys = jax.random.split(key)
        made = self.model.init(keys[0])
        config = self.model.tcr.config
        head = Matcher().init(keys[1], jnp.zeros((1, 1, config.queries, config.width)))["params"]
        return {"vision": made["vision"], "tcr": made["tcr"], "head": head}

    def see(self, params: Params, batch: Batch, key: Array | None) -> tuple[Array, Array, Array]:
        """Visual tokens, their bins and mask; with a key, patches are dropped."""
        config = self.model.tcr.config
        tokens = self.model.look(params, batch["frames"])
        share = config.drop_patches
        visual, frame_of = all_patches(tokens) if key is None or not share else drop_patches(key, tokens, share)
        bins = jnp.take_along_axis(time_to_bin(batch["seconds"], config), frame_of, axis=1)
        return visual, bins, jnp.take_along_axis(batch["frame_mask"], frame_of, axis=1)

    def similarity(self, params: Params, video: tuple, batch: Batch) -> Float[Array, "b c"]:
        """Of each video to each text: the cosine of the text's vector with the query that is most similar to it."""
        tcr, dtype = {"params": params["tcr"]}, self.model.tcr.dtype
        queries = VideoQueries(self.model.tcr.config, dtype).apply(tcr, *video)
        texts = TextAlone(self.model.tcr.config, dtype).apply(
            tcr, batch["condition"][:, 0], batch["condition_mask"][:, 0]
        )
        # float32 from here: the losses' softmax is over these.
        queries, texts = (_unit(x.astype(jnp.float32)) for x in (queries, texts))
        return jnp.max(jnp.einsum("bqd,cd->bcq", queries, texts), axis=-1)

    def matches(
        self, params: Params, video: tuple, task: Array, prompt: Int[Array, "b k l"], mask: Array
    ) -> Float[Array, "b k"]:
        """The logit of each text belonging to its video, text and queries seeing each other."""
        queries, _ = self.model.tcr.apply({"params": params["tcr"]}, *video, task, prompt, mask, project=False)
        return Matcher().apply({"params": params["head"]}, queries.astype(jnp.float32))[0]

    def parts(
        self, params: Params, batch: Batch, key: Array, train: bool, real: Bool[Array, " b"] | None = None
    ) -> dict[str, Array]:
        """Both losses and accuracies, one entry for each video. Rows that are not `real` are no other row's negatives,
        and what is said of them means nothing."""
        keys = jax.random.split(key, 3)
        video = self.see(params, batch, keys[0] if train else None)
        # Every row has one text; more exercises of a film would be positives of one another.
        scale = jnp.exp(params["head"]["log_scale"])
        scores = scale * self.similarity(params, video, batch)
        own, itself = jnp.arange(scores.shape[0]), jnp.eye(scores.shape[0], dtype=bool)
        real = jnp.ones(own.shape, bool) if real is None else real
        # Of videos to texts, and of texts to videos; what is not real still has itself, so that nothing is infinite.
        to_texts, to_videos = (jnp.where(real[None] | itself, one, -jnp.inf) for one in (scores, scores.T))
        contrast = 0.5 * sum(optax.softmax_cross_entropy_with_integer_labels(one, own) for one in (to_texts, to_videos))
        # What has no negatives in its batch is its own, and its loss is that of a coin.
        negative = real[None] & ~itself
        negative |= itself & ~jnp.any(negative, axis=1, keepdims=True)
        text, other_video = (
            jax.random.categorical(k, jnp.where(negative, jax.lax.stop_gradient(one), -jnp.inf), axis=-1)
            for k, one in zip(keys[1:], (scores, scores.T), strict=True)
        )
        prompt, mask, task = batch["condition"], batch["condition_mask"], batch["task"]
        pair = jnp.concatenate([prompt, prompt[text]], axis=1), jnp.concatenate([mask, mask[text]], axis=1)
        first = self.matches(params, video, jnp.concatenate([task, task], axis=1), *pair)
        second = self.matches(params, tuple(x[other_video] for x in video), task, prompt, mask)
        logits = jnp.concatenate([first, second], axis=1)
        labels = jnp.broadcast_to(jnp.array([[1.0, 0.0, 0.0]]), logits.shape)
        return {
            "contrastive": contrast,
            "matching": jnp.mean(optax.sigmoid_binary_cross_entropy(logits, labels), axis=1),
            "retrieved": (jnp.argmax(to_texts, axis=1) == own).astype(jnp.float32),
            "matched": jnp.mean(((logits > 0) == (labels > 0)).astype(jnp.float32), axis=1),
        }

    def loss(self, params: Params, batch: Batch, key: Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        parts = {name: jnp.mean(value) for name, value in self.parts(params, batch, key, train=True).items()}
        return parts["contrastive"] + parts["matching"], parts

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        real = batch["record_valid"] & batch["valid"][:, 0]
        parts = self.parts(params, batch, jax.random.key(0), train=False, real=real)
        sums = {name: jnp.sum(value * real) for name, value in parts.items()}
        return {**sums, "videos": jnp.sum(real)}


def _unit(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


def build(config: ConfigDict) -> Experiment:
    """The experiment of configs/tcr_ytt_init.py: one task of the recipe "matching"."""
    section = from_config(TasksData, config.data, "config.data")
    model = make_model(config.model, config.precision)
    if model.resampler != "tcr":
        raise StoryjaxError("config.model.qformer: stage (i) trains the TCR; the Q-Former comes with BLIP-2's weights")
    tokenizer = functools.cache(lambda: make_tokenizer(config.model))
    ((name, data),) = section.tasks.items()
    source = Source(name, data, model, tokenizer, config.get("seed", 0))
    objective = Initialisation(model)
    split = data.eval or "val"

    def held_out(spec: StreamSpec) -> Stream:
        return eval_stream(source.groups(split, None), source.loader(False, Ablation()), spec, **source.streams())

    def finish(sums: dict[str, Any]) -> dict[str, float]:
        return {f"{name}/{key}": float(sums[key] / sums["videos"]) for key in sums if key != "videos"}

    return Experiment(
        name="tcr.contrastive",
        init=objective.init,
        pretrained=lambda: frozen_towers(config.model, ("vision",)),
        trainable="(tcr|head)/.*",
        tasks=(Task(name, source.train_data, objective.loss, sequences=FRAME_ARRAYS),),
        evaluators=(summing_evaluator(name, held_out, objective.eval_step, finish, sequences=FRAME_ARRAYS),),
        units="videos",
        steps_per_epoch=lambda: len(source.groups(data.train or "train", config.seed)) // config.train.batch_size,
    )
