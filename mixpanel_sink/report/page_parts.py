"""What the pages share: their templates, bars, and how sizes and times are said."""

from __future__ import annotations

import functools
import importlib.resources
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


@functools.cache
def template(name: str) -> jinja2.Template:
    """One of the templates beside this module."""
    import jinja2

    def text(wanted: str) -> str:
        return importlib.resources.files(__package__).joinpath(wanted).read_text("utf-8")

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        loader=jinja2.FunctionLoader(text),
    )
    return environment.get_template(name)


def bars(rows: Sequence[tuple[str, int]]) -> list[dict[str, str]]:
    """Rows with their share of the sum as a bar; empty ones at both ends are left out."""
    filled = [place for place, (_, count) in enumerate(rows) if count]
    if not filled:
        return []
    total = sum(count for _, count in rows)
    return [
        {"name": name, "count": f"{count:,}", "percent": f"{100 * count / total:.1f}"}
        for name, count in rows[filled[0] : filled[-1] + 1]
    ]


def size(size: int) -> str:
    """Bytes as a person says them: 12 bytes, 2.5 MB."""
    if size < 1000:
        return f"{size} bytes"
    power = min(3, int(math.log10(size) // 3))
    return f"{size / 1000**power:.1f} {('', 'kB', 'MB', 'GB')[power]}"


def span(seconds: float) -> str:
    """Seconds as a person says them: 7.2 s, 12 min 5 s, 3 h 20 min, 5 d 2 h. Where a clock was set
    back meanwhile there are none."""
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    units = ((whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"))
    parts = [*units, (whole % 60, "s")]
    first = next(place for place, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)


def plural(number: int, noun: str) -> str:
    """A number and what it counts: 1 request, 2,000 requests."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
