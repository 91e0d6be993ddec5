"""Learning-rate schedules and AdamW with global-norm clipping (§3.6.2)."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, unflatten
from storyjax.train.settings import OptimSettings


def make_schedule(settings: OptimSettings, total_steps: int) -> optax.Schedule:
    """The learning rate of each step, counted from 0.

    The first `warmup_steps` steps rise linearly: step t has (t + 1) / warmup_steps of the peak, so that no step is
    spent at rate zero. After them, with p the fraction of the remaining run that has passed:

    - constant: the peak;
    - cosine: from the peak to peak * final_scale along half a cosine of p;
    - linear: the same along a line;
    - step: the peak times `decay` for each of `boundaries` (fractions of the whole run) that has been reached.
    """
    warmup, total = settings.warmup_steps, max(total_steps, 1)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        step = jnp.asarray(count, jnp.float32)
        progress = jnp.clip((step - warmup) / max(total - warmup, 1), 0.0, 1.0)
        if settings.schedule == "cosine":
            fall = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
        elif settings.schedule == "linear":
            fall = 1.0 - progress
        else:
            fall = jnp.ones_like(progress)
        scale = settings.final_scale + (1.0 - settings.final_scale) * fall
        if settings.schedule == "step":
            for boundary in settings.boundaries:
                scale = jnp.where(step >= boundary * total, scale * settings.decay, scale)
        rise = jnp.minimum((step + 1.0) / max(warmup, 1), 1.0)
        return settings.learning_rate * scale * rise

    return schedule


def make_optimizer(settings: OptimSettings, total_steps: int) -> optax.GradientTransformation:
    """AdamW; biases and norm scales (fewer than two dimensions) do not decay."""
    adamw = optax.adamw(
        make_schedule(settings, total_steps),
        b1=settings.b1,
        b2=settings.b2,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim >= 2, params),
    )
    chain = [] if settings.clip_norm is None else [optax.clip_by_global_norm(settings.clip_norm)]
    chain.append(adamw)
    if settings.lr_multipliers:
        chain.append(_scaled(settings.lr_multipliers))
    return chain[0] if len(chain) == 1 else optax.chain(*chain)


def _scaled(multipliers: tuple[tuple[str, float], ...]) -> optax.GradientTransformation:
    """Scales the updates of the parameters whose whole path matches a pattern: a learning rate of their own."""
    patterns = []
    for pattern, factor in multipliers:
        try:
            patterns.append((re.compile(pattern), factor))
        except re.error as error:
            raise StoryjaxError(f"config.optim.lr_multipliers '{pattern}' does not parse: {error}.") from error

    def scale(path: str, leaf: Any) -> Any:
        factors = [factor for pattern, factor in patterns if pattern.fullmatch(path)]
        return leaf * factors[0] if factors else leaf

    def update(updates: Any, params: Any = None) -> Any:
        del params
        return unflatten({path: scale(path, leaf) for path, leaf in flatten(updates).items()})

    return optax.stateless(update)
