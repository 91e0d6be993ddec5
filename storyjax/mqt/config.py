"""From a config to MQT's experiments (thesis §2.3.2, §2.6.1).

    model.mqt        storyjax.mqt.model.MqtConfig: the detector and the queries
    model.loss       storyjax.mqt.losses.LossConfig
    model.tracker    storyjax.mqt.association.TrackerConfig: protocol, thresholds, memory; what is measured with
    model.sweep      by name, fields of the tracker or of the queries to measure with besides (Tables 2.6, 2.10)
    model.offline    whether the enhancements of §2.6.4 are measured (Table 2.11)
    model.weights    a folder that `storyjax import` wrote (a Deformable DETR of the same sizes, or a ResNet): where the
                     parts start that it has; None: from scratch
    model.search     values of τ_conf to be tried on the training set of what is measured, which is then all that is
                     measured (§2.6.1, TAO-person); none: it is as `tracker` says
    data             storyjax.mqt.sources.MqtData: the data set, and how it is trained on

Every stage of §2.6.1 is a config of its own, which starts from the run before through `init.checkpoint`.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from storyjax.configuration import from_config
from storyjax.errors import StoryjaxError
from storyjax.mqt.association import TrackerConfig
from storyjax.mqt.evaluate import offline_evaluator, tracking_evaluator, user_initialised_evaluator
from storyjax.mqt.losses import LossConfig, Losses
from storyjax.mqt.measure import detection_evaluator, search_evaluator
from storyjax.mqt.measure_queries import queries_evaluator
from storyjax.mqt.model import Mqt, MqtConfig, Tracks
from storyjax.mqt.sequences import Sequence, prepared_sequences
from storyjax.mqt.sources import PICTURES, MqtData, Sources
from storyjax.train.experiment import Batch, Evaluator, Experiment, HostEvaluator, Params, Planned, Task
from storyjax.train.precision import get_policy
from storyjax.weights.tree_io import load_flat

# Frozen: batch norms, and of a network with these also the first layers, which ImageNet taught (Carion et al. 2020).
_ALL = ".*"
_WITHOUT_FIRST = r"(?!pyramid/backbone/(stem|stage_0_block_\d+)/)(?!pyramid/backbone/.*/norm/).*"


@dataclass(frozen=True)
class ModelConfig:
    mqt: MqtConfig = field(default_factory=MqtConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    sweep: dict[str, dict[str, Any]] = field(default_factory=dict)
    offline: bool = False
    weights: str | None = None
    search: tuple[float, ...] = ()


def make_model(config: Any, precision: str = "float32") -> tuple[Mqt, ModelConfig]:
    """The model that `config.model` describes."""
    section = from_config(ModelConfig, config, "config.model")
    if section.mqt.detr.two_stage:
        raise StoryjaxError("config.model.mqt.detr.two_stage: MQT's det queries are learnt (§2.3.1); leave it off.")
    return Mqt(section.mqt, get_policy(precision).compute), section


def tracker_config(base: TrackerConfig, options: Mapping[str, Any]) -> TrackerConfig:
    """`base` with some fields set otherwise; StoryjaxError for one that there is not, or that does not fit."""
    return from_config(TrackerConfig, dataclasses.asdict(base) | dict(options), "tracker")


def swept(model: Mqt, tracker: TrackerConfig, options: Mapping[str, Any]) -> tuple[Mqt, TrackerConfig]:
    """The model and tracker with some fields set otherwise, such as need no other parameters."""
    of_queries = {"kinds", "detect", "aggregation", "box_kind", "appearance_kind"}
    queries = {name: options[name] for name in options if name in of_queries}
    if "kinds" in queries:
        queries["kinds"] = tuple(queries["kinds"])
    rest = {name: options[name] for name in options if name not in of_queries}
    return Mqt(dataclasses.replace(model.config, **queries), model.dtype), tracker_config(tracker, rest)


def init_parameters(model: Mqt, size: tuple[int, int], key: jax.Array) -> Params:
    """Parameters as drawn; `size` (height, width) has no influence on them."""
    width = model.config.detr.width
    one = jnp.zeros((1, 1, width))
    tracks = Tracks(jnp.zeros((1, 1, 4)), one, one, jnp.ones((1, 1), bool))
    images = jnp.zeros((1, *size, 3), jnp.uint8)
    return model.init(key, images, jnp.zeros((1, 1, 4)), jnp.ones((1, 1), bool), tracks)["params"]


def trainable(model: Mqt) -> str:
    """The pattern of parameters that train."""
    return _WITHOUT_FIRST if model.config.detr.backbone.norm == "batch" else _ALL


def pretrained(folder: str) -> dict[str, np.ndarray]:
    """The parts of an imported detector, or of an imported ResNet, that an MQT has too.

    Raises:
        StoryjaxError: there is nothing there, or it has none of them.
    """
    path = Path(folder)
    if not path.exists():
        raise StoryjaxError(
            f"config.model.weights: {path} is not there; make it with `storyjax import deformable-detr` or `storyjax"
            " import resnet-50`, or use the config's ':embedded'"
        )
    flat = load_flat(path / "model.safetensors" if path.is_dir() else path)
    flat = {f"pyramid/{name}" if name.startswith("backbone/") else name: array for name, array in flat.items()}
    parts = ("pyramid/", "encoder/", "decoder/", "reference/")
    found = {name: array for name, array in flat.items() if name.startswith(parts)}
    if not found:
        raise StoryjaxError(f"config.model.weights: {path} holds neither a Deformable DETR nor a ResNet of storyjax")
    return found


def planned_batch(data: MqtData, examples: int) -> Batch:
    """The shapes of a training batch."""
    rows = {"boxes0": ((4,), jnp.float32), "present0": ((), bool), "kind": ((), jnp.int32)}
    images = ["images0"]
    if data.mode == "detection":
        rows |= {"prior": ((4,), jnp.float32), "prior_mask": ((), bool)}
    else:
        rows |= {"boxes1": ((4,), jnp.float32), "present1": ((), bool)}
        images.append("images1")
    shapes = {
        name: jax.ShapeDtypeStruct((examples, data.max_objects, *tail), dtype) for name, (tail, dtype) in rows.items()
    }
    return shapes | {name: jax.ShapeDtypeStruct((examples, *data.size, 3), jnp.uint8) for name in images}


def make_evaluators(
    losses: Losses, sources: Sources, data: MqtData, section: ModelConfig
) -> Iterator[Evaluator | HostEvaluator]:
    """Of pictures the detections; of sequences what a tracker makes of them."""
    # Here, because the tracker reads what this module makes.
    from storyjax.mqt.predict import Tracker

    def make_tracker(params: Params, options: Mapping[str, Any] = MappingProxyType({})) -> Tracker:
        model, tracker = swept(losses.model, section.tracker, options)
        return Tracker(model, params, tuple(data.size), tracker)

    if section.search:
        films = functools.cache(lambda: prepared_sequences(sources.split(data.measure, "train")))  # type: ignore[arg-type]
        yield confirm_search(data.measure, losses.model, tuple(data.size), section, films)
        return
    if data.measure in PICTURES:
        if data.mode == "simulated":
            yield queries_evaluator(losses.model, sources, data)
        yield detection_evaluator(losses.model, sources, data)
        return
    if section.tracker.protocol == "user":
        yield user_initialised_evaluator(data.measure, make_tracker, sources.sequences)
        return
    unseen = functools.partial(sources.sequences, unseen=True) if data.unseen else None
    detector = None if section.tracker.protocol == "private" else data.detector
    yield tracking_evaluator(data.measure, make_tracker, sources.sequences, unseen, detector)
    for name, options in section.sweep.items():
        swept(losses.model, section.tracker, options)  # a slip is told before training
        given = None if options.get("protocol", section.tracker.protocol) == "private" else data.detector
        other = functools.partial(make_tracker, options=options)
        yield tracking_evaluator(f"{data.measure}_{name}", other, sources.sequences, None, given, baseline=False)
    if section.offline:
        yield offline_evaluator(f"{data.measure}_offline", make_tracker, sources.sequences, detector)


def confirm_search(
    name: str, model: Mqt, size: tuple[int, int], section: ModelConfig, films: Callable[[], list[Sequence]]
) -> HostEvaluator:
    """Every threshold of `section.search`, in the tracker's protocol."""
    from storyjax.mqt.predict import Tracker

    user = section.tracker.protocol == "user"

    def measured(threshold: float) -> HostEvaluator:
        tracker = dataclasses.replace(section.tracker, confirm=threshold)

        def make_tracker(params: Params) -> Tracker:
            return Tracker(model, params, size, tracker)

        if user:
            return user_initialised_evaluator(name, make_tracker, films)
        return tracking_evaluator(name, make_tracker, films, baseline=False)

    measures = [(threshold, measured(threshold)) for threshold in section.search]
    return search_evaluator(name, measures, "track_map" if user else "mota")


def build(config: ConfigDict) -> Experiment:
    """The experiment of the `configs/mqt_*.py`."""
    data = from_config(MqtData, config.data, "config.data")
    model, section = make_model(config.model, config.precision)
    losses, sources = Losses(model, section.loss), Sources(data)
    loss = losses.detection if data.mode == "detection" else losses.tracking
    planned = Planned(functools.partial(planned_batch, data))
    evaluators = tuple(make_evaluators(losses, sources, data, section))
    weights = section.weights
    return Experiment(
        name="mqt",
        init=functools.partial(init_parameters, model, tuple(data.size)),
        trainable=trainable(model),
        tasks=(Task(f"{data.dataset}_{data.mode}", sources.stream, loss, planned=planned),),
        evaluators=evaluators,
        pretrained=None if weights is None else functools.partial(pretrained, weights),
        units="pictures" if data.mode == "detection" else "pairs",
        steps_per_epoch=lambda: max(1, sources.steps_per_epoch(config.train.batch_size)),
    )
