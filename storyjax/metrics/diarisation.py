"""Who spoke when, and was what was said understood: diarisation and word error rates, behind them pyannote and jiwer.

Both libraries are in the extra `diarisation`. Rates are fractions, not percent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from storyjax.core.errors import StoryjaxError

COLLAR_S = 0.25
"""§6.3.2: so much before and after every boundary of the ground truth is not counted."""


@dataclass(frozen=True)
class Turn:
    """Somebody speaking from `start` to `end` (seconds)."""

    start: float
    end: float
    speaker: str


class DiarisationErrorRate:
    """The fraction of speaking time that is missed, falsely heard or given to somebody else, over all that is added.

    Speakers of the hypothesis are matched with those of the reference so that as much as possible is right, as
    diarisation is always measured; with `names` they must be called the same.

    Args:
        collar_s: on both sides of a boundary, as NIST and dscore count it (pyannote's own number is both together).
        overlap: whether time in which several speak at once counts (DER(O) of Table 6.4).
    """

    def __init__(self, collar_s: float = COLLAR_S, overlap: bool = False, names: bool = False):
        try:
            from pyannote.metrics.diarization import DiarizationErrorRate
            from pyannote.metrics.identification import IdentificationErrorRate
        except ImportError as error:
            raise StoryjaxError(
                "measuring diarisation needs pyannote.metrics: pip install 'storyjax[diarisation]'"
            ) from error
        kind = IdentificationErrorRate if names else DiarizationErrorRate
        self._metric = kind(collar=2 * collar_s, skip_overlap=not overlap)

    def add(self, reference: Sequence[Turn], hypothesis: Sequence[Turn], duration_s: float) -> float:
        """Adds an episode; returns its own rate.

        Turns of one speaker that overlap are one turn: NIST's md-eval counts speakers, not turns, and dscore joins them
        before it looks for boundaries. Turns that only touch stay two.
        """
        from pyannote.core import Segment, Timeline

        whole = Timeline([Segment(0.0, max([duration_s, *(t.end for t in (*reference, *hypothesis))]))])
        return float(self._metric(_annotation(reference), _annotation(hypothesis), uem=whole))

    def rate(self) -> float:
        """Returns the rate over all episodes that were added."""
        return float(abs(self._metric))


def _annotation(turns: Iterable[Turn]) -> Any:
    from pyannote.core import Annotation, Segment

    annotation = Annotation()
    for track, turn in enumerate(_joined(turns)):
        annotation[Segment(turn.start, turn.end), track] = turn.speaker
    return annotation


def _joined(turns: Iterable[Turn]) -> list[Turn]:
    """The turns that take time, those of one speaker that overlap as one, by their starts."""
    joined: list[Turn] = []
    last: dict[str, int] = {}  # where each speaker's last turn is in `joined`
    for turn in sorted((turn for turn in turns if turn.end > turn.start), key=lambda turn: turn.start):
        place = last.get(turn.speaker)
        if place is not None and turn.start < joined[place].end:
            joined[place] = replace(joined[place], end=max(turn.end, joined[place].end))
        else:
            last[turn.speaker] = len(joined)
            joined.append(turn)
    return joined


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Wrong, missed and invented words for each word that was said, after Whisper's normaliser (Table 6.5).

    The normaliser's list of British and American spellings is part of Whisper's tokenizer files and not used.
    """
    try:
        import jiwer
    except ImportError as error:
        raise StoryjaxError("measuring recognition needs jiwer: pip install 'storyjax[diarisation]'") from error
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normalise = EnglishTextNormalizer({})
    pairs = [(normalise(r), normalise(h)) for r, h in zip(references, hypotheses, strict=True)]
    pairs = [(r, h) for r, h in pairs if r.strip()]
    if not pairs:
        return 0.0
    return float(jiwer.wer([r for r, _ in pairs], [h for _, h in pairs]))
