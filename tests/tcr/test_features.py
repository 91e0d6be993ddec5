"""Features computed once: the numbers that pixels give, kept whole through interruptions, refused where they are not
of this tower and these films."""

import csv
import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny_tcr import write_checkpoint, write_film

from storyjax.core.errors import StoryjaxError
from storyjax.data import beam
from storyjax.data.builders.nextqa import COLUMNS
from storyjax.data.features import FeatureStore, encode_frame, read_spec, stored_times
from storyjax.data.streams import StreamSpec
from storyjax.data.video import sample_times
from storyjax.tcr.config import make_tower
from storyjax.tcr.experiment import build
from storyjax.tcr.features import compute_features
from storyjax.tcr.objective import QuestionAnswering, stored_tokens
from storyjax.tcr.vision_features import footage_features
from storyjax.train.experiment import Experiment

FRAMES, FILMS = 4, {"train": ("a", "b", "c"), "val": ("d", "e")}


def here(work, shards: list[int]) -> None:
    """Does the work in this process."""
    for shard in shards:
        work(shard)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    """A tiny model, and NExT-QA's official layout with five films; the last one cannot be decoded."""
    folder = tmp_path_factory.mktemp("tiny")
    config = ConfigDict(json.loads((write_checkpoint(folder) / "config.json").read_text()))
    world = folder / "world"
    (world / "NExTVideo").mkdir(parents=True)
    for index, name in enumerate("abcd"):
        write_film(world / "NExTVideo" / f"{name}.mp4", frames=16 + 4 * index)
    (world / "NExTVideo" / "e.mp4").write_bytes(b"this is no film")
    (world / "map_vid_vidorID.json").write_text(json.dumps({name: name for name in "abcde"}))
    for split, names in FILMS.items():
        with (world / f"{split}.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            for name in names:
                options = {f"a{i}": word for i, word in enumerate(("danced", "sang", "cried", "slept", "waved"))}
                row = {"video": name, "question": "what did ana do ?", "answer": 1, "qid": 0, "type": "TN"}
                table.writerow(dict.fromkeys(COLUMNS, 1) | row | options)
    config.data = ConfigDict(
        {
            "tasks": {
                "nextqa": {
                    "task": "nextqa",
                    "root": str(world),
                    "cache_dir": str(folder / "prepared"),
                    "eval_splits": ("val",),
                    "frames": FRAMES,
                    "condition_length": 8,
                    "prompt_length": 40,
                    "eval_examples": 2,
                    "max_broken_fraction": 0.6,
                }
            }
        }
    )
    config.train = ConfigDict({"steps": 1, "batch_size": 2})
    config.seed = 0
    config.model.tcr.drop_patches = 0.0
    return config


@pytest.fixture(scope="module")
def folder(config: ConfigDict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("features")
    made = compute_features(config, out, ("train", "val"), dtype="float16", shard_videos=1, run=here)
    assert made == {"train": (3, 3), "val": (2, 2)}
    return out


def store(config: ConfigDict, folder: Path, split: str = "train") -> FeatureStore:
    return FeatureStore(folder / split, make_tower(config).fingerprint, FRAMES)


def with_features(config: ConfigDict, folder: Path) -> ConfigDict:
    changed = ConfigDict(config.to_dict())
    changed.data.tasks.nextqa.features = str(folder)
    return changed


def params_of(experiment: Experiment) -> dict:
    return jax.jit(experiment.init)(jax.random.key(0))


def test_what_is_finished_is_kept_and_what_is_missing_or_damaged_is_made_again(config, folder, tmp_path) -> None:
    out = tmp_path / "again"
    compute_features(config, out, ("train",), dtype="float16", shard_videos=1, run=here)
    first, second, third = sorted((out / "train").glob("*.array_record"))
    before = [path.read_bytes() for path in (first, second, third)]
    kept = first.stat().st_mtime_ns
    second.unlink()
    third.write_bytes(before[2][: len(before[2]) // 2])
    asked = []

    def noting(work, shards: list[int]) -> None:
        asked.extend(shards)
        here(work, shards)

    made = compute_features(config, out, ("train",), dtype="float16", shard_videos=1, run=noting)
    assert (made, asked, first.stat().st_mtime_ns) == ({"train": (2, 3)}, [1, 2], kept)
    assert [path.read_bytes() for path in (first, second, third)] == before
    assert not list(out.rglob("*.partial"))


@pytest.mark.parametrize(
    ("dtype", "precision", "tolerance"),
    [("bfloat16", "bfloat16", 2e-2), ("float16", "float32", 1e-3), ("int8", "float32", 2e-2)],
)
def test_tokens_and_loss_are_those_of_pixels(config, tmp_path, dtype, precision, tolerance) -> None:
    config = ConfigDict({**config.to_dict(), "precision": precision})
    compute_features(config, tmp_path, ("train", "val"), dtype=dtype, draws=1, run=here)
    params = {**params_of(build(with_features(config, tmp_path))), "vision": make_tower(config)._params["vision"]}
    losses, tokens = [], []
    for one in (config, with_features(config, tmp_path)):
        experiment = build(one)
        stream = experiment.evaluators[0].data(StreamSpec(2, 0))
        batch = {name: jnp.asarray(array) for name, array in next(stream).items()}
        stream.close()
        asks = experiment.tasks[0].loss.__self__
        assert isinstance(asks, QuestionAnswering)
        stored = "visual_tokens" in batch
        seen = (
            stored_tokens(batch, asks.model.vision.dtype)
            if stored
            else asks.model.encode_frames(params, batch["frames"])
        )
        tokens.append(np.asarray(seen, np.float32)[0])
        if dtype == "float16":  # one is enough: the loss knows no more than the tokens, and takes long to compile
            losses.append(float(jax.jit(asks.loss)(params, batch, jax.random.key(1))[0]))
    scale = np.abs(tokens[0]).max()
    np.testing.assert_allclose(tokens[1], tokens[0], rtol=0, atol=tolerance * scale)
    if losses:
        assert losses[1] == pytest.approx(losses[0], rel=tolerance)


def test_training_draws_one_frame_of_each_segment_and_evaluation_the_middle_ones(config, folder) -> None:
    features = store(config, folder)
    film = features.number("b")
    times = stored_times(5.0, FRAMES, 3).reshape(FRAMES, 3)
    np.testing.assert_array_equal(times[:, 1], sample_times(5.0, FRAMES))
    middle = features.draw(film)
    everything = features.read(film, range(FRAMES * 3))
    np.testing.assert_array_equal(middle["visual_tokens"], everything["visual_tokens"][1::3])
    draws = [features.draw(film, np.random.default_rng(seed))["seconds"] for seed in range(12)]
    np.testing.assert_array_equal(draws[3], features.draw(film, np.random.default_rng(3))["seconds"])
    for place in range(FRAMES):
        assert {d[place] for d in draws} == set(everything["seconds"].reshape(FRAMES, 3)[place])


def test_training_from_features_leaves_the_tower_out(config, folder) -> None:
    experiment = build(with_features(config, folder))
    assert set(jax.eval_shape(experiment.init, jax.random.key(0))) == {"tcr", "llm"}
    assert {path.split("/")[0] for path in experiment.pretrained()} == {"llm"}
    stream = experiment.tasks[0].data(StreamSpec(2, 0))
    batch = next(stream)
    stream.close()
    assert "frames" not in batch
    assert batch["visual_tokens"].shape == (2, FRAMES, 5, 16)


def refusal(call) -> str:
    with pytest.raises(StoryjaxError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_features_of_another_tower_frames_or_film_are_refused(config, folder, tmp_path) -> None:
    other = ConfigDict({**config.to_dict(), "precision": "bfloat16"})
    assert "were computed by another vision tower (tower is" in refusal(lambda: store(other, folder))
    tower = make_tower(config).fingerprint
    message = refusal(lambda: FeatureStore(folder / "train", tower, 9))
    assert "cut videos into another number of segments (frames is 4, not 9)" in message
    message = refusal(lambda: compute_features(config, folder, ("train",), dtype="int8", shard_videos=1, run=here))
    assert "are of another type (dtype is float16, not int8); choose another folder" in message
    assert "it must be odd" in refusal(lambda: compute_features(config, tmp_path, ("train",), draws=2, run=here))
    assert "there are no features in" in refusal(lambda: store(config, tmp_path))
    features = store(config, folder)
    assert "has no features of z" in refusal(lambda: features.number("z"))
    assert "are of another video file" in refusal(lambda: features.draw(0, None, b"another film"))
    compute_features(
        config, tmp_path, ("train",), dtype="float16", shard_videos=2, run=lambda work, todo: work(todo[0])
    )
    assert "not complete: 1 of 2 shards are there" in refusal(lambda: store(config, tmp_path))


def test_a_film_that_cannot_be_seen_is_told_where_it_is_read(config, folder) -> None:
    features = store(config, folder, "val")
    assert features.draw(features.number("d"))["visual_tokens"].shape == (FRAMES, 5, 16)
    assert "video e" in refusal(lambda: features.draw(features.number("e")))


def test_int8_keeps_each_token_to_half_a_step() -> None:
    tokens = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32) * [[1], [100], [0]]
    record = encode_frame(1.0, 0, tokens, "int8")
    scale = np.frombuffer(record, "<f4", 3, 13)
    restored = np.frombuffer(record, np.int8, offset=25).reshape(3, 8) * scale[:, None]
    assert (np.abs(restored - tokens) <= scale[:, None] * 0.5001).all()
    assert jnp.isfinite(scale).all()


def test_footage_is_looked_at_once(config, tmp_path) -> None:
    tower = make_tower(config)
    films = sorted(str(path) for path in Path(config.data.tasks.nextqa.root, "NExTVideo").glob("[abcd].mp4"))
    first = footage_features(tmp_path, films, FRAMES, 3, tower)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.array_record")}
    again = footage_features(tmp_path, films, FRAMES, 3, tower)
    assert files
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.array_record")}
    np.testing.assert_array_equal(first.draw(2)["visual_tokens"], again.draw(2)["visual_tokens"])
    assert footage_features(tmp_path, films[:2], FRAMES, 3, tower).folder != first.folder


def test_without_beam_one_line_tells_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'storyjax[beam]'" in refusal(lambda: beam.run_shards(str, [0]))


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="needs the extra beam")
def test_the_command_makes_on_beam_what_a_loop_makes(config, folder, tmp_path) -> None:
    (tmp_path / "config.py").write_text(
        "import json\nfrom ml_collections import ConfigDict\n"
        f"def get_config(variant='paper'):\n    return ConfigDict(json.loads({config.to_json()!r}))\n"
    )
    command = [sys.executable, "-m", "storyjax.cli", "data", "features", f"--config={tmp_path / 'config.py'}"]
    command += ["--out", str(tmp_path / "out"), "--dtype=float16", "--shard-films=1", "--splits", "train"]
    for options, made in (("--direct_num_workers=1", 3), ("", 0)):
        done = subprocess.run([*command, f"--beam={options}"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"train: 3 shards in {tmp_path / 'out'}/train, {made} of them made now" in done.stdout
    for path in (folder / "train").glob("*.array_record"):
        assert (tmp_path / "out" / "train" / path.name).read_bytes() == path.read_bytes()
    assert read_spec(tmp_path / "out" / "train") == dataclasses.replace(read_spec(folder / "train"))
    refused = subprocess.run([*command, "--draws=5"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("storyjax: error: the features in"), refused.stderr
