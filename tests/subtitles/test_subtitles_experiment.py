"""The experiment: the pipeline's numbers on a show, and the distance that its validation episodes choose."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.renames import modernise
from storyjax.subtitles import experiment as subtitles_experiment
from storyjax.subtitles.config import SubtitleConfig, SubtitlesData
from storyjax.subtitles.evaluate import Judged, best_distance, judge
from storyjax.subtitles.experiment import Show
from storyjax.subtitles.grid_search import accuracy_at, combinations, grid_search
from storyjax.subtitles.networks import Networks
from storyjax.subtitles.predict import Subtitler
from storyjax.train.loop import run
from storyjax.weights.pretrained import Pretrained


@pytest.fixture
def config(series: Path, tmp_path: Path) -> ConfigDict:
    path = Path(__file__).parents[2] / "configs" / "subtitles_tv.py"
    spec = importlib.util.spec_from_file_location("subtitles_tv", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config("embedded")
    # The fixture's series has the place of the one that the config would write.
    config.model = ConfigDict({"distance": 0.9})
    config.data = ConfigDict(
        {
            "root": str(series),
            "show": "StoryWorld",
            "cast": "cast_voices.json",
            "cache_dir": str(tmp_path / "work"),
            "train_split": None,
        }
    )
    return config


@pytest.fixture
def with_transcripts(networks: Networks, monkeypatch: pytest.MonkeyPatch, transcripts) -> Networks:
    """Transcripts for recognition, which has tests of its own."""
    real = subtitles_experiment.subtitle

    def transcribed(videos, cast, config, cache_dir, networks, raw_face_labels):
        return real(videos, cast, config, cache_dir, networks, transcripts, False, raw_face_labels)

    monkeypatch.setattr(subtitles_experiment, "subtitle", transcribed)
    return networks


def make_show(config: ConfigDict, networks: Networks) -> Show:
    return Show(from_config(SubtitlesData, config.data), from_config(SubtitleConfig, config.model), 0, networks)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_show_is_evaluated(mode: str, config: ConfigDict, with_transcripts: Networks, tmp_path: Path) -> None:
    experiment = subtitles_experiment.build(config, with_transcripts)
    results = run(config, tmp_path / "run", mode, experiment=experiment, progress=False)
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
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results


def test_the_distance_is_that_of_the_validation_episode(config: ConfigDict, with_transcripts: Networks) -> None:
    config.data.train_split = "val"
    show = make_show(config, with_transcripts)
    judged = [j for subtitles, episode in show.subtitles("val") for j in judge(subtitles, episode)]
    assert len(judged) > 0.9 * len(show.seasons("val")[0][0].lines), "strangers and mistaken ones, too"
    assert show.choose_distance() == best_distance(judged) > 0
    results = show.measure()
    assert results["tv/distance"] == best_distance(judged) != 0.9
    spoken = [j for j in judged if j.truth is not None]

    def accuracy(distance: float) -> float:
        named = [(j.nearest if j.distance <= distance else None, j) for j in spoken]
        return sum(name == (j.truth if j.listed else None) for name, j in named) / len(named)

    assert accuracy(results["tv/distance"]) == max(accuracy(i / 100) for i in range(201))


def test_nothing_recognised_chooses_no_distance(config: ConfigDict, monkeypatch: pytest.MonkeyPatch, networks) -> None:
    config.data.train_split = "val"
    show = make_show(config, networks)
    monkeypatch.setattr(show, "subtitles", lambda split, after_season: [])
    with pytest.raises(StoryjaxError, match="so no distance can be chosen there"):
        show.choose_distance()


def test_thresholds_are_chosen_on_seasons_that_are_not_tested(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def linked(root: Path, episodes: int, seconds: float, seed: int) -> None:
        made.append((root.name, episodes, seconds, seed))
        root.parent.mkdir(exist_ok=True)
        root.symlink_to(series)

    monkeypatch.setattr("storyjax.storyworld.export.series.export_series", linked)
    data = SubtitlesData(
        str(tmp_path / "root"), "StoryWorld", synthetic={"episodes": 2, "seconds": 30.0}, validation_seeds=(8, 9)
    )
    show = Show(data, SubtitleConfig(), 3)
    assert [len(season) for season in show.seasons("test")] == [2], "every episode of the season is tested"
    assert [len(season) for season in show.seasons("val")] == [2, 2]
    assert made == [("3", 2, 30.0, 3), ("8", 2, 30.0, 8), ("9", 2, 30.0, 9)]
    tested, chosen = ({str(e.video) for season in show.seasons(split) for e in season} for split in ("test", "val"))
    assert not tested & chosen
    with pytest.raises(StoryjaxError, match="seed 8 is that of a validation season"):
        Show(data, SubtitleConfig(), 8)


OLD = {
    "experiment": "subtitles/tv",
    "seed": 1,
    "train": {"steps": 300, "batch_size": 64},
    "data": {
        "root": "runs/storyworld/series",
        "show": "StoryWorld",
        "cast": "cast.json",
        "name": "show",
        "work": "runs/w",
        "storyworld": {"episodes": 5, "seconds": 120.0, "validation": [1000, 1001]},
        "pipeline": {
            "voices": "a", "laughter": "b", "sync": "c", "faces": "d", "recognition": {"model": "tiny.en"},
            "punkt": "german", "laugh": 0.1, "peak": 0.2, "peaks": 3, "face": 0.4, "least": 0.5, "crops": [0.6],
            "match": "photos", "filter": "mean", "neighbours": 7, "distance": 0.8, "frame_size": 9,
        },
    },
}  # fmt: skip


def test_a_config_of_version_0_1_loads() -> None:
    new = modernise(OLD)
    assert new["experiment"] == "subtitles"
    model = from_config(SubtitleConfig, new["model"], "config.model")
    assert (model.speaker_encoder, model.laughter) == (Pretrained("a"), Pretrained("b"))
    assert (model.lwtnet, model.clip_pad, model.recognition.model) == (Pretrained("c"), Pretrained("d"), "tiny.en")
    assert (model.sentence_language, model.laughter_threshold, model.peak_threshold) == ("german", 0.1, 0.2)
    assert (model.max_peaks, model.face_threshold, model.min_cosine, model.crop_scales) == (3, 0.4, 0.5, (0.6,))
    assert (model.face_match_mode, model.exemplar_filter, model.neighbours) == ("photos", "mean", 7)
    assert (model.distance, model.frame_size) == (0.8, 9)
    data = from_config(SubtitlesData, new["data"], "config.data")
    assert (data.cache_dir, data.metric_prefix) == ("runs/w", "show")
    assert (data.synthetic, data.validation_seeds) == ({"episodes": 5, "seconds": 120.0}, (1000, 1001))
    assert modernise(new) == new


def test_a_subtitler_has_the_settings_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(OLD))
    assert Subtitler.from_pretrained(tmp_path).config.distance == 0.8
    (tmp_path / "results.json").write_text('{"show/accuracy": 0.9, "show/distance": 0.31}')
    subtitler = Subtitler.from_pretrained(tmp_path, min_cosine=0.7)
    assert (subtitler.config.distance, subtitler.config.min_cosine) == (0.31, 0.7)
    assert subtitler.config.face_match_mode == "photos"
    assert Subtitler.from_pretrained().config == SubtitleConfig()
    with pytest.raises(StoryjaxError, match=r"config\.model has no key 'min_cosin'. Did you mean 'min_cosine'"):
        Subtitler.from_pretrained(min_cosin=0.7)
    with pytest.raises(StoryjaxError, match="float32"):
        Subtitler.from_pretrained(precision="bfloat16")
    (tmp_path / "config.json").write_text('{"experiment": "tcr", "model": {}}')
    with pytest.raises(StoryjaxError, match="which is not a subtitler"):
        Subtitler.from_pretrained(tmp_path)


def test_a_subtitler_names_lines(series: Path, videos, transcripts, networks, config, tmp_path: Path) -> None:
    subtitler = Subtitler(from_config(SubtitleConfig, config.model), networks)
    cast = series / "cast_voices.json"
    (made,) = subtitler.subtitle(videos[0], cast, transcripts=transcripts, cache_dir=tmp_path, progress=False)
    assert made.episode == videos[0].stem
    assert any(line.name is not None for line in made.lines)


def test_a_grid_search_takes_the_thresholds_by_which_most_of_the_validation_is_right(
    config: ConfigDict, with_transcripts: Networks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config.data.update({"train_split": "val", "grid": {"neighbours": (5, 3), "peak_threshold": (0.6, 0.4)}})
    show, tried, used = make_show(config, with_transcripts), [], []
    subtitles, by_pipeline = show.subtitles, subtitles_experiment.subtitle
    spoken = Judged("ana", True, None, "ben", 0.1, 1.0, None, "speech", None)

    def recorded(split, raw_face_labels=False, after_season=None, config=None):
        tried.append((split, config.peak_threshold, config.neighbours))
        return subtitles(split, raw_face_labels, config=config) if split == "test" else [(config, None)]

    by_truth = subtitles_experiment.judge

    def judged(config, episode):
        if episode is not None:  # of the test: the pipeline's own
            return by_truth(config, episode)
        right = (config.peak_threshold, config.neighbours) == (0.4, 5)
        return [replace(spoken, nearest="ana") if right or i == 0 else spoken for i in range(3)]

    def noted(videos, cast, config, cache_dir, networks, **more):
        used.append((config, networks.find_peaks))
        return by_pipeline(videos, cast, config, cache_dir, networks, **more)

    monkeypatch.setattr(show, "subtitles", recorded)
    monkeypatch.setattr(subtitles_experiment, "judge", judged)
    monkeypatch.setattr(subtitles_experiment, "subtitle", noted)
    results = show.measure()
    assert tried[:4] == [("val", 0.6, 5), ("val", 0.6, 3), ("val", 0.4, 5), ("val", 0.4, 3)]
    assert tried[4:] == [("test", 0.4, 5)]
    ((settings, find_peaks),) = used
    assert (settings.peak_threshold, settings.distance) == (0.4, pytest.approx(0.1))
    heat = np.zeros((20, 20), np.float32)
    heat[3, 4] = 0.5
    assert len(find_peaks(heat)) == 1  # it would not be one at the config's own threshold of 0.7
    assert results["tv/data/episodes"] == len([e for split in ("val", "test") for s in show.seasons(split) for e in s])
    assert 0 < results["tv/data/speech"] <= 1
    assert (results["tv/chosen/peak_threshold"], results["tv/chosen/neighbours"]) == (0.4, 5.0)
    (tmp_path / "config.json").write_text(json.dumps(OLD))
    (tmp_path / "results.json").write_text(json.dumps(results))
    settings = Subtitler.from_pretrained(tmp_path).config
    assert (settings.peak_threshold, settings.neighbours, settings.distance) == (0.4, 5, pytest.approx(0.1))


def test_a_grid_is_of_thresholds_and_of_values() -> None:
    assert len(combinations(SubtitleConfig(), {"face_threshold": (0.8, 0.9), "max_peaks": (1, 2, 4)})) == 6
    assert combinations(SubtitleConfig(), {"min_cosine": (0.1, 0.2)})[1].min_cosine == 0.2
    for grid, message in (
        ({"face_treshold": (0.8,)}, "Did you mean 'face_threshold'"),
        ({"distance": (0.8,)}, "unknown key of config.data.grid 'distance'|'distance'"),
        ({"min_cosine": ()}, "give the values to try"),
        ({"min_cosine": "0.1"}, "give the values to try"),
        ({"max_peaks": ("two",)}, r"config\.data\.grid"),
    ):
        with pytest.raises(StoryjaxError, match=message):
            combinations(SubtitleConfig(), grid)
    # Every third segment is of somebody who is not listed, far away: unknown is right for them.
    segments = [
        Judged("ana", i % 3 > 0, None, "ana", 0.9 if i % 3 == 0 else 0.2, 1.0, None, "speech", None) for i in range(9)
    ]
    assert accuracy_at(segments, 0.5) == 1.0
    assert accuracy_at(segments, 1.0) == pytest.approx(6 / 9)
    with pytest.raises(StoryjaxError, match="no thresholds can be chosen"):
        grid_search(SubtitleConfig(), {"min_cosine": (0.1,)}, lambda config: [])
