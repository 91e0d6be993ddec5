"""The times of annotations, in seconds of their video.

**The rule of 17 minutes.** Times are given in 2048 bins of half a second (thesis §3.6.1), so a record's video is 1024
seconds long at most: an annotation that begins later is left out and counted, one that ends later is cut there.
"""

import math
from typing import Any

import numpy as np

from storyjax.data.builders.tables import finite

LONGEST_S = 1024.0
MOST_S = 1e6  # no video is as long (11 days)
_SLACK_S = 0.5  # one time bin: annotations are rounded, and videos end between frames


def segment(start: Any, end: Any, duration: Any) -> tuple[float, float, str]:
    """Returns (start, end, "") in seconds from the video's beginning, clipped where it is off by less than half a
    second; or (0, 0, why) it cannot be used.

    `duration` of the video in seconds, None where it is not known before it is decoded.
    """
    try:
        start, end = float(start), float(end)
    except (TypeError, ValueError, OverflowError):
        return 0.0, 0.0, f"its time {start!r:.40} to {end!r:.40} is no number"
    if not (math.isfinite(start) and math.isfinite(end)):
        return 0.0, 0.0, f"its time {start} to {end} is not finite"
    given = duration
    if given is not None and (duration := finite(given)) is None:
        return 0.0, 0.0, f"the video's length {given!r:.40} is no finite number"
    if start < -_SLACK_S or end < start:
        return 0.0, 0.0, f"its time {start:.2f} to {end:.2f} s is not a time span"
    if duration is not None and (start >= duration or end > duration + _SLACK_S):
        return 0.0, 0.0, f"its time {start:.2f} to {end:.2f} s is past the end of the video at {duration:.2f} s"
    if start >= LONGEST_S:
        return 0.0, 0.0, f"it begins at {start:.0f} s, beyond the {LONGEST_S:.0f} s that time tokens reach"
    limit = LONGEST_S if duration is None else min(LONGEST_S, duration)
    start = max(start, 0.0)
    return start, max(min(end, limit), start), ""


def segments(starts: list[Any], ends: list[Any], duration: Any) -> tuple[list[float], list[float], dict[int, str]]:
    """Returns what `segment` does of many: the starts, the ends, and why each that cannot be used cannot."""
    length = None if duration is None else finite(duration)
    try:
        start_s, end_s = np.array(starts, np.float64), np.array(ends, np.float64)
        fine = np.isfinite(start_s) & np.isfinite(end_s) & (start_s >= -_SLACK_S) & (end_s >= start_s)
        fine &= (start_s < LONGEST_S) & (length is not None or duration is None)
    except (TypeError, ValueError, OverflowError):
        start_s = end_s = np.zeros(len(starts))
        fine = np.zeros(len(starts), bool)
    if length is not None:
        fine &= (start_s < length) & (end_s <= length + _SLACK_S)
    start_s = np.maximum(start_s, 0.0)
    end_s = np.maximum(np.minimum(end_s, LONGEST_S if length is None else min(LONGEST_S, length)), start_s)
    first, last, wrong = start_s.tolist(), end_s.tolist(), {}
    for number in np.flatnonzero(~fine).tolist():  # one by one, for the reason
        first[number], last[number], why = segment(starts[number], ends[number], duration)
        if why:
            wrong[number] = why
    return first, last, wrong
