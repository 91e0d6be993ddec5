"""`storyjax subtitle calibrate`: the distance of a voice encoder, from samples of voices of known people.

Samples are cut into pieces as long as a short sentence. Cosine distances are of all pairs of pieces: of one person, and
of two. The distance is the one by which fewest pairs are mistaken, each kind counted by its fraction.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import check_outputs, json_text
from storyjax.core.params_io import SHIPPED, weights_folder
from storyjax.data.audio import RATE
from storyjax.subtitles.cast import cast_of_voices, read_voices
from storyjax.subtitles.records import SpeakerModel
from storyjax.subtitles.stages import embed_voices
from storyjax.subtitles.voices import encoder_distance
from storyjax.subtitles.writers import write_text
from storyjax.weights.roles import RECORD, read_record

PIECE_S, _SHORTEST_S = 2.0, 1.0
_MOST_PIECES = 100  # of a person, evenly over all there are: the pairs grow with the square
_QUIET = 0.1  # pieces of less than this part of the person's median power are pauses


@dataclass(frozen=True)
class Calibration:
    """Cosine distances of pairs of pieces of one voice and of two, sorted, and the distance between them."""

    same: Float64[np.ndarray, " n"]
    other: Float64[np.ndarray, " m"]
    distance: float

    def mistaken(self, distance: float) -> tuple[float, float]:
        """Returns the fractions of pairs of one voice that are farther apart, and of two that are not."""
        return float((self.same > distance).mean()), float((self.other <= distance).mean())


def pieces_of(waves: Sequence[Float32[np.ndarray, " _"]]) -> list[Float32[np.ndarray, " _"]]:
    """Returns samples of a voice at 16 kHz in pieces of PIECE_S seconds, without pauses; at most _MOST_PIECES."""
    size = round(PIECE_S * RATE)
    cut = [wave[first : first + size] for wave in waves for first in range(0, len(wave), size)]
    cut = [piece for piece in cut if len(piece) >= _SHORTEST_S * RATE]
    if not cut:
        return []
    power = np.array([float((piece**2).mean()) for piece in cut])
    heard = [piece for piece, loud in zip(cut, power, strict=True) if loud > _QUIET * np.median(power)]
    if len(heard) > _MOST_PIECES:
        heard = [heard[i] for i in np.linspace(0, len(heard) - 1, _MOST_PIECES).round().astype(int)]
    return heard


def best_distance(same: Float64[np.ndarray, " n"], other: Float64[np.ndarray, " m"]) -> float:
    """Returns the distance by which the mean of the two fractions of mistaken pairs is least, to two decimals.

    Where a whole range is as good, as between two groups that do not overlap, it is the middle of the widest one.
    """
    values = np.unique(np.concatenate([same, other]))
    apart = 1 - np.searchsorted(np.sort(same), values, "right") / len(same)
    together = np.searchsorted(np.sort(other), values, "right") / len(other)
    wrong = apart + together
    ends = np.append(values[1:], values[-1])
    best = np.flatnonzero(wrong <= wrong.min() + 1e-12)
    widest = best[int(np.argmax(ends[best] - values[best]))]
    return round(float(np.clip((values[widest] + ends[widest]) / 2, 0, 2)), 2)


def calibrate(folder: Path, encoder: SpeakerModel) -> tuple[Calibration, dict[str, int]]:
    """Returns the distances of the samples in a folder, and how many pieces there are of each person.

    Args:
        folder: with NAME/*.wav or NAME.wav of at least two people, any format.
        encoder: of the voices.

    Raises:
        StoryjaxError: there is no such folder, a sample cannot be read, or there is too little of two people.
    """
    people = {member.name: pieces_of(read_voices(member)) for member in cast_of_voices(folder).members}
    people = {name: pieces for name, pieces in people.items() if pieces}
    if len(people) < 2 or max(len(pieces) for pieces in people.values()) < 2:
        raise StoryjaxError(
            f"{folder} has samples of {len(people)} voices ({', '.join(people) or 'nobody'}): give at least two people,"
            f" and {2 * PIECE_S:g} seconds of one of them"
        )
    vectors = embed_voices(encoder, [piece for pieces in people.values() for piece in pieces])
    owners = np.repeat(np.arange(len(people)), [len(pieces) for pieces in people.values()])
    first, second = np.triu_indices(len(vectors), 1)
    distances = 1.0 - np.einsum("pd,pd->p", vectors[first].astype(np.float64), vectors[second])
    alike = owners[first] == owners[second]
    same, other = np.sort(distances[alike]), np.sort(distances[~alike])
    return Calibration(same, other, best_distance(same, other)), {name: len(pieces) for name, pieces in people.items()}


def report(found: Calibration, pieces: dict[str, int], place: str) -> list[str]:
    """Returns lines for people: the distances, and what the one that was chosen and the one in use would mistake."""
    lines = [
        f"{place}: {len(pieces)} voices ({', '.join(pieces)}), {sum(pieces.values())} pieces of {PIECE_S:g} seconds",
        _spread("the same voice", found.same),
        _spread("other voices", found.other),
    ]
    for what, distance in (("best here", found.distance), ("in use", encoder_distance(place))):
        apart, together = found.mistaken(distance)
        lines.append(
            f"distance {distance:g} ({what}): {apart:.1%} of pairs of one voice are taken for two, {together:.1%} of"
            " two for one"
        )
    return lines


def _spread(what: str, distances: Float64[np.ndarray, " n"]) -> str:
    low, middle, high = np.quantile(distances, [0.05, 0.5, 0.95])
    return f"{what}: {len(distances)} pairs, distance {low:.3f} to {high:.3f} (5 to 95 %), median {middle:.3f}"


def save_distance(place: str, distance: float) -> Path:
    """Writes the distance into an encoder's folder, where `voices.encoder_distance` finds it; returns the file.

    It is source.json where `storyjax models get` wrote that, else config.json.

    Raises:
        StoryjaxError: the encoder is one that ships, or the file cannot be read or written.
    """
    if place.startswith(SHIPPED):
        raise StoryjaxError(f"{place} comes with storyjax and stays as it is: pass --distance {distance:g} instead")
    folder = weights_folder(place)
    path = folder / (RECORD if read_record(folder) is not None else "config.json")
    try:
        described = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"cannot read {path} ({error}): pass --distance {distance:g} instead") from error
    if not isinstance(described, dict):
        raise StoryjaxError(f"{path} does not describe an encoder: pass --distance {distance:g} instead")
    check_outputs([("", path)])
    write_text(path, json_text({**described, "distance": distance}, indent=2) + "\n")
    return path
