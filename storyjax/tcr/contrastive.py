"""TCR's initialisation without the language model, stage (i) (thesis §3.2.2): contrastive and matching objectives.

Contrastive: the mean of a text's outputs, and the learnt query most similar to it, are drawn together against the other
pairs of the batch. Matching: queries and text see each other; a binary classifier on every query output, averaged, says
whether they belong together; negatives are drawn within the batch, the more similar the likelier, as BLIP-2 does.

Matching puts the task token [TRG] before the sentence, for it is the one that stands before sentences later on.
Pre-training with the language model, stage (ii), is `tcr` with three tasks (configs/tcr_ytt_pretrain.py).
"""

from dataclasses import dataclass
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.pipeline import Stream, eval_stream
from storyjax.data.streams import StreamSpec
from storyjax.tcr.config import TasksData, frozen_towers, make_model
from storyjax.tcr.frame_stream import VideoStream
from storyjax.tcr.interface import Prompt, Video
from storyjax.tcr.loader import FRAME_ARRAYS, Ablation
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.resampler import Tcr, TcrOutput, TcrResampler, VisualKeys, embed_tokens
from storyjax.tcr.task_source import TaskSource
from storyjax.tcr.unimodal import TextOnly, VideoQueries
from storyjax.train.experiment import Batch, Experiment, Params, Task, summing_evaluator

TEMPERATURE = 0.07  # at the start; it is learnt


class Matcher(nn.Module):
    """A binary classifier of every query output, averaged; and the temperature of the contrastive objective."""

    @nn.compact
    def __call__(self, queries: Float[Array, "b k q d"]) -> tuple[Float[Array, "b k"], Float[Array, ""]]:
        """Returns the logit of each row, and the logarithm of the inverse temperature."""
        logits = nn.Dense(1, name="match")(queries)[..., 0]
        scale = self.param("log_scale", nn.initializers.constant(jnp.log(1 / TEMPERATURE)), ())
        return jnp.mean(logits, axis=-1), scale


@dataclass(frozen=True)
class Initialisation:
    """The two objectives and their scores. Parameters: {"vision", "tcr", "head"}.

    Attributes:
        tcr: the resampler of `model`.
    """

    model: VideoLanguageModel
    tcr: Tcr

    def init(self, key: Array) -> Params:
        """Returns random parameters."""
        keys = jax.random.split(key)
        made = self.model.init(keys[0])
        config = self.tcr.config
        head = Matcher().init(keys[1], jnp.zeros((1, 1, config.queries, config.width)))["params"]
        return {"vision": made["vision"], "tcr": made["tcr"], "head": head}

    def encode_video(self, params: Params, batch: Batch, key: Array | None) -> VisualKeys | VideoStream:
        """Returns what the TCR's three passes read of each video; with a key, patches are dropped.

        Tokens are embedded here, once: what devices exchange of each other's videos is as wide as the TCR.
        """
        video = Video(batch["seconds"], batch["frame_mask"], batch["frames"])
        visual = self.model.visual(params, video, key)
        if isinstance(visual, VideoStream):
            return visual
        return embed_tokens(params["tcr"], visual, self.tcr.config, self.tcr.dtype)

    def similarity(self, params: Params, video: VisualKeys | VideoStream, batch: Batch) -> Float[Array, "b c"]:
        """Returns for each video and text the cosine of the text's vector with the query most similar to it."""
        variables, dtype = {"params": params["tcr"]}, self.tcr.dtype
        words, mask = batch["condition"][:, 0], batch["condition_mask"][:, 0]
        of_video = cast(Array, VideoQueries(self.tcr.config, dtype).apply(variables, video))
        of_text = cast(Array, TextOnly(self.tcr.config, dtype).apply(variables, words, mask))
        # float32 from here: the losses' softmax is over these.
        queries, texts = (_unit(x.astype(jnp.float32)) for x in (of_video, of_text))
        return jnp.max(jnp.einsum("bqd,cd->bcq", queries, texts), axis=-1)

    def matches(self, params: Params, video: VisualKeys | VideoStream, prompt: Prompt) -> Float[Array, "b k"]:
        """Returns the logit of each text belonging to its video, text and queries seeing each other."""
        output = cast(TcrOutput, self.tcr.apply({"params": params["tcr"]}, video, prompt, project=False))
        return Matcher().apply({"params": params["head"]}, output.queries.astype(jnp.float32))[0]

    def parts(
        self, params: Params, batch: Batch, key: Array, train: bool, real: Bool[Array, " b"] | None = None
    ) -> dict[str, Array]:
        """Returns both losses and accuracies, one entry for each video.

        Rows that are not `real` are no other row's negatives, and their own entries mean nothing.
        """
        keys = jax.random.split(key, 3)
        video = self.encode_video(params, batch, keys[0] if train else None)
        # Every row has one text; more examples of a video would be positives of one another.
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
        own_and_other = Prompt(
            jnp.concatenate([task, task], axis=1),
            jnp.concatenate([prompt, prompt[text]], axis=1),
            jnp.concatenate([mask, mask[text]], axis=1),
        )
        first = self.matches(params, video, own_and_other)
        others = (
            video.of_rows(other_video)
            if isinstance(video, VideoStream)
            else VisualKeys(*(x[other_video] for x in video))
        )
        second = self.matches(params, others, Prompt(task, prompt, mask))
        logits = jnp.concatenate([first, second], axis=1)
        labels = jnp.broadcast_to(jnp.array([[1.0, 0.0, 0.0]]), logits.shape)
        return {
            "contrastive": contrast,
            "matching": jnp.mean(optax.sigmoid_binary_cross_entropy(logits, labels), axis=1),
            "retrieved": (jnp.argmax(to_texts, axis=1) == own).astype(jnp.float32),
            "matched": jnp.mean(((logits > 0) == (labels > 0)).astype(jnp.float32), axis=1),
        }

    def loss(self, params: Params, batch: Batch, key: Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the sum of both losses, and the means of `parts` to log."""
        parts = {name: jnp.mean(value) for name, value in self.parts(params, batch, key, train=True).items()}
        return parts["contrastive"] + parts["matching"], parts

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns sums of `parts` over real videos, and how many there are."""
        real = batch["record_valid"] & batch["valid"][:, 0]
        parts = self.parts(params, batch, jax.random.key(0), train=False, real=real)
        sums = {name: jnp.sum(value * real) for name, value in parts.items()}
        return {**sums, "videos": jnp.sum(real)}


def _unit(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of configs/tcr_ytt_init.py: one task, "matching"."""
    section = from_config(TasksData, config.data, "config.data")
    model = make_model(config.model, config.precision)
    if not isinstance(model.resampler, TcrResampler):
        raise StoryjaxError("config.model.qformer: stage (i) trains the TCR; the Q-Former comes with BLIP-2's weights")
    ((name, data),) = section.tasks.items()
    source = TaskSource.of(config, name, data, model)
    objective = Initialisation(model, model.resampler.module)
    split = source.eval_splits[0] if source.eval_splits else "val"

    def held_out(spec: StreamSpec) -> Stream:
        return eval_stream(
            source.groups(split, None), source.loader(False, Ablation()), spec, **source.stream_options()
        )

    def compute(sums: dict[str, Any]) -> dict[str, float]:
        return {f"{name}/{key}": float(sums[key] / sums["videos"]) for key in sums if key != "videos"}

    return Experiment(
        name="tcr.contrastive",
        init=objective.init,
        pretrained=lambda: frozen_towers(config.model, ("vision",)),
        trainable="(tcr|head)/.*",
        tasks=(
            Task(name, source.train_data, objective.loss, sequences=FRAME_ARRAYS, batch_spec=source.batch_spec(True)),
        ),
        evaluators=(
            summing_evaluator(
                name,
                held_out,
                objective.eval_step,
                compute,
                sequences=FRAME_ARRAYS,
                batch_spec=source.batch_spec(False),
            ),
        ),
        units="videos",
        steps_per_epoch=lambda: len(source.groups(data.train_split or "train", config.seed)) // config.train.batch_size,
        prepare=source.prepare,
    )
