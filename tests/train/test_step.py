"""The step: what trains, what does not, and what is summed."""

import jax
import toy

from storyjax.train.loop import run


def test_training_lowers_the_error(tmp_path):
    before = run(toy.config(0), tmp_path / "a", experiment=toy.experiment(), progress=False)
    after = run(toy.config(60), tmp_path / "b", experiment=toy.experiment(), progress=False)
    assert after["toy/mse"] < 0.1 * before["toy/mse"]
    assert jax.device_count() >= 1
