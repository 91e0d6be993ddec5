"""Whose mouth moves with the sound while something is said: the thesis's synchronisation (§6.1.2 step 2), on stories.

For every sentence the audio-visual network of `storyjax subtitle` gives the places where image and sound move together.
Which tracks these are of is found when people are named, by the tracks' boxes then.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from storyjax.story.options import StoryOptions
from storyjax.story.rows import Track, Utterance
from storyjax.story.store import Story
from storyjax.story.trackers import choose_tracker
from storyjax.subtitles.config import SubtitleConfig
from storyjax.subtitles.networks import load_networks
from storyjax.subtitles.records import EpisodeRecords, Subtitles
from storyjax.subtitles.stages import Synchronisation
from storyjax.subtitles.timeline import Segment, Timeline
from storyjax.weights.roles import model_for

PLACES = "mouths"  # in the evidence of an utterance: [y, x, score] of each, fractions of the image
_BESIDE = 0.03  # so far outside of a box, as a fraction of the image, a mouth may be found
_DOWN_TO = 0.7  # of a person's box from its top


def looks_for_mouths(options: StoryOptions) -> bool:
    """Returns whether mouths are looked for: where the models folder has the network, or all of a story is by what
    ships, for that one knows StoryWorld's faces alone."""
    if model_for("sync", options.models, "subtitle").origin in ("imported", "own"):
        return True
    return choose_tracker(options).place.startswith("shipped:")


def find_mouths(media: Path, said: Subtitles, config: SubtitleConfig, work: Path) -> list[list[list[float]]]:
    """Returns, for each sentence, (y, x, score) of the places that move with the sound, in fractions of the image.

    Raises:
        VideoError: the film cannot be decoded.
    """
    networks = load_networks(config)
    spool = work / f"{media.stem}.mouths.s16"
    timeline = Timeline.open(media, spool)
    try:
        segments = [Segment(line.start, line.end, line.text) for line in said.lines]
        stage = Synchronisation(networks.sync, networks.find_peaks, config.lwtnet.weights, config.frame_size)
        found = {one.segment: one.peaks for one in stage.run(timeline, EpisodeRecords(segments=segments))}
    finally:
        spool.unlink(missing_ok=True)
    return [[list(peak) for peak in found.get(number, ())] for number in range(len(segments))]


def speaking_tracks(
    story: Story, sentences: Sequence[Utterance], people: Sequence[Track]
) -> Mapping[int, tuple[int, ...]]:
    """Returns, by sentence, the tracks of people in whose boxes a mouth moves with the sound; nothing of a sentence for
    which no mouths were looked for."""
    boxes: dict[int, np.ndarray] = {}
    found = {}
    for sentence in sentences:
        if (places := sentence.evidence.get(PLACES)) is None:
            continue
        there = [one for one in people if one.start_s < sentence.end_s and one.end_s > sentence.start_s]
        for one in there:
            if one.id not in boxes:
                boxes[one.id] = np.median(story.boxes(one.id)[:, 1:5], axis=0)
        found[sentence.id] = tuple(
            one.id for one in there if any(_is_mouth_of(boxes[one.id], y, x) for y, x, *_ in places)
        )
    return found


def _is_mouth_of(box: np.ndarray, y: float, x: float) -> bool:
    left, top, width, height = box
    across = left - _BESIDE <= x <= left + width + _BESIDE
    return bool(across and top - _BESIDE <= y <= top + _DOWN_TO * height)
