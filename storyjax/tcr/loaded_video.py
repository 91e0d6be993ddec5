"""A video decoded for a model, and the batches that ask it."""

import os
from collections.abc import Sequence

import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.data.text import pad
from storyjax.data.video import decode_frames, probe, sample_times
from storyjax.tcr.answer import Answer, Moment, clock, find_moments
from storyjax.tcr.resampler import TASK_TOKENS
from storyjax.train.experiment import Batch

PROMPT_STEP = 32  # prompts are padded to a multiple of this, so that questions of about one length share a program


class LoadedVideo:
    """Frames of a video, evenly spread over it or over a segment.

    Attributes:
        video: its path.
        info: its length and size.
        segment: the segment looked at, in seconds; None: all of the video.
        images: the frames, (t, y, x, 3), uint8.
        seconds: when each is on screen, (t,).
        track: the video track that was asked for.
    """

    def __init__(
        self,
        video: str | os.PathLike[str],
        frames: int,
        size: int,
        track: int | None = None,
        segment: tuple[float, float] | None = None,
    ):
        """Decodes the frames, each a square of `size` pixels.

        Raises:
            StoryjaxError: the video cannot be read, or ends before the segment does.
        """
        self.video, self.track, self.segment = str(video), track, segment
        self.info = probe(self.video, track=track)
        self.duration = self.info.duration_s
        start, end = segment or (0.0, self.duration)
        check_segment(self.video, start, end, self.duration)
        times = start + sample_times(end - start, frames)
        self.images, self.seconds = decode_frames(self.video, times, size, track=track)

    def batch(self, task: str, condition: Sequence[int], room: int, prompt: Sequence[int]) -> Batch:
        """Returns the video with one prompt, as `QuestionAnswering` takes it.

        Args:
            task: of resampler.TASK_TOKENS.
            condition: token ids that the resampler reads, of which there is `room` for so many.
            prompt: token ids that the language model reads.
        """
        length = -(-len(prompt) // PROMPT_STEP) * PROMPT_STEP
        batch = {
            "frames": self.images,
            "seconds": self.seconds,
            "frame_mask": np.ones(len(self.images), bool),
            "task": np.array([TASK_TOKENS.index(task)], np.int32),
            "condition": pad(condition, room)[None],
            "condition_mask": np.arange(room)[None] < len(condition),
            "prompt": pad(prompt, length)[None],
            "prompt_mask": np.arange(length)[None] < len(prompt),
        }
        return {name: value[None] for name, value in batch.items()}

    def answer(
        self,
        asked: str,
        text: str,
        probabilities: Sequence[float] | np.ndarray,
        attention: Sequence[float] | np.ndarray,
        options: tuple[str, ...] = (),
        option: int | None = None,
        warnings: tuple[str, ...] = (),
        method: str = Answer.method,
    ) -> Answer:
        """Returns an answer about this video; see `Answer`."""
        fractions = tuple(map(float, attention))
        moments = find_moments(fractions, self.duration) if self.segment is None else (Moment(*self.segment, 1.0),)
        return Answer(
            video=self.video,
            question=asked,
            options=options,
            text=text,
            option=option,
            probabilities=tuple(map(float, probabilities)),
            moments=moments,
            attention=fractions,
            seconds=tuple(map(float, self.seconds)),
            duration_s=self.duration,
            warnings=warnings,
            video_track=self.track,
            method=method,
            segment=self.segment,
        )


def check_segment(video: str, start: float, end: float, duration: float) -> None:
    """Raises StoryjaxError where a segment (seconds) ends after its video does."""
    if end > duration + 0.5:
        raise StoryjaxError(
            f"{video} ends at {clock(duration, duration)}: the segment {start:g} to {end:g} s is past its end"
        )
