"""Configs that earlier versions wrote go on to load: with today's keys, and to the same model and data."""

from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from storyjax.core.config import from_config, override
from storyjax.core.errors import StoryjaxError
from storyjax.core.renames import modernise
from storyjax.tcr.config import TasksData
from storyjax.tcr.features import questions_task
from storyjax.tcr.heads.config import CountingData, MomentsData, RecognitionData, SelectionData, read_data
from storyjax.train.experiment import build_experiment
from storyjax.train.restore import open_trained
from storyjax.train.settings import complete

MODEL = {
    "llm": {"weights": "shipped:storyworld_t5"},
    "tcr": {"blocks": 6, "cross_attention_blocks": [0, 2, 4], "heads": 4, "max_prompt": 12, "queries": 8, "width": 128},
    "vision": {"weights": "shipped:storyworld_clip"},
}
# The config.json of a run of configs/tcr_nextqa.py:embedded of version 0.1.
NEXTQA = {
    "checkpoint": {"every": 100, "keep": 3},
    "data": {
        "condition_length": 12,
        "data_dir": "runs/storyworld/prepared",
        "eval_split": "test",
        "frames": 32,
        "manual_dir": "runs/storyworld/nextqa",
        "max_broken_share": 0.1,
        "prompt_length": 62,
        "questions_per_video": 4,
        "storyworld": {"test": 100, "train": 400, "val": 100},
    },
    "eval": {"batch_size": 4, "every": 0},
    "experiment": "tcr",
    "init": {"checkpoint": "shipped:tcr_storyworld", "skip": None},
    "model": MODEL,
    "optim": {"learning_rate": 5e-05, "schedule": "cosine", "warmup_steps": 20},
    "precision": "float32",
    "seed": 0,
    "train": {"batch_size": 8, "steps": 200},
}
SMALL = {"data_dir": "prepared", "frames": 32, "condition_length": 12, "exercises_per_video": 4, "target_length": 24}
# The sections of one of configs/tcr_multitask.py:embedded.
MULTITASK = {
    **NEXTQA,
    "experiment": "tcr.finetune",
    "data": {
        "nextqa": {"manual_dir": "nextqa", "frames": 32, "questions_per_video": 4, "storyworld": {"train": 40}},
        "tasks": {
            "narration": {**SMALL, "recipe": "narration", "manual_dir": "egoschema"},
            "egoschema": {
                **SMALL,
                "recipe": "egoschema",
                "manual_dir": "egoschema",
                "train": None,
                "eval": "subset",
                "storyworld": {"train": 40, "test": 200},
            },
            "lta": {**SMALL, "recipe": "lta", "manual_dir": "ego4d", "eval": "val", "eval_exercises": 1},
        },
    },
}


def heads(**data: object) -> dict:
    """A config of a head of version 0.1, which had one set of keys for all."""
    return {**NEXTQA, "experiment": "tcr.discriminative", "data": data}


def test_nextqa_alone_becomes_a_task() -> None:
    new = modernise(NEXTQA)
    assert new["experiment"] == "tcr"
    assert new["data"] == {
        "tasks": {
            "nextqa": {
                "task": "nextqa",
                "root": "runs/storyworld/nextqa",
                "cache_dir": "runs/storyworld/prepared",
                "synthetic": {"counts": {"test": 100, "train": 400, "val": 100}},
                "eval_splits": ["test"],
                "frames": 32,
                "examples_per_video": 4,
                "eval_examples": 16,
                "condition_length": 12,
                "prompt_length": 62,
                "max_broken_fraction": 0.1,
                "cached": False,  # all runs of 0.1 read pixels
            }
        }
    }
    assert modernise(new) == new
    name, data = questions_task(ConfigDict(new))
    assert (name, data.eval_splits, data.train_split) == ("nextqa", ("test",), "train")
    experiment = build_experiment(complete(ConfigDict(new)))
    assert [task.name for task in experiment.tasks] == ["nextqa"]
    assert [evaluator.name for evaluator in experiment.evaluators] == ["nextqa"]
    assert set(jax.eval_shape(experiment.init, jax.random.key(0))) == {"vision", "tcr", "llm"}


def test_without_a_split_nextqa_is_evaluated_as_it_was() -> None:
    section = modernise({"experiment": "tcr", "data": {"frames": 6}})["data"]["tasks"]["nextqa"]
    assert (section["root"], section["eval_splits"], section["eval_examples"]) == ("data/nextqa", ["val"], 16)


def test_many_tasks_and_nextqa_keep_their_order_and_their_epochs() -> None:
    new = modernise(MULTITASK)
    assert modernise(new) == new
    data = from_config(TasksData, ConfigDict(new["data"]), "data")
    assert data.epochs_of == "lta"
    assert data.tasks["egoschema"].train_split is None
    assert data.tasks["egoschema"].eval_splits == ("subset",)
    assert data.tasks["egoschema"].synthetic == {"counts": {"train": 40, "test": 200}}
    assert data.tasks["narration"].eval_splits == ()
    assert (data.tasks["lta"].examples_per_video, data.tasks["lta"].eval_examples) == (4, 1)
    assert (data.tasks["nextqa"].eval_splits, data.tasks["nextqa"].eval_examples) == (("val",), 16)
    experiment = build_experiment(complete(ConfigDict(new)))
    assert [task.name for task in experiment.tasks] == ["nextqa", "lta", "narration"]
    assert [one.name for one in experiment.evaluators] == ["nextqa", "egoschema", "lta"]


def test_heads_have_their_own_keys() -> None:
    places = {"manual_dir": "kinetics", "data_dir": "prepared", "storyworld": {"train": 4, "val": 1}}
    clips = {**places, "classes": 40, "hidden": 128, "cached": True, "kept": 4, "frames": 12}
    new = modernise(heads(task="recognition", **clips))
    assert new["experiment"] == "tcr.heads"
    assert isinstance(data := read_data(ConfigDict(new["data"])), RecognitionData)
    assert (data.root, data.synthetic, data.kept) == ("kinetics", {"counts": {"train": 4, "val": 1}}, 4)
    selection = modernise(heads(task="selection", **clips, words=True, eval="train"))
    assert isinstance(data := read_data(ConfigDict(selection["data"])), SelectionData)
    assert (data.clip_init, data.eval_split) == ("storyjax.embedded.tcr_clip_init:start_from_clip", "train")
    spans = modernise(heads(task="moments", manual_dir="ego4d", resampler="runs/tcr", bins=60, exercises_per_video=4))
    assert isinstance(data := read_data(ConfigDict(spans["data"])), MomentsData)
    assert (data.examples_per_video, spans["model"]["tcr"]["weights"]) == (4, "runs/tcr")
    for config in (new, selection, spans):
        assert modernise(config) == config


def test_counting_names_its_two_data_sets() -> None:
    old = heads(
        task="counting",
        manual_dir="countix",
        storyworld={"val": 60},
        clips_dir="kinetics",
        clips_storyworld={"train": 400},
        changes=True,
        movement=1.0,
    )
    new = modernise(old)
    assert modernise(new) == new
    assert isinstance(data := read_data(ConfigDict(new["data"])), CountingData)
    assert data.root == {"countix": "countix", "kinetics400": "kinetics"}
    assert data.synthetic == {"countix": {"counts": {"val": 60}}, "kinetics400": {"counts": {"train": 400}}}
    assert data.temporal_difference
    assert data.movement == 1.0


@pytest.mark.parametrize(
    ("name", "experiments"),
    [
        ("tcr_nextqa_storyworld", ("tcr",)),
        ("tcr_storyworld", ("tcr",)),
        ("tcr_storyworld_practised", ("tcr",)),
        ("tcr_countix_storyworld", ("tcr.heads",)),
    ],
)
def test_what_ships_loads(name: str, experiments: tuple[str, ...]) -> None:
    parts = ("vision", "llm", "tcr")
    trained = open_trained(f"shipped:{name}", default="", chapter="TCR", experiments=experiments, parts=parts)
    assert trained.config.model.vision.weights == "shipped:storyworld_clip"
    if name == "tcr_countix_storyworld":
        assert isinstance(data := read_data(trained.config.data), CountingData)
        assert (data.frames, data.hidden, data.temporal_difference) == (64, 128, True)


def test_a_model_alone_is_what_earlier_versions_shipped(tmp_path: Path) -> None:
    """The shipped config.json of version 0.1 says the model, without a section for it."""
    (tmp_path / "config.json").write_text(ConfigDict(MODEL).to_json())
    parts = ("vision", "llm", "tcr")
    trained = open_trained(tmp_path, default="", chapter="TCR", experiments=("tcr",), parts=parts)
    assert trained.config.model.tcr.queries == 8
    assert trained.config.data.get("frames") is None


@pytest.mark.parametrize(
    ("experiment", "old", "new"),
    [
        ("tcr", "data.frames", "data.tasks.nextqa.frames"),
        ("tcr", "data.tasks.lta.eval", "data.tasks.lta.eval_splits"),
        ("tcr.heads", "data.changes", "data.temporal_difference"),
        ("tcr.heads", "data.resampler", "model.tcr.weights"),
        ("embedded.tcr_alignment", "data.practice.routines.count", "data.auxiliary_tasks.routines.count"),
    ],
)
def test_an_old_key_is_answered_with_its_new_name(experiment: str, old: str, new: str) -> None:
    config = ConfigDict({"experiment": experiment, "data": {"tasks": {}}, "model": {}})
    with pytest.raises(StoryjaxError, match=f"config.{old} is called config.{new} now"):
        override(config, old, "1", ("data",))
