"""The data of a config: which data set is trained on and how, and which sequences are tracked to measure (§2.4.1)."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.data.builders import coco, crowdhuman, gmot, mot, tao
from storyjax.data.builders.frames import FrameSource
from storyjax.data.builders.pictures import PictureSource
from storyjax.data.pipeline import Stream, train_stream
from storyjax.data.streams import StreamSpec
from storyjax.mqt.data import DetectionLoader, PairLoader, PairSource, SimulatedPairLoader, View
from storyjax.mqt.sequences import Sequence, prepared_sequences
from storyjax.storyworld.export.tracks_mot import export_gmot, export_mot
from storyjax.storyworld.export.tracks_pictures import export_coco, export_crowdhuman, export_tao

_EXPORTS: dict[str, Callable[..., Any]] = {
    "mot17": export_mot,
    "mot20": functools.partial(export_mot, detectors=("FRCNN",), name="StoryWorld20"),
    "gmot40": export_gmot,
    "tao": export_tao,
    "coco": export_coco,
    "crowdhuman": export_crowdhuman,
}
PICTURES, FRAMES = ("coco", "crowdhuman"), ("mot17", "mot20", "tao")


@dataclass(frozen=True)
class MqtData:
    """`config.data`.

    Attributes:
        dataset: what is trained on: mot17, mot20, tao, coco or crowdhuman.
        mode: "detection" (pictures with perturbed boxes), "simulated" (pairs made of one picture) or "pairs" (two
            frames of a sequence).
        measure: the data set whose sequences are tracked (mot17, mot20, gmot40 or tao), or whose pictures objects are
            found in (coco or crowdhuman).
        detector: whose public detections are given, where the tracker's protocol takes any (§2.6.2).
        mot17_dir ... : official files (storyjax/data/builders says which).
        data_dir: where the prepared records go.
        storyworld: by data set, how much of StoryWorld is to be written into these folders; None for real data.
        held_out, unseen: patterns of names of training sequences that are measured on instead (§2.4.1).
        only: of TAO, the one category to keep ("person": TAO-person).
        max_gap: frames between the two of a pair, at most.
        far_share, far_gap: the share of pairs that are far ones, and frames between the two of these, at most.
        turned_share: the share of pairs of which one frame is mirrored and the other is not.
        max_objects: rows of boxes in a batch.
        size: height and width of the pictures.
        flip, jitter, move, keep_all, perturb, least_visible: see data.View.
    """

    dataset: str = "mot17"
    mode: Literal["detection", "simulated", "pairs"] = "pairs"
    measure: str = "mot17"
    detector: str = "FRCNN"
    mot17_dir: str = "data/MOT17"
    mot20_dir: str = "data/MOT20"
    gmot40_dir: str = "data/GMOT40"
    tao_dir: str = "data/TAO"
    coco_dir: str = "data/coco"
    crowdhuman_dir: str = "data/crowdhuman"
    data_dir: str = "data/prepared"
    storyworld: dict[str, dict[str, Any]] | None = None
    held_out: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    only: str | None = None
    max_gap: int = 3
    far_share: float = 0.0
    far_gap: int = 0
    turned_share: float = 0.0
    max_objects: int = 100
    size: tuple[int, int] = (800, 1440)
    flip: float = 0.5
    jitter: float = 0.15
    move: float = 0.05
    keep_all: bool = True
    perturb: float = 0.1
    least_visible: float = 0.3
    max_broken_fraction: float = 0.05
    workers: int = 0

    @property
    def view(self) -> View:
        return View(
            tuple(self.size),  # type: ignore[arg-type]
            self.max_objects,
            self.flip,
            self.jitter,
            self.move,
            self.keep_all,
            self.perturb,
            self.least_visible,
        )


class Sources:
    """The data sets of a config, written (StoryWorld) and prepared when they are first asked for."""

    def __init__(self, data: MqtData):
        self.data = data
        known = (*PICTURES, *FRAMES)
        choose(data.dataset, known, "config.data.dataset")
        choose(data.measure, (*known, "gmot40"), "config.data.measure")
        if data.mode == "pairs" and data.dataset in PICTURES:
            raise StoryjaxError(
                f"config.data.mode: {data.dataset} has no sequences; 'simulated' makes pairs of pictures"
            )
        if data.far_share > 0 and data.far_gap < 1:
            raise StoryjaxError("config.data.far_share needs far_gap: how far apart the frames of a far pair may be")

    @functools.cache  # noqa: B019 (one for each experiment, and as long-lived)
    def prepared(self, dataset: str) -> dict[str, FrameSource] | dict[str, PictureSource]:
        """The splits of a data set."""
        data = self.data
        folder = getattr(data, f"{dataset}_dir")
        if data.storyworld is not None:
            try:
                _EXPORTS[dataset](folder, **data.storyworld.get(dataset, {}))
            except TypeError as error:
                raise StoryjaxError(f"config.data.storyworld.{dataset}: {error}") from error
        shared: dict[str, Any] = {"max_broken_fraction": data.max_broken_fraction}
        if dataset in ("mot17", "mot20"):
            shared |= {"held_out": tuple(data.held_out), "unseen": tuple(data.unseen)}
            return mot.prepare(mot.Mot17 if dataset == "mot17" else mot.Mot20, folder, data.data_dir, **shared)
        if dataset == "tao":
            return tao.prepare(folder, data.data_dir, only=data.only, **shared)
        module = {"gmot40": gmot, "coco": coco, "crowdhuman": crowdhuman}[dataset]
        return module.prepare(folder, data.data_dir, **shared)

    def split(self, dataset: str, name: str) -> FrameSource | PictureSource:
        """One split; StoryjaxError where it is not there."""
        splits = self.prepared(dataset)
        return splits[choose(name, splits, f"the split of {dataset}")]

    @functools.cache  # noqa: B019
    def _records(self) -> PairSource | FrameSource | PictureSource:
        source = self.split(self.data.dataset, "train")
        data = self.data
        return PairSource(source, data.max_gap, data.far_gap) if data.mode == "pairs" else source  # type: ignore[arg-type]

    def stream(self, spec: StreamSpec) -> Stream:
        """What training sees."""
        pairs = functools.partial(PairLoader, far_share=self.data.far_share, turned_share=self.data.turned_share)
        loaders = {"detection": DetectionLoader, "simulated": SimulatedPairLoader, "pairs": pairs}
        load = loaders[self.data.mode](self.data.view)
        share, workers = self.data.max_broken_fraction, self.data.workers
        return train_stream(self._records(), load, spec, workers=workers, max_broken_fraction=share)

    def steps_per_epoch(self, batch_size: int) -> int:
        return len(self._records()) // batch_size

    def sequences(self, *, unseen: bool = False) -> list[Sequence]:
        """The sequences to measure on: held out of training, or (`unseen`) of kinds that it never shows."""
        dataset = self.data.measure
        if dataset == "gmot40":
            return prepared_sequences(self.split(dataset, "test"))  # type: ignore[arg-type]
        if dataset == "tao":
            return prepared_sequences(self.split(dataset, "validation"))  # type: ignore[arg-type]
        return prepared_sequences(self.split(dataset, "unseen" if unseen else "held_out"))  # type: ignore[arg-type]
