"""Errors that a person can cause, and the one line that each of them gives.

Every entry point prints `storyjax: error: <line>` to standard error and exits with code 2 for a `StoryjaxError`; a
traceback means a defect of the program, never of its input.
"""

import difflib
from collections.abc import Iterable


class StoryjaxError(Exception):
    """Something a person can mend: the message says what, where and what to do, in one line."""

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint naming the known spelling closest to `name`, or an empty string when none is close.

    >>> nearest("stpes", ["steps", "seed"])
    " Did you mean 'steps'?"
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""
