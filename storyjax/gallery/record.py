"""The files of one entry of a gallery: entry.json, which names the others, one file of vectors, and pictures.

An entry is changed by new files beside the old ones and then one atomic replacement of entry.json: a reader, or a
process killed at any moment, sees the entry before or after the change, never half of it. Files that entry.json does
not name are what a killed process left, and go with the next change.
"""

import contextlib
import io
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load, save

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import json_text, write_atomically
from storyjax.gallery.names import normalise_name

FORMAT = 2
ENTRY_FILE = "entry.json"
PERSON, THING = "person", "thing"
KINDS = (PERSON, THING)
FACE, VOICE, IMAGE, TOKEN = "face", "voice", "image", "token"
ROLES = (FACE, VOICE, IMAGE, TOKEN)
MAX_PICTURES = 12  # of one source
PICTURE_PIXELS = 256
LONGEST_SOURCE = 300
_ID = re.compile(r"[0-9a-f]{32}")
_VECTORS = re.compile(r"vectors-[0-9a-f]{8}\.safetensors")
_PICTURE = re.compile(r"[0-9a-f]{8}-[0-9]{1,3}\.jpg")


@dataclass(frozen=True)
class Evidence:
    """Vectors of an entry that one network made of one source.

    Attributes:
        role: one of `ROLES`.
        fingerprint: of the network that made the vectors.
        source: a photo's file name, "film:NAME#track 12", "taught" and so on.
        rows: number of vectors.
        width: of a vector.
        model: what people call the network; None where nobody said.
        seconds: of speech that each vector is the mean of; empty where that is not known, or not what it is of.
    """

    role: str
    fingerprint: str
    source: str
    rows: int
    width: int
    model: str | None = None
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Source:
    """The pictures of a source, by their file names, and the number of photos that they were chosen from."""

    photos: int = 0
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """All that entry.json says.

    Attributes:
        id: 32 hexadecimal digits, for good.
        name: normalised.
        kind: "person" or "thing".
        category: of a thing ("dog"); None of a person.
        created: moment of its making, ISO 8601 with the time zone.
        evidence: what its vectors are of, in the order of the arrays in the file of vectors.
        sources: pictures by source.
        merged: ids of entries that were merged into it.
        vectors: the name of the file of vectors; None where there are none.
    """

    id: str
    name: str
    kind: str
    category: str | None
    created: str
    evidence: tuple[Evidence, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    merged: tuple[str, ...] = ()
    vectors: str | None = None

    @property
    def photos(self) -> int:
        """Number of photos that it was made from."""
        return sum(source.photos for source in self.sources.values())

    def files(self) -> set[str]:
        """Returns the names of the files that it is made of."""
        pictures = {name for source in self.sources.values() for name in source.pictures}
        return {ENTRY_FILE, *pictures} | ({self.vectors} if self.vectors else set())


def new_id() -> str:
    """Returns the id of a new entry."""
    return uuid.uuid4().hex


def read_record(path: Path, content: Mapping[str, Any]) -> Record:
    """Returns what an entry.json says.

    Args:
        path: of the file, whose folder is named by the entry's id.
        content: of the file.

    Raises:
        StoryjaxError: it is damaged, of a later version, or of another folder.
    """
    again = f"remove {path.parent} and enrol again"
    if content.get("format") != FORMAT:
        raise StoryjaxError(f"{path} is of format {content.get('format')!r}, which this version does not read: update")
    try:
        record = parse_record(content)
    except (ValueError, TypeError, KeyError, AttributeError, StoryjaxError) as error:
        raise StoryjaxError(f"{path} is damaged ({type(error).__name__}: {error}): {again}") from error
    if record.id != path.parent.name:
        raise StoryjaxError(f"{path} does not belong into {path.parent}: {again}")
    return record


def parse_record(content: Mapping[str, Any]) -> Record:
    """Returns the record in JSON. Raises ValueError, TypeError, KeyError, AttributeError or StoryjaxError: it is none,
    or names files that are not an entry's."""
    evidence = tuple(_parse_evidence(one) for one in content["evidence"])
    sources = {
        _text(name): Source(int(one["photos"]), tuple(_text(picture) for picture in one["pictures"]))
        for name, one in content["sources"].items()
    }
    category, vectors = content["category"], content["vectors"]
    record = Record(
        id=_text(content["id"]),
        name=_text(content["name"]),
        kind=_text(content["kind"]),
        category=None if category is None else _text(category),
        created=_text(content["created"]),
        evidence=evidence,
        sources=sources,
        merged=tuple(_text(one) for one in content["merged"]),
        vectors=None if vectors is None else _text(vectors),
    )
    if not all(_ID.fullmatch(one) for one in (record.id, *record.merged)):
        raise ValueError("an id is not 32 hexadecimal digits")
    if len({record.id, *record.merged}) != 1 + len(record.merged):
        raise ValueError("it is merged from itself")
    if normalise_name(record.name) != record.name or record.kind not in KINDS:
        raise ValueError(f"name {record.name[:40]!r}, kind {record.kind[:40]!r}")
    if record.vectors is not None and not _VECTORS.fullmatch(record.vectors):
        raise ValueError(f"a file of vectors named {record.vectors[:40]!r}")
    if (record.vectors is None) != (not evidence):
        raise ValueError("vectors and what they are of do not agree")
    if wrong := [p for source in sources.values() for p in source.pictures if not _PICTURE.fullmatch(p)]:
        raise ValueError(f"a picture named {wrong[0][:40]!r}")
    return record


def _parse_evidence(content: Mapping[str, Any]) -> Evidence:
    model = content.get("model")
    one = Evidence(
        role=_text(content["role"]),
        fingerprint=_text(content["fingerprint"]),
        source=_text(content["source"]),
        rows=int(content["rows"]),
        width=int(content["width"]),
        model=None if model is None else _text(model),
        seconds=tuple(float(value) for value in content.get("seconds", ())),
    )
    if one.role not in ROLES or one.rows < 1 or one.width < 1 or len(one.seconds) not in (0, one.rows):
        raise ValueError(f"evidence of {one.source[:40]!r}")
    return one


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def record_json(record: Record) -> dict[str, Any]:
    """Returns the JSON of a record."""
    evidence = []
    for one in record.evidence:
        row = {key: getattr(one, key) for key in ("role", "fingerprint", "source", "rows", "width")}
        row |= {"model": one.model} if one.model is not None else {}
        evidence.append(row | ({"seconds": list(one.seconds)} if one.seconds else {}))
    sources = {
        name: {"photos": one.photos, "pictures": list(one.pictures)} for name, one in sorted(record.sources.items())
    }
    plain = {key: getattr(record, key) for key in ("id", "name", "kind", "category", "created")}
    last = {"merged": list(record.merged), "vectors": record.vectors}
    return {"format": FORMAT, **plain, "evidence": evidence, "sources": sources, **last}


def read_vectors(folder: Path, record: Record) -> list[Float32[np.ndarray, "_ _"]]:
    """Returns the vectors of each evidence of an entry.

    Raises:
        StoryjaxError: the file is damaged, or not what entry.json says.
        FileNotFoundError: the file is not there: another process may have changed the entry meanwhile.
    """
    if record.vectors is None:
        return []
    path = folder / record.vectors
    try:
        return parse_vectors(path.read_bytes(), record)
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise StoryjaxError(
            f"cannot read {path} ({error}): 'storyjax gallery forget \"{record.name}\"' and enrol again"
        ) from error


def parse_vectors(data: bytes, record: Record) -> list[Float32[np.ndarray, "_ _"]]:
    """Returns the vectors in a file's bytes. Raises SafetensorError, KeyError or ValueError: not the record's."""
    arrays = load(data)
    if len(arrays) != len(record.evidence):
        raise ValueError(f"{len(arrays)} arrays where entry.json has {len(record.evidence)}")
    found = []
    for number, one in enumerate(record.evidence):
        array = arrays[str(number)]
        if array.shape != (one.rows, one.width) or array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError(f"array {number} is not of {one.rows} × {one.width} finite numbers")
        found.append(array)
    return found


def write_record(folder: Path, record: Record, vectors: Sequence[Float32[np.ndarray, "_ _"]] | None) -> Record:
    """Writes an entry's files into its folder, which is there, and returns the record as it was written.

    Args:
        folder: of the entry.
        record: what it is now.
        vectors: of its evidence; None: as they are.

    Raises:
        OSError: they cannot be written; the entry is then as it was.
    """
    if vectors is not None:
        record = replace(record, vectors=f"vectors-{uuid.uuid4().hex[:8]}.safetensors" if len(vectors) else None)
        arrays = {str(number): np.ascontiguousarray(array, np.float32) for number, array in enumerate(vectors)}
        if record.vectors:
            write_atomically(folder / record.vectors, save(arrays), durable=True)
    write_atomically(folder / ENTRY_FILE, json_text(record_json(record), indent=1) + "\n", durable=True)
    remove_others(folder, record)
    return record


def remove_others(folder: Path, record: Record) -> None:
    """Removes the files of an entry's folder that are not its own, for instance of a process that was killed."""
    for path in folder.iterdir():
        if path.name not in record.files():
            with contextlib.suppress(OSError):
                path.unlink()


def write_pictures(folder: Path, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> tuple[str, ...]:
    """Writes up to `MAX_PICTURES` small copies of images, spread over all, and returns their names.

    Raises:
        OSError: they cannot be written.
    """
    stem, names = uuid.uuid4().hex[:8], []
    for index, image in enumerate(spread(images)):
        small = Image.fromarray(np.ascontiguousarray(image))
        small.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS))
        data = io.BytesIO()
        small.save(data, format="JPEG", quality=88)
        names.append(f"{stem}-{index + 1}.jpg")
        write_atomically(folder / names[-1], data.getvalue(), durable=True)
    return tuple(names)


def spread(images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Returns at most `MAX_PICTURES` of the images, at equal distances."""
    count = min(len(images), MAX_PICTURES)
    return [images[index * len(images) // count] for index in range(count)]


def checked_source(source: str) -> str:
    """Returns the source as it is stored: of a path from the root, its last part, so that none names a machine.

    Raises:
        StoryjaxError: it is empty, too long, or holds line ends.
    """
    last = re.split(r"[/\\]", source)[-1] if re.match(r"[/\\]|[A-Za-z]:[/\\]", source) else source
    if not last.strip() or len(last) > LONGEST_SOURCE or any(ord(c) < 32 for c in last):
        raise StoryjaxError(f"{source[:60]!r} is no source of evidence: give a file's name, or a few words")
    return last


def entry_json(path: Path) -> dict[str, Any]:
    """Returns the content of an entry.json of any format. Raises StoryjaxError: it cannot be read or is no object;
    FileNotFoundError: it is not there."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"{path} is damaged ({error}): remove {path.parent} and enrol again") from error
    if not isinstance(content, dict):
        raise StoryjaxError(f"{path} is damaged (no JSON object): remove {path.parent} and enrol again")
    return content
