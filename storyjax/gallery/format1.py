"""Galleries of format 1, which `storyjax find` wrote before there was one gallery for all commands.

An entry was a folder named after it, with entry.json (name, kind, category, fingerprint, photos, date), one token in
token.safetensors and up to twelve thumbnails. They are read as they are, and converted when the gallery is first
written to.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.numpy import load_file

from storyjax.core.errors import StoryjaxError
from storyjax.gallery.names import folder_name, name_key
from storyjax.gallery.record import KINDS, TOKEN, Evidence, Record, Source

_TOKEN_FILE = "token.safetensors"
_FIELDS = {"name", "kind", "category", "fingerprint", "photos", "date"}
ENROLLED = "enrolled"  # the source of what these galleries hold


def read_old_record(path: Path, content: Mapping[str, Any]) -> Record:
    """Returns what an entry.json of format 1 says. Its id comes of its name and date, and is the same each time.

    Raises:
        StoryjaxError: it is damaged, or of another folder.
    """
    folder = path.parent
    again = f"remove {folder} and enrol again"
    try:
        if set(content) != _FIELDS:
            raise ValueError(f"the keys {', '.join(map(str, content)) or 'are none'}")
        name, date = content["name"], str(content["date"])
        valid = folder_name(name) == folder.name and content["kind"] in KINDS
        source = Source(int(content["photos"]), tuple(sorted(one.name for one in folder.glob("*.jpg"))))
        category = None if content["category"] is None else str(content["category"])
        fingerprint = str(content["fingerprint"])
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StoryjaxError(f"{path} is damaged ({error}): {again}") from error
    if not valid:
        raise StoryjaxError(f"{path} does not belong into {folder}: {again}")
    identity = hashlib.sha256(f"storyjax gallery 1|{name_key(name)}|{date}".encode()).hexdigest()[:32]
    evidence = (Evidence(TOKEN, fingerprint, ENROLLED, 1, 1),)  # the real shape is known when the token is read
    return Record(identity, name, content["kind"], category, date, evidence, {ENROLLED: source}, vectors=_TOKEN_FILE)


def read_old_vectors(folder: Path, record: Record) -> list[Float32[np.ndarray, "_ _"]]:
    """Returns the token of an entry, in a list. Raises StoryjaxError: it is damaged."""
    path = folder / _TOKEN_FILE
    try:
        token = load_file(path)["token"]
    except (OSError, SafetensorError, KeyError) as error:
        raise StoryjaxError(
            f"cannot read {path} ({error}): 'storyjax gallery forget \"{record.name}\"' and enrol again"
        ) from error
    if token.ndim != 2 or not token.size or not np.isfinite(token).all():
        raise StoryjaxError(f"{path} holds no token: 'storyjax gallery forget \"{record.name}\"' and enrol again")
    return [token.astype(np.float32)]
