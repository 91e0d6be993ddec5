"""Published networks in a config: "models:ROLE" stands for what the models folder holds for a role.

`resolve` puts folders in the place of roles before anything is computed, and names all that is missing in one line.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Collection

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import SHIPPED
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.recognition import WHISPERX, WHISPERX_MISSING
from storyjax.weights.pretrained import Pretrained
from storyjax.weights.roles import model_for
from storyjax.weights.source_files import has_weights

PREFIX = "models:"
SOUND = ("recognition", "speaker_encoder", "laughter")
ALL = (*SOUND, "lwtnet", "clip_pad")


def resolve(
    config: SubtitleConfig, models_dir: str | os.PathLike[str] | None = None, needed: Collection[str] = ALL
) -> SubtitleConfig:
    """Returns the config with a folder for every "models:ROLE"; what it names otherwise stays.

    Args:
        config: of the subtitles.
        models_dir: the models folder; None: see `storyjax.weights.roles.models_folder`.
        needed: the keys of the networks that are used; others stay as they are.

    Raises:
        StoryjaxError: a network is not where the config says, the models folder has none for a role, or WhisperX is
            not installed; one line names everything that is missing and how to get it.
    """
    missing: dict[str, list[str]] = {"roles": [], "others": []}
    changes: dict[str, object] = {}
    recognition = config.recognition
    if "recognition" in needed and recognition.model.startswith(PREFIX):
        found = _place(recognition.model, "recognition.model", models_dir, missing)
        changes["recognition"] = dataclasses.replace(recognition, model=found)
    if "recognition" in needed and recognition.engine == WHISPERX and importlib.util.find_spec("whisperx") is None:
        missing["others"].append(WHISPERX_MISSING)
    for key in (key for key in ("speaker_encoder", "laughter", "lwtnet") if key in needed):
        network: Pretrained = getattr(config, key)
        found = _place(network.weights, f"{key}.weights", models_dir, missing)
        changes[key] = dataclasses.replace(network, weights=found)
    run = config.clip_pad
    if "clip_pad" in needed and not run.weights.startswith(SHIPPED) and not run.folder.is_dir():
        missing["others"].append(
            f"config.model.clip_pad.weights: {run.folder} is not there, which recognises faces: 'python -m"
            f" storyjax.main --config=configs/clip_pad_vggface2.py --workdir={run.weights}' trains it"
        )
    if lines := _lines(missing):
        raise StoryjaxError("; ".join(lines))
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def _place(weights: str, key: str, models_dir: str | os.PathLike[str] | None, missing: dict[str, list[str]]) -> str:
    """The place of a network; where nothing is there, the same, and a word about it is added to `missing`."""
    if weights.startswith(PREFIX):
        choice = model_for(weights.removeprefix(PREFIX), models_dir, "subtitle")
        if choice.origin in ("imported", "own"):
            return choice.place
        missing["roles"].append(choice.role.name)
    elif not weights.startswith(SHIPPED) and not has_weights(Pretrained(weights).folder):
        missing["others"].append(f"config.model.{key}: {weights} holds no weights: give a folder that does")
    return weights


def _lines(missing: dict[str, list[str]]) -> list[str]:
    roles, lines = missing["roles"], list(missing["others"])
    if roles:
        lines.insert(
            0,
            f"the models folder has nothing for {', '.join(roles)}: 'storyjax models get {' '.join(roles)}' (storyjax"
            " models says where those come from that are on no hub), or name folders in config.model",
        )
    return lines
