"""Plots as SVG, drawn by hand: grouped bars, and lines over a number axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 60, 60
COLOURS = ("#2a6f97", "#e07a1f", "#5b8c3e", "#8a4f9e", "#777777")

Point = tuple[float, float]


def bars(
    title: str, unit: str, groups: Sequence[str], series: Mapping[str, Sequence[float]], goal: float | None = None
) -> str:
    """Groups of bars side by side, one bar of each series in each group, each with its number above.

    :param goal: drawn as a dashed line.
    """
    scale = _Axis(0.0, max([*(value for row in series.values() for value in row), goal or 0.0]))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(groups))
    width = step * 0.8 / max(1, len(series))
    parts = _frame(title, unit, list(series), scale)
    for place, name in enumerate(groups):
        parts.append(_text(LEFT + step * (place + 0.5), HEIGHT - BOTTOM + 20, name))
        for number, row in enumerate(series.values()):
            left, top = LEFT + step * (place + 0.1) + width * number, scale.y(row[place])
            parts.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{width * 0.92:.1f}" '
                f'height="{HEIGHT - BOTTOM - top:.1f}" fill="{COLOURS[number % len(COLOURS)]}"/>'
            )
            parts.append(_text(left + width * 0.46, top - 4, f"{row[place]:.3g}", size=10))
    return _closed(parts, scale, goal)


def lines(title: str, unit: str, along: str, series: Mapping[str, Sequence[Point]], goal: float | None = None) -> str:
    """Points joined by lines.

    :param along: what the horizontal axis counts.
    :param goal: drawn as a dashed line.
    """
    points = [point for row in series.values() for point in row]
    scale = _Axis(0.0, max([*(y for _, y in points), goal or 0.0]))
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    span = (high - low) or 1.0

    def across(x: float) -> float:
        return LEFT + 20 + (x - low) / span * (WIDTH - LEFT - RIGHT - 40)

    parts = _frame(title, unit, list(series), scale)
    parts += [_text(across(x), HEIGHT - BOTTOM + 20, f"{x:g}", size=10) for x in sorted({x for x, _ in points})]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, along))
    for number, row in enumerate(series.values()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{across(x):.1f},{scale.y(y):.1f}" for x, y in sorted(row))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{scale.y(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in row]
    return _closed(parts, scale, goal)


class _Axis:
    """The vertical one: from ``low`` to a round number above ``high``."""

    def __init__(self, low: float, high: float) -> None:
        rough = max(high - low, 1e-9) / 5
        power = 10.0 ** floor(log10(rough))
        self.step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
        self.low, self.high = low, low + self.step * max(1, ceil((high - low) * 1.05 / self.step))

    def y(self, value: float) -> float:
        height = HEIGHT - TOP - BOTTOM
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * height

    def ticks(self) -> list[float]:
        return [self.low + self.step * place for place in range(round((self.high - self.low) / self.step) + 1)]


def _frame(title: str, unit: str, names: Sequence[str], scale: _Axis) -> list[str]:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 20, title, size=15),
        _text(LEFT - 60, TOP - 10, unit, anchor="start", size=11),
    ]
    for value in scale.ticks():
        y = scale.y(value)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{value:g}", anchor="end", size=11))
    at = float(LEFT)
    for number, name in enumerate(names):
        parts.append(f'<rect x="{at:.0f}" y="30" width="12" height="12" fill="{COLOURS[number % len(COLOURS)]}"/>')
        parts.append(_text(at + 17, 40, name, anchor="start", size=11))
        at += 40 + 6.5 * len(name)
    return parts


def _closed(parts: list[str], scale: _Axis, goal: float | None) -> str:
    if goal is not None:
        y = scale.y(goal)
        parts.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#b00020" '
            'stroke-dasharray="6 4"/>'
        )
        parts.append(_text(WIDTH - RIGHT - 4, y - 4, f"goal {goal:g}", anchor="end", size=10))
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, words: str, anchor: str = "middle", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'
