"""The online tracker: frame by frame, with fixed shapes and bounded memory (thesis §2.3.1, §2.3.3, §2.6.2).

The network sees one frame and the queries of all tracks in one jitted pass, whose shapes do not depend on how many
there are; association.py makes tracks of what it gives.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8
from ml_collections import ConfigDict

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, unflatten, weights_folder
from storyjax.mqt.association import Association, TrackerConfig
from storyjax.mqt.config import init_parameters, make_model, pretrained, tracker_config
from storyjax.mqt.data import WHOLE, cut_out
from storyjax.mqt.memory import Candidates, suppressed, unit
from storyjax.mqt.model import Found, Mqt, Tracks
from storyjax.train.checkpoint import load_trainable
from storyjax.train.experiment import Params
from storyjax.train.params import validate_params

DEFAULT = "shipped:mqt_storyworld"


@dataclass(frozen=True)
class Tracked:
    """An object in a frame: its number, box (left, top, width, height in pixels, within the picture), how surely it is
    there, and its appearance."""

    id: int
    xywh_px: tuple[float, float, float, float]
    score: float
    appearance: Float32[np.ndarray, "e"]


class Tracker:
    """Tracks whatever moves, or whatever it is given.

    Args:
        model, params: MQT and all its parameters.
        size: height and width of the pictures that it was trained on; frames are brought to it.
        config: of the tracker.
    """

    def __init__(self, model: Mqt, params: Params, size: tuple[int, int], config: TrackerConfig):
        if config.confirm_by == "class" and not model.config.detr.classes:
            raise StoryjaxError("confirm_by 'class' needs a model with a class head (config.model.mqt.detr.classes)")
        self.model, self.params, self.size, self.config = model, params, size, config
        self._detects = jax.jit(self._detect_pass)
        self._passes = jax.jit(self._track_pass)
        self._frame: tuple[int, int] | None = None
        self._association = Association(config)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str] | None = None, **options: Any) -> "Tracker":
        """Loads a tracker.

        Args:
            path: a run's workdir, a folder with model.safetensors and config.json, "shipped:NAME" for weights that come
                with storyjax, or None for the small MQT of StoryWorld among those.
            options: fields of TrackerConfig, over those that the checkpoint's config has.

        Raises:
            StoryjaxError: there is nothing at `path`, it is of another model, or there is no such option.
        """
        where = str(DEFAULT if path is None else path)
        folder = weights_folder(where)
        config = _read_config(folder, where)
        model, section = make_model(config.model, config.get("precision", "float32"))
        size = tuple(config.data.size)
        abstract = flatten(jax.eval_shape(lambda key: init_parameters(model, size, key), jax.random.key(0)))
        flat = load_trainable(folder)
        if section.weights is not None:
            flat = pretrained(section.weights) | flat
        validate_params(flat, abstract, set(abstract), where)
        params = unflatten({name: jnp.asarray(flat[name], leaf.dtype) for name, leaf in abstract.items()})
        return cls(model, params, size, tracker_config(section.tracker, options))

    def start(self, width: int, height: int) -> None:
        """A new sequence, of frames of this size in pixels; all tracks are forgotten."""
        if width < 1 or height < 1:
            raise StoryjaxError(f"frames of {width} × {height} pixels cannot be tracked in")
        self._frame = (width, height)
        self._association = Association(self.config)

    def step(
        self, image: UInt8[np.ndarray, "y x 3"] | None, detections: Float32[np.ndarray, "m 4"] | None = None
    ) -> list[Tracked]:
        """The next frame.

        Args:
            image: RGB, of the size that `start` was given; None where the frame is missing: tracks wait for the next.
            detections: (left, top, width, height) in pixels, for the protocols that take them; what lies outside the
                picture or has no area is left out.

        Raises:
            StoryjaxError: `start` was not called, or the frame has another size.
        """
        if self._frame is None:
            raise StoryjaxError("call start(width, height) before the first frame")
        if image is None:
            return []
        width, height = self._frame
        if image.shape[:2] != (height, width):
            raise StoryjaxError(
                f"a frame has {image.shape[1]} × {image.shape[0]} pixels, the sequence {width} × {height}: bring it to"
                " that size, or start a sequence of its own"
            )
        boxes = self._given(detections)
        found = self._see(image, boxes)
        own, disagreement, confirmed = self._own(found)
        det = _candidates(found["det"])
        given = _candidates({name: array[: len(boxes)] for name, array in found["prior"].items()})
        active = self._association.update(own, disagreement, det, given, confirmed)
        return [self._tracked(track.id, track.best.box, track.score, track.best.appearance) for track in active]

    def detect(self, image: UInt8[np.ndarray, "y x 3"]) -> tuple[Float32[np.ndarray, "m 4"], Float32[np.ndarray, "m"]]:
        """What the det queries find without any memory: boxes (left, top, width, height in pixels) and probabilities,
        the surest first; those that could start a track."""
        found = jax.device_get(self._detects(self.params, self._fit(image)))
        det = _candidates(found["det"])
        det = suppressed(det[det.presence >= self.config.start], self.config.overlap)
        boxes = [_pixels(box, image.shape[1], image.shape[0]) for box in det.boxes]
        return np.array(boxes, np.float32).reshape(-1, 4), det.presence.astype(np.float32)

    def _fit(self, image: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "1 v u 3"]:
        return np.asarray(cut_out(image, WHOLE, self.size))[None]

    def _given(self, detections: Float32[np.ndarray, "m 4"] | None) -> Float32[np.ndarray, "r 4"]:
        """Given boxes, normalised, cut to the picture; those of no area are left out, and of too many the last."""
        if detections is None or self.config.protocol == "private":
            return np.zeros((0, 4), np.float32)
        width, height = self._frame or (1, 1)
        scale = np.array([width, height], np.float32)
        low = np.clip(detections[:, :2] / scale, 0, 1)
        high = np.clip((detections[:, :2] + detections[:, 2:]) / scale, 0, 1)
        boxes = np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)
        usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        return boxes[usable][: self.config.given]

    def _see(self, image: UInt8[np.ndarray, "y x 3"], boxes: Float32[np.ndarray, "r 4"]) -> Any:
        """The network's outputs of one frame, on the host."""
        hypotheses = self._association.hypotheses()
        if not self.model.config.detect and not hypotheses and self.config.protocol == "private":
            # Where det queries do not run beside tracks, they do where there are none yet.
            nothing = {name: np.zeros((0, *array.shape[1:])) for name, array in self._blank().items()}
            return {**jax.device_get(self._detects(self.params, self._fit(image))), "prior": nothing, "own": nothing}
        rows, width = self.config.rows, self.model.config.detr.width
        tracks = Tracks(
            _filled([each.box for each in hypotheses], rows, 4),
            _filled([each.appearance for each in hypotheses], rows, width),
            _filled([each.state for each in hypotheses], rows, width),
            (np.arange(rows) < len(hypotheses))[None],
        )
        given = 0 if self.config.protocol == "private" else self.config.given
        prior = _filled(list(boxes), given, 4)
        mask = (np.arange(given) < len(boxes))[None]
        return jax.device_get(self._passes(self.params, self._fit(image), prior, mask, tracks))

    def _blank(self) -> dict[str, np.ndarray]:
        width = self.model.config.detr.width
        shapes = {"boxes": (4,), "appearance": (width,), "state": (width,), "presence": ()}
        return {name: np.zeros((1, *shape), np.float32) for name, shape in shapes.items()} | {
            "disagreement": np.zeros(1, np.float32),
            "class": np.zeros(1, np.float32),
        }

    def _detect_pass(self, params: Params, image: jax.Array) -> dict[str, Any]:
        def see(model: Mqt, image: jax.Array) -> dict[str, Any]:
            found = model.decode(model.encode(image))
            return {"det": _readable(model, *(array[-1, 0] for array in found.det))}

        return self.model.apply({"params": params}, image, method=see)

    def _track_pass(
        self, params: Params, image: jax.Array, prior: jax.Array, prior_mask: jax.Array, tracks: Tracks
    ) -> dict[str, Any]:
        def see(model: Mqt, *inputs: Any) -> dict[str, Any]:
            image, prior, prior_mask, tracks = inputs
            found = model.decode(model.encode(image), prior, prior_mask, tracks)
            own = _readable(model, *(array[0] for array in found.tracks))
            return {
                "det": _readable(model, *(array[-1, 0] for array in found.det)),
                "prior": _readable(model, *(array[-1, 0] for array in found.prior)),
                "own": own | {"disagreement": self._disagreement(found), "class": _surest(model, found)},
            }

        return self.model.apply({"params": params}, image, prior, prior_mask, tracks, method=see)

    def _disagreement(self, found: Found) -> jax.Array:
        """Cosine distance of the appearances of pos and id, before aggregation; 2 where a model lacks one of them."""
        kinds = self.model.config.kinds
        appearance = found.kinds.appearance[-1, 0]
        if not {"pos", "id"} <= set(kinds):
            return jnp.full(appearance.shape[0], 2.0)
        pos, look = (appearance[:, kinds.index(kind)].astype(jnp.float32) for kind in ("pos", "id"))
        norms = jnp.linalg.norm(pos, axis=-1) * jnp.linalg.norm(look, axis=-1)
        return 1.0 - (pos * look).sum(axis=-1) / jnp.maximum(norms, 1e-12)

    def _own(self, found: Any) -> tuple[Candidates, np.ndarray, np.ndarray | None]:
        count = len(self._association.hypotheses())
        own = {name: array[:count] for name, array in found["own"].items()}
        if self.config.confirm_by == "appearance":
            return _candidates(own), own["disagreement"], None
        return _candidates(own), own["disagreement"], own["class"] > self.config.class_score

    def _tracked(self, number: int, box: np.ndarray, score: float, appearance: np.ndarray) -> Tracked:
        width, height = self._frame or (1, 1)
        return Tracked(number, _pixels(box, width, height), score, unit(appearance).astype(np.float32))


def _readable(model: Mqt, state: jax.Array, box_logits: jax.Array, appearance: jax.Array) -> dict[str, jax.Array]:
    presence = jax.nn.sigmoid(model.presence(appearance))
    outputs = {"boxes": jax.nn.sigmoid(box_logits), "appearance": appearance, "state": state, "presence": presence}
    return {name: array.astype(jnp.float32) for name, array in outputs.items()}


def _surest(model: Mqt, found: Found) -> jax.Array:
    """The probability of each track's surest class; nought without a class head."""
    state = found.tracks.state[0]
    if not model.config.detr.classes:
        return jnp.zeros(state.shape[0])
    return jax.nn.sigmoid(model.class_logits(state)).max(axis=-1)


def _candidates(outputs: dict[str, np.ndarray]) -> Candidates:
    return Candidates(*(np.asarray(outputs[name]) for name in ("boxes", "appearance", "state", "presence")))


def _filled(rows: list[np.ndarray], count: int, width: int) -> Float32[np.ndarray, "1 n d"]:
    filled = np.zeros((1, count, width), np.float32)
    if rows:
        filled[0, : len(rows)] = np.stack(rows)
    return filled


def _pixels(box: np.ndarray, width: int, height: int) -> tuple[float, float, float, float]:
    """(left, top, width, height) in pixels of what of a normalised (cx, cy, w, h) lies in the picture."""
    low, high = np.clip(box[:2] - box[2:] / 2, 0, 1), np.clip(box[:2] + box[2:] / 2, 0, 1)
    left, top = low * (width, height)
    right, bottom = high * (width, height)
    return float(left), float(top), float(right - left), float(bottom - top)


def _read_config(folder: Path, where: str) -> ConfigDict:
    path = folder / "config.json"
    if not path.is_file():
        raise StoryjaxError(f"{where}: there is no config.json in {folder}; name a run of configs/mqt_*.py")
    config = json.loads(path.read_text("utf-8"))
    for section in ("model", "data"):
        if section not in config:
            raise StoryjaxError(f"{path} has no section '{section}': it is not of an MQT")
    choose(config.get("experiment", "mqt"), ("mqt",), f"{path}: experiment")
    return ConfigDict(config)
