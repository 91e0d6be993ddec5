"""The weights that ship with the package reach the results that their folders report, and beat chance."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from storyjax.core.config import load_config
from storyjax.core.params_io import shipped
from storyjax.train.loop import run

ROOT = Path(__file__).parents[2]


def config(name: str, variant: str = "embedded", **data: object) -> ConfigDict:
    loaded = load_config(f"{ROOT / 'configs' / name}.py:{variant}")
    loaded.data.update(data)
    return loaded


def documented(name: str) -> dict[str, float]:
    return json.loads((shipped(name) / "results.json").read_text())


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("videos")
    return {"world": str(folder / "footage"), "train": 0, "val": 8}


def test_the_reader_reads_as_documented(tmp_path: Path) -> None:
    reader = config("storyworld_t5", "paper", validation_stories=20)
    reader.init = ConfigDict({"checkpoint": "shipped:storyworld_t5", "skip": "pointer/.*"})
    results = run(reader, tmp_path, "eval", progress=False)
    # 20 stories are about 290 questions: three standard errors of a fraction of 0.95 are 0.04.
    assert results["reading/evidence_acc"] > documented("storyworld_t5")["reading/evidence_acc"] - 0.04


def test_the_practised_reader_reads_times_as_documented(tmp_path: Path) -> None:
    reader = config("storyworld_t5", "practised", validation_stories=10)
    for section in reader.data.auxiliary_tasks.values():
        section.validation_stories = 20
    reader.init = ConfigDict({"checkpoint": "shipped:storyworld_t5_practised", "skip": "pointer/.*"})
    results, reported = run(reader, tmp_path, "eval", progress=False), documented("storyworld_t5_practised")
    # 20 stories are 80 examples of two or three kinds: three standard errors of a fraction of 0.96 are 0.1.
    kinds = ("times/moments", "times/queries", "telling/queries", "telling/grounding", "telling/filling")
    for kind in (*kinds, "ahead/actions"):
        assert results[kind] > reported[kind] - 0.1, kind
    assert results["reading/evidence_acc"] > reported["reading/evidence_acc"] - 0.06


def test_the_image_encoder_distinguishes_who_does_what_as_documented(tmp_path: Path, videos: dict) -> None:
    sizes = {"root": videos["world"], "train_stories": videos["train"], "val_stories": videos["val"]}
    encoder = config("storyworld_clip", "paper", **sizes)
    encoder.init = ConfigDict({"checkpoint": "shipped:storyworld_clip"})
    results = run(encoder, tmp_path, "eval", progress=False)
    # 8 videos give 96 frames: three standard errors of a fraction of 0.9 are 0.09.
    assert results["frames/rewrite_acc"] > documented("storyworld_clip")["frames/rewrite_acc"] - 0.09


def test_the_initialised_resampler_predicts_notes_as_documented(tmp_path: Path, videos: dict) -> None:
    resampler = config("tcr_storyworld_init", "paper", **videos, features=str(tmp_path / "features"))
    resampler.init = ConfigDict({"checkpoint": "shipped:tcr_storyworld"})
    results = run(resampler, tmp_path / "run", "eval", progress=False)
    # 8 videos give 128 requests: three standard errors of a fraction of 0.8 are 0.1.
    assert results["align/notes"] > documented("tcr_storyworld")["align/notes"] - 0.1


def test_the_practised_resampler_predicts_times_as_documented(tmp_path: Path, videos: dict) -> None:
    resampler = config("tcr_storyworld_init", "practised", **videos, features=str(tmp_path / "features"))
    for name, val in (("routines", 6), ("broken_off", 12)):
        resampler.data.auxiliary_tasks[name].update({"routines": 1, "val": val})
    resampler.init = ConfigDict({"checkpoint": "shipped:tcr_storyworld_practised"})
    results, reported = run(resampler, tmp_path / "run", "eval", progress=False), documented("tcr_storyworld_practised")
    # 6 routines are 36 examples of three kinds, and words of one note are right or wrong together.
    for kind in ("queries", "moments", "actions"):
        assert results[f"routines/words_{kind}"] > reported[f"routines/words_{kind}"] - 0.25, kind
    # Weights that were trained on whole videos alone got 0.45 of these 36 examples.
    assert results["broken_off/words_actions"] > reported["broken_off/words_actions"] - 0.12
    assert results["align/words"] > reported["align/words"] - 0.06


def test_fine_tuning_for_a_moment_answers_questions_on_unseen_films(tmp_path: Path) -> None:
    world = {"counts": {"train": 12, "val": 1, "test": 12}}
    where = {"root": str(tmp_path / "nextqa"), "cache_dir": str(tmp_path / "prepared")}
    tuned = config("tcr_nextqa")
    tuned.data.tasks.nextqa.update({"synthetic": world, "ablations": ("no_video",), **where})
    tuned.train.steps = 8
    results = run(tuned, tmp_path / "run", progress=False)
    written = json.loads((tmp_path / "run" / "results.json").read_text())
    assert written == pytest.approx(results)
    # Chance is 0.20, and 12 videos ask about 175 questions: 0.78 is three standard errors below what ships.
    assert results["nextqa/acc"] > 0.78
    assert results["nextqa_no_video/acc"] < 0.4
    for group in ("causal", "temporal", "descriptive"):
        assert f"nextqa/acc_{group}" in results


def test_the_counter_counts_as_documented_and_better_than_constants(tmp_path: Path) -> None:
    counter = config("tcr_countix", cache_dir=str(tmp_path / "prepared"))
    counter.data.root.countix = str(tmp_path / "countix")
    counter.data.synthetic.countix.counts = {"train": 1, "val": 24}
    counter.init = ConfigDict({"checkpoint": "shipped:tcr_countix_storyworld"})
    results = run(counter, tmp_path / "run", "eval", progress=False)
    rows = csv.DictReader((tmp_path / "countix" / "countix_val.csv").read_text().splitlines())
    counts = np.array([float(row["count"]) for row in rows])
    guesses = [np.mean(np.abs(guess - counts) / counts) for guess in (counts.mean(), *range(2, 9))]
    assert results["countix/mae"] < 0.75 * min(guesses)
    # 24 clips: three standard errors of a mean error of about 0.15 are 0.1.
    assert results["countix/mae"] < documented("tcr_countix_storyworld")["countix/mae"] + 0.1
