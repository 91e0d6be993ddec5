"""What a resampler takes and returns: videos, prompts, visual tokens, and the queries that the language model reads.

Shapes: b videos, t frames, n visual tokens a frame, s visual tokens kept of all frames, k prompts on one video, l text
tokens, q queries, e width of the vision tower, w width of the language model.
"""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int, Num, UInt8


@dataclass(frozen=True)
class Video:
    """Videos as pixels, or as the vision tower's tokens of them; one of the two is given.

    Attributes:
        seconds: when each frame is on screen, from the beginning of the video.
        mask: False for frames that are not to be seen.
        frames: pixels at the tower's size.
        tokens: of `VideoLanguageModel.encode_frames`.
    """

    seconds: Float[Array, "b t"]
    mask: Bool[Array, "b t"]
    frames: UInt8[Array, "b t y x 3"] | None = None
    tokens: Num[Array, "b t n e"] | None = None


@dataclass(frozen=True)
class Prompt:
    """What is asked about each video: several prompts on one video share its visual tokens.

    Attributes:
        task: index into resampler.TASK_TOKENS.
        ids: token ids; from TcrConfig.vocab_size on they are time tokens.
        mask: False for padding.
    """

    task: Int[Array, "b k"]
    ids: Int[Array, "b k l"]
    mask: Bool[Array, "b k l"]


class VisualTokens(NamedTuple):
    """Any subset of the visual tokens of all frames.

    Attributes:
        tokens: of the vision tower.
        bins: the time bin of each.
        mask: False for padding.
    """

    tokens: Float[Array, "b s e"]
    bins: Int[Array, "b s"]
    mask: Bool[Array, "b s"]


class Resampled(NamedTuple):
    """What a resampler makes of a video under a prompt.

    Attributes:
        queries: the query outputs, in the language model's embedding space.
        query_attention: the fraction of the queries' attention that each frame got in the last cross-attention
            (Fig. 3.4).
        prompt_attention: the same of the prompt's words in the first, before they know of each other.

    Both attentions are None where they were not asked for.
    """

    queries: Float[Array, "b k q w"]
    query_attention: Float[Array, "b k t"] | None
    prompt_attention: Float[Array, "b k t"] | None
