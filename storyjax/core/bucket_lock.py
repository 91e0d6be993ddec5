"""A lock in a bucket: an object that only one process can make, which says whose it is and is written anew while held.

A bucket has no lock that ends with its process. The holder writes the object every REFRESH_S seconds; one that was not
written for STALE_S seconds, by the store's own clock, is of a process that is gone, and is taken over. So is, at once,
that of a process of this machine that is no longer there.
"""

import contextlib
import json
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from storyjax.core.buckets import BucketPath
from storyjax.core.errors import StoryjaxError

REFRESH_S = 15.0
STALE_S = 90.0
_WAIT_S = 2.0  # between two looks at a lock that is waited for


@contextlib.contextmanager
def bucket_lock(path: BucketPath, refusal: str, wait: bool = False) -> Iterator[None]:
    """Holds the lock.

    Args:
        path: of its object.
        refusal: the message where another process holds it; when the lock ends by itself is added.
        wait: whether to wait for that process instead.

    Raises:
        StoryjaxError: another process holds the lock, or took it over while this one did not reach the store.
        OSError: the store cannot be written.
    """
    mine = _Mine(path)
    while (rest := mine.take()) is not None:
        if not wait:
            raise StoryjaxError(f"{refusal} (a lock in a bucket whose process is gone ends within {rest:.0f} s)")
        time.sleep(_WAIT_S)
    done = threading.Event()
    thread = threading.Thread(target=mine.keep, args=(done,), name="bucket lock", daemon=True)
    thread.start()
    try:
        yield
        if mine.lost:
            raise StoryjaxError(f"another process has taken over {path} while this one did not reach the store")
    finally:
        done.set()
        thread.join()
        mine.release()


class _Mine:
    """This process's try at a lock."""

    def __init__(self, path: BucketPath) -> None:
        self.path, self.lost = path, False
        self._about = {"host": _machine(), "process": os.getpid(), "began": _began(os.getpid())}
        self._about["id"] = uuid.uuid4().hex

    def _text(self) -> bytes:
        return json.dumps({**self._about, "time": time.time()}).encode()

    def take(self) -> float | None:
        """Takes the lock, and returns None; or how many seconds the other process's lock has still to live."""
        for _ in range(3):
            try:
                self.path.write_new(self._text())
                return None
            except FileExistsError:
                if self._read().get("id") == self._about["id"]:
                    return None  # an earlier try did write it, and its answer was lost
            rest = self._rest()
            if rest > 0:
                return rest
        return STALE_S  # others took it over before this process could

    def _rest(self) -> float:
        """Seconds that the lock there has to live; one that has none is removed."""
        try:
            info, holder = self.path.info(), self._read()
        except FileNotFoundError:
            return 0.0
        here = holder.get("host") == self._about["host"]
        if not (here and _began(holder.get("process", 0)) != holder.get("began")):
            age = (self._store_time() - info["mtime"]).total_seconds() if info.get("mtime") else 0.0
            if age < STALE_S:
                return max(STALE_S - age, 1.0)
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            _delete(self.path, info)
        return 0.0

    def _store_time(self) -> Any:
        """The store's clock, which may differ from this machine's."""
        probe = self.path.with_name(f"{self.path.name}-{self._about['id']}")
        probe.write_bytes(b"")
        try:
            return probe.info()["mtime"]
        finally:
            probe.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_bytes())
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def keep(self, done: threading.Event) -> None:
        """Writes the lock anew until `done`, unless another process has it."""
        while not done.wait(REFRESH_S):
            with contextlib.suppress(OSError):  # the store may answer again before the lock is stale
                try:
                    info = self.path.info()
                    self.lost = self._read().get("id") != self._about["id"]
                    if not self.lost:
                        _rewrite(self.path, info, self._text())
                except FileNotFoundError:
                    self.lost = True
                except FileExistsError:  # written by another process just now; or by this one, whose answer was lost
                    self.lost = self._read().get("id") != self._about["id"]
                if self.lost:
                    return

    def release(self) -> None:
        """Removes the lock, if it is still this process's."""
        with contextlib.suppress(OSError):
            info = self.path.info()
            if self._read().get("id") == self._about["id"]:
                _delete(self.path, info)


def _rewrite(path: BucketPath, info: dict[str, Any], text: bytes) -> None:
    """Writes the object that `info` is of anew. Raises FileExistsError if another one is there meanwhile, where the
    store can tell them apart."""
    generation = info.get("generation")
    if generation is None or not hasattr(path.ask(lambda store, key: store), "call"):
        path.write_bytes(text)
        return
    bucket, _, name = path.key.partition("/")
    condition: dict[str, Any] = {"uploadType": "media", "name": name, "ifGenerationMatch": str(generation)}
    path.ask(
        lambda store, key: store.call(
            "POST",
            f"{store.base.replace('/storage/v1/', '/upload/storage/v1/')}b/{bucket}/o",
            headers={"Content-Type": "application/octet-stream"},
            data=text,
            **condition,
        )
    )


def _delete(path: BucketPath, info: dict[str, Any]) -> None:
    """Deletes the object that `info` is of, and no later one of its name, where the store can tell them apart."""
    generation = info.get("generation")
    if generation is None or not hasattr(path.ask(lambda store, key: store), "call"):
        path.unlink(missing_ok=True)
        return
    bucket, _, name = path.key.partition("/")
    path.ask(lambda store, key: store.call("DELETE", "b/{}/o/{}", bucket, name, ifGenerationMatch=str(generation)))


def _machine() -> str:
    """Where the numbers of processes count: a host, or a container on it."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return f"{socket.gethostname()} {uuid.uuid4().hex}"  # no other process is known to be of the same


def _began(process: int) -> str:
    """When a process of this machine began, in its kernel's words; "": there is none."""
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        ticks = pathlib.Path(f"/proc/{int(process)}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, ValueError, IndexError):
        return ""
    return f"{boot} {ticks}"
