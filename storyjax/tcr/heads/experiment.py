"""Experiments with the TCR without a language model (thesis §3.6.3, Tables 3.9 to 3.11); heads are in standalone.py.

On Kinetics and Countix the TCR is trained from scratch on one token a frame. For moment and language queries it is the
pre-trained one, frozen with its tower, and only a head is trained.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import weights_folder
from storyjax.data.builders.kinetics import Countix, Kinetics400
from storyjax.data.builders.segments import SegmentSource, prepare_segments
from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.streams import StreamSpec
from storyjax.embedded.tcr_clip_init import start_from_clip
from storyjax.metrics.counting import counting, counting_sums, selection, selection_sums
from storyjax.metrics.grounding import Detection
from storyjax.storyworld.export.long_videos import EXPORTS
from storyjax.tcr.config import frozen_towers, make_model, make_tokenizer, make_tower
from storyjax.tcr.evaluators import timed
from storyjax.tcr.experiment import Dataset, Source
from storyjax.tcr.heads import modules
from storyjax.tcr.heads.data import (
    ClassLoader,
    Clips,
    CountLoader,
    Numbers,
    RepetitionLoader,
    SpanLoader,
    StitchLoader,
    see_all,
)
from storyjax.tcr.loader import Ablation
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.patch_dropout import all_patches
from storyjax.tcr.resampler import sinusoids, time_to_bin
from storyjax.tcr.vision_features import Tower
from storyjax.train.checkpoint import load_trainable
from storyjax.train.experiment import Batch, Evaluator, Experiment, Params, Task, summing_evaluator


@dataclass(frozen=True)
class HeadData:
    """What the head is for and what it is trained on.

    Attributes:
        task: which head.
        sampler: what reads the frames: the TCR or, of recognition, a baseline of Table 3.9; of selection, "random"
            classifies each.
        manual_dir, data_dir, storyworld, train, eval: of the data set, as in finetune.Dataset.
        clips_dir, clips_storyworld: of counting: the Kinetics that synthetic repetitions are made of.
        frames: that are seen; Kinetics has 300 in a clip, stitched films have 128.
        kept: frames that the "random" sampler keeps.
        videos, most_frames: of stitched films: clips at most, and frames of a clip at most.
        most_count, fps, movement: of synthetic repetitions (standalone_data.RepetitionLoader).
        changes: frames are told by what changes in them and by which others they are like (standalone.changes).
        words: the TCR starts from what words look like to the tower, a small CLIP that ships (words.py), not from
            scratch.
        cached: the frozen tower looks once at all clips, and what it saw stays in memory; of clips alone.
        bins, most_moments, exercises_per_video: of language and moment queries.
        resampler: of these, the pre-trained TCR: a run, a file or shipped:NAME.
        tune: of these, whether it is trained as well; the thesis's stays frozen.
        hidden: width of the heads' inner layers.
    """

    task: Literal["recognition", "selection", "counting", "moments", "queries"]
    manual_dir: str
    data_dir: str = "data/prepared"
    storyworld: dict[str, int] | None = None
    train: str = "train"
    eval: str = "val"
    sampler: Literal["tcr", "random", "attention"] = "tcr"
    clips_dir: str | None = None
    clips_storyworld: dict[str, int] | None = None
    frames: int = 300
    kept: int = 32
    condition_length: int = 16
    videos: int = 8
    most_frames: int = 64
    most_count: int = 20
    fps: float = 25.0
    movement: float | None = None
    changes: bool = False
    words: bool = False
    cached: bool = False
    bins: int = 128
    most_moments: int = 24
    exercises_per_video: int = 1
    resampler: str | None = None
    tune: bool = False
    classes: int = 400
    hidden: int = 512
    max_broken_fraction: float | None = None
    workers: int = 0


@dataclass(frozen=True)
class Standalone:
    """A head on the TCR, or on the frames themselves. Parameters: {"vision", "tcr" (unless a baseline), "head"}."""

    model: VideoLanguageModel
    head: nn.Module
    data: HeadData

    @property
    def pretrained(self) -> bool:
        return self.data.task in ("moments", "queries")

    @property
    def reads_frames(self) -> bool:
        return self.data.sampler != "tcr"

    def init(self, key: Array) -> Params:
        keys = jax.random.split(key, 3)
        c, vision = self.model.tcr.config, self.model.vision.config
        made = {
            "vision": self.model.vision.init(keys[0], jnp.zeros((1, vision.image_size, vision.image_size, 3)))["params"]
        }
        if self.reads_frames:
            frames = jnp.zeros((1, 2, vision.width))
            inputs = (frames, jnp.zeros((2, self.data.hidden))) if self.data.sampler == "attention" else (frames,)
            return {**made, "head": self.head.init(keys[2], *inputs)["params"]}
        ids = jnp.zeros((1, 2), jnp.int32)
        prompt = ids[:, None]
        width = vision.width + (self.data.frames if self.data.changes else 0)
        look = (jnp.zeros((1, 2, width)), ids, ids == 0, prompt[..., 0], prompt, prompt == 0)
        tcr = self.model.tcr.init(keys[1], *look, project=self.pretrained)["params"]
        head = self.head.init(keys[2], jnp.zeros((1, c.queries, c.width)))["params"]
        return {**made, "tcr": tcr, "head": head}

    def out(self, params: Params, batch: Batch) -> Any:
        """What the head says of each clip, or of each exercise, (b k) rows."""
        head = functools.partial(self.head.apply, {"params": params["head"]})
        if self.pretrained:
            visual, frame_of = all_patches(self.model.look(params, batch["frames"]))
            bins = time_to_bin(batch["seconds"], self.model.tcr.config)
            bins, mask = (jnp.take_along_axis(x, frame_of, axis=1) for x in (bins, batch["frame_mask"]))
            asked = (batch["task"], batch["condition"], batch["condition_mask"])
            queries, _ = self.model.tcr.apply({"params": params["tcr"]}, visual, bins, mask, *asked, project=False)
            queries = queries if self.data.tune else jax.lax.stop_gradient(queries)
            return head(rearrange(queries, "b k q d -> (b k) q d"))
        # One token a frame: CLS.
        frames = batch["tokens"] if "tokens" in batch else self.model.look(params, batch["frames"])[:, :, 0]
        frames = modules.changes(frames) if self.data.changes else frames
        positions = jnp.broadcast_to(jnp.arange(frames.shape[1])[None], frames.shape[:2])
        if self.data.sampler == "attention":
            return head(frames, sinusoids(positions[0], self.data.hidden))
        if self.reads_frames:
            return head(frames)
        task = jnp.zeros((frames.shape[0], 1), jnp.int32)
        asked = (task, batch["prompt"][:, None], batch["prompt_mask"][:, None])
        queries, _ = self.model.tcr.apply(
            {"params": params["tcr"]}, frames, positions, jnp.ones(positions.shape, bool), *asked, project=False
        )
        return head(queries[:, 0])

    def losses(self, params: Params, batch: Batch) -> Float[Array, " r"]:
        out = self.out(params, batch)
        if self.data.task == "recognition":
            return -jnp.take_along_axis(out, batch["label"][:, None], axis=1)[:, 0]
        if self.data.task == "selection":
            if self.reads_frames:
                return modules.frame_class_loss(out, batch["label"], batch["truth"])
            return modules.selection_loss(out, batch["truth"])
        if self.data.task == "counting":
            return modules.counting_loss(out, batch["count"])
        spans, there = (rearrange(batch[name], "b k ... -> (b k) ...") for name in ("spans", "there"))
        if self.data.task == "moments":
            return modules.set_loss(*out, spans, there)
        return modules.span_loss(out, spans[:, 0])

    def loss(self, params: Params, batch: Batch, key: Array) -> tuple[Float[Array, ""], dict[str, Array]]:
        losses = self.losses(params, batch)
        real = batch["valid"].reshape(-1) if self.pretrained else jnp.ones(losses.shape, bool)
        return jnp.sum(losses * real) / jnp.maximum(jnp.sum(real), 1), {}

    def eval_step(self, params: Params, batch: Batch) -> Any:
        """Sums of the task's metric; of moments and queries, what `detect` makes detections of."""
        out = self.out(params, batch)
        if self.data.task == "recognition":
            return modules.classes_right(out, batch["label"], batch["record_valid"])
        if self.data.task == "selection":
            chosen = jnp.argmax(out, axis=-1) == batch["label"][:, None] if self.reads_frames else modules.selected(out)
            return selection_sums(chosen, batch["truth"], batch["record_valid"])
        if self.data.task == "counting":
            return counting_sums(out, batch["count"], batch["record_valid"])
        if self.data.task == "moments":
            out = jnp.concatenate([jax.nn.sigmoid(out[0])[..., None], out[1]], axis=-1)
        else:
            out = jnp.exp(out)
        return rearrange(out, "(b k) ... -> b k ...", b=batch["task"].shape[0])


def moments_of_set(measured: Float[np.ndarray, "q 3"], duration: float) -> list[Detection]:
    """Every query is a detection, as sure as it says."""
    return [Detection(float(start * duration), float(end * duration), float(score)) for score, start, end in measured]


def moments_of_spans(measured: Float[np.ndarray, "2 n"], duration: float) -> list[Detection]:
    spans = modules.best_spans(measured[0], measured[1])
    return [Detection(start * duration, end * duration, score) for start, end, score in spans]


def make_head(data: HeadData, model: VideoLanguageModel) -> nn.Module:
    """The head that `data` asks for."""
    if data.task == "recognition":
        if data.sampler == "attention":
            return modules.AttentionPooling(data.classes, data.hidden, model.tcr.config.heads)
        return (modules.RandomFrames if data.sampler == "random" else modules.Recognition)(data.classes)
    if data.task == "selection" and data.sampler != "tcr":
        return modules.FrameClasses(data.classes)
    heads: dict[str, Callable[[], nn.Module]] = {
        "selection": lambda: modules.Selection(data.frames),
        "counting": lambda: modules.Counting(data.hidden),
        "moments": lambda: modules.MomentSet(data.hidden),
        "queries": lambda: modules.SpanHead(data.bins, data.hidden),
    }
    return heads[data.task]()


_RECIPES = {"moments": "mq", "queries": "nlq"}
# What may read the frames of a task; of the others, the TCR alone.
_SAMPLERS = {"recognition": ("tcr", "random", "attention"), "selection": ("tcr", "random")}


def _span_experiment(config: ConfigDict, data: HeadData, model: VideoLanguageModel, head: Standalone) -> Experiment:
    kind = _RECIPES[data.task]
    dataset = Dataset(
        recipe=kind,
        manual_dir=data.manual_dir,
        data_dir=data.data_dir,
        storyworld=data.storyworld,
        train=data.train,
        frames=data.frames,
        exercises_per_video=data.exercises_per_video,
        eval_exercises=data.exercises_per_video,
        condition_length=data.condition_length,
        prompt_length=1,
        target_length=1,
        max_broken_fraction=data.max_broken_fraction,
        workers=data.workers,
    )
    tokenizer = functools.cache(lambda: make_tokenizer(config.model))
    source = Source(kind, dataset, model, tokenizer, config.get("seed", 0))
    load = functools.cache(lambda train: SpanLoader(source.loader(train, Ablation()), data.most_moments, kind))
    groups = functools.cache(lambda: source.groups(data.eval, None))

    def train_data(spec: StreamSpec) -> Stream:
        return train_stream(source.groups(data.train, spec.seed), load(True), spec, **source.streams())

    def asked(index: int) -> tuple[dict[str, list], tuple[int, ...]]:
        film, rows = groups().groups[index]
        return source.records(data.eval).films[film], rows

    name = f"standalone_{kind}"
    detect = moments_of_set if kind == "mq" else moments_of_spans
    evaluator = timed(
        name,
        lambda spec: eval_stream(groups(), load(False), spec, **source.streams()),
        head.eval_step,
        asked,
        kind,
        detect,
    )
    trainable = "(tcr|head)/.*" if data.tune else "head/.*"

    def size() -> int:
        return len(source.groups(data.train, config.get("seed", 0)))

    return _experiment(config, head, Task(name, train_data, head.loss), evaluator, trainable, size)


def _experiment(
    config: ConfigDict,
    head: Standalone,
    task: Task,
    evaluator: Evaluator,
    trainable: str,
    size: Callable[[], int],
) -> Experiment:
    def pretrained() -> dict[str, Any]:
        weights: dict[str, Any] = dict(frozen_towers(config.model, ("vision",)))
        if head.pretrained and head.data.resampler is not None:
            place = weights_folder(head.data.resampler)
            weights |= {key: array for key, array in load_trainable(place).items() if key.startswith("tcr/")}
        if head.data.words and not head.reads_frames:
            tower = weights_folder(config.model.vision.weights)
            weights |= start_from_clip(tower, make_tokenizer(config.model), head.model.tcr.config)
        return weights

    return Experiment(
        name="tcr.heads",
        init=head.init,
        pretrained=pretrained,
        trainable=trainable,
        tasks=(task,),
        evaluators=(evaluator,),
        units="videos",
        steps_per_epoch=lambda: size() // config.train.batch_size,
    )


def build(config: ConfigDict) -> Experiment:
    """The experiment of configs/tcr_kinetics.py, tcr_countix.py and the ":standalone" variants of MQ and NLQ."""
    data = from_config(HeadData, config.data, "config.data")
    samplers = _SAMPLERS.get(data.task, ("tcr",))
    if data.sampler not in samplers:
        allowed = " or ".join(f"'{name}'" for name in samplers)
        raise StoryjaxError(f"config.data.sampler: '{data.sampler}' cannot do {data.task}; give {allowed}")
    model = make_model(config.model, config.precision)
    head = Standalone(model, make_head(data, model), data)
    if head.pretrained:
        if data.cached:
            raise StoryjaxError(f"config.data.cached: {data.task} are looked for in whole films; it is for clips alone")
        return _span_experiment(config, data, model, head)
    builder, world = (Countix, "countix") if data.task == "counting" else (Kinetics400, "kinetics")
    tokenizer = functools.cache(lambda: make_tokenizer(config.model))
    size = model.vision.config.image_size

    @functools.cache
    def records(split: str, synthetic: bool = False) -> SegmentSource:
        place, stories, of, kind = data.manual_dir, data.storyworld, builder, world
        if synthetic:
            place, stories, of, kind = data.clips_dir or data.manual_dir, data.clips_storyworld, Kinetics400, "kinetics"
        if stories is not None:
            EXPORTS[kind](place, stories)
        return prepare_segments(of, place, data.data_dir, split, data.max_broken_fraction)

    @functools.cache
    def tower() -> Tower:
        return make_tower(config)

    @functools.cache
    def clips(split: str, synthetic: bool = False) -> Clips:
        made = Clips(records(split, synthetic), size, tokenizer(), data.condition_length)
        return dataclasses.replace(made, seen=see_all(made, tower().look)) if data.cached else made

    @functools.cache
    def classes() -> tuple[str, ...]:
        names = tuple(sorted({film["label"][0] for film in records(data.train).films}))
        if len(names) > data.classes:
            raise StoryjaxError(
                f"config.data.classes is {data.classes}, but {data.manual_dir} has {len(names)}: give as many"
            )
        return names

    def loader(train: bool) -> Callable[[int, np.random.Generator], Batch]:
        split = data.train if train else data.eval
        if data.task == "recognition":
            kept = data.kept if data.sampler == "random" else None
            return ClassLoader(clips(split), classes(), data.frames, train, kept)
        if data.task == "selection":
            return StitchLoader(clips(split), classes(), data.frames, data.videos, data.most_frames, train)
        if train:
            return RepetitionLoader(clips(data.train, True), data.frames, data.most_count, data.fps, data.movement)
        return CountLoader(clips(split), data.frames)

    streams = {"max_broken_fraction": 0.05 if data.max_broken_fraction is None else data.max_broken_fraction}
    streams["workers"] = data.workers

    def train_data(spec: StreamSpec) -> Stream:
        load = loader(True)
        return train_stream(Numbers(len(load.clips.records)), load, spec, **streams)

    def eval_data(spec: StreamSpec) -> Stream:
        load = loader(False)
        return eval_stream(Numbers(len(load.clips.records)), load, spec, **streams)

    name = {"recognition": "kinetics", "selection": "selection", "counting": "countix"}[data.task]

    def finish(sums: dict[str, Any]) -> dict[str, float]:
        if data.task == "recognition":
            return {f"{name}/acc": float(sums["right"] / max(sums["videos"], 1))}
        metrics = selection(sums) if data.task == "selection" else counting(sums)
        return {f"{name}/{key}": value for key, value in metrics.items()}

    return _experiment(
        config,
        head,
        Task(name, train_data, head.loss),
        summing_evaluator(name, eval_data, head.eval_step, finish),
        "head/.*" if head.reads_frames else "(tcr|head)/.*",
        lambda: len(records(data.train, data.task == "counting")),
    )
