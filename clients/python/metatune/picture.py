"""What a notebook shows of a study: a few words and its history as an inline SVG. Nothing is loaded from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 560, 200
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 26
POINT, BEST = "#7a869a", "#c2410c"
MAX_POINTS = 2000


@dataclass(frozen=True)
class Point:
    number: int
    value: float


def study_html(info: Mapping[str, Any], points: Sequence[Point], direction: str | None) -> str:
    """The study as HTML.  direction: of the one objective; None: there are several, and no history is drawn."""
    from html import escape

    counts = ", ".join(f"{n} {state}" for state, n in info.get("counts", {}).items() if n) or "no trials yet"
    lines = [f"<b>{escape(str(info['name']))}</b> · {escape(str(info.get('state', '')))} · {escape(counts)}"]
    best = info.get("best")
    if best:
        values = ", ".join(f"{escape(name)} = {value:.6g}" for name, value in (best.get("values") or {}).items())
        params = ", ".join(f"{escape(name)} = {escape(shown(value))}" for name, value in best["params"].items())
        lines.append(f"best: trial {best['number']}, {values}<br><small>{params}</small>")
    body = "<br>".join(lines)
    picture = history_svg(points, direction) if direction and points else ""
    return f'<div style="font-family:sans-serif;line-height:1.5">{body}{picture}</div>'


def history_svg(points: Sequence[Point], direction: str) -> str:
    """Values by trial number, and the best so far as a line."""
    points = sorted(points, key=lambda point: point.number)[:MAX_POINTS]
    best: list[Point] = []
    better = max if direction == "maximize" else min
    for point in points:
        best.append(Point(point.number, better(point.value, best[-1].value) if best else point.value))
    first, last = points[0].number, points[-1].number
    low, high = min(point.value for point in points), max(point.value for point in points)

    def place(point: Point) -> tuple[float, float]:
        x = (point.number - first) / (last - first) if last > first else 0.5
        y = (point.value - low) / (high - low) if high > low else 0.5
        return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    dots = "".join('<circle cx="{:.1f}" cy="{:.1f}" r="2.5"/>'.format(*place(point)) for point in points)
    steps = [place(best[0])]
    for point in best[1:]:
        x, y = place(point)
        steps += [(x, steps[-1][1]), (x, y)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in steps)
    bottom = HEIGHT - BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        f'aria-label="{len(points)} values by trial, best {best[-1].value:.6g}" '
        f'font-family="sans-serif" font-size="11">'
        f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="#bbb"/>'
        f'<text x="{LEFT - 6}" y="{TOP + 9}" text-anchor="end" fill="currentColor">{high:.4g}</text>'
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end" fill="currentColor">{low:.4g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 8}" fill="currentColor">{first}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end" fill="currentColor">trial {last}</text>'
        f'<g fill="{POINT}" fill-opacity="0.6">{dots}</g>'
        f'<polyline points="{line}" fill="none" stroke="{BEST}" stroke-width="2"/></svg>'
    )


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
