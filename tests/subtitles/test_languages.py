"""The language of the speech: codes and names are known, others refused, and no model is given one that it lacks."""

import pytest

from storyjax.core.errors import StoryjaxError
from storyjax.subtitles.command import with_recognition
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.languages import RecognitionConfig, check_language, language_code, sentence_language


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
    assert sentence_language("ja", "english") == "english"
