"""A small line chart as SVG, without a library."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 48


def chart(
    title: str, x_label: str, points: Sequence[tuple[float, float]], y_labels: str, left: int = 0
) -> str:
    """One chart as a group, its axes from zero, placed `left` pixels to the right.

    Args:
        points: x and y, ascending in x.
        y_labels: format of the values beside the points, such as "{:.1f} s".
    """
    most_x = max(x for x, _ in points)
    most_y = max(y for _, y in points) * 1.15
    wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + wide * x / most_x, _TOP + high * (1 - y / most_y)

    bottom = _TOP + high
    parts = [
        f'<g transform="translate({left} 0)">',
        f'<text x="{_LEFT}" y="24" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{_LEFT + wide}" fill="none" stroke="#888"/>',
        f'<text x="{_LEFT + wide}" y="{HEIGHT - 10}" text-anchor="end">{escape(x_label)}</text>',
    ]
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in (place(x, y) for x, y in points))
    parts.append(f'<polyline points="{line}" fill="none" stroke="#4f44e0" stroke-width="2"/>')
    for x, y in points:
        px, py = place(x, y)
        parts += [
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="#4f44e0"/>',
            f'<text x="{px:.1f}" y="{py - 8:.1f}" text-anchor="middle">'
            f"{escape(y_labels.format(y))}</text>",
            f'<text x="{px:.1f}" y="{bottom + 16}" text-anchor="middle">{x:g}</text>',
        ]
    return "\n".join([*parts, "</g>"])


def picture(charts: Sequence[str]) -> str:
    """Charts side by side; each must have been placed at a multiple of WIDTH."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(charts)} {HEIGHT}" '
        'font-family="sans-serif" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{"".join(charts)}\n</svg>\n'
    )
