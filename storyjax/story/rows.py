"""The rows of story.sqlite as Python objects; columns are explained in `storyjax/story/schema.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32

PERSON, THING, OBJECT = "person", "thing", "object"
AUTO, USER = "auto", "user"
NEW, PARTIAL, DONE, BROKEN = "new", "partial", "done", "broken"


@dataclass(frozen=True)
class Film:
    """A film; `path` is relative to the story's folder, times are seconds, width and height pixels."""

    id: int
    name: str
    path: str
    size: int
    mtime_ns: int
    digest: str
    duration_s: float
    width: int
    height: int
    fps: float
    has_video: bool
    has_audio: bool
    state: str = NEW
    reason: str | None = None


@dataclass(frozen=True)
class Entity:
    """A person or thing; `gallery` is the id of the gallery's entry, None for a group that nobody has named."""

    id: int
    kind: str
    name: str
    category: str | None = None
    gallery: str | None = None

    @property
    def named(self) -> bool:
        """Whether somebody has said who or what it is."""
        return self.gallery is not None


@dataclass(frozen=True)
class Shot:
    """A shot, numbered from 0 in its film."""

    id: int
    film: int
    number: int
    start_s: float
    end_s: float
    still: int | None = None


@dataclass(frozen=True)
class Track:
    """Something followed through a shot; `boxes` are time_s, left, top, width, height, score."""

    id: int
    film: int
    number: int
    shot: int
    kind: str
    category: str | None
    start_s: float
    end_s: float
    entity: int | None
    confidence: float | None
    source: str = AUTO
    still: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""


@dataclass(frozen=True)
class Appearance:
    """A time without a break in which an entity is seen."""

    id: int
    film: int
    entity: int
    start_s: float
    end_s: float
    confidence: float
    source: str = AUTO
    evidence: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""


@dataclass(frozen=True)
class Utterance:
    """What is said; `speaker` is an entity, `label` what subtitles show."""

    id: int
    film: int
    number: int
    start_s: float
    end_s: float
    text: str
    speaker: int | None
    label: str
    confidence: float | None
    source: str = AUTO
    evidence: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""


@dataclass(frozen=True)
class Caption:
    """What a shot shows, in words; `kind` is "caption" or "place"."""

    id: int
    film: int
    shot: int
    kind: str
    text: str
    confidence: float | None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""


@dataclass(frozen=True)
class Vector:
    """A vector of unit length of a shot ("frame"), a track ("face", "image") or an utterance ("voice")."""

    id: int
    film: int
    role: str
    owner: int
    time_s: float
    model: str
    vector: Float32[np.ndarray, " d"]


@dataclass(frozen=True)
class Correction:
    """What a person corrected."""

    id: int
    made_at: str
    action: str
    target: Mapping[str, Any]
    value: Mapping[str, Any]
