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
from storyjax.tcr.loader import TYPES
from storyjax.tcr.model import Resampled, VideoLanguageModel
from storyjax.train.experiment import Batch, Params


def stored_tokens(batch: Batch, dtype: DTypeLike) -> Float[Array, "b t n e"]:
    """The frozen tower's tokens that a batch brings in the place of its frames."""
    return restore(batch["visual_tokens"], batch.get("visual_scale"), dtype)


@dataclass(frozen=True)
class QuestionAnswering:
    """Multiple choice through the frozen LLM (§3.3.2). `answers` gives the closed vocabulary's token ids (a, m), when
    they are first needed: shapes can be traced where no tokenizer is at hand."""

    model: VideoLanguageModel
    answers: Callable[[], np.ndarray]

    def watch(self, params: Params, batch: Batch, key: Array | None, attention: bool = True) -> Resampled:
        """What the resampler makes of the batch's videos under each prompt."""
        asked = (batch["task"], batch["condition"], batch["condition_mask"], key, attention)
        if "frames" in batch:
            return self.model.watch(params, batch["frames"], batch["seconds"], batch["frame_mask"], *asked)
        # What the frozen tower saw in them was stored (data/features.py).
        tokens = stored_tokens(batch, self.model.vision.dtype)
        return self.model.resample(params, tokens, batch["seconds"], batch["frame_mask"], *asked)

    def encode(
        self, params: Params, batch: Batch, key: Array | None, attention: bool = True
    ) -> tuple[Array, Array, Float[Array, "b k t"] | None]:
        """The LLM's encoder states and mask, one row for each question, and the attention each frame got, if wanted."""
        resampled = self.watch(params, batch, key, attention)
        encoded, mask = self.model.encode(params, resampled.queries, batch["prompt"], batch["prompt_mask"])
        return encoded, mask, resampled.seen

    def loss(self, params: Params, batch: Batch, key: Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The generative loss on the answer's words (§3.2.2): mean negative log-likelihood of a token."""
        encoded, mask, _ = self.encode(params, batch, key, attention=False)
        labels = rearrange(batch["target"], "b k m -> (b k) m")
        likelihood, count = sequence_log_likelihood(self.model.llm, params["llm"], encoded, mask, labels)
        return -jnp.sum(likelihood) / jnp.maximum(jnp.sum(count), 1), {}

    def scores(
        self, params: Params, batch: Batch, attention: bool = True
    ) -> tuple[Float[Array, "b k a"], Float[Array, "b k t"] | None]:
        """Log-probabilities over the closed vocabulary, and the attention each frame got, if wanted."""
        encoded, mask, seen = self.encode(params, batch, None, attention)
        scores = score_answers(self.model.llm, params["llm"], encoded, mask, jnp.asarray(self.answers()))
        return rearrange(scores, "(b k) a -> b k a", b=batch["task"].shape[0]), seen

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Sums over the batch's real questions: asked and right by type, and how often each option was chosen."""
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
