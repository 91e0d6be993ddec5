"""Whisper as it is published for CTranslate2, which faster-whisper and WhisperX read as it is."""

import importlib.util
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from storyjax.core.errors import StoryjaxError, first_line
from storyjax.weights.source_files import is_lfs_pointer

_WEIGHTS = "model.bin"
_NEEDED = ("config.json", "tokenizer.json")
_OPTIONAL = ("preprocessor_config.json",)
_KIND = b"WhisperSpec"  # the file begins with a version and the name of the model's kind


def whisper_files(folder: Path) -> list[Path]:
    """Returns the files of a Whisper for CTranslate2 in a folder.

    Raises:
        StoryjaxError: one is missing, or the weights are of another kind.
    """
    folder = folder.parent if folder.is_file() else folder
    weights, vocabularies = folder / _WEIGHTS, sorted(folder.glob("vocabulary.*"))
    for path in (weights, *(folder / name for name in _NEEDED)):
        if not path.is_file():
            raise StoryjaxError(
                f"{path} is missing: a Whisper for CTranslate2 has {', '.join([_WEIGHTS, *_NEEDED])} and vocabulary.*"
            )
    if not vocabularies:
        raise StoryjaxError(f"{folder} has no vocabulary.txt or vocabulary.json: fetch it, too")
    with open(weights, "rb") as file:
        head = file.read(64)
    if is_lfs_pointer(weights):
        raise StoryjaxError(
            f"{weights} is Git LFS's pointer to the weights, not the weights: 'git lfs pull' fetches them"
        )
    if _KIND not in head:
        raise StoryjaxError(
            f"{weights} is no Whisper for CTranslate2: take one that is published for faster-whisper, or convert yours"
            " with ct2-transformers-converter"
        )
    optional = [folder / name for name in _OPTIONAL if (folder / name).is_file()]
    return [weights, *(folder / name for name in _NEEDED), *vocabularies, *optional]


def copy_whisper(files: Sequence[Path], folder: Path) -> tuple[str, ...]:
    """Copies the files, loads the model once where CTranslate2 is installed, and returns what the user should know.

    Raises:
        StoryjaxError: the model does not load.
    """
    for file in files:
        shutil.copyfile(file, folder / file.name)
    if importlib.util.find_spec("ctranslate2") is None:
        return ("the speech model could not be tried: pip install 'storyjax[subtitles]'",)
    import ctranslate2

    level = ctranslate2.get_log_level()
    try:
        ctranslate2.set_log_level(logging.ERROR)  # it warns of float16, which it converts
        ctranslate2.models.Whisper(str(folder), device="cpu")
    except (RuntimeError, ValueError) as error:
        reason = first_line(error, 160)
        raise StoryjaxError(
            f"{files[0]} does not load ({reason}): it is cut short or damaged; fetch it again"
        ) from error
    finally:
        ctranslate2.set_log_level(level)
    return ()
