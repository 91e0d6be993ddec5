"""Synthesises StoryWorld's sentences with free voices: storyjax/storyworld/voice_bank/*.opus and index.json.

    python tools/make_voice_bank.py [--flite flite] [--out storyjax/storyworld/voice_bank]

Needs `flite` (apt install flite), whose voices kal16, awb, rms and slt may be used and given away freely (Carnegie
Mellon University; voice_bank/README.md). What is said is cut to where it sounds and laid end to end, one file for each
voice; index.json says where each sentence lies, in seconds.
"""

import argparse
import json
import subprocess
import tempfile
import wave
from pathlib import Path

import av
import numpy as np

from storyjax.storyworld.story.dialogue import TEXTS

VOICES = ("kal16", "awb", "rms", "slt")
RATE, BITS_PER_SECOND = 16_000, 18_000
GAP_S = 0.12  # between sentences, so that the codec does not smear one into the next


def speak(flite: str, voice: str, text: str, path: Path) -> np.ndarray:
    """Returns a sentence as float64 samples at 16 kHz, without the silence around it, at a fixed loudness."""
    subprocess.run([flite, "-voice", voice, "-t", text, "-o", str(path)], check=True)
    with wave.open(str(path)) as file:
        if file.getframerate() != RATE or file.getnchannels() != 1:
            raise ValueError(f"{voice} speaks at {file.getframerate()} Hz, not {RATE}")
        wav = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768
    window = RATE // 100
    loud = np.sqrt(np.convolve(wav**2, np.ones(window) / window, "same"))
    sounding = np.flatnonzero(loud > 0.02 * loud.max())
    wav = wav[max(0, sounding[0] - RATE // 50) : sounding[-1] + RATE // 20]
    return wav * (0.1 / np.sqrt(np.mean(wav**2)))


def encode(wav: np.ndarray, path: Path) -> None:
    """Writes samples in −1..1 at 16 kHz as Opus."""
    samples = np.clip(np.round(wav * 32767), -32768, 32767).astype(np.int16)
    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=RATE, layout="mono", options={"application": "voip"})
        stream.bit_rate = BITS_PER_SECOND
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flite", default="flite")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "storyjax/storyworld/voice_bank")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    gap, index = np.zeros(round(GAP_S * RATE)), {}
    with tempfile.TemporaryDirectory() as folder:
        for voice in VOICES:
            pieces, places, at = [gap], [], len(gap)
            for text in TEXTS:
                wav = speak(given.flite, voice, text, Path(folder) / "said.wav")
                places.append([round(at / RATE, 4), round((at + len(wav)) / RATE, 4)])
                pieces += [wav, gap]
                at += len(wav) + len(gap)
            index[voice] = places
            path = given.out / f"{voice}.opus"
            encode(np.concatenate(pieces), path)
            print(f"{path}: {at / RATE:.0f} s, {path.stat().st_size:,} bytes")
    (given.out / "index.json").write_text(json.dumps({"texts": list(TEXTS), "places": index}, indent=0) + "\n")


if __name__ == "__main__":
    main()
