"""Traces of steps, and utilisation: what is in the files and in the metrics, and that neither changes a run."""

import os
import pathlib
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from storyjax.core.errors import StoryjaxError
from storyjax.plan.utilisation import least_seconds
from storyjax.train.checkpoint import load_trainable
from storyjax.train.logging import read_metrics
from storyjax.train.loop import run

pytestmark = pytest.mark.usefixtures("compile_once")


def traced_steps(workdir: pathlib.Path, session: str) -> list[int]:
    """The numbers of the steps that a trace has marked."""
    (path,) = (workdir / "profile" / "plugins" / "profile" / session).glob("*.xplane.pb")
    data = jax.profiler.ProfileData.from_file(str(path))
    events = [event for plane in data.planes for line in plane.lines for event in line.events]
    return [dict(event.stats)["step_num"] for event in events if event.name == "train"]


# In a process of its own: one that has loaded libtpu, as the tests of plans do, cannot be traced.
TRACED = """
import sys
from pathlib import Path
import toy
from storyjax.train.loop import run

folder = Path(sys.argv[1])
run(toy.config(4, train={"batch_size": 8}), folder / "whole", experiment=toy.experiment(), profile=(2, 3))
config = toy.config(6, train={"stop_metric": "toy/mse", "stop_value": 0.0}, eval={"every": 2})
run(config, folder / "ended", experiment=toy.experiment(), progress=False, profile=(2, 5))
"""


def test_steps_are_traced_also_where_a_run_ends_within_them_and_it_ends_the_same(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", TRACED, str(tmp_path)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, cwd=pathlib.Path(__file__).parent, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "the profile is in" in done.stderr
    assert traced_steps(tmp_path / "whole", "steps_2_3") == [2, 3]
    assert traced_steps(tmp_path / "ended", "steps_2_5") == [2]
    run(toy.config(4, train={"batch_size": 8}), tmp_path / "other", experiment=toy.experiment(), progress=False)
    assert not (tmp_path / "other" / "profile").exists()
    one, other = (load_trainable(tmp_path / name) for name in ("whole", "other"))
    assert all(np.array_equal(one[path], other[path]) for path in one)


def test_utilisation_is_counted_of_the_step_that_runs(tmp_path: pathlib.Path) -> None:
    asked = []

    def least(kind: str, compiled: Any) -> float:
        asked.append((kind, compiled().as_text()))
        return 1e-4

    config = toy.config(4, train={"batch_size": 8})
    run(config, tmp_path / "one", experiment=toy.experiment(), progress=False, least_seconds=least)
    run(config, tmp_path / "other", experiment=toy.experiment(), progress=False)
    assert [kind for kind, _ in asked] == ["cpu"]
    assert "HloModule" in asked[0][1]
    lines = [line for line in read_metrics(tmp_path / "one" / "metrics.jsonl") if line["kind"] == "train"]
    assert [line["mfu"] for line in lines] == pytest.approx([1e-4 * line["steps_per_second"] for line in lines])
    assert not any("mfu" in line for line in read_metrics(tmp_path / "other" / "metrics.jsonl"))


@pytest.mark.parametrize(
    ("loaded", "message"), [(False, "takes steps 1 to 3"), (True, "loaded libtpu, and there is no TPU: set JAX_PLAT")]
)
def test_what_cannot_be_traced_is_one_line(loaded: bool, message: str, tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.setattr("storyjax.train.profile.libtpu_is_loaded", lambda: loaded)
    with pytest.raises(StoryjaxError, match=message):
        run(toy.config(3), tmp_path, experiment=toy.experiment(), progress=False, profile=(2, 5))


def test_without_a_known_peak_there_is_no_utilisation_and_it_is_said_once(tmp_path: pathlib.Path, capsys) -> None:
    run(toy.config(3), tmp_path, experiment=toy.experiment(), least_seconds=least_seconds)
    assert capsys.readouterr().err.count("metrics have no mfu: the peak of 'cpu'") == 1
    assert not any("mfu" in line for line in read_metrics(tmp_path / "metrics.jsonl"))


def test_what_trains_nothing_cannot_be_traced(tmp_path: pathlib.Path) -> None:
    experiment = toy.experiment(tasks=())
    with pytest.raises(StoryjaxError, match="toy trains nothing"):
        run(toy.config(3), tmp_path, experiment=experiment, progress=False, profile=(1, 2))


def test_the_least_time_of_a_step_is_its_flops_at_the_peak() -> None:
    compiled = jax.jit(lambda a: a @ a).lower(jnp.ones((64, 64))).compile()
    assert least_seconds("TPU v5 lite", lambda: compiled) == pytest.approx(2 * 64**3 / 197e12)
    assert least_seconds("TPU7x", lambda: compiled) == pytest.approx(2 * 2 * 64**3 / 2307e12)
    assert least_seconds("NVIDIA H200", lambda: pytest.fail("compiled for nothing")) is None
    nothing = jax.jit(lambda a: a + 1).lower(jnp.ones(3)).compile()
    assert least_seconds("TPU v4", lambda: nothing) is None
