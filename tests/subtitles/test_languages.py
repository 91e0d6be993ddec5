"""The language of the speech: codes and names are known, others refused, and no model is given one that it lacks."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.subtitles.command import with_recognition
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.languages import RecognitionConfig, check_language, language_code, sentence_language
from storyjax.subtitles.recognition import load_recogniser
from storyjax.subtitles.sentences import split_sentences
from storyjax.subtitles.timeline import Word
from storyjax.subtitles.transcripts import read_transcript


@pytest.mark.parametrize(
    ("given", "code"), [("de", "de"), ("German", "de"), (" ENGLISH ", "en"), ("yue", "yue"), ("Mandarin", "zh")]
)
def test_codes_and_names(given: str, code: str) -> None:
    assert language_code(given) == code


@pytest.mark.parametrize(("given", "hint"), [("xx", ""), ("germn", "Did you mean 'german'"), ("", "")])
def test_what_is_no_language_is_refused(given: str, hint: str) -> None:
    with pytest.raises(StoryjaxError, match=f"is no language that Whisper knows.*{hint}"):
        language_code(given)


def test_a_model_of_english_alone_gets_no_other_language() -> None:
    base = SubtitleConfig()
    with pytest.raises(StoryjaxError, match=r"'tiny\.en' knows English alone, not 'de': give --model tiny,"):
        with_recognition(base, None, None, "German")
    with pytest.raises(StoryjaxError, match="'folder' knows English alone"):
        check_language(RecognitionConfig(model="folder", language="de"), english_only=True)
    config = with_recognition(base, None, "tiny", "German")
    assert (config.recognition.language, config.recognition.model) == ("de", "tiny")
    assert with_recognition(base, None, None, "auto").recognition.language is None
    assert with_recognition(base, None, None, None) == base


def test_sentences_are_found_in_the_language_of_the_speech() -> None:
    pytest.importorskip("punkt")
    assert sentence_language("de", "english") == "german"
    assert sentence_language("ja", "english") == "japanese"


@pytest.mark.parametrize(
    ("code", "sentences"),
    [
        ("es", ["¿Dónde estás?", "¡No lo sé!", "Pregunta al Sr. García, por favor.", "Él lo sabe."]),
        ("de", ["Das kostet ca. drei Euro.", "Oder z. B. vier.", "Wirklich?", "Ja, am 3. Mai."]),
        ("fr", ["M. Dupont est là.", "Où ça ?", "Ici."]),
        ("hi", ["आप कहाँ हैं?", "मैं डॉ. शर्मा के घर पर हूँ।", "अच्छा।"]),
        ("ar", ["أين أنت؟", "أنا مع د. أحمد في البيت.", "حسنا!"]),
        ("ur", ["تم کہاں ہو؟", "میں گھر پر ہوں۔", "اچھا۔"]),
        ("hu", ["Hol van Dr. Kovács?", "A 3. emeleten, id. Szabónál.", "Jó ..."]),
        ("uk", ["Де проф. Коваль?", "Він удома, на вул. Шевченка.", "Добре!"]),
        ("el", ["Πού είσαι;", "Στο σπίτι.", "Ωραία!"]),
        ("hy", ["Ես տանն եմ։", "Լավ։"]),
        ("am", ["የት ነህ?", "ቤት ነኝ።"]),
        ("ro", ["Unde e dl. Popescu?", "Acasă (cred eu.)", "Bine."]),
    ],
)
def test_sentences_end_as_they_do_in_their_language(code: str, sentences: list[str]) -> None:
    pytest.importorskip("punkt")
    said = " ".join(sentences).split()
    words = [Word(text, 0.3 * n, 0.3 * n + 0.2, language=code) for n, text in enumerate(said)]
    assert [segment.text for segment in split_sentences(words, "english")] == sentences
    unsaid = [replace(word, language=None) for word in words]
    assert [segment.text for segment in split_sentences(unsaid, code)] == sentences


@pytest.mark.parametrize(
    ("code", "parts", "sentences"),
    [
        ("ja", "今日は|いい|天気|です|ね。|どこへ|行きます|か？|「はい。」|東京|です", 
         "今日はいい天気ですね。|どこへ行きますか？|「はい。」|東京です"),
        ("zh", "你|在|哪里？|我|在|家！|好", "你在哪里？|我在家！|好"),
    ],
)  # fmt: skip
def test_sentences_without_spaces(code: str, parts: str, sentences: str) -> None:
    words = [Word(t, 0.3 * n, 0.3 * n + 0.2, language=code, space=False) for n, t in enumerate(parts.split("|"))]
    assert [segment.text for segment in split_sentences(words)] == sentences.split("|")


def test_a_film_in_two_languages_is_split_by_both() -> None:
    pytest.importorskip("punkt")
    english = [
        Word(t, 0.3 * n, 0.3 * n + 0.2, language="en") for n, t in enumerate(["I", "met", "Dr.", "Smith.", "Good."])
    ]
    said = ["मैं", "घर", "पर", "हूँ।", "अच्छा।"]
    hindi = [Word(t, 3 + 0.3 * n, 3.2 + 0.3 * n, language="hi") for n, t in enumerate(said)]
    found = [segment.text for segment in split_sentences([*english, *hindi], "german")]
    assert found == ["I met Dr. Smith.", "Good.", "मैं घर पर हूँ।", "अच्छा।"]


def test_a_transcript_in_japanese_has_its_sentences(tmp_path: Path) -> None:
    cues = tmp_path / "a.srt"
    cues.write_text(
        "1\n00:00:01,000 --> 00:00:04,000\nどこですか？ここです。\n\n2\n00:00:04,100 --> 00:00:06,000\n東京は\n\n"
        "3\n00:00:06,000 --> 00:00:07,000\n大きい。 OK Google\n",
        "utf-8",
    )
    found = split_sentences(read_transcript(cues), "ja")
    assert [segment.text for segment in found] == ["どこですか？", "ここです。", "東京は大きい。", "OK Google"]
    assert found[0].end == pytest.approx(2.6, abs=0.2)


def test_the_language_that_whisper_hears_is_that_of_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words say whether a space is before them, which matters where most have none."""
    heard = SimpleNamespace(language="ja")
    spoken = [("今日", 0.0), ("は", 0.3), (" OK", 0.5), ("です。", 0.8)]
    words = [SimpleNamespace(word=text, start=at, end=at + 0.2, probability=0.9) for text, at in spoken]

    class Model:
        model = SimpleNamespace(is_multilingual=True)

        def __init__(self, place: str, **options: object) -> None: ...

        def transcribe(self, sound: np.ndarray, language: str | None, **options: object):
            assert language is None
            return [SimpleNamespace(words=words)], heard

    monkeypatch.setattr("faster_whisper.WhisperModel", Model)
    config = with_recognition(SubtitleConfig(), None, "tiny", "auto")
    made = load_recogniser(config.recognition)(np.zeros(16_000, np.float32))
    assert [word.language for word in made] == ["ja"] * 4
    assert [segment.text for segment in split_sentences(made, config.sentence_language)] == ["今日は OKです。"]
