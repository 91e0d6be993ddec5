"""The sections `config.model` and `config.data` of the TCR's experiments, and the model that a config describes.

`config.model` names two frozen networks and the sizes of the resampler between them:

    vision.weights, llm.weights   a folder with config.json, model.safetensors (and tokenizer.json for the LLM), or
                                  "shipped:NAME" for one of the small ones that come with the package
    vision.preset, llm.preset     the published architecture, where the folder is not there yet to say it itself
    tcr.*                         storyjax.tcr.resampler.TcrConfig
    tcr.weights                   a trained TCR (a run, a folder or shipped:NAME) which heads read and may leave frozen
    streaming.*                   storyjax.tcr.frame_stream.Streaming: how many frames are in memory at once
    qformer.*                     storyjax.tcr.qformer_baseline: BLIP-2's Q-Former in the place of the TCR
    llm_remat                     recompute the LLM's blocks in the backward pass rather than keep their activations

`config.data` is `TasksData`: data sets, how each is asked about and what a batch holds of it.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.params_io import weights_folder
from storyjax.data.builders.nextqa import OPTIONS
from storyjax.data.text import Tokenizer
from storyjax.models.qformer import QFormer, QFormerConfig
from storyjax.models.t5 import T5
from storyjax.models.vit import ViT
from storyjax.tcr.frame_stream import Streaming
from storyjax.tcr.loader import answer_ids
from storyjax.tcr.model import Resampler, VideoLanguageModel
from storyjax.tcr.qformer_baseline import QFormerResampler, QFormerSection
from storyjax.tcr.resampler import Tcr, TcrConfig, TcrResampler
from storyjax.tcr.tasks import Options
from storyjax.tcr.vision_features import Tower
from storyjax.train.checkpoint import load_trainable
from storyjax.train.precision import get_policy
from storyjax.weights.pretrained import Pretrained

ANSWER_TOKENS = 3  # of "Option A" and the end token, to a published T5


@dataclass(frozen=True)
class ModelConfig:
    """`config.model`; see the module."""

    vision: Pretrained
    llm: Pretrained
    tcr: dict[str, Any] = field(default_factory=dict)
    streaming: Streaming = field(default_factory=Streaming)
    llm_remat: bool = False
    qformer: QFormerSection | None = None


@dataclass(frozen=True)
class TaskData:
    """A data set, how it is asked about and what a batch holds of it; lengths in tokens.

    Attributes:
        task: one of tasks.TASKS, which says the data set.
        root, cache_dir: its official files, and where prepared records go.
        synthetic: {"counts": {split: stories}} of a StoryWorld to be written into root; None for the real data set.
        train_split, eval_splits: None and () where it is not trained or not evaluated on.
        weight, batch_size: of its loss (§3.6.2), and where it is another than config.train.batch_size.
        frames: frames that a video is sampled to, evenly (§3.3.2: 92, about two a second).
        examples_per_video: examples on one decoded video in a training batch. 1 is the thesis's batch; more share the
            decoding and the frozen tower.
        eval_examples: the same in evaluation; a video with more of them is decoded again.
        target_length: of NExT-QA, where every target is the name of an option, it is theirs.
        options: tasks.Options.
        candidates, temperature: of anticipation: sequences drawn, the first of them the likeliest (Ego4D: 5).
        shots: worked examples in the prompt (Table 3.8), of the training split; a data set that has none gives videos
            of its first split, which are then left out where that is evaluated on.
        ablations: further evaluations, by the names of evaluators.ABLATIONS and, of anticipation, VARIATIONS: "none" of
            the task "nextqa" gives "nextqa_none/acc", "two_shots" "nextqa_two_shots/acc" and so on.
        max_broken_fraction: more broken videos or annotations stop the run; None: what the data set's builder allows.
        features: of NExT-QA: where `storyjax data features` has put the frozen vision tower's tokens of these videos;
            they are trained and evaluated on instead of pixels, and the tower is not loaded.
        cached: of NExT-QA: the same features, computed before the first step and kept in cache_dir: for videos and
            towers so small that this takes no longer than a pass over them.
    """

    task: str
    root: str
    cache_dir: str = "data/prepared"
    synthetic: dict[str, Any] | None = None
    train_split: str | None = "train"
    eval_splits: tuple[str, ...] = ()
    weight: float = 1.0
    batch_size: int | None = None
    frames: int = 92
    examples_per_video: int = 1
    eval_examples: int = 4
    condition_length: int = 64
    prompt_length: int = 256
    target_length: int = 64
    options: Options = field(default_factory=Options)
    candidates: int = 5
    temperature: float = 0.7
    shots: int = 0
    ablations: tuple[str, ...] = ()
    max_broken_fraction: float | None = None
    workers: int = 0
    features: str | None = None
    cached: bool = False

    @property
    def reads_pixels(self) -> bool:
        """Whether batches hold pixels, not stored features."""
        return self.features is None and not self.cached


@dataclass(frozen=True)
class TasksData:
    """`config.data`.

    Attributes:
        tasks: data sets by the name that their results have.
        epochs_of: the task whose passes config.train.epochs counts; None: the first that is trained on.
    """

    tasks: dict[str, TaskData]
    epochs_of: str | None = None


def make_model(config: ConfigDict, precision: str = "float32") -> VideoLanguageModel:
    """Returns the model that `config.model` describes; nothing is loaded but the architectures.

    Raises:
        StoryjaxError: an unknown key or preset, or a network's config.json is not there.
    """
    section = from_config(ModelConfig, config, "config.model")
    dtype = get_policy(precision).compute_dtype
    vision, llm = section.vision.architecture("vision"), section.llm.architecture("llm")
    own = {name: value for name, value in section.tcr.items() if name != "weights"}
    sizes = {**own, "vocab_size": llm.vocab_size, "llm_width": llm.d_model}
    tcr = from_config(TcrConfig, sizes, "config.model.tcr")
    resampler: Resampler = TcrResampler(Tcr(tcr, dtype=dtype("tcr")))
    if section.qformer is not None:
        widths = {"vision_width": vision.width, "llm_width": llm.d_model}
        baseline = from_config(QFormerConfig, {**section.qformer.sizes, **widths}, "config.model.qformer.sizes")
        resampler = QFormerResampler(QFormer(baseline, dtype("qformer")), tcr)
    return VideoLanguageModel(
        ViT(vision, dtype=dtype("vision")), resampler, T5(llm, section.llm_remat, dtype("llm")), section.streaming
    )


def make_tokenizer(config: ConfigDict) -> Tokenizer:
    """Returns the LLM's tokenizer; see `Pretrained.tokenizer` for the errors."""
    return from_config(ModelConfig, config, "config.model").llm.tokenizer("llm")


def has_tokenizer(config: ConfigDict) -> bool:
    """Returns whether the LLM's tokenizer is there; programs can be planned before it is."""
    return (from_config(ModelConfig, config, "config.model").llm.folder / "tokenizer.json").exists()


def option_ids(config: ConfigDict) -> np.ndarray:
    """Returns the token ids of "Option A" to "Option E": (5, m) int32.

    Programs can be planned before the tokenizer's file is there: the ids are zeros then. No batch comes without it.
    """
    if not has_tokenizer(config):
        return np.zeros((OPTIONS, ANSWER_TOKENS), np.int32)
    return answer_ids(make_tokenizer(config), OPTIONS)


def frozen_towers(config: ConfigDict, parts: tuple[str, ...] = ("vision", "llm")) -> dict[str, Any]:
    """Returns the parameters that a run starts with, by path ("vision/..."), each read where it is needed.

    They are those of the frozen networks, and of a Q-Former or a TCR that `config.model` names the weights of.

    Args:
        parts: of the frozen networks.

    Raises:
        StoryjaxError: weights are not there; the message says what to get and where to put it.
    """
    section = from_config(ModelConfig, config, "config.model")
    stored: dict[str, Any] = {}
    for part in parts:
        stored |= {f"{part}/{path}": tensor for path, tensor in getattr(section, part).parameters(part).items()}
    if section.qformer is not None and section.qformer.weights is not None:  # BLIP-2's own, which is trained on
        qformer = Pretrained(section.qformer.weights, "blip2").parameters("qformer")
        stored |= {f"qformer/{path}": tensor for path, tensor in qformer.items()}
    if section.tcr.get("weights") is not None:
        trained = load_trainable(weights_folder(section.tcr["weights"]))
        stored |= {path: array for path, array in trained.items() if path.startswith("tcr/")}
    return stored


def make_tower(config: ConfigDict) -> Tower:
    """Returns the vision tower of a whole config, with its weights, to compute features with."""
    section = from_config(ModelConfig, config.model, "config.model")
    weights = {f"vision/{path}": tensor for path, tensor in section.vision.parameters("vision").items()}
    return Tower(make_model(config.model, config.precision), weights, get_policy(config.precision))
