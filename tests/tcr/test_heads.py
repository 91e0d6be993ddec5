"""The TCR without a language model: its heads' losses, what they are trained on, and a run of recognition."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_tcr
from ml_collections import ConfigDict

from storyjax.core.errors import StoryjaxError
from storyjax.data.builders.kinetics import Countix, Kinetics400
from storyjax.data.builders.segments import SegmentSource
from storyjax.data.streams import StreamSpec
from storyjax.data.text import WordTokenizer
from storyjax.storyworld.export import long_videos
from storyjax.storyworld.story.vocabulary import vocabulary
from storyjax.tcr.heads import modules
from storyjax.tcr.heads.config import DATA
from storyjax.tcr.heads.data import ClassLoader, Clips, CountLoader, RepetitionLoader, StitchLoader, encode_clips
from storyjax.tcr.heads.experiment import build
from storyjax.tcr.heads.spans import MomentsHead, QueriesHead
from storyjax.train.settings import complete

TOKENIZER = WordTokenizer.from_words(vocabulary())
RNG = np.random.default_rng


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    tiny_tcr.write_checkpoint(root / "tiny")
    patched = pytest.MonkeyPatch()
    patched.setattr(long_videos, "SIZE", 32)
    long_videos.export_kinetics(root / "kinetics", {"train": 6, "val": 3}, fps=4)
    long_videos.export_countix(root / "countix", {"train": 1, "val": 3}, seconds=4.0, fps=4)
    long_videos.export_ego4d(root / "ego4d", {"train": 2, "val": 2}, fps=1)
    patched.undo()
    return root


@pytest.fixture(scope="module")
def clips(root: Path) -> Clips:
    records = Kinetics400.prepare(root / "kinetics", root / "prepared", "train")
    return Clips(records, 16, TOKENIZER, 4)


def test_a_set_is_scored_by_its_best_assignment() -> None:
    loss = jax.jit(modules.set_loss)
    truth = jnp.array([[[0.1, 0.3], [0.6, 0.9], [0.0, 0.0]]])
    there = jnp.array([[True, True, False]])
    spans = jnp.array([[[0.6, 0.9], [0.4, 0.5], [0.1, 0.3], [0.2, 0.9]]])
    sure = jnp.array([[9.0, -9.0, 9.0, -9.0]])
    right = float(loss(sure, spans, truth, there)[0])
    assert right < 0.01
    order = jnp.array([3, 1, 0, 2])
    assert float(loss(sure[:, order], spans[:, order], truth, there)[0]) == pytest.approx(right)
    unsure = loss(-sure, spans, truth, there)
    moved = loss(sure, spans + 0.1, truth, there)
    assert min(float(unsure[0]), float(moved[0])) > right + 0.1
    # What is not there counts for nothing, wherever it is.
    padded = truth.at[0, 2].set(jnp.array([0.4, 0.5]))
    assert float(loss(sure, spans, padded, there)[0]) == pytest.approx(right)
    empty = loss(jnp.full((1, 4), -9.0), spans, truth, jnp.zeros((1, 3), bool))
    assert float(empty[0]) < 0.01
    gradient = jax.grad(lambda s: loss(sure, s, truth, there)[0])(spans + 0.05)
    assert np.abs(np.asarray(gradient[0, 1])).max() == 0  # unassigned: its place is nobody's
    assert np.abs(np.asarray(gradient[0, 0])).min() > 0


def test_spans_are_learnt_and_read() -> None:
    span = jnp.array([[0.25, 0.5]])
    logits = jnp.full((1, 2, 8), -20.0).at[0, 0, 2].set(0.0).at[0, 1, 3].set(0.0)
    sharp = float(modules.span_loss(logits, span, sigma=0.1)[0])
    assert sharp < 0.01
    assert float(modules.span_loss(logits[:, ::-1], span, sigma=0.1)[0]) > 10
    assert float(modules.span_loss(logits, span)[0]) > sharp  # the soft target wants its neighbours too
    measured = np.exp(np.asarray(logits[0]))
    best = QueriesHead.detect(None, measured, 80.0)[0]
    assert (best.start, best.end) == (20.0, 40.0)
    kept = modules.best_spans(np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.2, 0.7]), most=3)
    assert kept[0][:2] == (0.0, 1.0)
    assert all(b[2] <= a[2] for a, b in itertools.pairwise(kept))
    found = MomentsHead.detect(None, np.array([[0.9, 0.1, 0.2], [0.1, 0.5, 0.6]]), 10.0)
    assert [(d.start, d.end, d.score) for d in found] == [(1.0, 2.0, 0.9), (5.0, 6.0, 0.1)]


def test_frames_are_selected_by_any_query() -> None:
    logits = jnp.array([[[5.0, -5.0, -5.0], [-5.0, -5.0, 5.0]]])
    assert modules.selected(logits).tolist() == [[True, False, True]]
    truth = jnp.array([[True, False, True]])
    both = jnp.array([[[9.0, -9.0, 9.0]] * 2])
    assert float(modules.selection_loss(both, truth)[0]) < 0.01 < float(modules.selection_loss(-both, truth)[0])


def test_each_frame_is_classified_by_the_frames_that_show_the_action() -> None:
    scores = jnp.log(jnp.array([[[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]]))
    truth = jnp.array([[True, True, False]])
    loss = modules.frame_class_loss(scores, jnp.array([1]), truth)
    assert float(loss[0]) == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2, rel=1e-5)


def test_predictions_of_queries_are_averaged() -> None:
    scores = modules._mean_prediction(jnp.log(jnp.array([[[0.9, 0.1], [0.5, 0.5]]])))
    np.testing.assert_allclose(jnp.exp(scores), [[0.7, 0.3]], rtol=1e-5)


def test_clips_are_loaded_with_their_class(clips: Clips) -> None:
    classes = tuple(sorted({clips.label(i) for i in range(6)}))
    batch = ClassLoader(clips, classes, 6, train=True)(1, RNG(0))
    assert batch["frames"].shape == (6, 16, 16, 3)
    assert classes[batch["label"]] == clips.label(1)
    few = ClassLoader(clips, classes, 6, train=False, kept=2)
    assert few(1, RNG(0))["frames"].shape[0] == 2
    np.testing.assert_array_equal(few(1, RNG(0))["frames"], few(1, RNG(5))["frames"])
    with pytest.raises(StoryjaxError, match="no training clip is of class"):
        ClassLoader(clips, ("nothing",), 6, train=True)(1, RNG(0))


def test_one_stitched_clip_shows_the_action(clips: Clips) -> None:
    names = tuple(sorted({clips.label(i) for i in range(len(clips.records))}))
    loader = StitchLoader(clips, names, frames=20, videos=4, most=9, train=True)
    places = set()
    for seed in range(6):
        batch = loader(2, RNG(seed))
        assert batch["frames"].shape[0] == 20 == len(batch["truth"])
        own = np.flatnonzero(batch["truth"])
        assert 1 <= len(own) <= 9
        assert np.all(np.diff(own) == 1)
        places.add(int(own[0]))
        counts = loader._counts(RNG(seed))
        assert sum(counts) == 20
        assert len(counts) <= 4
        assert max(counts) <= 9
        assert names[batch["label"]] == clips.label(2)
    assert len(places) > 1
    assert TOKENIZER.decode(batch["prompt"][batch["prompt_mask"]]) == clips.label(2)


def test_synthetic_repetitions_repeat(clips: Clips) -> None:
    loader = RepetitionLoader(clips, frames=24, most=4, fps=4.0)
    counts = set()
    for seed in range(10):
        batch = loader(0, RNG(seed))
        assert batch["frames"].shape[0] == 24
        counts.add(int(batch["count"]))
        if 24 % int(batch["count"]) == 0:
            period = 24 // int(batch["count"])
            again = (batch["frames"][period:] == batch["frames"][:-period]).all()
            if again:
                break
    assert again  # without frames around it, a whole number of frames a period repeats exactly
    assert counts <= {2, 3, 4}


def test_whole_movements_are_counted_where_clips_repeat_them(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(Clips, "at", lambda self, index, times: asked.append(times) or np.zeros((len(times), 2, 2, 3)))
    loader = RepetitionLoader(clips, frames=60, most=6, fps=4.0, movement=0.5)
    pieces = set()
    for seed in range(20):
        count, times = int(loader(0, RNG(seed))["count"]), asked[-1]
        # Within the movement every frame is where the count says, however many movements the piece has.
        phase = (times - times[0]) / 0.5
        np.testing.assert_allclose(np.cos(2 * np.pi * phase), np.cos(2 * np.pi * np.arange(60) * count / 60), atol=1e-6)
        assert 0 <= times.min() <= times.max() < clips.segment(0)[1]
        pieces.add(round(float(np.ceil(phase.max() - 1e-6))))
    assert len(pieces) > 2


def test_what_changes_is_told_apart_from_what_stays() -> None:
    """A clip of period 4 upon a large constant: its rows are alike at distances of 4, and the constant is gone."""
    moving = np.tile(RNG(0).normal(0, 0.01, (1, 4, 8)), (1, 3, 1)).astype(np.float32)
    told = np.asarray(modules.temporal_difference(jnp.asarray(moving + 50.0)))
    assert told.shape == (1, 12, 20)
    np.testing.assert_allclose(told[..., :8].mean(axis=1), 0, atol=1e-3)
    np.testing.assert_allclose(told[..., :8].std(), 1.0, rtol=1e-3)
    alike = told[0, :, 8:]  # the distance 0 is at 6
    np.testing.assert_allclose(alike[:8, 10], alike[:8, 6], atol=1e-2)
    assert (alike[:8, 8] < alike[:8, 6] - 0.1).any()
    assert (alike[0, :6] == 0).all()  # there is nothing before the first frame


def test_what_was_seen_once_is_what_would_be_decoded(clips: Clips) -> None:
    """A tower that tells each frame's mean colour, once for all clips, against frames decoded each time."""
    calls = []

    def look(frames: np.ndarray) -> np.ndarray:
        calls.append(len(frames))
        return np.stack([frames.mean(axis=(1, 2)), np.zeros((len(frames), 3))], axis=1)  # (m n e), CLS first

    seen = dataclasses.replace(clips, encoded=encode_clips(clips, look, together=40))
    assert len(calls) > 1
    assert sum(calls) == sum(map(len, seen.encoded.starts))
    for index in range(len(clips.records)):
        assert seen.segment(index) == clips.segment(index)
        times = RNG(index).uniform(0, clips.segment(index)[1] - 1e-3, 9)
        np.testing.assert_allclose(seen.at(index, times), clips.at(index, times).mean(axis=(1, 2)), rtol=1e-5)
    batch = ClassLoader(seen, (clips.label(0),), 5, train=True)(0, RNG(0))
    assert batch["tokens"].shape == (5, 3)
    assert "frames" not in batch


def test_a_clip_that_cannot_be_seen_is_told_when_it_is_asked_for(clips: Clips) -> None:
    class Damaged(SegmentSource):
        def __init__(self):
            vars(self).update(vars(clips.records))

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> dict:
            record = clips.records[index]
            return {**record, "video": b"no video"} if index == 0 else record

    broken = dataclasses.replace(clips, records=Damaged())
    seen = dataclasses.replace(
        broken, encoded=encode_clips(broken, lambda frames: np.zeros((len(frames), 1, 3), np.float32))
    )
    assert seen.frames(1, 4, None).shape == (4, 3)
    with pytest.raises(StoryjaxError, match="is not a video"):
        seen.frames(0, 4, None)


def test_real_counts_are_read(root: Path) -> None:
    records = Countix.prepare(root / "countix", root / "prepared", "val")
    batch = CountLoader(Clips(records, 16, TOKENIZER, 4), 8)(0, RNG(0))
    assert 2 <= batch["count"] <= 8
    assert batch["frames"].shape[0] == 8


def make_config(root: Path, task: str, **more) -> ConfigDict:
    model = json.loads((root / "tiny" / "tcr" / "config.json").read_text())["model"]
    kinetics, countix = str(root / "kinetics"), str(root / "countix")
    roots = {"recognition": kinetics, "selection": kinetics, "counting": {"countix": countix, "kinetics400": kinetics}}
    sizes = {
        "frames": 6,
        "condition_length": 4,
        "videos": 3,
        "most_frames": 4,
        "most_count": 3,
        "fps": 4.0,
        "classes": 8,
        "bins": 16,
        "most_moments": 4,
        "hidden": 16,
        "max_broken_fraction": 1.0,
    }
    known = {field.name for field in dataclasses.fields(DATA[task])}
    data = {
        "task": task,
        "root": roots.get(task, str(root / "ego4d")),
        "cache_dir": str(root / "prepared"),
        **{name: size for name, size in sizes.items() if name in known},
        **more,
    }
    train = {"steps": 2, "batch_size": 2}
    return complete(ConfigDict({"experiment": "tcr.heads", "model": model, "data": data, "train": train}))


@pytest.mark.parametrize(
    ("task", "more", "metric"),
    [
        ("recognition", {"eval_splits": ("train",)}, "kinetics/acc"),
        ("recognition", {"eval_splits": ("train",), "sampler": "random", "kept": 2}, "kinetics/acc"),
        ("recognition", {"eval_splits": ("train",), "sampler": "attention"}, "kinetics/acc"),
        ("selection", {"eval_splits": ("train",)}, "selection/precision"),
        ("selection", {"eval_splits": ("train",), "sampler": "random"}, "selection/recall"),
        ("counting", {}, "countix/mae"),
        ("counting", {"cached": True, "temporal_difference": True, "movement": 1.0}, "countix/mae"),
        ("moments", {"tune": True}, "standalone_mq/avg_map"),
        ("moments", {}, "standalone_mq/avg_map"),
        ("queries", {}, "standalone_nlq/mr@5"),
    ],
)
def test_every_head_trains_and_is_scored(root: Path, task: str, more: dict, metric: str) -> None:
    """Shapes, gradients and metrics by tracing alone where that is enough; numbers are made of zeros."""
    experiment = build(make_config(root, task, **more))
    shapes = jax.eval_shape(experiment.init, jax.random.key(0))
    assert ("tcr" in shapes) == (more.get("sampler", "tcr") == "tcr")
    spec = StreamSpec(batch_size=2, seed=0, steps=1)
    stream = experiment.tasks[0].data(spec)
    batch = next(iter(stream))
    stream.close()
    traced = jax.eval_shape(
        lambda params, batch: jax.value_and_grad(experiment.tasks[0].loss, has_aux=True)(
            params, batch, jax.random.key(0)
        ),
        shapes,
        batch,
    )
    assert traced[0][0].shape == ()
    (evaluator,) = experiment.evaluators
    acc, stream = None, evaluator.data(spec)
    for batch in stream:
        out = jax.eval_shape(evaluator.eval_step, shapes, batch)
        zeros = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), out)
        acc = evaluator.accumulate(acc, zeros, batch)
    stream.close()
    assert metric in evaluator.compute(acc)
