"""What follows people and things through a shot, behind one interface: a detector of classes, an MQT, or faces."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.core.notes import tell
from storyjax.core.params_io import SHIPPED, weights_folder
from storyjax.mqt.linking import Found, Linker, LinkOptions
from storyjax.story.options import FACES, StoryOptions
from storyjax.story.rows import OBJECT, PERSON
from storyjax.weights.roles import model_for

SERIES = "shipped:mqt_storyworld_series"
FACE = "face"  # the category of a track of faces
_CLASS_PERSON = "person"


@dataclass(frozen=True)
class Seen:
    """Something in an image.

    Attributes:
        id: of its track.
        xywh_px: left, top, width, height in pixels.
        score: from 0 to 1.
        kind: "person" or "object", where the tracker knows; else "".
        category: the detector's class; None: it knows none.
    """

    id: int
    xywh_px: tuple[float, float, float, float]
    score: float
    kind: str = ""
    category: str | None = None


@runtime_checkable
class FilmTracker(Protocol):
    """Follows everything through one shot after another. `name` says which network it is."""

    name: str

    def start(self, width: int, height: int) -> None:
        """Begins a shot of images of this size."""
        ...

    def step(self, image: UInt8[np.ndarray, "y x 3"]) -> Sequence[Seen]:
        """Returns what is in the next image."""
        ...


@dataclass
class ByTracker:
    """An MQT or a detector with classes, as `storyjax track` uses them."""

    tracker: Any
    name: str

    def start(self, width: int, height: int) -> None:
        """Begins a shot of images of this size."""
        self.tracker.start(width, height)

    def step(self, image: UInt8[np.ndarray, "y x 3"]) -> list[Seen]:
        """Returns what is in the next image."""
        return [self._seen(one) for one in self.tracker.step(image)]

    def _seen(self, one: Any) -> Seen:
        label = getattr(one, "label", None)  # of an MQT with a class head, or of a detector
        kind = "" if label is None else PERSON if label == _CLASS_PERSON else OBJECT
        return Seen(one.id, one.xywh_px, one.score, kind, label)


class ByFaces:
    """Faces that a detector finds in every image, linked by overlap: for films in which people alone matter.

    Args:
        detector: finds faces (`clip_pad.detect.Detector`).
        name: of it.
    """

    def __init__(self, detector: Any, name: str):
        self.name, self._detector = name, detector
        # A face moves by less than its width from image to image, or it is another.
        self._options = LinkOptions(min_iou=0.2, low_iou=0.2, max_lost=4, min_hits=2)
        self._linker = Linker(self._options)

    def start(self, width: int, height: int) -> None:
        """Begins a shot of images of this size."""
        del width, height
        self._linker = Linker(self._options)

    def step(self, image: UInt8[np.ndarray, "y x 3"]) -> list[Seen]:
        """Returns the faces in the next image."""
        boxes = np.array([(a, b, c - a, d - b) for a, b, c, d in self._detector(image)], np.float32).reshape(-1, 4)
        count = len(boxes)
        found = Found(boxes, np.ones(count, np.float32), np.zeros(count, np.int64), np.ones((count, 1), np.float32))
        return [
            Seen(link.id, tuple(float(v) for v in link.xywh_px), link.score, PERSON, FACE)  # type: ignore[arg-type]
            for link in self._linker.update(found)
        ]


@dataclass(frozen=True)
class TrackerChoice:
    """Which tracker is used: "faces", a detector's folder ("detector") or an MQT's place ("mqt")."""

    kind: str
    place: str

    @property
    def source(self) -> str:
        """Names it, with the state of its file."""
        from storyjax.subtitles.stages import network_source

        return FACES if self.kind == FACES else f"{self.kind} {network_source(self.place)}"


def choose_tracker(options: StoryOptions) -> TrackerChoice:
    """Returns the tracker that was asked for, that of the models folder, or what ships."""
    if options.tracker == FACES:
        return TrackerChoice(FACES, options.face_detector or "")
    if options.tracker is not None:
        return TrackerChoice("mqt", options.tracker)
    choice = model_for("track", options.models)
    if choice.origin in ("imported", "own"):
        return TrackerChoice("detector", choice.place)
    return TrackerChoice("mqt", SERIES if _ships(SERIES) else choice.place)


def _ships(place: str) -> bool:
    try:
        return weights_folder(place).is_dir()
    except StoryjaxError:
        return False


def load_tracker(choice: TrackerChoice, options: StoryOptions) -> FilmTracker:
    """Returns the tracker. Raises StoryjaxError: it cannot be loaded."""
    if choice.kind == FACES:
        from storyjax.clip_pad.detect import find_detector

        detector = find_detector(options.face_detector, "best", "--face-detector")
        if detector is None:
            raise StoryjaxError("--tracker faces needs a face detector, and --face-detector none is none")
        return ByFaces(detector, type(detector).__name__)
    if choice.kind == "detector":
        from storyjax.mqt.detector_tracker import DetectorTracker

        return ByTracker(DetectorTracker.from_pretrained(choice.place, [], LinkOptions()), "detector")
    from storyjax.mqt.predict import Tracker

    if choice.place.startswith(SHIPPED):
        tell(
            f"story: tracks by {choice.place}, which knows StoryWorld's synthetic world only; `storyjax models get"
            " track` brings a published detector, and --tracker faces follows faces alone"
        )
    return ByTracker(Tracker.from_pretrained(choice.place), choice.place)
