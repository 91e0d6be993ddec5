"""Equal layers run as one loop, so that a compiler sees one of them: the time to compile does not grow with depth."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


def stacked_parameters(module: nn.Module, *names: Sequence[str]) -> tuple[Any, ...]:
    """Returns, for each list of names, the parameters of these submodules with a leading axis of layers.

    They stay stored layer by layer, under the paths that the layers have where they run one after another: weights and
    checkpoints are the same. Call it within `module`, after its parameters were made (`not is_initializing()`).
    """
    params = module.variables["params"]
    return tuple(jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params[name] for name in some)) for some in names)


def loop_layers(
    step: Callable[[Any, Any, dict[str, jax.Array]], tuple[Any, Any]],
    carry: Any,
    parameters: Any,
    dropout: jax.Array | None,
    remat: bool = False,
) -> tuple[Any, Any]:
    """Returns what the last layer hands on, and what all of them gave, with a leading axis of layers.

    Args:
        step: of what the layer before handed on, a layer's parameters and its `rngs`; returns (handed on, given).
        carry: what the first layer gets.
        parameters: of all layers (`stacked_parameters`).
        dropout: the key of dropout, of which each layer gets its own; None without dropout.
        remat: whether the backward pass computes each layer again rather than keep what is within it. A loop keeps all
            of it for every layer, where without a loop a compiler chooses.
    """
    count = jax.tree.leaves(parameters)[0].shape[0]

    def body(carry: Any, given: tuple[Any, jax.Array]) -> tuple[Any, Any]:
        layer, index = given
        return step(carry, layer, {} if dropout is None else {"dropout": jax.random.fold_in(dropout, index)})

    body = jax.checkpoint(body, prevent_cse=False) if remat else body  # a loop is no place where CSE could undo it
    return jax.lax.scan(body, carry, (parameters, jnp.arange(count)))
