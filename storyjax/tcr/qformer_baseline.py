"""The baseline of thesis §3.3: BLIP-2's Q-Former in the place of the TCR, on 8 frames, or averaged over several clips.

The Q-Former reads the tokens of 8 frames one after another and nothing of the question (as BLIP-2 is taken to videos by
K. P. Yu). "BLIP2 (Avg.)" cuts a video into clips of 8 frames and averages the predictions, which are choices from a
list: what is said word by word (captions, actions, timestamps) is of 8 frames at most. `config.model.qformer` puts it
in the TCR's place; its parameters are called "qformer" and train as the TCR's do.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from jaxtyping import Array, Bool, Float

from storyjax.core.errors import StoryjaxError
from storyjax.models.qformer import QFormer
from storyjax.tcr.frame_stream import VideoStream
from storyjax.tcr.interface import Prompt, Resampled, Video
from storyjax.tcr.loader import FRAME_ARRAYS
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.objective import QuestionAnswering
from storyjax.tcr.resampler import TcrConfig
from storyjax.train.experiment import Batch, Params

CLIP = 8
CONFIG = "config.model.qformer"


@dataclass(frozen=True)
class QFormerSection:
    """`config.model.qformer`: sizes (models.qformer.QFormerConfig; widths of the towers are known), and the folder of
    BLIP-2's own weights, None to start from random ones."""

    sizes: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None


@dataclass(frozen=True)
class QFormerResampler:
    """BLIP-2's Q-Former as `model.VideoLanguageModel` uses it. Parameters: {"qformer": ...}.

    Attributes:
        sizes: time bins and prompt lengths, by which data is loaded; the Q-Former itself knows neither.
    """

    module: QFormer
    sizes: TcrConfig

    @property
    def name(self) -> str:
        """The top-level name of its parameters."""
        return "qformer"

    @property
    def streams(self) -> bool:
        """Whether it takes a `VideoStream`: it reads a few frames, all at once."""
        return False

    def init(self, key: Array, vision_width: int) -> dict[str, Any]:
        """Returns random parameters."""
        return self.module.init(key, jnp.zeros((1, 2, vision_width)))["params"]

    def queries(
        self, params: dict[str, Any], visual: Float[Array, "b s e"], mask: Bool[Array, "b s"] | None = None
    ) -> Float[Array, "b q w"]:
        """Returns the queries of visual tokens, those of several frames one after another; `mask` is False for
        padding."""
        return cast(Array, self.module.apply({"params": params}, visual.astype(self.module.dtype), mask))

    def resample(
        self, params: dict[str, Any], video: Video | VideoStream, prompt: Prompt, key: Array | None, attention: bool
    ) -> Resampled:
        """Returns the same queries for every prompt; where they looked is not known: an even fraction of each frame."""
        if isinstance(video, VideoStream) or video.tokens is None:
            raise ValueError("the Q-Former reads the tokens of all frames at once")
        mask = repeat(video.mask, "b t -> b (t n)", n=video.tokens.shape[2])
        queries = self.queries(params, rearrange(video.tokens, "b t n e -> b (t n) e"), mask)
        queries = repeat(queries, "b q w -> b k q w", k=prompt.task.shape[1])
        even = jnp.full((*prompt.task.shape, video.tokens.shape[1]), 1 / video.tokens.shape[1])
        return Resampled(queries, even if attention else None, even if attention else None)


@dataclass(frozen=True)
class ClipAverage(QuestionAnswering):
    """Answers of several clips of a video, averaged; in training, the loss of one clip drawn at random.

    Attributes:
        clip: frames of a clip.
    """

    clip: int = CLIP

    def encode_video(self, params: Params, batch: Batch, key: Array | None, attention: bool = True) -> Resampled:
        """Returns what is made of one clip.

        Raises:
            StoryjaxError: there are more frames, of which an evaluator would have all seen at once.
        """
        if batch["seconds"].shape[1] > self.clip:
            raise _choices_alone(CONFIG)
        return super().encode_video(params, batch, key, attention)

    def loss(self, params: Params, batch: Batch, key: Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the loss of one clip, and nothing to log."""
        clips = batch["seconds"].shape[1] // self.clip
        start = self.clip * jax.random.randint(key, (), 0, clips)
        return super().loss(params, self._clip(batch, start), key)

    def scores(
        self, params: Params, batch: Batch, attention: bool = True
    ) -> tuple[Float[Array, "b k a"], Float[Array, "b k t"] | None]:
        """Returns the logarithm of the mean probability over clips, one clip in memory at a time."""
        clips = batch["seconds"].shape[1] // self.clip
        starts = self.clip * jnp.arange(clips)
        each = jax.lax.map(
            lambda start: super(ClipAverage, self).scores(params, self._clip(batch, start), False)[0], starts
        )
        mean = jax.nn.logsumexp(each, axis=0) - jnp.log(clips)
        even = jnp.full((*batch["task"].shape, clips * self.clip), 1 / (clips * self.clip))
        return mean, even if attention else None

    def _clip(self, batch: Batch, start: Array) -> Batch:
        cut = {
            name: jax.lax.dynamic_slice_in_dim(batch[name], start, self.clip, axis=1)
            for name in FRAME_ARRAYS
            if name in batch
        }
        return {**batch, **cut}


def answering(
    model: VideoLanguageModel,
    frames: int,
    answers: Callable[[], np.ndarray],
    choices: bool = True,
    passes: int = 1,
) -> QuestionAnswering:
    """Returns how a model of so many frames answers: by the mean of several clips' predictions where a video is cut.

    The Q-Former's clips are of `CLIP` frames; the TCR has one for each of its passes.

    Args:
        choices: whether every answer is one of `answers`; nothing else can be averaged.
        passes: of the TCR over a video, each over its own part (Table 3.3, 92 × 2).

    Raises:
        StoryjaxError: frames which cannot be cut into clips, or whose answers cannot be averaged.
    """
    if not isinstance(model.resampler, QFormerResampler):
        if passes == 1:
            return QuestionAnswering(model, answers)
        if passes < 1 or frames % passes or not choices:
            raise StoryjaxError(
                f"{passes} passes over {frames} frames: there must be as many in each, and only choices from a list can"
                " be averaged"
            )
        return ClipAverage(model, answers, frames // passes)
    check_frames(model, frames, choices, CONFIG)
    return QuestionAnswering(model, answers) if frames <= CLIP else ClipAverage(model, answers)


def check_frames(model: VideoLanguageModel, frames: int, choices: bool, where: str) -> None:
    """Refuses frames that a Q-Former cannot answer from; a TCR takes any number.

    Args:
        choices: whether every answer is one of a few.
        where: the setting that says how many frames, for messages.

    Raises:
        StoryjaxError: there are more than a clip's, and they cannot be cut into clips, or not be averaged.
    """
    if not isinstance(model.resampler, QFormerResampler) or frames <= CLIP:
        return
    if not choices:
        raise _choices_alone(where)
    if frames % CLIP:
        below = frames - frames % CLIP
        raise StoryjaxError(
            f"{where}: {frames} frames cannot be cut into clips of {CLIP}; give a multiple of it, such as"
            f" frames={below} or {below + CLIP}"
        )


def _choices_alone(where: str) -> StoryjaxError:
    return StoryjaxError(
        f"{where}: only choices from a list of options are averaged over clips of {CLIP} frames; whatever else is"
        f" answered, from frames={CLIP} at most"
    )
