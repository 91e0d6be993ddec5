"""The online tracker: frame by frame, with fixed shapes and bounded memory (thesis §2.3.1, §2.3.3, §2.6.2).

The network processes a frame and the queries of all tracks in one jitted pass, whose shapes do not depend on the number
of tracks; association.py continues and starts tracks from its outputs.
"""

import copy
import functools
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.mqt.association import Association, TrackerConfig
from storyjax.mqt.config import MqtData, init_parameters, make_model, tracker_config, trainable
from storyjax.mqt.images import WHOLE, Fit, PaddedImages, crop, fitted
from storyjax.mqt.memory import Candidates, joined, nms
from storyjax.mqt.model import DecoderOutput, Mqt, Tracks
from storyjax.mqt.published_weights import published_parameters
from storyjax.train.experiment import Batch, BatchSpec, Params
from storyjax.train.restore import open_trained

_LOG = logging.getLogger(__name__)
DEFAULT = "shipped:mqt_storyworld"


@dataclass(frozen=True)
class TrackedObject:
    """A tracked object in a frame.

    Attributes:
        id: the track's number, from 1.
        xywh_px: left, top, width and height in pixels, within the image.
        score: probability that the object is there.
        appearance: of unit length, for comparison by cosine.
    """

    id: int
    xywh_px: tuple[float, float, float, float]
    score: float
    appearance: Float32[np.ndarray, " e"]


@dataclass(frozen=True)
class LabelledObject(TrackedObject):
    """A tracked object in a frame, and its class.

    Attributes:
        label: the name of its class in this frame.
        category: its number among the model's.
    """

    label: str
    category: int


class Tracker:
    """Tracks all objects of a video, or those that it is given.

    Args:
        model, params: an MQT and all its parameters.
        size: height and width of the images that it was trained on; frames are resized to it.
        config: the options of tracking.
        fit: how frames fit into images of at most that size, if they kept their aspect ratio in training; None: they
            are stretched to it.
        labels: the names of the model's classes; tracked objects are then `LabelledObject`s.
    """

    def __init__(
        self,
        model: Mqt,
        params: Params,
        size: tuple[int, int],
        config: TrackerConfig,
        fit: Fit | None = None,
        labels: Sequence[str] = (),
    ):
        if config.match_by == "class" and not model.config.detr.classes:
            raise StoryjaxError("match_by 'class' needs a model with a class head (config.model.mqt.detr.classes)")
        self.model, self.params, self.size, self.config, self.fit = model, params, size, config, fit
        self.labels = tuple(labels)
        self._jitted_detect = jax.jit(self._detect_pass)
        self._jitted_track = jax.jit(self._track_pass)
        self._frame_size: tuple[int, int] | None = None
        self._association = Association(config)
        self._said: set[str] = set()
        self._exemplar: np.ndarray | None = None

    @classmethod
    def from_pretrained(
        cls, place: str | os.PathLike[str] | None = None, *, precision: str | None = None, **options: Any
    ) -> "Tracker":
        """Returns the tracker of a trained model.

        Args:
            place: a run's workdir, a folder with model.safetensors and config.json, "shipped:NAME" for a model that
                comes with storyjax, or None for the small MQT of StoryWorld among those.
            precision: the name of a policy (storyjax.train.precision) instead of the one that the config names.
            options: fields of TrackerConfig, over those that the model's config has.

        Raises:
            StoryjaxError: there is nothing at `place`, it is not an MQT, or an option is unknown.
        """
        trained = open_trained(
            place, default=DEFAULT, chapter="MQT", experiments=("mqt",), parts=("mqt",), precision=precision
        )
        model, section = make_model(trained.config.model, trained.policy.name)
        size = tuple(trained.config.data.get("size", MqtData.size))
        imported = {} if section.weights is None else published_parameters(section.weights, model)
        init = functools.partial(init_parameters, model, size)
        params = trained.parameters(init, trainable(model), imported)
        sides = [trained.config.data.get(side) for side in ("shorter", "longer")]
        fit = None if None in sides else Fit(*sides)
        return cls(model, params, size, tracker_config(section.tracker, options), fit, section.labels)

    def with_options(self, **options: Any) -> "Tracker":
        """Returns a tracker with other thresholds that shares this one's compiled passes.

        Raises:
            StoryjaxError: an unknown option, a value that does not fit, or one that changes the shapes of the passes.
        """
        other = copy.copy(self)
        other.config = tracker_config(self.config, options)
        if (other.config.rows, other.config.max_detections) != (self.config.rows, self.config.max_detections):
            raise StoryjaxError(
                "with_options changes no max_tracks, hypotheses or max_detections: make another tracker"
            )
        other._association, other._frame_size, other._said = Association(other.config), None, set()
        other._exemplar = None
        return other

    def start(self, width: int, height: int) -> None:
        """Starts a sequence of frames of this size in pixels; all tracks are dropped.

        Raises:
            StoryjaxError: the size is not positive.
        """
        if width < 1 or height < 1:
            raise StoryjaxError(f"frames of {width} × {height} pixels cannot be tracked in")
        self._frame_size = (width, height)
        self._association = Association(self.config)
        self._exemplar = None

    def step(
        self,
        image: UInt8[np.ndarray, "y x 3"] | None,
        detections: Float32[np.ndarray, "m 4"] | None = None,
        others: Float32[np.ndarray, "k 4"] | None = None,
    ) -> list[TrackedObject]:
        """Returns the tracked objects of the next frame.

        Args:
            image: RGB, of the size that `start` was given; None where the frame is missing: tracks stay as they are.
            detections: (left, top, width, height) in pixels, for the protocols that take them; those outside the image
                or without area are left out.
            others: of the protocol "user", boxes of a detector beside those that tracks start on: like det queries they
                may bring a lost track back, and start nothing.

        Raises:
            StoryjaxError: `start` was not called, or the frame has another size.
        """
        if self._frame_size is None:
            raise StoryjaxError("call start(width, height) before the first frame")
        if image is None:
            return []
        width, height = self._frame_size
        if image.shape[:2] != (height, width):
            raise StoryjaxError(
                f"a frame has {image.shape[1]} × {image.shape[0]} pixels, the sequence {width} × {height}: resize it to"
                " that size, or start a new sequence"
            )
        boxes = self._given(detections)
        beside = self._given(others)[: self._most_given - len(boxes)]
        found = self._run(image, np.concatenate([boxes, beside]))
        own, disagreement, confirmed = self._own(found)
        every = _candidates(found["given"])
        given = every[np.arange(len(boxes))]
        det = self._like_exemplar(_candidates(found["det"]), given)
        if len(beside):
            det = joined([det, every[np.arange(len(boxes), len(boxes) + len(beside))]])
        active = self._association.update(own, disagreement, det, given, confirmed)
        if self._association.full:
            self._say_once("max_tracks", f"the tracker is full: tracks beyond {self.config.max_tracks} are dropped")
        found = [self._tracked(track.id, track.best.box, track.score, track.best.appearance) for track in active]
        return self._labelled(found, [track.best.state for track in active]) if self.labels else found

    def detect(self, image: UInt8[np.ndarray, "y x 3"]) -> tuple[Float32[np.ndarray, "m 4"], Float32[np.ndarray, " m"]]:
        """Returns the detections of a single image that could start tracks, the most probable first.

        They are boxes (left, top, width, height in pixels) and probabilities; the tracks are neither used nor changed.
        """
        none = np.zeros((1, 0, 4), np.float32), np.zeros((1, 0), bool)
        found = jax.device_get(self._jitted_detect(self.params, self._resize(image), *none))
        det = _candidates(found["det"])
        det = nms(det[det.objectness >= self.config.birth_threshold], self.config.nms_iou)
        boxes = [_pixels(box, image.shape[1], image.shape[0]) for box in det.boxes]
        return np.array(boxes, np.float32).reshape(-1, 4), det.objectness.astype(np.float32)

    def _resize(self, image: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "1 v u 3"] | PaddedImages:
        """Returns an image as the network takes it: one shape for a sequence, with no more padding than need be."""
        if self.fit is None:
            return np.asarray(crop(image, WHOLE, self.size))[None]
        images = fitted(image, self.fit, self.size)
        full = (images.extent[0] == images.pixels.shape[1:3]).all()
        return images.pixels if full else images

    def _given(self, detections: Float32[np.ndarray, "m 4"] | None) -> Float32[np.ndarray, "r 4"]:
        """Returns given boxes normalised and clipped to the image, up to the limit; those of no area are left out."""
        if detections is None or self.config.protocol == "private":
            return np.zeros((0, 4), np.float32)
        width, height = self._frame_size or (1, 1)
        scale = np.array([width, height], np.float32)
        low = np.clip(detections[:, :2] / scale, 0, 1)
        high = np.clip((detections[:, :2] + detections[:, 2:]) / scale, 0, 1)
        boxes = np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)
        usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        limit = self._most_given
        if usable.sum() > limit:
            self._say_once("max_detections", f"a frame has {usable.sum()} detections: those beyond {limit} are dropped")
        return boxes[usable][:limit]

    def _say_once(self, option: str, what: str) -> None:
        if option not in self._said:
            self._said.add(option)
            _LOG.warning("%s; config.model.tracker.%s makes room for more", what, option)

    @property
    def _most_given(self) -> int:
        """The number of boxes that may be given with a frame."""
        return 0 if self.config.protocol == "private" else self.config.max_detections

    def _like_exemplar(self, det: Candidates, given: Candidates) -> Candidates:
        """Returns the det queries' outputs that resemble the exemplar, which is the first box given (one_shot).

        Appearances are compared: although they are trained to tell objects apart, those of one kind are nearer to each
        other than to others, and more so than decoder states are.
        """
        if self.config.protocol != "one_shot":
            return det
        if self._exemplar is None and len(given):
            self._exemplar = unit_norm(given.appearances[0])
        if self._exemplar is None:
            return det
        return det[unit_norm(det.appearances) @ self._exemplar >= self.config.exemplar_threshold]

    def _run(self, image: UInt8[np.ndarray, "y x 3"], boxes: Float32[np.ndarray, "r 4"]) -> Any:
        """Returns the network's outputs of one frame, on the host."""
        hypotheses = self._association.hypotheses()
        given_boxes = _padded(list(boxes), self._most_given, 4)
        mask = (np.arange(self._most_given) < len(boxes))[None]
        detects = self.config.protocol in ("private", "private_public", "one_shot")
        if detects and not self.model.config.detect and not hypotheses:
            # Where no track is kept det queries run even if they do not run beside tracks: something must begin.
            found = jax.device_get(self._jitted_detect(self.params, self._resize(image), given_boxes, mask))
            return {**found, "own": self._no_tracks()}
        rows, width = self.config.rows, self.model.config.detr.width
        tracks = Tracks(
            _padded([each.box for each in hypotheses], rows, 4),
            _padded([each.appearance for each in hypotheses], rows, width),
            _padded([each.state for each in hypotheses], rows, width),
            (np.arange(rows) < len(hypotheses))[None],
        )
        return jax.device_get(self._jitted_track(self.params, self._resize(image), given_boxes, mask, tracks))

    def programs(self) -> dict[str, tuple[Callable[[Params, Batch], Any], BatchSpec]]:
        """Returns what runs on a device for each frame, for `storyjax plan`: with tracks, and without any."""
        rows, width, given = self.config.rows, self.model.config.detr.width, self._most_given
        first: dict[str, tuple[tuple[int, ...], Any]]
        first = {"image": ((*self.size, 3), np.uint8)} | ({} if self.fit is None else {"extent": ((2,), np.int32)})
        first |= {"given_boxes": ((given, 4), np.float32), "given_mask": ((given,), np.bool_)}
        tracks = {"boxes": 4, "appearance": width, "state": width}
        shown = (
            first | {name: ((rows, size), np.float32) for name, size in tracks.items()} | {"mask": ((rows,), np.bool_)}
        )

        def seen(batch: Batch) -> tuple[Any, Any, Any]:
            image = batch["image"] if self.fit is None else PaddedImages(batch["image"], batch["extent"])
            return image, batch["given_boxes"], batch["given_mask"]

        def track(params: Params, batch: Batch) -> Any:
            known = Tracks(*(batch[name] for name in (*tracks, "mask")))
            image, given_boxes, given_mask = seen(batch)
            return self._track_pass(params, image, given_boxes, given_mask, known)

        def detect(params: Params, batch: Batch) -> Any:
            return self._detect_pass(params, *seen(batch))

        return {"with tracks": (track, BatchSpec.of_rows(shown)), "first frame": (detect, BatchSpec.of_rows(first))}

    def _no_tracks(self) -> dict[str, np.ndarray]:
        width = self.model.config.detr.width
        shapes = {"boxes": (4,), "appearance": (width,), "state": (width,), "objectness": ()}
        shapes |= {"disagreement": (), "class": ()}
        return {name: np.zeros((0, *shape), np.float32) for name, shape in shapes.items()}

    def _detect_pass(
        self, params: Params, image: jax.Array | PaddedImages, given_boxes: jax.Array, given_mask: jax.Array
    ) -> dict[str, Any]:
        def run(model: Mqt, image: jax.Array | PaddedImages, boxes: jax.Array, mask: jax.Array) -> dict[str, Any]:
            found = model.decode(model.encode(image), boxes, mask)
            sets = {"det": found.det, "given": found.given}
            return {name: _outputs(model, *(array[-1, 0] for array in each)) for name, each in sets.items()}

        outputs: Any = self.model.apply({"params": params}, image, given_boxes, given_mask, method=run)
        return outputs

    def _track_pass(
        self,
        params: Params,
        image: jax.Array | PaddedImages,
        given_boxes: jax.Array,
        given_mask: jax.Array,
        tracks: Tracks,
    ) -> dict[str, Any]:
        def run(model: Mqt, *inputs: Any) -> dict[str, Any]:
            image, given_boxes, given_mask, tracks = inputs
            found = model.decode(model.encode(image), given_boxes, given_mask, tracks)
            own = _outputs(model, *(array[0] for array in found.tracks))
            return {
                "det": _outputs(model, *(array[-1, 0] for array in found.det)),
                "given": _outputs(model, *(array[-1, 0] for array in found.given)),
                "own": own | {"disagreement": self._disagreement(found), "class": _class_probability(model, found)},
            }

        outputs: Any = self.model.apply({"params": params}, image, given_boxes, given_mask, tracks, method=run)
        return outputs

    def _disagreement(self, found: DecoderOutput) -> jax.Array:
        """Returns the cosine distance of the appearances of pos and id; 2 where a model lacks one of them."""
        kinds = self.model.config.kinds
        appearance = found.kinds.appearance[-1, 0]
        if not {"pos", "id"} <= set(kinds):
            return jnp.full(appearance.shape[0], 2.0)
        pos, id_ = (appearance[:, kinds.index(kind)].astype(jnp.float32) for kind in ("pos", "id"))
        norms = jnp.linalg.norm(pos, axis=-1) * jnp.linalg.norm(id_, axis=-1)
        return 1.0 - (pos * id_).sum(axis=-1) / jnp.maximum(norms, 1e-12)

    def _own(self, found: Any) -> tuple[Candidates, np.ndarray, np.ndarray | None]:
        count = len(self._association.hypotheses())
        own = {name: array[:count] for name, array in found["own"].items()}
        if self.config.match_by == "appearance":
            return _candidates(own), own["disagreement"], None
        return _candidates(own), own["disagreement"], own["class"] > self.config.class_threshold

    def _labelled(self, tracked: list[TrackedObject], states: list[np.ndarray]) -> list[TrackedObject]:
        """Returns the objects with the most probable class of each, by the decoder's outputs for them."""
        if not tracked:
            return []
        head = self.params["class_head"]  # a linear map; few rows are not worth a pass on the device
        logits = np.stack(states) @ np.asarray(head["kernel"], np.float32) + np.asarray(head["bias"], np.float32)
        classes = zip(tracked, logits.argmax(axis=1).tolist(), strict=True)
        return [LabelledObject(one.id, one.xywh_px, one.score, one.appearance, self.labels[i], i) for one, i in classes]

    def _tracked(self, number: int, box: np.ndarray, score: float, appearance: np.ndarray) -> TrackedObject:
        width, height = self._frame_size or (1, 1)
        return TrackedObject(number, _pixels(box, width, height), score, unit_norm(appearance).astype(np.float32))


def _outputs(model: Mqt, state: jax.Array, box_logits: jax.Array, appearance: jax.Array) -> dict[str, jax.Array]:
    objectness = jax.nn.sigmoid(model.objectness(appearance))
    outputs = {"boxes": jax.nn.sigmoid(box_logits), "appearance": appearance, "state": state, "objectness": objectness}
    return {name: array.astype(jnp.float32) for name, array in outputs.items()}


def _class_probability(model: Mqt, found: DecoderOutput) -> jax.Array:
    """Returns the probability of each track's most probable class; 0 without a class head."""
    state = found.tracks.state[0]
    if not model.config.detr.classes:
        return jnp.zeros(state.shape[0])
    return jax.nn.sigmoid(model.class_logits(state)).max(axis=-1)


def _candidates(outputs: dict[str, np.ndarray]) -> Candidates:
    return Candidates(*(np.asarray(outputs[name]) for name in ("boxes", "appearance", "state", "objectness")))


def _padded(rows: list[np.ndarray], count: int, width: int) -> Float32[np.ndarray, "1 n d"]:
    filled = np.zeros((1, count, width), np.float32)
    if rows:
        filled[0, : len(rows)] = np.stack(rows)
    return filled


def _pixels(box: np.ndarray, width: int, height: int) -> tuple[float, float, float, float]:
    """Returns (left, top, width, height) in pixels of a normalised (cx, cy, w, h) clipped to the image."""
    low, high = np.clip(box[:2] - box[2:] / 2, 0, 1), np.clip(box[:2] + box[2:] / 2, 0, 1)
    left, top = low * (width, height)
    right, bottom = high * (width, height)
    return float(left), float(top), float(right - left), float(bottom - top)
