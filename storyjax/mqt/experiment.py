"""MQT's experiment: losses with their data, and evaluators, of `configs/mqt_*.py` (thesis §2.4, §2.6)."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.mqt.association import TrackerConfig
from storyjax.mqt.config import ModelConfig, init_parameters, make_model, pretrained, tracker_config, trainable
from storyjax.mqt.datasets import PICTURES, MqtData, Sources
from storyjax.mqt.eval_detection import detection_evaluator, search_evaluator
from storyjax.mqt.eval_queries import queries_evaluator
from storyjax.mqt.eval_tracking import offline_evaluator, tracking_evaluator, user_initialised_evaluator
from storyjax.mqt.losses import Losses
from storyjax.mqt.model import Mqt
from storyjax.mqt.sequences import Sequence, prepared_sequences
from storyjax.train.experiment import Batch, BatchSpec, Evaluator, Experiment, HostEvaluator, Params, Task


def swept(model: Mqt, tracker: TrackerConfig, options: Mapping[str, Any]) -> tuple[Mqt, TrackerConfig]:
    """The model and tracker with some fields set otherwise, such as need no other parameters."""
    of_queries = {"kinds", "detect", "aggregation", "box_kind", "appearance_kind"}
    queries = {name: options[name] for name in options if name in of_queries}
    if "kinds" in queries:
        queries["kinds"] = tuple(queries["kinds"])
    rest = {name: options[name] for name in options if name not in of_queries}
    return Mqt(dataclasses.replace(model.config, **queries), model.dtype), tracker_config(tracker, rest)


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
    batch_spec = BatchSpec(functools.partial(planned_batch, data))
    evaluators = tuple(make_evaluators(losses, sources, data, section))
    weights = section.weights
    return Experiment(
        name="mqt",
        init=functools.partial(init_parameters, model, tuple(data.size)),
        trainable=trainable(model),
        tasks=(Task(f"{data.dataset}_{data.mode}", sources.stream, loss, batch_spec=batch_spec),),
        evaluators=evaluators,
        pretrained=None if weights is None else functools.partial(pretrained, weights),
        units="pictures" if data.mode == "detection" else "pairs",
        steps_per_epoch=lambda: max(1, sources.steps_per_epoch(config.train.batch_size)),
    )
