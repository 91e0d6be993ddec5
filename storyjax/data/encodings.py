"""Text files in whatever encoding people's programs wrote them: UTF-8, UTF-16, Windows' code pages, Asian ones."""

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The usual ones first: for languages with few letters of their own, several fit about as well.
_USUAL = ("cp1252", "cp1251", "gb18030", "cp932", "cp1250", "cp1254", "cp1253", "cp1255", "cp1256", "cp949", "big5")


def decode_text(data: bytes, guess: bool = True) -> tuple[str, str | None]:
    """Returns the text in `data`, and the name of its encoding where that was guessed from its letters.

    A byte order mark decides; text without one is UTF-8 if it can be.

    Args:
        data: the file's content.
        guess: whether other encodings are recognised by their letters, which is not certain (charset-normalizer).

    Raises:
        UnicodeDecodeError: it is none of them.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data.decode(name), None
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError:
        if not guess:
            raise
        guessed = _guessed(data)
        if guessed is None:
            raise
        return data.decode(guessed), guessed


def _guessed(data: bytes) -> str | None:
    """The likeliest of people's usual encodings. What has no letters of its own, such as times, says nothing."""
    from charset_normalizer import from_bytes

    lines = [line for line in data.split(b"\n") if any(byte > 127 for byte in line)]
    found = list(from_bytes(b"\n".join(lines), cp_isolation=list(_USUAL), enable_fallback=False))
    if not found:
        return None
    # Of those that read equally well, the more usual one.
    names = {name: match.chaos - match.coherence for match in found for name in match.could_be_from_charset}
    names = {name: names[name] for name in _USUAL if name in names and _decodes(data, name)}
    return min(names, key=lambda name: round(names[name], 2), default=None)


def _decodes(data: bytes, name: str) -> bool:
    try:
        data.decode(name)
    except UnicodeDecodeError:
        return False
    return True
