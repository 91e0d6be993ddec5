"""Voices of StoryWorld: real speech of a small bank of four synthetic voices, varied to as many as are wanted.

A `Speaker` is a voice of the bank played faster or slower, as tape is: the fundamental and the formants (the length of
the vocal tract) change together, and so does the pace. Speech recognisers understand scales from about 0.8 to 1.25.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float32

from storyjax.storyworld.story.dialogue import TEXTS, text_numbers

RATE = 16_000
BASES = ("kal16", "awb", "rms", "slt")
BANK = Path(__file__).parents[1] / "voice_bank"
SCALES = (0.8, 1.25)


@dataclass(frozen=True)
class Speaker:
    """A voice: one of BASES, and how much faster it is played (SCALES bounds what is still understood)."""

    base: str
    scale: float = 1.0


@lru_cache(maxsize=1)
def _places() -> dict[str, list[list[float]]]:
    index = json.loads((BANK / "index.json").read_text("utf-8"))
    if tuple(index["texts"]) != TEXTS:
        raise ValueError("the voice bank is of other sentences: run tools/make_voice_bank.py")
    return index["places"]


@lru_cache(maxsize=len(BASES))
def _tape(base: str) -> Float32[np.ndarray, " n"]:
    """All that a voice of the bank says, at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    pieces = []
    with av.open(str(BANK / f"{base}.opus")) as container:
        for frame in container.decode(audio=0):
            pieces += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        pieces += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(pieces).astype(np.float32)


@lru_cache(maxsize=512)
def speak(speaker: Speaker, text: int) -> Float32[np.ndarray, " n"]:
    """Returns TEXTS[text] in a voice: samples at 16 kHz with a root mean square of 0.1; not to be written to."""
    start, end = _places()[speaker.base][text]
    tape = _tape(speaker.base)[round(start * RATE) : round(end * RATE)]
    wave = change_speed(tape, speaker.scale)
    wave = (wave * (0.1 / max(float(np.sqrt(np.mean(wave**2))), 1e-6))).astype(np.float32)
    wave.flags.writeable = False
    return wave


def change_speed(wave: Float32[np.ndarray, " n"], scale: float) -> Float32[np.ndarray, " m"]:
    """Returns a recording played `scale` times as fast, as tape is."""
    if scale == 1.0:
        return wave
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave, np.float32)[None], format="flt", layout="mono")
    frame.sample_rate = round(RATE * scale)
    pieces = [part.to_ndarray()[0] for part in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(pieces)


def draw_speaker(rng: np.random.Generator) -> Speaker:
    """Returns a random voice."""
    return Speaker(str(rng.choice(BASES)), float(np.round(rng.uniform(*SCALES), 3)))


def draw_texts(rng: np.random.Generator, count: int, held_out: bool, exclamations: float = 0.12) -> list[int]:
    """Returns numbers of `count` texts of a split, a fraction of them exclamations; none twice in a row."""
    sentences, shouts = (list(numbers) for numbers in text_numbers(held_out))
    order: list[int] = []
    while len(order) < count:
        order += [int(n) for n in rng.permutation(sentences)]
    order = order[:count]
    for place in np.flatnonzero(rng.random(count) < exclamations).tolist():
        others = [shout for shout in shouts if shout not in order[max(0, place - 1) : place + 2]]
        order[place] = int(rng.choice(others))
    return order


def openness(wave: Float32[np.ndarray, " n"], fps: int) -> Float32[np.ndarray, " t"]:
    """Returns how far the mouth is open while that is spoken, from 0 to 1, for every frame of a video."""
    hop = RATE // fps
    frames = -(-len(wave) // hop)
    padded = np.pad(wave, (0, frames * hop - len(wave))).reshape(frames, hop)
    loud = np.sqrt(np.mean(padded**2, axis=1))
    return np.clip(loud / max(float(np.percentile(loud, 90)), 1e-6), 0, 1).astype(np.float32) ** 0.7
