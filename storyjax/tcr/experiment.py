"""Training a TCR with the language model on any of the recipes, one or several at once (thesis §3.2.2, §3.6.2).

`config.data.tasks` names data sets with their recipe and weight. One is fine-tuning (stage iii), three of YT-Temporal
are pre-training (stage ii), all at once multi-task fine-tuning; the loop sums the gradients of weight * loss.
`config.data.nextqa` adds NExT-QA, with the keys of tcr.config.QaData.
"""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.ego4d import taxonomy
from storyjax.data.builders.egoschema import OPTIONS
from storyjax.data.builders.segments import SegmentSource, prepare_segments
from storyjax.data.pipeline import Stream, eval_stream, train_stream
from storyjax.data.prompts import option_names
from storyjax.data.streams import StreamSpec
from storyjax.data.text import Tokenizer
from storyjax.storyworld.export.long_videos import EXPORTS
from storyjax.tcr import evaluators as scoring
from storyjax.tcr.config import frozen_towers, make_model, make_tokenizer
from storyjax.tcr.export import exports
from storyjax.tcr.loader import FRAME_ARRAYS, Ablation, Exercise, ExerciseLoader, Lengths, QuestionGroups, stretch
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.nextqa import ABLATIONS
from storyjax.tcr.nextqa import build as build_nextqa
from storyjax.tcr.objective import QuestionAnswering
from storyjax.tcr.qformer_baseline import answering
from storyjax.tcr.tasks import RECIPES, Options
from storyjax.train.experiment import Evaluator, Experiment, Task

_LOG = logging.getLogger(__name__)
# Of anticipation: the language model alone, and actions asked for one by one (scoring.anticipation).
VARIATIONS = ("text_only", "iterative")


@dataclass(frozen=True)
class Dataset:
    """A data set, how it is asked about and what a batch holds of it.

    Attributes:
        recipe: one of recipes.RECIPES.
        manual_dir, data_dir: the official files, and where prepared records go.
        storyworld: stories in each split of a StoryWorld to be written into manual_dir; None for the real data set.
        train, eval: splits to train and to evaluate on; None where it is not used so.
        weight, batch_size: of its loss (§3.6.2), and where it is another than config.train.batch_size.
        options: recipes.Options.
        candidates, temperature: of anticipation: sequences drawn, the first of them the likeliest (Ego4D: 5).
        shots: worked examples in the prompt (Table 3.8), of the training split; a data set that has none gives films of
            its first split, which are then left out where that is evaluated on.
        ablations: further evaluations, by the names of config.ABLATIONS and, of anticipation, VARIATIONS.
        max_broken_fraction: None: what the data set's builder allows.
    """

    recipe: str
    manual_dir: str
    data_dir: str = "data/prepared"
    storyworld: dict[str, int] | None = None
    train: str | None = "train"
    eval: str | None = None
    weight: float = 1.0
    batch_size: int | None = None
    frames: int = 92
    exercises_per_video: int = 1
    eval_exercises: int = 4
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


@dataclass(frozen=True)
class TasksData:
    tasks: dict[str, Dataset]
    nextqa: dict[str, Any] | None = None


@dataclass(frozen=True)
class Source:
    """A data set of a config, ready to make tasks and evaluators of; nothing is read before data is asked for."""

    name: str
    data: Dataset
    model: VideoLanguageModel
    tokenizer: Callable[[], Tokenizer]
    seed: int

    @property
    def recipe(self) -> Any:
        return RECIPES[self.data.recipe]

    @functools.cached_property
    def records(self) -> Callable[[str], SegmentSource]:
        return functools.cache(functools.partial(records, self.data))

    def make(self, record: dict, row: int, duration: float, rng: np.random.Generator | None) -> Exercise:
        return self.recipe.make(record, row, duration, rng, self.data.options)

    def lengths(self, train: bool) -> Lengths:
        d = self.data
        count = d.exercises_per_video if train else d.eval_exercises
        return Lengths(d.frames, count, d.condition_length, d.prompt_length, d.target_length)

    def loader(self, train: bool, ablation: Ablation) -> ExerciseLoader:
        size = self.model.vision.config.image_size
        lengths, tokenizer = self.lengths(train), self.tokenizer()
        examples = "" if train else self.examples()
        return ExerciseLoader(
            self.make, lengths, self.model.tcr.config, size, tokenizer, train, ablation, examples=examples
        )

    def shown(self) -> tuple[str, list[int]]:
        """The split that worked examples are taken from, and the films of it, drawn with the run's seed."""
        splits = self.recipe.builder.SPLITS
        split = self.data.train or ("train" if "train" in splits else splits[0])
        if not self.data.shots:
            return split, []
        rng = np.random.default_rng([self.seed, 0x53])
        films, options = self.records(split).films, self.data.options
        order = rng.permutation(len(films)).tolist()
        return split, [film for film in order if self.recipe.count(films[film], options)][: self.data.shots]

    def examples(self) -> str:
        """Worked examples, one of each film."""
        split, films = self.shown()
        rng = np.random.default_rng([self.seed, 0x54])
        worked = []
        for index in films:
            source = self.records(split)
            record = source[index]
            count = self.recipe.count(source.films[index], self.data.options)
            try:
                one = self.make(record, int(rng.integers(count)), stretch(record)[1], None)
            except StoryjaxError as error:
                _LOG.warning("%s shows one worked example fewer: %s", self.name, error)
                continue
            worked.append(f"{one.prompt} {one.target}")
        return " ".join(worked)

    def groups(self, split: str, seed: int | None) -> QuestionGroups:
        """Items of exercises; with a seed for training."""
        source, d = self.records(split), self.data
        once = self.recipe.once and seed is None
        counts = [min(1, n) if once else n for n in (self.recipe.count(film, d.options) for film in source.films)]
        shown_of, shown = self.shown()
        if seed is None and shown_of == split:
            for film in shown:
                counts[film] = 0
        return QuestionGroups(source, counts, d.eval_exercises if seed is None else d.exercises_per_video, seed)

    def streams(self) -> dict[str, Any]:
        share = self.data.max_broken_fraction
        allowed = self.recipe.builder.BROKEN_SHARE if share is None else share
        return {"max_broken_fraction": allowed, "workers": self.data.workers}

    def train_data(self, spec: StreamSpec) -> Stream:
        groups = self.groups(self.data.train or "train", spec.seed)
        return train_stream(groups, self.loader(True, Ablation()), spec, **self.streams())

    def answering(self) -> QuestionAnswering:
        """The model as it answers, with the options where the recipe asks for a choice."""
        answers = functools.cache(lambda: scoring.closed_vocabulary(self.tokenizer(), option_names(OPTIONS)))
        return answering(self.model, self.data.frames, answers, choices=self.recipe.scored == "choice")

    def task(self) -> Task:
        qa = self.answering()
        return Task(
            self.name,
            self.train_data,
            qa.loss,
            weight=self.data.weight,
            batch_size=self.data.batch_size,
            sequences=FRAME_ARRAYS,
        )

    def evaluators(self) -> list[Evaluator]:
        if self.data.eval is None or self.recipe.scored is None:
            return []
        known = (*ABLATIONS, *VARIATIONS) if self.recipe.scored == "actions" else tuple(ABLATIONS)
        chosen = {name: choose(name, known, f"config.data.tasks.{self.name}.ablations") for name in self.data.ablations}
        made = [self.evaluator(self.name, Ablation())]
        for name in chosen:
            ablation = ABLATIONS.get(name, Ablation())
            made.append(self.evaluator(f"{self.name}_{name}", ablation, name if name in VARIATIONS else None))
        return made

    def evaluator(self, name: str, ablation: Ablation, variation: str | None = None) -> Evaluator:
        """The evaluator of the recipe's metric."""
        split, d = self.data.eval or "val", self.data
        groups = functools.cache(lambda: self.groups(split, None))

        def data(spec: StreamSpec) -> Stream:
            return eval_stream(groups(), self.loader(False, ablation), spec, **self.streams())

        def asked(index: int) -> tuple[dict[str, list], tuple[int, ...]]:
            film, rows = groups().groups[index]
            return self.records(split).films[film], rows

        @functools.cache
        def stamps() -> scoring.Timestamps:
            return scoring.Timestamps.of(self.tokenizer(), d.options.bins)

        qa = self.answering()
        if self.recipe.scored == "choice":
            return scoring.choice(name, data, qa)
        if self.recipe.scored == "times":
            return scoring.moments(name, data, qa, stamps, asked, d.recipe)
        if self.recipe.scored == "caption":
            return scoring.captions(name, data, qa, self.tokenizer, asked, d.target_length)
        space = functools.cache(lambda: self.label_space(variation))
        return scoring.anticipation(name, data, qa, self.tokenizer, asked, d.target_length, d.options, space)

    def label_space(self, variation: str | None) -> scoring.Actions:
        verbs, nouns = taxonomy(Path(self.data.manual_dir))
        changed = {} if variation is None else {variation: True}
        drawn = {"candidates": self.data.candidates, "temperature": self.data.temperature}
        return scoring.Actions(tuple(verbs), tuple(nouns), **drawn, **changed)


def records(data: Dataset, split: str) -> SegmentSource:
    """The prepared split; a StoryWorld is written first where the config asks for one."""
    recipe = RECIPES[choose(data.recipe, RECIPES, "config.data.tasks recipe")]
    if data.storyworld is not None:
        EXPORTS[recipe.world](data.manual_dir, data.storyworld)
    return prepare_segments(recipe.builder, data.manual_dir, data.data_dir, split, data.max_broken_fraction)


def build(config: ConfigDict) -> Experiment:
    """The experiment of a config whose `data` is `TasksData`."""
    section = from_config(TasksData, config.data, "config.data")
    model = make_model(config.model, config.precision)
    tokenizer = functools.cache(lambda: make_tokenizer(config.model))
    sources = [Source(name, data, model, tokenizer, config.get("seed", 0)) for name, data in section.tasks.items()]
    for source in sources:
        choose(source.data.recipe, RECIPES, f"config.data.tasks.{source.name}.recipe")
    tasks = [source.task() for source in sources if source.data.train is not None]
    evaluators = [one for source in sources for one in source.evaluators()]
    if section.nextqa is not None:
        other = config.copy_and_resolve_references()
        with other.unlocked():
            other.data = ConfigDict(section.nextqa)
        asked = build_nextqa(other)
        tasks, evaluators = [*asked.tasks, *tasks], [*asked.evaluators, *evaluators]
    first = next((source for source in sources if source.data.train is not None), None)
    if first is None:
        raise StoryjaxError("config.data.tasks: nothing is trained on; give one of them a train split")
    return Experiment(
        name="tcr",
        init=model.init,
        pretrained=lambda: frozen_towers(config.model),
        trainable=f"{model.resampler}/.*",
        tasks=tuple(tasks),
        evaluators=tuple(evaluators),
        units="videos",
        steps_per_epoch=lambda: (
            len(first.groups(first.data.train or "train", config.seed))
            // (first.data.batch_size or config.train.batch_size)
        ),
        exports=exports(model),
    )
