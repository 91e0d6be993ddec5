"""Parameter trees in safetensors files.

A tree is a nested dict of arrays; its flat form maps paths such as "encoder/block_0/mlp/up/kernel" to arrays. Files
are written beside their place and renamed into it, so a reader sees the old file or the new one, never half of one.
"""

import contextlib
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

from storyjax.core.errors import StoryjaxError

# How many keys an error lists before it says how many more there are.
LISTED_KEYS = 8
SHIPPED = "shipped:"  # before the name of weights that come with the package


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a nested dict by path."""
    return traverse_util.flatten_dict(dict(tree), sep="/")


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dict of leaves given by path."""
    return traverse_util.unflatten_dict(dict(flat), sep="/")


def save_tree(
    path: str | os.PathLike[str],
    tree: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    dtype: DTypeLike | None = None,
) -> None:
    """Writes a tree of arrays, nested or flat, to a safetensors file.

    `dtype` (for instance bfloat16, to halve the file) applies to floating-point leaves; None keeps each leaf's own.
    Raises StoryjaxError where the file cannot be written; what was there before is then untouched.
    """
    path = Path(path)
    tensors = {}
    for key, leaf in flatten(tree).items():
        array = np.asarray(leaf)
        if dtype is not None and jax.numpy.issubdtype(array.dtype, jax.numpy.floating):
            array = array.astype(dtype)
        # safetensors writes memory as it lies: a transposed view would be written in the wrong order.
        tensors[key] = np.asarray(array, order="C")
    # Beside its final place, for a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary, metadata=dict(metadata or {}))
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise StoryjaxError(f"cannot write weights to {path}: {error}; check space and permissions there") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def load_flat(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Arrays by name from a safetensors file, or from all those of a folder (a model in shards).

    bfloat16 and float16 become float32. Raises StoryjaxError for a path that is not there, a folder without
    safetensors files, a file that is not whole, or a name that two shards hold.
    """
    flat: dict[str, np.ndarray] = {}
    for file in _safetensors_files(Path(path)):
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
    """The text metadata of a safetensors file. Raises StoryjaxError as `load_flat` does."""
    try:
        with safe_open(path, framework="np") as tensors:
            return dict(tensors.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise StoryjaxError(f"cannot read weights from {path}: {error}; fetch or export the file again") from error


def _safetensors_files(path: Path) -> Sequence[Path]:
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        if not files:
            raise StoryjaxError(f"no .safetensors file in {path}: give the folder of the model's weights")
        return files
    if not path.exists():
        raise StoryjaxError(f"no weights at {path}: give a .safetensors file, or a folder of them")
    return [path]


def fit(abstract_tree: Mapping[str, Any], flat: Mapping[str, np.ndarray | jax.Array], where: str) -> dict[str, Any]:
    """The tree of `abstract_tree`'s structure, shapes and dtypes (as of `jax.eval_shape`) with `flat`'s values.

    Strict both ways: raises StoryjaxError listing keys that `flat` lacks, that the model does not have, and whose
    shapes differ. `where` names the source of the weights in that error.
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
    faults = [f"{len(keys)} {kind}: {_listed(keys)}" for kind, keys in kinds.items() if keys]
    if faults:
        raise StoryjaxError(f"the weights in {where} are of another model: {'; '.join(faults)}")


def _listed(keys: Sequence[str]) -> str:
    more = len(keys) - LISTED_KEYS
    return ", ".join(sorted(keys)[:LISTED_KEYS]) + (f" and {more} more" if more > 0 else "")


def shipped(name: str) -> Path:
    """The folder of weights `name` that came with the package: model.safetensors, config.json and so on.

    Raises StoryjaxError naming those that exist if there is no such folder.
    """
    root = Path(__file__).parents[1] / "weights" / "shipped"
    if not (root / name / "model.safetensors").is_file():
        known = sorted(folder.parent.name for folder in root.glob("*/model.safetensors"))
        raise StoryjaxError(f"no weights named '{name}' come with storyjax: there are {', '.join(known) or 'none'}")
    return root / name


def weights_folder(place: str) -> Path:
    """The folder that a place names: "shipped:NAME", weights that come with the package, or the folder itself."""
    return shipped(place.removeprefix(SHIPPED)) if place.startswith(SHIPPED) else Path(place)
