"""Parameters for modules of which a test asks nothing about their start."""

from collections.abc import Callable

import jax
import numpy as np
import pytest
from flax import linen as nn


@pytest.fixture(scope="session")
def random_variables() -> Callable[..., dict]:
    """Variables of a module, random with the deviations of a start: compiling the initialisers takes far longer."""

    def fill(module: nn.Module, *inputs: jax.Array) -> dict:
        rng = np.random.default_rng(0)
        abstract = jax.eval_shape(module.init, jax.random.key(0), *inputs)

        def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
            name = path[-1].key
            if name in ("scale", "logit_scale"):
                return jax.numpy.full(leaf.shape, 1.0 if name == "scale" else np.log(1 / 0.07), leaf.dtype)
            fan_in = leaf.shape[-2] if len(leaf.shape) > 1 else 100
            return jax.numpy.asarray(rng.normal(size=leaf.shape, scale=fan_in**-0.5), leaf.dtype)

        return jax.tree_util.tree_map_with_path(draw, abstract)

    return fill
