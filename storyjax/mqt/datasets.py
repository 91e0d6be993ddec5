"""The data sets of a config, prepared when they are first used: training streams and sequences to track (§2.4.1)."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from storyjax.core.config import choose
from storyjax.data.builders.detection import DetectionSource
from storyjax.data.builders.frames import FrameSource
from storyjax.data.mot_text import Rows
from storyjax.data.pipeline import Stream, train_stream
from storyjax.data.registry import prepare_splits
from storyjax.data.streams import StreamSpec
from storyjax.mqt.config import SEQUENCE_DATASETS, MqtData
from storyjax.mqt.data import DetectionLoader, PairLoader, PairSource, SimulatedPairLoader
from storyjax.mqt.external_detections import EXTERNAL, detection_files, read_detections
from storyjax.mqt.sequences import VideoSequence, prepared_sequences


class Sources:
    """The data sets of a config; each is written (if synthetic) and prepared once, when it is first used.

    Attributes:
        data: the config that names them.
    """

    def __init__(self, data: MqtData):
        self.data = data
        self._prepared: dict[str, Mapping[str, Any]] = {}

    def prepared(self, dataset: str) -> Mapping[str, Any]:
        """Returns the splits of a data set by name; all come of one reading of its annotations.

        Raises:
            StoryjaxError: the files are not there, or too many of them are unusable.
        """
        if dataset not in self._prepared:
            data = self.data
            synthetic = None if data.synthetic is None else data.synthetic.get(dataset, {})
            options: dict[str, Any] = {"max_broken_fraction": data.max_broken_fraction}
            if dataset in ("mot17", "mot20", "series_tracks"):
                options |= {"held_out": data.held_out, "unseen": data.unseen}
            if dataset == "tao":
                options |= {"only": data.only}
            place = data.folder(dataset)
            self._prepared[dataset] = prepare_splits(dataset, place, data.cache_dir, synthetic=synthetic, **options)
        return self._prepared[dataset]

    def prepare(self) -> dict[str, int]:
        """Returns how many records each split of all data sets of the config has, prepared."""
        datasets = dict.fromkeys((self.data.dataset, *self.data.evaluated()))
        return {
            f"{dataset}:{name}": len(source) for dataset in datasets for name, source in self.prepared(dataset).items()
        }

    def split(self, dataset: str, name: str) -> Any:
        """Returns one split as a FrameSource or DetectionSource; StoryjaxError where there is no such split."""
        splits = self.prepared(dataset)
        return splits[choose(name, splits, f"the split of {dataset}")]

    @functools.cached_property
    def _records(self) -> PairSource | FrameSource | DetectionSource:
        data = self.data
        source = self.split(data.dataset, data.train_split)
        return PairSource(source, data.max_gap, data.far_gap) if data.mode == "pairs" else source

    def stream(self, spec: StreamSpec) -> Stream:
        """Returns the batches to train on."""
        data = self.data
        loaders: dict[str, Callable[[], Any]] = {
            "detection": lambda: DetectionLoader(data.view),
            "simulated": lambda: SimulatedPairLoader(data.view),
            "pairs": lambda: PairLoader(data.view, data.far_prob, data.mirror_prob),
        }
        load, fraction = loaders[data.mode](), data.max_broken_fraction
        return train_stream(self._records, load, spec, workers=data.workers, max_broken_fraction=fraction)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns the whole batches of the training records."""
        return len(self._records) // batch_size

    def sequences(self, dataset: str, split: str) -> list[VideoSequence]:
        """Returns the sequences of a split, with their ground truth and the boxes of `data.detections_dir`.

        Raises:
            StoryjaxError: there is no such split, or the detections are not those of its sequences.
        """
        videos = prepared_sequences(self.split(dataset, split), self.data.folder(dataset))
        if not self.data.external:
            return videos
        return [
            dataclasses.replace(video, detections={**video.detections, EXTERNAL: self._external(video)})
            for video in videos
        ]

    def _external(self, video: VideoSequence) -> Rows:
        return read_detections(self._detection_files, video.name, video.length)

    @functools.cached_property
    def _detection_files(self) -> dict[str, Path]:
        """The files of `data.detections_dir`, which may be of any split of the data sets that are evaluated."""
        assert self.data.detections_dir is not None  # else nothing is external
        datasets = [name for name in self.data.evaluated() if name in SEQUENCE_DATASETS]
        splits = [source for name in datasets for source in self.prepared(name).values()]
        return detection_files(self.data.detections_dir, {each.name for source in splits for each in source.sequences})
