"""What runs on real data need and is not there: data sets, weights and earlier runs, each with where it comes from."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from storyjax.clip_pad.config import DataConfig as PadData
from storyjax.core.config import config_folder, from_config
from storyjax.core.errors import StoryjaxError
from storyjax.data.registry import DATASETS, resolve, split_names
from storyjax.mqt.config import MqtData
from storyjax.tcr.heads.clips import ClipHead
from storyjax.tcr.heads.experiment import HEADS
from storyjax.tcr.tasks import TASKS
from storyjax.weights.pretrained import KINDS
from storyjax.weights.registry import PUBLISHED
from storyjax.weights.source_files import has_weights

SHIPPED = "shipped:"
# Heads on the spans of Ego4D's videos, whose data sets are those of the tasks through the language model.
_SPANS = {"moments": "ego4d_mq", "queries": "ego4d_nlq"}


def refuse_missing(what: str, configs: Iterable[ConfigDict], made: Collection[Path] = ()) -> None:
    """Checks that what the runs of some configs need is there.

    Args:
        what: they are for, for the message.
        configs: of the runs.
        made: folders of runs that will be there by then.

    Raises:
        StoryjaxError: a line that names all that is missing, and where each comes from.
    """
    folders = {str(folder) for folder in made}
    phrases = dict.fromkeys(phrase for config in configs for phrase in missing(config, folders))
    if phrases:
        raise StoryjaxError(f"{what} needs what is not here: {'; '.join(phrases)}")


def missing(config: ConfigDict, made: Collection[str] = ()) -> list[str]:
    """Returns a phrase for each data set, network and earlier run that a config names and that is not there.

    Only folders are looked at: a data set that is there in part is refused by its builder, which names the file.

    Args:
        config: of a run, whole.
        made: workdirs of runs that will be there by then.
    """
    own = {"mqt": _tracking_data, "clip_pad": _people_data}
    places = own.get(config.experiment, _data_sets)(config.data)
    phrases = [_data_set(*place) for place in places if not _is_there(place[1])]
    if config.experiment == "pi_map":
        phrases += _files(config.data)
    detections = config.data.get("detections_dir")
    if detections is not None and not _is_there(detections):
        phrases.append(f"another detector's boxes in {detections} (storyjax/mqt/external_detections.py says how)")
    for kind, folder in _weights(config.get("model", ConfigDict())):
        if kind == "tcr":
            phrases += _earlier_run(folder, made)
        elif not has_weights(Path(folder)):
            phrases.append(_network(kind, folder))
    checkpoint = config.init.checkpoint
    if checkpoint is not None and not checkpoint.startswith(SHIPPED):
        phrases += _earlier_run(checkpoint, made)
    return list(dict.fromkeys(phrases))


def _is_there(root: str) -> bool:
    folder = Path(root)
    return folder.is_dir() and any(folder.iterdir())


def _data_sets(data: ConfigDict) -> Iterator[tuple[str, str]]:
    """(data set, folder) of all that a config reads and that is no StoryWorld."""
    if "tasks" in data:
        for task in data.tasks.values():
            if task.get("synthetic") is None:
                yield TASKS[task.task].dataset, task.root
    elif data.get("synthetic") is None and data.get("root") is not None:
        if isinstance(data.root, Mapping | ConfigDict):
            yield from data.root.items()
        else:
            yield _one_data_set(data), data.root


def _tracking_data(section: ConfigDict) -> Iterator[tuple[str, str]]:
    """(data set, folder) of all that a config of MQT reads and that is no StoryWorld; it need not name the folders."""
    data = from_config(MqtData, section, "config.data")
    if data.synthetic is None:
        yield from ((name, data.folder(name)) for name in dict.fromkeys((data.dataset, *data.evaluated())))


def _people_data(section: ConfigDict) -> Iterator[tuple[str, str]]:
    """The same of a config of CLIP-PAD."""
    data = from_config(PadData, section, "config.data")
    trained = {"photos": data.dataset, "clips": "cia"}
    searched = [dataset for dataset, _ in split_names(data.eval_splits, data.dataset)]
    for name in dict.fromkeys((*(trained[task] for task in data.tasks), *searched)):
        if name not in (data.synthetic or {}):
            yield name, getattr(data.root, name)


def _files(data: ConfigDict) -> list[str]:
    """Phrases for the boxes, captions and second collection that a config of π-map names and that are not there."""
    boxes, captions = data.get("localise", "none"), data.get("captions", "none")
    phrases = []
    if boxes not in ("none", "data") and not Path(boxes).exists():
        phrases.append(f"a GroundingDINO, or boxes, in {boxes} (config.data.localise)")
    if captions.endswith(".json") and not Path(captions).exists():
        phrases.append(f"captions in {captions} (config.data.captions)")
    unseen = data.get("unseen_root")
    if unseen is not None and data.get("unseen_synthetic") is None and not _is_there(unseen):
        layout = (
            "storyjax/pi_map/celebrities.py says how" if data.dataset == "cia" else f"in the layout of {data.dataset}"
        )
        phrases.append(f"another collection in {unseen} ({layout})")
    return phrases


def _one_data_set(data: ConfigDict) -> str:
    if data.get("task") not in HEADS:
        return data.get("dataset", "data")
    head = HEADS[data.task]
    return head.dataset if isinstance(head, type) and issubclass(head, ClipHead) else _SPANS[data.task]


def _data_set(dataset: str, root: str) -> str:
    named = DATASETS[dataset].builder if dataset in DATASETS else None
    if named is None:
        return f"{dataset} in {root}"
    builder = resolve(named)
    where = builder.MANUAL_DOWNLOAD_INSTRUCTIONS or f"{builder.__module__.replace('.', '/')}.py says which files"
    return f"{builder.TITLE} in {root} ({where})"


def _weights(section: Any, name: str = "model") -> Iterator[tuple[str, str]]:
    """(kind of network, folder) of all frozen weights that a section of a config names."""
    if isinstance(section, ConfigDict):
        for key, value in section.items():
            if key == "weights" and isinstance(value, str) and not value.startswith(SHIPPED):
                yield name, value
            else:
                yield from _weights(value, key)


def _network(kind: str, folder: str) -> str:
    published = PUBLISHED.get(Path(folder).name)
    if published is not None and published.hub:
        return f"weights in {folder} ('storyjax import {Path(folder).name} --from {published.hub} --out {folder}')"
    return f"weights in {folder} ({KINDS[kind].example.format(folder=folder)})" if kind in KINDS else folder


def _earlier_run(workdir: str, made: Collection[str]) -> list[str]:
    if workdir in made or Path(workdir).exists():
        return []
    config = f"configs/{Path(workdir).name}.py"
    if not (config_folder() / Path(config).name).exists():
        return [f"a run in {workdir}"]
    return [f"a run in {workdir} ('python -m storyjax.main --config={config} --workdir={workdir}')"]
