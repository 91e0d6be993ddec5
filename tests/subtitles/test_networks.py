"""The voice encoder, the laughter detector and the synchroniser as the pipeline uses them, and their training."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import save_tree
from storyjax.embedded.av_sync import agreements, best_place, sync_loss
from storyjax.embedded.laughter_detector import average_precision
from storyjax.embedded.speaker_encoder import equal_error_rate, voice_scores
from storyjax.models.ecapa import EcapaConfig
from storyjax.models.laughter import LaughterConfig, LaughterNet
from storyjax.models.lwtnet import Layer, LwtConfig, LwtNet, reach
from storyjax.subtitles import av_sync, laughter_detector
from storyjax.subtitles.av_sync import SyncDetector, correlated, peaks, smoothed
from storyjax.subtitles.laughter_detector import LaughterDetector
from storyjax.subtitles.speaker_encoder import SpeakerEncoder, lengthened, windows

SMALL = EcapaConfig(
    mels=16, channels=(8, 8, 8, 8, 16), attention_width=4, squeeze_width=4, scale=2, embedding_dim=6, norm="group",
    channels_in_group=4,
)  # fmt: skip
TINY_NET = LaughterConfig(mels=32, stem_width=8, stem_stride=2, widths=(8, 8, 8, 8), hidden=4, norm="group")
TINY_LWT = LwtConfig(
    video=(Layer(8, (5, 5), (2, 2)), Layer(8, (3, 3), (2, 2))),
    audio=(
        Layer(8, (5, 3), (4, 1), (2, 1)),
        Layer(8, (3, 3), padding=(1, 1), pool=(2, 3), pool_stride=(2, 2)),
        Layer(8, (3, 3), padding=(1, 1), pool=(2, 3), pool_stride=(2, 2)),
        Layer(8, (5, 4)),
    ),
    hidden=8,
    embedding_dim=4,
    short_side=24,
    mel_floor=1.0,
    heat="probability",
    norm="group",
)  # fmt: skip


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * 16_000))).astype(np.float32)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> SpeakerEncoder:
    from storyjax.models.ecapa import Ecapa

    shapes = jax.eval_shape(Ecapa(SMALL).init, jax.random.key(0), jnp.zeros((1, 64, 16)), jnp.zeros(1, jnp.int32))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), shapes["params"])
    folder = tmp_path_factory.mktemp("voices")
    save_tree(folder / "model.safetensors", params)
    import dataclasses

    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(SMALL)))
    return SpeakerEncoder.from_pretrained(folder)


def test_a_voice_has_the_same_vector_alone_and_beside_others(encoder) -> None:
    """Also beside a longer one in the same bucket, and whatever the order."""
    waves = [noise(1.9, 1), noise(0.8, 2), noise(0.9, 3)]
    together = encoder.embed(waves)
    assert together.shape == (3, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for row, wave in enumerate(waves):
        np.testing.assert_allclose(encoder.embed([wave])[0], together[row], atol=1e-5)
    np.testing.assert_allclose(encoder.embed(waves[::-1]), together[::-1], atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_short_and_long_recordings_follow_the_rule(encoder) -> None:
    short = noise(0.2)
    np.testing.assert_array_equal(lengthened(short)[3200:6400], short)
    np.testing.assert_allclose(encoder.embed([short]), encoder.embed([np.tile(short, 3)[:8000]]), atol=1e-6)
    long = np.arange(20 * 16_000, dtype=np.float32)
    cut = windows(long)
    assert [len(piece) for piece in cut] == [128_000] * 3
    assert (cut[0][0], cut[-1][-1]) == (long[0], long[-1])
    with pytest.raises(StoryjaxError, match="no sound at all"):
        encoder.embed([np.zeros(0, np.float32)])
    assert encoder.embed([]).shape == (0, encoder.dim)


def test_a_folder_without_a_speaker_encoder_is_refused(tmp_path) -> None:
    with pytest.raises(StoryjaxError, match=r"config\.json is not there; get the weights of speaker_encoder by"):
        SpeakerEncoder.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(StoryjaxError, match=r"cannot read .*config\.json"):
        SpeakerEncoder.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "laughter"}')
    with pytest.raises(StoryjaxError, match="holds no speaker_encoder but laughter: give one of ecapa, campplus"):
        SpeakerEncoder.from_pretrained(tmp_path)


@pytest.fixture(scope="module")
def detector() -> LaughterDetector:
    net = LaughterNet(TINY_NET)
    return LaughterDetector(TINY_NET, net.init(jax.random.key(0), jnp.zeros((1, 44, 32)))["params"])


def test_laughter_has_a_probability_for_every_tenth_of_a_second(detector, monkeypatch) -> None:
    transformed = []
    real = laughter_detector.decibel_mel
    monkeypatch.setattr(
        laughter_detector, "decibel_mel", lambda wave, *rest: transformed.append(len(wave)) or real(wave, *rest)
    )
    sound = noise(9.0) * np.sin(np.arange(9 * 16_000) / 4000).astype(np.float32)
    times, probabilities = detector.probabilities(sound)
    assert times[0] == 0
    assert 8.9 < times[-1] <= 9.0
    np.testing.assert_allclose(np.diff(times), 4 * 186 / 8000)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert probabilities.std() > 1e-4
    assert len(transformed) == 1, "what fits in memory is transformed once"
    # In blocks it is the same: nothing is heard of where they meet.
    monkeypatch.setattr(laughter_detector, "_FRAMES", 100)
    again, same = detector.probabilities(sound)
    np.testing.assert_array_equal(again, times)
    np.testing.assert_allclose(same, probabilities, atol=1e-5)
    assert all(len(part) == 0 for part in detector.probabilities(np.zeros(0, np.float32)))


@pytest.fixture(scope="module")
def synchroniser() -> SyncDetector:
    side = 2 * reach(TINY_LWT)[1] + 9
    params = LwtNet(TINY_LWT).init(jax.random.key(1), jnp.zeros((1, 5, side, side, 3)), jnp.zeros((1, 20, 80)))
    return SyncDetector(TINY_LWT, params["params"])


def test_heat_maps_cover_the_image_and_every_moment(synchroniser, monkeypatch) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8)
    sound = noise(30 / 25)
    maps = synchroniser.heat_maps(frames, sound)
    assert maps.shape == (30, 6, 8)
    assert ((maps > 0) & (maps < 1)).all()
    # What is seen later changes nothing before.
    again = synchroniser.heat_maps(np.concatenate([frames[:28], 255 - frames[28:]]), sound)
    np.testing.assert_array_equal(again[:25], maps[:25])
    assert np.abs(again[29] - maps[29]).max() > 1e-5
    # How many are looked at in one go makes no difference.
    monkeypatch.setattr(av_sync, "_IMAGE_MOMENTS", 7)
    np.testing.assert_allclose(synchroniser.heat_maps(frames, sound), maps, atol=1e-5)
    rows = [synchroniser.pixel((row, 0), (48, 64))[0] for row in (0, 5)]
    assert rows[0] == pytest.approx(0.5)  # of 24 rows made of 48, the first is about here
    assert rows[1] == pytest.approx(40.5)
    with pytest.raises(StoryjaxError, match="do not go together"):
        synchroniser.heat_maps(frames, noise(3.0))


def test_cosines_are_averaged_over_time_and_no_further_than_there_is_time() -> None:
    maps = np.random.default_rng(0).standard_normal((9, 2, 2)).astype(np.float32)
    made = smoothed(maps, 5)
    np.testing.assert_allclose(made[4], maps[2:7].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(made[0], maps[:3].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(smoothed(maps, 99), np.broadcast_to(maps.mean(axis=0), maps.shape), atol=1e-6)


def test_peaks_are_local_maxima_apart_from_each_other_and_above_the_threshold() -> None:
    heat = np.zeros((12, 12), np.float32)
    heat[2, 3], heat[2, 5], heat[9, 9], heat[6, 1], heat[10, 2], heat[1, 10] = 0.95, 0.9, 0.8, 0.6, 0.75, 0.72
    assert peaks(heat) == [(2, 3, pytest.approx(0.95)), (9, 9, pytest.approx(0.8)), (10, 2, pytest.approx(0.75)),
                           (1, 10, pytest.approx(0.72))]  # fmt: skip
    assert [peak[:2] for peak in peaks(heat, distance=1)] == [(2, 3), (2, 5), (9, 9), (10, 2)]
    assert [peak[:2] for peak in peaks(heat, at_most=1)] == [(2, 3)]
    assert peaks(heat, threshold=0.95) == []
    assert peaks(np.full((4, 4), 0.9, np.float32))[0][2] == pytest.approx(0.9)


def test_the_best_place_scores_and_only_it() -> None:
    """A place that goes with the sound makes the clip's score, whatever the other places do."""
    rng = np.random.default_rng(0)
    sound = rng.standard_normal((1, 1, 12, 4)).astype(np.float32)
    seen = rng.standard_normal((1, 12, 3, 3, 4)).astype(np.float32)
    strangers = float(best_place(agreements(jnp.asarray(seen), jnp.asarray(sound), "correlation"))[0, 0])
    seen[0, :, 1, 2] = 5 + 2 * sound[0, 0]  # wherever it is and however much it moves
    found = agreements(jnp.asarray(seen), jnp.asarray(sound), "correlation")
    assert found.shape == (1, 1, 1, 3, 3)
    assert float(found[0, 0, 0, 1, 2]) == pytest.approx(1, abs=1e-3)
    assert float(best_place(found)[0, 0]) > 0.99 > 0.7 > strangers
    moments = agreements(
        jnp.broadcast_to(jnp.asarray(sound)[:, 0, :, None, None], (1, 12, 2, 2, 4)), jnp.asarray(sound), "cosine"
    )
    np.testing.assert_allclose(moments, np.broadcast_to((sound**2).sum(-1)[..., None, None], moments.shape), rtol=1e-5)


def test_correlation_in_time_is_of_what_is_around_a_moment() -> None:
    rng = np.random.default_rng(1)
    places, sounds = rng.standard_normal((30, 2, 2, 3)), rng.standard_normal((30, 3))
    places[:, 0, 1] = 4 - sounds
    places[:, 1, 1] = 1.0
    made = correlated(places.astype(np.float32), sounds.astype(np.float32), 11)
    assert made.shape == (30, 2, 2)
    np.testing.assert_allclose(made[:, 0, 1], -1, atol=2e-3)
    np.testing.assert_allclose(made[:, 1, 1], 0, atol=1e-3)
    whole = agreements(
        jnp.asarray(places[None, 10:21], jnp.float32),
        jnp.asarray(sounds[None, None, 10:21], jnp.float32),
        "correlation",
    )
    np.testing.assert_allclose(made[15], whole[0, 0, 0], atol=1e-4)


def test_the_sync_loss_does_not_punish_a_clip_for_its_own_sound() -> None:
    def to_logits(scores: jax.Array) -> jax.Array:
        return 10 * scores - 5

    own = jnp.asarray([[0.0, 1.0, 0.1], [0.1, 0.9, 0.0]])
    for others in (jnp.asarray([[1.0, 0.0], [0.0, 0.9]]), jnp.asarray([[-1.0, 0.0], [0.0, -1.0]])):
        loss, report = sync_loss(own, others, 1, to_logits)
        assert report["acc"] == 1
        assert loss < 0.05
    confused, report = sync_loss(own[:, ::-1], jnp.asarray([[1.0, 0.99], [0.99, 0.9]]), 0, to_logits)
    assert confused > 5


def test_measures_of_training() -> None:
    assert average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, True, False])) == 1
    assert average_precision(np.array([0.1, 0.8, 0.9]), np.array([True, False, False])) == pytest.approx(1 / 3)
    assert equal_error_rate(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == 0
    assert equal_error_rate(np.array([0.1, 0.9]), np.array([0.2, 0.8])) == pytest.approx(0.5)
    vectors = np.array([[1, 0], [0.99, 0.141], [0, 1], [0.141, 0.99]], np.float32)
    assert voice_scores(vectors, np.array([0, 0, 1, 1])) == {
        "voices/unheard_nearest": 1.0,
        "voices/unheard_equal_error": 0.0,
    }
