"""Photos that people and things are enrolled from: which there are, which can be used, and what is learned of them."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from tqdm import tqdm

from storyjax.core.errors import StoryjaxError
from storyjax.data.images import SUFFIXES, read_image
from storyjax.search.protocol import ConceptEncoder, PhotoError, PhotoNote

# Smaller photos do not show even a face that fills them.
MIN_PIXELS = 16


def make_token(
    model: ConceptEncoder, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], paths: Sequence[Path], category: str | None
) -> tuple[Float32[np.ndarray, "c w"], set[int]]:
    """The tokens, and the numbers of the photos that could not be used, which are named as notes."""
    noted: list[PhotoNote] = []
    with tqdm(desc="learning", leave=False, delay=0.5, disable=not sys.stderr.isatty()) as bar:

        def report(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        try:
            token = model.enrol(images, category, report, noted.append)
        except PhotoError as error:
            advice = "" if ":" in error.reason else ": give another photo"
            others = f" (nor can the other {len(paths) - 1} be used)" if len(paths) > 1 else ""
            raise StoryjaxError(f"{paths[error.index]} {error.reason}{advice}{others}") from error
    for note in noted:
        say(f"{'skipped ' * note.left_out}{paths[note.index]}{',' * note.left_out} {note.text}")
    return token, {note.index for note in noted if note.left_out}


def readable_photos(paths: Sequence[Path]) -> tuple[list[Path], list[UInt8[np.ndarray, "_ _ 3"]]]:
    """The photos that can be read, and their images; the others are named as notes."""
    kept, images, errors = [], [], []
    for path in paths:
        try:
            images.append(read_photo(path))
            kept.append(path)
        except StoryjaxError as error:
            errors.append(error)
    if not kept:
        raise errors[0]
    for reason in errors:
        say(f"skipped {reason}")
    return kept, images


def say(line: str) -> None:
    """Tells a person something on standard error."""
    print(f"storyjax: note: {line}", file=sys.stderr)


def read_photo(path: Path) -> UInt8[np.ndarray, "y x 3"]:
    """Returns a photo's image. Raises StoryjaxError: it cannot be read, or is too small."""
    image = read_image(path)
    if min(image.shape[:2]) < MIN_PIXELS:
        raise StoryjaxError(
            f"{path} has {image.shape[1]} × {image.shape[0]} pixels, too few to show anything: give a larger photo"
        )
    return image


def photo_paths(given: Sequence[str]) -> list[Path]:
    """Returns the photos that paths of files and folders name. Raises StoryjaxError: one is not there, or has none."""
    paths: list[Path] = []
    for text in given:
        path = Path(text)
        try:
            if not path.exists():
                raise StoryjaxError(f"{text} is not there: give photos, or a folder of them")
            inside = sorted(p for p in path.iterdir() if _is_photo(p)) if path.is_dir() else [path]
        except (OSError, ValueError) as error:
            raise StoryjaxError(f"{text!r} cannot be read ({getattr(error, 'strerror', None) or error})") from error
        if not inside:
            raise StoryjaxError(f"no photos in {text}: it should hold {', '.join(SUFFIXES[:4])} or the like")
        paths += inside
    return paths


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
