"""The whole of Fig. 6.2: from episodes and a cast list to lines with names, resumable at every stage.

A work folder has a folder for each episode, in which every stage leaves its product (JSON, whole or not at all) under
a key: the hash of the stage's settings, of the file and of the keys before it. A run does only what has no product
under its key: one that was killed goes on where it was, and a changed threshold redoes what depends on it.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32
from tqdm import tqdm

from storyjax.core.errors import StoryjaxError
from storyjax.data.audio import RATE
from storyjax.subtitles.cast import Cast, read_voices
from storyjax.subtitles.exemplars import Centroids, assign, keep_nearest, keep_pure, make_centroids
from storyjax.subtitles.faces import Faces, Guesses, Known, Match
from storyjax.subtitles.recognition import Recogniser, RecognitionConfig, load_recogniser
from storyjax.subtitles.records import STEPS, Finder, Laughters, Line, Products, Stage, Subtitles, Synchroniser, Voices
from storyjax.subtitles.stages import (
    Laughter,
    Recognition,
    Sentences,
    Synchronisation,
    VoicePrints,
    embed_voices,
    file_state,
    network_source,
)
from storyjax.subtitles.timeline import Timeline

_FORMAT = 1  # of products; another number makes them anew
_SAMPLE_S = 10.0  # a sample of a voice is embedded in pieces of this length


@dataclass(frozen=True)
class SubtitleConfig:
    """Where the networks come from ("shipped:NAME" or a folder), and the thresholds of §6.1.4.

    Attributes:
        voices, laughter, sync, faces: weights; the encoder of voices, and so on.
        recognition: what recognises speech.
        punkt: the language of the sentence model.
        laugh: probability above which it is laughter.
        peak: score above which a peak of the heat map counts, of at most `peaks`.
        face: share of the likeliest character above which a face is believed; `least` is the cosine it needs.
        crops: the shares of the picture, around the peak, in which a face is looked for; 1 is the thesis's whole frame.
        match: how a face is told: by CLIP-PAD's "query", as in the thesis, or by the "photos" alone (`faces.py`).
        filter: which labelled voices become exemplars: those whose nearest "neighbours" carry the same name, as in the
            thesis, or those nearest to the "mean" of the others with their name, for characters with few of them.
        neighbours: of a voice that must carry the same name.
        distance: beyond it from every centroid nobody is named (the thesis's d).
        frame_size: of the pictures for synchronisation, in pixels; None: what the network was made for.
    """

    voices: str = "shipped:storyworld_voices"
    laughter: str = "shipped:storyworld_laughter"
    sync: str = "shipped:storyworld_sync"
    faces: str = "shipped:clip_pad_storyworld"
    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    punkt: str = "english"
    laugh: float = 0.8
    peak: float = 0.7
    peaks: int = 4
    face: float = 0.85
    least: float = 0.22
    crops: tuple[float, ...] = (1.0,)
    match: Match = "query"
    filter: Literal["neighbours", "mean"] = "neighbours"
    neighbours: int = 5
    distance: float = 0.23
    frame_size: int | None = None


@dataclass(frozen=True)
class Models:
    """How each network is had; each is loaded when it is first needed, and once.

    `known` is what people are compared by, which is found out once, too.
    """

    recogniser: Callable[[], Recogniser]
    laughter: Callable[[], Laughters]
    sync: Callable[[], Synchroniser]
    peaks: Callable[[np.ndarray], Sequence[tuple[float, float, float]]]
    voices: Callable[[], Voices]
    faces: Callable[[], Finder]
    known: Known = field(default_factory=dict)


def load_models(config: SubtitleConfig) -> Models:
    """The networks of a config."""

    def laughter() -> Laughters:
        from storyjax.subtitles.laughter_detector import LaughterDetector

        return LaughterDetector.from_folder(config.laughter)

    def sync() -> Synchroniser:
        from storyjax.subtitles.av_sync import SyncDetector

        return SyncDetector.from_folder(config.sync)

    def peaks(heat: np.ndarray) -> Sequence[tuple[float, float, float]]:
        from storyjax.subtitles.av_sync import peaks as find

        return find(heat, config.peak, config.peaks)

    def voices() -> Voices:
        from storyjax.subtitles.speaker_encoder import VoiceEncoder

        return VoiceEncoder.from_folder(config.voices)

    def faces() -> Finder:
        from storyjax.clip_pad.predict import PersonFinder

        return PersonFinder.from_checkpoint(config.faces)

    once = functools.cache
    return Models(
        once(lambda: load_recogniser(config.recognition)), once(laughter), once(sync), peaks, once(voices), once(faces)
    )


def subtitle(
    videos: Sequence[Path],
    cast: Cast,
    config: SubtitleConfig,
    work: Path,
    models: Models | None = None,
    transcripts: Mapping[str, Path] | None = None,
    progress: bool = True,
    guesses: bool = False,
) -> list[Subtitles]:
    """Names the lines of one or more episodes of a series; exemplars are shared by all of them.

    Args:
        videos: videos, or sound files where samples of voices are given.
        work: where the products of the stages are kept.
        transcripts: by episode (the file's name without its ending), to be used instead of recognising speech.
        guesses: whether it is also told whom each segment shows before any is left out, which evaluation measures.

    Raises:
        StoryjaxError: what a person can mend, in one line.
    """
    names = [video.stem for video in videos]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StoryjaxError(f"two of the videos are called '{twice}': rename one, for its subtitles are named after it")
    models = models or load_models(config)
    found = []
    for video in videos:
        stages = make_stages(cast, video.stem, config, models, (transcripts or {}).get(video.stem), guesses)
        found.append(run_stages(video, stages, work, progress, needs_pictures=not any(m.voices for m in cast.members)))
    samples, sample_names = _voice_samples(cast, config, models, work)
    return _name_lines(names, found, cast, config, samples, sample_names, work)


def make_stages(
    cast: Cast,
    episode: str,
    config: SubtitleConfig,
    models: Models,
    transcript: Path | None = None,
    guesses: bool = False,
) -> list[Stage]:
    """The stages in their order: voices before pictures, so that another threshold of faces does not redo them."""
    known, faces = models.known, network_source(config.faces)
    sync = f"{network_source(config.sync)} peak {config.peak} of {config.peaks}"
    stages: list[Stage] = [
        Recognition(models.recogniser, asdict(config.recognition), transcript),
        Sentences(config.punkt),
        Laughter(models.laughter, network_source(config.laughter), config.laugh),
        VoicePrints(models.voices, network_source(config.voices)),
        Synchronisation(models.sync, models.peaks, sync, config.frame_size),
        Faces(
            models.faces,
            faces,
            cast,
            episode,
            config.face,
            least=config.least,
            crops=config.crops,
            match=config.match,
            known=known,
        ),
    ]
    return [*stages, Guesses(models.faces, faces, cast, episode, known=known)] if guesses else stages


def run_stages(
    video: Path, stages: Sequence[Stage], work: Path, progress: bool = True, needs_pictures: bool = False
) -> Products:
    """Runs the stages of an episode, or takes their products from the work folder.

    `needs_pictures` makes a file without any an error: without samples of voices nobody could be named.
    """
    try:
        state = file_state(video)
    except OSError as error:
        raise StoryjaxError(f"{video} cannot be read ({error.strerror}): check the path") from error
    folder = episode_folder(video, work)
    spool = folder / "sound.s16"
    timeline: Timeline | None = None
    products, key = Products(), _hash({"format": _FORMAT, **state})
    if not spool.exists() or _read(folder / "file.json", key) is None:
        spool.unlink(missing_ok=True)  # of another version of the file
        write_json(folder / "file.json", {"key": key, "rows": []})
    with tqdm(total=len(stages), desc=video.name, unit="stage", disable=not progress) as bar:
        for number, stage in enumerate(stages, 1):
            key = _hash({"stage": stage.name, "settings": stage.settings(), "before": key})
            path = folder / f"{number}_{stage.name}.json"
            rows = _read(path, key)
            if rows is None:
                bar.set_postfix_str(stage.name)
                timeline = timeline or Timeline.open(video, spool)
                if needs_pictures and not timeline.has_video:
                    raise StoryjaxError(
                        f"{video} has no pictures, so faces cannot tell who speaks: give samples of voices"
                        ' ("voices" in the cast list, or --voices)'
                    )
                made = stage.run(timeline, products)
                rows = [_plain(row) for row in made]
                write_json(path, {"key": key, "settings": stage.settings(), "rows": rows})
            setattr(products, stage.name, [_typed(stage.row, row) for row in rows])
            bar.update()
    spool.unlink(missing_ok=True)
    return products


def episode_folder(video: Path, work: Path) -> Path:
    """The folder of a video in a work folder: two videos of one name have different ones."""
    digest = hashlib.sha256(os.fsencode(video.resolve())).hexdigest()[:8]
    folder = work / f"{video.stem}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoryjaxError(f"can't make the folder {folder}: {error.strerror}; choose another --work") from error
    return folder


def _voice_samples(
    cast: Cast, config: SubtitleConfig, models: Models, work: Path
) -> tuple[Float32[np.ndarray, "n d"] | None, list[str]]:
    """The embeddings of the cast list's samples of voices, in pieces, and whose they are."""
    given = [member for member in cast.members if member.voices]
    if not given:
        return None, []
    key = _hash([config.voices, [[m.name, [file_state(p) for p in m.voices]] for m in given]])
    path = work / "voice_samples.json"
    rows = _read(path, key)
    if rows is None:
        encoder, rows = models.voices(), []
        for member in given:
            for wave in read_voices(member):
                size = round(_SAMPLE_S * RATE)
                pieces = [wave[i : i + size] for i in range(0, len(wave), size)]
                pieces = [p for p in pieces if len(p) >= RATE // 2]
                rows += [[member.name, np.round(v, 6).tolist()] for v in embed_voices(encoder, pieces).astype(float)]
        write_json(path, {"key": key, "rows": rows})
    return np.array([vector for _, vector in rows], np.float32), [name for name, _ in rows]


def _name_lines(
    names: Sequence[str],
    found: Sequence[Products],
    cast: Cast,
    config: SubtitleConfig,
    samples: np.ndarray | None,
    sample_names: list[str],
    work: Path,
) -> list[Subtitles]:
    """Filters the labelled segments of all episodes by voice, and gives every segment to the nearest character."""
    vectors = [products.vectors() for products in found]
    labelled = [(e, face.segment, face.name) for e, p in enumerate(found) for face in p.faces if face.name is not None]
    labelled = [(e, s, name) for e, s, name in labelled if np.any(vectors[e][s])]
    labels = [name for _, _, name in labelled]
    width = max((v.shape[1] for v in vectors if v.size), default=0 if samples is None else samples.shape[1])
    own = np.array([vectors[e][s] for e, s, _ in labelled], np.float32).reshape(len(labelled), width)
    by_mean = config.filter == "mean"
    kept = keep_nearest(own, labels) if by_mean else keep_pure(own, labels, config.neighbours)
    exemplars = {(e, s) for (e, s, _), keep in zip(labelled, kept, strict=True) if keep}
    chosen, chosen_names = own[kept], [name for name, keep in zip(labels, kept, strict=True) if keep]
    if samples is not None:
        chosen, chosen_names = np.concatenate([chosen.reshape(-1, width), samples]), chosen_names + sample_names
    centroids = make_centroids(chosen, chosen_names)
    counts = dict(zip(centroids.names, centroids.counts, strict=True))
    rows = [{"episode": names[e], "segment": s, "name": name, "kept": (e, s) in exemplars} for e, s, name in labelled]
    write_json(work / "exemplars.json", {"counts": counts, "rows": rows})
    return [
        _lines(names[e], e, products, vectors[e], centroids, exemplars, cast, config, counts)
        for e, products in enumerate(found)
    ]


def _lines(
    episode: str,
    number: int,
    products: Products,
    vectors: np.ndarray,
    centroids: Centroids,
    exemplars: set[tuple[int, int]],
    cast: Cast,
    config: SubtitleConfig,
    counts: Mapping[str, int],
) -> Subtitles:
    present = [member.name for member in cast.of(episode)]
    given = assign(vectors, centroids, config.distance, present) if len(vectors) else []
    peaks = {p.segment: p.peaks for p in products.peaks}
    faces = {f.segment: f for f in products.faces}
    guesses = {f.segment: f.best for f in products.guesses}
    laughed_at = products.laughed_at
    lines = []
    for s, (segment, whose) in enumerate(zip(products.segments, given, strict=True)):
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
        lines.append(Line(segment.start, segment.end, text, name, step, whose, label, likely, guesses.get(s), evidence))
    return Subtitles(episode, tuple(lines), tuple(products.laughs), vectors, dict(counts))


def _plain(row: Any) -> Any:
    return [getattr(row, f.name) for f in fields(row)]


def _typed(kind: type, row: Sequence[Any]) -> Any:
    return kind(*(_tuples(value) for value in row))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:24]


def _read(path: Path, key: str) -> list[Any] | None:
    """The rows of a product that was made under this key."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found["rows"] if isinstance(found, dict) and found.get("key") == key else None


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that the file appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise StoryjaxError(f"can't write {path}: {error.strerror or error}; make room there") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def steps_reached(lines: Iterable[Line]) -> dict[str, int]:
    """How many segments passed each step (Table 6.2)."""
    places = [STEPS.index(line.step) for line in lines]
    return {step: sum(place >= i for place in places) for i, step in enumerate(STEPS)}
