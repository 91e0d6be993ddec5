"""Runs from the outside: what they write, where they start from, and what they refuse."""

import json
import pathlib
import struct

import jax
import numpy as np
import pytest
import toy
from ml_collections import ConfigDict
from tensorboardX.proto import event_pb2

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, save_tree
from storyjax.train.checkpoint import load_trainable
from storyjax.train.experiment import Experiment, HostEvaluator, build_experiment
from storyjax.train.logging import read_metrics
from storyjax.train.loop import run, total_steps
from storyjax.train.settings import complete, read_settings

pytestmark = pytest.mark.usefixtures("compile_once")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, compile_once) -> pathlib.Path:
    """The workdir of a run of 4 steps."""
    workdir = tmp_path_factory.mktemp("trained")
    run(toy.config(4), workdir, experiment=toy.experiment(), progress=False)
    return workdir


def events(workdir: pathlib.Path) -> list[tuple[str, int, float]]:
    """(tag, step, value) of the scalars in a run's event files: records of length, checksum, Event, checksum."""
    scalars = []
    for path in workdir.glob("events.out.tfevents.*"):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            scalars += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            data = data[16 + length :]
    return scalars


def refusal(*arguments, **keywords) -> str:
    with pytest.raises(StoryjaxError) as caught:
        run(*arguments, progress=False, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_learns_and_tells(tmp_path, capsys):
    config = toy.config(
        60, optim={"learning_rate": 0.05}, log={"every": 20, "tensorboard": True}, eval={"every": 40, "batch_size": 16}
    )
    results = run(config, tmp_path, experiment=toy.experiment())
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [(line["step"], line["kind"]) for line in lines] == [
        *((20, "train"), (40, "train"), (40, "eval"), (60, "train"), (60, "eval"))
    ]
    assert lines[3]["loss"] < 0.5 * lines[0]["loss"]
    assert lines[0].keys() >= {
        "grad_norm",
        "learning_rate",
        "left/loss",
        "left/broken",
        "units_per_second",
        "steps_per_second",
        "wait_share",
        "host_memory_gib",
    }
    assert lines[0]["units_per_second"] == pytest.approx(16 * lines[0]["steps_per_second"])
    assert 0.01 < lines[0]["host_memory_gib"] < 1000
    assert results == {"toy/mse": lines[4]["toy/mse"]} == json.loads((tmp_path / "results.json").read_text())
    assert json.loads((tmp_path / "config.json").read_text())["optim"]["learning_rate"] == 0.05
    assert ("train/loss", 60, lines[3]["loss"]) in events(tmp_path)
    assert ("eval/toy/mse", 60, pytest.approx(results["toy/mse"])) in events(tmp_path)
    bar = capsys.readouterr().err
    for part in ("60/60", "left", "loss 0.", "toys/s", "wait ", "step 40: toy/mse"):
        assert part in bar, bar


def test_what_is_frozen_stays_and_is_not_in_checkpoints(trained):
    before = jax.jit(toy.init)(jax.random.key(3))
    params = toy.load_params(toy.config(4), trained)
    np.testing.assert_array_equal(params["teacher"]["kernel"], before["teacher"]["kernel"])
    assert set(load_trainable(trained)) == set(flatten({"student": before["student"]}))
    assert all(
        (np.asarray(a) != b).any()
        for a, b in zip(*map(jax.tree.leaves, (params["student"], before["student"])), strict=True)
    )


def test_eval_mode_evaluates_the_checkpoint_or_else_what_a_run_starts_from(trained, tmp_path):
    of_run = run(toy.config(4), trained, "eval", experiment=toy.experiment(), progress=False)
    assert of_run == {"toy/mse": read_metrics(trained / "metrics.jsonl")[-1]["toy/mse"]}
    given = {path: np.asarray(leaf) for path, leaf in flatten(toy.load_params(toy.config(4), trained)).items()}
    experiment = toy.experiment(pretrained=lambda: given)
    of_weights = run(toy.config(4), tmp_path, "eval", experiment=experiment, progress=False)
    assert of_weights == pytest.approx(of_run, rel=1e-6)
    assert not (tmp_path / "checkpoints").exists()


def test_a_run_starts_from_another_or_from_safetensors(trained, tmp_path):
    expected = {"toy/mse": read_metrics(trained / "metrics.jsonl")[-1]["toy/mse"]}
    save_tree(tmp_path / "weights.safetensors", load_trainable(trained))
    for source, mode in ((trained, "eval"), (tmp_path / "weights.safetensors", "train")):
        config = toy.config(0, init={"checkpoint": str(source)})
        assert run(config, tmp_path / source.stem, mode, experiment=toy.experiment(), progress=False) == expected
    config = toy.config(0, init={"checkpoint": str(trained), "skip": "student/out/.*"})
    params = toy.load_params(config, tmp_path / "skip")
    assert (
        params["student"]["out"]["kernel"] == jax.jit(toy.init)(jax.random.key(3))["student"]["out"]["kernel"]
    ).all()
    shipped = toy.config(0, init={"checkpoint": "shipped:nothing"})
    assert "no weights named 'nothing'" in refusal(shipped, tmp_path / "new", experiment=toy.experiment())
    nothing = toy.config(0, init={"checkpoint": str(tmp_path / "nothing")})
    assert "neither the workdir of a run nor safetensors" in refusal(
        nothing, tmp_path / "new", experiment=toy.experiment()
    )


def test_another_models_checkpoint_is_refused_by_name(trained, tmp_path):
    def init(key):
        tree = toy.init(key)
        return {**tree, "student": {"hidden": tree["student"]["hidden"], "head": {"kernel": jax.numpy.ones((3, 2))}}}

    other = toy.experiment(init=init)
    for message in (
        refusal(toy.config(4), trained, experiment=other),
        refusal(toy.config(4, init={"checkpoint": str(trained)}), tmp_path, experiment=other),
    ):
        assert "1 missing: student/head/kernel; 2 unused: student/middle/kernel, student/out/kernel" in message
    message = refusal(toy.config(4), tmp_path, experiment=toy.experiment(pretrained=lambda: {"tutor": np.ones(2)}))
    assert "1 unused: tutor" in message


def test_a_run_goes_on_only_under_its_own_config(trained):
    changed = toy.config(4, optim={"learning_rate": 0.1}, log={"every": 2})
    message = refusal(changed, trained, experiment=toy.experiment())
    assert "optim.learning_rate was 0.01, is 0.1. Choose another --workdir" in message
    assert "log.every" not in message
    assert "is at step 4 already" in refusal(toy.config(3), trained, experiment=toy.experiment())


def test_a_loss_that_is_not_finite_names_step_task_and_records(tmp_path):
    config = toy.config(8, checkpoint={"every": 2})
    message = refusal(config, tmp_path, experiment=toy.experiment(nan_at=4))
    # The batch of the fifth step.
    assert "step 5 is not finite: task 'right' has loss nan on records [32, 33, 34, 35, 36, 37, 38, 39]" in message
    assert f"The state after step 4 is saved in {tmp_path}" in message
    assert all(np.isfinite(array).all() for array in load_trainable(tmp_path).values())
    # The record fixed, the run goes on from there.
    run(config, tmp_path, experiment=toy.experiment(), progress=False)
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [*range(1, 9), 8]


def test_a_workdir_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert "File exists" in refusal(toy.config(1), tmp_path / "file", experiment=toy.experiment())
    assert "Not a directory" in refusal(toy.config(1), tmp_path / "file" / "run", experiment=toy.experiment())

    def read_only(path, *arguments, **keywords):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(pathlib.Path, "mkdir", read_only)
    message = refusal(toy.config(1), tmp_path / "run", experiment=toy.experiment())
    assert f"cannot write the run in {tmp_path / 'run'}: Read-only file system." in message


def test_memory_that_runs_out_is_one_line(tmp_path):
    def greedy(spec):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\nand more")

    task = toy.Task("greedy", greedy, toy.loss(0, 0.0))
    message = refusal(toy.config(1), tmp_path, experiment=toy.experiment(tasks=(task,)))
    assert "Out of memory allocating 99 bytes" in message
    assert "config.train.accumulate" in message


def test_the_length_of_a_run():
    def length(**train):
        return total_steps(read_settings(ConfigDict({"train": train})), toy.experiment())

    assert (length(epochs=2.5), length(epochs=2.5, steps=3), length(epochs=0.3)) == (10, 3, 2)
    with pytest.raises(StoryjaxError, match="needs steps or epochs"):
        length()


def test_complete_spells_out_what_can_be_overridden_and_keeps_references():
    config = toy.config(4, optim={"learning_rate": 1})
    config.model.seed = config.get_ref("seed")
    full = complete(config)
    full.seed = 9
    assert (full.model.seed, config.seed, full.optim.b2, full.optim.learning_rate) == (9, 3, 0.999, 1.0)
    for wrong, message in {
        "trian": "config has no key 'trian'. Did you mean 'train'?",
        "experimnt": "config has no key 'experimnt'. Did you mean 'experiment'?",
    }.items():
        with pytest.raises(StoryjaxError) as caught:
            complete(ConfigDict({wrong: {}}))
        assert message in str(caught.value)
    with pytest.raises(StoryjaxError, match=r"config.checkpoint.keep is 0; it must be at least 1"):
        complete(ConfigDict({"checkpoint": {"keep": 0}}))


def test_an_experiment_that_is_not_there_is_named():
    with pytest.raises(StoryjaxError, match=r"unknown 'tcx'. Did you mean 'tcr'\?"):
        build_experiment(ConfigDict({"experiment": "tcx"}))
    with pytest.raises(StoryjaxError, match=r"storyjax.train.step has no function build"):
        build_experiment(ConfigDict({"experiment": "train/step"}))


def test_a_run_ends_where_a_metric_is_good_enough_and_stays_ended(tmp_path, capsys):
    def short(value: float, metric: str = "toy/mse") -> ConfigDict:
        stop = {"stop_metric": metric, "stop_value": value}
        return toy.config(6, train=stop, eval={"every": 2}, checkpoint={"every": 100})

    full = run(short(1e9), tmp_path / "never", experiment=toy.experiment(), progress=False)
    ended = run(short(0.0), tmp_path / "early", experiment=toy.experiment())
    assert "toy/mse is" in capsys.readouterr().err
    assert [line["step"] for line in read_metrics(tmp_path / "never" / "metrics.jsonl") if line["kind"] == "eval"][
        -1
    ] == 6
    evaluated = [line for line in read_metrics(tmp_path / "early" / "metrics.jsonl") if line["kind"] == "eval"]
    assert [line["step"] for line in evaluated] == [2]
    assert ended["toy/mse"] == evaluated[0]["toy/mse"] != full["toy/mse"]
    assert json.loads((tmp_path / "early" / "results.json").read_text()) == ended
    # The same command again finds it ended: it takes no step more.
    assert run(short(0.0), tmp_path / "early", experiment=toy.experiment(), progress=False) == ended
    assert max(line["step"] for line in read_metrics(tmp_path / "early" / "metrics.jsonl")) == 2
    assert run(short(0.0), tmp_path / "early", "eval", experiment=toy.experiment(), progress=False) == ended
    assert "unknown 'toy/msee'" in refusal(short(0.0, "toy/msee"), tmp_path / "slip", experiment=toy.experiment())
    blind = toy.config(4, train={"stop_metric": "toy/mse"})
    assert "set config.eval.every" in refusal(blind, tmp_path / "blind", experiment=toy.experiment())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_an_experiment_without_tasks_is_evaluated_in_both_modes(mode, tmp_path):
    """Nothing is said of steps, nothing is saved, and the batch size of evaluations that there are none of is free."""
    steps = []

    def measured(params, after_part):
        after_part()
        steps.append(params)
        return {"toy/number": 3.0}

    config = ConfigDict({"experiment": "toy", "train": {"batch_size": 7}})
    experiment = Experiment("toy", lambda key: {}, None, evaluators=(HostEvaluator("number", measured),))
    assert run(config, tmp_path, mode, experiment=experiment, progress=False) == {"toy/number": 3.0}
    assert json.loads((tmp_path / "results.json").read_text()) == {"toy/number": 3.0}
    assert (tmp_path / "config.json").exists() == (mode == "train")
    assert not (tmp_path / "checkpoints").exists()
    assert steps == [{}]


def test_frozen_parameters_are_evaluated_without_tasks(tmp_path):
    experiment = toy.experiment(tasks=(), trainable=None, drawn=".*")
    expected = run(toy.config(4), tmp_path / "a", "eval", experiment=toy.experiment(), progress=False)
    assert run(toy.config(4), tmp_path / "b", experiment=experiment, progress=False) == expected


def test_tasks_need_something_to_train():
    with pytest.raises(ValueError, match="tasks need trainable parameters"):
        toy.experiment(trainable=None)


def test_frozen_parameters_that_nobody_gave_are_refused(trained, tmp_path):
    careless = toy.experiment(drawn=None, frozen_from="config.model.teacher names them")
    message = refusal(toy.config(0), tmp_path, experiment=careless)
    assert "nothing gives 2 of the 2 frozen parameters (teacher/kernel, teacher/memory)" in message
    assert message.endswith("config.model.teacher names them")
    part = toy.experiment(drawn=None, pretrained=lambda: {"teacher/kernel": np.ones((4, 2))})
    assert "nothing gives 1 of the 2" in refusal(toy.config(0), tmp_path, experiment=part)
    # Not with another run's parameters either, if they are without them.
    save_tree(tmp_path / "weights.safetensors", load_trainable(trained))
    config = toy.config(0, init={"checkpoint": str(tmp_path / "weights.safetensors")})
    assert "nothing gives 1 of the 2" in refusal(config, tmp_path, experiment=toy.experiment(drawn="teacher/kernel"))


def test_what_was_drawn_on_purpose_is_the_next_stages_too(trained, tmp_path):
    config = toy.config(0, init={"checkpoint": str(trained)})
    config.seed = 11  # would draw another teacher
    run(config, tmp_path, experiment=toy.experiment(), progress=False)
    first, second = (
        toy.load_params(c, place)["teacher"] for c, place in ((toy.config(4), trained), (config, tmp_path))
    )
    np.testing.assert_array_equal(first["kernel"], second["kernel"])
