"""Strict configs: a mapping becomes a frozen dataclass, and whatever does not fit is named with the nearest known key.

`from_config` is what every chapter calls on its own sections; `load_config` and `override` are what the command line
is made of.
"""

import ast
import dataclasses
import difflib
import importlib.util
import pathlib
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar, cast

from ml_collections import ConfigDict

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.renames import new_name

T = TypeVar("T")


def choose(name: str, known: Iterable[str], where: str) -> str:
    """Returns `name` if it is one of `known`.

    Raises:
        StoryjaxError: it is not; the message names the nearest and lists them all.
    """
    known = list(known)
    if name not in known:
        raise StoryjaxError(f"{where}: unknown '{name}'.{nearest(str(name), known)} Known: {', '.join(known)}.")
    return name


def from_config(cls: type[T], config: Any, where: str = "config") -> T:
    """Returns the frozen dataclass `cls` filled from a ConfigDict or mapping, recursively.

    Args:
        cls: a dataclass; its fields may be nested dataclasses, tuples, Optional, Literal, or plain types.
        config: a mapping; keys it leaves out take the field's default.
        where: the dotted name of this section, for the messages.

    Raises:
        StoryjaxError: for an unknown key (naming the nearest), a missing one without default, or a wrong type.
    """
    if isinstance(config, cls):
        return config
    if not isinstance(config, Mapping | ConfigDict):
        raise StoryjaxError(f"{where} must be a group of keys, not {config!r}.")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cast(Any, cls)) if field.init}
    for key in config:
        if key not in fields:
            hint = nearest(str(key), fields)
            raise StoryjaxError(f"{where} has no key '{key}'.{hint} Known: {', '.join(fields)}.")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in config:
            raise StoryjaxError(f"{where}.{name} is missing and has no default.")
    return cls(**{name: _convert(hints[name], config[name], f"{where}.{name}") for name in fields if name in config})


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotation `hint` asks, or a StoryjaxError."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value.to_dict() if isinstance(value, ConfigDict) else value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            known = [str(argument) for argument in arguments]
            raise StoryjaxError(f"{where} is {value!r}.{nearest(str(value), known)} Known: {', '.join(known)}.")
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_config(hint, value, where)
    if origin is tuple and isinstance(value, tuple | list):
        return _convert_tuple(arguments, value, where)
    if origin is dict and isinstance(value, Mapping | ConfigDict):
        return {key: _convert(arguments[1], value[key], f"{where}.{key}") for key in value}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is pathlib.Path and isinstance(value, str):
        return pathlib.Path(value)
    # A bool is an int to Python, but `steps=True` is a slip.
    slip = isinstance(value, bool) and hint is not bool
    if origin is None and isinstance(hint, type) and isinstance(value, hint) and not slip:
        return value
    raise StoryjaxError(f"{where} must be {_spell(hint)}, not {value!r}.")


def _convert_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    if len(options) == 1:
        return _convert(options[0], value, where)
    for option in options:
        try:
            return _convert(option, value, where)
        except StoryjaxError:
            continue
    raise StoryjaxError(f"{where} must be {' or '.join(map(_spell, options))}, not {value!r}.")


def _convert_tuple(arguments: tuple[Any, ...], value: Iterable[Any], where: str) -> tuple[Any, ...]:
    value = tuple(value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise StoryjaxError(f"{where} must have {len(arguments)} entries, not {len(value)}: {value!r}.")
    return tuple(
        _convert(hint, item, f"{where}[{index}]")
        for index, (hint, item) in enumerate(zip(arguments, value, strict=True))
    )


def _spell(hint: Any) -> str:
    """An annotation as a person reads it."""
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")


def load_config(spec: str) -> ConfigDict:
    """Returns the config that `FILE[:VARIANT]` or `NAME[:VARIANT]` names: that of the file's `get_config(variant)`.

    NAME is that of a config of storyjax ("tcr_nextqa"). A file may list its variants in `VARIANTS`; an unknown one is
    then named before `get_config` is called.

    Raises:
        StoryjaxError: there is no such file, name or variant, or the file is no config.
    """
    named, _, variant = spec.partition(":")
    path, module = _config_module(named)
    if not variant:
        return module.get_config()
    if hasattr(module, "VARIANTS"):
        choose(variant, module.VARIANTS, f"variant of {path}")
    return module.get_config(variant)


def config_topologies(named: str) -> dict[str, str]:
    """Returns {variant: TPU slice} of a config's file: the slice that each variant of full size is planned for.

    They are the file's `TOPOLOGIES`; a file without it has none. Errors are those of `load_config`.
    """
    return dict(getattr(_config_module(named.partition(":")[0])[1], "TOPOLOGIES", {}))


def _config_module(named: str) -> tuple[str, Any]:
    """The path of a config's file, and the module that it is."""
    path = _config_file(named)
    module_spec = importlib.util.spec_from_file_location(f"storyjax_config_{pathlib.Path(path).stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise StoryjaxError(f"--config: {path} is not a Python file.")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise StoryjaxError(f"--config: {path} has no function get_config(variant).")
    return path, module


def config_folder() -> pathlib.Path:
    """Returns the folder of the configs that come with storyjax: in the package, or beside it in a clone."""
    package = pathlib.Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def _config_file(named: str) -> str:
    """The path of a config that is named by its path or by its name alone."""
    if pathlib.Path(named).is_file():
        return named
    folder, name = str(pathlib.PurePath(named).parent), pathlib.PurePath(named).stem
    if folder in (".", "configs") and (known := config_folder() / f"{name}.py").is_file():
        return str(known)
    siblings = [str(other) for other in pathlib.Path(named).parent.glob("*.py")]
    known_names = [other.stem for other in config_folder().glob("*.py")]
    raise StoryjaxError(f"--config: there is no file {named}.{nearest(named, siblings) or nearest(name, known_names)}")


def override(config: ConfigDict, key: str, text: str, open_sections: Collection[str] = ()) -> None:
    """Sets `config.<key>` (dotted) from the text of a command line, typed as the value that is there.

    Args:
        open_sections: top-level sections that may leave out keys which have defaults. A key that is not in one of them
            is added, and whoever turns the section into dataclasses (`from_config`) knows whether there is such a key.

    Raises:
        StoryjaxError: for an unknown key, naming the nearest, or a text that is not of the key's type.
    """
    if key not in _dotted_keys(config) and (today := new_name(key, str(config.get("experiment", "")))):
        raise StoryjaxError(f"config.{key} is called config.{today} now.")
    names = key.split(".")
    is_open = len(names) > 1 and names[0] in open_sections and names[0] in config
    section, where = config, "config"
    for depth, name in enumerate(names, start=1):
        if not isinstance(section, ConfigDict) or (name not in section and not is_open):
            known = list(section) if isinstance(section, ConfigDict) else []
            hint = nearest(name, known) or _nearest_elsewhere(names[-1], config)
            raise StoryjaxError(f"{where} has no key '{name}'.{hint} Known: {', '.join(known) or 'none'}.")
        if name not in section:
            with section.unlocked():
                section[name] = ConfigDict() if depth < len(names) else None
        parent, section, where = section, section[name], f"{where}.{name}"
    if isinstance(section, ConfigDict):
        raise StoryjaxError(f"{where} is a group of keys: set one of {', '.join(section)}.")
    with parent.unlocked(), parent.ignore_type():
        parent[names[-1]] = _parse(text, section, where)


def _nearest_elsewhere(name: str, config: ConfigDict) -> str:
    """As `nearest`, among the last names of all keys: whoever writes `--config.steps` means `--config.train.steps`."""
    by_name = {key.rpartition(".")[2]: key for key in _dotted_keys(config)}
    matches = difflib.get_close_matches(name, by_name, n=1)
    return f" Did you mean '{by_name[matches[0]]}'?" if matches else ""


def _dotted_keys(config: ConfigDict) -> list[str]:
    """Every key of a config, "optim.learning_rate"."""
    keys = []
    for name, value in config.items():
        keys += [f"{name}.{key}" for key in _dotted_keys(value)] if isinstance(value, ConfigDict) else [name]
    return keys


def _parse(text: str, old: Any, where: str) -> Any:
    """The value that `text` spells, of the type of `old`; None for "None", also where there was text."""
    if isinstance(old, str):
        if text == "None":
            return None
        return text
    if isinstance(old, bool):
        if text.lower() not in ("true", "false"):
            raise StoryjaxError(f"{where} must be true or false, not '{text}'.")
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        # A bare word is a string, which suits a key that is None so far; so do true and false as other keys take them.
        value = {"true": True, "false": False}.get(text, text)
    if old is None or value is None:
        return value
    if isinstance(old, tuple | list) and isinstance(value, tuple | list):
        return tuple(value)
    return _convert(type(old), value, where)
