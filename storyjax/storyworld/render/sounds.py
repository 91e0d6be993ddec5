"""Sounds of a series that nobody says: an audience laughing, music, the room. Made of numbers; 16 kHz, float32."""

import numpy as np
from jaxtyping import Float32

from storyjax.storyworld.render.speech import RATE


def laughter(duration_s: float, rng: np.random.Generator, people: int = 12) -> Float32[np.ndarray, " n"]:
    """Returns an audience that bursts out and calms down; root mean square 0.1 where it is loudest."""
    n = round(duration_s * RATE)
    total = np.zeros(n)
    for _ in range(people):
        start = rng.uniform(0, 0.25 * duration_s)
        total += _laugh(n, start, rng)
    t = np.arange(n) / RATE
    shape = np.clip(t / 0.15, 0, 1) * np.clip((duration_s - t) / (0.5 * duration_s), 0, 1) ** 0.7
    total *= shape
    return (total * (0.1 / max(np.sqrt(np.mean(total[: max(1, n // 2)] ** 2)), 1e-9))).astype(np.float32)


def _laugh(n: int, start: float, rng: np.random.Generator) -> np.ndarray:
    """One person's "ha ha ha": bursts of breath and voice, falling in pitch, through two formants."""
    pace, pitch = rng.uniform(4.0, 6.5), rng.uniform(140, 420)
    t = np.arange(n) / RATE - start
    beat = np.where(t > 0, (t * pace) % 1.0, 1.0)
    burst = np.exp(-6.0 * beat) * (1 - np.exp(-60.0 * beat)) * (t > 0)
    glide = pitch * (1 - 0.08 * np.clip(t, 0, None)) * (1 - 0.15 * beat)
    phase = np.cumsum(glide) / RATE + rng.random()
    voiced = 2 * (phase % 1.0) - 1
    breath = rng.normal(0, 0.6, n)
    source = (voiced * rng.uniform(0.5, 1.0) + breath) * burst
    low, high = rng.uniform(600, 950), rng.uniform(1200, 1900)
    return sum((_resonate(source, centre, 120.0) for centre in (low, high)), np.zeros_like(source))


def _resonate(source: np.ndarray, centre: float, width: float) -> np.ndarray:
    """A formant: the source's spectrum around `centre` Hz."""
    frequencies = np.fft.rfftfreq(len(source), 1 / RATE)
    gain = 1 / (1 + ((frequencies - centre) / width) ** 2)
    return np.fft.irfft(np.fft.rfft(source) * gain, len(source))


def music(duration_s: float, rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """Returns a sting between scenes: plucked chords over a bass; root mean square 0.1."""
    n = round(duration_s * RATE)
    total = np.zeros(n)
    root, beat = 110.0 * 2 ** (rng.integers(0, 12) / 12), rng.uniform(0.22, 0.38)
    scale = (0, 2, 4, 7, 9)
    at = 0.0
    while at < duration_s - 0.05:
        notes = [0, *rng.choice(scale, 2)]
        for octave, note in zip((1, 2, 4), notes, strict=True):
            total += _pluck(n, at, root * octave * 2 ** (note / 12))
        at += beat
    fade = np.clip((duration_s - np.arange(n) / RATE) / 0.3, 0, 1)
    total *= fade
    return (total * (0.1 / max(np.sqrt(np.mean(total**2)), 1e-9))).astype(np.float32)


def _pluck(n: int, at: float, pitch: float) -> np.ndarray:
    out = np.zeros(n)
    first = round(at * RATE)
    t = np.arange(min(n - first, RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * pitch * k * t) / k**1.5 for k in range(1, 5)) * np.exp(-5 * t)
    out[first : first + len(t)] = tone
    return out


def room(n: int, rng: np.random.Generator) -> Float32[np.ndarray, " {n}"]:
    """Returns the noise of a room with nobody speaking; root mean square 0.002."""
    return (0.002 * rng.standard_normal(n)).astype(np.float32)
