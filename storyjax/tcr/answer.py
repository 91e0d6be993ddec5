"""What a model answers about a video, and where it looked: for people, for JSON and for the figure."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from storyjax.data.prompts import LETTERS
from storyjax.data.video import decode_frames, sample_times


class Moment(NamedTuple):
    """A segment of a video, in seconds, and the fraction of all attention that fell on it (`share`)."""

    start_s: float
    end_s: float
    share: float


@dataclass(frozen=True)
class Answer:
    """What the model says, and where it looked.

    Attributes:
        video, question, options: what was asked; no options for a free answer.
        text: the answer in words.
        option: index of the chosen option, None for a free answer.
        probabilities: of each option, summing to one; of a free answer, the probability of its very words.
        moments: where it looked most, most first.
        attention: fraction of the attention that each frame got, in the order of time, summing to one.
        seconds: when each frame is on screen.
        duration_s: of the video.
        warnings: what a reader of the answer should know.
        video_track: the video track that was asked for, from 1; None: none was.
        method: what answered, for people.
        segment: the only part of the video that was looked at, in seconds; None: all of it.
    """

    video: str
    question: str
    options: tuple[str, ...]
    text: str
    option: int | None
    probabilities: tuple[float, ...]
    moments: tuple[Moment, ...]
    attention: tuple[float, ...]
    seconds: tuple[float, ...]
    duration_s: float
    warnings: tuple[str, ...] = ()
    video_track: int | None = None
    method: str = "TCR"
    segment: tuple[float, float] | None = None

    @property
    def probability(self) -> float:
        """The probability of what was answered."""
        return self.probabilities[self.option or 0]

    def thumbnails(self, chosen: Sequence[int] | None = None, height: int = 90) -> list[Image.Image]:
        """Returns small images of the frames looked at (or of those with the `chosen` indices), decoded when asked for.

        `height` in pixels; the aspect ratio is the video's.
        """
        start, end = self.segment or (0.0, self.duration_s)
        times = start + sample_times(end - start, len(self.attention))
        times = times if chosen is None else times[np.asarray(chosen, int)]
        images = []
        for start in range(0, len(times), 8):  # few at a time, for these are of the video's own size
            frames, _ = decode_frames(self.video, times[start : start + 8], None, track=self.video_track)
            width = max(1, round(frames.shape[2] * height / frames.shape[1]))
            images += [Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS) for frame in frames]
        return images

    def in_words(self) -> str:
        """Returns the text for a terminal: options with probabilities, the answer, and where the model looked."""
        lines = []
        width = min(60, max(map(len, self.options), default=0))
        for index, (option, probability) in enumerate(zip(self.options, self.probabilities, strict=False)):
            mark, bar = ">" if index == self.option else " ", "█" * round(20 * probability)
            lines.append(f"{mark} {LETTERS[index]}  {option:{width}}  {100 * probability:5.1f} %  {bar}".rstrip())
        letter = "" if self.option is None else f"{LETTERS[self.option]}, "
        lines.append(f"answer: {letter}{self.text} ({100 * self.probability:.1f} %)")
        end = self.duration_s
        spans = [f"{clock(m.start_s, end)} to {clock(m.end_s, end)}" for m in self.moments]
        looked = [f"{span} ({100 * m.share:.0f} %)" for span, m in zip(spans, self.moments, strict=True)]
        where = f"most at {', '.join(looked)}" if self.moments[0].share < 1 else "about evenly at all"
        where = f"about evenly at {spans[0]}" if self.segment else where
        lines.append(f"looked: {where} of {clock(end, end)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns the answer for JSON: moments are objects, numbers have four or so digits."""

        def short(numbers: Sequence[float]) -> list[float]:
            return [round(number, 5) for number in numbers]

        fields = dataclasses.asdict(self) | {"probability": round(self.probability, 5)}
        for name in ("probabilities", "attention", "seconds"):
            fields[name] = short(fields[name])
        moments = [dict(zip(Moment._fields, short(moment), strict=True)) for moment in self.moments]
        return fields | {"moments": moments, "duration_s": round(self.duration_s, 3)}


def clock(seconds: float, duration_s: float) -> str:
    """Returns a time as people write it in a video of this length: 3.4 s, 0:42, 1:02:07."""
    if duration_s < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if duration_s >= 3600 else f"{minutes}:{rest:02d}"


def find_moments(attention: Sequence[float], duration_s: float, most: int = 3) -> tuple[Moment, ...]:
    """Returns where the attention is: neighbouring frames at least half-way from an even fraction to the largest.

    Each frame stands for its part of the video. Attention that is about even is one moment, the whole video.
    """
    fraction = np.asarray(attention, np.float64)
    fraction = fraction / fraction.sum()
    if fraction.max() < 1.5 / len(fraction):
        return (Moment(0.0, duration_s, 1.0),)
    strong = fraction >= (fraction.max() + 1 / len(fraction)) / 2
    edges = np.flatnonzero(np.diff(np.concatenate([[False], strong, [False]]).astype(int)))
    step = duration_s / len(fraction)
    found = [
        Moment(float(first * step), float(end * step), float(fraction[first:end].sum()))
        for first, end in zip(edges[::2], edges[1::2], strict=True)
    ]
    return tuple(sorted(found, key=lambda moment: -moment.share)[:most])
