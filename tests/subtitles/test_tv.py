"""The experiment: the pipeline's numbers on a show, and the distance that its validation episode chooses."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from storyjax.core.errors import StoryjaxError
from storyjax.data.streams import StreamSpec
from storyjax.subtitles import experiment as subtitles_experiment
from storyjax.subtitles.pipeline import Models
from storyjax.train.loop import run


@pytest.fixture
def config(series: Path, tmp_path: Path) -> ConfigDict:
    path = Path(__file__).parents[2] / "configs" / "subtitles_tv.py"
    spec = importlib.util.spec_from_file_location("subtitles_tv", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config("embedded")
    # The fixture's series has the place of the one that the config would write.
    config.data = ConfigDict(
        {
            "root": str(series),
            "show": "StoryWorld",
            "cast": "cast_voices.json",
            "work": str(tmp_path / "work"),
            "pipeline": {"distance": 0.9},
        }
    )
    return config


@pytest.fixture
def heard(models: Models, series: Path, monkeypatch: pytest.MonkeyPatch, transcripts) -> Models:
    """Transcripts for recognition, which has tests of its own."""
    real = subtitles_experiment.subtitle

    def with_transcripts(videos, cast, config, work, models, guesses):
        return real(videos, cast, config, work, models, transcripts, False, guesses)

    monkeypatch.setattr(subtitles_experiment, "subtitle", with_transcripts)
    return models


def test_the_show_is_evaluated(config: ConfigDict, heard: Models, tmp_path: Path) -> None:
    experiment = subtitles_experiment.build(config, heard)
    results = run(config, tmp_path / "run", "eval", experiment=experiment, progress=False)
    keys = [
        "accuracy",
        "der",
        "der_overlap",
        "exemplar_precision",
        "exemplar_yield",
        "wer",
        "extra_unknown",
        "distance",
        "chance",
    ]
    keys += [f"steps/{step}/precision" for step in ("speech", "laughter", "synchronisation")]
    assert {f"tv/{key}" for key in keys} <= set(results)
    assert results["tv/distance"] == pytest.approx(0.9)
    assert results["tv/accuracy"] > results["tv/chance"]
    assert (tmp_path / "work" / "curves.svg").is_file()


def test_training_moves_the_distance_to_where_friends_end(config: ConfigDict, heard: Models, tmp_path: Path) -> None:
    show = subtitles_experiment.Show(
        subtitles_experiment.from_config(subtitles_experiment.TvData, config.data), 0, heard
    )
    rng = np.random.default_rng(0)
    near, far = rng.uniform(0.1, 0.35, 60), rng.uniform(0.45, 0.8, 40)
    show.__dict__["calibration"] = {
        "distance": np.concatenate([near, far]).astype(np.float32),
        "right": np.repeat([1.0, 0.0], [60, 40]).astype(np.float32),
    }
    params = {"subtitles": {"distance": np.float32(0.5)}}
    stream = iter(subtitles_experiment._Draws(show, StreamSpec(64, 0)))
    step = jax.jit(jax.value_and_grad(lambda p, batch: subtitles_experiment.loss(p, batch, jax.random.key(0))[0]))
    losses = []
    for _ in range(150):
        value, gradient = step(params, next(stream))
        losses.append(float(value))
        params = jax.tree.map(lambda p, g: p - 0.02 * g, params, gradient)
    assert losses[-1] < 0.5 * losses[0]
    assert 0.33 < float(params["subtitles"]["distance"]) < 0.47
    again = next(iter(subtitles_experiment._Draws(show, StreamSpec(64, 0, start_step=7))))
    fresh = iter(subtitles_experiment._Draws(show, StreamSpec(64, 0)))
    np.testing.assert_array_equal([next(fresh) for _ in range(8)][7]["distance"], again["distance"])


def test_the_calibration_is_of_the_validation_episode(config: ConfigDict, heard: Models) -> None:
    show = subtitles_experiment.Show(
        subtitles_experiment.from_config(subtitles_experiment.TvData, config.data), 0, heard
    )
    rows = show.calibration
    assert set(np.unique(rows["right"])) <= {0.0, 1.0}
    assert rows["right"].mean() > 0.3
    assert len(rows["right"]) > 0.9 * len(show.seasons("val")[0][0].lines), "strangers and mistaken ones, too"
    assert ((rows["distance"] >= 0) & (rows["distance"] <= 2)).all()


def test_thresholds_are_chosen_on_seasons_that_are_not_tested(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def linked(root: Path, episodes: int, seconds: float, seed: int) -> None:
        made.append((root.name, episodes, seconds, seed))
        root.parent.mkdir(exist_ok=True)
        root.symlink_to(series)

    monkeypatch.setattr("storyjax.storyworld.export.series.export_series", linked)
    data = subtitles_experiment.TvData(
        str(tmp_path / "root"), "StoryWorld", storyworld=subtitles_experiment.World(2, 30.0, (8, 9))
    )
    show = subtitles_experiment.Show(data, 3)
    assert [len(season) for season in show.seasons("test")] == [2], "every episode of the season is tested"
    assert [len(season) for season in show.seasons("val")] == [2, 2]
    assert made == [("3", 2, 30.0, 3), ("8", 2, 30.0, 8), ("9", 2, 30.0, 9)]
    tested, chosen = ({str(e.video) for season in show.seasons(split) for e in season} for split in ("test", "val"))
    assert not tested & chosen
    with pytest.raises(StoryjaxError, match="seed 8 is that of a validation season"):
        subtitles_experiment.Show(data, 8)
