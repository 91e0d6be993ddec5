"""The one policy for what cannot be used of a data set: it is left out and named, and too much of it is an error."""

import logging
from collections.abc import Sequence

from storyjax.core.errors import StoryjaxError

_LOG = logging.getLogger(__name__)
SHOWN = 20  # broken things that the log names; summary.json, beside the prepared records, names all


def report_broken(
    broken: Sequence[str],
    lost: int,
    total: int,
    *,
    usable: bool,
    allowed: float,
    where: str,
    counted: str,
    number: int | None = None,
) -> None:
    """Names in the log what was left out of a data set.

    Args:
        broken: a line for each thing left out.
        lost, total: how many `counted` (such as "annotations") cannot be used, and how many there are with them.
        usable: whether any record is left.
        allowed: fraction of `total` that may be lost.
        where: the data set, its split and its folder, for the message.

        number: how many things were left out, where `broken` has only the first SHOWN of their lines.

    Raises:
        StoryjaxError: more than `allowed` is lost, or no record is left.
    """
    number = len(broken) if number is None else number
    for line in broken[:SHOWN]:
        _LOG.warning("left out: %s", line)
    if number > SHOWN:
        _LOG.warning("left out: %d more; summary.json names all", number - SHOWN)
    first = f"; the first of {number}: {broken[0]}" if broken else ""
    fraction = lost / max(total, 1)
    if broken and fraction > allowed:
        raise StoryjaxError(
            f"{where}: {lost} of {total} {counted} cannot be used ({fraction:.1%}), more than the allowed"
            f" {allowed:.1%}; complete or fix the data{first}"
        )
    if not usable:
        raise StoryjaxError(f"{where} holds nothing that can be used: download it again{first}")
