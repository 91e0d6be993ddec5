"""Writing a world into a folder once: whole or not at all, found again by what it was made of."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from storyjax.core.bucket_copies import upload_folder
from storyjax.core.buckets import BucketPath, place
from storyjax.core.errors import StoryjaxError
from storyjax.storyworld.render.world import make_folder, write_text

MANIFEST = "manifest.json"
BEGUN = "begun.json"  # in a bucket, while the rest is uploaded


def export_once(
    directory: str | Path, parameters: Mapping[str, Any], looks: bytes, write: Callable[[Path], None]
) -> Path:
    """Has `write` fill a folder beside `directory`, which then takes its place.

    What is there already is left as it is if it was made of the same `parameters` and looks the same (`looks`: images
    that change when the drawing does); if it only looks otherwise it is made anew. Raises StoryjaxError where the
    directory holds something else, or cannot be written.
    """
    directory = place(directory)
    manifest = json.loads(json.dumps({"parameters": dict(parameters), "looks": hashlib.sha256(looks).hexdigest()[:16]}))
    try:
        found = json.loads((directory / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        found = None
        ours = isinstance(directory, BucketPath) and (directory / BEGUN).exists()
        if not ours and directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise StoryjaxError(
                f"{directory} holds something else than StoryWorld; choose an empty or a new directory"
            ) from None
    if found == manifest:
        return directory
    if found is not None and found.get("parameters") != manifest["parameters"]:
        raise StoryjaxError(f"{directory} holds another StoryWorld; delete it or choose another directory")
    if isinstance(directory, BucketPath):
        export_to_bucket(directory, manifest, lambda local: export_once(local, parameters, looks, write))
        return directory
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        make_folder(unfinished)
        write(unfinished)
        write_text(unfinished / MANIFEST, json.dumps(manifest, indent=1))
        if directory.exists():
            shutil.rmtree(directory)
        unfinished.rename(directory)
    except OSError as error:
        raise StoryjaxError(
            f"can't write a world to {directory}: {error.strerror or error}; make room there"
        ) from error
    return directory


def export_to_bucket(directory: BucketPath, manifest: Mapping[str, Any], export: Callable[[Path], object]) -> None:
    """Has `export` fill a folder of this machine, and uploads it, its manifest last.

    Raises StoryjaxError where the bucket cannot be written.
    """
    try:
        (directory / BEGUN).write_text(json.dumps(manifest, indent=1), "utf-8")
        with tempfile.TemporaryDirectory(prefix="storyjax-") as scratch:
            local = Path(scratch, directory.name)
            export(local)
            upload_folder(local, directory, last=[MANIFEST])
        (directory / BEGUN).unlink(missing_ok=True)
    except OSError as error:
        raise StoryjaxError(f"can't write a world to {directory}: {error.strerror or error}") from error
