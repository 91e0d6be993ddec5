"""Text files in whatever encoding people's programs wrote them: UTF-8, UTF-16, Windows' code pages, Asian ones."""

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


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
        from charset_normalizer import from_bytes

        found = from_bytes(data).best()
        if found is None:
            raise
        return str(found), found.encoding
