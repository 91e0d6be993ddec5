"""Experiments for Scenic's own trainer: module, batches, config, metrics and conversion, without Scenic."""

import inspect
import itertools
import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import one_task
import pytest
import toy
from flax import serialization

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, load_flat
from storyjax.data.streams import StreamSpec
from storyjax.main import report_errors
from storyjax.scenic import convert, feeds, zoo
from storyjax.scenic import train as train_module
from storyjax.scenic.config import get_config
from storyjax.scenic.module import ExperimentModule
from storyjax.tcr.evaluators import accuracies, accuracy_ratios
from storyjax.train.params import merge, partition
from storyjax.train.workdir import write_config

# Signatures of Scenic at storyjax.scenic.COMMIT, by the names of their parameters; test_under_scenic.py looks.
SIGNATURES = {
    "train_lib.classification_trainer:train": "rng config model_cls dataset workdir writer",
    "train_lib.train_utils:get_dataset": "config data_rng num_local_shards dataset_service_address dataset_name"
    " dataset_configs kwargs",
    "model_lib.base_models.base_model:BaseModel.__init__": "self config dataset_meta_data",
    "model_lib.base_models.base_model:BaseModel.build_flax_model": "self",
    "model_lib.base_models.base_model:BaseModel.loss_function": "self logits batch model_params",
    "model_lib.base_models.base_model:BaseModel.get_metrics_fn": "self split",
    "dataset_lib.mnist_dataset:get_dataset": "batch_size eval_batch_size num_shards dtype_str shuffle_seed rng"
    " dataset_configs dataset_service_address",
    "dataset_lib.datasets:add_dataset": "name args kwargs",
    "model_lib.models:get_model_cls": "model_name",
}


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    return jax.jit(toy.init)(jax.random.key(5))


@pytest.fixture
def fitted(monkeypatch) -> zoo.Fitted:
    monkeypatch.setattr(zoo, "build_experiment", lambda config: one_task.experiment())
    return zoo.Fitted.of(get_config(f"{one_task.TOY}:embedded"))


def batch_of(size: int) -> dict[str, np.ndarray]:
    return next(iter(toy.ToyStream(StreamSpec(size, seed=3))))


def test_our_functions_have_the_signatures_of_scenic() -> None:
    def names(function: Any) -> str:
        return " ".join(inspect.signature(function).parameters)

    assert names(train_module.train) == SIGNATURES["train_lib.classification_trainer:train"]
    assert names(zoo.build_dataset) == SIGNATURES["dataset_lib.mnist_dataset:get_dataset"]
    assert names(zoo.get_model_cls) == SIGNATURES["model_lib.models:get_model_cls"]


def test_the_module_has_the_loss_and_the_gradients_of_the_task(params) -> None:
    experiment = one_task.experiment()
    module, batch = ExperimentModule(experiment), batch_of(8)
    trainable, frozen = partition(params, experiment.trainable)

    def through_module(whole: Any) -> Any:
        out, state = module.apply(
            {"params": whole}, batch, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.PRNGKey(0)}
        )
        assert set(out) == {"loss", "mean"}
        assert not state
        return out["loss"]

    def of_task(trainable: Any) -> Any:
        return experiment.tasks[0].loss(merge(trainable, frozen), batch, jax.random.key(0))[0]

    loss, gradients = jax.jit(jax.value_and_grad(through_module))(params)
    expected, wanted = jax.jit(jax.value_and_grad(of_task))(trainable)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    ours, theirs = flatten(gradients), flatten(wanted)
    assert set(ours) - set(theirs) == {"teacher/kernel", "teacher/memory"}
    for path, gradient in ours.items():
        if path in theirs:
            np.testing.assert_allclose(gradient, theirs[path], rtol=1e-5, atol=1e-6, err_msg=path)
        else:
            assert not gradient.any(), path


def test_the_module_draws_from_the_key_that_it_is_given(params) -> None:
    module, batch = ExperimentModule(one_task.experiment(noise=0.5)), batch_of(8)

    def loss(key: jax.Array) -> float:
        return float(module.apply({"params": params}, batch, train=True, rngs={"dropout": key})["loss"])

    assert loss(jax.random.PRNGKey(1)) == loss(jax.random.key(1)) != loss(jax.random.PRNGKey(2))


def test_the_module_begins_with_what_it_is_given_and_evaluates(params) -> None:
    experiment = one_task.experiment()
    module = ExperimentModule(experiment, experiment.evaluators[0], lambda key: params)
    made = module.init({"params": jax.random.PRNGKey(0)}, np.zeros((4, 1)), train=False, debug=False)["params"]
    jax.tree.map(np.testing.assert_array_equal, dict(made), params)
    batch = next(one_task.data(StreamSpec(8, seed=0)))
    sums = module.apply({"params": params}, batch, train=False, mutable=False, debug=False)
    assert sums == one_task.eval_step(params, batch)


def test_batches_are_cut_for_the_devices_and_training_goes_on_exactly() -> None:
    task = one_task.experiment().tasks[0]
    whole = list(itertools.islice(feeds.train_batches(task, StreamSpec(8, seed=3), 2), 3))
    assert whole[0]["inputs"]["x"].shape == (2, 4, 4)
    assert whole[0]["batch_mask"].shape == (2, 4)
    assert whole[0]["batch_mask"].all()
    np.testing.assert_array_equal(whole[0]["inputs"]["x"].reshape(8, 4), batch_of(8)["x"])
    later = next(feeds.train_batches(task, StreamSpec(8, seed=3, start_step=2), 2))
    np.testing.assert_array_equal(later["inputs"]["x"], whole[2]["inputs"]["x"])
    parts = [next(feeds.train_batches(task, StreamSpec(8, 3, 0, index, 2), 2)) for index in range(2)]
    joined = np.concatenate([part["inputs"]["x"].reshape(4, 4) for part in parts])
    np.testing.assert_array_equal(joined, batch_of(8)["x"])


def test_evaluation_is_endless_and_every_pass_is_whole() -> None:
    evaluator = one_task.experiment().evaluators[0]
    assert feeds.batches_of_a_pass(evaluator, 8) == 2
    batches = list(itertools.islice(feeds.eval_batches(evaluator, StreamSpec(8, seed=0), 4), 4))
    assert [int(batch["batch_mask"].sum()) for batch in batches] == [8, 5, 8, 5]
    np.testing.assert_array_equal(batches[0]["inputs"]["x"], batches[2]["inputs"]["x"])
    other = one_task.dataclasses.replace(evaluator, size=lambda: 20)
    with pytest.raises(StoryjaxError, match="gave 2 batches, not 3"):
        list(itertools.islice(feeds.eval_batches(other, StreamSpec(8, seed=0), 4), 4))


def test_metrics_are_sums_over_devices(params) -> None:
    evaluator = one_task.experiment().evaluators[0]
    measure = zoo.metrics_of(evaluator, "eval")
    total = np.zeros(2)
    for batch in itertools.islice(feeds.eval_batches(evaluator, StreamSpec(8, seed=0), 1), 2):
        one = jax.pmap(lambda inputs: measure(one_task.eval_step(params, inputs), {}), axis_name="batch")
        total += np.array(one(batch["inputs"])["toy/mse"])[:, 0]
    x = np.random.default_rng(7).normal(size=(one_task.SIZE, 4)).astype(np.float32)
    y, target = toy.outputs(params, x)
    assert total[0] / total[1] == pytest.approx(float(((y - target) ** 2).mean()), rel=1e-5)
    trained = jax.pmap(zoo.metrics_of(evaluator, "train"), axis_name="batch")(
        {"loss": np.ones(1)}, {"batch_mask": np.ones((1, 8))}
    )
    assert [float(part[0]) for part in trained["loss"]] == [8.0, 8.0]


def test_the_ratios_of_nextqa_are_its_accuracies() -> None:
    rng = np.random.default_rng(0)
    asked = rng.integers(1, 5, 9).astype(np.float64)
    asked[3] = 0
    sums = {"asked": asked, "right": np.minimum(asked, rng.integers(0, 5, 9)), "chosen": rng.integers(1, 9, 5)}
    ratios, expected = accuracy_ratios(sums), accuracies(sums)
    assert set(ratios) - set(expected) == {"nextqa/acc_TC"}
    for name, (right, count) in ratios.items():
        assert count == 0 or right / count == expected[name]
    assert ratios["nextqa/acc"] == (sums["right"].sum(), asked.sum())
    traced = jax.jit(accuracy_ratios)({name: np.float32(value) for name, value in sums.items()})
    np.testing.assert_allclose(traced["nextqa/acc_temporal"], ratios["nextqa/acc_temporal"])


@pytest.mark.parametrize(
    ("changes", "override", "message"),
    [
        ({"tasks": toy.experiment().tasks}, {}, "trains 2 tasks"),
        ({"evaluators": (toy.evaluator(),)}, {}, "no metric of toy is a ratio of sums"),
        ({}, {"train.accumulate": 2}, "accumulate"),
        ({}, {"train.stop_metric": "toy/mse"}, "stop_metric"),
        ({}, {"mesh.fsdp": 2}, "mesh"),
        ({}, {"optim.lr_multipliers": (("student/out/.*", 0.1),)}, "lr_multipliers"),
    ],
)
def test_what_does_not_fit_is_one_line(monkeypatch, capsys, changes, override, message: str) -> None:
    monkeypatch.setattr(zoo, "build_experiment", lambda config: one_task.experiment(**changes))
    config = get_config(f"{one_task.TOY}:embedded")
    with config.storyjax.ignore_type(), config.storyjax.unlocked():
        config.storyjax.update_from_flattened_dict(override)
    assert report_errors(lambda: zoo.Fitted.of(config) and 0, "") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert "--config.trainer_name=storyjax" in error


def test_the_trainer_gets_every_setting(fitted, tmp_path: Path) -> None:
    config = get_config(f"{one_task.TOY}:embedded")
    made = zoo.trainer_config(config, fitted, tmp_path)
    assert (made.batch_size, made.eval_batch_size, made.num_training_steps) == (8, 8, 6)
    assert made.num_training_epochs is None
    assert (made.log_eval_steps, made.checkpoint_steps, made.max_grad_norm) == (3, 2, 1.0)
    assert made.lr_configs.factors == "constant * cosine_decay * linear_warmup"
    pattern = made.optimizer_configs.freeze_params_reg_exp
    frozen = [path for path in flatten(jax.eval_shape(toy.init, jax.random.key(0))) if re.search(pattern, path)]
    assert sorted(frozen) == ["teacher/kernel", "teacher/memory"]
    assert config.num_training_steps == 6
    assert "dataset_configs" not in config


def checkpoint(folder: Path, params: Any, step: int) -> None:
    folder.mkdir(exist_ok=True)
    write_config(folder, get_config(f"{one_task.TOY}:embedded").storyjax)
    state = {"params": jax.device_get(params), "global_step": step, "opt_state": {}}
    (folder / f"checkpoint_{step}").write_bytes(serialization.msgpack_serialize(state))


def test_a_checkpoint_becomes_safetensors(params, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(convert, "build_experiment", lambda config: one_task.experiment())
    checkpoint(tmp_path / "run", params, 9)
    checkpoint(tmp_path / "run", jax.tree.map(lambda leaf: leaf + 1, params), 12)
    (tmp_path / "run" / "checkpoint_99.orbax-checkpoint-tmp").mkdir()
    out = tmp_path / "out.safetensors"
    argv = [f"--run={tmp_path / 'run'}", f"--out={out}"]
    assert convert.main(argv) == 0
    assert capsys.readouterr().out == f"6 arrays of step 12 are in {out}\n"
    assert convert.main([*argv, "--step=9"]) == 0
    stored = load_flat(out)
    for path, array in flatten(params).items():
        np.testing.assert_array_equal(stored[path], array)
    given = {f"teacher/{name}": np.asarray(array) for name, array in params["teacher"].items()}
    monkeypatch.setattr(convert, "build_experiment", lambda config: one_task.experiment(pretrained=lambda: given))
    assert convert.main(argv) == 0
    assert set(load_flat(out)) == {path for path in flatten(params) if path.startswith("student/")}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "checkpoint_9").unlink(), "there is no checkpoint_N"),
        (lambda run: (run / "checkpoint_9").write_bytes(b"\x93half"), "not whole"),
        (lambda run: (run / "config.json").unlink(), "no config.json"),
        (lambda run: (run / "config.json").write_text("{"), "no config.json"),
        (lambda run: checkpoint(run, {"student": {"other": np.ones(3)}}, 9), "are of another model"),
        (lambda run: ((run / "checkpoint_9").unlink(), (run / "checkpoint_9").mkdir()), "cannot be read"),
    ],
)
def test_what_cannot_be_converted_is_one_line(params, tmp_path: Path, monkeypatch, capsys, spoil, message) -> None:
    monkeypatch.setattr(convert, "build_experiment", lambda config: one_task.experiment())
    checkpoint(tmp_path / "run", params, 9)
    spoil(tmp_path / "run")
    argv = [f"--run={tmp_path / 'run'}", f"--out={tmp_path / 'out.safetensors'}"]
    assert report_errors(lambda: convert.main(argv), "") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: --run, --out"),
        (["--run=x", "--out=y", "--stpe=3"], "unrecognized arguments: --stpe=3"),
        (["--run=x", "--out=y", "--step=last"], "invalid int value: 'last'"),
    ],
)
def test_a_slip_is_one_line(capsys, argv, message: str) -> None:
    assert report_errors(lambda: convert.main(argv), "") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert convert.main(["--help"]) == 0
    assert "--step" in capsys.readouterr().out


def test_neither_trainer_goes_on_with_the_others_run_nor_with_a_finished_one(fitted, params, tmp_path: Path) -> None:
    config = get_config(f"{one_task.TOY}:embedded")
    checkpoint(tmp_path / "theirs", params, 6)
    (tmp_path / "ours" / "checkpoints").mkdir(parents=True)
    both = {"config": config, "writer": None}
    with pytest.raises(StoryjaxError, match="holds a run of Scenic's trainer"):
        train_module.train(workdir=str(tmp_path / "theirs"), **both)
    with pytest.raises(StoryjaxError, match="holds a run of storyjax's own loop"):
        zoo.train(rng=None, workdir=str(tmp_path / "ours"), **both)
    with pytest.raises(StoryjaxError, match="has taken its 6 steps"):
        zoo.train(rng=None, workdir=str(tmp_path / "theirs"), **both)


def test_a_checkpoint_is_not_written_over(params, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(convert, "build_experiment", lambda config: one_task.experiment())
    checkpoint(tmp_path / "run", params, 9)
    before = (tmp_path / "run" / "checkpoint_9").read_bytes()
    argv = [f"--run={tmp_path / 'run'}", f"--out={tmp_path / 'run' / 'checkpoint_9'}"]
    assert report_errors(lambda: convert.main(argv), "") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "run" / "checkpoint_9").read_bytes() == before
    assert json.loads((tmp_path / "run" / "config.json").read_text())["experiment"] == "toy"
