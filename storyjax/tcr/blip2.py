"""BLIP-2 as it is published, asked about videos without any training: the baseline of thesis §3.3, and no TCR.

Its own Q-Former reads the tokens of 8 frames one after another, and nothing of the question; of more frames, in a
choice between options, each clip of 8 answers by itself and the mean of their probabilities counts
(qformer_baseline.py).
"""

import json
import math
import os
from collections.abc import Sequence
from typing import Any

import jax

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import weights_folder
from storyjax.models.qformer import QFormer
from storyjax.models.t5 import T5
from storyjax.models.vit import ViT
from storyjax.tcr.frame_stream import Streaming
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.predict import Answer, Predictor
from storyjax.tcr.qformer_baseline import CLIP, QFormerResampler
from storyjax.tcr.resampler import TcrConfig
from storyjax.train.precision import get_policy
from storyjax.train.restore import in_memory
from storyjax.weights.pretrained import Pretrained

PARTS = ("vision", "qformer", "llm")
METHOD = "BLIP-2, no TCR"
# From so many parameters on, numbers are bfloat16: float32 would take twice the memory.
LARGE = 500_000_000


def is_blip2(place: str | os.PathLike[str]) -> bool:
    """Returns whether a folder holds a BLIP-2: as `storyjax import` writes it, or as it was downloaded."""
    path = weights_folder(os.fspath(place)) / "config.json"
    try:
        stored = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(stored, dict) and (stored.get("model_type") == "blip-2" or {*PARTS} <= {*stored})


class Blip2Predictor(Predictor):
    """A BLIP-2, ready to be asked."""

    method, reads_question = METHOD, False

    def prompt_ids(self, prompt: str) -> list[int]:
        """Returns token ids up to the end token, which T5's own tokenizer puts behind every text."""
        return [*self.tokenizer.encode(prompt), self.tokenizer.eos_id]

    def ask(
        self,
        video: str | os.PathLike[str],
        question: str,
        options: Sequence[str] | None = None,
        frames: int | None = None,
        video_track: int | None = None,
    ) -> Answer:
        """Returns the answer to a question about a video; see `Predictor.ask`.

        Raises:
            StoryjaxError: as there; and for frames that cannot be cut into clips, or not be averaged.
        """
        if frames is not None and frames > CLIP and not options:
            raise StoryjaxError(
                f"--frames {frames}: BLIP-2 answers freely from {CLIP} frames at most; leave --frames out, or give"
                " --options, whose probabilities are averaged over clips"
            )
        if frames is not None and frames > CLIP and frames % CLIP:
            below = frames - frames % CLIP
            raise StoryjaxError(
                f"--frames {frames}: BLIP-2 reads clips of {CLIP} frames; give {below} or {below + CLIP}"
            )
        return super().ask(video, question, options, frames, video_track)


def load_blip2(place: str | os.PathLike[str], precision: str | None = None) -> Blip2Predictor:
    """Returns a BLIP-2, ready to be asked.

    Args:
        place: a folder that `is_blip2`.
        precision: the name of a policy (storyjax.train.precision); None: bfloat16 of a large model, else float32.

    Raises:
        StoryjaxError: weights or the tokenizer are not there, or not of one model.
    """
    source = Pretrained(os.fspath(place))
    vision, qformer, llm = (source.architecture(part) for part in PARTS)
    given: dict[str, Any] = {}
    for part in PARTS:
        given |= {f"{part}/{path}": tensor for path, tensor in source.parameters(part).items()}
    if precision is None:
        count = sum(math.prod(tensor.shape) for tensor in given.values())
        precision = "bfloat16" if count >= LARGE else "float32"
    policy = get_policy(precision)
    dtype = policy.compute_dtype
    sizes = TcrConfig(vocab_size=llm.vocab_size, llm_width=llm.d_model)  # of prompts; no TCR is made of it
    model = VideoLanguageModel(
        ViT(vision, dtype=dtype("vision")),
        QFormerResampler(QFormer(qformer, dtype("qformer")), sizes),
        T5(llm, dtype=dtype("llm")),
        Streaming(vision_chunk_frames=1),  # activations of a ViT-g are large
    )
    params = in_memory(given, jax.eval_shape(model.init, jax.random.key(0)), (), policy, os.fspath(place))
    return Blip2Predictor(model, params, source.tokenizer("llm"), source=os.fspath(place), frames=CLIP)
