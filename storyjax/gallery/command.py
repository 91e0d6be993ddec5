"""The functions of `storyjax gallery` that need no model: list, rename, merge, export and import."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.gallery.archive import export_gallery, import_gallery
from storyjax.gallery.gallery import Entry, Evidence, Gallery
from storyjax.gallery.reading import photo_count


def listing(gallery: Gallery) -> str:
    """Returns a line for each entry: its kind, what is known of it, from which model and how many sources."""
    entries = gallery.entries()
    if not entries:
        return f"nobody is in {gallery.folder} yet: storyjax gallery add NAME PHOTOS"
    width = max(len(entry.name) for entry in entries)
    return "\n".join(
        f"{entry.name:{width}}  {'; '.join([entry.category or entry.kind, *_known(gallery, entry)])}"
        for entry in entries
    )


def described(gallery: Gallery) -> list[dict[str, Any]]:
    """Returns the same for other programs, with all sources."""
    return [
        {
            "id": entry.id,
            "name": entry.name,
            "kind": entry.kind,
            "category": entry.category,
            "created": entry.created,
            "evidence": [
                {"role": one.role, "model": one.model, "fingerprint": one.fingerprint, "source": one.source}
                | {"vectors": one.rows}
                for one in gallery.evidence(entry)
            ],
            "pictures": [str(path) for path in gallery.pictures(entry)],
        }
        for entry in gallery.entries()
    ]


def _known(gallery: Gallery, entry: Entry) -> list[str]:
    groups: dict[tuple[str, str], list[Evidence]] = {}
    for one in gallery.evidence(entry):
        groups.setdefault((one.role, one.fingerprint), []).append(one)
    rows = [
        f"{sum(one.rows for one in group)} {role} ({group[-1].model or fingerprint[:8]})"
        for (role, fingerprint), group in groups.items()
    ]
    photos = [photo_count(entry.photos)] if entry.photos else []
    return [*(rows or ["nothing that a model could use"]), *photos, f"since {entry.created[:10]}"]


def rename(gallery: Gallery, name: str, new: str) -> str:
    """Gives an entry another name, and returns what was done. Raises StoryjaxError as of `Gallery.rename`."""
    old = gallery.get(name).name
    return f"'{old}' is '{gallery.rename(name, new).name}' now"


def merge(gallery: Gallery, name: str, into: str) -> str:
    """Makes two entries one, and returns what was done. Raises StoryjaxError as of `Gallery.merge`."""
    old = gallery.get(name).name
    return f"'{old}' and '{gallery.merge(name, into).name}' are one, under the second name"


def export(gallery: Gallery, file: str) -> str:
    """Writes a gallery into a zip file, and returns what was done. Raises StoryjaxError as of `export_gallery`."""
    if Path(file).suffix.lower() != ".zip":
        raise StoryjaxError(f"{file}: a gallery is exported to a zip file: give a name that ends in .zip")
    return f"{file}: {_entries(export_gallery(gallery, file))}, with faces and voices: share it as you would those"


def take_in(gallery: Gallery, file: str, renames: Sequence[str]) -> str:
    """Adds the entries of a file to a gallery, and returns what was done.

    Args:
        gallery: to be added to.
        file: that `export` wrote.
        renames: "OLD=NEW" for each entry that is to have another name.

    Raises:
        StoryjaxError: as of `import_gallery`, or a rename that is none.
    """
    given: dict[str, str] = {}
    for one in renames:
        old, sign, new = (part.strip() for part in one.partition("="))
        if not (sign and old and new) or old in given:
            raise StoryjaxError(f'--rename {one}: write "OLD NAME=NEW NAME", once for each')
        given[old] = new
    done = import_gallery(gallery, file, given)
    names = ", ".join(entry.name for entry in done.added) or "nobody new"
    known = f"; {_entries(len(done.known))} here already, and left as they are" if done.known else ""
    return f"{gallery.folder}: {names} from {file}{known}"


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"
