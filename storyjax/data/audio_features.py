"""Log-mel features of sound as the published audio networks were trained on them, on the host.

Each is defined as its network's authors defined it, and tests hold it to independent programs:

    kaldi_fbank        Kaldi's `compute-fbank-feats` without dither, for CAM++
    speechbrain_fbank  SpeechBrain's `Fbank`, for ECAPA-TDNN
    log_mel_magnitude  Slaney's filters on magnitudes, for LWTNet
    decibel_mel        librosa's `melspectrogram` and `amplitude_to_db`, for the laughter detector

Waves are float32 in −1..1, "n" samples of one channel; features are float32 [t, m]. Spectra are computed in float64: in
float32 the lowest bands, which pre-emphasis leaves little of, differ from one Fourier transform to the next by more
than a network's own rounding. The filters are rounded as their authors' are, for narrow ones are sensitive to it.
"""

import functools

import numpy as np
from jaxtyping import Float, Float32, Float64

RATE = 16_000  # samples a second, of everything here but `decibel_mel`
HOP = 160  # samples from frame to frame
KALDI_WINDOW = 400  # samples: the least that Kaldi makes a frame of
_KALDI_FFT = 512
# Frames whose spectra are in memory, and in a processor's cache, at a time.
_CHUNK = 512


def _mel_power(
    wave: Float[np.ndarray, " n"],
    count: int,
    hop: int,
    window: np.ndarray,
    size: int,
    filters: np.ndarray,
    power: float = 2.0,
    emphasise: bool = False,
) -> Float64[np.ndarray, "t m"]:
    """Filtered |spectrum|^power of the first `count` segments as long as `window`, one every `hop` samples."""
    filters = filters.astype(np.float64)
    energies = np.empty((count, filters.shape[1]))
    windows = np.lib.stride_tricks.sliding_window_view(wave, len(window))[::hop] if count else np.empty((0, 1))
    for first in range(0, count, _CHUNK):
        frames = windows[first : min(first + _CHUNK, count)].astype(np.float64)
        if emphasise:
            frames -= frames.mean(axis=1, keepdims=True)
            # Inside the frame: its first sample is its own predecessor.
            frames -= 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        spectrum = np.fft.rfft(frames * window, n=size)
        squared = spectrum.real**2 + spectrum.imag**2
        energies[first : first + _CHUNK] = (squared if power == 2.0 else squared ** (power / 2)) @ filters
    return energies


def kaldi_fbank(wave: Float[np.ndarray, " n"], bins: int = 80) -> Float32[np.ndarray, "t {bins}"]:
    """Returns Kaldi's log-mel energies: 25 ms frames every 10 ms that fit whole ("snip edges"), Povey's window, no
    dither.

    A wave of less than KALDI_WINDOW samples has no frame.
    """
    count = max(0, 1 + (len(wave) - KALDI_WINDOW) // HOP)
    filters = kaldi_filters(bins, _KALDI_FFT, RATE)
    window = np.hanning(KALDI_WINDOW) ** 0.85
    energies = _mel_power(wave, count, HOP, window, _KALDI_FFT, filters, emphasise=True)
    return np.log(np.maximum(energies, np.finfo(np.float32).eps)).astype(np.float32)


def speechbrain_fbank(wave: Float[np.ndarray, " n"], bins: int = 80) -> Float32[np.ndarray, "t {bins}"]:
    """Returns SpeechBrain's: 25 ms frames every 10 ms, the first centred on the first sample, in decibels, at most 80
    below the loudest of the wave. There are 1 + n // 160."""
    width = 400
    padded = np.pad(wave, width // 2)
    filters = speechbrain_filters(bins, width, RATE)
    energies = _mel_power(padded, 1 + len(wave) // HOP, HOP, np.hamming(width + 1)[:-1], width, filters)
    decibels = 10.0 * np.log10(np.maximum(energies, 1e-10))
    return np.maximum(decibels, decibels.max() - 80.0).astype(np.float32)


def centred(features: Float32[np.ndarray, "t m"]) -> Float32[np.ndarray, "t m"]:
    """Returns features less their mean over time, as both voice encoders take them."""
    return features - features.mean(axis=0, keepdims=True)


def log_mel_magnitude(
    wave: Float[np.ndarray, " n"], bins: int = 80, floor: float = 1e-20
) -> Float32[np.ndarray, "t {bins}"]:
    """Returns LWTNet's: 20 ms windows every 10 ms, centred; n // 160 frames, which are four for an image at 25 a
    second.

    The wave is taken in the range of 16-bit samples; `floor` is added before the logarithm.
    """
    size, width = 512, 320
    samples = np.asarray(wave, np.float64) * 32768.0
    # Too short to be mirrored, a wave is continued by silence.
    padded = np.pad(samples, size // 2, mode="reflect" if len(samples) > size // 2 else "constant")
    window = np.pad(_periodic_hann(width), (size - width) // 2)
    filters = slaney_filters(bins, size, RATE)
    energies = _mel_power(padded, len(samples) // HOP, HOP, window, size, filters, power=1.0)
    return np.log(energies + floor).astype(np.float32)


def decibel_mel(
    padded: Float[np.ndarray, " n"], hop: int, rate: int = 8_000, bins: int = 128, size: int = 2048
) -> Float32[np.ndarray, "t {bins}"]:
    """Returns 20 log10 of librosa's mel spectrogram (of powers, as the detector's authors took it), not below −100.

    `padded` has size / 2 further samples on either side: those that are there, or at the ends of a recording their
    mirror image. To take off what is loudest in the recording is for `relative`.
    """
    count = max(0, 1 + (len(padded) - size) // hop)
    energies = _mel_power(padded, count, hop, _periodic_hann(size), size, slaney_filters(bins, size, rate))
    return (20.0 * np.log10(np.maximum(energies, 1e-5))).astype(np.float32)


def relative(decibels: Float32[np.ndarray, "*t m"], loudest: float) -> Float32[np.ndarray, "*t m"]:
    """Returns decibels against the loudest of a recording, not below −80: librosa's `ref=np.max` and `top_db`."""
    return np.maximum(decibels - np.float32(loudest), np.float32(-80.0))


def _periodic_hann(width: int) -> np.ndarray:
    return np.hanning(width + 1)[:-1]


def _triangles(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Triangles [places, points − 2] that rise from each point to the next and fall to the one after."""
    low, centre, high = (points[None, i : len(points) - 2 + i] for i in range(3))
    rise = (places[:, None] - low) / (centre - low)
    fall = (high - places[:, None]) / (high - centre)
    return np.maximum(0, np.minimum(rise, fall))


@functools.cache
def kaldi_filters(bins: int, size: int, rate: int, low: float = 20.0) -> Float32[np.ndarray, "f {bins}"]:
    """Returns triangles in Kaldi's mel, 1127 ln(1 + Hz / 700), in float32; the highest frequency of a transform is in
    none."""
    one = np.float32

    def mel(hertz: np.ndarray | np.float32) -> np.ndarray:
        return np.asarray(one(1127) * np.log(one(1) + hertz / one(700)))

    first, last = mel(one(low)), mel(one(rate / 2))
    points = first + np.arange(bins + 2, dtype=one) * ((last - first) / one(bins + 1))
    filters = _triangles(points, mel(np.arange(size // 2 + 1, dtype=one) * one(rate / size)))
    filters[-1] = 0
    return filters


@functools.cache
def speechbrain_filters(bins: int, size: int, rate: int) -> Float32[np.ndarray, "f {bins}"]:
    """Returns SpeechBrain's, in float32: triangles in hertz that are symmetric, as wide to the right as to the left."""
    one = np.float32
    mels = np.linspace(0.0, 2595.0 * np.log10(1.0 + rate / 2 / 700.0), bins + 2).astype(one)
    points = one(700) * (one(10) ** (mels / one(2595)) - one(1))
    places = np.linspace(0.0, rate / 2, size // 2 + 1).astype(one)
    slope = (places[:, None] - points[None, 1:-1]) / np.diff(points)[None, :-1]
    return np.maximum(one(0), np.minimum(slope + one(1), one(1) - slope))


@functools.cache
def slaney_filters(bins: int, size: int, rate: int) -> Float32[np.ndarray, "f {bins}"]:
    """Returns librosa's: triangles in hertz of equal area, on Slaney's mel, which is linear below 1 kHz."""
    step, knee, log_step = 200.0 / 3.0, 1000.0, np.log(6.4) / 27.0
    top = rate / 2
    highest = top / step if top < knee else knee / step + np.log(top / knee) / log_step
    mels = np.linspace(0.0, highest, bins + 2)
    bent = knee * np.exp(log_step * np.maximum(mels - knee / step, 0.0))
    points = np.where(mels < knee / step, mels * step, bent)
    filters = _triangles(points, np.arange(size // 2 + 1) * rate / size)
    return (filters * (2.0 / (points[2:] - points[:-2]))[None]).astype(np.float32)
