"""Scenic's own trainer on an experiment, and Scenic's numbers beside ours, where a checkout is at hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import one_task
import pytest
from flax import serialization
from test_zoo import SIGNATURES

from storyjax.core.params_io import flatten, load_flat
from storyjax.scenic import convert
from storyjax.train import loop

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
CHECKOUT = os.environ.get("STORYJAX_SCENIC", "")
pytestmark = pytest.mark.skipif(not CHECKOUT, reason="STORYJAX_SCENIC names no checkout of Scenic")


def python(*argv: str | Path, devices: int = 2) -> str:
    """Standard output of a program of this folder under Scenic."""
    path = f"{ROOT}:{CHECKOUT}:{HERE}:{ROOT / 'tests' / 'train'}"
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    done = subprocess.run([sys.executable, *argv], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def state_of(path: Path) -> dict[str, np.ndarray]:
    return flatten(serialization.msgpack_restore(path.read_bytes())["params"])


def test_an_experiment_trains_resumes_and_converts(tmp_path: Path, monkeypatch) -> None:
    run = tmp_path / "run"
    argv = [HERE / "one_task.py", f"{one_task.TOY}:embedded", run, "trainer_name=classification_trainer"]
    python(*argv)
    last, kept = state_of(run / "checkpoint_6"), state_of(run / "checkpoint_5")
    assert any((last[path] != kept[path]).any() for path in last)
    for path in ("teacher/kernel", "teacher/memory"):
        np.testing.assert_array_equal(last[path], kept[path])
    (run / "checkpoint_6").unlink()
    python(*argv)  # goes on from step 5
    again = state_of(run / "checkpoint_6")
    for path, array in last.items():
        np.testing.assert_array_equal(again[path], array, err_msg=path)

    monkeypatch.setattr(convert, "build_experiment", lambda config: one_task.experiment())
    out = tmp_path / "out.safetensors"
    assert convert.convert(run, out) == (6, len(last))
    stored = load_flat(out)
    assert all(np.array_equal(stored[path], last[path]) for path in last)
    config = one_task.toy.get_config("embedded")
    config.init = {"checkpoint": str(out)}
    found = loop.run(config, tmp_path / "eval", "eval", experiment=one_task.experiment(), progress=False)
    assert found["toy/mse"] == pytest.approx(logged(run)["valid_toy/mse"], rel=1e-5)


def logged(run: Path) -> dict[str, float]:
    """The last value of every scalar in the run's event files."""
    code = """if True:
        import glob, json, sys, tensorflow as tf
        found = {}
        for path in sorted(glob.glob(sys.argv[1] + "/events*")):
            for record in tf.data.TFRecordDataset(path):
                event = tf.compat.v1.Event.FromString(record.numpy())
                for value in event.summary.value:
                    if value.tensor.dtype == tf.float32.as_datatype_enum:
                        found[value.tag] = float(tf.make_ndarray(value.tensor))
        print(json.dumps(found))"""
    return json.loads(python("-c", code, str(run)).splitlines()[-1])


def test_scenic_is_as_it_was_and_computes_the_same(tmp_path: Path) -> None:
    found = json.loads(python(HERE / "compare_with_scenic.py").splitlines()[-1])
    assert found["signatures"] == SIGNATURES
    assert found["attention"] <= 1e-6
    assert found["giou"] <= 3e-6
    assert all(difference <= 1e-5 for difference in found["schedules"].values()), found["schedules"]
