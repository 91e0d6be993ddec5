"""What `storyjax import` knows of a published model: its family, the layouts of its files, its size."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from flax import linen as nn

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import LISTED_KEYS
from storyjax.weights.rules import RuleTable


@dataclass(frozen=True)
class Layout:
    """How a family is published.

    Attributes:
        name: for people.
        table: the rules, given the architecture.
        signs: beginnings of names of which a checkpoint of this layout has at least one.
        rename: of the names in its files, where parts in files of their own have shorter ones.
    """

    name: str
    table: Callable[[Any], RuleTable]
    signs: tuple[str, ...]
    rename: Callable[[str], str] = str


@dataclass(frozen=True)
class Family:
    """One architecture of ours.

    Attributes:
        model_types: what `transformers` calls it in config.json.
        shapes: architecture -> abstract parameters, flat.
        from_hub: `transformers`' config object -> architecture.
        layouts: in which it is published.
        needs_tokenizer: whether the imported folder is of use only with a tokenizer.
    """

    model_types: tuple[str, ...]
    shapes: Callable[[Any], dict[str, jax.ShapeDtypeStruct]]
    from_hub: Callable[[Any], Any]
    layouts: tuple[Layout, ...]
    needs_tokenizer: bool = True


@dataclass(frozen=True)
class Published:
    """A name for `storyjax import`. `config` None stands for any size; `hub` is where it is published."""

    family: Family
    config: Any = None
    hub: str = ""

    def resolve(self, name: str, stored: Any, where: str) -> Any:
        """The architecture to import.

        Args:
            name: of this model, for the messages.
            stored: what the checkpoint's own config.json describes, or None where it has none.

        Raises:
            StoryjaxError: neither says the size, or they differ in what no shape would show, such as an activation.
        """
        if stored is None and self.config is None:
            raise StoryjaxError(f"{where} has no config.json that says how large its {name} is: name a size (--list)")
        if stored is None or self.config is None:
            return self.config or stored
        ours, theirs = (_dotted(dataclasses.asdict(config)) for config in (self.config, stored))
        differing = [
            f"{key} is {theirs[key]!r}, that of {name} is {ours[key]!r}"
            for key in ours
            if ours[key] != theirs[key] and key.rpartition(".")[2] not in TOLERATED
        ]
        if differing:
            more = len(differing) - LISTED_KEYS
            differing = differing[:LISTED_KEYS] + ([f"and {more} more"] if more > 0 else [])
            raise StoryjaxError(
                f"the config.json in {where} is not that of {name}: {'; '.join(differing)}. Name what it is (storyjax"
                " import --list), or the family alone, which takes any size"
            )
        return stored


# In these a checkpoint may differ from its name's architecture: what its own config.json says is what we note down.
TOLERATED = ("eps", "init_std", "logit_scale_init", "gate_activation", "dropout", "size_bias")


def _dotted(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def abstract_parameters(module: nn.Module, *inputs: tuple[tuple[int, ...], Any]) -> dict[str, Any]:
    """The abstract parameters of a module, nested."""
    abstract = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in inputs]
    # A key that is abstract too: no device is touched, which another process may be holding.
    return jax.eval_shape(module.init, jax.eval_shape(lambda: jax.random.key(0)), *abstract)["params"]
