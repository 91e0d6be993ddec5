"""What says where a thing is in its photos, and what it looks like: --detector, --class and --caption (§5.3.1)."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storyjax.core.errors import StoryjaxError

if TYPE_CHECKING:
    from storyjax.pi_map.localise import Detector

_ROLE = "track"  # of the published detector in the models folder


@dataclass(frozen=True)
class ThingOptions:
    """How a thing is enrolled.

    Attributes:
        detector: finds it in its photos; None: whole photos are used.
        caption: a dense description of it, y*.
    """

    detector: "Detector | None" = None
    caption: str | None = None


def add_thing_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --detector, --class and --caption to a parser."""
    parser.add_argument(
        "--detector",
        metavar="ROLE|DIR",
        help="with --thing: finds the thing in its photos: track (the detector of 'storyjax models get track'), or the"
        " folder of a published Deformable DETR or GroundingDINO (default: whole photos)",
    )
    parser.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        help="with --detector: what it looks for (default: the category if it is a class, else the most certain box)",
    )
    parser.add_argument(
        "--caption",
        metavar="TEXT|JSON|DIR",
        help="with --thing and a π-map: a sentence that describes the thing; a file, {name: sentence}; or the folder of"
        " a language model that writes one (default: the attribute nearest to the photos)",
    )
    parser.add_argument(
        "--tokens",
        metavar="FILE",
        help="with --thing, in place of photos: the token of that name in what 'python -m storyjax.pi_map.tokens' wrote"
        " of the run that --checkpoint names",
    )


def token_reader(path: str) -> Callable[[Any, str], Any]:
    """Returns the function of a π-map and a name that reads its token from a file, and raises StoryjaxError where the
    model is none, or another than the tokens were learned with, or the name is not there."""

    def read(model: Any, name: str) -> Any:
        from storyjax.pi_map.predict import ThingFinder
        from storyjax.pi_map.tokens import find_token, load_tokens

        if not isinstance(model, ThingFinder):
            raise StoryjaxError("--tokens are of a π-map: name its run with --checkpoint")
        return find_token(load_tokens(path, model.clip_fingerprint), name, path)

    return read


def thing_options(given: argparse.Namespace) -> ThingOptions:
    """Returns what the flags say; only the heads of the detector's files are read.

    Raises:
        StoryjaxError: a flag without the one that it belongs to, no photos, no detector, none with such a class, or no
            caption.
    """
    learning = {"--detector": given.detector, "--class": given.class_name, "--caption": given.caption}
    flags = {**learning, "--tokens": given.tokens}
    if not given.thing and (wrong := [flag for flag, value in flags.items() if value is not None]):
        raise StoryjaxError(f"{', '.join(wrong)} is for things: give --thing CATEGORY, or leave it out")
    if given.tokens is not None:
        if given.photos or any(value is not None for value in learning.values()):
            raise StoryjaxError("--tokens takes the place of photos, and of all that is for learning from them")
    elif not given.photos:
        raise StoryjaxError("give photos of what is to be enrolled, or a folder of them")
    if given.class_name is not None and given.detector is None:
        raise StoryjaxError("--class is what --detector looks for, which is not given")
    detector = make_detector(given.detector, given.class_name, given.models) if given.detector is not None else None
    caption = _caption(given.caption, given.name, given.thing) if given.caption is not None else None
    return ThingOptions(detector, caption)


def make_detector(place: str, label: str | None, models: str | None = None) -> "Detector":
    """Returns the detector of a role or folder; its weights are read when it is first used.

    Args:
        place: "track", or the folder of a Deformable DETR or GroundingDINO.
        label: what it looks for; None: the category that `detect` gets.
        models: the models folder; None: see `storyjax.weights.roles.models_folder`.

    Raises:
        StoryjaxError: there is none, it is of another kind, or has no such class.
    """
    if place == _ROLE:
        from storyjax.weights.roles import model_for

        choice = model_for(_ROLE, models)
        if choice.origin not in ("imported", "own"):
            raise StoryjaxError(
                f"--detector {place}: the models folder has no detector: 'storyjax models get {_ROLE}' brings one, or"
                " name a folder"
            )
        place = choice.place
    config = Path(place) / "config.json"
    if not config.is_file():
        raise StoryjaxError(
            f"--detector: {place} has no config.json: give 'track', or the folder of a published Deformable DETR or"
            " GroundingDINO"
        )
    if _model_type(config) == "grounding-dino":
        from storyjax.pi_map.localise import GroundingDino

        return GroundingDino(place, text=label)
    from storyjax.mqt.class_detector import ClassDetector

    return ClassDetector(place, label)


def _model_type(config: Path) -> str | None:
    """The model type that a config.json names; None where it names none."""
    try:
        stored = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"--detector: {config} cannot be read ({error}): fetch the model again") from error
    return stored.get("model_type") if isinstance(stored, dict) else None


def _caption(source: str, name: str, category: str) -> str:
    """The caption that a person wrote, or that a file or a language model gives; never empty."""
    path = Path(source)
    if len(source) < 1024 and (path.suffix == ".json" or path.is_dir()):
        from storyjax.pi_map.captions import make_captioner

        captioner = make_captioner(source)
        text = captioner.describe(name, category) if captioner is not None else ""
    else:
        text = source
    if not text.strip():
        raise StoryjaxError("--caption is empty: describe the thing in a sentence")
    return " ".join(text.split())
