"""Parameter trees by path: which train and which are frozen, where they start, how they lie on the mesh.

A path is the names down the nested dict joined by slashes, "tcr/block_0/attention/kernel".
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import flatten, listed, refuse_mismatch, unflatten
from storyjax.train.experiment import Params
from storyjax.train.mesh import parameter_sharding
from storyjax.train.precision import Policy


def partition(tree: Params, trainable: str | None) -> tuple[Params, Params]:
    """(trainable, frozen): two nested dicts with no path in common. Without a pattern everything is frozen.

    Raises:
        StoryjaxError: the pattern matches no path, or is no regular expression.
    """
    if trainable is None:
        return {}, tree
    try:
        pattern = re.compile(trainable)
    except re.error as error:
        raise StoryjaxError(f"the pattern of trainable parameters '{trainable}' does not parse: {error}.") from error
    flat = flatten(tree)
    train = {path: leaf for path, leaf in flat.items() if pattern.fullmatch(path)}
    if not train:
        raise StoryjaxError(
            f"no parameter matches the trainable pattern '{trainable}'; the modules are {', '.join(tree)}."
        )
    return unflatten(train), unflatten({path: leaf for path, leaf in flat.items() if path not in train})


def merge(trainable: Params, frozen: Params) -> Params:
    """The whole tree again: the inverse of `partition`."""
    return unflatten({**flatten(frozen), **flatten(trainable)})


def validate_params(given: Mapping[str, Any], abstract: Mapping[str, Any], needed: set[str], where: str) -> None:
    """Refuses parameters that are not this model's.

    Args:
        given: flat, arrays or anything with a shape.
        abstract: flat, every parameter of the model.
        needed: the paths that must be given.
        where: names the source in the message.

    Raises:
        StoryjaxError: naming the paths that are missing, unknown or of another shape.
    """
    refuse_mismatch(
        where,
        missing=[path for path in needed if path not in given],
        unused=[path for path in given if path not in abstract],
        misshapen=[
            f"{path} {tuple(array.shape)} for {tuple(abstract[path].shape)}"
            for path, array in given.items()
            if path in abstract and tuple(array.shape) != tuple(abstract[path].shape)
        ],
    )


def matching(paths: Iterable[str], pattern: str | None) -> set[str]:
    """Returns the paths that a regular expression matches in full; none without one."""
    return set() if pattern is None else {path for path in paths if re.fullmatch(pattern, path)}


def refuse_drawn(given: Iterable[str], frozen: Iterable[str], drawn: str | None, name: str, source: str) -> None:
    """Refuses to start with random frozen parameters, which no training would ever make good.

    Args:
        given: the paths of the parameters that are given.
        frozen: those of all frozen parameters.
        drawn: the pattern of the frozen parameters that are random on purpose (Experiment.drawn).
        name: of the experiment.
        source: where frozen parameters come from (Experiment.frozen_from).

    Raises:
        StoryjaxError: naming the frozen parameters that nothing gives.
    """
    frozen = set(frozen)
    missing = frozen - set(given) - matching(frozen, drawn)
    if missing:
        raise StoryjaxError(
            f"{name}: nothing gives {len(missing)} of the {len(frozen)} frozen parameters ({listed(list(missing))});"
            f" {source}"
        )


def initialise(
    init: Callable[[jax.Array], Params],
    key: jax.Array,
    trainable: str | None,
    given: Mapping[str, Any],
    policy: Policy,
    mesh: Mesh,
) -> tuple[Params, Params]:
    """(trainable, frozen) on the mesh, in the policy's types.

    Args:
        given: flat {path: array} that is used instead of what `init` would draw. What is given is never drawn, so that
            a frozen tower of billions of parameters costs its memory once, and in its own type.
    """
    train, frozen = abstract_parameters(init, key, trainable, policy, mesh)
    abstract = flatten(merge(train, frozen))
    drawn_paths = [path for path in flatten(jax.eval_shape(init, key)) if path not in given]

    def draw(key: jax.Array) -> dict[str, jax.Array]:
        flat = flatten(init(key))
        return {path: flat[path].astype(abstract[path].dtype) for path in drawn_paths}

    flat = jax.jit(draw, out_shardings={path: abstract[path].sharding for path in drawn_paths})(key)
    for path, value in given.items():
        host = np.asarray(value).astype(abstract[path].dtype)
        flat[path] = jax.make_array_from_callback(host.shape, abstract[path].sharding, host.__getitem__)
    whole = {
        name: unflatten({path: flat[path] for path in flatten(part)})
        for name, part in (("train", train), ("frozen", frozen))
    }
    return whole["train"], whole["frozen"]


def abstract_parameters(
    init: Callable[[jax.Array], Params], key: jax.Array, trainable: str | None, policy: Policy, mesh: Mesh
) -> tuple[Params, Params]:
    """(trainable, frozen) as `initialise` lays them out, shapes, types and shardings alone."""

    def laid_out(part: Params, trains: bool) -> Params:
        return unflatten(
            {
                path: jax.ShapeDtypeStruct(
                    leaf.shape,
                    policy.parameter_dtype(leaf.dtype, trains=trains, path=path),
                    sharding=parameter_sharding(mesh, leaf.shape),
                )
                for path, leaf in flatten(part).items()
            }
        )

    train, frozen = partition(jax.eval_shape(init, key), trainable)
    return laid_out(train, True), laid_out(frozen, False)
