"""From a config to TCR's models and experiment: NExT-QA fine-tuning (thesis §3.3.2, Table 3.7).

`config.model` names two frozen towers and the sizes of the resampler between them:

    vision.weights, llm.weights   a folder with config.json, model.safetensors (and tokenizer.json for the LLM), or
                                  "shipped:NAME" for one of the small ones that come with the package
    vision.preset, llm.preset     the published architecture, where the folder is not there yet to say it itself
    tcr.*                         storyjax.tcr.resampler.TcrConfig
    streaming.*                   storyjax.tcr.stream.Streaming: how many frames are in the works at once
    qformer.*                     storyjax.tcr.baseline: BLIP-2's Q-Former in the place of the TCR
    llm_remat                     recompute the LLM's blocks in the backward pass rather than keep their activations

`config.data` is `QaData`: where the data set lies and what a batch holds of it.
"""

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ml_collections import ConfigDict

from storyjax.configuration import choose, from_config
from storyjax.data.builders.nextqa import OPTIONS, NextQASource, prepare
from storyjax.data.features import FeatureStore
from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.text import HubTokenizer, Tokenizer, WordTokenizer
from storyjax.errors import StoryjaxError
from storyjax.nn.qformer import QFormer, QFormerConfig
from storyjax.nn.t5 import FLAN_T5_XL, T5, T5Config
from storyjax.nn.vit import VIT_G14_BLIP2, ViT, ViTConfig
from storyjax.storyworld.nextqa import export_nextqa
from storyjax.tcr.baseline import QFormerBaseline, QFormerSection, answering
from storyjax.tcr.data import FRAME_ARRAYS, Ablation, QaConfig, QaLoader, QuestionGroups, answer_ids, batch_shapes
from storyjax.tcr.evaluate import accuracies
from storyjax.tcr.export import exports
from storyjax.tcr.features import Tower
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.resampler import Tcr, TcrConfig
from storyjax.tcr.stream import Chunks, Streaming
from storyjax.train.experiment import Batch, Evaluator, Experiment, Planned, StreamSpec, Task, summing_evaluator
from storyjax.train.precision import get_policy
from storyjax.weights.tensor_files import StoredTensor, stored_tensors
from storyjax.weights.tree_io import weights_folder

VISION_PRESETS = {"vit_g14_blip2": VIT_G14_BLIP2}
LLM_PRESETS = {"flan_t5_xl": FLAN_T5_XL}
ANSWER_TOKENS = 3  # of "Option A" and the end token, to a published T5


@dataclass(frozen=True)
class TowerConfig:
    """Where a frozen tower's weights lie and, optionally, which published architecture it has."""

    weights: str
    preset: str | None = None


@dataclass(frozen=True)
class ModelConfig:
    vision: TowerConfig
    llm: TowerConfig
    tcr: dict[str, Any] = field(default_factory=dict)
    streaming: Streaming = field(default_factory=Streaming)
    llm_remat: bool = False
    qformer: QFormerSection | None = None


def tower_file(tower: TowerConfig, name: str, part: str) -> Path:
    """A file of a tower's folder.

    Raises:
        StoryjaxError: it is not there; the message says what to get, from whom and where to put it.
    """
    path = weights_folder(tower.weights) / name
    if not path.exists():
        what = f"the weights of {tower.preset or part}"
        raise StoryjaxError(
            f"config.model.{part}.weights: {path} is not there; get {what} by"
            f" 'storyjax import blip2-flan-t5-xl --from Salesforce/blip2-flan-t5-xl --out {path.parent}' (or from where"
            " you downloaded it to), or use the config's ':embedded' variant"
        )
    return path


def _architecture(tower: TowerConfig, cls: type, presets: dict[str, Any], part: str) -> Any:
    if tower.preset is not None:
        return presets[choose(tower.preset, presets, f"config.model.{part}.preset")]
    stored = json.loads(tower_file(tower, "config.json", part).read_text())
    if part not in stored:
        raise StoryjaxError(
            f"{weights_folder(tower.weights)}/config.json describes {', '.join(stored)}, no '{part}' tower"
        )
    return from_config(cls, stored[part], f"{tower.weights}/config.json {part}")


def make_model(config: ConfigDict, precision: str = "float32") -> VideoLanguageModel:
    """The model that `config.model` describes; nothing is loaded but the architectures."""
    section = from_config(ModelConfig, config, "config.model")
    dtype = get_policy(precision).compute_dtype
    vision = _architecture(section.vision, ViTConfig, VISION_PRESETS, "vision")
    llm = _architecture(section.llm, T5Config, LLM_PRESETS, "llm")
    sizes = {**section.tcr, "vocab_size": llm.vocab_size, "llm_width": llm.d_model}
    tcr = from_config(TcrConfig, sizes, "config.model.tcr")
    parts = (
        ViT(vision, dtype=dtype("vision")),
        Tcr(tcr, dtype=dtype("tcr")),
        T5(llm, section.llm_remat, dtype("llm")),
        section.streaming,
    )
    if section.qformer is None:
        return VideoLanguageModel(*parts)
    widths = {"vision_width": vision.width, "llm_width": llm.d_model}
    baseline = from_config(QFormerConfig, {**section.qformer.sizes, **widths}, "config.model.qformer.sizes")
    return QFormerBaseline(*parts, QFormer(baseline, dtype("qformer")))


def make_tokenizer(config: ConfigDict) -> Tokenizer:
    """The LLM's tokenizer: a word list of ours (tokenizer.json alone), or a published one."""
    section = from_config(ModelConfig, config, "config.model")
    words = tower_file(section.llm, "tokenizer.json", "llm")
    # Published tokenizers say in a second file what kind they are.
    if section.llm.preset is None and not (words.parent / "tokenizer_config.json").exists():
        return WordTokenizer.load(words)
    return HubTokenizer(words.parent)


def frozen_towers(config: ConfigDict, parts: tuple[str, ...] = ("vision", "llm")) -> dict[str, StoredTensor]:
    """The weights of both towers, or of one, flat, under "vision/" and "llm/"; one folder may have both. They are read
    where they are needed, one after another."""
    section = from_config(ModelConfig, config, "config.model")
    weights = {}
    for part in parts:
        weights |= stored_tensors(tower_file(getattr(section, part), "model.safetensors", part), f"{part}/")
    if section.qformer is not None and section.qformer.weights is not None:  # BLIP-2's own, which is trained on
        stored = TowerConfig(section.qformer.weights, "blip2")
        weights |= stored_tensors(tower_file(stored, "model.safetensors", "qformer"), "qformer/")
    return weights


def make_tower(config: ConfigDict) -> Tower:
    """The vision tower of a whole config, with its weights, to compute features with."""
    weights = frozen_towers(config.model, ("vision",))
    return Tower(make_model(config.model, config.precision), weights, get_policy(config.precision))


@dataclass(frozen=True)
class QaData(QaConfig):
    """NExT-QA on disk, and what a batch holds of it.

    Attributes:
        manual_dir: the official files (storyjax/data/builders/nextqa.py says which).
        data_dir: where the prepared records go.
        storyworld: stories in each split of a StoryWorld to be written into manual_dir; None for the real data set.
        eval_split: what results are measured on; Table 3.2 uses the validation set.
        ablations: further evaluations, by the names of ABLATIONS; "none" gives "nextqa_none/acc" and so on.
        max_broken_share: more broken videos or questions than this stop the run.
        features: where `storyjax data features` has put the frozen vision tower's tokens of these videos; they are
            trained and evaluated on instead of pixels, and the tower is not loaded.
    """

    manual_dir: str = "data/nextqa"
    data_dir: str = "data/prepared"
    storyworld: dict[str, int] | None = None
    eval_split: Literal["val", "test"] = "val"
    ablations: tuple[str, ...] = ()
    max_broken_share: float = 0.05
    workers: int = 0
    features: str | None = None


ABLATIONS = {
    "none": Ablation(condition="none"),
    "corrupt": Ablation(condition="corrupt"),
    "shuffled": Ablation(order="shuffled"),
    "no_video": Ablation(video=False),
}


def build(config: ConfigDict) -> Experiment:
    """The experiment of `configs/tcr_nextqa.py`."""
    data = from_config(QaData, config.data, "config.data")
    model = make_model(config.model, config.precision)
    parts = config.mesh.seq if "mesh" in config else 1
    if parts > 1:  # told now rather than when the first batch is cut
        Chunks.of(data.frames, parts, 1, paired=bool(model.streaming.chunk_frames and model.tcr.config.drop_patches))
    records = functools.cache(lambda split: _records(data, split))
    tokenizer = functools.cache(lambda: make_tokenizer(config.model))
    streams = {"max_broken_share": data.max_broken_share, "workers": data.workers}

    @functools.cache
    def features(split: str) -> FeatureStore | None:
        if data.features is None:
            return None
        return FeatureStore(Path(data.features) / split, make_tower(config).fingerprint, data.frames)

    def loader(split: str, train: bool, ablation: Ablation) -> QaLoader:
        size = model.vision.config.image_size
        return QaLoader(data, model.tcr.config, size, tokenizer(), train, ablation, features(split))

    def groups(split: str, seed: int | None) -> QuestionGroups:
        size = data.eval_questions if seed is None else data.questions_per_video
        return QuestionGroups(records(split), records(split).question_counts, size, seed)

    def train_data(spec: StreamSpec) -> Stream:
        return train_stream(groups("train", spec.seed), loader("train", True, Ablation()), spec, **streams)

    def evaluator(name: str, ablation: Ablation) -> Evaluator:
        return summing_evaluator(
            name,
            lambda spec: eval_stream(
                groups(data.eval_split, None), loader(data.eval_split, False, ablation), spec, **streams
            ),
            qa.measure,
            lambda sums: accuracies(sums, name),
            sequences=FRAME_ARRAYS,
            planned=planned(data.eval_questions, train=False),
        )

    def planned(questions: int, train: bool) -> Planned | None:
        if data.features is not None:  # what a run takes is planned from pixels
            return None

        def shapes(videos: int) -> Batch:
            return batch_shapes(data, model.vision.config.image_size, videos, questions, answers().shape[1])

        return Planned(shapes, lambda videos: videos * model.kept_bytes(data.frames, train))

    @functools.cache
    def answers() -> np.ndarray:
        # No batch comes without the tokenizer, but programs can be planned before its file is there.
        if not (weights_folder(config.model.llm.weights) / "tokenizer.json").exists():
            return np.zeros((OPTIONS, ANSWER_TOKENS), np.int32)
        return answer_ids(tokenizer(), OPTIONS)

    qa = answering(model, data.frames, answers)
    chosen = {name: ABLATIONS[choose(name, ABLATIONS, "config.data.ablations")] for name in data.ablations}
    # With features at hand nothing looks at pixels, and the tower's billion parameters need not lie in memory.
    towers = ("vision", "llm") if data.features is None else ("llm",)
    return Experiment(
        name="tcr",
        init=lambda key: {name: part for name, part in model.init(key).items() if name in (*towers, model.resampler)},
        pretrained=lambda: frozen_towers(config.model, towers),
        trainable=f"{model.resampler}/.*",
        tasks=(
            Task(
                "qa",
                train_data,
                qa.loss,
                sequences=FRAME_ARRAYS,
                planned=planned(data.questions_per_video, train=True),
            ),
        ),
        evaluators=(
            evaluator("nextqa", Ablation()),
            *(evaluator(f"nextqa_{name}", ablation) for name, ablation in chosen.items()),
        ),
        units="videos",
        steps_per_epoch=lambda: len(groups("train", config.seed)) // config.train.batch_size,
        exports=exports(model) if data.features is None else {},
    )


def nextqa_records(config: ConfigDict, split: str) -> NextQASource:
    """The split of a whole config's data set, prepared."""
    return _records(from_config(QaData, config.data, "config.data"), split)


def _records(data: QaData, split: str) -> NextQASource:
    """The prepared split; a StoryWorld is written first where the config asks for one."""
    if data.storyworld is not None:
        export_nextqa(data.manual_dir, data.storyworld, processes=None)
    return prepare(data.manual_dir, data.data_dir, split, max_broken_share=data.max_broken_share)
