"""Files of subtitles: what is shown is what was said, and nothing in a name or a word does anything."""

import json
from pathlib import Path

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.subtitles.exemplars import Assignment
from storyjax.subtitles.records import Line, Subtitles
from storyjax.subtitles.stages import Laugh
from storyjax.subtitles.transcripts import read_transcript
from storyjax.subtitles.writers import FORMATS, to_ass, to_json, to_rttm, to_srt, to_vtt, why, write_subtitles

NOBODY = Assignment(None, None, 2.0, None, 2.0)
VECTORS = np.zeros((0, 2), np.float32)
NASTY = [
    "Dr: Who",
    "<b>Bo</b>",
    "{\\an8}Al",
    "A --> B",
    "x\n\n2\n00:00:00,000 --> 00:01:00,000\nnot said",
    "דוד",
    "a,b",
    "C:\\Nnew",
    "</v><v Eve>",
    "&lt;i&gt;",
    "\u202eevil",
]


def made(*rows: tuple[float, float, str, str | None], laughs: tuple[Laugh, ...] = ()) -> Subtitles:
    lines = tuple(Line(start, end, text, name, "speech", NOBODY) for start, end, text, name in rows)
    return Subtitles("ep 1", lines, laughs, VECTORS, {})


@pytest.fixture
def plain() -> Subtitles:
    rows = ((1.0, 2.5, "Hello there.", "Ana"), (3661.25, 3662.0, "Who is it?", None))
    return made(*rows, laughs=(Laugh(2.6, 3.9, 0.9),))


def test_srt(plain: Subtitles) -> None:
    assert to_srt(plain) == (
        "1\n00:00:01,000 --> 00:00:02,500\nAna: Hello there.\n\n2\n01:01:01,250 --> 01:01:02,000\nUnknown: Who is it?\n"
    )


def test_sdh_has_names_in_capitals_and_laughter(plain: Subtitles) -> None:
    shown = to_srt(plain, sdh=True)
    assert "ANA: Hello there." in shown
    assert "2\n00:00:02,600 --> 00:00:03,900\n[laughter]\n" in shown
    assert "[laughter]" not in to_srt(plain)
    assert "<v ANA>ANA: Hello there.</v>" in to_vtt(plain, sdh=True)


def test_vtt_ass_rttm_and_json(plain: Subtitles) -> None:
    assert to_vtt(plain).startswith("WEBVTT\n\n00:00:01.000 --> 00:00:02.500\n<v Ana>Hello there.</v>\n")
    assert "Dialogue: 0,0:00:01.00,0:00:02.50,Default,Ana,0,0,0,,Ana: Hello there.\n" in to_ass(plain)
    assert to_rttm(plain).splitlines()[1] == "SPEAKER ep_1 1 3661.250 0.750 <NA> <NA> Unknown <NA> <NA>"
    whole = json.loads(to_json(plain))
    assert whole["lines"][1] == {"start": 3661.25, "end": 3662.0, "name": None, "text": "Who is it?"}
    assert whole["laughter"] == [{"start": 2.6, "end": 3.9}]


@pytest.mark.parametrize("sdh", [False, True])
@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_text_wherever_it_goes(name: str, sdh: bool) -> None:
    subtitles = made((1.0, 2.0, "One.", name), (3.0, 4.0, name, "Ana"))
    srt, vtt, ass, rttm = (f(subtitles, sdh) for f in (to_srt, to_vtt, to_ass, to_rttm))
    assert srt.count("-->") == vtt.count("-->") == 2
    assert [line for line in srt.split("\n") if line.isdigit()] == ["1", "2"]
    assert "<" not in srt
    assert "{" not in srt
    tags = [part.split(">")[0] for part in vtt.split("<")[1:]]
    assert len(tags) == 4
    assert tags[1] == tags[3] == "/v"
    events = [line for line in ass.splitlines() if line.startswith("Dialogue:")]
    assert len(events) == 2
    assert len(ass.splitlines()) == len(to_ass(made()).splitlines()) + 2
    for event in events:
        assert event.split(",", 9)[5:9] == ["0", "0", "0", ""], "a comma in a name must not move the fields"
        assert "{" not in event
        assert "\\N" not in event
    assert [len(line.split()) for line in rttm.splitlines()] == [10, 10]
    for text in (srt, vtt, ass):
        assert "\u202e" not in text


def test_names_from_right_to_left_are_isolated_from_what_follows() -> None:
    shown = to_srt(made((1.0, 2.0, "Shalom.", "דוד")))
    assert "\u2068דוד\u2069: Shalom." in shown
    assert "\u2068" not in to_srt(made((1.0, 2.0, "Hi.", "Ana")))


def test_what_is_written_can_be_read_back(tmp_path: Path, plain: Subtitles) -> None:
    for suffix in (".srt", ".vtt"):
        write_subtitles(plain, tmp_path / f"a{suffix}")
        words = read_transcript(tmp_path / f"a{suffix}")
        assert [word.text for word in words][-3:] == ["Who", "is", "it?"]
        assert words[-1].end == pytest.approx(3662.0)
    assert {path.name for path in tmp_path.iterdir()} == {"a.srt", "a.vtt"}


def test_very_short_lines_are_shown_long_enough_and_empty_ones_not_at_all() -> None:
    shown = to_srt(made((1.0, 1.05, "Oh!", "Ana"), (2.0, 3.0, " \n ", "Ben")))
    assert "00:00:01,000 --> 00:00:01,300" in shown
    assert "Ben" not in shown


def test_an_unknown_ending_names_the_known_ones(tmp_path: Path, plain: Subtitles) -> None:
    with pytest.raises(StoryjaxError, match=r"Did you mean '\.srt'"):
        write_subtitles(plain, tmp_path / "a.srtt")
    assert set(FORMATS) == {".srt", ".vtt", ".ass", ".rttm", ".json"}
    with pytest.raises(StoryjaxError, match="can't write"):
        write_subtitles(plain, Path("/dev/null/x.srt"))


def test_why_tells_the_evidence() -> None:
    given = Assignment("Ana", "Ana", 0.2, "Ben", 0.5)
    evidence = {"laughter": False, "peaks": [[3.0, 4.0, 0.9]], "face": {"best": "Ana", "score": 0.97}}
    line = Line(1.0, 2.0, "Hi.", "Ana", "exemplar", given, "Ana", evidence=evidence)
    (row,) = why([Subtitles("e", (line,), (), VECTORS, {"Ana": 3})])["episodes"]["e"]
    assert row["voice"] == {"nearest": "Ana", "distance": 0.2, "runner_up": "Ben", "runner_up_distance": 0.5}
    assert row["passed"] == "exemplar"
    assert row["face"]["score"] == 0.97
