"""Subtitles without a cast list: speakers are clustered by their voices, and called "Speaker 1", "Speaker 2" ...

Sentences of a second and more are clustered by the average cosine distance of their embeddings; shorter ones join the
nearest cluster. A cluster of a few seconds joins the one whose mean voice is near, for means lie nearer than sentences.
A cluster near a remembered voice gets that name. Episodes that are given together share speakers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from scipy.cluster.hierarchy import fcluster, linkage

from storyjax.core.arrays import unit_norm
from storyjax.subtitles.cast import Cast
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.exemplars import Centroids, assign, name_short
from storyjax.subtitles.networks import Networks, load_networks
from storyjax.subtitles.pipeline import distance_of, make_stages, needed_stages, run_stages, unique_names
from storyjax.subtitles.records import EpisodeRecords, Line, Subtitles
from storyjax.subtitles.stages import SHORT_S
from storyjax.subtitles.voices import Voice, Voices

SPEAKER = "Speaker"
_FEW_S = 5.0  # of speech: a cluster that has less is more likely part of another than somebody


def cluster_voices(
    vectors: Float32[np.ndarray, "n d"], seconds: Sequence[float], distance: float, speakers: int | None = None
) -> list[int | None]:
    """Returns the cluster of every segment, from 0 in the order of first speech; None for silence.

    Args:
        vectors: embeddings of unit length, in the order of speech; zeros for silence.
        seconds: how long each segment is.
        distance: average cosine distance within which clusters are merged.
        speakers: the number of clusters, where it is known; there are fewer where too few segments are heard.
    """
    heard = [i for i in range(len(vectors)) if np.any(vectors[i])]
    clear = [i for i in heard if seconds[i] >= SHORT_S]
    if len(clear) < max(1, speakers or 1):
        clear = heard
    found: list[int | None] = [None] * len(vectors)
    if not clear:
        return found
    labels = np.ones(len(clear), int)
    if len(clear) > 1:
        tree = linkage(vectors[clear].astype(np.float64), "average", metric="cosine")
        labels = (
            fcluster(tree, distance, "distance") if speakers is None else fcluster(tree, speakers, criterion="maxclust")
        )
    means = unit_norm(
        np.stack([vectors[clear][labels == label].sum(axis=0) for label in range(1, labels.max() + 1)]), eps=1e-9
    )
    given = dict(zip(clear, (int(label) - 1 for label in labels), strict=True))
    for i in heard:
        found[i] = given[i] if i in given else int((means @ vectors[i]).argmax())
    if speakers is None:
        found = join_small(vectors, seconds, found, distance)
    order = {label: number for number, label in enumerate(dict.fromkeys(f for f in found if f is not None))}
    return [None if label is None else order[label] for label in found]


def join_small(
    vectors: Float32[np.ndarray, "n d"], seconds: Sequence[float], clusters: Sequence[int | None], distance: float
) -> list[int | None]:
    """Returns the clusters of every segment; those of a few seconds are merged with longer ones.

    Each goes to the nearest mean voice within the distance, the nearest pair first.
    """
    found = list(clusters)
    while True:
        voices = mean_voices(vectors, seconds, found)
        if len(voices) < 2:
            return found
        means, few = np.stack([voice.vector for voice in voices]), np.array([v.seconds < _FEW_S for v in voices])
        apart = 1.0 - means @ means.T
        apart[few[:, None] == few[None]] = np.inf
        first, second = sorted(divmod(int(apart.argmin()), len(voices)))
        if apart[first, second] > distance:
            return found
        found = [c if c is None or c < second else first if c == second else c - 1 for c in found]


def mean_voices(
    vectors: Float32[np.ndarray, "n d"], seconds: Sequence[float], clusters: Sequence[int | None]
) -> list[Voice]:
    """Returns the mean voice of every cluster; its longer segments weigh more."""
    found = []
    for cluster in range(1 + max((c for c in clusters if c is not None), default=-1)):
        inside = [i for i, c in enumerate(clusters) if c == cluster]
        total = np.sum([seconds[i] * vectors[i] for i in inside], axis=0)
        mean = unit_norm(total, eps=1e-9).astype(np.float32)
        found.append(Voice(mean, float(sum(seconds[i] for i in inside))))
    return found


def name_voices(voices: Sequence[Voice], known: Mapping[str, Voice], distance: float) -> list[str]:
    """Returns a name for each voice: the nearest of those `known` within the distance, else the next "Speaker n"."""
    names, number = [], 0
    for voice in voices:
        near = {name: 1.0 - float(other.vector @ voice.vector) for name, other in known.items()}
        best = min(near, key=lambda name: near[name], default=None)
        if best is not None and near[best] <= distance:
            names.append(best)
            continue
        number += 1
        while f"{SPEAKER} {number}" in known:
            number += 1
        names.append(f"{SPEAKER} {number}")
    return names


def name_sentences(
    vectors: Float32[np.ndarray, "n d"],
    seconds: Sequence[float],
    known: Mapping[str, Voice],
    distance: float,
    speakers: int | None = None,
) -> tuple[list[int | None], list[str]]:
    """Returns the cluster of every sentence, None for silence, and the name of every cluster.

    A sentence within the distance of a known voice is the nearest's; the others are clustered, and numbered.

    Args:
        vectors: embeddings of unit length; zeros for silence.
        seconds: how long each sentence is.
        known: voices by name.
        distance: cosine distance within which a sentence is of a voice.
        speakers: the number of all speakers, where it is known.
    """
    centroids = Centroids(tuple(known), np.stack([voice.vector for voice in known.values()]), (1,) * len(known))
    given = name_short(assign(vectors, centroids, distance), seconds, SHORT_S)
    heard = [bool(np.any(vector)) for vector in vectors]
    names = [one.name if sound else None for one, sound in zip(given, heard, strict=True)]
    labels = list(dict.fromkeys(name for name in names if name is not None))
    found = [None if name is None else labels.index(name) for name in names]
    rest = [i for i, name in enumerate(names) if name is None and heard[i]]
    if rest:
        left = None if speakers is None else max(1, speakers - len(labels))
        others = cluster_voices(vectors[rest], [seconds[i] for i in rest], distance, left)
        for i, cluster in zip(rest, others, strict=True):
            found[i] = None if cluster is None else len(labels) + cluster
        count = 1 + max((c for c in others if c is not None), default=-1)
        taken, number = set(known), 0
        for _ in range(count):
            number += 1
            while f"{SPEAKER} {number}" in taken:
                number += 1
            labels.append(f"{SPEAKER} {number}")
    return found, labels


def label_speakers(
    videos: Sequence[Path],
    config: SubtitleConfig,
    cache_dir: Path,
    networks: Networks | None = None,
    transcripts: Mapping[str, Path] | None = None,
    progress: bool = True,
    *,
    speakers: int | None = None,
    known: Voices | None = None,
    by_sentence: bool = False,
    laughter: bool = False,
    encoding: str | None = None,
    video_track: int | None = None,
    audio_track: int | None = None,
) -> list[Subtitles]:
    """Returns the lines of one or more episodes with "Speaker n", or a remembered name; speakers are shared by all.

    Only the speech recogniser and the voice encoder are loaded, and with `laughter` its detector.

    Args:
        speakers: how many there are, where that is known.
        known: remembered voices, of the encoder in use.
        by_sentence: whether every sentence is given to the nearest of the known voices first, within the distance, and
            the others alone are clustered: better where most of the speakers are known.
        videos, config, cache_dir, networks, transcripts, progress, encoding, video_track, audio_track: as of
            `pipeline.subtitle`.

    Raises:
        StoryjaxError: what a person can fix, in one line.
    """
    names = unique_names(videos)
    networks = networks or load_networks(config)
    found = []
    for video in videos:
        stages = make_stages(
            Cast(()), video.stem, config, networks, (transcripts or {}).get(video.stem), encoding=encoding, faces=False
        )
        stages = needed_stages(stages, faces=False, laughter=laughter)
        found.append(run_stages(video, stages, cache_dir, progress, video_track=video_track, audio_track=audio_track))
    return _labelled(names, found, distance_of(config), speakers, known, by_sentence)


def _labelled(
    names: Sequence[str],
    found: Sequence[EpisodeRecords],
    distance: float,
    speakers: int | None,
    known: Voices | None,
    by_sentence: bool = False,
) -> list[Subtitles]:
    """The lines of all episodes, with the names of their clusters."""
    per_episode = [records.vectors() for records in found]
    width = max((v.shape[1] for v in per_episode), default=0)
    vectors = np.concatenate([v.reshape(len(v), width) for v in per_episode])
    seconds = [segment.end - segment.start for records in found for segment in records.segments]
    remembered = {} if known is None else known.voices
    if by_sentence and remembered and len(vectors):
        clusters, labels = name_sentences(vectors, seconds, remembered, distance, speakers)
        voices = mean_voices(vectors, seconds, clusters)
    else:
        clusters = cluster_voices(vectors, seconds, distance, speakers)
        voices = mean_voices(vectors, seconds, clusters)
        labels = name_voices(voices, remembered, distance)
    by_name: dict[str, Voice] = {}
    for label, voice in zip(labels, voices, strict=True):
        by_name[label] = by_name[label].merged(voice) if label in by_name else voice
    means = [voice.vector for voice in by_name.values()]
    centroids = Centroids(
        tuple(by_name), np.stack(means) if means else np.zeros((0, width), np.float32), (1,) * len(means)
    )
    made, at = [], 0
    for name, records, own in zip(names, found, per_episode, strict=True):
        judged = assign(own.reshape(len(own), width), centroids, 2.0)
        laughed_at, lines = records.laughed_at, []
        for s, (segment, whose) in enumerate(zip(records.segments, judged, strict=True)):
            cluster = clusters[at + s]
            called = None if cluster is None else labels[cluster]
            step = "speech" if s in laughed_at else "laughter"
            whose = replace(whose, name=called)
            lines.append(Line(segment.start, segment.end, segment.text, called, step, whose))
        at += len(records.segments)
        heard = {line.name for line in lines}
        there = {label: voice for label, voice in by_name.items() if label in heard}
        made.append(Subtitles(name, tuple(lines), tuple(records.laughs), own, {}, there))
    return made
