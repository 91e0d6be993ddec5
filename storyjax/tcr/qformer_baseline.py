"""The baseline of thesis §3.3: BLIP-2's Q-Former in the place of the TCR, on 8 frames, or averaged over several clips.

The Q-Former reads the tokens of 8 frames one after another and nothing of the question (as BLIP-2 is taken to videos by
K. P. Yu). "BLIP2 (Avg.)" cuts a video into clips of 8 frames and averages the predictions, which are choices from a
list: what is said word by word (captions, actions, timestamps) is of 8 frames at most. `config.model.qformer` puts it
in the TCR's place; its parameters are called "qformer" and train as the TCR's do.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from jaxtyping import Array, Bool, Float, Int, Num, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.models.qformer import QFormer
from storyjax.tcr.loader import FRAME_ARRAYS
from storyjax.tcr.model import Resampled, VideoLanguageModel
from storyjax.tcr.objective import QuestionAnswering
from storyjax.train.experiment import Batch, Params

CLIP = 8
CHOICES_ALONE = (
    f"config.model.qformer: only choices from a list are averaged over clips of {CLIP} frames; give other tasks"
    f" frames={CLIP}"
)


@dataclass(frozen=True)
class QFormerSection:
    """`config.model.qformer`: sizes (nn.qformer.QFormerConfig; widths of the towers are known), and the folder of
    BLIP-2's own weights, None to start from random ones."""

    sizes: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None


@dataclass(frozen=True)
class QFormerBaseline(VideoLanguageModel):
    """Frozen vision tower → Q-Former → frozen LLM. Parameters: {"vision": ..., "qformer": ..., "llm": ...}.

    `tcr` gives its sizes (time bins, prompt lengths) to the loaders and has no parameters here.
    """

    qformer: QFormer = field(default_factory=QFormer)

    @property
    def resampler(self) -> str:
        return "qformer"

    def init(self, key: Array) -> dict:
        keys = jax.random.split(key)
        made = super().init(keys[0])
        tokens = jnp.zeros((1, 2, self.vision.config.width))
        return {"vision": made["vision"], "llm": made["llm"], "qformer": self.qformer.init(keys[1], tokens)["params"]}

    def watch(
        self,
        params: dict,
        frames: UInt8[Array, "b t y x 3"],
        seconds: Float[Array, "b t"],
        frame_mask: Bool[Array, "b t"],
        task: Int[Array, "b k"],
        prompt: Int[Array, "b k l"],
        prompt_mask: Bool[Array, "b k l"],
        key: Array | None = None,
        attention: bool = True,
    ) -> Resampled:
        asked = (task, prompt, prompt_mask)
        return self.resample(params, self.look(params, frames), seconds, frame_mask, *asked, key, attention)

    def resample(
        self,
        params: dict,
        tokens: Num[Array, "b t n e"],
        seconds: Float[Array, "b t"],
        frame_mask: Bool[Array, "b t"],
        task: Int[Array, "b k"],
        prompt: Int[Array, "b k l"],
        prompt_mask: Bool[Array, "b k l"],
        key: Array | None = None,
        attention: bool = True,
        scale: Float[Array, "b t n"] | None = None,
    ) -> Resampled:
        """The same queries for every question; it does not say where it looked (an even share of every frame)."""
        mask = repeat(frame_mask, "b t -> b (t n)", n=tokens.shape[2])
        visual = rearrange(tokens, "b t n e -> b (t n) e")
        queries = self.qformer.apply({"params": params["qformer"]}, visual.astype(self.qformer.dtype), mask)
        queries = repeat(queries, "b q w -> b k q w", k=task.shape[1])
        even = jnp.full((*task.shape, tokens.shape[1]), 1 / tokens.shape[1])
        return Resampled(queries, even if attention else None, even if attention else None)


@dataclass(frozen=True)
class ClipAverage(QuestionAnswering):
    """Answers of several clips of `CLIP` frames averaged; in training one clip is seen."""

    def watch(self, params: Params, batch: Batch, key: Array | None, attention: bool = True) -> Resampled:
        """Of one clip; a StoryjaxError for more, where an evaluator would have them seen at once."""
        if batch["seconds"].shape[1] > CLIP:
            raise StoryjaxError(CHOICES_ALONE)
        return super().watch(params, batch, key, attention)

    def loss(self, params: Params, batch: Batch, key: Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        clips = batch["seconds"].shape[1] // CLIP
        start = CLIP * jax.random.randint(key, (), 0, clips)
        return super().loss(params, self._clip(batch, start), key)

    def scores(
        self, params: Params, batch: Batch, attention: bool = True
    ) -> tuple[Float[Array, "b k a"], Float[Array, "b k t"] | None]:
        """The logarithm of the mean probability over clips, one clip in memory at a time."""
        clips = batch["seconds"].shape[1] // CLIP
        starts = CLIP * jnp.arange(clips)
        each = jax.lax.map(
            lambda start: super(ClipAverage, self).scores(params, self._clip(batch, start), False)[0], starts
        )
        mean = jax.nn.logsumexp(each, axis=0) - jnp.log(clips)
        even = jnp.full((*batch["task"].shape, clips * CLIP), 1 / (clips * CLIP))
        return mean, even if attention else None

    def _clip(self, batch: Batch, start: Array) -> Batch:
        cut = {
            name: jax.lax.dynamic_slice_in_dim(batch[name], start, CLIP, axis=1)
            for name in FRAME_ARRAYS
            if name in batch
        }
        return {**batch, **cut}


def answering(
    model: VideoLanguageModel, frames: int, answers: Callable[[], np.ndarray], choices: bool = True
) -> QuestionAnswering:
    """How a model of so many frames answers: the Q-Former by the average of its clips, where there are several.

    Args:
        choices: whether every answer is one of `answers`; nothing else can be averaged.

    Raises:
        StoryjaxError: the Q-Former has more than `CLIP` frames which cannot be cut into clips, or not be averaged.
    """
    if not isinstance(model, QFormerBaseline) or frames <= CLIP:
        return QuestionAnswering(model, answers)
    if not choices:
        raise StoryjaxError(CHOICES_ALONE)
    below = frames - frames % CLIP
    if below < frames:
        raise StoryjaxError(
            f"config.model.qformer: {frames} frames cannot be cut into clips of {CLIP}; give a multiple of it, such as"
            f" frames={below} or {below + CLIP}"
        )
    return ClipAverage(model, answers)
