"""Tracking with a published detector alone: a Deformable DETR finds objects of named classes, linking.py tracks them.

It is no MQT, which nobody has published weights of: no query follows an object, so that one that the detector misses is
missed. It needs no training.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.metrics.tracking import box_iou
from storyjax.models.deformable_detr import DeformableDetr
from storyjax.models.resnet import standardise
from storyjax.mqt.images import Fit, PaddedImages, fitted, stepped
from storyjax.mqt.linking import Found, Linker, LinkOptions
from storyjax.mqt.memory import unsuppressed
from storyjax.weights.pretrained import LABELS, Pretrained

# As Deformable DETR was published (Zhu et al. 2021).
SHORTER, LONGER = 800, 1333
# Detections that overlap more are of one object. Queries of a DETR repeat one another less than anchors do.
_NMS_IOU = 0.7


@dataclass(frozen=True)
class DetectedObject:
    """A tracked object in a frame.

    Attributes:
        id: the track's number, from 1.
        xywh_px: left, top, width and height in pixels, within the image.
        score: probability of the detection.
        label: the name of its class.
        category: its number among the detector's.
    """

    id: int
    xywh_px: tuple[float, float, float, float]
    score: float
    label: str
    category: int


class DetectorTracker:
    """Tracks the objects of some classes that a detector finds.

    Args:
        detector, params: a Deformable DETR and its parameters.
        labels: names of its classes; "" for one that it never learnt.
        classes: names of those that are tracked; none: all of them.
        options: of linking.
        fit: how frames are resized.

    Raises:
        StoryjaxError: there is no such class.
    """

    def __init__(
        self,
        detector: DeformableDetr,
        params: Any,
        labels: Sequence[str],
        classes: Sequence[str] = (),
        options: LinkOptions | None = None,
        fit: Fit | None = None,
    ):
        self.labels, self.options, self.fit = tuple(labels), options or LinkOptions(), fit or Fit(SHORTER, LONGER)
        for name in classes:
            if name not in self.labels:
                raise StoryjaxError(
                    f"--classes: the detector has no class '{name}'.{nearest(name, self.labels)} It has"
                    f" {', '.join(sorted(filter(None, self.labels)))}."
                )
        self._wanted = np.array([bool(name) and (not classes or name in classes) for name in self.labels])
        self._params = params
        self._find = jax.jit(_finder(detector, jnp.asarray(self._wanted)))
        self._linker = Linker(self.options)
        self._frame_size: tuple[int, int] | None = None

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        classes: Sequence[str] = (),
        options: LinkOptions | None = None,
        shorter: int = SHORTER,
    ) -> "DetectorTracker":
        """Returns the tracker of a folder of published weights: as downloaded, or as `storyjax import` writes it.

        Args:
            folder: with config.json and weights.
            classes: names of the classes that are tracked; none: all.
            options: of linking.
            shorter: the shorter side that frames are resized to; smaller is faster and finds fewer small objects.

        Raises:
            StoryjaxError: nothing usable is there, or there is no such class.
        """
        path = Path(folder)
        if not (path / "config.json").is_file():
            raise StoryjaxError(
                f"--detector: {path} has no config.json; make the folder with 'storyjax import deformable-detr-r50"
                f" --from SenseTime/deformable-detr --out {path}', or name one that was downloaded"
            )
        config, params = Pretrained(str(folder)).network("detector")
        detector = DeformableDetr(dataclasses.replace(config, loop_layers=True))
        labels = class_names(path, config.classes)
        fit = Fit(shorter, round(shorter * LONGER / SHORTER))
        return cls(detector, jax.tree.map(jnp.asarray, params), labels, classes, options, fit)

    def start(self, width: int, height: int) -> None:
        """Starts a sequence of frames of this size in pixels; all tracks are dropped."""
        self._linker, self._frame_size = Linker(self.options), (width, height)

    def step(
        self, image: UInt8[np.ndarray, "y x 3"] | None, detections: Float32[np.ndarray, "m 4"] | None = None
    ) -> list[DetectedObject]:
        """Returns the tracked objects of the next frame.

        Args:
            image: RGB; None where the frame is missing: nothing is reported, tracks stay where they were.
            detections: must be None: the detector is what detects.

        Raises:
            StoryjaxError: `start` was not called, or detections are given.
        """
        if self._frame_size is None:
            raise StoryjaxError("call start(width, height) before the first frame")
        if detections is not None:
            raise StoryjaxError("a detector takes no boxes of others")
        if image is None:
            return []
        links = self._linker.update(self._found(image, self.options.low_score))
        return [
            DetectedObject(link.id, _floats(link.xywh_px), link.score, self.labels[link.label], link.label)
            for link in links
        ]

    def detect(self, image: UInt8[np.ndarray, "y x 3"]) -> tuple[Float32[np.ndarray, "m 4"], Float32[np.ndarray, " m"]]:
        """Returns boxes (left, top, width, height in pixels) and probabilities of what could start a track."""
        found = self._found(image, self.options.min_score)
        return found.xywh_px, found.scores

    def _found(self, image: UInt8[np.ndarray, "y x 3"], least: float) -> Found:
        """Returns the detections of an image that are probable enough, the most probable first."""
        height, width = image.shape[:2]
        most = stepped(self.fit.longer)
        outputs = self._find(self._params, fitted(image, self.fit, (most, most)))
        boxes, scores, labels, states = (np.asarray(array[0]) for array in outputs)
        low = np.clip(boxes[:, :2] - boxes[:, 2:] / 2, 0, 1)
        high = np.clip(boxes[:, :2] + boxes[:, 2:] / 2, 0, 1)
        pixels = (np.concatenate([low, high - low], axis=1) * (width, height, width, height)).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        order = order[(scores[order] >= least) & (pixels[order, 2:] > 0).all(axis=1)]
        found = Found(pixels[order], scores[order].astype(np.float32), labels[order], states[order].astype(np.float32))
        return found[unsuppressed(box_iou(found.xywh_px, found.xywh_px), found.scores, _NMS_IOU)]


def _floats(box: Float32[np.ndarray, " 4"]) -> tuple[float, float, float, float]:
    left, top, width, height = (float(value) for value in box)
    return left, top, width, height


def _finder(detector: DeformableDetr, wanted: jax.Array) -> Any:
    """Returns the function of parameters and an image that gives boxes, scores, labels and states of all queries."""

    def find(params: Any, images: PaddedImages) -> tuple[Any, ...]:
        pixels = jnp.where(images.mask[..., None], standardise(images.pixels), 0)
        found: Any = detector.apply({"params": params}, pixels, images.mask)
        probabilities = jnp.where(wanted[None, None], jax.nn.sigmoid(found.logits[-1].astype(jnp.float32)), 0.0)
        return found.boxes[-1], probabilities.max(axis=-1), probabilities.argmax(axis=-1), found.states[-1]

    return find


def class_names(folder: Path, classes: int) -> tuple[str, ...]:
    """Returns the names of a detector's classes, of `labels.json` or a published config.json; else their numbers.

    Classes that were never learnt (COCO's numbers have gaps, called "N/A") are "".

    Raises:
        StoryjaxError: the file cannot be read, or names another number of classes.
    """
    ours, theirs = folder / LABELS, folder / "config.json"
    try:
        if ours.is_file():
            names = [str(name) for name in json.loads(ours.read_text("utf-8"))]
        else:
            stored = json.loads(theirs.read_text("utf-8")).get("id2label") or {}
            names = [str(stored[key]) for key in sorted(stored, key=int)]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StoryjaxError(
            f"cannot read the names of classes in {folder} ({error}): import the model again"
        ) from error
    if not names:
        return tuple(str(number) for number in range(classes))
    if len(names) != classes:
        raise StoryjaxError(f"{folder} names {len(names)} classes, and its weights have {classes}: import it again")
    return tuple("" if name == "N/A" else name for name in names)
