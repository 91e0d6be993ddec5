"""Named precision policies. Softmax, norms and losses are float32 under each of them: the modules see to that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

from storyjax.core.config import choose


@dataclass(frozen=True)
class Policy:
    """Which type numbers have where.

    Attributes:
        compute: of activations; chapters hand it to their modules as `dtype`.
        frozen: of frozen parameters as they lie in memory. Trainable ones, and the optimiser's, are always float32.
        modules: another type, both of activations and of frozen parameters, for some of the top-level modules.
    """

    name: str
    compute: Any
    frozen: Any
    modules: Mapping[str, Any] = field(default_factory=dict)

    def compute_dtype(self, module: str) -> Any:
        """The type of the activations of a top-level module ("vision", "tcr", "qformer", "llm")."""
        return self.modules.get(module, self.compute)

    def parameter_dtype(self, dtype: Any, trains: bool, path: str = "") -> Any:
        """The type in memory of the parameter at `path` that was initialised as `dtype`; integers stay integers."""
        if not jnp.issubdtype(dtype, jnp.floating):
            return dtype
        return jnp.float32 if trains else self.modules.get(path.partition("/")[0], self.frozen)


def _lavis(vision: Any) -> dict[str, Any]:
    return {"vision": vision, "llm": jnp.bfloat16}


POLICIES = {
    "float32": Policy("float32", compute=jnp.float32, frozen=jnp.float32),
    "bfloat16": Policy("bfloat16", compute=jnp.bfloat16, frozen=jnp.bfloat16),
    # As LAVIS runs BLIP-2: the ViT in half precision, what stands between it and the T5 (Q-Former, TCR) in float32, the
    # T5 in bfloat16, since float16 overflows there. For GPUs; "lavis_bfloat16" is for TPUs, which have no float16.
    "lavis": Policy("lavis", compute=jnp.float32, frozen=jnp.float32, modules=_lavis(jnp.float16)),
    "lavis_bfloat16": Policy("lavis_bfloat16", compute=jnp.float32, frozen=jnp.float32, modules=_lavis(jnp.bfloat16)),
}


def get_policy(name: str) -> Policy:
    """The policy of `config.precision`.

    Raises:
        StoryjaxError: an unknown name.
    """
    return POLICIES[choose(name, POLICIES, "config.precision")]
