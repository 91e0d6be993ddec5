"""What a person learns of input that could be used only in part: each thing once, in one line."""

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator

_LOG = logging.getLogger("storyjax.notes")
_TOLD: dict[object, None] = {}
_LOCK = threading.Lock()
_MOST_TOLD = 4096  # keys that are remembered


def tell(line: str, key: object = None) -> None:
    """Tells a person something: a warning of the logger "storyjax.notes".

    Args:
        line: one line.
        key: what it is about; the same is reported once. None: the line itself.
    """
    key = line if key is None else key
    with _LOCK:  # videos are decoded in threads
        if key in _TOLD:
            return
        while len(_TOLD) >= _MOST_TOLD:
            del _TOLD[next(iter(_TOLD))]
        _TOLD[key] = None
    _LOG.warning("%s", line)


class _Printer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Prints a line as the command line does."""
        print(f"storyjax: note: {record.getMessage()}", file=sys.stderr)


@contextlib.contextmanager
def printed() -> Iterator[None]:
    """Prints what is reported inside on standard error; what was reported before counts as new."""
    printer = _Printer()
    _TOLD.clear()
    _LOG.addHandler(printer)
    before, _LOG.propagate = _LOG.propagate, False
    try:
        yield
    finally:
        _LOG.removeHandler(printer)
        _LOG.propagate = before
