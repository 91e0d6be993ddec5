"""The one policy for what cannot be used of a data set: it is left out and named, and too much of it is an error."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from storyjax.core.errors import StoryjaxError

_LOG = logging.getLogger(__name__)
SHOWN = 20  # broken things that the log names
KEPT = 300  # those that summary.json names, beside the prepared records; files beside it name all
_REASONS = 100  # that are told apart
_OTHER = "other"
_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|\S*[/\\]\S*|[-+]?\d[\d.,:e]*")


def reason(line: str) -> str:
    """Returns why a thing is left out, without what tells it from others: "...: its time 3.10 to 2.00 s is not a time
    span" becomes "its time … to … s is not a time span"."""
    return _VARIABLE.sub("\u2026", line.partition(": ")[2] or line)[:120]


class BrokenCount:
    """Counts what is left out by reasons, and names the first: of a bounded size, however much it is.

    Args:
        file: takes up the lines of all.
    """

    def __init__(self, file: IO[str] | None = None):
        self._file = file
        self._first: list[str] = []
        self._reasons: Counter[str] = Counter()
        self.number = 0

    def add(self, lines: Iterable[str]) -> None:
        """Takes up a line for each thing that is left out."""
        for line in lines:
            self.number += 1
            self._count(reason(line), 1)
            if len(self._first) < KEPT:
                self._first.append(line)
            if self._file is not None:
                self._file.write(f"{line}\n")

    def _count(self, why: str, number: int) -> None:
        known = why in self._reasons or len(self._reasons) < _REASONS
        self._reasons[why if known else _OTHER] += number

    def merge(self, note: Mapping[str, Any]) -> None:
        """Takes up what `note` said of another count."""
        self.number += note["broken_count"]
        self._first += note["broken"][: KEPT - len(self._first)]
        for why, number in note["broken_reasons"].items():
            self._count(why, number)

    def note(self) -> dict[str, Any]:
        """Returns {"broken": the first KEPT lines, "broken_count": of all, "broken_reasons": {reason: how many}}."""
        return {
            "broken": list(self._first),
            "broken_count": self.number,
            "broken_reasons": dict(self._reasons.most_common()),
        }


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
        _LOG.warning("left out: %d more; summary.json counts them by reasons and names more", number - SHOWN)
    first = f"; the first of {number}: {broken[0]}" if broken else ""
    fraction = lost / max(total, 1)
    if broken and fraction > allowed:
        raise StoryjaxError(
            f"{where}: {lost} of {total} {counted} cannot be used ({fraction:.1%}), more than the allowed"
            f" {allowed:.1%}; complete or fix the data{first}"
        )
    if not usable:
        raise StoryjaxError(f"{where} holds nothing that can be used: download it again{first}")
