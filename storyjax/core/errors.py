"""Errors that a user can cause, each of which is one line of output.

Every entry point prints `storyjax: error: <line>` to standard error and exits with code 2 for a `StoryjaxError`; a
traceback means a defect of the program, never of its input.
"""

import difflib
from collections.abc import Iterable


class StoryjaxError(Exception):
    """An error that a user can fix: the message says what, where and what to do, in one line."""

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint that names the known spelling closest to `name`, or "" when none is close.

    >>> nearest("stpes", ["steps", "seed"])
    " Did you mean 'steps'?"
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""
