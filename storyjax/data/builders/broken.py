"""What cannot be used of a data set: named in the log, and an error where it is too much."""

import logging
from collections.abc import Sequence
from pathlib import Path

from storyjax.core.errors import StoryjaxError

_LOG = logging.getLogger(__name__)
_SHOWN = 20  # broken things that the log names; summary.json names all


def name_broken(broken: Sequence[str]) -> None:
    """A line in the log for each of the first ones, and how many more there are."""
    for line in broken[:_SHOWN]:
        _LOG.warning("left out: %s", line)
    if len(broken) > _SHOWN:
        _LOG.warning("left out: %d more; summary.json names all", len(broken) - _SHOWN)


def report_broken(
    broken: Sequence[str],
    total: int,
    usable: bool,
    max_broken_fraction: float,
    title: str,
    where: str | Path,
    what: str,
) -> None:
    """Names what is broken.

    Args:
        broken: a line for each thing left out.
        total: things that there are, the broken ones among them; `what` they are called.
        usable: whether there is anything to train on at all.
        title, where: of the data set, for the message.

    Raises:
        StoryjaxError: nothing is usable, or more than `max_broken_fraction` of all is broken.
    """
    name_broken(broken)
    if not usable or len(broken) / max(1, total) > max_broken_fraction:
        first = f"; the first: {broken[0]}" if broken else ""
        raise StoryjaxError(
            f"{title} in {where}: {len(broken)} of {total} {what} cannot be used, more than the"
            f" allowed {max_broken_fraction:.1%}; complete or mend the data{first}"
        )
