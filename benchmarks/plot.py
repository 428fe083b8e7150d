"""Plots as SVG: bars on a logarithmic axis, and points over a linear one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

OURS, OTHERS, GREY = "#0b7285", "#adb5bd", "#495057"
WIDTH, LABELS, RIGHT, BAR, TOP = 860, 340, 70, 22, 46


def bars(title: str, unit: str, values: Sequence[tuple[str, float, bool]]) -> str:
    """Label, value and whether it is ours; shortest first."""
    values = sorted(values, key=lambda value: value[1])
    low = math.floor(math.log10(values[0][1]))
    high = math.log10(values[-1][1])
    span = WIDTH - LABELS - RIGHT

    def x(value: float) -> float:
        return LABELS + span * (math.log10(value) - low) / max(high - low, 1e-9)

    height = TOP + BAR * len(values) + 30
    parts = []
    for power in range(low, math.floor(high) + 1):
        place, number = x(10.0**power), f"{10.0**power:g}"
        parts.append(_line(place, TOP - 6, place, height - 26))
        parts.append(_text(place, height - 10, number, "middle"))
    for position, (label, value, ours) in enumerate(values):
        y = TOP + BAR * position
        parts.append(_text(LABELS - 8, y + 14, label, "end"))
        parts.append(
            f'<rect x="{LABELS}" y="{y + 2}" width="{max(x(value) - LABELS, 1):.1f}" height="{BAR - 6}" '
            f'fill="{OURS if ours else OTHERS}"/>'
        )
        parts.append(_text(x(value) + 6, y + 14, f"{value:.2f}" if value < 100 else f"{value:.0f}"))
    return _svg(height, f"{title} ({unit}, logarithmic)", parts)


def lines(
    title: str, x_unit: str, y_unit: str, series: Sequence[tuple[str, str, Sequence[tuple[float, float]]]]
) -> str:
    """Name, colour and points of each series; a dashed line leads from zero through the last of the first."""
    height, left, bottom = 380, 70, 330
    span, rise = WIDTH - left - 190, bottom - TOP
    most_x, most_y = (1.05 * max(p[axis] for _, _, points in series for p in points) for axis in (0, 1))

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return left + span * point[0] / most_x, bottom - rise * point[1] / most_y

    parts = [_line(left, bottom, left + span, bottom), _line(left, TOP, left, bottom)]
    for step in range(1, 5):
        x, y = most_x / 1.05 * step / 4, most_y / 1.05 * step / 4
        parts.append(_text(at((x, 0))[0], bottom + 18, f"{x:.0f}", "middle"))
        parts.append(_text(left - 8, at((0, y))[1] + 4, f"{y:.1f}", "end"))
    last_x, last_y = at(max(series[0][2]))
    parts.append(_line(left, bottom, last_x, last_y, ' stroke-dasharray="4 4"'))
    for name, color, points in series:
        places = [at(point) for point in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>' for x, y in places]
        parts.append(_text(places[-1][0] + 10, places[-1][1] + 4, name))
    parts.append(_text(left + span, bottom + 38, x_unit, "end"))
    return _svg(height, f"{title} ({y_unit})", parts)


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" fill="{GREY}">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="12" y="24" font-size="15">{escape(title)}</text>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ced4da"{more}/>'
