"""Taking a person out of an index: the images in which the face was found, with all their rows and pictures."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.gallery.gallery import Entry, Gallery
from storyjax.gallery.record import FACE as FACE_ROLE
from storyjax.gallery.record import PERSON, TOKEN
from storyjax.search.store import FACE, Store

# Cosine from which two descriptions of VGGFace2's encoders are of one face. Lower than to name somebody: what is left
# of a person weighs more here than what is lost of others.
SAME_FACE = 0.5


def forget_in_index(gallery: Gallery, entry: Entry, index: str | os.PathLike[str], threshold: float = SAME_FACE) -> str:
    """Removes a person's faces from an index, with the images that show them, and returns what was removed.

    Args:
        gallery: that still has the person.
        entry: the person.
        index: made by 'storyjax find index'.
        threshold: of the cosine with any of the person's faces.

    Raises:
        StoryjaxError: there is no such index, or its faces were described by a network that the gallery has no face of
            the person from.
    """
    store = Store.open(index)
    try:
        described = store.meta().get("face_fingerprint", "")
        if entry.kind != PERSON or not described or not store.count(FACE):
            return f"{index}: has no faces, and nothing in it that is of '{entry.name}' alone"
        faces = _faces(gallery, entry, described)
        if faces is None:
            raise StoryjaxError(
                f"{index} has faces of another model than those of '{entry.name}' in {gallery.folder}: first add photos"
                " of them with that model ('storyjax gallery add'), or remove the index"
            )
        ids, vectors = store.vectors(store.ids(FACE))
        same = ids[(unit_norm(vectors) @ unit_norm(faces).T).max(axis=1) >= threshold]
        images = store.remove_images([int(number) for number in same])
    finally:
        store.close()
    for file in Path(index).glob("*.faiss"):  # made again from the rows that are left
        file.unlink()
    return f"{index}: {len(same)} faces of '{entry.name}' removed, with the {images} images that show them"


def _faces(gallery: Gallery, entry: Entry, fingerprint: str) -> Float32[np.ndarray, "n d"] | None:
    """The person's faces by a network; of galleries of version 0.1, their mean is the token."""
    wanted = ((FACE_ROLE, fingerprint), (TOKEN, f"face-{fingerprint}"))
    found = [rows for one, rows in gallery.rows(entry) if (one.role, one.fingerprint) in wanted]
    return np.concatenate(found) if found else None
