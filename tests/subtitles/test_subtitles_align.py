"""The annotation aid: a transcript without times and times without names come together."""

from pathlib import Path

import numpy as np
import pytest

from storyjax.cli import main
from storyjax.core.errors import StoryjaxError
from storyjax.subtitles.align import Spoken, align, align_words, read_labelled
from storyjax.subtitles.annotations import read_lines
from storyjax.subtitles.timeline import Word


def test_lines_get_the_times_of_their_words_whatever_was_misheard() -> None:
    lines = [Spoken("Ana", "Where have you been?"), Spoken("Ben", "Me? Nowhere at all."), Spoken("Ana", "Ha.")]
    heard = ["where", "half", "you", "bean", "uh", "me", "nowhere", "at", "all"]
    words = [Word(text, i * 0.5, i * 0.5 + 0.4) for i, text in enumerate(heard)]
    aligned = align(lines, words)
    assert [(line.speaker, line.start, line.end) for line in aligned] == [("Ana", 0.0, 1.9), ("Ben", 2.5, 4.4)]
    assert aligned[1].text == "Me? Nowhere at all."


def test_alignment_is_the_cheapest_of_all() -> None:
    rng = np.random.default_rng(0)

    def cheapest(a: list[str], b: list[str]) -> float:
        table = np.zeros((len(a) + 1, len(b) + 1))
        table[0], table[:, 0] = np.arange(len(b) + 1), np.arange(len(a) + 1)
        for i in range(1, len(a) + 1):
            for j in range(1, len(b) + 1):
                swap = table[i - 1, j - 1] + (0 if a[i - 1] == b[j - 1] else 1.5)
                table[i, j] = min(swap, table[i - 1, j] + 1, table[i, j - 1] + 1)
        return float(table[-1, -1])

    for _ in range(20):
        a, b = ([str(n) for n in rng.integers(0, 4, rng.integers(1, 12))] for _ in range(2))
        pairs = align_words(a, b)
        assert pairs == sorted(pairs)
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
        cost = len(a) + len(b) - 2 * len(pairs) + sum(1.5 * (a[i] != b[j]) for i, j in pairs)
        assert cost == pytest.approx(cheapest(a, b))


def test_a_long_episode_is_aligned() -> None:
    rng = np.random.default_rng(1)
    said = [str(n) for n in rng.integers(0, 500, 3000)]
    heard = [word if rng.random() > 0.1 else "?" for word in said if rng.random() > 0.05]
    pairs = align_words(said, heard)
    assert np.mean([said[i] == heard[j] for i, j in pairs]) > 0.85
    assert align_words(said, []) == []


def test_the_command_writes_what_the_loader_reads(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "script.txt").write_text('ANA: Well, "no".\nBEN: Yes, of course.\nANA: Never heard.\n')
    (tmp_path / "video.srt").write_text(
        "1\n00:00:01,000 --> 00:00:02,000\nWell no\n\n2\n00:00:03,000 --> 00:00:04,000\nyes of course\n"
    )
    out = tmp_path / "video.csv"
    arguments = [
        "data",
        "align",
        str(tmp_path / "script.txt"),
        "--timed",
        str(tmp_path / "video.srt"),
        "--out",
        str(out),
    ]
    assert main.run(arguments) == 0
    assert "2 of 3 lines" in capsys.readouterr().out
    assert [(line.speaker, line.start, line.text) for line in read_lines(out)] == [
        ("ANA", 1.0, 'Well, "no".'),
        ("BEN", 3.0, "Yes, of course."),
    ]


def test_transcripts_as_fans_write_them(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("[Setting: a flat]\nJERRY: So (sits down) what\nis it?\n\nGEORGE: Nothing.\nKRAMER:\n")
    assert read_labelled(path) == [Spoken("JERRY", "So what\nis it?".replace("\n", " ")), Spoken("GEORGE", "Nothing.")]
    path.write_text("nothing here")
    with pytest.raises(StoryjaxError, match="nobody speaks"):
        read_labelled(path)
