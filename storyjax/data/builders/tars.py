"""Tar files, of which Python reads what it can: where a header in the middle is damaged, they seem to end there."""

import tarfile

# What reading a damaged tar raises besides tarfile.TarError: numbers and names that are none, in its headers.
TAR_FAULTS = (ValueError, EOFError, OverflowError)


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
