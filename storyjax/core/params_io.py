"""Parameter trees in safetensors files.

A tree is a nested dict of arrays; its flat form maps paths such as "encoder/block_0/mlp/up/kernel" to arrays. Files
are written atomically (core/files.py).
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.typing import DTypeLike
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from storyjax.core.bucket_copies import fetched, fetched_folder
from storyjax.core.buckets import BucketPath, place
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import write_atomically

# How many keys an error lists before it says how many more there are.
LISTED_KEYS = 8
# What checkpoints of the Orbax library lie in: of a run, and of what `storyjax export --to orbax` writes.
_ORBAX_FOLDERS = ("checkpoints", "params")
SHIPPED = "shipped:"  # before the name of weights that come with the package


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the leaves of a nested dict by path."""
    return traverse_util.flatten_dict(dict(tree), sep="/")


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the nested dict of leaves that are given by path."""
    return traverse_util.unflatten_dict(dict(flat), sep="/")


def save_tree(
    path: str | os.PathLike[str],
    tree: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    dtype: DTypeLike | None = None,
) -> None:
    """Writes a tree of arrays, nested or flat, to a safetensors file.

    Args:
        path: the file's place; its folder is made if it is not there.
        tree: of arrays.
        metadata: text that is stored in the file.
        dtype: of floating-point leaves, for instance bfloat16, to halve the file; None keeps each leaf's own.

    Raises:
        StoryjaxError: the file cannot be written; what was there before is then untouched.
    """
    path = place(path)
    tensors = {}
    for key, leaf in flatten(tree).items():
        array = np.asarray(leaf)
        if dtype is not None and jax.numpy.issubdtype(array.dtype, jax.numpy.floating):
            array = array.astype(dtype)
        # safetensors writes memory as it is: a transposed view would be written in the wrong order.
        tensors[key] = np.asarray(array, order="C")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: save_file(tensors, file, metadata=dict(metadata or {})), durable=True)
    except (OSError, SafetensorError) as error:
        raise StoryjaxError(f"cannot write weights to {path}: {error}; check space and permissions there") from error


def load_flat(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Returns arrays by name from a safetensors file, or from all those of a folder (a model in shards).

    bfloat16 and float16 become float32.

    Raises:
        StoryjaxError: the path is not there, a folder has no safetensors files, a file is not whole, or two shards hold
            the same name.
    """
    flat: dict[str, np.ndarray] = {}
    for file in _safetensors_files(place(path)):
        try:
            with safe_open(file, framework="np") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (a safe_open is not a mapping)
                    if name in flat:
                        raise StoryjaxError(f"{path}: two files hold '{name}'; keep the shards of one model only")
                    flat[name] = _widen(tensors.get_tensor(name))
        except (OSError, SafetensorError) as error:
            raise StoryjaxError(f"cannot read weights from {file}: {error}; fetch or export the file again") from error
    return flat


def _widen(array: np.ndarray) -> np.ndarray:
    half = jax.numpy.issubdtype(array.dtype, jax.numpy.floating) and array.dtype.itemsize == 2
    return array.astype(np.float32) if half else array


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Returns the text metadata of a safetensors file. Raises StoryjaxError as `load_flat` does."""
    try:
        with safe_open(fetched(path), framework="np") as tensors:
            return dict(tensors.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise StoryjaxError(f"cannot read weights from {path}: {error}; fetch or export the file again") from error


def _safetensors_files(path: Path) -> Sequence[Path]:
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        if not files:
            raise StoryjaxError(f"no .safetensors file in {path}: give the folder of the model's weights")
        return [fetched(file) for file in files]
    if not path.exists():
        raise StoryjaxError(f"no weights at {path}: give a .safetensors file, or a folder of them")
    return [fetched(path)]


def fit(abstract_tree: Mapping[str, Any], flat: Mapping[str, np.ndarray | jax.Array], where: str) -> dict[str, Any]:
    """Returns a tree with `abstract_tree`'s structure, shapes and dtypes (of `jax.eval_shape`) and `flat`'s values.

    Raises:
        StoryjaxError: listing keys that `flat` lacks, that the model does not have, and whose shapes differ; `where`
            names the source of the weights.
    """
    wanted = flatten(abstract_tree)
    missing = [key for key in wanted if key not in flat]
    unused = [key for key in flat if key not in wanted]
    misshapen = [
        f"{key} {tuple(flat[key].shape)} for {tuple(leaf.shape)}"
        for key, leaf in wanted.items()
        if key in flat and tuple(flat[key].shape) != tuple(leaf.shape)
    ]
    refuse_mismatch(where, missing=missing, unused=unused, misshapen=misshapen)
    return unflatten({key: np.asarray(flat[key], leaf.dtype) for key, leaf in wanted.items()})


def refuse_mismatch(
    where: str,
    *,
    missing: Sequence[str],
    unused: Sequence[str],
    misshapen: Sequence[str],
    mistyped: Sequence[str] = (),
) -> None:
    """Raises StoryjaxError unless all lists are empty; `mistyped` keys are of a type that weights cannot be."""
    kinds = {"missing": missing, "unused": unused, "misshapen": misshapen, "mistyped": mistyped}
    problems = [f"{len(keys)} {kind}: {listed(keys)}" for kind, keys in kinds.items() if keys]
    if problems:
        raise StoryjaxError(f"the weights in {where} are of another model: {'; '.join(problems)}")


def listed(keys: Sequence[str]) -> str:
    """Returns the first LISTED_KEYS names in order, and how many more there are."""
    more = len(keys) - LISTED_KEYS
    return ", ".join(sorted(keys)[:LISTED_KEYS]) + (f" and {more} more" if more > 0 else "")


def shipped(name: str) -> Path:
    """Returns the folder of weights that ship with the package: model.safetensors, config.json and so on.

    Raises:
        StoryjaxError: there is no such folder; the message names those that exist.
    """
    root = Path(__file__).parents[1] / "weights" / "shipped"
    if not (root / name / "model.safetensors").is_file():
        known = sorted(folder.parent.name for folder in root.glob("*/model.safetensors"))
        raise StoryjaxError(f"no weights named '{name}' come with storyjax: there are {', '.join(known) or 'none'}")
    return root / name


def weights_folder(source: str) -> Path:
    """Returns the folder (or safetensors file) that a source names: "shipped:NAME", weights that ship with the package,
    or a folder. Weights in a bucket are fetched (bucket_copies.py); of a run there, the place is returned.

    Raises:
        StoryjaxError: no weights of that name ship with the package, or they cannot be fetched.
    """
    if source.startswith(SHIPPED):
        return shipped(source.removeprefix(SHIPPED))
    path = place(source)
    if not isinstance(path, BucketPath):
        return path
    if path.suffix == ".safetensors":  # with what lies beside it, but other weights
        others = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
        return fetched_folder(path.parent, lambda name: name == path.name or not name.endswith(others)) / path.name
    if any((path / inside).is_dir() for inside in _ORBAX_FOLDERS):
        return path
    return fetched_folder(path)
