"""MQT's experiment: losses with their data, and evaluators, of `configs/mqt_*.py` (thesis §2.4, §2.6)."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.mqt.association import TrackerConfig
from storyjax.mqt.config import (
    IMAGE_DATASETS,
    SEQUENCE_DATASETS,
    UNSEEN,
    ModelConfig,
    MqtData,
    init_parameters,
    make_model,
    tracker_config,
    trainable,
)
from storyjax.mqt.datasets import Sources
from storyjax.mqt.detectors import Detectors, detectors_evaluator
from storyjax.mqt.eval_detection import detection_evaluator
from storyjax.mqt.eval_queries import queries_evaluator
from storyjax.mqt.eval_tracking import (
    MakeTracker,
    OnlineTracker,
    offline_evaluator,
    tracking_evaluator,
    user_initialised_evaluator,
)
from storyjax.mqt.losses import Losses
from storyjax.mqt.model import Mqt
from storyjax.mqt.predict import Tracker
from storyjax.mqt.predictions import tracking_prediction
from storyjax.mqt.published_weights import FROM, published_parameters, refuse_other_weights
from storyjax.mqt.sequences import VideoSequence
from storyjax.mqt.threshold_search import Search, search_evaluator
from storyjax.train.experiment import (
    Batch,
    BatchSpec,
    Evaluator,
    Experiment,
    HostEvaluator,
    HostPrediction,
    LossFn,
    Params,
    Task,
)

# Fields of MqtConfig that an evaluation may change, since they need no other parameters; the rest are the tracker's.
_QUERY_FIELDS = ("kinds", "detect", "aggregation", "box_kind", "appearance_kind")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def variant_of(model: Mqt, tracker: TrackerConfig, options: Mapping[str, Any]) -> tuple[Mqt, TrackerConfig]:
    """Returns the model and the tracker's config with some fields replaced.

    Raises:
        StoryjaxError: an unknown field of the tracker, or a value that does not fit.
    """
    queries = {name: options[name] for name in options if name in _QUERY_FIELDS}
    if "kinds" in queries:
        queries["kinds"] = tuple(queries["kinds"])
    rest = {name: options[name] for name in options if name not in _QUERY_FIELDS}
    return Mqt(dataclasses.replace(model.config, **queries), model.dtype), tracker_config(tracker, rest)


def batch_shapes(data: MqtData, examples: int) -> Batch:
    """Returns the shapes and types of the arrays of a training batch."""
    rows: dict[str, tuple[tuple[int, ...], Any]]
    rows = {"boxes0": ((4,), jnp.float32), "present0": ((), bool), "kind": ((), jnp.int32)}
    images = ["images0"]
    if data.mode == "detection":
        rows |= {"given_boxes": ((4,), jnp.float32), "given_mask": ((), bool)}
    else:
        rows |= {"boxes1": ((4,), jnp.float32), "present1": ((), bool)}
        images.append("images1")
    shapes = {
        name: jax.ShapeDtypeStruct((examples, data.max_objects, *tail), dtype) for name, (tail, dtype) in rows.items()
    }
    if data.fit is not None:
        extents = [name.replace("images", "extent") for name in images]
        shapes |= {name: jax.ShapeDtypeStruct((examples, 2), jnp.int32) for name in extents}
    return shapes | {name: jax.ShapeDtypeStruct((examples, *data.size, 3), jnp.uint8) for name in images}


def eval_shapes(data: MqtData, examples: int) -> Batch:
    """Returns those of an evaluation batch of images, which says which of its rows are real."""
    return batch_shapes(data, examples) | {"record_valid": jax.ShapeDtypeStruct((examples,), bool)}


@dataclasses.dataclass(frozen=True)
class Evaluations:
    """The evaluators of a config: detection in images, tracking in sequences.

    Attributes:
        losses: of the model that is evaluated.
        sources: the data sets.
        section: `config.model`.
        detectors: those of Table 2.8a, or None.
    """

    losses: Losses
    sources: Sources
    section: ModelConfig
    detectors: Detectors | None = None

    def tracker(self, params: Params, options: Mapping[str, Any] = _NOTHING) -> OnlineTracker:
        """Returns the config's tracker, with some fields of it or of the queries replaced."""
        model, config = variant_of(self.losses.model, self.section.tracker, options)
        return Tracker(model, params, self.sources.data.size, config, self.sources.data.fit)

    def all(self) -> Iterator[Evaluator | HostEvaluator]:
        """Yields those of every data set in `data.eval_splits`.

        Raises:
            StoryjaxError: a field of `model.sweep` is unknown, or `data.eval_splits` makes no sense.
        """
        for dataset, (split, with_unseen) in self.sources.data.evaluated().items():
            if dataset not in IMAGE_DATASETS:
                for evaluator in self._of_sequences(dataset, split, with_unseen):
                    yield dataclasses.replace(evaluator, programs=lambda: self._adjustable({}).programs())
            elif self.section.search:
                raise StoryjaxError(f"config.model.search needs sequences to track in, and {dataset} has none")
            else:
                yield from self._of_images(dataset, split)

    def predictions(self) -> Iterator[HostPrediction]:
        """Yields the challenges' files of every data set of sequences in `data.eval_splits`."""
        for dataset, (split, _) in self.sources.data.evaluated().items():
            if dataset in SEQUENCE_DATASETS:
                yield tracking_prediction(self.sources, dataset, split, self.section.tracker.protocol, self.tracker)

    def _of_images(self, dataset: str, split: str) -> Iterator[Evaluator]:
        data, model = self.sources.data, self.losses.model
        if data.mode == "simulated":
            pairs = BatchSpec(functools.partial(eval_shapes, data))
            yield dataclasses.replace(queries_evaluator(model, self.sources, dataset, split), batch_spec=pairs)
        single = BatchSpec(functools.partial(eval_shapes, dataclasses.replace(data, mode="detection")))
        yield dataclasses.replace(detection_evaluator(model, self.sources, dataset, split), batch_spec=single)
        if self.detectors is not None:
            yield detectors_evaluator(self.detectors, self.sources, dataset, split)

    def _of_sequences(self, dataset: str, split: str, with_unseen: bool) -> Iterator[HostEvaluator]:
        section, data = self.section, self.sources.data
        detector = data.detector_of(section.tracker.protocol)
        sequences = functools.partial(self.sources.sequences, dataset, split)
        if section.search:
            train = functools.cache(lambda: self.sources.sequences(dataset, data.train_split))
            yield self.threshold_search(dataset, train)
            return
        if section.tracker.protocol == "user":
            yield user_initialised_evaluator(dataset, self.tracker, sequences, detector)
            return
        unseen = functools.partial(self.sources.sequences, dataset, UNSEEN) if with_unseen else None
        yield tracking_evaluator(dataset, self.tracker, sequences, unseen, detector)
        for name, options in section.sweep.items():
            variant_of(self.losses.model, section.tracker, options)  # raises an error for a mistake before training
            given = data.detector_of(options.get("protocol", section.tracker.protocol))
            other = functools.partial(self.tracker, options=options)
            yield tracking_evaluator(f"{dataset}_{name}", other, sequences, None, given, with_baseline=False)
        if section.offline:
            yield offline_evaluator(f"{dataset}_offline", self.tracker, sequences, detector)

    def threshold_search(self, name: str, sequences: Callable[[], list[VideoSequence]]) -> HostEvaluator:
        """Returns the search for the thresholds of `model.search`, in the tracker's protocol."""
        section = self.section
        user = section.tracker.protocol == "user"
        detector = self.sources.data.detector_of(section.tracker.protocol)

        def evaluator(make_tracker: MakeTracker, videos: Sequence[VideoSequence]) -> HostEvaluator:
            if user:
                return user_initialised_evaluator(name, make_tracker, lambda: videos, detector)
            return tracking_evaluator(name, make_tracker, lambda: videos, None, detector, with_baseline=False)

        metric = "track_map" if user else "mota"
        search = Search(section.search, section.search_agreement, section.search_folds, metric)
        agreement = section.tracker.agreement_threshold
        return search_evaluator(name, self._adjustable, sequences, evaluator, search, agreement)

    def _adjustable(self, params: Params) -> Tracker:
        return Tracker(self.losses.model, params, self.sources.data.size, self.section.tracker)


def _pretrained(
    config: ConfigDict, section: ModelConfig, model: Mqt, detectors: Detectors | None
) -> Callable[[], dict[str, Any]] | None:
    weights, checkpoint = section.weights, config.get("init", ConfigDict()).get("checkpoint")
    if weights is None and detectors is None:
        return None

    def load() -> dict[str, Any]:
        if weights is not None and checkpoint is not None:
            refuse_other_weights(weights, checkpoint)
        given: dict[str, Any] = {} if weights is None else dict(published_parameters(weights, model))
        return given | ({} if detectors is None else detectors.pretrained())

    return load


def build(config: ConfigDict) -> Experiment:
    """Returns the experiment of a config of `configs/mqt_*.py`.

    Raises:
        StoryjaxError: the config has an unknown key, or a value that makes no sense.
    """
    data = from_config(MqtData, config.data, "config.data")
    model, section = make_model(config.model, config.precision)
    losses, sources = Losses(model, section.loss), Sources(data)
    loss: LossFn = losses.detection if data.mode == "detection" else losses.tracking
    init: Callable[[jax.Array], Params] = functools.partial(init_parameters, model, data.size)
    trained, detectors = trainable(model), None
    if section.detectors:
        if data.mode != "detection":
            raise StoryjaxError(f"config.model.detectors needs config.data.mode 'detection', not '{data.mode}'")
        detectors = Detectors(model, section.detectors)
        init, trained = functools.partial(detectors.init, init), detectors.trainable(trained)
        loss = detectors.beside(loss)
    evaluations = Evaluations(losses, sources, section, detectors)
    batch_spec = BatchSpec(functools.partial(batch_shapes, data))
    return Experiment(
        name="mqt",
        init=init,
        trainable=trained,
        tasks=(Task(f"{data.dataset}_{data.mode}", sources.stream, loss, batch_spec=batch_spec),),
        evaluators=tuple(evaluations.all()),
        predictions=tuple(evaluations.predictions()),
        pretrained=_pretrained(config, section, model, detectors),
        frozen_from=FROM,
        units="images" if data.mode == "detection" else "pairs",
        steps_per_epoch=lambda: max(1, sources.steps_per_epoch(config.train.batch_size)),
        prepare=sources.prepare,
    )
