"""The metrics of §6.3: exemplars step by step, precision against the fraction named, and the whole result."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from storyjax.metrics.diarisation import DiarisationErrorRate, Turn, word_error_rate
from storyjax.subtitles.annotations import AnnotatedEpisode, TrueLine
from storyjax.subtitles.cast import UNKNOWN
from storyjax.subtitles.records import STEPS, Subtitles

LONG_S = 2.0  # §6.3.1: longer segments are measured by themselves
_PERCENT = (50, 75, 90, 100)  # of the segments classified, for which a precision is reported
# The attribute of Judged that is a segment's label after each step.
_LABELS = {
    "speech": "raw_label",
    "laughter": "raw_label",
    "synchronisation": "likely",
    "face": "label",
    "exemplar": "label",
}


@dataclass(frozen=True)
class Judged:
    """A segment against the truth.

    Attributes:
        truth: who speaks most of it, or None where nobody does.
        listed: whether they are in the cast list.
        name, nearest: the system's name (None: unknown), and whose voice is nearest.
        distance: of that voice.
        duration: seconds.
        visible: whether the camera shows the speaker, where that is known.
        step: how far it came to an exemplar (STEPS).
        label, likely, raw_label: the character that it shows, as `records.Line` has them.
    """

    truth: str | None
    listed: bool
    name: str | None
    nearest: str | None
    distance: float
    duration: float
    visible: bool | None
    step: str
    label: str | None
    likely: str | None = None
    raw_label: str | None = None

    @property
    def right(self) -> bool:
        """Whether the name is the truth's; somebody who is not in the cast list is rightly called unknown."""
        return self.name == (self.truth if self.listed else None)


def judge(subtitles: Subtitles, episode: AnnotatedEpisode) -> list[Judged]:
    """Returns every segment with its true speaker: the speaker of most of it."""
    judged = []
    for line in subtitles.lines:
        seconds: dict[str, float] = {}
        most, visible = 0.0, None
        for true in episode.lines:
            overlap = min(true.end, line.end) - max(true.start, line.start)
            if overlap > 0:
                seconds[true.speaker] = seconds.get(true.speaker, 0.0) + overlap
            if overlap > most:
                most, visible = overlap, true.visible
        truth = max(seconds, key=lambda name: seconds[name]) if seconds else None
        given = line.assignment
        judged.append(
            Judged(
                truth,
                truth in episode.listed,
                line.name,
                given.nearest,
                given.distance,
                line.end - line.start,
                visible,
                line.step,
                line.label,
                line.likely,
                line.raw_label,
            )
        )
    return judged


def exemplar_steps(judged: Sequence[Judged]) -> dict[str, float]:
    """Returns "STEP/count", "STEP/yield" and "STEP/precision" of the steps of Tables 6.2 and 6.3.

    They are the number of segments left, their fraction of all, and the fraction of these whose label is right. A label
    is the best that the system has at that step: the likeliest character of the whole frames; after synchronisation,
    the likeliest one around the only peak; then the one whose face it surely is. A step has no precision where nobody
    was looked for (raw labels are left out unless they were asked for).
    """
    results: dict[str, float] = {}
    total = max(len(judged), 1)
    for place, step in enumerate(STEPS):
        left = [j for j in judged if STEPS.index(j.step) >= place]
        results[f"{step}/count"], results[f"{step}/yield"] = float(len(left)), len(left) / total
        labels = [(getattr(j, _LABELS[step]), j.truth) for j in left]
        if any(label is not None for label, _ in labels):
            results[f"{step}/precision"] = sum(label == truth and label is not None for label, truth in labels) / len(
                left
            )
    return results


@dataclass(frozen=True)
class Curve:
    """Precision against the proportion of classified segments (POCS), one point for each d, and the oracle's POCS.

    The oracle names every segment of somebody with exemplars, and rightly; its precision is 1.
    """

    pocs: Float[np.ndarray, " n"]
    precision: Float[np.ndarray, " n"]
    oracle: float

    def precision_at(self, pocs: float) -> float:
        """Returns the precision where that fraction is classified, or the nearest one there is."""
        return float(self.precision[int(np.abs(self.pocs - pocs).argmin())]) if len(self.pocs) else 0.0


def precision_curve(judged: Sequence[Judged], with_exemplars: Sequence[str], longer_than: float = 0.0) -> Curve:
    """Returns Fig. 6.3's curve: segments in the order of the nearest voice's distance; d passes over all of them.

    Only segments of more than `longer_than` seconds are counted.
    """
    spoken = [j for j in judged if j.truth is not None and j.duration > longer_than]
    if not spoken:
        return Curve(np.zeros(0), np.zeros(0), 0.0)
    order = np.argsort([j.distance for j in spoken], kind="stable")
    right: Bool[np.ndarray, " n"] = np.array([spoken[i].nearest == spoken[i].truth for i in order])
    count = np.arange(1, len(spoken) + 1)
    oracle = sum(j.truth in with_exemplars for j in spoken) / len(spoken)
    return Curve(count / len(spoken), np.cumsum(right) / count, oracle)


def best_distance(judged: Sequence[Judged]) -> float:
    """Returns the d by which most segments are rightly named or rightly left unknown, the smallest of several (§6.1.4).

    It lies halfway between the last segment that is named and the first that is not; 0 if naming nobody is best.
    """
    spoken = sorted((j for j in judged if j.truth is not None), key=lambda j: j.distance)
    gains = [0]
    for j in spoken:
        gains.append(gains[-1] + int(j.nearest == j.truth) - int(not j.listed))
    best = int(np.argmax(gains))
    if not spoken or best == 0:
        return 0.0
    after = spoken[best].distance if best < len(spoken) else spoken[best - 1].distance
    return round((spoken[best - 1].distance + after) / 2, 4)


def per_character(judged: Sequence[Judged]) -> dict[str, tuple[float | None, float | None]]:
    """Returns (precision, recall) of every listed character; None where nobody was named so, or they never speak."""
    found: dict[str, tuple[float | None, float | None]] = {}
    spoken = [j for j in judged if j.truth is not None]
    names = {j.truth for j in spoken if j.listed} | {j.name for j in spoken if j.name is not None}
    for name in sorted(n for n in names if n is not None):
        said = [j for j in spoken if j.name == name]
        true = [j for j in spoken if j.truth == name]
        hits = sum(j.truth == name for j in said)
        found[name] = (hits / len(said) if said else None, hits / len(true) if true else None)
    return found


def evaluate(
    results: Sequence[tuple[Subtitles, AnnotatedEpisode]], prefix: str = "tv"
) -> tuple[dict[str, float], dict[str, Curve]]:
    """Returns all numbers of Tables 6.2 to 6.5 as "prefix/metric", and Fig. 6.3's curves, over a show's episodes."""
    judged = [j for subtitles, episode in results for j in judge(subtitles, episode)]
    spoken = [j for j in judged if j.truth is not None]
    numbers: dict[str, float] = {"segments": float(len(judged))}
    numbers["accuracy"] = _mean([j.right for j in spoken])
    numbers["named"] = _mean([j.name is not None for j in spoken])
    numbers["offscreen_accuracy"] = _mean([j.right for j in spoken if j.visible is False and j.listed])
    numbers["extra_unknown"] = _mean([j.name is None for j in spoken if not j.listed])
    counts = [sum(j.truth == name for j in spoken) for name in {j.truth for j in spoken if j.listed}]
    numbers["chance"] = max(counts, default=0) / max(len(spoken), 1)
    for key, longer in (("long", True), ("short", False)):
        numbers[f"accuracy_{key}"] = _mean([j.right for j in spoken if (j.duration > LONG_S) == longer])
    rates = per_character(judged).values()
    numbers["character_precision"] = _mean([p for p, _ in rates if p is not None])
    numbers["character_recall"] = _mean([r for _, r in rates if r is not None])
    steps = exemplar_steps(judged)
    numbers |= {f"steps/{key}": value for key, value in steps.items()}
    numbers["exemplar_precision"] = steps.get("exemplar/precision", 0.0)
    numbers["exemplar_yield"] = steps["exemplar/yield"]
    for key, settings in {
        "der": {"overlap": False},
        "der_overlap": {"overlap": True},
        "der_named": {"overlap": True, "names": True},
    }.items():
        metric = DiarisationErrorRate(**settings)
        for subtitles, episode in results:
            ends = [line.end for line in subtitles.lines] + [line.end for line in episode.lines]
            end = max(ends, default=0.0)
            metric.add(_true_turns(episode.lines), _turns(subtitles), end)
        numbers[key] = metric.rate()
    numbers["wer"] = word_error_rate(
        [" ".join(line.text for line in episode.lines) for _, episode in results],
        [" ".join(line.text for line in subtitles.lines) for subtitles, _ in results],
    )
    learnt = sorted({name for subtitles, _ in results for name in subtitles.exemplars})
    curves = {"all": precision_curve(judged, learnt), "long": precision_curve(judged, learnt, LONG_S)}
    for key, curve in curves.items():
        numbers |= {f"curve_{key}/precision_at_{percent}": curve.precision_at(percent / 100) for percent in _PERCENT}
        numbers[f"curve_{key}/oracle"] = curve.oracle
    return {f"{prefix}/{key}": value for key, value in numbers.items()}, curves


def _mean(values: Sequence[float | bool]) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def _turns(subtitles: Subtitles) -> list[Turn]:
    return [Turn(line.start, line.end, line.name or UNKNOWN) for line in subtitles.lines]


def _true_turns(lines: Sequence[TrueLine]) -> list[Turn]:
    return [Turn(line.start, line.end, line.speaker) for line in lines]


def draw_curves(curves: dict[str, dict[str, Curve]], path: Path) -> None:
    """Writes Fig. 6.3 as an SVG: a curve for each show, all segments on the left, long ones on the right; x: oracle.

    Raises:
        StoryjaxError: the file cannot be written.
    """
    colours = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
    width, height, left, top = 330, 250, 50, 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * (width + left) + 30}" height="{height + 80}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for panel, (key, title) in enumerate((("all", "all segments"), ("long", "segments longer than 2 s"))):
        x0 = left + panel * (width + left)
        parts.append(f'<text x="{x0 + width / 2:.0f}" y="{top - 10}" text-anchor="middle">{title}</text>')
        parts.append(f'<rect x="{x0}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#888"/>')
        for tick in range(0, 101, 20):
            x, y = x0 + width * tick / 100, top + height * (1 - tick / 100)
            parts.append(f'<text x="{x:.0f}" y="{top + height + 16}" text-anchor="middle">{tick}</text>')
            parts.append(f'<text x="{x0 - 6}" y="{y + 4:.0f}" text-anchor="end">{50 + tick // 2}</text>')
        parts.append(
            f'<text x="{x0 + width / 2:.0f}" y="{top + height + 34}" text-anchor="middle">classified (%)</text>'
        )
        for number, (show, by_kind) in enumerate(curves.items()):
            parts += _polyline(by_kind[key], colours[number % len(colours)], x0, top, width, height)
            parts.append(
                f'<text x="{x0 + 8}" y="{top + height - 10 - 16 * number}" fill="{colours[number % len(colours)]}">'
                f"{_svg_text(show)}</text>"
            )
    parts.append(
        f'<text x="12" y="{top + height / 2:.0f}" transform="rotate(-90 12 {top + height / 2:.0f})"'
        ' text-anchor="middle">precision (%)</text></svg>'
    )
    from storyjax.subtitles.writers import write_text

    write_text(path, "\n".join(parts) + "\n")


def _polyline(curve: Curve, colour: str, x0: int, top: int, width: int, height: int) -> list[str]:
    def point(pocs: float, precision: float) -> str:
        return f"{x0 + width * pocs:.1f},{top + height * (1 - max(0.0, precision - 0.5) / 0.5):.1f}"

    points = " ".join(point(p, q) for p, q in zip(curve.pocs, curve.precision, strict=True))
    x, y = (float(v) for v in point(curve.oracle, 1.0).split(","))
    cross = f"M{x - 4:.1f} {y - 4:.1f}L{x + 4:.1f} {y + 4:.1f}M{x - 4:.1f} {y + 4:.1f}L{x + 4:.1f} {y - 4:.1f}"
    return [
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
        f'<path d="{cross}" stroke="{colour}" stroke-width="2"/>',
    ]


def _svg_text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
