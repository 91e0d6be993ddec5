"""Names of enrolled people and things: which are valid, and the folder of each.

The folder is named by the name's letters and a hash of it, so that no name leads out of the gallery. Of names that look
alike (Latin "cop", Cyrillic "сор") the second one is refused.
"""

import hashlib
import re
import unicodedata

from storyjax.core.errors import StoryjaxError

LONGEST = 60
# Letters of other scripts that look like Latin ones; names are compared in lower case.
_LOOKALIKES = dict(
    zip(
        "аеорсухіјѕԁһӏвкмнтгαορνιτκυχηϲ",
        "aeopcyxijsdhlbkmhtraopvitkuxnc",
        strict=True,
    )
)
# Characters that look alike in lower case.
_GLANCE = str.maketrans({"0": "o", "1": "l", "|": "l", "ı": "i"})


def normalise_name(name: str) -> str:
    """Returns the name as it is stored: composed (NFKC), with single spaces.

    Raises:
        StoryjaxError: it is no valid name.

    >>> normalise_name("  Michael   Richards ")
    'Michael Richards'
    """
    if re.search(r"[\ud800-\udfff]", name):
        raise StoryjaxError(f"{name!r} holds bytes that are no text: give a name in letters")
    shown = name if len(name) <= 40 else f"{name[:40]}…"
    hidden = [c for c in name if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn")]
    if hidden:
        raise StoryjaxError(f"the name {shown!r} holds the invisible character U+{ord(hidden[0]):04X}: leave it out")
    normalised = " ".join(unicodedata.normalize("NFKC", name).split())
    if not normalised:
        raise StoryjaxError("the name is empty: give one, for instance 'storyjax find enrol ana photos/'")
    if wrong := re.search(r"[<>/\\:*?\"|]", normalised):
        raise StoryjaxError(f"the name {shown!r} holds '{wrong[0]}': give a name of letters, digits, spaces, - and '")
    if not any(c.isalnum() for c in normalised) or normalised.startswith((".", "-")):
        raise StoryjaxError(f"the name {shown!r} should begin with a letter or digit")
    if len(normalised) > LONGEST:
        raise StoryjaxError(f"the name {shown!r} has {len(normalised)} characters: {LONGEST} are enough")
    mixed = {script for c in normalised if (script := _script(c))}
    if len(mixed) > 1 and mixed <= {"LATIN", "CYRILLIC", "GREEK"}:
        raise StoryjaxError(
            f"the name {shown!r} mixes {' and '.join(sorted(s.capitalize() for s in mixed))} letters that look alike:"
            " write it in one alphabet"
        )
    return normalised


def _script(character: str) -> str | None:
    if not character.isalpha():
        return None
    return unicodedata.name(character, "").partition(" ")[0]


def name_key(name: str) -> str:
    """Returns a key that is equal for names that differ in case alone."""
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()


def skeleton(name: str) -> str:
    """Returns a key that is equal for names that look alike.

    >>> skeleton("cop") == skeleton("сор")  # three letters of Latin, three of Cyrillic
    True
    """
    return "".join(_LOOKALIKES.get(c, c) for c in name_key(name)).translate(_GLANCE)


def folder_name(name: str) -> str:
    """Returns the folder's name of a normalised name: ASCII letters to recognise it by, and a hash.

    >>> folder_name("Michael Richards")
    'michael-richards-379e663a'
    """
    letters = unicodedata.normalize("NFKD", name_key(name)).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:40] or "name"
    return f"{slug}-{hashlib.sha256(name_key(name).encode()).hexdigest()[:8]}"
