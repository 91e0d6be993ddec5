"""Schedules against numbers worked out by hand, and what AdamW does not decay."""

import jax.numpy as jnp
import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.train.optim import make_optimizer, make_schedule
from storyjax.train.settings import OptimSettings


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({"schedule": "constant"}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        # After the warm-up, shares 0, 1/8 ... 7/8 of the eight steps that are left.
        ({"schedule": "linear"}, [0.25, 0.5, 0.75, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        (
            {"schedule": "linear", "final_scale": 0.5},
            [0.25, 0.5, 0.75, 1, 1, 0.9375, 0.875, 0.8125, 0.75, 0.6875, 0.625],
        ),
        # (1 + cos(pi / 4)) / 2 = 0.853553, (1 + cos(pi / 2)) / 2 = 0.5.
        (
            {"schedule": "cosine"},
            [0.25, 0.5, 0.75, 1, 1, 0.961940, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.038060],
        ),
        # Half of the run is step 6, three quarters step 9.
        ({"schedule": "step", "boundaries": (0.5, 0.75)}, [0.25, 0.5, 0.75, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]),
    ],
)
def test_schedules_by_hand(settings, rates):
    schedule = make_schedule(OptimSettings(learning_rate=2.0, warmup_steps=4, **settings), total_steps=12)
    np.testing.assert_allclose([schedule(step) for step in range(len(rates))], 2.0 * np.array(rates), atol=2e-6)


def test_a_run_shorter_than_its_warm_up_only_warms_up():
    schedule = make_schedule(OptimSettings(learning_rate=1.0, warmup_steps=2000), total_steps=2)
    np.testing.assert_allclose([schedule(0), schedule(1)], [1 / 2000, 2 / 2000], rtol=1e-6)


def test_only_matrices_decay():
    settings = OptimSettings(learning_rate=0.1, weight_decay=0.5, schedule="constant")
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    optimizer = make_optimizer(settings, 10)
    updates, _ = optimizer.update({"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05 * np.ones((2, 2)), rtol=1e-6)
    np.testing.assert_array_equal(updates["bias"], np.zeros(2))


def test_some_parameters_learn_at_a_rate_of_their_own():
    params = {"backbone": {"kernel": jnp.ones((2, 2))}, "head": {"kernel": jnp.ones((2, 2))}}
    updates = []
    for slow in ((), (("backbone/.*", 0.25),)):
        settings = OptimSettings(learning_rate=0.1, schedule="constant", lr_multipliers=slow)
        optimizer = make_optimizer(settings, 10)
        updates.append(optimizer.update(params, optimizer.init(params), params)[0])
    np.testing.assert_allclose(updates[1]["backbone"]["kernel"], 0.25 * updates[0]["backbone"]["kernel"], rtol=1e-6)
    np.testing.assert_array_equal(updates[1]["head"]["kernel"], updates[0]["head"]["kernel"])
    with pytest.raises(StoryjaxError, match="lr_multipliers"):
        make_optimizer(OptimSettings(lr_multipliers=(("(", 0.5),)), 10)


def test_the_gradient_is_clipped_as_a_whole():
    # Adam divides the size of a gradient out; what clipping changes is the first moment that it keeps.
    optimizer = make_optimizer(OptimSettings(clip_norm=1.0, b1=0.0), 10)
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    _, state = optimizer.update({"a": jnp.array([3.0]), "b": jnp.array([4.0])}, optimizer.init(params), params)
    moment = state[1][0].mu
    np.testing.assert_allclose([moment["a"][0], moment["b"][0]], [0.6, 0.8], rtol=1e-6)
