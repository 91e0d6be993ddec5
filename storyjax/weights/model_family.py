"""Descriptions of published models: their families, the layouts of their files, their sizes."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import jax
from flax import linen as nn

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import LISTED_KEYS
from storyjax.weights.rules import RuleTable


@dataclass(frozen=True)
class Layout:
    """A layout in which a family is published.

    Attributes:
        name: of the publisher or the package, for messages.
        table: architecture -> the rules.
        signs: prefixes, at least one of which some name in a checkpoint of this layout has.
        rename: name in a file -> name in the layout; parts that are published in files of their own have shorter names.
    """

    name: str
    table: Callable[[Any], RuleTable]
    signs: tuple[str, ...]
    rename: Callable[[str], str] = str


@dataclass(frozen=True)
class Family:
    """A kind of model of ours, of any size.

    Attributes:
        model_types: values of "model_type" in config.json of the transformers package.
        shapes: architecture -> abstract parameters, flat.
        from_hub: config object of the transformers package -> architecture.
        layouts: the layouts in which it is published.
        needs_tokenizer: whether an imported folder must have a tokenizer.
    """

    model_types: tuple[str, ...]
    shapes: Callable[[Any], dict[str, jax.ShapeDtypeStruct]]
    from_hub: Callable[[Any], Any]
    layouts: tuple[Layout, ...]
    needs_tokenizer: bool = True


@dataclass(frozen=True)
class Published:
    """A model that `storyjax import` knows by name; `config` None stands for any size, `hub` where it is published."""

    family: Family
    config: Any = None
    hub: str = ""

    def resolve(self, name: str, stored: Any, where: str) -> Any:
        """Returns the architecture to import.

        Args:
            name: of this model, for the messages.
            stored: the architecture that the checkpoint's own config.json describes, or None without such a file.

        Raises:
            StoryjaxError: nothing says the size, or both do and differ; also in what no shape shows, like an
                activation.
        """
        if stored is None and self.config is None:
            raise StoryjaxError(f"{where} has no config.json that says how large its {name} is: name a size (--list)")
        if stored is None or self.config is None:
            return self.config or stored
        if differing := differences(stored, self.config, name):
            raise StoryjaxError(
                f"the config.json in {where} is not that of {name}: {differing}. Name what it is (storyjax"
                " import --list), or the family alone, which takes any size"
            )
        return stored


# Fields in which a checkpoint may differ from the architecture of its name; its own config.json is then right.
TOLERATED = ("eps", "init_std", "logit_scale_init", "gate_activation", "dropout", "size_bias")


def differences(stored: Any, expected: Any, name: str) -> str:
    """Returns how an architecture differs from the expected one of that name, "" if it does not but in TOLERATED."""
    ours, theirs = (_dotted(dataclasses.asdict(config)) for config in (expected, stored))
    differing = [
        f"{key} is {theirs.get(key)!r}, that of {name} is {ours[key]!r}"
        for key in ours
        if ours[key] != theirs.get(key) and key.rpartition(".")[2] not in TOLERATED
    ]
    more = len(differing) - LISTED_KEYS
    return "; ".join(differing[:LISTED_KEYS] + ([f"and {more} more"] if more > 0 else []))


def _dotted(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def no_hub_config(hub: Any) -> NoReturn:
    """The `from_hub` of families that `transformers` does not know; raises ValueError."""
    raise ValueError(f"{hub} describes no model of this family")


def abstract_parameters(module: nn.Module, *inputs: tuple[tuple[int, ...], Any]) -> dict[str, Any]:
    """Returns the abstract parameters of a module, nested; `inputs` are the shapes and dtypes of its arguments."""
    abstract = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in inputs]
    # The key is abstract too, so that no device is used, which another process may hold.
    return jax.eval_shape(module.init, jax.eval_shape(lambda: jax.random.key(0)), *abstract)["params"]
