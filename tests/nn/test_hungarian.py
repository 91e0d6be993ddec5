"""The assignment in `jit` against SciPy's, with padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from storyjax.nn.hungarian import assign_batch, take

jitted = jax.jit(assign_batch)


def costs(n: int, m: int, seed: int, examples: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cost = rng.normal(size=(examples, n, m)).astype(np.float32) * 10
    return cost, rng.random((examples, n)) < 0.7, rng.random((examples, m)) < 0.7


@pytest.mark.parametrize(("n", "m"), [(6, 9), (9, 6)])
def test_cost_and_count_are_scipys(n: int, m: int) -> None:
    cost, targets, predictions = costs(n, m, seed=n)
    found = np.asarray(jitted(cost, targets, predictions))
    assert (found[~targets] == -1).all()
    for row in range(len(cost)):
        real = cost[row][np.ix_(targets[row], predictions[row])]
        rows, columns = linear_sum_assignment(real)
        pairs = [(i, j) for i, j in enumerate(found[row]) if j >= 0]
        assert len(pairs) == len(rows)
        assert len({j for _, j in pairs}) == len(pairs)
        assert all(predictions[row, j] for _, j in pairs)
        assert sum(cost[row, i, j] for i, j in pairs) == pytest.approx(float(real[rows, columns].sum()), abs=1e-3)


def test_padding_changes_nothing_and_no_number_is_the_worst() -> None:
    cost, targets, predictions = costs(6, 9, seed=1)
    before = np.asarray(jitted(cost, targets, predictions))
    hidden = np.where(targets[:, :, None] & predictions[:, None], cost, np.float32(-1e6))
    assert np.array_equal(np.asarray(jitted(hidden, targets, predictions)), before)
    holes = cost.copy()
    holes[:, 0, :5] = np.nan
    everything = np.ones((20, 6), bool), np.ones((20, 9), bool)
    assert (np.asarray(jitted(holes, *everything))[:, 0] >= 5).all()


def test_nothing_to_assign() -> None:
    cost, targets, predictions = costs(6, 9, seed=2)
    assert (np.asarray(jitted(cost, np.zeros_like(targets), predictions)) == -1).all()
    assert (np.asarray(jitted(cost, targets, np.zeros_like(predictions))) == -1).all()


def test_no_gradient_passes_through() -> None:
    cost, targets, predictions = costs(6, 9, seed=3)

    def total(scale: jax.Array) -> jax.Array:
        return take(jnp.ones((20, 9)), jitted(scale * cost, targets, predictions)).sum()

    assert float(jax.grad(total)(jnp.ones(()))) == 0.0
