"""The data sets that configs name: who reads the official files of each, and who writes a synthetic one like it.

A config names a data set with the same keys in every chapter:

    data.dataset      a name of DATASETS
    data.root         the folder of its official files; where a run reads several data sets, a folder for each:
                      data.root.mot17
    data.cache_dir    where the prepared records go
    data.train_split  the split that is trained on
    data.eval_splits  what is evaluated on: splits of data.dataset, or "DATASET:SPLIT" of others
    data.synthetic    arguments of the exporter that first writes a StoryWorld into the root, in the official layout,
                      such as {"counts": {"train": 400, "val": 100}}; None for the real data set

Builders and exporters are named as text and imported when a config asks for them, so that no method imports the
synthetic world.

To add a data set:

1. Write a builder in storyjax/data/builders/: a subclass of the kind of its records, MediaBuilder (media with labels),
   SegmentBuilder (annotated videos), FramesBuilder (tracked sequences), DetectionBuilder (images with boxes) or
   InstanceBuilder (named instances). It says what it is called (TITLE), its SPLITS and columns, and `read`s the
   official files, naming what cannot be used; preparation and reading are those of `builders/base.py`.
2. Write an exporter in storyjax/storyworld/export/ that writes a StoryWorld in the same official layout, if the
   data set is to be tried without its real files: a function (directory, **arguments).
3. Name both in DATASETS below, and test that the one reads what the other writes (tests/data).
"""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError


@dataclass(frozen=True)
class DatasetEntry:
    """How a data set is read, and how a synthetic one like it is written.

    Attributes:
        builder: "module:class" of the `OfficialBuilder`; None where a chapter reads the official files itself.
        exporter: "module:function" that writes a StoryWorld in its layout, (directory, **arguments); or None.
    """

    builder: str | None
    exporter: str | None = None


_BUILDERS, _EXPORT = "storyjax.data.builders", "storyjax.storyworld.export"
DATASETS: dict[str, DatasetEntry] = {
    name: DatasetEntry(f"{_BUILDERS}.{builder}", f"{_EXPORT}.{exporter}")
    for name, builder, exporter in (
        ("nextqa", "nextqa:NextQA", "nextqa:export_nextqa"),
        ("yttemporal", "yttemporal:YtTemporal", "long_videos:export_yttemporal"),
        ("ego4d_narrations", "ego4d_narrations:Ego4dNarrations", "long_videos:export_egoschema"),
        ("egoschema", "egoschema:EgoSchema", "long_videos:export_egoschema"),
        ("ego4d_lta", "ego4d:Ego4dLta", "long_videos:export_ego4d"),
        ("ego4d_mq", "ego4d:Ego4dMq", "long_videos:export_ego4d"),
        ("ego4d_nlq", "ego4d:Ego4dNlq", "long_videos:export_ego4d"),
        ("msrvtt", "msrvtt:MsrVtt", "long_videos:export_msrvtt"),
        ("kinetics400", "kinetics:Kinetics400", "long_videos:export_kinetics"),
        ("countix", "kinetics:Countix", "long_videos:export_countix"),
        ("mot17", "mot:Mot17", "tracks_mot:export_mot17"),
        ("mot20", "mot:Mot20", "tracks_mot:export_mot20"),
        ("series_tracks", "mot:SeriesTracks", "series_tracks:export_series_tracks"),
        ("gmot40", "gmot:Gmot40", "tracks_mot:export_gmot"),
        ("tao", "tao:Tao", "tracks_pictures:export_tao"),
        ("coco", "coco:Coco", "tracks_pictures:export_coco"),
        ("crowdhuman", "crowdhuman:CrowdHuman", "tracks_pictures:export_crowdhuman"),
        ("vggface", "vggface:VGGFace", "celebrities:export_vggface"),
        ("vggface2", "vggface:VGGFace2", "celebrities:export_vggface2"),
        ("cip", "celebrities:CelebritiesInPlaces", "celebrities:export_cip"),
        ("cia", "celebrities:CelebritiesInAction", "celebrities:export_cia"),
        ("season", "season:Season", "season:export_season"),
        ("imagenet", "imagenet:Imagenet2012", "imagenet:export_imagenet"),
        ("thisismy", "thisismy:ThisIsMy", "thisismy:export_thisismy"),
        ("deepfashion2", "deepfashion2:DeepFashion2", "deepfashion2:export_deepfashion2"),
    )
}
# Annotated episodes of TV series, which the subtitles read as they are (storyjax/subtitles/annotations.py).
DATASETS["look_listen_recognise"] = DatasetEntry(None, f"{_EXPORT}.series:export_series")


def split_names(eval_splits: str | tuple[str, ...], dataset: str) -> list[tuple[str, str]]:
    """Returns (data set, split) of each of `data.eval_splits`; a split without a data set is of `dataset`."""
    names = (eval_splits,) if isinstance(eval_splits, str) else tuple(eval_splits)
    return [(name.partition(":")[0], name.partition(":")[2]) if ":" in name else (dataset, name) for name in names]


def resolve(name: str) -> Any:
    """Returns what "module:attribute" names.

    Raises:
        StoryjaxError: the module cannot be imported, or has no such attribute.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StoryjaxError(f"the data registry names '{name}', which cannot be imported: {reason}") from error


def prepare_split(
    dataset: str,
    root: str | Path,
    cache_dir: str | Path,
    split: str,
    *,
    synthetic: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Returns a split of a data set as a source of records, prepared now or found in `cache_dir`.

    Args:
        dataset: a name of DATASETS.
        root: the folder of the official files.
        cache_dir: where the prepared records go.
        split: a name that the data set's own files have for it.
        synthetic: arguments of the exporter that first writes a StoryWorld into `root`; None reads what lies there.
        options: of the builder's `prepare` and `read`, such as max_broken_fraction.

    Raises:
        StoryjaxError: an unknown data set or split, the files are not there (what to get and where to put it), or too
            many records cannot be used.
    """
    return _builder(dataset, root, synthetic).prepare(root, cache_dir, split, **options)


def prepare_splits(
    dataset: str,
    root: str | Path,
    cache_dir: str | Path,
    splits: Sequence[str] | None = None,
    *,
    synthetic: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Returns the source of each split, by name.

    Data sets of tracking, detection and instances are read once for all splits, where `prepare_split` would read them
    for each.

    Args:
        dataset, root, cache_dir, synthetic, options: as for `prepare_split`, whose errors are raised.
        splits: those wanted; None: all that are there.
    """
    return _builder(dataset, root, synthetic).prepare_splits(root, cache_dir, splits, **options)


def _builder(dataset: str, root: str | Path, synthetic: Mapping[str, Any] | None) -> Any:
    """The builder of a data set, after its StoryWorld was written if one is asked for."""
    entry = DATASETS[choose(dataset, DATASETS, "config.data.dataset")]
    if entry.builder is None:
        raise StoryjaxError(f"config.data.dataset: {dataset} has no records to prepare; its chapter reads it.")
    builder = resolve(entry.builder)
    if synthetic is not None:
        write_synthetic(dataset, root, synthetic)
    return builder


def write_synthetic(dataset: str, root: str | Path, arguments: Mapping[str, Any]) -> None:
    """Writes a StoryWorld in the official layout of `dataset` into `root`, unless the same one is there.

    Raises:
        StoryjaxError: nothing writes this data set, an argument is unknown, or `root` holds something else.
    """
    entry = DATASETS[choose(dataset, DATASETS, "config.data.dataset")]
    if entry.exporter is None:
        known = ", ".join(name for name, each in DATASETS.items() if each.exporter is not None)
        raise StoryjaxError(f"config.data.synthetic: there is no synthetic {dataset}, only {known}.")
    export = resolve(entry.exporter)
    try:
        inspect.signature(export).bind(root, **arguments)
    except TypeError as error:
        raise StoryjaxError(f"config.data.synthetic: {dataset}: {error}.") from error
    export(root, **arguments)
