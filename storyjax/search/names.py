"""Names that people give to those whom they enrol: what a name may be, and the folder that it gets.

The folder is made from the name's letters and a hash of it, so no name, whatever it holds, leads out of the gallery.
Names that only look alike (Latin "cop", Cyrillic "сор") are told apart by nobody, so the second one is refused.
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
# Shapes that differ less than a glance tells, once everything is in lower case.
_GLANCE = str.maketrans({"0": "o", "1": "l", "|": "l", "ı": "i"})


def tidy(name: str) -> str:
    """The name as it is kept: composed (NFKC), blanks single. Raises StoryjaxError for what is no name.

    >>> tidy("  Michael   Richards ")
    'Michael Richards'
    """
    if re.search(r"[\ud800-\udfff]", name):
        raise StoryjaxError(f"{name!r} holds bytes that are no text: give a name in letters")
    shown = name if len(name) <= 40 else f"{name[:40]}…"
    hidden = [c for c in name if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn")]
    if hidden:
        raise StoryjaxError(f"the name {shown!r} holds the invisible character U+{ord(hidden[0]):04X}: leave it out")
    tidied = " ".join(unicodedata.normalize("NFKC", name).split())
    if not tidied:
        raise StoryjaxError("the name is empty: give one, for instance 'storyjax find enrol ana photos/'")
    if wrong := re.search(r"[<>/\\:*?\"|]", tidied):
        raise StoryjaxError(f"the name {shown!r} holds '{wrong[0]}': give a name of letters, digits, blanks, - and '")
    if not any(c.isalnum() for c in tidied) or tidied.startswith((".", "-")):
        raise StoryjaxError(f"the name {shown!r} should begin with a letter or digit")
    if len(tidied) > LONGEST:
        raise StoryjaxError(f"the name {shown!r} has {len(tidied)} characters: {LONGEST} are enough")
    mixed = {script for c in tidied if (script := _script(c))}
    if len(mixed) > 1 and mixed <= {"LATIN", "CYRILLIC", "GREEK"}:
        raise StoryjaxError(
            f"the name {shown!r} mixes {' and '.join(sorted(s.capitalize() for s in mixed))} letters that look alike:"
            " write it in one alphabet"
        )
    return tidied


def _script(character: str) -> str | None:
    if not character.isalpha():
        return None
    return unicodedata.name(character, "").partition(" ")[0]


def key(name: str) -> str:
    """What decides whether two names are the same: case does not."""
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()


def skeleton(name: str) -> str:
    """What a glance sees of a name: equal for names that look alike.

    >>> skeleton("cop") == skeleton("сор")  # three letters of Latin, three of Cyrillic
    True
    """
    return "".join(_LOOKALIKES.get(c, c) for c in key(name)).translate(_GLANCE)


def folder_name(name: str) -> str:
    """The name of a tidy name's folder: ASCII letters to recognise it by, and a hash that makes it unique.

    >>> folder_name("Michael Richards")
    'michael-richards-379e663a'
    """
    letters = unicodedata.normalize("NFKD", key(name)).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:40] or "name"
    return f"{slug}-{hashlib.sha256(key(name).encode()).hexdigest()[:8]}"
