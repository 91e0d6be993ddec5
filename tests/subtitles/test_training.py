"""The experiments of this chapter's networks: what they train on is what it should be, and a step goes downhill."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.renames import modernise
from storyjax.data.streams import StreamSpec
from storyjax.embedded import av_sync, episode_arrays, laughter_detector, speaker_encoder
from storyjax.storyworld.story.episodes import Episode, Noise
from storyjax.train.experiment import Experiment, build_experiment
from storyjax.train.settings import complete

CONFIGS = Path(__file__).parents[2] / "configs"


def experiment(name: str, tmp_path: Path) -> Experiment:
    """The embedded one, on a few seconds of sound."""
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config: ConfigDict = complete(module.get_config("embedded"))
    if name == "subtitles_sync":
        config.data.episodes.update(
            {"cache_dir": str(tmp_path), "train_episodes": 1, "test_episodes": 1, "episode_seconds": 4.0}
        )
        config.data.update({"max_shift": 4, "moments": 6})
    if name == "subtitles_laughter":
        config.data.update({"train_episodes": 1, "test_episodes": 1, "episode_seconds": 4.0, "windows_per_episode": 12})
    if name == "subtitles_voices":
        config.data.update({"voices_per_base": 1, "sentences_per_voice": 1, "test_sentences": 2})
    return build_experiment(config)


@pytest.mark.parametrize("name", ["subtitles_voices", "subtitles_laughter", "subtitles_sync"])
def test_a_step_goes_downhill_and_the_evaluation_gives_numbers(name: str, tmp_path: Path) -> None:
    made = experiment(name, tmp_path)
    params = jax.jit(made.init)(jax.random.key(0))
    task = made.tasks[0]
    stream = task.data(StreamSpec(batch_size=4, seed=0, steps=1))
    batch = next(iter(stream))
    stream.close()
    batch = {key: jnp.asarray(value) for key, value in batch.items() if key != "index"}

    def loss(params: dict) -> tuple:
        return task.loss(params, batch, jax.random.key(0))[0]

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value)
    length = float(sum((np.asarray(leaf) ** 2).sum() for leaf in jax.tree.leaves(gradient))) ** 0.5
    step = 1e-3 / length
    better = jax.jit(loss)(jax.tree.map(lambda leaf, slope: leaf - step * slope, params, gradient))
    assert 0.3e-3 * length < float(value - better) < 3e-3 * length
    evaluator = made.evaluators[0]
    rows, measure = None, jax.jit(evaluator.eval_step)
    for part in evaluator.data(StreamSpec(batch_size=4, seed=0)):
        shown = jax.tree.map(jnp.asarray, part)
        rows = evaluator.accumulate(rows, jax.tree.map(np.asarray, measure(params, shown)), part)
    numbers = evaluator.compute(rows)
    assert all(np.isfinite(number) for number in numbers.values())
    assert all(key.split("/")[0] == name.removeprefix("subtitles_") for key in numbers)


def test_windows_of_laughter_are_where_the_audience_laughs(monkeypatch: pytest.MonkeyPatch) -> None:
    data = laughter_detector.LaughterData(train_episodes=1, test_episodes=1)
    config = laughter_detector.LaughterConfig(mels=32)
    laugh = Noise(2.0, 4.0, 0.1, 0)
    made = laughter_detector.LaughterWindows(config, data, "train")
    silent = Episode(0, 8.0, (), (), (laugh,), ())
    monkeypatch.setattr(made, "_episode", lambda number: silent)
    assert [float(made.window(0, at)["laughs"]) for at in (1.0, 2.5, 3.9, 4.1)] == [0, 1, 1, 0]
    loud = [float(made.window(0, at)["windows"].mean()) for at in (1.0, 3.0)]
    assert loud[1] > loud[0] + 10
    assert made.window(0, 0.0)["windows"].shape == (44, 32)
    assert -80 <= made.window(0, 8.0)["windows"].min() <= made.window(0, 3.0)["windows"].max() <= 0
    kinds = [float(made.random(0, np.random.default_rng(seed))["laughs"]) for seed in range(60)]
    assert 15 < sum(kinds) < 45


def test_clips_have_the_sound_of_their_own_images(tmp_path: Path) -> None:
    """The mouth that is drawn is as open as the sound of the same moment is loud."""
    data = episode_arrays.EpisodeData(
        cache_dir=str(tmp_path), train_episodes=1, test_episodes=1, episode_seconds=4.0, image_size=64
    )
    training = av_sync.SyncTraining(
        av_sync.LwtConfig(short_side=64), av_sync.SyncData(episodes=data, moments=16, max_shift=3)
    )
    lines = training.lines("train")
    assert lines
    assert all(line.head is not None for line in lines)
    best = []
    for line in lines[:4]:
        clip = training.loader("train")(line, np.random.default_rng(0))
        assert clip["frames"].shape == (20, 64, 64, 3)
        assert clip["mel"].shape == (4 * 26, 80)
        row, column, unit = clip["head"]
        middle = slice(round((row - 0.1 * unit) * 64), round((row + 0.3 * unit) * 64))
        across = slice(round((column - 0.15 * unit) * 64), round((column + 0.15 * unit) * 64))
        # An open mouth is dark.
        dark = -clip["frames"][:, middle, across].astype(np.float64).mean(axis=(1, 2, 3))
        loud = np.exp(clip["mel"]).sum(axis=1).reshape(-1, 4).sum(axis=1)
        matches = [np.corrcoef(dark, loud[shift : shift + 20])[0, 1] for shift in range(7)]
        best.append(int(np.argmax(matches)))
    assert np.median(best) == pytest.approx(3, abs=1)


def test_voices_of_training_and_of_the_test_are_different_ones() -> None:
    heard = set(speaker_encoder.VoiceData().speakers)
    assert len(heard) == 48
    assert not heard & set(speaker_encoder.HELD_OUT)


OLD = {
    "laughter": {"train": 6, "test": 2, "seconds": 50.0, "windows": 150},
    "voices": {"scales": 10, "sayings": 3, "test_sayings": 4, "noise": 0.1, "seconds": 1.2},
    "sync": {"shift": 6, "moments": 9, "episodes": {"folder": "f", "train": 5, "test": 1, "seconds": 9.0, "side": 32}},
}


def test_configs_of_version_0_1_load() -> None:
    laughs, voices, sync = (
        modernise({"experiment": f"subtitles.training.{name}", "data": data})["data"] for name, data in OLD.items()
    )
    assert from_config(laughter_detector.LaughterData, laughs) == laughter_detector.LaughterData(6, 2, 50.0, 150)
    assert from_config(speaker_encoder.VoiceData, voices) == speaker_encoder.VoiceData(10, 3, 1.2, 4, 0.1)
    episodes = episode_arrays.EpisodeData("f", 5, 1, 9.0, 32)
    assert from_config(av_sync.SyncData, sync) == av_sync.SyncData(episodes, 9, 6)
