"""What the TCR is trained on, and what is counted when it is tested."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from storyjax.data.features import restore
from storyjax.models.answer_scoring import score_answers, sequence_log_likelihood
from storyjax.tcr.interface import Prompt, Resampled, Video
from storyjax.tcr.loader import TYPES
from storyjax.tcr.model import VideoLanguageModel
from storyjax.train.experiment import Batch, Params


def stored_tokens(batch: Batch, dtype: DTypeLike) -> Float[Array, "b t n e"]:
    """Returns the frozen tower's tokens that a batch has instead of its frames."""
    return restore(batch["visual_tokens"], batch.get("visual_scale"), dtype)


@dataclass(frozen=True)
class QuestionAnswering:
    """Multiple choice through the frozen LLM (§3.3.2).

    Attributes:
        answers: gives the token ids of the closed vocabulary (a, m) when they are first needed: shapes can be traced
            where there is no tokenizer.
    """

    model: VideoLanguageModel
    answers: Callable[[], np.ndarray]

    def encode_video(self, params: Params, batch: Batch, key: Array | None, attention: bool = True) -> Resampled:
        """Returns what the resampler makes of the batch's videos under each prompt."""
        prompt = Prompt(batch["task"], batch["condition"], batch["condition_mask"])
        if "frames" in batch:
            video = Video(batch["seconds"], batch["frame_mask"], frames=batch["frames"])
        else:  # what the frozen tower saw in them was stored (data/features.py)
            tokens = stored_tokens(batch, self.model.vision.dtype)
            video = Video(batch["seconds"], batch["frame_mask"], tokens=tokens)
        return self.model.encode_video(params, video, prompt, key, attention)

    def encode(
        self, params: Params, batch: Batch, key: Array | None, attention: bool = True
    ) -> tuple[Array, Array, Float[Array, "b k t"] | None]:
        """Returns the LLM's encoder states and mask, a row for each question, and each frame's attention, if wanted."""
        resampled = self.encode_video(params, batch, key, attention)
        encoded, mask = self.model.encode(params, resampled.queries, batch["prompt"], batch["prompt_mask"])
        return encoded, mask, resampled.query_attention

    def loss(self, params: Params, batch: Batch, key: Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns the generative loss (§3.2.2), mean negative log-likelihood of a token, and nothing to log."""
        encoded, mask, _ = self.encode(params, batch, key, attention=False)
        labels = rearrange(batch["target"], "b k m -> (b k) m")
        likelihood, count = sequence_log_likelihood(self.model.llm, params["llm"], encoded, mask, labels)
        return -jnp.sum(likelihood) / jnp.maximum(jnp.sum(count), 1), {}

    def scores(
        self, params: Params, batch: Batch, attention: bool = True
    ) -> tuple[Float[Array, "b k a"], Float[Array, "b k t"] | None]:
        """Returns log-probabilities over the closed vocabulary, and the attention each frame got, if wanted."""
        encoded, mask, frame_attention = self.encode(params, batch, None, attention)
        scores = score_answers(self.model.llm, params["llm"], encoded, mask, jnp.asarray(self.answers()))
        return rearrange(scores, "(b k) a -> b k a", b=batch["task"].shape[0]), frame_attention

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns sums over real questions: asked and right by type (9,), and how often each option was chosen."""
        scores, _ = self.scores(params, batch, attention=False)
        chosen = jnp.argmax(scores, axis=-1)
        valid = (batch["valid"] & batch["record_valid"][:, None]).astype(jnp.float32)
        of_type = jax.nn.one_hot(batch["type"], len(TYPES)) * valid[..., None]
        right = (chosen == batch["answer"]).astype(jnp.float32)
        return {
            "asked": jnp.sum(of_type, axis=(0, 1)),
            "right": jnp.einsum("bk,bki->i", right, of_type),
            "chosen": jnp.sum(jax.nn.one_hot(chosen, scores.shape[-1]) * valid[..., None], axis=(0, 1)),
        }
