"""Training a TCR with the language model on any of the tasks, one or several at once (thesis §3.2.2, §3.6.2).

`config.data.tasks` names data sets with their task and weight. One is fine-tuning (stage iii), three of YT-Temporal
are pre-training (stage ii), all at once multi-task fine-tuning; the loop sums the gradients of weight * loss.
"""

import functools
from typing import Any

import jax
from ml_collections import ConfigDict

from storyjax.core.config import choose, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.tcr.config import TasksData, frozen_towers, make_model
from storyjax.tcr.export import exports
from storyjax.tcr.frame_stream import Chunks
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.task_source import TaskSource
from storyjax.train.experiment import Experiment


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of a config whose `data` is `TasksData`.

    Raises:
        StoryjaxError: an unknown key, task or ablation, nothing to train on, or frames that the mesh cannot share.
    """
    section = from_config(TasksData, config.data, "config.data")
    model = make_model(config.model, config.precision)
    sources = [TaskSource.of(config, name, data, model) for name, data in section.tasks.items()]
    # A task's place gives it its randomness, and questions have always come first.
    sources.sort(key=lambda source: source.data.task != "nextqa")
    trained = [source for source in sources if source.data.train_split is not None]
    if not trained:
        raise StoryjaxError("config.data.tasks: nothing is trained on; give one of them a train split")
    for source in trained:
        _check_mesh(config, source, model)
    by_name = {source.name: source for source in trained}
    counted = by_name[choose(section.epochs_of or trained[0].name, by_name, "config.data.epochs_of")]
    # Where features are at hand, nothing reads pixels, and the tower's billion parameters need not lie in memory.
    reads_pixels = any(source.data.features is None for source in sources)
    towers = ("vision", "llm") if reads_pixels else ("llm",)

    def init(key: jax.Array) -> dict[str, Any]:
        return {name: part for name, part in model.init(key).items() if name in (*towers, model.resampler.name)}

    return Experiment(
        name="tcr",
        init=init,
        pretrained=functools.partial(frozen_towers, config.model, towers),
        trainable=f"{model.resampler.name}/.*",
        tasks=tuple(source.task() for source in trained),
        evaluators=tuple(one for source in sources for one in source.evaluators()),
        predictions=tuple(one for source in sources for one in source.predictions()),
        units="videos",
        steps_per_epoch=lambda: (
            len(counted.groups(counted.data.train_split or "train", config.seed))
            // (counted.data.batch_size or config.train.batch_size)
        ),
        exports=exports(model) if reads_pixels else {},
        prepare=lambda: {split: count for source in sources for split, count in source.prepare().items()},
    )


def _check_mesh(config: ConfigDict, source: TaskSource, model: VideoLanguageModel) -> None:
    """A StoryjaxError now, rather than when the first batch is cut, where devices cannot share a video's frames."""
    parts = config.mesh.seq if "mesh" in config else 1
    if parts > 1:
        paired = bool(model.streaming.chunk_frames and model.resampler.sizes.drop_patches)
        Chunks.of(source.data.frames, parts, 1, paired=paired)
