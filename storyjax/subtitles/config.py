"""The config of named subtitles: networks and thresholds (`config.model`), and a show to measure on (`config.data`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from storyjax.subtitles.faces import FaceMatchMode
from storyjax.subtitles.languages import RecognitionConfig
from storyjax.weights.pretrained import Pretrained

# Instead of the thesis's settings where faces are as large in the image as in StoryWorld, and seasons are short:
# `--match photos`, and `configs/subtitles_tv.py:embedded`.
BY_PHOTOS: Mapping[str, Any] = {
    "face_match_mode": "photos",
    "crop_scales": (0.7, 0.85),
    "min_cosine": 0.65,
    "exemplar_filter": "mean",
}


@dataclass(frozen=True)
class SubtitleConfig:
    """Where the networks come from, and the thresholds of §6.1.4.

    Attributes:
        speaker_encoder, laughter, lwtnet: the networks for voices, laughter and synchronisation.
        clip_pad: a trained CLIP-PAD, which recognises faces.
        face_detector, pick: what finds the faces in the cast's photos, and which of several is meant, as of
            `clip_pad.predict.PersonFinder.from_pretrained`.
        recognition: the speech recogniser.
        sentence_language: by which words are split into sentences that do not say their language (transcripts).
        laughter_threshold: probability above which it is laughter.
        peak_threshold: score above which a peak of the heat map counts.
        max_peaks: how many peaks of a heat map are looked at, the highest first.
        face_threshold: fraction of the likeliest character above which a face is believed.
        min_cosine: the cosine that the likeliest character needs besides.
        crop_scales: sizes of the squares around the peak in which a face is looked for, as fractions of the image; 1 is
            the thesis's whole frame.
        face_match_mode: how a face is matched: by CLIP-PAD's "query", as in the thesis, or by the "photos" alone
            (`faces.py`).
        exemplar_filter: which labelled voices become exemplars: those whose nearest "neighbours" carry the same name,
            as in the thesis, or those nearest to the "mean" of the others with their name, for characters with few.
        neighbours: of a voice that must carry the same name.
        distance: cosine distance from every centroid beyond which nobody is named (the thesis's d); None: that of the
            voice encoder (`voices.encoder_distance`).
        frame_size: the shorter side of the images for synchronisation, in pixels; None: what the network was made for.
    """

    speaker_encoder: Pretrained = field(default_factory=lambda: Pretrained("shipped:storyworld_voices"))
    laughter: Pretrained = field(default_factory=lambda: Pretrained("shipped:storyworld_laughter"))
    lwtnet: Pretrained = field(default_factory=lambda: Pretrained("shipped:storyworld_sync"))
    clip_pad: Pretrained = field(default_factory=lambda: Pretrained("shipped:clip_pad_storyworld"))
    face_detector: str | None = None
    pick: str | None = None
    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    sentence_language: str = "english"
    laughter_threshold: float = 0.8
    peak_threshold: float = 0.7
    max_peaks: int = 4
    face_threshold: float = 0.85
    min_cosine: float = 0.22
    crop_scales: tuple[float, ...] = (1.0,)
    face_match_mode: FaceMatchMode = "query"
    exemplar_filter: Literal["neighbours", "mean"] = "neighbours"
    neighbours: int = 5
    distance: float | None = None
    frame_size: int | None = None


@dataclass(frozen=True)
class SubtitlesData:
    """A show with annotations, videos and a cast list.

    Attributes:
        root: the folder of the annotations and videos, as `annotations.py` describes it.
        show: the show's name in that folder.
        dataset: its name in the data registry, which knows who writes a synthetic one.
        cast: the cast list with photos, relative to `root`.
        cache_dir: where the results of the stages are kept; it can be thrown away.
        train_split: the episodes on which thresholds are chosen (§6.1.4); None takes those of config.model.
        grid: the values to try of each threshold that is chosen there beside the distance (`grid_search.py`); None
            chooses the distance alone.
        eval_splits: the episodes that are measured, all together.
        synthetic: arguments of the exporter that writes seasons of StoryWorld into `root`/SEED; None for real data.
        validation_seeds: of synthetic data, the seeds of the seasons that make the split "val"; none of them is ever
            tested. The split "test" is the season of config.seed.
        metric_prefix: the metrics' first part.
    """

    root: str
    show: str
    dataset: str = "look_listen_recognise"
    cast: str = "cast.json"
    cache_dir: str = "runs/subtitles_tv"
    train_split: str | None = "val"
    eval_splits: tuple[str, ...] = ("test",)
    grid: dict[str, Any] | None = None
    synthetic: dict[str, Any] | None = None
    validation_seeds: tuple[int, ...] = (1000, 1001)
    metric_prefix: str = "tv"
