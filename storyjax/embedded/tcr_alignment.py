"""Initialising the TCR on StoryWorld: aligning its query outputs with the language side, and captioning.

The seed of the thesis's stages (i) and (ii) (§3.2.2), for worlds where the text that describes a moment is known. Under
a conditioning that singles out a moment (a time span, or words), the i-th query output is drawn to the LLM's embedding
of the i-th word of the note that describes the moment; and through the frozen LLM the same outputs must caption it.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import rearrange
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import weights_folder
from storyjax.data.features import FeatureStore
from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.prompts import caption_prompt
from storyjax.data.streams import StreamSpec
from storyjax.data.text import Tokenizer, pad
from storyjax.embedded.alignment_prompts import KINDS, Request, draw
from storyjax.embedded.sequence_tasks import by_kind
from storyjax.embedded.tcr_clip_init import start_from_clip
from storyjax.embedded.tcr_sequences import AuxiliaryLoader, AuxiliaryTask, sums
from storyjax.models.answer_scoring import sequence_log_likelihood
from storyjax.storyworld.render.video_cache import RoutineVideoCache, StoryVideo, StoryVideoCache
from storyjax.storyworld.story.vocabulary import NOTE_MARK
from storyjax.tcr.config import frozen_towers, make_model, make_tokenizer, make_tower
from storyjax.tcr.export import exports
from storyjax.tcr.interface import Prompt, Resampled, Video
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.resampler import TASK_TOKENS, TcrConfig, time_tokens
from storyjax.tcr.vision_features import footage_features
from storyjax.train.experiment import Batch, Evaluator, Experiment, Params, Task, summing_evaluator

# Frames stored of each segment of a training video, of which an example has one.
DRAWS = 3

# How often each kind of request comes up in training (alignment_prompts.py says what they are).
SHARES = {
    "time": 0.8,
    "people": 1.2,
    "after": 2.0,
    "before": 2.0,
    "while": 1.0,
    "that": 1.4,
    "reason": 0.5,
    "trip": 0.3,
    "question": 8.0,
}


@dataclass(frozen=True)
class AlignData:
    """Videos and what is asked about them; lengths in tokens.

    Attributes:
        requests: requests drawn for one video.
        loss: `AlignLoss`, where it differs from the defaults.
        auxiliary_tasks: further tasks, on these videos or on routines (tcr_sequences.py).
        shares: how often each kind of request comes up; kinds left out never do.
    """

    world: str = "runs/footage"
    features: str = "runs/features"
    train: int = 600
    val: int = 100
    frames: int = 32
    requests: int = 16
    condition_length: int = 12
    prompt_length: int = 12
    target_length: int = 18
    workers: int = 0
    loss: dict[str, float] = field(default_factory=dict)
    auxiliary_tasks: dict[str, AuxiliaryTask] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=lambda: dict(SHARES))

    @property
    def counts(self) -> dict[str, int]:
        """Videos of each split."""
        return {"train": self.train, "val": self.val}


@dataclass(frozen=True)
class AlignLoss:
    """Weights of the parts of the loss, and the sharpness of the token classification."""

    tokens: float = 1.0
    distance: float = 0.5
    looking: float = 1.0
    recognising: float = 0.3
    caption: float = 0.0
    sharpness: float = 6.0


@dataclass(frozen=True)
class RequestLoader:
    """Loads a video with requests about it; `train` draws frames, and kinds of requests by `data.shares`."""

    data: AlignData
    sizes: TcrConfig
    tokenizer: Tokenizer
    train: bool
    features: FeatureStore

    @property
    def queries(self) -> int:
        """The number of query outputs, and so of words of a note."""
        return self.sizes.queries

    def __call__(self, video: tuple[int, StoryVideo], rng: np.random.Generator) -> Batch:
        """Returns the visual tokens of one video and `data.requests` requests about it, padded."""
        index, take = video
        data = self.data
        shares = data.shares if self.train else dict.fromkeys(KINDS, 1.0)
        tokens = self.features.draw(index, rng if self.train else None)
        seconds = tokens["seconds"]
        rows = [self.encode(request, seconds) for request in draw(take.story, shares, data.requests, rng)]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return {**tokens, "frame_mask": np.ones(len(seconds), bool), **stacked}

    def encode(self, request: Request, seconds: np.ndarray) -> Batch:
        """Returns the arrays of a request, on a video with frames at these seconds."""
        data, tokenizer = self.data, self.tokenizer
        span = request.span or (0.0, float(seconds[-1]))
        condition = tokenizer.encode(request.text)
        if request.kind == "time":
            condition = [*time_tokens(span, self.sizes), *condition]
        condition = condition[: data.condition_length]
        prompt = tokenizer.encode(caption_prompt(*span))
        note, sentence = tokenizer.encode(request.note), tokenizer.encode(request.sentence)
        return {
            "task": np.int32(TASK_TOKENS.index("QA" if request.kind == "question" else "CPN")),
            "condition": pad(condition, data.condition_length),
            "condition_mask": np.arange(data.condition_length) < len(condition),
            "prompt": pad(prompt, data.prompt_length),
            "prompt_mask": np.arange(data.prompt_length) < len(prompt),
            "note": pad(note, self.queries),
            "note_mask": np.arange(self.queries) < len(note),
            "target": pad([*sentence, tokenizer.eos_id], data.target_length),
            "kind": np.int32(KINDS.index(request.kind)),
            # The frames within the moment, and within the one that the request names; none for the whole story.
            "moment": _within(seconds, request.span),
            "named": _within(seconds, request.named),
        }


class Alignment:
    """The losses and scores of the initialisation."""

    def __init__(self, model: VideoLanguageModel, weights: AlignLoss, mark: int):
        self.model, self.weights, self.mark = model, weights, mark

    def resample(self, params: Params, batch: Batch, key: jax.Array | None) -> Resampled:
        """Returns the TCR's outputs under each prompt; queries in float32, for they meet the LLM's embeddings."""
        tokens = batch["visual_tokens"].astype(jnp.float32)
        video = Video(batch["seconds"], batch["frame_mask"], tokens=tokens)
        prompt = Prompt(batch["task"], batch["condition"], batch["condition_mask"])
        resampled = self.model.encode_video(params, video, prompt, key)
        return resampled._replace(queries=resampled.queries.astype(jnp.float32))

    def token_logits(self, params: Params, queries: Array) -> tuple[Float[Array, "b k q v"], Float[Array, "v w"]]:
        """Returns minus the mean squared distance of each query output to each word of a note, sharpened; and these
        words as vectors: the LLM's embeddings, marked as its reading of notes was (storyworld/vocabulary.py).
        """
        table = params["llm"]["shared"]["embedding"].astype(jnp.float32)
        table = table + table[self.mark][None]
        width = table.shape[-1]
        cross = jnp.einsum("bkqw,vw->bkqv", queries, table) * 2 - jnp.sum(table**2, axis=-1)[None, None, None]
        return self.weights.sharpness * (cross - jnp.sum(queries**2, axis=-1, keepdims=True)) / width, table

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Returns word classification + squared distance + attention to the moment + caption likelihood, weighted;
        and parts.
        """
        resampled = self.resample(params, batch, key)
        queries = resampled.queries
        goals, inside = batch["note"], batch["note_mask"]
        logits, table = self.token_logits(params, queries)
        # Queries behind the note count less.
        weight = jnp.where(inside, 1.0, 0.1)
        tokens = optax.softmax_cross_entropy_with_integer_labels(logits, goals)
        distance = jnp.mean((queries - table[goals]) ** 2, axis=-1)
        parts = {
            "tokens": jnp.sum(tokens * weight) / jnp.sum(weight),
            "distance": jnp.sum(distance * weight) / jnp.sum(weight),
        }
        # Where a moment is, attention is to fall: learnt before the words are, and what the words are learnt from.
        # Likewise the words of a request are to fall on the moment that they name.
        assert resampled.query_attention is not None  # both were asked for
        assert resampled.prompt_attention is not None
        parts["looking"], parts["looked_right"] = _falls_on(resampled.query_attention, batch["moment"])
        parts["recognising"], parts["recognised_right"] = _falls_on(resampled.prompt_attention, batch["named"])
        if self.weights.caption:
            encoded, mask = self.model.encode(params, queries, batch["prompt"], batch["prompt_mask"])
            labels = rearrange(batch["target"], "b k m -> (b k) m")
            likelihood, count = sequence_log_likelihood(self.model.llm, params["llm"], encoded, mask, labels)
            parts["caption"] = -jnp.sum(likelihood) / jnp.sum(count)
        parts["right"] = jnp.sum((jnp.argmax(logits, -1) == goals) * inside) / jnp.maximum(jnp.sum(inside), 1)
        weighted = ("tokens", "distance", "looking", "recognising", "caption")
        return sum(getattr(self.weights, name) * parts[name] for name in weighted if name in parts), parts

    def right(self, params: Params, batch: Batch) -> Bool[Array, "b k q"]:
        """Returns whether each query comes nearest to its word."""
        queries = self.resample(params, batch, None).queries
        return jnp.argmax(self.token_logits(params, queries)[0], -1) == batch["note"]

    def auxiliary_eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns sums by kind of example (tcr_sequences.sums)."""
        return sums(self.right(params, batch), batch["note_mask"], batch["kind"], batch["record_valid"])

    def eval_step(self, params: Params, batch: Batch) -> dict[str, Array]:
        """Returns sums by kind of request: words right, notes right to the last word, requests."""
        inside, right = batch["note_mask"], self.right(params, batch)
        valid = batch["record_valid"][:, None].astype(jnp.float32)
        kind = jax.nn.one_hot(batch["kind"], len(KINDS)) * valid[..., None]
        fraction = jnp.sum(right * inside, -1) / jnp.maximum(jnp.sum(inside, -1), 1)
        whole = jnp.all(right | ~inside, axis=-1).astype(jnp.float32)
        return {
            "words": jnp.einsum("bk,bki->i", fraction, kind),
            "notes": jnp.einsum("bk,bki->i", whole, kind),
            "requests": jnp.sum(kind, axis=(0, 1)),
        }


def _within(seconds: np.ndarray, span: tuple[float, float] | None) -> np.ndarray:
    return np.zeros(len(seconds), bool) if span is None else (seconds >= span[0]) & (seconds < span[1])


def _falls_on(
    attention: Float[Array, "b k t"], frames: Bool[Array, "b k t"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Minus the logarithm of the attention that falls on the frames, and the attention: means over those with any."""
    inside = jnp.sum(attention * frames, axis=-1)
    counts = jnp.any(frames, axis=-1)
    total = jnp.maximum(jnp.sum(counts), 1)
    return jnp.sum(-jnp.log(inside + 1e-4) * counts) / total, jnp.sum(inside * counts) / total


def _finish(sums: dict[str, Any]) -> dict[str, float]:
    results = {}
    for name in ("words", "notes"):
        results[f"align/{name}"] = float(sums[name].sum() / sums["requests"].sum())
        for index, kind in enumerate(KINDS):
            if sums["requests"][index]:
                results[f"align/{name}_{kind}"] = float(sums[name][index] / sums["requests"][index])
    return results


class _Numbered:
    """A source whose items carry their number."""

    def __init__(self, source: StoryVideoCache | RoutineVideoCache):
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[int, StoryVideo]:
        return int(index), self.source[index]


class _Videos:
    """The videos of a config with their stored features, each set encoded once."""

    def __init__(self, config: ConfigDict, data: AlignData, model: VideoLanguageModel, tokenizer: Tokenizer):
        self.config, self.data, self.sizes, self.tokenizer = config, data, model.resampler.sizes, tokenizer
        self.requests = functools.cache(self._requests)
        self.auxiliary = functools.cache(self._auxiliary)

    def _features(self, videos: StoryVideoCache | RoutineVideoCache, train: bool) -> FeatureStore:
        files = [videos[index].video for index in range(len(videos))]
        draws = DRAWS if train else 1
        return footage_features(self.data.features, files, self.data.frames, draws, make_tower(self.config))

    def _requests(self, split: str) -> tuple[_Numbered, RequestLoader]:
        videos, train = StoryVideoCache(self.data.world, split, self.data.counts), split == "train"
        features = self._features(videos, train)
        return _Numbered(videos), RequestLoader(self.data, self.sizes, self.tokenizer, train, features)

    def _auxiliary(self, name: str, split: str) -> tuple[_Numbered, AuxiliaryLoader]:
        section, loader, train = self.data.auxiliary_tasks[name], self.requests(split)[1], split == "train"
        parts = (section, self.data, self.sizes, self.tokenizer, train)
        if not section.routines:
            return self.requests(split)[0], AuxiliaryLoader(*parts, loader.features)
        videos = RoutineVideoCache(self.data.world, split, section.routines if train else section.val)
        return _Numbered(videos), AuxiliaryLoader(*parts, self._features(videos, train))


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of `configs/tcr_storyworld_init.py`.

    Raises:
        StoryjaxError: an unknown key, or an auxiliary task that cannot break off as it says.
    """
    model, tokenizer = make_model(config.model, config.precision), make_tokenizer(config.model)
    data = from_config(AlignData, config.data, "config.data")
    (mark,) = tokenizer.encode(NOTE_MARK)
    alignment = Alignment(model, from_config(AlignLoss, data.loss, "config.data.loss"), mark)
    for name, section in data.auxiliary_tasks.items():
        kinds = {kind for kind, share in section.shares.items() if share}
        if section.cut and (not section.routines or kinds != {"actions"}):
            raise StoryjaxError(
                f"config.data.auxiliary_tasks.{name}.cut: only routines break off, and only for actions"
            )
    videos = _Videos(config, data, model, tokenizer)

    def stream(spec: StreamSpec) -> Stream:
        return train_stream(*videos.requests("train"), spec, workers=data.workers)

    def further(name: str) -> tuple[Task, Evaluator]:
        task = Task(
            name,
            lambda spec: train_stream(*videos.auxiliary(name, "train"), spec, workers=data.workers),
            alignment.loss,
            batch_size=data.auxiliary_tasks[name].batch_size,
        )
        return task, summing_evaluator(
            name,
            lambda spec: eval_stream(*videos.auxiliary(name, "val"), spec),
            alignment.auxiliary_eval_step,
            lambda total: by_kind(total["words"], total["asked"], f"{name}/words_"),
        )

    more = [further(name) for name in data.auxiliary_tasks]
    evaluator = summing_evaluator(
        "align", lambda spec: eval_stream(*videos.requests("val"), spec), alignment.eval_step, _finish
    )
    return Experiment(
        name="embedded.tcr_alignment",
        init=model.init,
        pretrained=lambda: {
            **frozen_towers(config.model),
            **start_from_clip(weights_folder(config.model.vision.weights), tokenizer, model.resampler.sizes),
        },
        trainable="tcr/.*",
        tasks=(Task("align", stream, alignment.loss), *(task for task, _ in more)),
        evaluators=(evaluator, *(one for _, one in more)),
        units="videos",
        steps_per_epoch=lambda: data.train // config.train.batch_size,
        exports=exports(model),
    )
