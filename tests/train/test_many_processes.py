"""Several processes do what one does; one of them killed, all end, and all started again end as if nothing had been."""

import json
import os
import pathlib
import socket
import subprocess
import sys
from dataclasses import dataclass

import jax
import numpy as np
import pytest
import toy

from storyjax.core.errors import StoryjaxError
from storyjax.train.checkpoint import load_trainable
from storyjax.train.distributed import in_cluster, start_distributed
from storyjax.train.logging import read_metrics
from storyjax.train.loop import run
from storyjax.train.mesh import data_share
from storyjax.train.settings import DistributedSettings

FOLDER = pathlib.Path(__file__).parent
MESH = ("--config.mesh.data=1", "--config.mesh.fsdp=8")
HEARTBEAT = 15


@dataclass
class Ended:
    code: int
    out: str
    err: str


def start(workdir: pathlib.Path, events: tuple[str, ...], devices: int, *arguments: str) -> list[Ended]:
    """The toy's command line in a process for each of `events`, with so many devices each; waits for all."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    processes = []
    for number, event in enumerate(events):
        command = [sys.executable, str(FOLDER / "toy_main.py"), event, f"--config={FOLDER / 'toy.py'}:embedded"]
        command += [f"--workdir={workdir}", "--progress=false", *MESH, *arguments]
        if len(events) > 1:
            command += [f"--config.distributed.address=127.0.0.1:{port}", f"--config.distributed.process={number}"]
            command += [f"--config.distributed.processes={len(events)}"]
            command += [f"--config.distributed.heartbeat_seconds={HEARTBEAT}"]
        environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        environment["PYTHONUNBUFFERED"] = "1"  # what a killed process has said must not be lost
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, env=environment, **pipes))
    ended = []
    try:
        for process in processes:
            # A guard against a hang, not a measure of speed.
            out, err = process.communicate(timeout=600)
            ended.append(Ended(process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return ended


def check_fine(ended: list[Ended]) -> None:
    for process in ended:
        assert process.code == 0, process.err


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> tuple[pathlib.Path, list[Ended]]:
    """A run of two processes with four devices each that nothing happened to."""
    workdir = tmp_path_factory.mktemp("two")
    ended = start(workdir, ("none", "none"), 4)
    check_fine(ended)
    return workdir, ended


def lines(ended: Ended, kind: str) -> list[str]:
    return [line.removeprefix(kind).strip() for line in ended.out.splitlines() if line.startswith(kind + " ")]


def test_two_processes_do_what_one_does_and_frozen_weights_are_cut_too(unbroken, tmp_path):
    two, ended = unbroken
    (one,) = start(tmp_path, ("none",), 8)
    check_fine([one])
    expected = load_trainable(tmp_path)
    for path, array in load_trainable(two).items():
        np.testing.assert_allclose(array, expected[path], rtol=0, atol=1e-6, err_msg=path)
    results = [json.loads((workdir / "results.json").read_text()) for workdir in (two, tmp_path)]
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    for process, devices in ((ended[0], 4), (ended[1], 4), (one, 8)):
        for kind in ("frozen", "trainable"):
            assert lines(process, kind) == [str([(toy.WIDTH // 8, toy.WIDTH)] * devices)]
    # Only the first writes logs and speaks of results.
    assert "toy/mse" in ended[0].out
    assert "toy/mse" not in ended[1].out
    assert [line["step"] for line in read_metrics(two / "metrics.jsonl")] == [1, 2, 3, 3, 4, 5, 6, 6]


def test_a_checkpoint_of_two_processes_is_bit_for_bit_that_of_any_other_layout(unbroken, tmp_path, monkeypatch):
    two, (first, second) = unbroken
    (saved,) = [line for line in lines(first, "saved") if line.startswith("6 ")]
    assert saved in lines(second, "saved")
    (one,) = start(two, ("none",), 8, "--config.mesh.data=4", "--config.mesh.fsdp=2")
    check_fine([one])
    assert lines(one, "restored") == [saved]
    from toy_main import digest

    from storyjax.train.checkpoint import Checkpoints

    restore, digests = Checkpoints.restore_state, []

    def restored(self, step, like):
        state = restore(self, step, like)
        digests.append(f"{step} {digest(state)}")
        return state

    monkeypatch.setattr(Checkpoints, "restore_state", restored)
    run(toy.get_config("embedded"), two, experiment=toy.experiment(), progress=False)
    assert digests == [saved]


def test_processes_killed_end_the_others_and_started_again_they_go_on(unbroken, tmp_path):
    for events, killed in ((("kill-step", "none"), 0), (("none", "kill-evaluation"), 1)):
        ended = start(tmp_path, events, 4)
        assert ended[killed].code == -9
        survivor = ended[1 - killed]
        assert survivor.code != 0
        last = survivor.err.splitlines()[-1]
        assert last.startswith(f"storyjax: error: process {1 - killed} of 2 "), survivor.err
        assert "start all processes again" in last
        assert not (tmp_path / "results.json").exists()
    # The second attempt went on from a checkpoint of the first: the last one that was whole.
    (restored,) = lines(ended[0], "restored")
    assert restored in lines(unbroken[1][0], "saved")
    again = start(tmp_path, ("none", "none"), 4)
    check_fine(again)
    assert again[0].out.splitlines()[-1] == unbroken[1][0].out.splitlines()[-1]
    (expected,) = [line for line in lines(unbroken[1][0], "saved") if line.startswith("6 ")]
    assert (lines(again[0], "saved") or lines(again[0], "restored"))[-1] == expected
    for name in ("left/seen", "loss", "toy/mse"):
        logged = [[line.get(name) for line in read_metrics(w / "metrics.jsonl")] for w in (tmp_path, unbroken[0])]
        assert logged[0] == logged[1]


def test_where_many_processes_are_looked_for():
    assert not in_cluster({}, tpu=False)
    assert in_cluster({}, tpu=True)
    assert in_cluster({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}, tpu=False)
    assert not in_cluster({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"}, tpu=False)
    assert in_cluster({"OMPI_COMM_WORLD_SIZE": "4"}, tpu=False)
    assert not in_cluster({"OMPI_COMM_WORLD_SIZE": ""}, tpu=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"address": "host"}, "config.distributed.address is 'host'; it must be HOST:PORT"),
        ({"address": "host:1"}, "process None of None processes at host:1"),
        ({"address": "host:1", "processes": 2, "process": 2}, "process 2 of 2 processes"),
        ({"processes": 2, "process": 0}, "config.distributed.address is missing"),
    ],
)
def test_processes_that_make_no_sense_are_one_line(settings, message):
    with pytest.raises(StoryjaxError) as caught:
        start_distributed(DistributedSettings(**settings))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


class Device:
    """All that a mesh needs to know of a device here."""

    platform = device_kind = "toy"

    def __init__(self, number: int, process: int) -> None:
        self.id, self.process_index = number, process


@pytest.mark.parametrize(
    ("shape", "processes", "expected"),
    [
        ((8, 1, 1), (0, 0, 0, 0, 1, 1, 1, 1), (1, 2)),  # each process has half of the examples
        ((4, 1, 2), (0, 0, 0, 0, 1, 1, 1, 1), (1, 2)),
        ((1, 1, 8), (0, 0, 0, 0, 1, 1, 1, 1), (0, 1)),  # both hold the same example
        ((2, 1, 4), (0, 0, 1, 1, 2, 2, 3, 3), (0, 2)),  # two processes each
        ((2, 4, 1), (0, 0, 1, 1, 0, 0, 1, 1), (1, 2)),  # a process's devices lie apart, as on a torus
        ((1, 4, 2), (0, 0, 0, 1, 1, 1, 1, 1), None),
    ],
)
def test_the_part_of_a_batch_that_a_process_loads(shape, processes, expected, monkeypatch) -> None:
    devices = [Device(number, process) for number, process in enumerate(processes)]
    mesh = jax.sharding.Mesh(np.array(devices, object).reshape(shape), ("data", "fsdp", "seq"))
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    if expected is None:
        with pytest.raises(StoryjaxError, match="cuts a batch across processes unevenly"):
            data_share(mesh)
    else:
        assert data_share(mesh) == expected
