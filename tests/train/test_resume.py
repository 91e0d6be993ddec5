"""A run that is killed or stopped and started again ends bit for bit as one that never was."""

import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import toy

from storyjax.train.checkpoint import Checkpoints, load_trainable
from storyjax.train.logging import read_metrics
from storyjax.train.loop import run

FOLDER = pathlib.Path(__file__).parent


def start(event: str, workdir: pathlib.Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The toy's command line, in a process of its own, with `event` striking it."""
    command = [sys.executable, str(FOLDER / "toy_main.py"), event, f"--config={FOLDER / 'toy.py'}:embedded"]
    return subprocess.run(
        [*command, f"--workdir={workdir}", *arguments],
        env={**os.environ, "XLA_FLAGS": "", **environment},
        capture_output=True,
        text=True,
        timeout=600,  # a guard against a hang, not a measure of speed
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """(parameters, metrics) of a run that nothing happened to."""
    workdir = tmp_path_factory.mktemp("unbroken")
    run(toy.get_config("embedded"), workdir, experiment=toy.experiment(), progress=False)
    return load_trainable(workdir), read_metrics(workdir / "metrics.jsonl")


TIMES = ("units_per_second", "steps_per_second", "wait_share", "host_memory_gib")


def check_same(workdir: pathlib.Path, unbroken: Any, atol: float) -> None:
    parameters, metrics = load_trainable(workdir), read_metrics(workdir / "metrics.jsonl")
    expected_parameters, expected_metrics = unbroken
    assert parameters.keys() == expected_parameters.keys()
    for path, array in expected_parameters.items():
        np.testing.assert_allclose(parameters[path], array, rtol=0, atol=atol, err_msg=path)
    assert [line.keys() for line in metrics] == [line.keys() for line in expected_metrics]
    for line, expected in zip(metrics, expected_metrics, strict=True):
        assert line["kind"] == expected["kind"]
        numbers = [name for name in expected if name not in ("kind", *TIMES)]
        np.testing.assert_allclose([line[n] for n in numbers], [expected[n] for n in numbers], rtol=0, atol=10 * atol)


def test_a_run_killed_again_and_again_ends_bit_for_bit_as_one_that_was_not(unbroken, tmp_path):
    for event in ("term-evaluation", "kill-evaluation", "kill-checkpoint", "kill-step"):
        stopped = start(event, tmp_path)
        if event.startswith("term"):
            assert stopped.returncode == 0, stopped.stderr
            assert stopped.stderr.count("resume with the same command") == 1, stopped.stderr
        else:
            assert stopped.returncode == -9, stopped.stderr
    assert not (tmp_path / "results.json").exists()
    # A half-written line is what a kill in the middle of logging leaves.
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "ki')
    run(toy.get_config("embedded"), tmp_path, experiment=toy.experiment(), progress=False)
    check_same(tmp_path, unbroken, atol=0.0)


def test_eight_devices_do_what_one_does_and_one_goes_on_from_them(unbroken, tmp_path):
    mesh = ("--config.mesh.data=4", "--config.mesh.fsdp=2")
    eight = start("term-step", tmp_path, *mesh, XLA_FLAGS="--xla_force_host_platform_device_count=8")
    assert eight.returncode == 0, eight.stderr
    assert "stopped after step 5 of 6, saved; resume with the same command" in eight.stderr
    run(toy.get_config("embedded"), tmp_path, experiment=toy.experiment(), progress=False)
    check_same(tmp_path, unbroken, atol=1e-5)


def test_a_full_disk_is_one_line_and_leaves_earlier_checkpoints_whole(unbroken, tmp_path):
    full = start("full", tmp_path, "--progress=false")
    assert full.returncode == 2, full.stderr
    assert full.stderr.count("\n") == 1, full.stderr
    assert full.stderr.startswith(f"storyjax: error: cannot write the run in {tmp_path}: File too large.")
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert checkpoints.latest() == 4
    checkpoints.close()
    assert load_trainable(tmp_path).keys() == unbroken[0].keys()
