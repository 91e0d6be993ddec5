"""What a table on real data needs, and which of it is not there: data sets, weights, and runs to start from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from storyjax.core.config import from_config
from storyjax.core.errors import StoryjaxError
from storyjax.mqt.config import MqtData
from storyjax.reproduce.runner import make_config
from storyjax.reproduce.schema import Table, Variant

# Keys of a config whose values are places on disk, beside the roots of data sets.
_PLACES = ("weights", "features", "detections_dir")


def needs(config: ConfigDict) -> Iterator[tuple[str, str]]:
    """Yields (key, place) of everything on disk that a run of this config reads; what ships is always there."""
    for key, value in _leaves(config):
        last = key.rpartition(".")[2]
        wanted = last in _PLACES or key == "init.checkpoint" or (key.startswith("data.") and ".root" in f".{key}")
        if wanted and isinstance(value, str) and value and not value.startswith("shipped:"):
            yield f"config.{key}", value
    if config.experiment == "mqt":  # whose data sets have folders that a config need not name
        data = from_config(MqtData, config.data, "config.data")
        for dataset in dict.fromkeys((data.dataset, *data.evaluated())):
            yield f"config.data.root.{dataset}", data.folder(dataset)


def _leaves(section: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, ConfigDict | dict):
            yield from _leaves(ConfigDict(value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check_there(table: Table) -> None:
    """Checks that everything is there that the runs of a table on real data read and do not make themselves.

    Raises:
        StoryjaxError: names what is missing, in one line.
    """
    missing: dict[str, str] = {}
    configs: dict[str, None] = {}
    for variant in table.variants():
        one: Variant | None = variant
        while one is not None:
            config = make_config(one, 0)
            configs[one.config] = None
            for key, place in needs(config):
                made = key == "config.init.checkpoint" and one.start is not None
                if not made and not Path(place).exists():
                    missing.setdefault(place, key)
            one = one.start
    if missing:
        listed = ", ".join(f"{place} ({key})" for place, key in missing.items())
        raise StoryjaxError(
            f"table {table.number} on real data: not there: {listed}; {', '.join(configs)} say where each comes from"
        )
