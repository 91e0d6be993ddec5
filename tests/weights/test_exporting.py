"""`storyjax export`: what comes out is what the run has, to the last bit, and runs where storyjax is not."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from ml_collections import ConfigDict

from storyjax.cli.main import run
from storyjax.core.params_io import flatten, load_flat, unflatten
from storyjax.tcr.predict import Predictor
from storyjax.train.checkpoint import Checkpoints, load_trainable
from storyjax.train.experiment import build_experiment
from storyjax.train.mesh import make_mesh
from storyjax.train.optim import make_optimizer
from storyjax.train.params import partition
from storyjax.train.settings import MeshSettings, OptimSettings
from storyjax.train.step import new_state

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_tcr

T5 = {
    "experiment": "embedded.t5",
    "seed": 3,
    "model": {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": 1, "num_decoder_layers": 1},
    "data": {"story_length": 4, "prompt_length": 6, "target_length": 3},
}
CLIP = {
    "experiment": "embedded.clip",
    "seed": 3,
    "model": {
        "vision": {"image_size": 16, "patch_size": 8, "width": 16, "depth": 1, "heads": 2, "mlp_width": 24},
        "text": {"max_length": 8, "width": 16, "depth": 1, "heads": 2, "mlp_width": 24},
        "projection_dim": 8,
    },
    "data": {"train_stories": 0, "val_stories": 0, "text_length": 6},
}


def save_run(folder: Path, config: dict, trainable: dict) -> Path:
    """The workdir of a run that has these parameters."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    checkpoints = Checkpoints(folder)
    tree = unflatten({path: jnp.asarray(array) for path, array in trainable.items()})
    state = new_state(tree, make_optimizer(OptimSettings(), 1), make_mesh(MeshSettings()))
    checkpoints.save(state, {"init_gave_frozen": False})
    checkpoints.close()
    return folder


def drawn(config: dict) -> tuple[dict, dict]:
    """(trainable, all) parameters of an experiment with random numbers, flat."""
    experiment = build_experiment(ConfigDict(config))
    tree = jax.eval_shape(experiment.init, jax.random.key(0))
    rng = np.random.default_rng(1)
    flat = {path: rng.normal(size=leaf.shape).astype(np.float32) * 0.3 for path, leaf in flatten(tree).items()}
    trainable = flatten(partition(tree, experiment.trainable)[0])
    return {path: flat[path] for path in trainable}, flat


@pytest.fixture(scope="module")
def tcr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a TCR's run."""
    folder = tmp_path_factory.mktemp("runs")
    checkpoint = tiny_tcr.write_checkpoint(folder / "model")
    config = json.loads((checkpoint / "config.json").read_text())
    return save_run(folder / "run", config, load_flat(checkpoint))


@pytest.fixture(scope="module")
def stablehlo(tcr: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "tcr"
    assert run(["export", str(tcr), "--to", "stablehlo", "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("to", ["safetensors", "orbax"])
def test_parameters_round_trip_exactly(to: str, tcr: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert run(["export", str(tcr), "--to", to, "--out", str(out)]) == 0
    trained = load_trainable(tcr)
    assert f"in {len(trained)} arrays" in capsys.readouterr().out
    exported = load_trainable(out)
    assert exported.keys() == trained.keys()
    for path, array in trained.items():
        np.testing.assert_array_equal(exported[path], array)
        assert exported[path].dtype == np.float32
    before, after = Predictor.from_pretrained(tcr).params, Predictor.from_pretrained(out).params
    jax.tree.map(np.testing.assert_array_equal, after, before)
    if to == "orbax":
        with ocp.StandardCheckpointer() as checkpointer:
            params = flatten(checkpointer.restore(out.absolute() / "params"))
        assert all(np.array_equal(params[path], trained[path]) for path in trained)
    assert "tcr" in (out / "README.md").read_text()


def test_frozen_parameters_that_no_file_has_go_along(tmp_path: Path) -> None:
    """The reader's embedding is drawn from the seed and never trained: without it the export would be no model."""
    trainable, whole = drawn(T5)
    assert whole.keys() - trainable.keys() == {"llm/shared/embedding"}
    folder = save_run(tmp_path / "run", T5, trainable)
    assert run(["export", str(folder), "--to", "safetensors", "--out", str(tmp_path / "out")]) == 0
    exported = load_flat(tmp_path / "out" / "model.safetensors")
    assert exported.keys() == whole.keys()
    init = flatten(jax.jit(build_experiment(ConfigDict(T5)).init)(jax.random.key(T5["seed"])))
    np.testing.assert_array_equal(exported["llm/shared/embedding"], init["llm/shared/embedding"])
    np.testing.assert_array_equal(exported["llm/lm_head"], trainable["llm/lm_head"])


# Runs in a process in which nothing but JAX, NumPy and what they need can be imported.
ELSEWHERE = """
import sys
for name in ("storyjax", "flax", "safetensors", "orbax", "ml_collections", "einops"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
import numpy as np
from run import load
inputs = np.load(sys.argv[2])
function = load(sys.argv[1], sys.argv[3])
names = sorted({key.split("/")[0] for key in inputs})
outputs = {}
for number in names:
    given = {key.split("/")[1]: inputs[key] for key in inputs if key.startswith(number + "/")}
    outputs |= {f"{number}/{key}": np.asarray(value, np.float32) for key, value in function(**given).items()}
np.savez(sys.argv[4], **outputs)
"""


def elsewhere(folder: Path, name: str, cases: list[dict], tmp_path: Path) -> list[dict]:
    """What an exported function gives for each case, run in such a process."""
    flat = {f"{number}/{key}": value for number, case in enumerate(cases) for key, value in case.items()}
    np.savez(tmp_path / "inputs.npz", **flat)
    command = [str(folder), str(tmp_path / "inputs.npz"), name, str(tmp_path / "outputs.npz")]
    subprocess.run([sys.executable, "-c", ELSEWHERE, *command], check=True, cwd=tmp_path)
    outputs = np.load(tmp_path / "outputs.npz")
    return [
        {key.split("/")[1]: outputs[key] for key in outputs if key.startswith(f"{number}/")}
        for number in range(len(cases))
    ]


def test_stablehlo_is_the_model_at_any_number_of_videos_and_frames(stablehlo: Path, tcr: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases = []
    for videos, frames, words in ((1, 3, 4), (3, 7, 16)):
        condition = rng.integers(2, 100, (videos, words)).astype(np.int32)
        condition[0, 3:] = 0
        cases.append(
            {
                "frames": rng.integers(0, 256, (videos, frames, 16, 16, 3)).astype(np.uint8),
                "seconds": np.sort(rng.uniform(0, 60, (videos, frames)).astype(np.float32)),
                "condition": condition,
            }
        )
    predictor = Predictor.from_pretrained(tcr)
    config = ConfigDict(json.loads((tcr / "config.json").read_text()))
    function = jax.jit(build_experiment(config).exports["resample"].function)
    for case, theirs in zip(cases, elsewhere(stablehlo, "resample", cases, tmp_path), strict=True):
        ours = function(predictor.params, **case)
        assert ours.keys() == theirs.keys() == {"queries", "looked"}
        for name, array in ours.items():
            np.testing.assert_allclose(theirs[name], array, atol=2e-5, rtol=1e-5)
        assert theirs["queries"].shape == (len(case["frames"]), 6, 24)
        np.testing.assert_allclose(theirs["looked"].sum(-1), 1, atol=1e-5)
    # Padding is no word: the first video's question is its three first ids.
    short = {**cases[1], "condition": cases[1]["condition"][:, :8]}
    first, padded = function(predictor.params, **short), function(predictor.params, **cases[1])
    np.testing.assert_allclose(first["queries"][0], padded["queries"][0], atol=1e-5)


def test_the_folder_says_what_goes_in_and_comes_out(stablehlo: Path) -> None:
    signature = json.loads((stablehlo / "signature.json").read_text())
    resample = signature["functions"]["resample"]
    assert resample["inputs"]["frames"]["shape"] == ["b", "t", 16, 16, 3]
    assert resample["inputs"]["frames"]["dtype"] == "uint8"
    assert resample["outputs"]["queries"]["shape"] == ["b", 6, 24]
    assert resample["outputs"]["looked"]["shape"] == ["b", "t"]
    assert resample["constraints"] == ["l <= 16"]
    weights = load_flat(stablehlo / signature["weights"])
    assert set(weights) == set(resample["weights"])
    assert {path.split("/")[0] for path in weights} == {"vision", "tcr"}
    assert 'load(".", "resample")' in (stablehlo / "README.md").read_text()


@pytest.mark.parametrize(
    ("config", "name", "inputs"),
    [
        (T5, "logits", {"ids": np.full((2, 10), 5, np.int32), "decoder_ids": np.full((2, 3), 4, np.int32)}),
        (CLIP, "embed_images", {"images": np.arange(1536, dtype=np.uint32).reshape(2, 16, 16, 3).astype(np.uint8)}),
        (CLIP, "embed_texts", {"ids": np.array([[5, 1, 0, 0, 0, 0], [6, 7, 8, 9, 4, 1]], np.int32)}),
    ],
    ids=["t5", "clip_images", "clip_texts"],
)
def test_clip_and_t5(config: dict, name: str, inputs: dict, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainable, whole = drawn(config)
    folder = save_run(tmp_path / "run", config, trainable)
    assert run(["export", str(folder), "--to", "stablehlo", "--out", "out"]) == 0
    (outputs,) = elsewhere(tmp_path / "out", name, [inputs], tmp_path)
    weights = whole | load_flat(tmp_path / "out" / "model.safetensors")
    export = build_experiment(ConfigDict(config)).exports[name]
    for key, array in jax.jit(export.function)(unflatten(weights), **inputs).items():
        assert np.abs(array).max() > 0.1
        np.testing.assert_allclose(outputs[key], array, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none", "--to", "safetensors"], "none is not the workdir of a run"),
        (["bare", "--to", "safetensors"], "names no experiment"),
        (["untrained", "--to", "safetensors"], "has no whole checkpoint yet"),
        (["run", "--to", "onnx"], "--to: unknown 'onnx'. Known: safetensors, orbax, stablehlo"),
        (["run"], "--to"),
        (["run", "--to", "orbax", "--out", "bare"], "--out bare is there already"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_slip_is_one_line(arguments: list[str], message: str, tcr: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name, config in (("bare", {"model": {}}), ("untrained", T5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "run").symlink_to(tcr)
    out = [] if "--out" in arguments else ["--out", "out"]
    assert run(["export", *arguments, *out]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("storyjax: error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_an_experiment_without_functions_says_so(tcr: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    import dataclasses

    from storyjax.weights import export_run

    def build(config: ConfigDict):
        return dataclasses.replace(build_experiment(config), exports={})

    monkeypatch.setattr(export_run, "build_experiment", build)
    assert run(["export", str(tcr), "--to", "stablehlo", "--out", str(tmp_path / "out")]) == 2
    assert "the experiment 'tcr' names no function to export as StableHLO" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
