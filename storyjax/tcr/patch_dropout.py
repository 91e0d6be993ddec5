"""Which tokens of a frame the TCR reads: every other frame loses a random fraction of its patches (thesis §3.2.3)."""

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Array, Float, Int


def patch_order(key: Array, b: int, t: int, n: int, fraction: float) -> Int[Array, "b odd k"]:
    """Returns which tokens of every other frame are kept (§3.2.3): the CLS token, first of a frame, and a random
    rest.
    """
    count = n - 1 - int(fraction * (n - 1))
    order = jnp.argsort(jax.random.uniform(key, (b, t // 2, n - 1)), axis=-1)[..., :count] + 1
    return jnp.concatenate([jnp.zeros_like(order[..., :1]), jnp.sort(order, axis=-1)], axis=-1)


def kept(tokens: Float[Array, "s b c n e"], order: Int[Array, "s b odd k"] | None) -> Float[Array, "s b kept e"]:
    """Returns the tokens that are kept: whole frames first, thinned ones after (their order does not matter to
    attention).

    Args:
        tokens: of s parts of b videos.
        order: of `patch_order`; None: nothing is dropped.
    """
    if order is None:
        return rearrange(tokens, "s b c n e -> s b (c n) e")
    thinned = jnp.take_along_axis(tokens[:, :, 1::2], order[..., None], axis=3)
    whole = rearrange(tokens[:, :, 0::2], "s b c n e -> s b (c n) e")
    return jnp.concatenate([whole, rearrange(thinned, "s b c n e -> s b (c n) e")], axis=2)


def drop_patches(
    key: Array, tokens: Float[Array, "b t n e"], fraction: float
) -> tuple[Float[Array, "b s e"], Int[Array, "b s"]]:
    """Returns the tokens less a random fraction of the patches of every other frame (§3.2.3); the CLS token, first of a
    frame, stays.

    Returns:
        the tokens kept, frame after frame, and the 0-based frame that each belongs to.
    """
    b, t, n, _ = tokens.shape
    order = patch_order(key, b, t, n, fraction)
    frames, thin = jnp.arange(t), order.shape[-1]
    index = [repeat(frames[0::2], "t -> b (t n)", b=b, n=n), repeat(frames[1::2], "t -> b (t n)", b=b, n=thin)]
    return kept(tokens[None], order[None])[0], jnp.concatenate(index, axis=1)


def all_patches(tokens: Float[Array, "b t n e"]) -> tuple[Float[Array, "b s e"], Int[Array, "b s"]]:
    """Returns all tokens, frame after frame, and the frame of each: what `drop_patches` gives with nothing dropped."""
    b, t, n, _ = tokens.shape
    return rearrange(tokens, "b t n e -> b (t n) e"), repeat(jnp.arange(t), "t -> b (t n)", b=b, n=n)
