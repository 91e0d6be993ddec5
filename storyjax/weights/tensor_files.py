"""Safetensors files one tensor at a time: a file's contents are known before any tensor is read, and a file can be
filled in as its arrays come, so that a checkpoint may be larger than memory.

The format: eight bytes with the header's length, a JSON header that gives each tensor's type, shape and place, then
the tensors' bytes as in memory (row-major, little-endian).
"""

import contextlib
import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import ml_dtypes
import numpy as np

from storyjax.core.bucket_copies import fetched, upload_folder
from storyjax.core.buckets import BucketPath, place
from storyjax.core.errors import StoryjaxError

# The format's names of types.
DTYPES = {
    "BOOL": np.dtype(bool),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
# The format's own limit.
_LONGEST_HEADER = 100_000_000


@runtime_checkable
class Tensor(Protocol):
    """An array that is not read yet. NumPy and JAX read it where they need it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """The array's type."""
        ...

    def read(self) -> np.ndarray:
        """Returns the array."""
        ...

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray: ...


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file, `start` bytes from its beginning. NumPy and JAX read it where they need it."""

    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        """The array's size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """Returns the array, in memory of its own. (Mapped memory would count, and stay, as long as the file is open.)

        Raises StoryjaxError if the file is no longer what it was.
        """
        data = np.empty(self.nbytes, np.uint8)
        try:
            with open(self.file, "rb") as file:
                file.seek(self.start)
                got = file.readinto(data.data)
        except OSError as error:
            raise StoryjaxError(f"cannot read weights from {self.file}: {error}; fetch the file again") from error
        if got != self.nbytes:
            raise StoryjaxError(f"{self.file} became shorter while it was read: fetch it again")
        return data.view(self.dtype).reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # it is always one
        array = self.read()
        return array if dtype is None else array.astype(dtype, copy=False)


def stored_tensors(path: str | os.PathLike[str], prefix: str = "") -> dict[str, StoredTensor]:
    """Returns the tensors of a safetensors file whose names start with `prefix`, unread.

    Raises StoryjaxError, in one line that names the file, where it is not there, is no safetensors file, or is shorter
    than its header says.
    """
    path = fetched(path)
    header, data_start, size = _read_header(path)
    header.pop("__metadata__", None)
    tensors, end = {}, data_start
    for name, entry in header.items():
        try:
            dtype, shape = DTYPES.get(entry["dtype"]), tuple(map(int, entry["shape"]))
            first, last = map(int, entry["data_offsets"])
        except (TypeError, KeyError, ValueError) as error:
            raise _not_safetensors(path, f"its entry '{name}' has no type, shape or place") from error
        if dtype is None:
            raise StoryjaxError(f"{path}: '{name}' is of the type {entry['dtype']}, which storyjax does not read")
        tensor = StoredTensor(path, dtype, shape, data_start + first)
        if first < 0 or last - first != tensor.nbytes:
            raise _not_safetensors(path, f"'{name}' of shape {shape} is said to take {last - first} bytes")
        end = max(end, data_start + last)
        if name.startswith(prefix):
            tensors[name] = tensor
    if size < end:
        raise StoryjaxError(f"{path} is cut short: it has {size:,} bytes of {end:,}; fetch it again")
    return tensors


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The JSON header, where the data starts, and the file's size."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > _LONGEST_HEADER:
                raise _not_safetensors(path, f"it has {size:,} bytes and no header")
            text = file.read(length)
    except OSError as error:
        raise StoryjaxError(f"cannot read weights from {path}: {error.strerror or error}") from error
    if len(text) < length:
        raise StoryjaxError(f"{path} is cut short: it ends within its header; fetch it again")
    try:
        header = json.loads(text)
    except ValueError as error:
        raise _not_safetensors(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _not_safetensors(path, "its header is not an object")
    return header, 8 + length, size


def _not_safetensors(path: Path, why: str) -> StoryjaxError:
    return StoryjaxError(f"cannot read weights from {path}: it is not a safetensors file ({why}); fetch it again")


class TensorFile:
    """A safetensors file whose layout is written first and that is filled in as its arrays come, in any order.

    Use it as a context. The file is complete, and on the disk, when the context ends without an exception.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        layout: Mapping[str, tuple[tuple[int, ...], np.dtype]],
        metadata: Mapping[str, str] | None = None,
    ):
        self.path, self._left = Path(path), set(layout)
        header: dict[str, Any] = {"__metadata__": dict(metadata or {})}
        self._places, offset = {}, 0
        # The widest types first, as the format asks, so that every tensor starts at a multiple of its own width.
        for name in sorted(layout, key=lambda name: (-np.dtype(layout[name][1]).itemsize, name)):
            shape, dtype = layout[name][0], np.dtype(layout[name][1])
            nbytes = math.prod(shape) * dtype.itemsize
            header[name] = {"dtype": NAMES[dtype], "shape": shape, "data_offsets": (offset, offset + nbytes)}
            self._places[name] = (offset, tuple(shape), dtype)
            offset += nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._header, self._data_bytes = len(text).to_bytes(8, "little") + text, offset

    def __enter__(self) -> "TensorFile":
        self._file = open(self.path, "wb")
        self._file.write(self._header)
        self._file.flush()
        # A full disk is an error now rather than after minutes. Not every file system can allocate.
        if self._data_bytes and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._file.fileno(), len(self._header), self._data_bytes)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    self._file.close()
                    raise
        return self

    def write(self, name: str, array: np.ndarray) -> None:
        """Writes an array, in the type that the layout has for it."""
        offset, shape, dtype = self._places[name]
        if array.shape != shape:
            raise ValueError(f"'{name}' is {array.shape}, laid out was {shape}")
        data = np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8)
        self._file.seek(len(self._header) + offset)
        self._file.write(data.data)
        self._left.discard(name)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None and self._left:
                raise ValueError(f"never written: {', '.join(sorted(self._left))}")
            self._file.flush()
            if kind is None:
                os.fsync(self._file.fileno())
        finally:
            self._file.close()


def write_tensors(
    path: str | os.PathLike[str],
    layout: Mapping[str, tuple[tuple[int, ...], np.dtype]],
    arrays: Iterable[tuple[str, np.ndarray]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a safetensors file of `arrays`, of which no two need be in memory at a time."""
    with TensorFile(path, layout, metadata) as file:
        for name, array in arrays:
            file.write(name, array)


@contextlib.contextmanager
def new_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a folder to write into, which becomes `out` at the end and is removed after an exception.

    Raises:
        StoryjaxError: `out` is there already and holds something, or cannot be written.
    """
    out = place(out).absolute()
    check_new(out)
    if isinstance(out, BucketPath):
        with tempfile.TemporaryDirectory(prefix="storyjax-") as scratch:
            yield Path(scratch)
            try:
                upload_folder(Path(scratch), out)
            except OSError as error:
                raise StoryjaxError(f"cannot write {out}: {error.strerror or error}") from error
        return
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        os.replace(unfinished, out)
    except OSError as error:
        reason = error.strerror or error
        raise StoryjaxError(f"cannot write {out}: {reason}; check the space and the permissions there") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_new(out: str | os.PathLike[str]) -> None:
    """Raises StoryjaxError if a place to write to holds something already."""
    out = place(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoryjaxError(f"--out {out} is there already: name a new folder, or remove that one")
