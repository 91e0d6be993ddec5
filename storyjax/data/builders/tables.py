"""Tables with commas, as data sets publish their annotations."""

import csv
import itertools
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
            rows = _split(file)
            found = [name.strip() for name in next(rows, (1, []))[1]]
            missing = [name for name in columns if name not in found]
            if missing:
                hint = nearest(missing[0], found)
                raise StoryjaxError(f"{path} lacks the column(s) {', '.join(missing)}: download it again.{hint}")
            for number, fields in rows:
                row = dict(itertools.zip_longest(found, fields[: len(found)]))
                if whole and any(row[name] is None for name in columns):
                    raise StoryjaxError(f"{path} line {number} is cut short: download it again")
                yield number, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoryjaxError(f"{path} cannot be read as a table ({error}): download it again") from error


def _split(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of its last line, fields) of each row that is not empty.

    Fields in quotation marks may hold ends of lines. A mark that nothing closes, or that is closed by one of another
    row, would take the rows between into its field: then each of these lines is a row of its own.
    """
    taken: list[str] = []
    width = 0

    def noted() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    number, rest = 0, noted()
    reader = csv.reader(rest, skipinitialspace=True)
    while True:
        try:
            rows = [next(reader)]
            whole = len(taken) == 1 or _well_quoted(taken, width)
        except StopIteration:
            return
        except csv.Error:  # a field that is too long
            if len(taken) < 2:
                raise
            whole, reader = False, csv.reader(rest, skipinitialspace=True)
        if not whole:
            rows = [next(csv.reader([line], skipinitialspace=True), []) for line in taken]
        for at, fields in enumerate(rows, 1):
            width = width or len(fields)
            if fields:
                yield number + (len(taken) if whole else at), fields
        number += len(taken)
        taken.clear()


def _well_quoted(lines: Sequence[str], width: int) -> bool:
    """Whether the lines are one row by the rules for quotation marks, and none has all fields of a row by itself."""
    try:
        one = len(list(csv.reader(lines, skipinitialspace=True, strict=True))) == 1
        return one and all(len(next(csv.reader([line]), [])) < width for line in lines[1:-1])
    except csv.Error:
        return False
