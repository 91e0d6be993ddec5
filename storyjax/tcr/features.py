"""TCR's frozen vision tower over whole data sets: what `storyjax data features` computes and training reads.

How features lie on disk is in storyjax/data/features.py; here is what is computed of a video, and for which videos.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from storyjax.core.buckets import place
from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.features import (
    Dtype,
    FeatureSpec,
    missing_shards,
    start_folder,
    write_shard,
)
from storyjax.tcr.config import TaskData, TasksData, make_tower
from storyjax.tcr.task_source import task_records
from storyjax.tcr.vision_features import Tower


@dataclass(frozen=True)
class ShardWork:
    """Makes one shard of a split of `config`'s data set; picklable, so that Beam can send it to its workers.

    Attributes:
        config: as JSON, because that travels.
        folder: of the split's features.
    """

    config: str
    split: str
    folder: str
    spec: FeatureSpec

    def __call__(self, shard: int) -> str:
        """The shard's file, made unless it is there and whole."""
        tower, records = _tower_and_records(self.config, self.split)
        encode = functools.partial(_encode_record, tower, records, self.spec)
        if tower.fingerprint != self.spec.tower:
            start_folder(place(self.folder), dataclasses.replace(self.spec, tower=tower.fingerprint))
        write_shard(place(self.folder), self.spec, shard, encode)
        return str(self.spec.path(place(self.folder), shard))


def _encode_record(tower: Tower, records: Any, spec: FeatureSpec, index: int) -> Any:
    record = records[index]
    return tower.encode_file(record["video"], f"video {record['video_id']}", spec.frames, spec.draws)


@functools.lru_cache(maxsize=2)
def _tower_and_records(config: str, split: str) -> tuple[Tower, Any]:
    """Once for each worker process: weights take long to load, and the tower to compile."""
    parsed = ConfigDict(json.loads(config))
    return make_tower(parsed), task_records(questions_task(parsed)[1], split)


def questions_task(config: ConfigDict) -> tuple[str, TaskData]:
    """Returns the name and section of a whole config's task whose videos have stored features: NExT-QA.

    Raises:
        StoryjaxError: the config has no such task.
    """
    tasks = from_config(TasksData, config.data, "config.data").tasks if "tasks" in config.data else {}
    found = [(name, data) for name, data in tasks.items() if data.task == "nextqa"]
    if config.experiment != "tcr" or not found:
        raise StoryjaxError("this is no config of NExT-QA fine-tuning, such as configs/tcr_nextqa.py")
    return found[0]


def compute_features(
    config: ConfigDict,
    out: str | Path,
    splits: Sequence[str],
    *,
    dtype: Dtype = "bfloat16",
    draws: int = 3,
    shard_videos: int = 64,
    run: Callable[[ShardWork, list[int]], None],
) -> dict[str, tuple[int, int]]:
    """Computes the features of a config's data set in `out`/SPLIT, those shards that are not there yet.

    Args:
        config: of NExT-QA fine-tuning (configs/tcr_nextqa.py).
        splits: of the data set. Of any but "train" only the frames that evaluation reads are stored.
        draws: frames stored of each segment of a video in "train".
        run: does the work for each of the shards, in whatever order and place (`storyjax.data.beam.run_shards`).

    Returns:
        {split: (shards made now, shards in all)}.

    Raises:
        StoryjaxError: `out` holds other features, or data or weights are not there.
    """
    text, data = config.to_json_best_effort(), questions_task(config)[1]
    counts = {}
    for split in splits:
        tower, records = _tower_and_records(text, split)
        kept = draws if split == "train" else 1
        spec = tower.spec(tuple(records.video_ids), data.frames, kept, dtype, shard_videos)
        folder = place(out).absolute() / split
        start_folder(folder, spec)
        todo = missing_shards(folder, spec)
        if todo:
            run(ShardWork(text, split, str(folder), spec), todo)
        counts[split] = (len(todo), spec.shards)
    return counts
