"""`config.data` of the heads that need no language model: one dataclass for each, by the name in `config.data.task`."""

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from ml_collections import ConfigDict

from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError


@dataclass(frozen=True, kw_only=True)
class HeadData:
    """What every head has.

    Attributes:
        task: which head.
        cache_dir: where prepared records go.
        train_split, eval_splits: of the data set; one split is evaluated on.
        frames: that are seen of a video.
        condition_length: tokens of the TCR's prompt.
        max_broken_fraction: of videos or annotations; None: what the data set's builder allows.
    """

    task: str
    cache_dir: str = "data/prepared"
    train_split: str = "train"
    eval_splits: tuple[str, ...] = ("val",)
    frames: int = 300
    condition_length: int = 16
    max_broken_fraction: float | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        if len(self.eval_splits) != 1:
            raise StoryjaxError(f"config.data.eval_splits: a head is evaluated on one split, not on {self.eval_splits}")

    @property
    def eval_split(self) -> str:
        """The split that is evaluated on."""
        return self.eval_splits[0]


@dataclass(frozen=True, kw_only=True)
class ClipData(HeadData):
    """Of heads on one token a frame of short clips.

    Attributes:
        cached: the frozen tower encodes all clips once, and its tokens stay in memory.
        temporal_difference: frames are given as what changes in them and which others they are like
            (modules.temporal_difference).
        clip_init: "module:function" (CLIP's folder, tokenizer, TcrConfig) -> starting values of the TCR's parameters,
            from what words look like to the tower; None: from scratch.
    """

    cached: bool = False
    temporal_difference: bool = False
    clip_init: str | None = None


@dataclass(frozen=True, kw_only=True)
class RecognitionData(ClipData):
    """Action recognition (Table 3.9).

    Attributes:
        root, synthetic: Kinetics' official files; arguments of what writes a StoryWorld there, None for the real one.
        sampler: what reads the frames: the TCR or a baseline of Table 3.9.
        kept: frames that the "random" sampler keeps.
        classes: there may be.
        hidden: width of the "attention" sampler.
    """

    root: str
    synthetic: dict[str, Any] | None = None
    sampler: Literal["tcr", "random", "attention"] = "tcr"
    kept: int = 32
    classes: int = 400
    hidden: int = 512


@dataclass(frozen=True, kw_only=True)
class SelectionData(ClipData):
    """Frames of an action in stitched videos (§3.6.3).

    Attributes:
        root, synthetic: as of `RecognitionData`.
        sampler: the TCR, or "random", which classifies each frame.
        videos, most_frames: clips of a stitched video, and frames of a clip, at most.
        classes: there may be.
    """

    root: str
    synthetic: dict[str, Any] | None = None
    sampler: Literal["tcr", "random"] = "tcr"
    videos: int = 8
    most_frames: int = 64
    classes: int = 400


@dataclass(frozen=True, kw_only=True)
class CountingData(ClipData):
    """Counting repetitions (Table 3.10), trained on synthetic ones.

    Attributes:
        root, synthetic: of "countix", which is evaluated on, and "kinetics400", whose clips are repeated.
        most_count, fps, movement: of synthetic repetitions (data.RepetitionLoader).
        hidden: width of the head's inner layers.
    """

    root: dict[str, str]
    synthetic: dict[str, dict[str, Any] | None] | None = None
    most_count: int = 20
    fps: float = 25.0
    movement: float | None = None
    hidden: int = 512


@dataclass(frozen=True, kw_only=True)
class SpanData(HeadData):
    """Of heads on a pre-trained TCR (config.model.tcr.weights) that find spans of a video (Table 3.11).

    Attributes:
        root, synthetic: Ego4D's official files, and as of `RecognitionData`.
        most_moments: of an example.
        examples_per_video: of a batch, trained and evaluated.
        tune: whether the TCR is trained as well; the thesis's stays frozen.
        hidden: width of the head's inner layer.
    """

    root: str
    synthetic: dict[str, Any] | None = None
    most_moments: int = 24
    examples_per_video: int = 1
    tune: bool = False
    hidden: int = 512


@dataclass(frozen=True, kw_only=True)
class MomentsData(SpanData):
    """Moment queries."""


@dataclass(frozen=True, kw_only=True)
class QueriesData(SpanData):
    """Language queries.

    Attributes:
        bins: parts of a video in which a span begins and ends.
    """

    bins: int = 128


DATA: dict[str, type[HeadData]] = {
    "recognition": RecognitionData,
    "selection": SelectionData,
    "counting": CountingData,
    "moments": MomentsData,
    "queries": QueriesData,
}


def read_data(config: ConfigDict) -> HeadData:
    """Returns `config.data` as the dataclass of its task.

    Raises:
        StoryjaxError: an unknown task, or a key or a sampler that its head does not have.
    """
    if "task" not in config:
        raise StoryjaxError(f"config.data.task is missing: one of {', '.join(DATA)}")
    task = choose(config.task, DATA, "config.data.task")
    sampler, allowed = config.get("sampler", "tcr"), _samplers(DATA[task])
    if sampler in _samplers(RecognitionData) and sampler not in allowed:
        names = " or ".join(f"'{name}'" for name in allowed)
        raise StoryjaxError(f"config.data.sampler: '{sampler}' cannot do {task}; give {names}")
    return from_config(DATA[task], config, "config.data")


def _samplers(head: type[HeadData]) -> tuple[str, ...]:
    """What may read the frames of a head; where it does not say, the TCR alone."""
    return get_args(get_type_hints(head).get("sampler")) or ("tcr",)
