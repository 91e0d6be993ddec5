"""NExT-QA fine-tuning (thesis §3.3.2, Table 3.7): `config.data` is `QaData`."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from ml_collections import ConfigDict

from storyjax.core.config import choose, from_config
from storyjax.core.params_io import weights_folder
from storyjax.data.builders.nextqa import OPTIONS, NextQASource, prepare
from storyjax.data.features import FeatureStore
from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.streams import StreamSpec
from storyjax.storyworld.export.nextqa import export_nextqa
from storyjax.tcr.config import frozen_towers, make_model, make_tokenizer, make_tower
from storyjax.tcr.evaluators import accuracies
from storyjax.tcr.export import exports
from storyjax.tcr.frame_stream import Chunks
from storyjax.tcr.loader import FRAME_ARRAYS, Ablation, QaConfig, QaLoader, QuestionGroups, answer_ids, batch_shapes
from storyjax.tcr.qformer_baseline import answering
from storyjax.train.experiment import Batch, BatchSpec, Evaluator, Experiment, Task, summing_evaluator

ANSWER_TOKENS = 3  # of "Option A" and the end token, to a published T5


@dataclass(frozen=True)
class QaData(QaConfig):
    """NExT-QA on disk, and what a batch holds of it.

    Attributes:
        manual_dir: the official files (storyjax/data/builders/nextqa.py says which).
        data_dir: where the prepared records go.
        storyworld: stories in each split of a StoryWorld to be written into manual_dir; None for the real data set.
        eval_split: what results are measured on; Table 3.2 uses the validation set.
        ablations: further evaluations, by the names of ABLATIONS; "none" gives "nextqa_none/acc" and so on.
        max_broken_fraction: more broken videos or questions than this stop the run.
        features: where `storyjax data features` has put the frozen vision tower's tokens of these videos; they are
            trained and evaluated on instead of pixels, and the tower is not loaded.
    """

    manual_dir: str = "data/nextqa"
    data_dir: str = "data/prepared"
    storyworld: dict[str, int] | None = None
    eval_split: Literal["val", "test"] = "val"
    ablations: tuple[str, ...] = ()
    max_broken_fraction: float = 0.05
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
    streams = {"max_broken_fraction": data.max_broken_fraction, "workers": data.workers}

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
            qa.eval_step,
            lambda sums: accuracies(sums, name),
            sequences=FRAME_ARRAYS,
            batch_spec=batch_spec(data.eval_questions, train=False),
        )

    def batch_spec(questions: int, train: bool) -> BatchSpec | None:
        if data.features is not None:  # what a run takes is planned from pixels
            return None

        def shapes(videos: int) -> Batch:
            return batch_shapes(data, model.vision.config.image_size, videos, questions, answers().shape[1])

        return BatchSpec(shapes, lambda videos: videos * model.kept_bytes(data.frames, train))

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
                batch_spec=batch_spec(data.questions_per_video, train=True),
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
        export_nextqa(data.manual_dir, data.storyworld)
    return prepare(data.manual_dir, data.data_dir, split, max_broken_fraction=data.max_broken_fraction)
