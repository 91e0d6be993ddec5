"""A table whose rows are numbers (of frames) as curves: a small plot for each panel, as SVG, which needs no library."""

import statistics
from html import escape

from storyjax.reproduce.report import Report

_COLOURS = ("#1f77b4", "#d62728")
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 300, 220, 46, 34, 14, 40


def svg(report: Report, columns: int = 3) -> str:
    """The panels side by side; each point is the mean over seeds, and a bar its standard deviation."""
    panels = report.table.panels
    rows = -(-len(panels) // columns)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * _WIDTH}" height="{rows * _HEIGHT + 30}"'
        ' font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{columns * _WIDTH / 2}" y="20" text-anchor="middle" font-size="13">'
        f"{escape(report.table.title)}; ours: {escape(report.table.ours)}</text>",
    ]
    for number, panel in enumerate(panels):
        across, down = (number % columns) * _WIDTH, 30 + (number // columns) * _HEIGHT
        curves: dict[str, list[tuple[float, list[float]]]] = {}
        for row in panel.rows:
            curve, _, count = row.label.rpartition(", ")
            curves.setdefault(curve, []).append((float(count), report.values[panel.key, row.label]))
        parts.append(f'<g transform="translate({across},{down})">{_panel(f"({panel.key}) {panel.title}", curves)}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(title: str, curves: dict[str, list[tuple[float, list[float]]]]) -> str:
    """One plot; `curves` by name, "" that of the panel's own rows, each of (number of frames, values over seeds)."""
    ends = [(m - s, m + s) for points in curves.values() for m, s in (_spread(values) for _, values in points)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    room = 0.1 * (high - low) or 1.0
    low, high = low - room, high + room
    # Numbers of frames double from one to the next: they stand at equal distances.
    labels = sorted({label for points in curves.values() for label, _ in points})
    step = (_WIDTH - _LEFT - _RIGHT) / max(len(labels) - 1, 1)
    bottom = _HEIGHT - _BOTTOM

    def place(label: float, value: float) -> tuple[float, float]:
        return _LEFT + labels.index(label) * step, bottom - (value - low) / (high - low) * (bottom - _TOP)

    lines = [f'<text x="{_WIDTH / 2}" y="16" text-anchor="middle">{escape(title)}</text>']
    frame = f'x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" height="{bottom - _TOP}"'
    lines.append(f'<rect {frame} fill="none" stroke="#999"/>')
    for value in (low + room, high - room):
        y = place(labels[0], value)[1]
        lines.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    for number, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        means = [(label, *_spread(values)) for label, values in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(label, mean) for label, mean, _ in means))
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for label, mean, deviation in means:
            x, y = place(label, mean)
            top, foot = place(label, mean + deviation)[1], place(label, mean - deviation)[1]
            lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{foot:.1f}" stroke="{colour}"/>')
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        if name:
            x, y = place(*means[-1][:2])
            lines.append(f'<text x="{x:.1f}" y="{y - 7:.1f}" text-anchor="end" fill="{colour}">{escape(name)}</text>')
    for label in labels:
        lines.append(f'<text x="{place(label, low)[0]:.1f}" y="{bottom + 15}" text-anchor="middle">{label:g}</text>')
    lines.append(f'<text x="{_WIDTH / 2}" y="{bottom + 31}" text-anchor="middle">frames</text>')
    return "".join(lines)


def _spread(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
