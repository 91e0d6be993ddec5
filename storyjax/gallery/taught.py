"""What is taught to a gallery: vectors of a source, and how they are joined with what is there."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float32, UInt8

from storyjax.core.errors import StoryjaxError
from storyjax.gallery.reading import check_role
from storyjax.gallery.record import Evidence, checked_source


@dataclass(frozen=True)
class Taught:
    """What is to be learned of an entry; see `Gallery.learn`."""

    role: str
    fingerprint: str
    vectors: Float32[np.ndarray, "n d"]
    source: str
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]] = ()
    seconds: Sequence[float] = field(default=())
    model: str | None = None


def key_of(one: Evidence) -> tuple[str, str, str]:
    """Returns what evidence is replaced by: role, network and source."""
    return one.role, one.fingerprint, one.source


def evidence_of(one: Taught) -> Evidence:
    """Returns what entry.json says of it."""
    rows, width = one.vectors.shape
    seconds = tuple(float(value) for value in one.seconds)
    return Evidence(one.role, one.fingerprint, checked_source(one.source), rows, width, one.model, seconds)


def joined(
    evidence: Evidence, vectors: np.ndarray, other: Evidence, others: np.ndarray
) -> tuple[Evidence, Float32[np.ndarray, "n d"]]:
    """Returns two entries' vectors of one source, each row once."""
    new = [number for number, row in enumerate(others) if not (vectors == row).all(axis=1).any()]
    both = np.concatenate([vectors, others[new]])
    timed = len(evidence.seconds) == len(vectors) and len(other.seconds) == len(others)
    seconds = (*evidence.seconds, *(other.seconds[number] for number in new)) if timed else ()
    return replace(evidence, rows=len(both), seconds=seconds), both


def check_taught(one: Taught) -> None:
    """Raises StoryjaxError unless it has vectors of a role, and a source."""
    check_role(one.role)
    checked_source(one.source)
    vectors = np.asarray(one.vectors)
    if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
        raise StoryjaxError(f"{one.source}: its {one.role} vectors are no n × d finite numbers ({vectors.shape})")
    if len(one.seconds) not in (0, len(vectors)):
        raise StoryjaxError(f"{one.source}: {len(one.seconds)} times for {len(vectors)} vectors")


def check_width(known: Sequence[Evidence], added: Evidence) -> None:
    """Raises StoryjaxError where vectors of one network would have two widths."""
    for one in known:
        if (one.role, one.fingerprint) == (added.role, added.fingerprint) and one.width != added.width:
            raise StoryjaxError(
                f"{added.source}: {added.role} vectors of width {added.width}, where that network's have {one.width}"
            )
