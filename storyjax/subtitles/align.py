"""The annotation aid of §6.2.1: the speaker of each timed word, from a transcript that says who speaks but not when.

The words of both are aligned by dynamic programming (Everingham et al. 2006), so that the recogniser's errors, or what
the transcript leaves out, cost a word here and there and no more. The result is to be checked by people.
"""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from storyjax.core.arrays import unit_norm
from storyjax.core.errors import StoryjaxError
from storyjax.subtitles.annotations import TrueLine
from storyjax.subtitles.timeline import Word
from storyjax.subtitles.transcripts import read_text
from storyjax.subtitles.writers import write_text

_SPEAKER = re.compile(r"^\s*([^\W\d_][^:\n]{0,39}?)\s*:\s*(.*)$")
_ASIDE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
# The cost of a word that the other side lacks, and of one for another with none, or all, of its letters.
_SKIP, _SWAP, _SWAP_ALIKE = 1.0, 1.5, 1.0
_LETTERS = 61
_DIAGONAL, _UP, _LEFT = 0, 1, 2


@dataclass(frozen=True)
class Spoken:
    """A line of a transcript: speaker and text."""

    speaker: str
    text: str


def read_labelled(path: str | os.PathLike[str], encoding: str | None = None) -> list[Spoken]:
    """Returns the lines of a transcript with "NAME: text" on each line; a line without a name continues the last one.

    Remarks in brackets are left out.

    Args:
        path: of the file.
        encoding: of the file; None: UTF-8, or what its byte order mark or its letters say.

    Raises:
        StoryjaxError: the file cannot be read, or nobody speaks in it.
    """
    path = Path(path)
    text, _ = read_text(path, encoding)
    lines: list[Spoken] = []
    for row in _ASIDE.sub(" ", text).splitlines():
        if match := _SPEAKER.match(row):
            lines.append(Spoken(match[1].strip(), " ".join(match[2].split())))
        elif row.strip() and lines:
            lines[-1] = Spoken(lines[-1].speaker, " ".join(f"{lines[-1].text} {row}".split()))
    lines = [line for line in lines if _key(line.text)]
    if not lines:
        raise StoryjaxError(f"nobody speaks in {path}: each line must be like 'Ana: Where have you been?'")
    return lines


def _key(text: str) -> str:
    """A word without case and punctuation."""
    return "".join(c for c in unicodedata.normalize("NFKD", text).casefold() if c.isalnum())


def align(lines: Sequence[Spoken], words: Sequence[Word]) -> list[TrueLine]:
    """Returns the transcript's lines with the times of their words; a line of which no word was heard is left out."""
    said, owner = [], []
    for number, line in enumerate(lines):
        for token in line.text.split():
            if key := _key(token):
                said.append(key)
                owner.append(number)
    heard = [_key(word.text) for word in words]
    pairs = align_words(said, heard)
    times: dict[int, tuple[float, float]] = {}
    for ours, theirs in pairs:
        word = words[theirs]
        start, end = times.get(owner[ours], (word.start, word.end))
        times[owner[ours]] = (min(start, word.start), max(end, word.end))
    return [TrueLine(*times[n], line.speaker, line.text) for n, line in enumerate(lines) if n in times]


def write_lines(path: Path, lines: Sequence[TrueLine]) -> None:
    """Writes start,end,speaker,transcript as `annotations.read_lines` reads it; whole or not at all."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows((f"{line.start:.2f}", f"{line.end:.2f}", line.speaker, line.text) for line in lines)
    write_text(path, table.getvalue())


def align_words(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the index pairs (of first, of second) of the cheapest alignment; substituted words are pairs, too."""
    if not first or not second:
        return []
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys((*first, *second)))}
    a: Int32[np.ndarray, " n"] = np.array([vocabulary[word] for word in first], np.int32)
    b: Int32[np.ndarray, " m"] = np.array([vocabulary[word] for word in second], np.int32)
    letters = _letters(list(vocabulary))
    alike = (letters @ letters.T)[b]
    steps = np.arange(len(b) + 1) * _SKIP
    cost, ways = steps.copy(), np.zeros((len(a) + 1, len(b) + 1), np.uint8)
    ways[0], ways[:, 0] = _LEFT, _UP
    for i, word in enumerate(a, 1):
        diagonal = cost[:-1] + np.where(b == word, 0.0, _SWAP - (_SWAP - _SWAP_ALIKE) * alike[:, word])
        up = cost[1:] + _SKIP
        best = np.minimum(diagonal, up)
        # A row's own steps to the right: the least of what came before, carried on at a word's cost each.
        carried = np.minimum.accumulate(np.concatenate([[i * _SKIP], best]) - steps) + steps
        ways[i, 1:] = np.where(carried[1:] < best, _LEFT, np.where(diagonal <= up, _DIAGONAL, _UP))
        cost = carried
    pairs, i, j = [], len(a), len(b)
    while i and j:
        way = ways[i, j]
        i, j = i - (way != _LEFT), j - (way != _UP)
        if way == _DIAGONAL:
            pairs.append((int(i), int(j)))
    return pairs[::-1]


def _letters(words: Sequence[str]) -> Float32[np.ndarray, "v l"]:
    """How often each letter is in a word, of unit length: what is misheard has many letters of what was said."""
    counts = np.zeros((len(words), _LETTERS), np.float32)
    for row, word in enumerate(words):
        for letter in word:
            counts[row, ord(letter) % _LETTERS] += 1
    return unit_norm(counts, eps=1e-9)
