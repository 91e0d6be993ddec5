"""Galleries in one zip file: `storyjax gallery export` and `import`.

The file has gallery.json and, for each entry, ID/entry.json with the files that it names; nothing else, and no paths of
the machine. What is read is not trusted: names, sizes and contents are checked before anything is written.
"""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from safetensors import SafetensorError

from storyjax.core.errors import StoryjaxError
from storyjax.core.files import check_outputs, write_atomically
from storyjax.gallery.gallery import Entry, Gallery
from storyjax.gallery.names import name_key, skeleton
from storyjax.gallery.reading import GALLERY_FILE, entry_of
from storyjax.gallery.record import (
    ENTRY_FILE,
    FORMAT,
    PICTURE_PIXELS,
    Record,
    checked_source,
    parse_record,
    parse_vectors,
    record_json,
)

MAX_ENTRIES = 10_000
MAX_FILES = 100 * MAX_ENTRIES
MAX_FILE_BYTES = 64 * 2**20
MAX_BYTES = 4 * 2**30  # of all files, unpacked
_MOMENT = (2026, 1, 1, 0, 0, 0)  # of every file in the zip: the same gallery gives the same bytes


def export_gallery(gallery: Gallery, file: str | os.PathLike[str]) -> int:
    """Writes all entries into a zip file, and returns their number.

    Raises:
        StoryjaxError: nobody is in the gallery, an entry is damaged, or the file cannot be written.
    """
    entries = gallery.entries()
    if not entries:
        raise StoryjaxError(f"nobody is in {gallery.folder}: there is nothing to export")
    inside = (path for folder in gallery.folders() for path in folder.iterdir())
    check_outputs([("", file)], inside)
    write_atomically(file, lambda path: _pack(gallery, path, file))
    return len(entries)


def _pack(gallery: Gallery, path: Path, file: str | os.PathLike[str]) -> None:
    with gallery.writing():  # so that nobody changes meanwhile
        try:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
                _put(packed, GALLERY_FILE, json.dumps({"format": FORMAT}).encode())
                for folder, record in gallery.records():
                    for name in sorted(record.files()):
                        _put(packed, f"{record.id}/{name}", (folder / name).read_bytes())
        except OSError as error:
            raise StoryjaxError(
                f"{file} cannot be written ({error.strerror or error}): check space and permissions"
            ) from error


def _put(packed: zipfile.ZipFile, name: str, data: bytes) -> None:
    packed.writestr(zipfile.ZipInfo(name, _MOMENT), data, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Imported:
    """What an import did: the entries that were added, and those that were there already and are the same."""

    added: tuple[Entry, ...]
    known: tuple[Entry, ...]


def import_gallery(
    gallery: Gallery, file: str | os.PathLike[str], renames: Mapping[str, str] | None = None
) -> Imported:
    """Adds the entries of a zip file to a gallery. Those that it has already, by id and name, stay as they are.

    Args:
        gallery: to be added to.
        file: that `export_gallery` wrote, here or elsewhere.
        renames: new names of entries of the file, by their old ones.

    Raises:
        StoryjaxError: the file is none, damaged or holds what does not belong there; a name is taken or invalid.
            Nothing is then added.
    """
    packed = _read_file(Path(file))
    packed = _renamed(packed, renames or {}, Path(file))
    with gallery.writing():
        known, new = [], []
        for record, files in packed:
            there = gallery.by_id(record.id)
            if there is not None and there.name == record.name:
                known.append(there)
                continue
            if there is not None:
                raise StoryjaxError(
                    f"'{record.name}' of {file} is '{there.name}' here: rename the one here first, or take it in under"
                    f' that name with --rename "{record.name}={there.name}"'
                )
            _check_name(gallery, record, file)
            if own := next((one for one in map(gallery.by_id, record.merged) if one is not None), None):
                raise StoryjaxError(
                    f"'{record.name}' of {file} was merged from '{own.name}', who is here: 'storyjax gallery forget'"
                    " that one first, or import into another gallery"
                )
            new.append((record, files))
        gallery.adopt(new)
    return Imported(tuple(entry_of(record) for record, _ in new), tuple(known))


def _check_name(gallery: Gallery, record: Record, file: str | os.PathLike[str]) -> None:
    try:
        gallery.check_new(record.name)
    except StoryjaxError as error:
        raise StoryjaxError(
            f"'{record.name}' of {file} cannot be taken in ({error}): --rename \"{record.name}=NEW NAME\", or after it"
            f" 'storyjax gallery merge' where they are the same"
        ) from error


Packed = list[tuple[Record, dict[str, bytes]]]


def _renamed(packed: Packed, renames: Mapping[str, str], file: Path) -> Packed:
    left = {name_key(old): new for old, new in renames.items()}
    found = []
    for record, files in packed:
        new = left.pop(name_key(record.name), None)
        if new is not None:
            record = parse_record(record_json(replace(record, name=new)))
            files = files | {ENTRY_FILE: json.dumps(record_json(record)).encode()}
        found.append((record, files))
    if left:
        raise StoryjaxError(f"--rename: nobody in {file} is called '{next(iter(left))}'")
    seen: dict[str, str] = {}
    for record, _ in found:
        if seen.setdefault(skeleton(record.name), record.id) != record.id:
            raise StoryjaxError(f"{file} would give the name '{record.name}' twice: give each another with --rename")
    return found


def _read_file(file: Path) -> Packed:
    """All entries of a zip file with their files, checked."""
    try:
        with zipfile.ZipFile(file) as packed:
            return _unpack(packed, file)
    except FileNotFoundError as error:
        raise StoryjaxError(f"{file} is not there: give a file that 'storyjax gallery export' wrote") from error
    except (OSError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise StoryjaxError(f"{file} is no gallery that can be read ({why}): export it again") from error


def _unpack(packed: zipfile.ZipFile, file: Path) -> Packed:
    wrong = f"{file} is no exported gallery"
    infos = packed.infolist()
    names = [info.filename for info in infos]
    if len(infos) > MAX_FILES or len(set(names)) < len(names):
        raise StoryjaxError(f"{wrong}: it has too many files, or two of one name")
    if sum(info.file_size for info in infos) > MAX_BYTES or any(info.file_size > MAX_FILE_BYTES for info in infos):
        raise StoryjaxError(f"{wrong}: a file, or all together, would be too large")
    if GALLERY_FILE not in names:
        raise StoryjaxError(f"{wrong}: it has no {GALLERY_FILE}")
    about = json.loads(_read(packed, GALLERY_FILE))
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise StoryjaxError(f"{file} is a gallery of another format than {FORMAT}: update storyjax")
    heads = [name for name in names if name.count("/") == 1 and name.endswith(f"/{ENTRY_FILE}")]
    if not heads or len(heads) > MAX_ENTRIES:
        raise StoryjaxError(f"{wrong}: it has {len(heads)} entries")
    found, expected = [], {GALLERY_FILE}
    for head in heads:
        record, files = _unpack_entry(packed, head, file)
        expected |= {f"{record.id}/{name}" for name in files}
        found.append((record, files))
    ids = [id for record, _ in found for id in (record.id, *record.merged)]
    if len(set(ids)) < len(ids):
        raise StoryjaxError(f"{wrong}: two of its entries have one id")
    if more := sorted(set(names) - expected):
        raise StoryjaxError(f"{wrong}: it holds {more[0][:60]!r}, which belongs to no entry")
    return found


def _unpack_entry(packed: zipfile.ZipFile, head: str, file: Path) -> tuple[Record, dict[str, bytes]]:
    try:
        content = json.loads(_read(packed, head))
        record = parse_record(content)
        if content["format"] != FORMAT or head != f"{record.id}/{ENTRY_FILE}":
            raise ValueError("it is of another folder or format")
        if any(checked_source(name) != name for name in [*record.sources, *(one.source for one in record.evidence)]):
            raise ValueError("a source is a path of some machine")
        files = {name: _read(packed, f"{record.id}/{name}") for name in record.files()}
        if record.vectors is not None:
            parse_vectors(files[record.vectors], record)
        for name in files:
            if name.endswith(".jpg"):
                _check_picture(files[name])
    except (ValueError, TypeError, KeyError, AttributeError, SafetensorError, OSError, RecursionError) as error:
        raise StoryjaxError(f"{file}: {head[:60]!r} is damaged ({error}): export it again") from error
    except StoryjaxError as error:
        raise StoryjaxError(f"{file}: {head[:60]!r} cannot be used: {error}") from error
    return record, files


def _read(packed: zipfile.ZipFile, name: str) -> bytes:
    """A file's bytes; never more than its header promised, whatever it is packed from."""
    with packed.open(name) as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{name[:60]!r} is larger than it says")
    return data


def _check_picture(data: bytes) -> None:
    """A ValueError unless the bytes are a small JPEG."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        if max(image.size) > 8 * PICTURE_PIXELS:
            raise ValueError(f"a picture of {image.size[0]} × {image.size[1]} pixels")
        image.load()
