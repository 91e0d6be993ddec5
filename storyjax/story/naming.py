"""Who the tracks and the sentences of a film are of, by faces and voices together.

Candidates are the people who are known by face or voice, groups of tracks with one face that nobody has named, and
nobody. The steps:

1. A track's faces, compared with those of each candidate over the whole track, give a probability for each
   (`gallery.matching`); tracks that are like nobody known are clustered, and the clusters become candidates.
2. The candidates' voices are found by expectation maximisation: a sentence is at first that of who is on screen while
   it is said (who speaks is seen with probability ON_SCREEN, or where mouths were looked for with SPEAKING if one moves
   with the sound, else SILENT); the mean voice of each candidate's sentences, with the samples that are known, says how
   near every sentence is; and so on in turn.
3. Every sentence then is of whom its voice and the screen together point to.
4. A track without a good face that is alone on screen while somebody speaks takes the voice into account.
5. Nobody is twice in one image: of tracks that overlap in time, the surer one keeps a name.

By faces alone (`FACES`) a sentence is that of the only person on screen; by voices alone (`VOICES`) a track that is
alone on screen has the name of whoever speaks, and faces count for nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32
from scipy.cluster.hierarchy import fcluster, linkage

from storyjax.core.arrays import unit_norm
from storyjax.story.options import BOTH, FACES, VOICES

VERSION = 1  # of the steps; another number names everything anew
ON_SCREEN = 0.75  # how often who speaks is seen, in films that cut between speakers
SPEAKING, SILENT = 0.95, 0.3  # the same where a mouth that moves with the sound was found, and where none was
TEMPERATURE = 0.05  # of softmaxes over cosines
VOICE_TEMPERATURE = 0.03
NOBODY = ""  # the candidate that stands for everybody else
_SHORTEST_S = 1.0  # on screen: a face that is seen for less makes no group
_CLEAR = 0.6  # probability above which faces need no voices
_MOSTLY = 0.5  # of a sentence's time: a track that is there for so much of it is on screen
_SURE = 0.5  # probability above which a name is given
_ROUNDS = 12
_SAMPLE_S = 10.0  # what a sample of a voice weighs, in seconds of sentences
_LEAST_S = 0.3  # so much of one sentence must be somebody's, or their voice stays unknown
_TINY = 1e-9


@dataclass(frozen=True)
class TrackFacts:
    """A track that may be a person's: its id, its time in seconds, and what its faces look like."""

    id: int
    start_s: float
    end_s: float
    faces: Float32[np.ndarray, "n e"]


@dataclass(frozen=True)
class SentenceFacts:
    """What is said: its id, its time in seconds, which voice of the film's it is of, and that voice (or None).

    `speaking` are the tracks whose mouths move with the sound; None where that was not looked for.
    """

    id: int
    start_s: float
    end_s: float
    label: str
    voice: Float32[np.ndarray, " d"] | None
    speaking: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Given:
    """Who a track or a sentence is of: a candidate or NOBODY, how probable, and what it stands on."""

    who: str
    confidence: float
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Named:
    """The result: of every track and every sentence by id; `groups` are the candidates that nobody has named, with
    the tracks that they were made of."""

    tracks: Mapping[int, Given]
    sentences: Mapping[int, Given]
    groups: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Thresholds:
    """Cosines from which two faces, and two voices, are of one person."""

    face: float
    voice: float


Vectors = Mapping[str, Float32[np.ndarray, "_ d"]]


def name_film(
    tracks: Sequence[TrackFacts],
    sentences: Sequence[SentenceFacts],
    faces: Vectors,
    voices: Vectors,
    thresholds: Thresholds,
    by: str = BOTH,
) -> Named:
    """Returns who everything is of.

    Args:
        tracks, sentences: of one film.
        faces, voices: of those who are known, by a key each; never NOBODY.
        thresholds: of the encoders.
        by: "faces", "voices" or "both".
    """
    groups = {} if by == VOICES else cluster_tracks(tracks, faces, thresholds.face)
    of_track = {track.id: track for track in tracks}
    grouped = {key: np.concatenate([of_track[i].faces for i in ids]) for key, ids in groups.items()}
    known = {} if by == VOICES else {**faces, **grouped}
    names = [*dict.fromkeys([*faces, *grouped, *([] if by == FACES else voices)]), NOBODY]
    film = _Film(tracks, sentences, names, thresholds, by)
    seen = np.array([film.by_face(track.faces, known) for track in tracks]).reshape(len(tracks), len(names))
    if by == FACES:
        return Named(film.tracks_of(seen, seen, None), film.sentences_on_screen(seen), groups)
    heard = film.by_voice(seen, voices)
    spoken = film.with_screen(heard, seen) if by == BOTH else heard
    final = film.with_voices(seen, heard)
    return Named(film.tracks_of(final, seen, heard), film.sentences_of(spoken, heard), groups)


def cluster_tracks(tracks: Sequence[TrackFacts], faces: Vectors, threshold: float) -> dict[str, list[int]]:
    """Returns the groups of tracks of one face each that is nobody's who is known, in the order in which they appear.

    Tracks are clustered by the average cosine of their mean faces.
    """
    strange = [one for one in tracks if len(one.faces) and best_similarity(one.faces, faces) < threshold]
    if not strange:
        return {}
    means = unit_norm(np.stack([one.faces.mean(axis=0) for one in strange]), eps=_TINY)
    labels = np.ones(len(strange), int)
    if len(strange) > 1:
        tree = linkage(means.astype(np.float64), "average", metric="cosine")
        labels = fcluster(tree, max(1 - threshold, _TINY), "distance")
    found: dict[int, list[TrackFacts]] = {}
    for one, label in sorted(zip(strange, labels, strict=True), key=lambda pair: (pair[0].start_s, pair[0].id)):
        found.setdefault(int(label), []).append(one)
    kept = [group for group in found.values() if sum(one.end_s - one.start_s for one in group) >= _SHORTEST_S]
    return {f"group {number}": [one.id for one in group] for number, group in enumerate(kept)}


def best_similarity(vectors: Float32[np.ndarray, "n d"], known: Vectors) -> float:
    """Returns the similarity of a track with whoever it is most like; -1 where nobody is known."""
    return max((similarity(vectors, rows) for rows in known.values()), default=-1.0)


def similarity(vectors: Float32[np.ndarray, "n d"], rows: Float32[np.ndarray, "m d"]) -> float:
    """Returns the mean, over the vectors of a track, of the cosine with the nearest of `rows`."""
    return float((unit_norm(vectors, eps=_TINY) @ unit_norm(rows, eps=_TINY).T).max(axis=1).mean())


class _Film:
    """The steps on one film; probabilities are rows over the candidates `names`, the last of which is NOBODY."""

    def __init__(
        self,
        tracks: Sequence[TrackFacts],
        sentences: Sequence[SentenceFacts],
        names: list[str],
        thresholds: Thresholds,
        by: str,
    ):
        self.tracks, self.sentences, self.names, self.thresholds, self.by = tracks, sentences, names, thresholds, by
        self.temperature = VOICE_TEMPERATURE
        self.on_screen = [self._on_screen(one) for one in sentences]

    def by_face(self, faces: Float32[np.ndarray, "n e"], known: Vectors) -> Float[np.ndarray, " c"]:
        """The probability of each candidate for a track by its faces; without any all are alike."""
        if not len(faces) or not known:
            return np.full(len(self.names), 1 / len(self.names))
        levels = [similarity(faces, known[name]) if name in known else -1.0 for name in self.names[:-1]]
        return _softmax(np.array([*levels, self.thresholds.face]))

    def by_voice(self, seen: Float[np.ndarray, "t c"], voices: Vectors) -> Float[np.ndarray, "s c"]:
        """The probability of each candidate for every sentence by its voice (step 2)."""
        shape = (len(self.sentences), len(self.names))
        near = np.full(shape, 1 / shape[1])
        heard = [i for i, one in enumerate(self.sentences) if one.voice is not None]
        if not heard:
            return near
        vectors = np.stack([self.sentences[i].voice for i in heard])  # type: ignore[misc]
        screen = (
            np.stack([self._screen(i, seen) for i in heard]) if self.by == BOTH else np.ones((len(heard), shape[1]))
        )
        weights = np.array([max(self.sentences[i].end_s - self.sentences[i].start_s, 0.1) for i in heard])
        given = screen if self.by == BOTH else np.zeros_like(screen)
        found = near[heard]
        for _ in range(_ROUNDS):
            centroids = self._centroids(vectors, given * weights[:, None], voices)
            if not centroids:
                break
            found = np.stack([self._near(vector, centroids) for vector in vectors])
            given = found * screen
            given /= given.sum(axis=1, keepdims=True)
        near[heard] = found
        return near

    def _centroids(
        self, vectors: Float32[np.ndarray, "n d"], weights: Float[np.ndarray, "n c"], voices: Vectors
    ) -> dict[str, Float32[np.ndarray, "1 d"]]:
        """The mean voice of each candidate: of the sentences, as far as they are theirs, and of the samples."""
        found = {}
        for column, name in enumerate(self.names[:-1]):
            total = weights[:, column] @ vectors
            if name in voices:
                total = total + _SAMPLE_S * unit_norm(voices[name], eps=_TINY).sum(axis=0)
            if name in voices or weights[:, column].max() > _LEAST_S:
                found[name] = unit_norm(total, axis=None, eps=_TINY)[None].astype(np.float32)
        return found

    def _near(self, voice: Float32[np.ndarray, " d"], known: Vectors) -> np.ndarray:
        """The probability of each candidate by how near a voice is; those of unknown voice have none."""
        levels = [similarity(voice[None], known[name]) if name in known else -1.0 for name in self.names[:-1]]
        return _softmax(np.array([*levels, self.thresholds.voice]), self.temperature)

    def _on_screen(self, sentence: SentenceFacts) -> list[int]:
        length = max(sentence.end_s - sentence.start_s, _TINY)
        return [
            i
            for i, track in enumerate(self.tracks)
            if min(track.end_s, sentence.end_s) - max(track.start_s, sentence.start_s) >= _MOSTLY * length
        ]

    def _screen(self, sentence: int, seen: Float[np.ndarray, "t c"]) -> Float[np.ndarray, " c"]:
        """The probability of each candidate to speak a sentence by who is on screen."""
        there, count = self.on_screen[sentence], len(self.names)
        if not there:
            return np.full(count, 1 / count)
        speaking, share = self.sentences[sentence].speaking, ON_SCREEN
        if speaking is not None:
            moving = [i for i in there if self.tracks[i].id in speaking]
            there, share = (moving, SPEAKING) if moving else (there, SILENT)
        return share * seen[there].mean(axis=0) + (1 - share) / count

    def with_screen(self, heard: Float[np.ndarray, "s c"], seen: Float[np.ndarray, "t c"]) -> Float[np.ndarray, "s c"]:
        """Step 3."""
        both = heard * np.array([self._screen(i, seen) for i in range(len(self.sentences))]).reshape(heard.shape)
        return both / both.sum(axis=1, keepdims=True)

    def with_voices(self, seen: Float[np.ndarray, "t c"], heard: Float[np.ndarray, "s c"]) -> Float[np.ndarray, "t c"]:
        """Step 4: tracks whose faces say who they are stay as they are."""
        final, count = seen.copy(), len(self.names)
        for track in range(len(self.tracks)):
            said = [
                i for i, there in enumerate(self.on_screen) if there == [track] and self.sentences[i].voice is not None
            ]
            if said and seen[track][:-1].max(initial=0.0) <= _CLEAR:
                levels = np.log(seen[track] + _TINY)
                levels += np.log(ON_SCREEN * heard[said] + (1 - ON_SCREEN) / count).sum(axis=0)
                final[track] = np.exp(levels - levels.max())
                final[track] /= final[track].sum()
        return final

    def tracks_of(
        self, final: Float[np.ndarray, "t c"], seen: Float[np.ndarray, "t c"], heard: np.ndarray | None
    ) -> dict[int, Given]:
        """Step 5: the candidate of each track, the surest first."""
        given: dict[int, Given] = {}
        taken: dict[int, list[TrackFacts]] = {}
        for row in np.argsort(-final[:, :-1].max(axis=1, initial=0.0), kind="stable"):
            track = self.tracks[row]
            free = final[row].copy()
            for candidate, others in taken.items():
                if any(_together(track, other) for other in others):
                    free[candidate] = 0.0
            free /= max(free.sum(), _TINY)
            best = int(free.argmax())
            evidence = {
                "faces": len(track.faces),
                "face": round(float(seen[row][best]), 4) if len(track.faces) else None,
            }
            if heard is not None:
                evidence["sentences"] = sum(there == [row] for there in self.on_screen)
            if best == len(self.names) - 1 or free[best] <= _SURE:
                given[track.id] = Given(NOBODY, float(free[-1]), evidence)
                continue
            taken.setdefault(best, []).append(track)
            given[track.id] = Given(self.names[best], float(free[best]), evidence)
        return given

    def sentences_of(self, spoken: Float[np.ndarray, "s c"], heard: Float[np.ndarray, "s c"]) -> dict[int, Given]:
        """The candidate of each sentence, where one is probable enough."""
        given = {}
        for i, one in enumerate(self.sentences):
            best = int(spoken[i].argmax())
            sure = best < len(self.names) - 1 and spoken[i][best] > _SURE and (one.voice is not None or self.by == BOTH)
            evidence = {"voice": round(float(heard[i][best]), 4), "on_screen": len(self.on_screen[i])}
            given[one.id] = Given(self.names[best] if sure else NOBODY, float(spoken[i][best]), evidence)
        return given

    def sentences_on_screen(self, seen: Float[np.ndarray, "t c"]) -> dict[int, Given]:
        """By faces alone: the only person on screen."""
        given = {}
        for i, one in enumerate(self.sentences):
            there = self.on_screen[i]
            best = int(seen[there[0]].argmax()) if len(there) == 1 else len(self.names) - 1
            sure = best < len(self.names) - 1 and seen[there[0]][best] > _SURE
            confidence = float(seen[there[0]][best]) if sure else 0.0
            given[one.id] = Given(self.names[best] if sure else NOBODY, confidence, {"on_screen": len(there)})
        return given


def _together(one: TrackFacts, other: TrackFacts) -> bool:
    return min(one.end_s, other.end_s) - max(one.start_s, other.start_s) > 1e-6


def _softmax(levels: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    scaled = np.exp((levels - levels.max()) / temperature)
    return scaled / scaled.sum()


def join_spans(
    spans: Sequence[tuple[float, float, int, float]], gap_s: float
) -> list[tuple[float, float, list[int], float]]:
    """Returns spans (start, end, id, confidence) joined where less than `gap_s` seconds are between them.

    Each result has its start, its end, the ids of which it was made, and their mean confidence, weighted by length.
    """
    joined: list[tuple[float, float, list[tuple[float, float, int, float]]]] = []
    for span in sorted(spans):
        if joined and span[0] <= joined[-1][1] + gap_s:
            start, end, parts = joined[-1]
            joined[-1] = (start, max(end, span[1]), [*parts, span])
        else:
            joined.append((span[0], span[1], [span]))
    found = []
    for start, end, parts in joined:
        weights = [max(b - a, _TINY) for a, b, _, _ in parts]
        mean = sum(w * part[3] for w, part in zip(weights, parts, strict=True)) / sum(weights)
        found.append((start, end, [part[2] for part in parts], mean))
    return found
