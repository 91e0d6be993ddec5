"""Experiments with the TCR without a language model (thesis §3.6.3, Tables 3.9 to 3.11).

On Kinetics and Countix the TCR is trained from scratch on one token a frame (clips.py). For moment and language queries
it is the pre-trained one, frozen with its tower, and only a head is trained (spans.py).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import weights_folder
from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.registry import prepare_split, resolve
from storyjax.data.streams import StreamSpec
from storyjax.tcr.config import frozen_towers, make_model, make_tokenizer, make_tower
from storyjax.tcr.evaluators import timed
from storyjax.tcr.heads.base import Head
from storyjax.tcr.heads.clips import ClipHead, CountingHead, RecognitionHead, SelectionHead
from storyjax.tcr.heads.config import read_data
from storyjax.tcr.heads.data import Clips, Numbers, SpanLoader, encode_clips
from storyjax.tcr.heads.spans import MomentsHead, QueriesHead, SpanHead
from storyjax.tcr.loader import FRAME_ARRAYS, Ablation
from storyjax.tcr.task_source import TaskSource
from storyjax.tcr.vision_features import Tower
from storyjax.train.experiment import Batch, BatchSpec, Evaluator, Experiment, Task, summing_evaluator

HEADS: dict[str, Callable[..., Head]] = {
    "recognition": RecognitionHead,
    "selection": SelectionHead,
    "counting": CountingHead,
    "moments": MomentsHead,
    "queries": QueriesHead,
}
_BROKEN_FRACTION = 0.05  # of clips, unless a config says otherwise


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of configs/tcr_kinetics.py, tcr_countix.py and the ":standalone" variants of MQ and NLQ.

    Raises:
        StoryjaxError: an unknown task, or a key that its head does not have.
    """
    data = read_data(config.data)
    head = HEADS[data.task](make_model(config.model, config.precision), data)
    if isinstance(head, ClipHead):
        return _clip_experiment(config, head)
    assert isinstance(head, SpanHead)
    return _span_experiment(config, head)


class ClipSplits:
    """The clips of the data sets that a head reads, each split prepared, and encoded if asked for, once."""

    def __init__(self, config: ConfigDict, head: ClipHead):
        self.head, self.data = head, head.data
        self._size = head.model.vision.config.image_size
        self._tokenizer = functools.cache(lambda: make_tokenizer(config.model))
        self._tower: Callable[[], Tower] = functools.cache(lambda: make_tower(config))
        self.records = functools.cache(self._records)
        self.clips = functools.cache(self._clips)
        self.classes = functools.cache(self._classes)

    def _records(self, dataset: str, split: str) -> Any:
        root, synthetic = self.head.place(dataset)
        allowed = self.data.max_broken_fraction
        return prepare_split(
            dataset, root, self.data.cache_dir, split, synthetic=synthetic, max_broken_fraction=allowed
        )

    def prepare(self) -> dict[str, int]:
        """Returns how many clips there are to train and to evaluate on, prepared."""
        head, data = self.head, self.data
        names = ((head.train_dataset, data.train_split), (head.dataset, data.eval_split))
        return {f"{dataset}:{split}": len(self.records(dataset, split)) for dataset, split in names}

    def _clips(self, dataset: str, split: str) -> Clips:
        made = Clips(self.records(dataset, split), self._size, self._tokenizer(), self.data.condition_length)
        if not self.data.cached:
            return made
        return dataclasses.replace(made, encoded=encode_clips(made, self._tower().encode_frames))

    def _classes(self) -> tuple[str, ...]:
        """The classes of the training clips, in order."""
        clips = self.records(self.head.train_dataset, self.data.train_split).annotations
        names, room = tuple(sorted({columns["label"][0] for columns in clips})), self.data.classes
        if len(names) > room:
            where = self.head.place(self.head.train_dataset)[0]
            raise StoryjaxError(f"config.data.classes is {room}, but {where} has {len(names)}: give as many")
        return names

    def loader(self, train: bool) -> Any:
        """Returns what makes a clip's number an example."""
        dataset = self.head.train_dataset if train else self.head.dataset
        split = self.data.train_split if train else self.data.eval_split
        return self.head.loader(self.clips(dataset, split), self.classes, train)


def _clip_experiment(config: ConfigDict, head: ClipHead) -> Experiment:
    splits, data = ClipSplits(config, head), head.data
    allowed = _BROKEN_FRACTION if data.max_broken_fraction is None else data.max_broken_fraction
    options = {"max_broken_fraction": allowed, "workers": data.workers}

    def train_data(spec: StreamSpec) -> Stream:
        load: Callable[[int, np.random.Generator], Batch] = splits.loader(True)
        return train_stream(Numbers(len(splits.records(head.train_dataset, data.train_split))), load, spec, **options)

    def eval_data(spec: StreamSpec) -> Stream:
        load = splits.loader(False)
        return eval_stream(Numbers(len(splits.records(head.dataset, data.eval_split))), load, spec, **options)

    return _experiment(
        config,
        head,
        Task(head.name, train_data, head.loss, batch_spec=head.batch_spec(train=True)),
        summing_evaluator(head.name, eval_data, head.eval_step, head.compute, batch_spec=head.batch_spec(train=False)),
        lambda: len(splits.records(head.train_dataset, data.train_split)),
        splits.prepare,
    )


def _span_experiment(config: ConfigDict, head: SpanHead) -> Experiment:
    data = head.data
    source = TaskSource.of(config, head.kind, head.task_data(), head.model)
    load = functools.cache(lambda train: SpanLoader(source.loader(train, Ablation()), data.most_moments, head.kind))
    groups = functools.cache(lambda: source.groups(data.eval_split, None))

    def train_data(spec: StreamSpec) -> Stream:
        return train_stream(source.groups(data.train_split, spec.seed), load(True), spec, **source.stream_options())

    def asked(index: int) -> tuple[dict[str, list], tuple[int, ...]]:
        video, rows = groups().group(index)
        return source.records(data.eval_split).annotations[video], rows

    def eval_data(spec: StreamSpec) -> Stream:
        return eval_stream(groups(), load(False), spec, **source.stream_options())

    def spec(train: bool) -> BatchSpec | None:
        whole = source.batch_spec(train)
        return whole and BatchSpec(lambda videos: head.shapes(whole.shapes(videos)), whole.features)

    return _experiment(
        config,
        head,
        Task(head.name, train_data, head.loss, sequences=FRAME_ARRAYS, batch_spec=spec(True)),
        dataclasses.replace(
            timed(head.name, eval_data, head.eval_step, asked, head.kind, head.detect), batch_spec=spec(False)
        ),
        lambda: len(source.groups(data.train_split, config.get("seed", 0))),
        lambda: {
            f"{source.spec.dataset}:{name}": len(source.counts(name)) for name in (data.train_split, data.eval_split)
        },
    )


def _experiment(
    config: ConfigDict,
    head: Head,
    task: Task,
    evaluator: Evaluator,
    size: Callable[[], int],
    prepare: Callable[[], Mapping[str, int]],
) -> Experiment:
    def pretrained() -> dict[str, Any]:
        weights = frozen_towers(config.model, ("vision",))
        if isinstance(head, ClipHead) and head.data.clip_init is not None and not head.reads_frames:
            tower = weights_folder(config.model.vision.weights)
            weights |= resolve(head.data.clip_init)(tower, make_tokenizer(config.model), head.tcr.config)
        return weights

    return Experiment(
        name="tcr.heads",
        init=head.init,
        pretrained=pretrained,
        trainable=head.trainable,
        tasks=(task,),
        evaluators=(evaluator,),
        units="videos",
        steps_per_epoch=lambda: size() // config.train.batch_size,
        prepare=prepare,
    )
