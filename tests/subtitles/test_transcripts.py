"""Transcripts of people's own: every layout gives the same words, and wrong ones are named."""

import json
from pathlib import Path

import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.subtitles.transcripts import read_transcript

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
