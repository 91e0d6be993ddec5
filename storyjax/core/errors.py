"""Errors that a user can cause, each of which is one line of output.

Every entry point prints `storyjax: error: <line>` to standard error and exits with code 2 for a `StoryjaxError`; a
traceback means a defect of the program, never of its input.
"""

import difflib
import errno
from collections.abc import Iterable


class StoryjaxError(Exception):
    """An error that a user can fix: the message says what, where and what to do, in one line."""

    exit_code = 2


_SURROUNDINGS = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "ENOENT", "ENOTDIR", "EIO", "ENXIO", "ENODEV", "EBUSY", "ENOMEM", "EMFILE", "ENFILE"),
        *("ELOOP", "ESTALE", "ENOTCONN", "ETIMEDOUT", "ECONNRESET", "ECONNREFUSED", "EHOSTDOWN", "EHOSTUNREACH"),
        *("ENETDOWN", "ENETUNREACH", "ENOLINK", "EREMOTEIO", "ENOSPC"),
    )
    if hasattr(errno, name)
)


def is_of_surroundings(error: BaseException) -> bool:
    """Returns whether an error comes from the machine around a file (a permission, a disk, a network, memory), so that
    the file itself may be good another time."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in _SURROUNDINGS):
            return True
        cause = cause.__cause__
    return False


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint that names the known spelling closest to `name`, or "" when none is close.

    >>> nearest("stpes", ["steps", "seed"])
    " Did you mean 'steps'?"
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""


def first_line(error: Exception, most: int) -> str:
    """Returns the first line of an error's message, `most` characters at most; of one without a message its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:most]
