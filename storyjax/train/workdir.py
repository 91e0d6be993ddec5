"""A run's folder: its config, its results, and the one line that a full or read-only disk gives."""

import contextlib
import errno
import json
import math
import os
import pathlib
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from storyjax.core.buckets import BucketPath, is_bucket, store_error
from storyjax.core.errors import StoryjaxError
from storyjax.core.files import exclusive_lock, write_atomically
from storyjax.core.renames import modernise

# What may change between a run and its resumption without making it another run.
FREE_KEYS = ("train.steps", "train.epochs", "mesh.", "distributed.", "checkpoint.", "eval.", "log.")
_STORAGE_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT),
)
# Orbax writes in threads, and its storage library turns the system's error into the text of another exception.
_STORAGE_TEXT = re.compile("|".join(os.strerror(number) for number in _STORAGE_ERRORS[:7]), re.IGNORECASE)


@contextlib.contextmanager
def storage_errors(workdir: pathlib.Path) -> Iterator[None]:
    """Turns a failure to write the workdir, however deeply wrapped, into a StoryjaxError of one line."""
    try:
        yield
    except StoryjaxError:
        raise
    except Exception as error:
        reason = _storage_reason(error, workdir)
        if reason is None:
            raise
        what = "bucket" if isinstance(workdir, BucketPath) else "disk or its permissions"
        raise StoryjaxError(
            f"cannot write the run in {workdir}: {reason}. Checkpoints written before are intact: fix the {what} "
            "and give the same command again, or choose another --workdir."
        ) from error


def _storage_reason(error: BaseException, workdir: pathlib.Path) -> str | None:
    """The system's words for what went wrong with the workdir, or None if the error is about something else."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    elsewhere = [str(name) for cause in seen if (name := getattr(cause, "filename", None)) is not None]
    if isinstance(workdir, BucketPath) and any(
        is_bucket(name) and not name.startswith(str(workdir)) for name in elsewhere
    ):
        return None  # of the data, for instance
    for cause in seen:
        if isinstance(workdir, BucketPath) and (found := store_error(cause)) is not None:
            # Local files have names of their own, and what is in the store a name with its scheme, or none.
            name = getattr(cause, "filename", None)
            if name is None or str(name).startswith(str(workdir)):
                return found[1]
        elif isinstance(cause, OSError) and cause.errno in _STORAGE_ERRORS:
            # Without a file name it is a write to an open file, and those are the workdir's.
            if cause.filename is None or str(cause.filename).startswith(str(workdir)):
                return cause.strerror
        elif str(workdir) in str(cause) and (text := _STORAGE_TEXT.search(str(cause))):
            return text.group()
    return None


def make_workdir(workdir: pathlib.Path) -> None:
    """Makes the folder, and sees now, not after hours of work, whether it can be written to.

    Raises:
        StoryjaxError: the folder has a config.json that is not of a run, which would be written over.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    if not (workdir / "checkpoints").exists() and not (workdir / "metrics.jsonl").exists():
        with contextlib.suppress(FileNotFoundError):
            there = (workdir / "config.json").read_bytes()
            if b'"experiment"' not in there:
                raise StoryjaxError(
                    f"{workdir} holds a config.json that is not of a run, and would be lost: choose another --workdir"
                )
    if isinstance(workdir, BucketPath):
        probe = workdir / f".writable-{secrets.token_hex(8)}"  # of every process its own
        probe.write_bytes(b"")
        probe.unlink()
    elif not os.access(workdir, os.W_OK):
        raise PermissionError(errno.EACCES, "it is not writable", str(workdir))


@contextlib.contextmanager
def training_lock(workdir: pathlib.Path) -> Iterator[None]:
    """Held by the one process that trains in a workdir, or by process 0 of those that train together.

    Raises:
        StoryjaxError: another training holds it.
    """
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            refusal = (
                f"another process is training in {workdir}: wait until it has ended, or choose another --workdir; each"
                " would damage what the other one writes"
            )
            stack.enter_context(exclusive_lock(workdir / ".lock", refusal))
        yield


def write_results(workdir: pathlib.Path, results: Mapping[str, float]) -> None:
    """`results.json`: flat, sorted, {"dataset/metric": number}."""
    text = json.dumps(as_json(results), indent=2, sort_keys=True) + "\n"
    write_atomically(workdir / "results.json", text, durable=True)


def as_json(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics as JSON, which has no NaN and no infinity: null stands for them."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def write_config(workdir: pathlib.Path, config: ConfigDict) -> None:
    """`config.json`: what the run was started with."""
    write_atomically(workdir / "config.json", json.dumps(plain(config), indent=2) + "\n", durable=True)


def plain(config: ConfigDict) -> dict[str, Any]:
    """A config as JSON knows it: tuples are lists, references are resolved."""
    return json.loads(json.dumps(config.to_dict(), default=str))


def check_same_run(workdir: pathlib.Path, config: ConfigDict, saved: Mapping[str, Any] | None = None) -> str:
    """Refuses to resume a run under a config that would make it another one.

    Args:
        workdir: the run's folder.
        config: what the run would go on with.
        saved: the config that the run's checkpoint holds, which is compared where config.json is damaged or missing.

    Returns:
        A note about a config.json that is damaged; else "".

    Raises:
        StoryjaxError: naming the keys that differ from <workdir>/config.json, with both values.
    """
    path, note = workdir / "config.json", ""
    try:
        stored = json.loads(path.read_text("utf-8"))
        if not isinstance(stored, dict):
            raise ValueError("it holds no JSON object")
    except FileNotFoundError:
        stored = saved
    except (OSError, ValueError) as error:
        stored = saved
        note = f"{path} is damaged ({error}): the config in the checkpoint takes its place, and it is written anew"
    if stored is None:
        return note
    old, new = _dotted(modernise(dict(stored))), _dotted(plain(config))
    differing = [
        f"{key} was {old.get(key, 'not set')!r}, is {new.get(key, 'not set')!r}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) and not key.startswith(FREE_KEYS)
    ]
    if differing:
        raise StoryjaxError(
            f"{workdir} holds a run with another config: {'; '.join(differing)}. Choose another --workdir, or remove "
            "this one to start over."
        )
    return note


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
