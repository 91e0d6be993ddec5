"""Front ends against independent programs.

Where a reference computes in float32, its own rounding is up to a few ten-thousandths in the lowest bands, which
pre-emphasis leaves little of; so its bulk is held to 1e-4, and the definition in float64 everywhere.
"""

import numpy as np
import pytest
import torch
from transformers import audio_utils

from storyjax.data import audio_features


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    """Something like speech: noise that comes and goes over a gliding hum."""
    t = np.arange(24_000) / 16_000
    noise = np.random.default_rng(0).standard_normal(len(t)) * (1.1 + np.sin(9 * t))
    return (0.05 * noise + 0.2 * np.sin(2 * np.pi * (150 * t + 60 * t**2))).astype(np.float32)


def test_kaldi_features_equal_those_of_transformers(wave) -> None:
    """In float64, as it is used for models that were trained on Kaldi's features."""
    filters = audio_utils.mel_filter_bank(
        257, 80, 20, 8000, 16_000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True
    )
    filters[-1] = 0
    theirs = audio_utils.spectrogram(
        wave.astype(np.float64),
        audio_utils.window_function(400, "povey", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=np.finfo(np.float32).eps,
        remove_dc_offset=True,
        dtype=np.float64,
    ).T
    ours = audio_features.kaldi_fbank(wave)
    assert ours.shape == theirs.shape == (148, 80)
    # Their filters are in float64, Kaldi's and ours in float32.
    assert np.abs(ours - theirs).max() < 2e-4
    assert np.quantile(np.abs(ours - theirs), 0.99) < 5e-5


def test_kaldi_features_equal_those_of_kaldi_native_fbank(wave) -> None:
    native = pytest.importorskip("kaldi_native_fbank", reason="pip install kaldi-native-fbank")
    options = native.FbankOptions()
    options.frame_opts.dither, options.mel_opts.num_bins = 0, 80
    computer = native.OnlineFbank(options)
    computer.accept_waveform(16_000, wave.tolist())
    computer.input_finished()
    theirs = np.stack([computer.get_frame(frame) for frame in range(computer.num_frames_ready)])
    ours = audio_features.kaldi_fbank(wave)
    assert ours.shape == theirs.shape
    difference = np.abs(ours - theirs)
    assert np.quantile(difference, 0.99) < 1e-4
    assert difference.max() < 1e-3  # theirs is float32 throughout


def test_speechbrain_features_equal_their_definition(wave) -> None:
    """Its `Fbank` spelled out in torch: a Hamming window, symmetric triangles in hertz, decibels with 80 of range."""
    window = torch.hamming_window(400, dtype=torch.float64)
    spectrum = torch.stft(
        torch.from_numpy(wave).double(), 400, 160, 400, window, center=True, pad_mode="constant", return_complex=True
    )
    top = 2595 * np.log10(1 + 8000 / 700)
    hertz = 700 * (10 ** (torch.linspace(0, top, 82) / 2595) - 1)
    band, centre, places = (hertz[1:] - hertz[:-1])[:-1], hertz[1:-1], torch.linspace(0, 8000, 201)
    slope = (places[:, None] - centre) / band
    filters = torch.minimum(slope + 1, 1 - slope).clamp(min=0).double()
    decibels = 10 * torch.log10((spectrum.abs() ** 2).T.matmul(filters).clamp(min=1e-10))
    theirs = decibels.maximum(decibels.max() - 80).numpy()
    ours = audio_features.speechbrain_fbank(wave)
    assert ours.shape == theirs.shape == (151, 80)
    # In decibels, of which there are 4.3 to a natural logarithm's one.
    assert np.abs(ours - theirs).max() < 4e-4
    quiet = audio_features.speechbrain_fbank(np.concatenate([wave, np.zeros(8000, np.float32)]))
    assert quiet.min() == pytest.approx(quiet.max() - 80, abs=1e-3)


@pytest.mark.parametrize(("bins", "size", "rate"), [(80, 512, 16_000), (128, 2048, 8_000)])
def test_slaneys_filters_equal_those_of_transformers(bins: int, size: int, rate: int) -> None:
    theirs = audio_utils.mel_filter_bank(size // 2 + 1, bins, 0, rate / 2, rate, norm="slaney", mel_scale="slaney")
    assert np.abs(audio_features.slaney_filters(bins, size, rate) - theirs).max() < 1e-6 * theirs.max()


def test_magnitudes_of_lwtnet_equal_their_definition(wave) -> None:
    samples = torch.from_numpy(wave).double() * 32768
    window = torch.hann_window(320, dtype=torch.float64)
    spectrum = torch.stft(samples, 512, 160, 320, window, center=True, pad_mode="reflect", return_complex=True)
    filters = torch.from_numpy(audio_features.slaney_filters(80, 512, 16_000)).double()
    theirs = torch.log(spectrum.abs()[:, :-1].T.matmul(filters) + 1e-20).numpy()
    assert np.abs(audio_features.log_mel_magnitude(wave) - theirs).max() < 1e-5
    assert len(theirs) == 4 * 25 * len(wave) / 16_000


def test_decibels_of_the_laughter_detector_equal_librosas_definition(wave) -> None:
    """`amplitude_to_db(melspectrogram(y), ref=np.max)` with reflected ends."""
    sound = wave[::2]
    spectrum = torch.stft(
        torch.from_numpy(sound).double(),
        2048,
        186,
        2048,
        torch.hann_window(2048, dtype=torch.float64),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    mel = (spectrum.abs() ** 2).T.matmul(torch.from_numpy(audio_features.slaney_filters(128, 2048, 8_000)).double())
    decibels = 10 * torch.log10((mel**2).clamp(min=1e-10)) - 10 * torch.log10((mel.max() ** 2).clamp(min=1e-10))
    theirs = decibels.clamp(min=-80).numpy()
    made = audio_features.decibel_mel(np.pad(sound, 1024, mode="reflect"), 186)
    assert np.abs(audio_features.relative(made, float(made.max())) - theirs).max() < 1e-4


def test_what_is_too_short_has_no_frames() -> None:
    assert audio_features.kaldi_fbank(np.zeros(399, np.float32)).shape == (0, 80)
    assert audio_features.kaldi_fbank(np.zeros(400, np.float32)).shape == (1, 80)
    assert audio_features.log_mel_magnitude(np.zeros(160, np.float32)).shape == (1, 80)


def test_a_frame_does_not_depend_on_the_block_that_it_is_computed_in(wave) -> None:
    long = np.tile(wave, 5)
    whole = audio_features.kaldi_fbank(long)
    part = audio_features.kaldi_fbank(long[600 * 160 :])
    assert len(whole) > 512
    np.testing.assert_array_equal(whole[600:], part)
