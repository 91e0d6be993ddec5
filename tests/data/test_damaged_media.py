"""Films damaged at random are read as far as they go, or are one line; they never hang and need little memory."""

import time
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest
from test_media_policy import film

from storyjax.core.errors import StoryjaxError
from storyjax.data import containers
from storyjax.data.audio import load_audio
from storyjax.data.video import decode_frames, every_frame, frame_starts, probe

KINDS = {
    "a.mp4": {},
    "fragments.mp4": {"mux": {"movflags": "frag_keyframe+empty_moov"}},
    "a.mkv": {},
    "a.ts": {"sound_codec": "libmp3lame"},
    "a.avi": {"codec": "mpeg4", "sound_codec": "libmp3lame", "bf": "2"},
    "a.webm": {"codec": "libvpx", "sound_codec": "libopus"},
    "a.mpg": {"codec": "mpeg2video", "sound_codec": "mp2"},
}


def damage(data: bytes, seed: int) -> bytes:
    """Cuts a file, or overwrites places of it, at its head more often than elsewhere, with noise or zeros."""
    rng, made = np.random.default_rng(seed), bytearray(data)
    if rng.integers(4) == 0:
        return bytes(made[: rng.integers(1, len(made))])
    longest = [2, 400, 3000][rng.integers(3)]
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(len(made) if rng.random() < 0.7 else min(len(made), 1500)))
        part = made[at : at + int(rng.integers(1, longest + 1))]
        noise = rng.integers(0, 256, len(part), np.uint8).tobytes()
        made[at : at + len(part)] = noise if rng.random() < 0.7 else bytes(len(part))
    return bytes(made)


def declared(path: Path) -> float:
    """Seconds, as the container says; 0 where it does not."""
    with containers.open_container(path) as container:
        return (container.duration or 0) / av.time_base


def check(tmp_path: Path, kind: str, seeds: Iterable[int]) -> None:
    whole = film(tmp_path / kind, tones=((0.0, 440.0),), **KINDS[kind])
    path, read = tmp_path / f"damaged_{kind}", 0
    for seed in seeds:
        path.write_bytes(damage(whole.read_bytes(), seed))
        for reader in (
            probe,
            frame_starts,
            lambda source: decode_frames(source, [0.1, 0.5, 1.9], 16),
            lambda source: sum(1 for _ in every_frame(source)),
            lambda source: len(load_audio(source)),
        ):
            found, said, began = None, "", time.perf_counter()
            try:
                found = reader(path)
                read += 1
            except StoryjaxError as error:
                said = str(error)
            assert "\n" not in said, seed
            assert not said or path.name in said, seed
            if isinstance(found, int):
                # Nothing is made up: no hours of silence, unless the file's own length tells of them, too.
                assert found < max(10 * 60, 1.1 * declared(path)) * 16000, seed
            assert time.perf_counter() - began < 20, seed
    assert read > len(list(seeds))


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_damaged_variants(tmp_path: Path, kind: str) -> None:
    check(tmp_path, kind, range(8))


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        ("a.mp4", 523),  # a frame of 39 channels: PyAV reads past its end where they are planar
        ("fragments.mp4", 320),  # the same, of 47
        ("fragments.mp4", 622),  # a coding's four letters are none
        ("a.ts", 697),  # a track appears within the file
        ("a.mpg", 844),  # mono becomes stereo
    ],
)
def test_damage_that_once_stopped_a_reader(tmp_path: Path, kind: str, seed: int) -> None:
    check(tmp_path, kind, [seed])


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_damaged_variants(tmp_path: Path, kind: str) -> None:
    check(tmp_path, kind, range(1000))
