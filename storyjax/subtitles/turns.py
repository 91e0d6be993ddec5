"""Sentences in which two people speak, where a recogniser heard no full stop between them, cut between their voices.

It is the stage of sentences where voices alone name people. The thesis's pipeline, which looks for faces, does without.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from storyjax.subtitles.records import EpisodeRecords, SpeakerModel
from storyjax.subtitles.sentences import as_segment, sentence_words
from storyjax.subtitles.stages import SHORT_S, Sentences, embed_voices
from storyjax.subtitles.timeline import Segment, Timeline, Word

_LONGEST_S = 3.0  # of speech on either side of a place that is compared
_PAUSE_S = 0.2  # a turn begins after one, or after a mark
_MARKS = (",", ";", ":", "-", "–", "—", "…", "、", "，", "؛", "،")
_BATCH = 32


@dataclass
class SpeakerTurns(Sentences):
    """The stage of sentences, each cut where the voices before and after are farther apart than `distance`.

    Places are looked at that have a pause or a mark, and a second of the sentence on either side. `load` makes the
    voice encoder that `source` names.
    """

    load: Callable[[], SpeakerModel] | None = None
    source: str = ""
    distance: float = 0.5

    def settings(self) -> Mapping[str, Any]:
        """Returns, as JSON, all that its result depends on besides the file and the stages before it."""
        return {**super().settings(), "turns": 1, "source": self.source, "distance": self.distance}

    def run(self, timeline: Timeline, records: EpisodeRecords) -> list[Segment]:
        """Returns the sentences, and their parts, that begin before the sound ends."""
        waiting = sentence_words(records.words, self.language)
        whole: list[list[Word]] = []
        while waiting:
            cuts = self._cuts(timeline, waiting)
            whole += [words for words, cut in zip(waiting, cuts, strict=True) if cut is None]
            waiting = [
                part for words, cut in zip(waiting, cuts, strict=True) if cut for part in (words[:cut], words[cut:])
            ]
        segments = sorted((as_segment(words) for words in whole), key=lambda segment: (segment.start, segment.end))
        return [segment for segment in segments if segment.start < timeline.duration]

    def _cuts(self, timeline: Timeline, sentences: Sequence[Sequence[Word]]) -> list[int | None]:
        """The word before which each sentence is cut, where its voices are farthest apart; None where it is whole."""
        assert self.load is not None
        asked = [(number, at) for number, words in enumerate(sentences) for at in possible_turns(words)]
        found: list[tuple[float, int] | None] = [None] * len(sentences)
        for first in range(0, len(asked), _BATCH):
            batch = asked[first : first + _BATCH]
            waves = [wave for number, at in batch for wave in _sides(timeline, sentences[number], at)]
            vectors = embed_voices(self.load(), waves)
            for (number, at), left, right in zip(batch, vectors[::2], vectors[1::2], strict=True):
                apart = 1.0 - float(left @ right) if np.any(left) and np.any(right) else 0.0
                best = found[number]
                if apart > self.distance and (best is None or apart > best[0]):
                    found[number] = (apart, at)
        return [None if best is None else best[1] for best in found]


def possible_turns(words: Sequence[Word]) -> list[int]:
    """Returns the words before which another voice may begin."""
    return [
        at
        for at in range(1, len(words))
        if words[at - 1].end - words[0].start >= SHORT_S
        and words[-1].end - words[at].start >= SHORT_S
        and (words[at].start - words[at - 1].end >= _PAUSE_S or words[at - 1].text.endswith(_MARKS))
    ]


def _sides(timeline: Timeline, words: Sequence[Word], at: int) -> tuple[np.ndarray, np.ndarray]:
    """The sound before and after a place in a sentence."""
    before, after = words[at - 1].end, words[at].start
    return (
        timeline.sound(max(words[0].start, before - _LONGEST_S), before),
        timeline.sound(after, min(words[-1].end, after + _LONGEST_S)),
    )
