"""Transcripts of people's own: every layout gives the same words, and wrong ones are named."""

import json
from pathlib import Path

import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.subtitles.transcripts import parse_transcript, read_transcript

SRT = (
    "1\r\n00:00:01,000 --> 00:00:03,000\r\n<i>Hello</i> there\r\n- General\r\n"
    "\r\n2\r\n01:00:00,5 --> 01:00:01,000\r\nYes.\r\n"
)
VTT = (
    "WEBVTT\n\nNOTE nothing\n\nid\n00:01.000 --> 00:03.000 align:start\n"
    "<v Ana>Hello there\nGeneral\n\n01:00:00.500 --> 01:00:01.000\nYes.\n"
)
JSON = {
    "segments": [
        {"start": 1.0, "end": 3.0, "text": "Hello there General"},
        {"start": 3600.5, "end": 3601.0, "text": "", "words": [{"word": " Yes.", "start": 3600.5, "end": 3601.0}]},
    ]
}


@pytest.mark.parametrize(("name", "text"), [("a.srt", SRT), ("a.vtt", VTT), ("a.json", json.dumps(JSON))])
def test_every_layout_gives_the_same_words(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    words = read_transcript(tmp_path / name)
    assert [word.text for word in words] == ["Hello", "there", "General", "Yes."]
    assert words[0].start == pytest.approx(1.0)
    assert words[2].end == pytest.approx(3.0)
    assert words[0].end == words[1].start
    assert (words[3].start, words[3].end) == (3600.5, 3601.0)


def test_words_that_could_not_be_aligned_take_the_last_time(tmp_path: Path) -> None:
    words = [{"word": "At", "start": 1.0, "end": 1.2}, {"word": "5"}, {"word": "pm", "start": 1.6, "end": 1.9}]
    (tmp_path / "x.json").write_text(json.dumps({"segments": [{"start": 1.0, "words": words}]}))
    assert [(w.text, w.start, w.end) for w in read_transcript(tmp_path / "x.json")][1] == ("5", 1.2, 1.2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"hello", "none of .srt, .vtt, .json"),
        ("a.srt", b"no cues here", "holds no timed words"),
        ("a.srt", b"1\n00:00:03,000 --> 00:00:01,000\nBack\n", "no span of time"),
        ("a.vtt", b"\xff\xfe\x00", "not UTF-8"),
        ("a.json", b"{", "is no JSON"),
        ("a.json", b'{"a": 1}', "no list"),
        ("a.json", b'[{"text": "hi", "start": "x", "end": 2}]', "entry 1: start or end"),
        ("a.json", b'[{"text": "hi", "start": NaN, "end": 2}]', "entry 1: from nan"),
        ("a.json", b"[3]", "entry 1: not an object"),
    ],
)
def test_a_wrong_transcript_is_said_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StoryjaxError, match=message) as error:
        read_transcript(tmp_path / name)
    assert "\n" not in str(error.value)


def texts(path: Path, content: str | bytes, **options) -> list[str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [word.text for word in read_transcript(path, **options)]


def cue(number: int, start: str, end: str, text: str, gap: str = "\n") -> str:
    return f"{number}\n{start} --> {end}\n{text}\n{gap}"


def test_cue_numbers_are_not_speech(tmp_path: Path) -> None:
    close = "".join(cue(n, f"00:00:0{n},000", f"00:00:0{n},900", f"Mia {n}0", gap="") for n in range(1, 5))
    assert texts(tmp_path / "a.srt", close) == ["Mia", "10", "Mia", "20", "Mia", "30", "Mia", "40"]
    # Without numbers, a number is what somebody says.
    bare = "00:00:01,000 --> 00:00:02,000\nHow many?\n42\n00:00:03,000 --> 00:00:04,000\nYes.\n"
    assert texts(tmp_path / "a.srt", bare) == ["How", "many?", "42", "Yes."]


def test_blank_lines_inside_a_cue_are_its_own(tmp_path: Path) -> None:
    text = cue(1, "00:00:01,000", "00:00:02,000", "One\n\ntwo\n\n\nthree") + cue(
        2, "0:00:03,000", "0:00:04,000", "four"
    )
    assert texts(tmp_path / "a.srt", text) == ["One", "two", "three", "four"]


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        ("00:00:01", "00:00:02", (1, 2)),
        ("00:00:01.500", "00:00:02.250", (1.5, 2.25)),
        ("01:02", "01:03.5", (62, 63.5)),
        ("00.00.01,500", "00.00.02,000", (1.5, 2)),
        ("0:00:01:500", "0:00:02:000", (1.5, 2)),
        ("00:00:01,000000", "00:00:02,000000", (1, 2)),
    ],
)
def test_times_as_programs_write_them(tmp_path: Path, start: str, end: str, seconds: tuple[float, float]) -> None:
    for arrow in (" --> ", "-->", " -> ", " -- > "):
        (tmp_path / "a.srt").write_text(f"1\n{start}{arrow}{end}\nHello\n")
        (word,) = read_transcript(tmp_path / "a.srt")
        assert (word.start, word.end) == pytest.approx(seconds)


def test_one_wrong_cue_is_named_and_the_rest_is_used(tmp_path: Path) -> None:
    text = cue(1, "00:00:01,000", "00:00:02,000", "One") + cue(2, "00:00:05,000", "00:00:04,000", "back")
    text += cue(3, "00:00:06,000", "00:00:0x,000", "what") + cue(4, "00:00:08,000", "00:00:09,000", "four")
    (tmp_path / "a.srt").write_text(text)
    read = parse_transcript(tmp_path / "a.srt")
    assert [word.text for word in read.words] == ["One", "four"]
    assert [where.partition(":")[0] for where in read.left_out] == ["line 6", "line 10"]
    (note,) = read.notes()
    assert "from 5 to 4 s is no span of time; line 10: times that are not understood" in note
    rows = [{"start": n, "end": n + 1 if n != 3 else 1, "text": f"w{n}"} for n in range(9)]
    (tmp_path / "a.json").write_text(json.dumps({"segments": rows}))
    read = parse_transcript(tmp_path / "a.json")
    assert len(read.words) == 8
    assert read.left_out == ("entry 4: from 3 to 1 s is no span of time",)


def test_subtitles_that_roll_say_each_word_once(tmp_path: Path) -> None:
    youtube = (
        "WEBVTT\nKind: captions\nLanguage: en\n\n"
        "00:00:00.000 --> 00:00:02.500 align:start\n \nhello<00:00:01.000><c> world</c>\n\n"
        "00:00:02.500 --> 00:00:02.510\nhello world\n \n\n"
        "00:00:02.510 --> 00:00:05.000\nhello world\nhow<00:00:03.000><c> are</c>\n\n"
        "00:00:05.000 --> 00:00:05.010\nhow are\n \n\n"
        "00:00:05.010 --> 00:00:07.000\nhow are\nyou\n"
    )
    assert texts(tmp_path / "a.vtt", youtube) == ["hello", "world", "how", "are", "you"]
    twice = cue(1, "00:00:01,000", "00:00:02,000", "No!") + cue(2, "00:00:02,000", "00:00:03,000", "No!")
    assert texts(tmp_path / "a.srt", twice + cue(3, "00:00:03,000", "00:00:04,000", "Yes")) == ["No!", "No!", "Yes"]


def test_null_is_no_word(tmp_path: Path) -> None:
    rows = [
        {"start": 0, "end": 1, "text": None},
        {"start": 1, "end": 2, "text": "Hi"},
        {"start": 2, "end": 3, "words": [{"word": None, "start": 2, "end": 3}, {"word": "you", "start": 2, "end": 3}]},
    ]
    assert texts(tmp_path / "a.json", json.dumps(rows)) == ["Hi", "you"]
    assert parse_transcript(tmp_path / "a.json").left_out == ("entry 1: no text",)
    assert texts(tmp_path / "a.json", json.dumps({"lines": [{"start": 0, "end": 1, "text": "own"}]})) == ["own"]


FRENCH = "1\n00:00:01,000 --> 00:00:02,000\nC'est déjà fini, mon chéri. Où es-tu allé ?\n"
RUSSIAN = "1\n00:00:01,000 --> 00:00:02,000\nПривет, как дела? Я не знаю, где он живёт.\n"


@pytest.mark.parametrize(
    ("text", "encoding", "guessed"),
    [
        (FRENCH, "utf-8-sig", None),
        (FRENCH, "utf-16", None),
        (FRENCH, "cp1252", "cp1252"),
        (RUSSIAN, "cp1251", "cp1251"),
    ],
)
def test_encodings_are_recognised(tmp_path: Path, text: str, encoding: str, guessed: str | None) -> None:
    expected = texts(tmp_path / "a.srt", text)
    (tmp_path / "b.srt").write_bytes(text.encode(encoding))
    read = parse_transcript(tmp_path / "b.srt")
    assert [word.text for word in read.words] == expected
    assert read.encoding == guessed
    assert any("--encoding" in note for note in read.notes()) == (guessed is not None)


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    polish = "1\n00:00:01,000 --> 00:00:02,000\nżółta łódź\n"
    assert texts(tmp_path / "a.srt", polish.encode("cp1250"), encoding="cp1250") == ["żółta", "łódź"]
    with pytest.raises(StoryjaxError, match="--encoding cp99999 is not known"):
        read_transcript(tmp_path / "a.srt", "cp99999")
    with pytest.raises(StoryjaxError, match="is not ascii"):
        read_transcript(tmp_path / "a.srt", "ascii")
