"""Folders that hold a network of this chapter: config.json, which says the architecture, and model.safetensors.

`storyjax import` writes such folders, and so does tools/ship_weights.py.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import fit, load_flat, shipped, unflatten

T = TypeVar("T")
_SHIPPED = "shipped:"


def read_network(
    place: str | Path, kinds: Mapping[str, tuple[type[T], Callable[[T], dict[str, Any]]]], wanted: str
) -> tuple[T, dict[str, Any]]:
    """A network's config and parameters.

    Args:
        place: a folder, or "shipped:NAME".
        kinds: by the name of the architecture its config's class, and what makes abstract parameters of a config.
        wanted: what it should be, for the messages.

    Raises:
        StoryjaxError: there is no such folder, it holds another network, or the weights are not of its config.
    """
    name = str(place)
    folder = shipped(name.removeprefix(_SHIPPED)) if name.startswith(_SHIPPED) else Path(name)
    path = folder / "config.json"
    try:
        described = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoryjaxError(
            f"{name} holds no {wanted}: {path} cannot be read ({error}); give a folder that storyjax import made"
        ) from error
    kind = described.get("architecture") if isinstance(described, dict) else None
    if kind not in kinds:
        raise StoryjaxError(f"{name} holds no {wanted} but {kind or 'another model'}: give one of {', '.join(kinds)}")
    cls, shapes = kinds[kind]
    config = from_config(cls, described, str(path))
    return config, fit(unflatten(shapes(config)), load_flat(folder / "model.safetensors"), name)
