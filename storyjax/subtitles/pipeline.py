"""The whole of Fig. 6.2: from episodes and a cast list to lines with names, resumable at every stage.

A cache has a folder for each episode, in which every stage leaves its records (JSON, whole or not at all) under a key:
the hash of the stage's settings, of the file and of the keys before it. A run does only what has no records under its
key: one that was killed goes on where it was, and a changed threshold redoes what depends on it.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from tqdm import tqdm

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import json_text, write_atomically
from storyjax.data.audio import RATE
from storyjax.subtitles.cast import Cast, read_voices
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.exemplars import Centroids, assign, keep_nearest, keep_pure, make_centroids, name_short
from storyjax.subtitles.faces import Faces, RawFaceLabels
from storyjax.subtitles.networks import Networks, load_networks
from storyjax.subtitles.records import EpisodeRecords, Line, Stage, Subtitles
from storyjax.subtitles.stages import (
    SHORT_S,
    Laughter,
    Recognition,
    Sentences,
    Synchronisation,
    VoiceEmbeddings,
    embed_voices,
    file_state,
    network_source,
)
from storyjax.subtitles.timeline import Timeline
from storyjax.subtitles.turns import SpeakerTurns
from storyjax.subtitles.voices import encoder_distance

_FORMAT = 3  # of the files of records; another number makes all anew
_SAMPLE_S = 10.0  # a sample of a voice is embedded in pieces of this length


def subtitle(
    videos: Sequence[Path],
    cast: Cast,
    config: SubtitleConfig,
    cache_dir: Path,
    networks: Networks | None = None,
    transcripts: Mapping[str, Path] | None = None,
    progress: bool = True,
    raw_face_labels: bool = False,
    encoding: str | None = None,
    video_track: int | None = None,
    audio_track: int | None = None,
    laughter: bool = True,
) -> list[Subtitles]:
    """Returns the named lines of one or more episodes of a series; exemplars are shared by all of them.

    Args:
        videos: videos, or sound files where samples of voices are given.
        cast: with photos or samples of voices.
        config: networks and thresholds.
        cache_dir: where the results of the stages are kept.
        networks: to be used instead of those that `config` names.
        transcripts: by episode (the file's name without its ending), to be used instead of recognising speech.
        progress: whether to show a progress bar.
        raw_face_labels: whether each segment's whole frames are labelled too, before any is left out, as evaluation
            needs it.
        encoding: of the transcripts; None: UTF-8, or what they say themselves.
        video_track, audio_track: of every video, from 1; None: see `storyjax.data.containers.choose_track`.
        laughter: whether laughter is wanted where samples of voices do without it.

    Raises:
        StoryjaxError: what a person can fix, in one line.
    """
    names = unique_names(videos)
    networks = networks or load_networks(config)
    faces, found = raw_face_labels or needs_faces(cast), []
    for video in videos:
        stages = make_stages(
            cast, video.stem, config, networks, (transcripts or {}).get(video.stem), raw_face_labels, encoding, faces
        )
        stages = needed_stages(stages, faces, laughter)
        needs_video = not any(member.has_voice for member in cast.members)
        found.append(run_stages(video, stages, cache_dir, progress, needs_video, video_track, audio_track))
    samples, sample_names = _voice_samples(cast, config, networks, cache_dir)
    return _name_lines(names, found, cast, config, samples, sample_names, cache_dir, faces)


def unique_names(videos: Sequence[Path]) -> list[str]:
    """Returns the videos' names without their endings. Raises StoryjaxError: two are the same."""
    names = [video.stem for video in videos]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StoryjaxError(f"two of the videos are called '{twice}': rename one, for its subtitles are named after it")
    return names


def distance_of(config: SubtitleConfig) -> float:
    """Returns the config's distance, or its voice encoder's. Raises StoryjaxError: the encoder's is no distance."""
    return encoder_distance(config.speaker_encoder.weights) if config.distance is None else config.distance


def needs_faces(cast: Cast) -> bool:
    """Returns whether anybody is to be found by face: all are, unless everybody has samples of voices and no photos."""
    return any(member.photos or not member.has_voice for member in cast.members)


def needed_stages(stages: Sequence[Stage], faces: bool, laughter: bool) -> list[Stage]:
    """Returns the stages that are needed: without faces, none of images, and laughter only where it is wanted."""
    without = set() if faces else {"peaks", "faces", "raw_face_labels"} | (set() if laughter else {"laughs"})
    return [stage for stage in stages if stage.name not in without]


def make_stages(
    cast: Cast,
    episode: str,
    config: SubtitleConfig,
    networks: Networks,
    transcript: Path | None = None,
    raw_face_labels: bool = False,
    encoding: str | None = None,
    faces: bool = True,
) -> list[Stage]:
    """Returns the stages of an episode in their order.

    Voices come before images, so that another threshold of faces does not redo them. Without `faces` sentences are cut
    between voices.
    """
    embeddings, face_source = networks.cast_embeddings, _face_source(config)
    voices = (networks.speaker_encoder, network_source(config.speaker_encoder.weights))
    sync = f"{network_source(config.lwtnet.weights)} peak {config.peak_threshold} of {config.max_peaks}"
    stages: list[Stage] = [
        Recognition(networks.recogniser, asdict(config.recognition), transcript, encoding),
        Sentences(config.sentence_language)
        if faces
        else SpeakerTurns(config.sentence_language, load=voices[0], source=voices[1], distance=distance_of(config)),
        Laughter(networks.laughter, network_source(config.laughter.weights), config.laughter_threshold),
        VoiceEmbeddings(*voices),
        Synchronisation(networks.sync, networks.find_peaks, sync, config.frame_size),
        Faces(
            networks.face_matcher,
            face_source,
            cast,
            episode,
            config.face_threshold,
            min_cosine=config.min_cosine,
            crop_scales=config.crop_scales,
            match_mode=config.face_match_mode,
            cast_embeddings=embeddings,
        ),
    ]
    if raw_face_labels:
        stages.append(RawFaceLabels(networks.face_matcher, face_source, cast, episode, cast_embeddings=embeddings))
    return stages


def _face_source(config: SubtitleConfig) -> str:
    """What recognises faces, with what finds them in photos."""
    from storyjax.clip_pad.predict import DETECTOR_VARIABLE

    flags = {"detector": config.face_detector or os.environ.get(DETECTOR_VARIABLE), "pick": config.pick}
    given = [f"{name} {value}" for name, value in flags.items() if value is not None]
    return " ".join([network_source(config.clip_pad.weights), *given])


def run_stages(
    video: Path,
    stages: Sequence[Stage],
    cache_dir: Path,
    progress: bool = True,
    needs_video: bool = False,
    video_track: int | None = None,
    audio_track: int | None = None,
) -> EpisodeRecords:
    """Returns the records of the stages on an episode, made now or found in the cache.

    Args:
        needs_video: whether a file of sound alone is an error: without samples of voices nobody could be named.
        video_track, audio_track: from 1; None: see `storyjax.data.containers.choose_track`.

    Raises:
        StoryjaxError: the file cannot be used, or the cache cannot be written.
    """
    try:
        state = file_state(video)
    except OSError as error:
        raise StoryjaxError(f"{video} cannot be read ({error.strerror}): check the path") from error
    folder = episode_folder(video, cache_dir)
    spool = folder / "sound.s16"
    timeline: Timeline | None = None
    asked = {"video_track": video_track, "audio_track": audio_track}
    chosen = {name: number for name, number in asked.items() if number is not None}
    records, key = EpisodeRecords(), _hash({"format": _FORMAT, **state, **chosen})
    if not spool.exists() or _read(folder / "file.json", key) is None:
        spool.unlink(missing_ok=True)  # of another version of the file
        write_json(folder / "file.json", {"key": key, "rows": []})
    with tqdm(total=len(stages), desc=video.name, unit="stage", disable=None if progress else True) as bar:
        for number, stage in enumerate(stages, 1):
            key = _hash({"stage": stage.name, "settings": stage.settings(), "before": key})
            path = folder / f"{number}_{stage.name}.json"
            rows = _read(path, key)
            if rows is None:
                bar.set_postfix_str(stage.name)
                timeline = timeline or Timeline.open(video, spool, **chosen)
                if needs_video and not timeline.has_video:
                    raise StoryjaxError(
                        f"{video} has no video track, so faces cannot show who speaks: give samples of voices"
                        ' ("voices" in the cast list, or --voices)'
                    )
                made = stage.run(timeline, records)
                rows = [_plain(row) for row in made]
                write_json(path, {"key": key, "settings": stage.settings(), "rows": rows})
            setattr(records, stage.name, [_typed(stage.row, row) for row in rows])
            bar.update()
    spool.unlink(missing_ok=True)
    return records


def episode_folder(video: Path, cache_dir: Path) -> Path:
    """Returns the folder of a video in a cache, made if need be: two videos of one name have different ones."""
    digest = hashlib.sha256(os.fsencode(video.resolve())).hexdigest()[:8]
    folder = cache_dir / f"{video.stem}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoryjaxError(f"can't make the folder {folder}: {error.strerror}; choose another --work") from error
    return folder


def _voice_samples(
    cast: Cast, config: SubtitleConfig, networks: Networks, cache_dir: Path
) -> tuple[Float32[np.ndarray, "n d"] | None, list[str]]:
    """The embeddings of the cast list's samples of voices, in pieces, and of known voices; and whose they are."""
    known = [
        (member.name, part.vector)
        for member in cast.members
        for part in (member.voice.sources if member.voice is not None else ())
        for _ in range(max(1, round(part.seconds / _SAMPLE_S)))
    ]
    rows = [*_embedded_samples(cast, config, networks, cache_dir), *known]
    if not rows:
        return None, []
    return np.array([vector for _, vector in rows], np.float32), [name for name, _ in rows]


def _embedded_samples(cast: Cast, config: SubtitleConfig, networks: Networks, cache_dir: Path) -> list[Any]:
    """Name and embedding of each piece of the samples of voices."""
    given = [member for member in cast.members if member.voices]
    if not given:
        return []
    key = _hash([config.speaker_encoder.weights, [[m.name, [file_state(p) for p in m.voices]] for m in given]])
    path = cache_dir / "voice_samples.json"
    rows = _read(path, key)
    if rows is None:
        encoder, rows = networks.speaker_encoder(), []
        for member in given:
            for wave in read_voices(member):
                size = round(_SAMPLE_S * RATE)
                pieces = [wave[i : i + size] for i in range(0, len(wave), size)]
                pieces = [p for p in pieces if len(p) >= RATE // 2]
                rows += [[member.name, np.round(v, 6).tolist()] for v in embed_voices(encoder, pieces).astype(float)]
        write_json(path, {"key": key, "rows": rows})
    return rows


def _name_lines(
    names: Sequence[str],
    found: Sequence[EpisodeRecords],
    cast: Cast,
    config: SubtitleConfig,
    samples: np.ndarray | None,
    sample_names: list[str],
    cache_dir: Path,
    faces: bool,
) -> list[Subtitles]:
    """Filters the labelled segments of all episodes by voice, and gives every segment to the nearest character."""
    vectors = [records.vectors() for records in found]
    labelled = [(e, face.segment, face.name) for e, p in enumerate(found) for face in p.faces if face.name is not None]
    labelled = [(e, s, name) for e, s, name in labelled if np.any(vectors[e][s])]
    labels = [name for _, _, name in labelled]
    width = max((v.shape[1] for v in vectors if v.size), default=0 if samples is None else samples.shape[1])
    own = np.array([vectors[e][s] for e, s, _ in labelled], np.float32).reshape(len(labelled), width)
    by_mean = config.exemplar_filter == "mean"
    kept = keep_nearest(own, labels) if by_mean else keep_pure(own, labels, config.neighbours)
    exemplars = {(e, s) for (e, s, _), keep in zip(labelled, kept, strict=True) if keep}
    chosen, chosen_names = own[kept], [name for name, keep in zip(labels, kept, strict=True) if keep]
    if samples is not None:
        chosen, chosen_names = np.concatenate([chosen.reshape(-1, width), samples]), chosen_names + sample_names
    centroids = make_centroids(chosen, chosen_names)
    counts = dict(zip(centroids.names, centroids.counts, strict=True))
    rows = [{"episode": names[e], "segment": s, "name": name, "kept": (e, s) in exemplars} for e, s, name in labelled]
    write_json(cache_dir / "exemplars.json", {"counts": counts, "rows": rows})
    return [
        _lines(names[e], e, records, vectors[e], centroids, exemplars, cast, config, counts, faces)
        for e, records in enumerate(found)
    ]


def _lines(
    episode: str,
    number: int,
    records: EpisodeRecords,
    vectors: np.ndarray,
    centroids: Centroids,
    exemplars: set[tuple[int, int]],
    cast: Cast,
    config: SubtitleConfig,
    counts: Mapping[str, int],
    by_face: bool,
) -> Subtitles:
    present = [member.name for member in cast.of(episode)]
    given = assign(vectors, centroids, distance_of(config), present) if len(vectors) else []
    if not by_face:  # the thesis's way knows no difference
        given = name_short(given, [segment.end - segment.start for segment in records.segments], SHORT_S)
    peaks = {p.segment: p.peaks for p in records.peaks}
    faces = {f.segment: f for f in records.faces}
    raw_labels = {f.segment: f.best for f in records.raw_face_labels}
    laughed_at = records.laughed_at
    lines = []
    for s, (segment, whose) in enumerate(zip(records.segments, given, strict=True)):
        face = faces.get(s)
        step = "speech"
        if s not in laughed_at:
            step = "laughter"
            if len(peaks.get(s, ())) == 1:
                step = "synchronisation"
                if face is not None and face.name is not None:
                    step = "exemplar" if (number, s) in exemplars else "face"
        if not np.any(vectors[s]):  # silence: nobody's voice
            whose = replace(whose, name=None)
        evidence = {
            "laughter": s in laughed_at,
            "peaks": [list(peak) for peak in peaks.get(s, ())],
            "face": None if face is None else {k: v for k, v in asdict(face).items() if k != "segment"},
        }
        label, likely = (None, None) if face is None else (face.name, face.best)
        text, name = segment.text, whose.name
        raw = raw_labels.get(s)
        lines.append(Line(segment.start, segment.end, text, name, step, whose, label, likely, raw, evidence))
    return Subtitles(episode, tuple(lines), tuple(records.laughs), vectors, dict(counts))


def _plain(row: Any) -> Any:
    return [getattr(row, f.name) for f in fields(row)]


def _typed(kind: type, row: Sequence[Any]) -> Any:
    return kind(*(_tuples(value) for value in row))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:24]


def _read(path: Path, key: str) -> list[Any] | None:
    """The rows of a file of records that was made under this key; None where there is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found["rows"] if isinstance(found, dict) and found.get("key") == key else None


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that the file appears whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json_text(value))
    except OSError as error:
        raise StoryjaxError(f"can't write {path}: {error.strerror or error}; make room there") from error
