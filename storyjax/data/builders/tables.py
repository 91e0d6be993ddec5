"""Tables with commas, as data sets publish their annotations."""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from storyjax.core.errors import StoryjaxError, nearest


def finite(value: Any) -> float | None:
    """Returns the number that a value is or spells; None where it is none, and where it is endless."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def all_finite(values: Iterable[Any]) -> list[float] | None:
    """Returns the numbers that the values are or spell; None where any is none, or is endless."""
    numbers = []
    for value in values:
        number = finite(value)
        if number is None:
            return None
        numbers.append(number)
    return numbers


def read_rows(path: Path, columns: Sequence[str], whole: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number, row) of a table, its columns checked first; None stands where a line has ended.

    Args:
        columns: those that there must be.
        whole: whether a line that ends before one of them is an error.

    Raises:
        StoryjaxError: the table cannot be read, lacks a column, or has a line that ends too soon.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            found = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = found
            missing = [name for name in columns if name not in found]
            if missing:
                hint = nearest(missing[0], found)
                raise StoryjaxError(f"{path} lacks the column(s) {', '.join(missing)}: download it again.{hint}")
            for row in reader:
                if whole and any(row[name] is None for name in columns):
                    raise StoryjaxError(f"{path} line {reader.line_num} is cut short: download it again")
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoryjaxError(f"{path} cannot be read as a table ({error}): download it again") from error
