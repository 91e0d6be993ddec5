"""The words of a caption as COCO's evaluation counts them: Penn Treebank tokens in lower case, without punctuation.

The reference tokenizer is CoreNLP 3.4.1's PTBTokenizer (Java), which pycocoevalcap runs. Its rules for English, as its
output shows them: hyphens and slashes inside a word stay ("black-and-white", "and/or"), a slash by itself is a word,
contractions come apart ("do n't", "it 's", "can not"), full stops stay in abbreviations ("u.s.", "mr."), numbers keep
their points, commas and slashes, and brackets become words ("-lrb-", which the evaluation's list of punctuation has in
capitals and so doesn't remove).
"""

import re

# What is no word; the brackets' names are written in capitals there and never fit.
_PUNCTUATION = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"))

_ABBREVIATIONS = (
    *("mr", "mrs", "ms", "dr", "prof", "sr", "jr", "st", "vs", "etc", "inc", "ltd", "co", "corp", "gen", "col", "lt"),
    *(
        "sgt",
        "capt",
        "rev",
        "sen",
        "rep",
        "gov",
        "pres",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sept",
        "sep",
    ),
    *("oct", "nov", "dec", "ave", "blvd", "rd", "al", "cf"),
)
_LETTER = r"[^\W\d_¹²³⁰-⁹₀-₉]"
_JOINED = r"[-/_]"  # inside a word
_WORD = rf"(?:{_LETTER}|\d)"

# The first that fits takes the longest run; the order matters.
_TOKEN = re.compile(
    "|".join(
        (
            r"(?:https?|ftp)://[^\s\"<>|()]+[^\s\"<>|.!?(){},;:-]",
            r"(?:www\.)[^\s\"<>|()]+\.[a-z]{2,4}[^\s\"<>|.!?(){},;:-]*",
            r"[\w.%+-]+@[\w-]+(?:\.[\w-]+)*",
            r"[#@][A-Za-z_]\w*",
            r"</?[A-Za-z!][^<>\s]*>",
            r"(?i:cannot|gonna|gotta|lemme|gimme|wanna|gimme|'tis|'twas)(?!\w)",
            r"(?i:o'clock|ma'am|o'[a-z]{2,}|d'[a-z]{2,}|l'[a-z]{2,})(?![\w'])",
            r"(?i:'n'|y'(?=all))",
            r"'\d\ds(?!\w)|'\d\d(?!\w)",
            # n't, 's, 're and the like, of what is before them.
            r"(?i:n't|'(?:s|m|d|ll|re|ve))(?!\w)",
            # A letter and a full stop, several times: "u.s.", "p.m."; and titles.
            rf"(?:{_LETTER}\.){{2,}}(?!\w)|(?<![\w.-]){_LETTER}\.(?![\w.])",
            rf"(?i:{'|'.join(_ABBREVIATIONS)})\.(?!\.(?!\.))",
            r"(?i:no|nos|fig|figs|art|pp)\.(?=\s*\d)",
            # Numbers with their points, and what is joined to them: "3-year-old", "1/2", "1st", "1980s".
            rf"[+-]?(?:\d+(?:[.,:]\d+)+|\.\d+)(?!{_WORD}|-\w)",
            r"\d+(?:[.,:]\d+)+(?:[/-]\d+(?:[.,:]\d+)*|-\w+)*",
            rf"(?<!{_WORD})[+-]\d+(?!{_WORD}|{_JOINED}\w)",
            # Capitals joined by "&": "AT&T".
            r"[A-Z]+(?:&[A-Z]+)+(?!\w)",
            r"[A-Za-z](?:\+\+|#)(?!\w)",
            # A word without a contraction at its end, joined to others by hyphens, slashes and full stops.
            rf"(?:(?!(?i:n't)){_WORD})+(?:(?:{_JOINED}|\.(?=[^\W_])|'(?=[^\W\d_]{{3,}}))(?:(?!(?i:n't)){_WORD})+)*",
            r"\.{3,}|[!?]{2,}|-{2,}|\*{2,}|_+|``|''",
            r"\S",
        )
    )
)
_SPLIT = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "gimme": ("gim", "me"),
    "wanna": ("wan", "na"),
    "'tis": ("'t", "is"),
    "'twas": ("'t", "was"),
}
_NAMES = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-", '"': "''"}
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "`", "“": '"', "”": '"', "—": "--", "–": "--", "…": "..."})


def words(caption: str) -> list[str]:
    """Returns the words of a caption, as COCO's evaluation compares them.

    >>> words("A black-and-white dog (it isn't mine) and/or a cat.")
    ['a', 'black-and-white', 'dog', '-lrb-', 'it', 'is', "n't", 'mine', '-rrb-', 'and/or', 'a', 'cat']
    """
    found: list[str] = []
    for token in _TOKEN.findall(caption.translate(_TYPOGRAPHY)):
        token = token.lower()
        found += _SPLIT.get(token, (_NAMES.get(token, token),))
    return [token for token in found if token not in _PUNCTUATION and token < "\U00010000"]  # no emoji there
