"""BLIP-2 as it is published, asked about videos without any training: the baseline of thesis §3.3, and no TCR.

Its own Q-Former reads the tokens of 8 frames one after another, and nothing of the question; of more frames, in a
choice between options, each clip of 8 answers by itself and the mean of their probabilities counts
(qformer_baseline.py). Its parts work, and are in memory, one after the other (model_parts.py).
"""

import functools
import json
import math
import os
from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from jaxtyping import Array, Bool, Float, Int, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import weights_folder
from storyjax.data.text import Tokenizer
from storyjax.models.answer_scoring import score_answers
from storyjax.models.qformer import QFormer
from storyjax.models.t5 import T5
from storyjax.models.t5_decoding import GREEDY, Decoding
from storyjax.models.vit import ViT
from storyjax.tcr.answer import Answer
from storyjax.tcr.frame_stream import Streaming
from storyjax.tcr.loader import answer_ids
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.model_parts import ModelParts, frugal_options
from storyjax.tcr.predict import Predictor, say_encoded
from storyjax.tcr.qformer_baseline import CLIP, QFormerResampler
from storyjax.tcr.resampler import TcrConfig
from storyjax.train.experiment import Batch, Params
from storyjax.train.precision import get_policy
from storyjax.weights.pretrained import Pretrained
from storyjax.weights.source_files import GENERATION

NETWORKS = ("vision", "qformer", "llm")
_LANGUAGE = ("llm/shared/", "llm/lm_head")
# What is in memory at a time.
PARTS = {
    "vision tower": ("vision/",),
    "Q-Former": ("qformer/",),
    "language encoder": (*_LANGUAGE, "llm/encoder/"),
    "language decoder": (*_LANGUAGE, "llm/decoder/"),
}
METHOD = "BLIP-2, no TCR"
# From so many parameters on, numbers are bfloat16: float32 would take twice the memory.
LARGE = 500_000_000
CAPTION_PROMPT = "a photo of"  # Li et al. 2023, §4.2; it goes on from there
ADVICE = (
    "close other programs, take a smaller model (storyjax models get ask --model blip2-flan-t5-xl), or try all the same"
    " with --ignore-memory"
)


def is_blip2(place: str | os.PathLike[str]) -> bool:
    """Returns whether a folder holds a BLIP-2: as `storyjax import` writes it, or as it was downloaded."""
    path = weights_folder(os.fspath(place)) / "config.json"
    try:
        stored = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(stored, dict) and (stored.get("model_type") == "blip-2" or {*NETWORKS} <= {*stored})


class Blip2Predictor(Predictor):
    """A BLIP-2, ready to be asked.

    Attributes:
        parts: its parameters, read part by part.
    """

    method, reads_question = METHOD, False

    def __init__(
        self,
        model: VideoLanguageModel,
        parts: ModelParts,
        tokenizer: Tokenizer,
        *,
        source: str,
        decoding: Decoding = GREEDY,
    ):
        super().__init__(model, {}, tokenizer, source=source, frames=CLIP, decoding=decoding)
        self.parts = parts
        compiled = functools.partial(jax.jit, compiler_options=frugal_options())
        self._tower, self._resample, self._encode, self._score = map(
            compiled, (self._tokens_of, self._queries_of, self._states_of, self._scores_of)
        )
        self._speak = compiled(self._words_of, static_argnames="decoding")

    def prompt_ids(self, prompt: str) -> list[int]:
        """Returns token ids up to the end token, which T5's own tokenizer puts behind every text."""
        return [*self.tokenizer.encode(prompt), self.tokenizer.eos_id]

    def caption(
        self,
        video: str | os.PathLike[str],
        segment: tuple[float, float] | None = None,
        frames: int | None = None,
        video_track: int | None = None,
    ) -> Answer:
        """Returns what is to be seen in a video, or in a segment of it (seconds), of which alone frames are taken.

        Raises:
            StoryjaxError: the video is shorter or cannot be read, or there are too many frames.
        """
        loaded = self.load(video, frames, video_track, segment=segment)
        batch = loaded.batch("CPN", [], self.condition_length, self.prompt_ids(CAPTION_PROMPT))
        ids, probability, attention = self.say([batch])[0]
        where = "" if segment is None else f" from {segment[0]:g} to {segment[1]:g} s"
        asked = f"what is to be seen{where}"
        return loaded.answer(asked, self.spell(ids), [probability], attention, method=self.method)

    def choose(self, batches: Sequence[Batch], options: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """See `Predictor.choose`; all batches are of one video. The mean over clips of their probabilities counts."""
        encoded, answers = self._encoded(batches), answer_ids(self.tokenizer, options)
        decoder = self.parts.read("language decoder")
        return [(np.asarray(self._score(decoder, *one, answers)), _even(batches[0])) for one in encoded]

    def say(self, batches: Sequence[Batch]) -> list[tuple[np.ndarray, float, np.ndarray]]:
        """See `Predictor.say`; all batches are of one video."""
        encoded = self._encoded(batches)
        decoder = self.parts.read("language decoder")
        said = [self._speak(decoder, *one, decoding=self.decoding) for one in encoded]
        return [(np.asarray(ids)[0], float(probability[0]), _even(batches[0])) for ids, probability in said]

    def _encoded(self, batches: Sequence[Batch]) -> list[tuple[Array, Array]]:
        """Encoder states of each clip under each prompt (c, s, w), and their mask."""
        queries = self._see(batches[0]["frames"][0])
        encoder = self.parts.read("language encoder")
        states = [self._encode(encoder, queries, batch["prompt"][0], batch["prompt_mask"][0]) for batch in batches]
        return jax.block_until_ready(states)

    def _see(self, frames: UInt8[np.ndarray, "t y x 3"]) -> Float[Array, "c q w"]:
        """What the language model reads of each clip."""
        vision = self.parts.read("vision tower")
        # Programs run on their own, and hold the parameters until they are done.
        tokens = jax.block_until_ready(jnp.concatenate([self._tower(vision, frame[None]) for frame in frames]))
        del vision
        clip = min(CLIP, len(frames))
        queries = self._resample(self.parts.read("Q-Former"), rearrange(tokens, "(c t) n e -> c (t n) e", t=clip))
        return jax.block_until_ready(queries)

    def _tokens_of(self, params: Params, frames: UInt8[Array, "t y x 3"]) -> Float[Array, "t n e"]:
        return self.model.encode_frames(params, frames[None])[0]

    def _queries_of(self, params: Params, tokens: Float[Array, "c s e"]) -> Float[Array, "c q w"]:
        return cast(QFormerResampler, self.model.resampler).queries(params["qformer"], tokens)

    def _states_of(
        self, params: Params, queries: Float[Array, "c q w"], prompt: Int[Array, "1 p"], mask: Bool[Array, "1 p"]
    ) -> tuple[Float[Array, "c s w"], Bool[Array, "c s"]]:
        ids, there = (repeat(one, "1 p -> c 1 p", c=queries.shape[0]) for one in (prompt, mask))
        return self.model.encode(params, queries[:, None], ids, there)

    def _scores_of(
        self, params: Params, encoded: Float[Array, "c s w"], mask: Bool[Array, "c s"], answers: Int[Array, "a m"]
    ) -> Float[Array, " a"]:
        each = score_answers(self.model.llm, params["llm"], encoded, mask, answers)
        return jax.nn.logsumexp(each, axis=0) - jnp.log(each.shape[0])

    def _words_of(
        self, params: Params, encoded: Float[Array, "c s w"], mask: Bool[Array, "c s"], decoding: Decoding
    ) -> tuple[Int[Array, "c m"], Float[Array, " c"]]:
        return say_encoded(self.model.llm, params["llm"], encoded, mask, decoding)


def _even(batch: Batch) -> np.ndarray:
    """A Q-Former's attention is not known: an even fraction of each frame."""
    frames = batch["frames"].shape[1]
    return np.full(frames, 1 / frames)


def read_decoding(folder: str | os.PathLike[str]) -> Decoding:
    """Returns how a published model decodes, as the generation_config.json in its folder says; greedily without one.

    Raises:
        StoryjaxError: it cannot be read.
    """
    path = weights_folder(os.fspath(folder)) / GENERATION
    if not path.is_file():
        return GREEDY
    try:
        stored = json.loads(path.read_text("utf-8"))
        return Decoding(int(stored.get("num_beams") or 1), float(stored.get("length_penalty", 1.0)))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StoryjaxError(f"{path} cannot be read ({error}): fetch it again, or remove it") from error


def load_blip2(
    place: str | os.PathLike[str],
    precision: str | None = None,
    *,
    keep: bool = False,
    ignore_memory: bool = False,
) -> Blip2Predictor:
    """Returns a BLIP-2, ready to be asked; its weights are read when it is.

    Args:
        place: a folder that `is_blip2`.
        precision: the name of a policy (storyjax.train.precision); None: bfloat16 of a large model, else float32.
        keep: whether all parts stay in memory, for many videos; otherwise one at a time is there.
        ignore_memory: whether to try although there is too little memory.

    Raises:
        StoryjaxError: weights or the tokenizer are not there, not of one model, or do not fit the memory.
    """
    source = Pretrained(os.fspath(place))
    vision, qformer, llm = (source.architecture(network) for network in NETWORKS)
    given: dict[str, Any] = {}
    for network in NETWORKS:
        given |= {f"{network}/{path}": tensor for path, tensor in source.parameters(network).items()}
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
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    parts = ModelParts(given, shapes, PARTS, policy, os.fspath(place), keep)
    if not ignore_memory:
        parts.check_memory(ADVICE)
    decoding = read_decoding(place)
    return Blip2Predictor(model, parts, source.tokenizer("llm"), source=os.fspath(place), decoding=decoding)
