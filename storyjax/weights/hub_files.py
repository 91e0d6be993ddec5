"""Files of the Hugging Face hub, and the hashes of files.

huggingface_hub downloads into its own cache and goes on with what was half-downloaded. It names large files by their
SHA-256, which is compared with what is on the disk.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from storyjax.core.errors import StoryjaxError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 2**22
# What browsers and download programs call a file that is not complete.
PARTIAL_SUFFIXES = (".incomplete", ".part", ".partial", ".crdownload", ".download", ".aria2")


class HubError(StoryjaxError):
    """Files of the hub that cannot be fetched; `reason` is short, for messages of other commands."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


def fetch(repository: str, patterns: Sequence[str]) -> Path:
    """Returns the local folder of a repository of the hub, with the files whose names match; downloads what is missing.

    Args:
        repository: OWNER/NAME.
        patterns: of file names, as the shell has them.

    Raises:
        HubError: there is no such repository, its licence was not accepted, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except GatedRepoError as error:
        reason = f"its licence must be accepted on https://huggingface.co/{repository}, then 'hf auth login'"
        raise HubError(f"{repository} cannot be downloaded: {reason}, and the same command again", reason) from error
    except Exception as error:  # its many kinds of errors have no common root
        reason = " ".join(str(error).split())[:160]
        if isinstance(error, RepositoryNotFoundError):
            reason = "no public repository of that name"
        elif isinstance(error, LocalEntryNotFoundError):
            reason = "there is no network, or HF_HUB_OFFLINE is set"
        raise HubError(
            f"there is no folder {repository} here, and it cannot be downloaded from the Hugging Face hub ({reason}):"
            " check the name and the network, or give the folder of a downloaded checkpoint",
            reason,
        ) from error


def sha256(file: Path, progress: Callable[[int], object] = lambda count: None) -> str:
    """Returns the SHA-256 of a file, in hexadecimal; `progress` is called with the bytes read since the last call.

    Raises:
        StoryjaxError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(file, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                progress(len(chunk))
    except OSError as error:
        raise StoryjaxError(f"{file} cannot be read ({error.strerror}): check it, or fetch it again") from error
    return digest.hexdigest()


def check_hub_hashes(hashes: Mapping[Path, str]) -> None:
    """Compares files of the hub's cache with the SHA-256 that the hub names them by; others have no such name.

    Args:
        hashes: of the files, by path.

    Raises:
        StoryjaxError: a file is not what the hub has; the message says how to get it again.
    """
    for file, found in hashes.items():
        stored = file.resolve()
        if stored.parent.name == "blobs" and _SHA256.fullmatch(stored.name) and stored.name != found:
            raise StoryjaxError(
                f"{file.name} is not what the hub has: its SHA-256 is {found[:12]}..., not {stored.name[:12]}...;"
                f" remove {stored} and give the same command again"
            )


def partial_files(folder: Path) -> list[Path]:
    """Returns the files in a folder, and in the hub's notes in it, whose download is not finished."""
    places = (folder, folder / ".cache" / "huggingface" / "download")
    return sorted(file for place in places for file in place.glob("*") if file.name.endswith(PARTIAL_SUFFIXES))
