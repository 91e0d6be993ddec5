"""A data set of a config as training task and evaluators."""

import dataclasses
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from storyjax.core.buckets import place
from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.ego4d import moment_classes, taxonomy
from storyjax.data.features import FeatureStore
from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.registry import prepare_split, split_names
from storyjax.data.streams import StreamSpec
from storyjax.data.text import Tokenizer
from storyjax.tcr import predictions
from storyjax.tcr.config import TaskData, has_tokenizer, make_tokenizer, make_tower, option_ids
from storyjax.tcr.evaluators import (
    ABLATIONS,
    VARIATIONS,
    ActionDecoder,
    Actions,
    Timestamps,
    anticipation,
    captions,
    choice,
    moments,
    questions,
)
from storyjax.tcr.example_counts import example_counts
from storyjax.tcr.loader import FRAME_ARRAYS, Ablation, Example, ExampleGroups, ExampleLoader, Lengths, segment_of
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.objective import QuestionAnswering
from storyjax.tcr.planned import PlannedDecoder, planned_actions, planned_stamps
from storyjax.tcr.predictions import MomentRecords
from storyjax.tcr.qformer_baseline import answering
from storyjax.tcr.tasks import TASKS, TaskSpec
from storyjax.tcr.vision_features import Tower, cached_features
from storyjax.train.experiment import Batch, BatchPrediction, BatchSpec, Evaluator, Task

_LOG = logging.getLogger(__name__)
# Entropy beside the run's seed, so that what is drawn for worked examples is not what anything else draws.
_SHOWN_VIDEOS, _SHOWN_ROWS = 0x53, 0x54
_AS_IT_IS = Ablation()
_CACHED_DRAWS = 1  # frames of each segment that are encoded and kept: those that evaluation takes


@dataclass(frozen=True)
class TaskSource:
    """A data set of a config, ready to make tasks and evaluators of; nothing is read before data is asked for.

    Attributes:
        name: of the task in the config and in results.
        answers: token ids of the options of a multiple choice (a, m).
        tower: the vision tower, which stored features must be of.
        seed: of the run.
        has_words: whether the tokenizer is there; until then programs can be planned, but not run.
    """

    name: str
    data: TaskData
    model: VideoLanguageModel
    tokenizer: Callable[[], Tokenizer]
    answers: Callable[[], np.ndarray]
    tower: Callable[[], Tower]
    seed: int
    has_words: Callable[[], bool] = lambda: True

    @classmethod
    def of(cls, config: ConfigDict, name: str, data: TaskData, model: VideoLanguageModel) -> "TaskSource":
        """Returns the source of a task of a whole config.

        Raises:
            StoryjaxError: an unknown task, or features that cannot stand in for its videos.
        """
        spec = TASKS[choose(data.task, TASKS, f"config.data.tasks.{name}.task")]
        if not data.reads_pixels and spec.scored != "questions":
            raise StoryjaxError(f"config.data.tasks.{name}.features: features of whole videos are for NExT-QA alone")
        return cls(
            name,
            data,
            model,
            functools.cache(lambda: make_tokenizer(config.model)),
            functools.cache(lambda: option_ids(config.model)),
            functools.cache(lambda: make_tower(config)),
            config.get("seed", 0),
            functools.cache(lambda: has_tokenizer(config.model)),
        )

    @property
    def spec(self) -> TaskSpec:
        """How the data set is asked about."""
        return TASKS[self.data.task]

    @property
    def eval_splits(self) -> list[str]:
        """The splits that are evaluated on."""
        return [split for _, split in split_names(self.data.eval_splits, self.spec.dataset)]

    @functools.cached_property
    def records(self) -> Callable[[str], Any]:
        """A split's name -> its prepared records."""
        return functools.cache(functools.partial(task_records, self.data))

    def make(self, record: dict, row: int, duration: float, rng: np.random.Generator | None) -> Example:
        """Returns an example of a record; see `tasks.TaskSpec.make`."""
        return self.spec.make(record, row, duration, rng, self.data.options)

    def lengths(self, train: bool, ablation: Ablation = _AS_IT_IS) -> Lengths:
        """Returns the sizes of a batch's rows; a prompt has room for the worked examples of an ablation."""
        d = self.data
        count = d.examples_per_video if train else d.eval_examples
        target = self.answers().shape[1] if self.spec.scored == "questions" else d.target_length
        room = (ablation.shots or 0) * (d.prompt_length + target)
        return Lengths(d.frames * ablation.passes, count, d.condition_length, room + d.prompt_length, target)

    def loader(self, train: bool, ablation: Ablation, split: str | None = None) -> ExampleLoader:
        """Returns what turns examples into arrays; `split` says which stored features, if any, stand in for pixels."""
        size = self.model.vision.config.image_size
        features = None if split is None or self.data.reads_pixels else self.features(split)
        worked = "" if train else self.worked_examples(ablation.shots)
        lengths, sizes = self.lengths(train, ablation), self.model.resampler.sizes
        return ExampleLoader(
            self.make,
            lengths,
            sizes,
            size,
            self.tokenizer(),
            train,
            ablation,
            worked,
            features,
            self.spec.longest_s,
        )

    def features(self, split: str) -> FeatureStore:
        """Returns the stored features of a split's videos; with `cached` they are computed where they are missing.

        Raises:
            StoryjaxError: they are not there, or of other videos or another tower.
        """
        d, records = self.data, self.records(split)
        if d.features is not None:
            return FeatureStore(place(d.features) / split, self.tower().fingerprint, d.frames)
        folder = place(d.cache_dir) / "features" / records.folder.name
        return cached_features(
            folder,
            tuple(records.video_ids),
            lambda index: records[index]["video"],
            d.frames,
            _CACHED_DRAWS,
            self.tower(),
        )

    def counts(self, split: str) -> Int[np.ndarray, " n"]:
        """Returns how many examples each record of a split has."""
        return example_counts(self.records(split), self.data.task, self.spec.count, self.data.options)

    def prepare(self) -> dict[str, int]:
        """Returns how many records each split that is trained or evaluated on has, prepared, with examples counted."""
        split = self.data.train_split
        names = dict.fromkeys([*([] if split is None else [split]), *self.eval_splits])
        return {f"{self.spec.dataset}:{name}": len(self.counts(name)) for name in names}

    def shown(self, shots: int | None = None) -> tuple[str, list[int]]:
        """Returns the split that worked examples are taken from, and its videos, drawn with the run's seed: so many, or
        as many as the config says."""
        shots = self.data.shots if shots is None else shots
        splits: tuple[str, ...] = self.spec.builder.SPLITS if self.data.train_split is None else ()
        split = self.data.train_split or ("train" if "train" in splits else splits[0])
        if not shots:
            return split, []
        counts = self.counts(split)
        order = np.random.default_rng([self.seed, _SHOWN_VIDEOS]).permutation(len(counts)).tolist()
        return split, [video for video in order if counts[video]][:shots]

    def worked_examples(self, shots: int | None = None) -> str:
        """Returns worked examples, one of each video that is shown."""
        split, videos = self.shown(shots)
        if not videos:
            return ""
        counts = self.counts(split)
        rng = np.random.default_rng([self.seed, _SHOWN_ROWS])
        worked = []
        for index in videos:
            record = self.records(split)[index]
            try:
                one = self.make(
                    record, int(rng.integers(counts[index])), segment_of(record, self.spec.longest_s)[1], None
                )
            except StoryjaxError as error:
                _LOG.warning("%s shows one worked example fewer: %s", self.name, error)
                continue
            worked.append(f"{one.prompt} {one.target}")
        return " ".join(worked)

    def groups(self, split: str, seed: int | None, shots: int | None = None) -> ExampleGroups:
        """Returns the split's videos with their examples; with a seed for training, without it less those that are
        shown."""
        once = self.spec.once and seed is None
        counts = np.array(self.counts(split))  # a copy, for what is kept cannot be changed
        if once:
            counts = np.minimum(counts, 1)
        shown_of, shown = self.shown(shots)
        if seed is None and shown_of == split:
            counts[shown] = 0
        size = self.data.eval_examples if seed is None else self.data.examples_per_video
        return ExampleGroups(self.records(split), counts, size, seed)

    def stream_options(self) -> dict[str, Any]:
        """Returns the options of data.pipeline's streams."""
        fraction = self.data.max_broken_fraction
        allowed = self.spec.builder.MAX_BROKEN_FRACTION if fraction is None else fraction
        return {"max_broken_fraction": allowed, "workers": self.data.workers}

    def train_data(self, spec: StreamSpec) -> Stream:
        """Returns the batches that the task is trained on."""
        split = self.data.train_split or "train"
        groups = self.groups(split, spec.seed)
        return train_stream(groups, self.loader(True, Ablation(), split), spec, **self.stream_options())

    def answering(self, passes: int = 1) -> QuestionAnswering:
        """Returns the model as it answers, with the options where the task asks for a choice."""
        choices = self.spec.scored in ("questions", "choice")
        return answering(self.model, self.data.frames * passes, self.answers, choices=choices, passes=passes)

    def batch_spec(self, train: bool, ablation: Ablation = _AS_IT_IS) -> BatchSpec | None:
        """Returns what `storyjax plan` needs to know; nothing of stored features."""
        if self.data.features is not None:
            return None
        vision, lengths = self.model.vision.config, functools.cache(lambda: self.lengths(train, ablation))

        def shapes(videos: int) -> Batch:
            arrays = lengths().shapes(vision.image_size, videos)
            if self.data.reads_pixels:
                return arrays
            del arrays["frames"]
            tokens = (videos, lengths().frames, vision.num_tokens, vision.width)
            return {**arrays, "visual_tokens": jax.ShapeDtypeStruct(tokens, np.float16)}

        return BatchSpec(shapes, lambda videos: videos * self.model.kept_bytes(lengths().frames, train))

    def task(self) -> Task:
        """Returns the training task."""
        return Task(
            self.name,
            self.train_data,
            self.answering().loss,
            weight=self.data.weight,
            batch_size=self.data.batch_size,
            sequences=FRAME_ARRAYS,
            batch_spec=self.batch_spec(train=True),
        )

    def evaluators(self) -> list[Evaluator]:
        """Returns the evaluators of every split and ablation that the config names.

        Raises:
            StoryjaxError: an unknown ablation.
        """
        if self.spec.scored is None:
            return []
        known = (*ABLATIONS, *VARIATIONS) if self.spec.scored == "actions" else tuple(ABLATIONS)
        chosen = {name: choose(name, known, f"config.data.tasks.{self.name}.ablations") for name in self.data.ablations}
        made = []
        for split in self.eval_splits:
            name = self.name if len(self.eval_splits) == 1 else f"{self.name}_{split}"
            made.append(self.evaluator(name, split, Ablation()))
            for variation in chosen:
                ablation = ABLATIONS.get(variation, Ablation())
                if ablation.passes > 1 and not self.data.reads_pixels:
                    raise StoryjaxError(
                        f"config.data.tasks.{self.name}.ablations: '{variation}' needs more frames than"
                        " are stored as features; read pixels"
                    )
                one = variation if variation in VARIATIONS else None
                made.append(self.evaluator(f"{name}_{variation}", split, ablation, one))
        return made

    def evaluator(self, name: str, split: str, ablation: Ablation, variation: str | None = None) -> Evaluator:
        """Returns the evaluator of the task's metric on a split."""
        d = self.data
        groups = functools.cache(lambda: self.groups(split, None, ablation.shots))

        def data(spec: StreamSpec) -> Stream:
            return eval_stream(groups(), self.loader(False, ablation, split), spec, **self.stream_options())

        def asked(index: int) -> tuple[dict[str, list], tuple[int, ...]]:
            video, rows = groups().group(index)
            return self.records(split).annotations[video], rows

        @functools.cache
        def stamps() -> Timestamps:
            bins = d.options.bins
            return Timestamps.of(self.tokenizer(), bins) if self.has_words() else planned_stamps(bins)

        qa, spec = self.answering(ablation.passes), self.batch_spec(False, ablation)
        if self.spec.scored == "questions":
            return dataclasses.replace(questions(name, data, qa, spec), size=lambda: len(groups()))
        if self.spec.scored == "choice":
            return dataclasses.replace(choice(name, data, qa), batch_spec=spec, size=lambda: len(groups()))
        if self.spec.scored == "times":
            return dataclasses.replace(moments(name, data, qa, stamps, asked, d.task), batch_spec=spec)
        if self.spec.scored == "caption":
            made = captions(name, data, qa, self.tokenizer, asked, d.target_length)
            return dataclasses.replace(made, batch_spec=spec)
        space = functools.cache(lambda: self.label_space(variation))
        kind = ActionDecoder if self.has_words() else PlannedDecoder
        decoder = kind(qa, self.tokenizer, d.target_length, d.options, space)
        return dataclasses.replace(anticipation(name, data, decoder, asked), batch_spec=spec)

    def predictions(self) -> list[BatchPrediction]:
        """Returns the challenges' files of every split that the config names; none where there is no challenge."""
        if self.data.task not in ("egoschema", "lta", "mq", "nlq"):
            return []
        single = len(self.eval_splits) == 1
        return [self.prediction(self.name if single else f"{self.name}_{one}", one) for one in self.eval_splits]

    def prediction(self, name: str, split: str) -> BatchPrediction:
        """Returns the files of a split, whose names begin with `name`."""
        d, qa = self.data, self.answering()

        @functools.cache
        def groups() -> ExampleGroups:
            if d.task != "mq":
                return self.groups(split, None)
            records = MomentRecords(self.records(split), tuple(labels()))
            return ExampleGroups(records, np.full(len(records), len(labels())), d.eval_examples, None)

        def data(spec: StreamSpec) -> Stream:
            return eval_stream(groups(), self.loader(False, Ablation(), split), spec, **self.stream_options())

        def asked(index: int) -> tuple[str, dict[str, list], tuple[int, ...]]:
            video, rows = groups().group(index)
            records: Any = groups().records
            return records.video_ids[video], records.annotations[video], rows

        stamps = functools.cache(lambda: Timestamps.of(self.tokenizer(), d.options.bins))
        labels = functools.cache(lambda: moment_classes(d.root))
        if d.task == "egoschema":
            return predictions.choices(name, data, qa, asked)
        if d.task == "lta":
            space = functools.cache(lambda: self.label_space(None))
            return predictions.actions(
                name, data, ActionDecoder(qa, self.tokenizer, d.target_length, d.options, space), asked
            )
        return predictions.times(name, data, qa, stamps, asked, labels if d.task == "mq" else None)

    def label_space(self, variation: str | None) -> Actions:
        """Returns the actions of anticipation, and how candidates are drawn."""
        changed = {} if variation is None else {variation: True}
        if not self.has_words():
            return planned_actions(self.data.candidates, self.data.temperature, **changed)
        verbs, nouns = taxonomy(place(self.data.root))
        return Actions(tuple(verbs), tuple(nouns), self.data.candidates, self.data.temperature, **changed)


def task_records(data: TaskData, split: str) -> Any:
    """Returns a task's prepared split; a StoryWorld is written first where the config asks for one.

    Raises:
        StoryjaxError: see `data.registry.prepare_split`.
    """
    spec = TASKS[choose(data.task, TASKS, "config.data.tasks.*.task")]
    allowed = {} if data.max_broken_fraction is None else {"max_broken_fraction": data.max_broken_fraction}
    return prepare_split(spec.dataset, data.root, data.cache_dir, split, synthetic=data.synthetic, **allowed)
