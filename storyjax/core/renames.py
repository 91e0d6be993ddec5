"""Old and new names of config keys: what runs, checkpoints and shipped models of version 0.1 say goes on to load.

`modernise` is applied to every config that is read from a file. On the command line an old key is refused with its new
name (`new_name`), so that nobody learns the old ones.
"""

import re
from collections.abc import Callable, Mapping
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


# By chapter, in the order in which they are applied.
_COMMON = (
    Rename("data.max_broken_share", "data.max_broken_fraction"),
    Rename("data.*.max_broken_share", "data.*.max_broken_fraction"),
)
_TCR = (Rename("data.tasks.*.max_broken_share", "data.tasks.*.max_broken_fraction", experiments=r"tcr"),)
_MQT = ()
_CLIP_PAD = ()
_PI_MAP = ()
_SUBTITLES = ()
_EMBEDDED = ()
RENAMES: tuple[Rename, ...] = (*_COMMON, *_TCR, *_MQT, *_CLIP_PAD, *_PI_MAP, *_SUBTITLES, *_EMBEDDED)


def _optim(config: dict[str, Any]) -> None:
    """One pattern and its factor became a list of both."""
    optim = config.get("optim")
    if isinstance(optim, dict) and "slow" in optim:
        pattern, factor = optim.pop("slow"), optim.pop("slow_scale", 0.1)
        optim["lr_multipliers"] = [] if pattern is None else [[pattern, factor]]


# What is more than a name: functions that change a stored config in place, whatever it holds.
_CONVERSIONS: tuple[Callable[[dict[str, Any]], None], ...] = (_optim,)
# Old keys that those take, for the command line.
_CONVERTED = {"optim.slow": "optim.lr_multipliers", "optim.slow_scale": "optim.lr_multipliers"}


def modernise(config: Any) -> Any:
    """Returns a stored config with today's names; a new dict. What is no mapping is returned as it is.

    Keys that have no other name stay, and are refused, if unknown, by whoever reads them.
    """
    if not isinstance(config, Mapping):
        return config
    config = _copy(config)
    if isinstance(name := config.get("experiment"), str):
        name = name.replace("/", ".")
        config["experiment"] = EXPERIMENTS.get(name, name)
    for rename in RENAMES:
        if re.fullmatch(rename.experiments, str(config.get("experiment", ""))):
            for path in _matching(config, rename.old.split(".")):
                _move(config, path, _target(rename, path), rename.value)
    for convert in _CONVERSIONS:
        convert(config)
    return config


def new_name(dotted: str, experiment: str) -> str | None:
    """Returns today's name of the key `dotted` ("data.eval_split"), or None where it is no old name."""
    if dotted in _CONVERTED:
        return _CONVERTED[dotted]
    parts = dotted.split(".")
    for rename in RENAMES:
        old = rename.old.split(".")
        matches = len(parts) >= len(old) and all(a in ("*", b) for a, b in zip(old, parts, strict=False))
        if matches and re.fullmatch(rename.experiments, experiment):
            return ".".join([_target(rename, parts[: len(old)]), *parts[len(old) :]])
    return None


def _copy(tree: Any) -> Any:
    return {key: _copy(value) for key, value in tree.items()} if isinstance(tree, Mapping) else tree


def _matching(config: Mapping[str, Any], old: list[str]) -> list[list[str]]:
    """The paths of a config that a dotted pattern names."""
    name, rest = old[0], old[1:]
    keys = list(config) if name == "*" else [name] * (name in config)
    if not rest:
        return [[key] for key in keys]
    inner = [(key, config[key]) for key in keys if isinstance(config[key], Mapping)]
    return [[key, *path] for key, section in inner for path in _matching(section, rest)]


def _target(rename: Rename, path: list[str]) -> str:
    stars = [part for part, pattern in zip(path, rename.old.split("."), strict=True) if pattern == "*"]
    return ".".join(stars.pop(0) if part == "*" else part for part in rename.new.split("."))


def _move(config: dict[str, Any], path: list[str], target: str, value: Callable[[Any], Any]) -> None:
    section = config
    for part in path[:-1]:
        section = section[part]
    moved = value(section.pop(path[-1]))
    section = config
    *groups, last = target.split(".")
    for part in groups:
        section = section.setdefault(part, {})
    section[last] = moved
