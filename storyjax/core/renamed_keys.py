"""The config keys that have had other names since version 0.1, by chapter; renames.py applies these tables."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# config.experiment of 0.1 -> today's.
EXPERIMENTS = {
    "tcr.finetune": "tcr",
    "tcr.pretrain": "tcr.contrastive",
    "tcr.discriminative": "tcr.heads",
    "tcr.align": "embedded.tcr_alignment",
    "towers.clip": "embedded.clip",
    "towers.generic_clip": "embedded.clip_generic",
    "towers.faces": "embedded.face_encoder",
    "towers.t5": "embedded.t5",
    "subtitles.training.laughter": "embedded.laughter_detector",
    "subtitles.training.sync": "embedded.av_sync",
    "subtitles.training.voices": "embedded.speaker_encoder",
    "subtitles.tv": "subtitles",
}


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Rename:
    """One key that has another name now.

    Attributes:
        old, new: dotted; "*" in both stands for one name, the same on both sides ("data.tasks.*.manual_dir").
        value: what becomes of the value.
        experiments: a regular expression of the experiments (today's names) whose key it is.
    """

    old: str
    new: str
    value: Callable[[Any], Any] = _as_it_is
    experiments: str = ".*"


def _counts(stories: Any) -> Any:
    """Stories of each split, as an argument of the exporter."""
    return None if stories is None else {"counts": stories}


def _splits(split: Any) -> Any:
    """One split, or none, as all those that are evaluated on."""
    return [] if split is None else [split]


def _clip_init(wanted: Any) -> Any:
    """Whether the TCR starts from CLIP's words, as the function that starts it."""
    return "storyjax.embedded.tcr_clip_init:start_from_clip" if wanted else None


# By chapter, in the order in which they are applied.
_COMMON = (
    Rename("data.max_broken_share", "data.max_broken_fraction"),
    Rename("data.*.max_broken_share", "data.*.max_broken_fraction"),
)
_TASKS, _HEADS = r"tcr|tcr\.contrastive", r"tcr\.heads"
_TCR = (
    # A section of data.tasks.
    *(
        Rename(f"data.tasks.*.{old}", f"data.tasks.*.{new}", value, _TASKS)
        for old, new, value in (
            ("max_broken_share", "max_broken_fraction", _as_it_is),
            ("recipe", "task", _as_it_is),
            ("manual_dir", "root", _as_it_is),
            ("data_dir", "cache_dir", _as_it_is),
            ("storyworld", "synthetic", _counts),
            ("train", "train_split", _as_it_is),
            ("eval", "eval_splits", _splits),
            ("exercises_per_video", "examples_per_video", _as_it_is),
            ("eval_exercises", "eval_examples", _as_it_is),
        )
    ),
    Rename("data.nextqa.max_broken_fraction", "data.tasks.nextqa.max_broken_fraction", experiments="tcr"),
    # NExT-QA alone was config.data itself, and beside other tasks data.nextqa; now it is one of the tasks.
    *(
        Rename(f"{section}.{old}", f"data.tasks.nextqa.{new}", value, "tcr")
        for section in ("data", "data.nextqa")
        for old, new, value in (
            ("manual_dir", "root", _as_it_is),
            ("data_dir", "cache_dir", _as_it_is),
            ("storyworld", "synthetic", _counts),
            ("eval_split", "eval_splits", _splits),
            ("questions_per_video", "examples_per_video", _as_it_is),
            ("eval_questions", "eval_examples", _as_it_is),
            *((name, name, _as_it_is) for name in ("frames", "condition_length", "prompt_length", "ablations")),
            *((name, name, _as_it_is) for name in ("workers", "features")),
        )
    ),
    # Heads without a language model.
    *(
        Rename(f"data.{old}", new, value, _HEADS)
        for old, new, value in (
            ("manual_dir", "data.root", _as_it_is),
            ("data_dir", "data.cache_dir", _as_it_is),
            ("storyworld", "data.synthetic", _counts),
            ("train", "data.train_split", _as_it_is),
            ("eval", "data.eval_splits", _splits),
            ("exercises_per_video", "data.examples_per_video", _as_it_is),
            ("changes", "data.temporal_difference", _as_it_is),
            ("words", "data.clip_init", _clip_init),
            ("resampler", "model.tcr.weights", _as_it_is),
        )
    ),
    Rename("data.practice", "data.auxiliary_tasks", experiments=r"embedded\.tcr_alignment"),
)
# Options of a tracker, which `model.tracker` has and every entry of `model.sweep` may have.
_MQT_TRACKER = {
    "confirm": "match_threshold",
    "agree": "agreement_threshold",
    "confirm_by": "match_by",
    "class_score": "class_threshold",
    "presence": "objectness_threshold",
    "start": "birth_threshold",
    "start_given": "given_birth_threshold",
    "births": "min_hits",
    "overlap": "nms_iou",
    "patience": "max_age",
    "capacity": "max_tracks",
    "given": "max_detections",
}
_MQT_DATA = {
    **{f"{name}_dir": f"root.{name}" for name in ("mot17", "mot20", "gmot40", "tao", "coco", "crowdhuman")},
    "data_dir": "cache_dir",
    "storyworld": "synthetic",
    "far_share": "far_prob",
    "turned_share": "mirror_prob",
    "least_visible": "min_visibility",
    "move": "max_shift",
}
_MQT = (
    *(
        Rename(f"model.{section}.{old}", f"model.{section}.{new}", experiments="mqt")
        for section in ("tracker", "sweep.*")
        for old, new in _MQT_TRACKER.items()
    ),
    *(Rename(f"data.{old}", f"data.{new}", experiments="mqt") for old, new in _MQT_DATA.items()),
)
_PAD_SPLITS = {"faces": "val", "cip": "cip:test", "cia": "cia:test", "season": "season:episodes"}
_CLIP_PAD = (
    Rename("data.people", "data.dataset", experiments="clip_pad"),
    Rename("data.data_dir", "data.cache_dir", experiments="clip_pad"),
    Rename("data.storyworld", "data.synthetic", experiments="clip_pad"),
    *(
        Rename(f"data.{name}_dir", f"data.root.{name}", experiments="clip_pad")
        for name in ("vggface", "vggface2", "cip", "cia", "season")
    ),
    Rename(
        "data.measure",
        "data.eval_splits",
        value=lambda names: [_PAD_SPLITS.get(name, name) for name in names],
        experiments="clip_pad",
    ),
)
_PI_MAP_RUNS = r"pi_map(\.pretrain)?"
_PI_MAP = tuple(
    Rename(f"data.{old}", f"data.{new}", experiments=_PI_MAP_RUNS)
    for old, new in (
        ("manual_dir", "root"),
        ("data_dir", "cache_dir"),
        ("pools", "eval_splits"),
        ("storyworld", "synthetic"),  # and _pi_map_counts
        ("unseen_dir", "unseen_root"),
        ("unseen_storyworld", "unseen_synthetic"),
    )
)
_SUBTITLES = tuple(
    Rename(old, new, experiments="subtitles")
    for old, new in (
        ("data.work", "data.cache_dir"),
        ("data.name", "data.metric_prefix"),
        ("data.storyworld.validation", "data.validation_seeds"),
        ("data.storyworld", "data.synthetic"),
        ("data.pipeline.voices", "model.speaker_encoder.weights"),
        ("data.pipeline.laughter", "model.laughter.weights"),
        ("data.pipeline.sync", "model.lwtnet.weights"),
        ("data.pipeline.faces", "model.clip_pad.weights"),
        ("data.pipeline.recognition", "model.recognition"),
        ("data.pipeline.punkt", "model.sentence_language"),
        ("data.pipeline.laugh", "model.laughter_threshold"),
        ("data.pipeline.peak", "model.peak_threshold"),
        ("data.pipeline.peaks", "model.max_peaks"),
        ("data.pipeline.face", "model.face_threshold"),
        ("data.pipeline.least", "model.min_cosine"),
        ("data.pipeline.crops", "model.crop_scales"),
        ("data.pipeline.match", "model.face_match_mode"),
        ("data.pipeline.filter", "model.exemplar_filter"),
        ("data.pipeline.neighbours", "model.neighbours"),
        ("data.pipeline.distance", "model.distance"),
        ("data.pipeline.frame_size", "model.frame_size"),
    )
)
_EMBEDDED_AUDIO = tuple(
    Rename(old, new, experiments=re.escape(f"embedded.{experiment}"))
    for experiment, old, new in (
        ("laughter_detector", "data.train", "data.train_episodes"),
        ("laughter_detector", "data.test", "data.test_episodes"),
        ("laughter_detector", "data.seconds", "data.episode_seconds"),
        ("laughter_detector", "data.windows", "data.windows_per_episode"),
        ("speaker_encoder", "data.scales", "data.voices_per_base"),
        ("speaker_encoder", "data.sayings", "data.sentences_per_voice"),
        ("speaker_encoder", "data.test_sayings", "data.test_sentences"),
        ("speaker_encoder", "data.noise", "data.noise_prob"),
        ("av_sync", "data.shift", "data.max_shift"),
        ("av_sync", "data.episodes.folder", "data.episodes.cache_dir"),
        ("av_sync", "data.episodes.train", "data.episodes.train_episodes"),
        ("av_sync", "data.episodes.test", "data.episodes.test_episodes"),
        ("av_sync", "data.episodes.seconds", "data.episodes.episode_seconds"),
        ("av_sync", "data.episodes.side", "data.episodes.image_size"),
    )
)
_EMBEDDED = tuple(
    Rename(f"data.{old}", f"data.{new}", experiments=rf"embedded\.{experiment}")
    for experiment, names in (
        (
            "clip",
            (
                ("world", "root"),
                ("train", "train_stories"),
                ("val", "val_stories"),
                ("parts", "part_weight"),
                ("keep_patches", "patch_keep_prob"),
            ),
        ),
        ("clip_generic", (("folder", "root"),)),
        ("face_encoder", (("manual_dir", "root"), ("data_dir", "cache_dir"), ("storyworld", "synthetic"))),
        (
            "t5",
            (
                ("practice.*.shares", "auxiliary_tasks.*.mix"),
                ("practice.*.blind", "auxiliary_tasks.*.no_note_prob"),
                ("practice.*.copying", "auxiliary_tasks.*.copy_weight"),
                ("practice", "auxiliary_tasks"),
                ("begin", "copy_checkpoint"),
            ),
        ),
    )
    for old, new in names
)
RENAMES: tuple[Rename, ...] = (*_COMMON, *_TCR, *_MQT, *_CLIP_PAD, *_PI_MAP, *_SUBTITLES, *_EMBEDDED_AUDIO, *_EMBEDDED)


def _optim(config: dict[str, Any]) -> None:
    """One pattern and its factor became a list of both."""
    optim = config.get("optim")
    if isinstance(optim, dict) and "slow" in optim:
        pattern, factor = optim.pop("slow"), optim.pop("slow_scale", 0.1)
        optim["lr_multipliers"] = [] if pattern is None else [[pattern, factor]]


def _pi_map_counts(config: dict[str, Any]) -> None:
    """A StoryWorld was given by its counts alone; Celebrities in Action still is, as its exporter's arguments."""
    data = config.get("data")
    if not re.fullmatch(_PI_MAP_RUNS, str(config.get("experiment", ""))) or not isinstance(data, dict):
        return
    for key in ("synthetic", "unseen_synthetic"):
        counts = data.get(key)
        if isinstance(counts, dict) and data.get("dataset") != "cia" and not set(counts) <= {"counts", "seed"}:
            data[key] = {"counts": counts}


def _nextqa(config: dict[str, Any]) -> None:
    """NExT-QA became a task among the tasks, with the defaults of its own that it had."""
    data = config.get("data")
    if config.get("experiment") != "tcr" or not isinstance(data, dict):
        return
    data.pop("nextqa", None)  # None, where it was not asked about
    tasks = data.get("tasks")
    if tasks is not None and "task" in tasks.get("nextqa", ("task",)):
        return
    tasks = data.setdefault("tasks", {})
    if others := [name for name in sorted(tasks) if name != "nextqa"]:  # epochs were those of the first one trained
        data.setdefault("epochs_of", next(name for name in others if tasks[name].get("train_split", "train")))
    elif "max_broken_fraction" in data:
        tasks.setdefault("nextqa", {})["max_broken_fraction"] = data.pop("max_broken_fraction")
    defaults = {"task": "nextqa", "root": "data/nextqa", "eval_splits": ["val"], "eval_examples": 16, "cached": False}
    tasks["nextqa"] = {**defaults, **tasks.get("nextqa", {})}


# Of the keys that all heads had, those that only some of them read.
_HEAD_KEYS = {
    "sampler": ("recognition", "selection"),
    "classes": ("recognition", "selection"),
    "kept": ("recognition",),
    "videos": ("selection",),
    "most_frames": ("selection",),
    "most_count": ("counting",),
    "fps": ("counting",),
    "movement": ("counting",),
    "clips_dir": ("counting",),
    "clips_storyworld": ("counting",),
    "hidden": ("recognition", "counting", "moments", "queries"),
    "cached": ("recognition", "selection", "counting"),
    "temporal_difference": ("recognition", "selection", "counting"),
    "clip_init": ("recognition", "selection", "counting"),
    "bins": ("queries",),
    "most_moments": ("moments", "queries"),
    "examples_per_video": ("moments", "queries"),
    "tune": ("moments", "queries"),
}


def _heads(config: dict[str, Any]) -> None:
    """Each head has keys of its own; counting names its two data sets."""
    data = config.get("data")
    if config.get("experiment") != "tcr.heads" or not isinstance(data, dict):
        return
    task = data.get("task")
    for key, tasks in _HEAD_KEYS.items():
        if task not in tasks:
            data.pop(key, None)
    if task == "counting" and not isinstance(data.get("root"), dict):
        root = data.get("root", "")
        data["root"] = {"countix": root, "kinetics400": data.pop("clips_dir", None) or root}
        made = {"countix": data.pop("synthetic", None), "kinetics400": _counts(data.pop("clips_storyworld", None))}
        if any(made.values()):
            data["synthetic"] = made


_MQT_EVAL_SPLITS = {"coco": "val", "crowdhuman": "val", "gmot40": "test", "tao": "validation"}


def _mqt_measure(config: dict[str, Any]) -> None:
    """The data set to evaluate on implied its splits; they are named now."""
    data = config.get("data")
    if config.get("experiment") == "mqt" and isinstance(data, dict) and "measure" in data:
        name = data.pop("measure")
        splits = [f"{name}:{_MQT_EVAL_SPLITS.get(name, 'held_out')}"]
        unseen = [f"{name}:unseen"] if name not in _MQT_EVAL_SPLITS and data.get("unseen") else []
        data["eval_splits"] = splits + unseen


# Keys that are constants of the code now, with their values there.
_MQT_CONSTANTS: dict[tuple[str, ...], dict[str, Any]] = {
    ("model", "loss"): {
        **{"l1": 5.0, "giou": 2.0, "appearance": 2.0, "classes": 2.0, "kinds": 0.5, "layers": True},
        **{"cost_l1": 5.0, "cost_giou": 2.0, "cost_appearance": 1.0, "focal_alpha": 0.25, "focal_gamma": 2.0},
        **{"temperature": 0.1, "match_similarity": 0.5, "new_share": 0.2, "from_det": 0.5, "start_iou": 0.5},
        "jitter": 0.1,
    },
    ("model", "mqt"): {"point_size": 0.1},
    ("data",): {"perturb": 0.1},
}


def _mqt_constants(config: dict[str, Any]) -> None:
    """Drops such keys where they have the constant's value; others stay, and are refused as unknown."""
    if config.get("experiment") == "mqt":
        for path, values in _MQT_CONSTANTS.items():
            section: Any = config
            for name in path:
                section = section.get(name, {}) if isinstance(section, dict) else {}
            for key, value in values.items():
                if isinstance(section, dict) and section.get(key) == value:
                    del section[key]


# What is more than a name: functions that change a stored config in place, whatever it holds.
CONVERSIONS: tuple[Callable[[dict[str, Any]], None], ...] = (
    _optim,
    _nextqa,
    _heads,
    _pi_map_counts,
    _mqt_measure,
    _mqt_constants,
)
# Old keys that those take, for the command line.
CONVERTED = {
    "optim.slow": "optim.lr_multipliers",
    "optim.slow_scale": "optim.lr_multipliers",
    "data.clips_dir": "data.root.kinetics400",
    "data.clips_storyworld": "data.synthetic.kinetics400",
    "data.measure": "data.eval_splits",
}
