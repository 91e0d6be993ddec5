"""Tar files, of which Python reads what it can: where a header in the middle is damaged, they seem to end there."""

import contextlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

from storyjax.core.buckets import BucketPath

# What reading a damaged tar raises besides tarfile.TarError: numbers and names that are none, in its headers.
TAR_FAULTS = (ValueError, EOFError, OverflowError)


@contextlib.contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Yields a tar that can be read; errors as of `tarfile.open`."""
    if isinstance(path, BucketPath):
        with path.open("rb") as file, tarfile.open(fileobj=file) as tar:
            yield tar
    else:
        with tarfile.open(path) as tar:
            yield tar


def check_tar_end(tar: tarfile.TarFile) -> None:
    """Checks that a tar that was read to its end is whole: at its end are zeros.

    Raises:
        tarfile.ReadError: there is no end, or something behind it.
    """
    file = tar.fileobj
    assert file is not None
    file.seek(tar.offset)
    rest = file.read(tarfile.RECORDSIZE)
    if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
        raise tarfile.ReadError(f"it is damaged or cut short at byte {tar.offset}")
