"""Readers of people's photos and texts, given damaged ones: they read what there is or say in one line what is wrong.

Each kind of file is damaged at random: cut short, bytes overwritten, removed, repeated or put in. Whatever happens,
there is no other error, no hang, and memory stays bounded. `python -m pytest -m long tests/inputs` tries 1,000 variants
of each; tests/data/test_damaged_media.py is about videos and sound.
"""

import io
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image

from storyjax.core.errors import StoryjaxError
from storyjax.data.images import read_image
from storyjax.data.mot_text import read_rows
from storyjax.mqt.sequences import open_sequence
from storyjax.mqt.track_files import read_initial
from storyjax.subtitles.cast import read_cast, read_photos
from storyjax.subtitles.transcripts import read_transcript

FEW, MANY = 20, 1000
LONGEST_S, MOST_MIB = 20.0, 2048


def picture(form: str, mode: str = "RGB", **options: Any) -> bytes:
    """A picture of noise."""
    place = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(place, form, **options)
    return place.getvalue()


ROWS = "".join(
    f"{frame},{number},{10 + frame},12.5,20,30,0.9,-1,-1,-1\n" for frame in range(1, 12) for number in (1, 2)
)
SRT = "".join(f"{n}\n00:00:0{n},100 --> 00:00:0{n},900\nthe {n}. line\n\n" for n in range(1, 8))
VTT = "WEBVTT\n\n" + "".join(f"00:0{n}.100 --> 00:0{n}.900\n<v Ana>line {n}</v>\n\n" for n in range(1, 8))
WORDS = {
    "segments": [
        {"start": n, "end": n + 0.5, "text": "a word", "words": [{"word": "a", "start": n, "end": n + 0.2}]}
        for n in range(5)
    ]
}
CAST = {"cast": [{"name": "Ana", "photos": ["photo.jpg"]}, {"name": "Béa", "photos": ["photo.jpg"], "actor": "B"}]}
BOXES = [{"box": [1, 2, 20, 24], "id": 1}, {"box": [12, 3, 18, 32], "id": 2, "frame": 5}]


def read_tracks(path: Path) -> None:
    """Every line with content is a row or is named."""
    broken: list[str] = []
    found = read_rows(path, broken=broken)
    text = path.read_bytes().decode("utf-8-sig", "replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(found) + len(broken) <= len(lines)


def read_boxes(path: Path) -> None:
    sequence = open_sequence(path.parent / "frames")
    read_initial(path, sequence)


def read_people(path: Path) -> None:
    for member in read_cast(path).members:
        read_photos(member)


# By name: the suffix, the whole file and what reads it.
KINDS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], Any]]] = {
    "photo_jpeg": (".jpg", lambda: picture("JPEG"), read_image),
    "photo_cmyk": (".jpg", lambda: picture("JPEG", "CMYK"), read_image),
    "photo_png": (".png", lambda: picture("PNG"), read_image),
    "photo_webp": (".webp", lambda: picture("WEBP"), read_image),
    "photo_tiff": (".tif", lambda: picture("TIFF", compression="tiff_lzw"), read_image),
    "photo_gif": (".gif", lambda: picture("GIF", "P"), read_image),
    "tracks": (".txt", lambda: ROWS.encode(), read_tracks),
    "srt": (".srt", lambda: SRT.encode(), read_transcript),
    "vtt": (".vtt", lambda: VTT.encode(), read_transcript),
    "words": (".json", lambda: json.dumps(WORDS).encode(), read_transcript),
    "cast": (".json", lambda: json.dumps(CAST).encode(), read_people),
    "boxes": (".json", lambda: json.dumps(BOXES).encode(), read_boxes),
}


@strategies.composite
def damage(draw: Callable[..., Any]) -> Callable[[bytes], bytes]:
    """One to three damages, at any place of a file."""
    fraction = strategies.floats(0, 1, exclude_max=True)
    kinds = strategies.sampled_from(("cut", "overwrite", "remove", "repeat", "insert", "zeros"))
    steps = [
        (draw(kinds), draw(fraction), draw(strategies.integers(1, 600)), draw(strategies.integers(0, 2**31)))
        for _ in range(draw(strategies.integers(1, 3)))
    ]

    def apply(whole: bytes) -> bytes:
        data = bytearray(whole)
        for kind, place, length, seed in steps:
            at = int(place * len(data))
            noise = np.random.default_rng(seed).bytes(length)
            if kind == "cut":
                del data[at:]
            elif kind == "overwrite":
                data[at : at + length] = noise[: max(0, len(data) - at)]
            elif kind == "remove":
                del data[at : at + length]
            elif kind == "repeat":
                data[at:at] = data[at : at + length]
            elif kind == "insert":
                data[at:at] = noise
            else:
                data[at : at + length] = bytes(length)
        return bytes(data)

    return apply


def check(kind: str, folder: Path, examples: int) -> None:
    """Reads so many damaged files of a kind."""
    suffix, make, read = KINDS[kind]
    whole, path = make(), folder / f"file{suffix}"
    (folder / "photo.jpg").write_bytes(picture("JPEG"))
    (folder / "frames").mkdir()
    for number in range(1, 7):
        (folder / "frames" / f"{number:06d}.jpg").write_bytes(picture("JPEG"))
    path.write_bytes(whole)
    read(path)  # as it is

    @hypothesis.settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @hypothesis.given(damage())
    def run(damaged: Callable[[bytes], bytes]) -> None:
        path.write_bytes(damaged(whole))
        begun, line = time.process_time(), path.name
        try:
            read(path)
        except StoryjaxError as error:
            line = str(error).strip()
        assert "\n" not in line
        assert str(folder) in line or path.name in line
        assert time.process_time() - begun < LONGEST_S

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MOST_MIB


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind: str, tmp_path: Path) -> None:
    check(kind, tmp_path, FEW)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_damaged_files(kind: str, tmp_path: Path) -> None:
    check(kind, tmp_path, MANY)
