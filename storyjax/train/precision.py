"""Named precision policies. Softmax, norms and losses are float32 under each of them: the modules see to that."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from storyjax.configuration import choose


@dataclass(frozen=True)
class Policy:
    """Which type numbers have where.

    Attributes:
        compute: of activations; chapters hand it to their modules as `dtype`.
        frozen: of frozen parameters as they lie in memory. Trainable ones, and the optimiser's, are always float32.
    """

    name: str
    compute: Any
    frozen: Any

    def parameter_dtype(self, dtype: Any, trains: bool) -> Any:
        """The type in memory of a parameter that was initialised as `dtype`; integers stay integers."""
        if not jnp.issubdtype(dtype, jnp.floating):
            return dtype
        return jnp.float32 if trains else self.frozen


POLICIES = {
    "float32": Policy("float32", compute=jnp.float32, frozen=jnp.float32),
    "bfloat16": Policy("bfloat16", compute=jnp.bfloat16, frozen=jnp.bfloat16),
}


def get_policy(name: str) -> Policy:
    """The policy of `config.precision`.

    Raises:
        StoryjaxError: an unknown name.
    """
    return POLICIES[choose(name, POLICIES, "config.precision")]
