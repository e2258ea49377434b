"""What was accepted over time, against the quota, as numbers that a page draws."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from mixpanel_sink.settings.quota import Quota

_STEPS = 400
"""A quota of more windows is drawn as a straight line."""
_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)
_DAY = 86_400


@dataclasses.dataclass(frozen=True)
class Tick:
    """A label on an axis.

    Attributes:
        at: percent of the axis.
        text: what it says.
        kind: "first", "last", or "minor": what may be left out where there is little room.
    """

    at: float
    text: str
    kind: str = ""


@dataclasses.dataclass(frozen=True)
class Chart:
    """A line of what was accepted so far, in a space of 1000 by 100 that begins at the top left.

    Attributes:
        line: the path.
        limit: the path of the most that the quota allowed; "" if it is far above.
        x, y: labels.
        said: the same in a sentence.
    """

    line: str
    limit: str
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    said: str


def over_time(
    accepted: Sequence[tuple[float, int]], seconds: float, quota: Quota, batch_events: int
) -> Chart | None:
    """The chart, or None if nothing was sent.

    Args:
        accepted: what was accepted, and at how many seconds from the start, ascending.
        seconds: that the run took.
        quota: that held.
        batch_events: events of a full request.
    """
    if not accepted:
        return None
    seconds = max(seconds, accepted[-1][0], 0.001)
    total, points = 0, [(0.0, 0)]
    for at, count in accepted:
        total += count
        points.append((max(0.0, at), total))
    points.append((seconds, total))
    ceiling = _ceiling(quota, batch_events)
    most, near = max(1, total), None
    if ceiling is not None:
        allowed, window = ceiling
        highest = allowed * (1 + int(seconds / window))
        near = ceiling if highest <= 3 * most else None
        most = max(most, highest) if near else most
    step = _step(most / 4)
    top = step * math.ceil(most / step)
    line = "M" + " L".join(f"{_x(at, seconds)} {_y(count, top)}" for at, count in points)
    return Chart(
        line,
        _limit(near, seconds, top) if near else "",
        tuple(_times(seconds)),
        tuple(Tick(100 * n * step / top, short(n * step)) for n in range(top // step + 1)),
        _said(total, seconds, quota, ceiling),
    )


def _ceiling(quota: Quota, batch_events: int) -> tuple[int, float] | None:
    """Events that the strictest rate allows in its window, and the window's seconds."""
    found = [
        (rate.amount * (batch_events if rate.of == "requests" else 1), rate.seconds)
        for rate in quota.rates
        if rate.of != "bytes"
    ]
    return min(found, key=lambda each: each[0] / each[1], default=None)


def _limit(ceiling: tuple[int, float], seconds: float, top: int) -> str:
    allowed, window = ceiling
    windows = int(seconds / window)
    if windows > _STEPS:
        return f"M0 {_y(allowed, top)} L1000 {_y(allowed * (windows + 1), top)}"
    path = f"M0 {_y(allowed, top)}"
    for number in range(1, windows + 1):
        at = _x(number * window, seconds)
        path += f" L{at} {_y(allowed * number, top)} L{at} {_y(allowed * (number + 1), top)}"
    return f"{path} L1000 {_y(allowed * (windows + 1), top)}"


def _said(total: int, seconds: float, quota: Quota, ceiling: tuple[int, float] | None) -> str:
    said = f"{total:,} accepted in {_time(seconds, exact=True)}"
    if ceiling is None:
        return f"{said}; no quota held."
    allowed, window = ceiling
    names: dict[float, str] = {1: "second", 60: "minute", 3600: "hour", _DAY: "day"}
    every = names.get(window, f"{window:g} s")
    return f"{said}; the quota of {quota} allows {allowed:,} events in any {every}."


def _times(seconds: float) -> list[Tick]:
    step = next((each for each in _TIMES if seconds / each <= 8), None)
    step = step or _DAY * _step(seconds / _DAY / 8)
    if seconds < 1:
        return [Tick(0, "0 s", "first"), Tick(100, f"{seconds:.2f} s", "last")]
    ticks = []
    for number in range(int(seconds / step) + 1):
        kind = "first" if not number else "minor" if number % 2 else ""
        at = 100 * number * step / seconds
        kind = "last" if at > 97 else kind
        ticks.append(Tick(at, _time(number * step), kind))
    return ticks


def _time(seconds: float, exact: bool = False) -> str:
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    for size, unit, smaller in ((_DAY, "d", (3600, "h")), (3600, "h", (60, "min"))):
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            more = f" {rest // smaller[0]} {smaller[1]}" if rest // smaller[0] else ""
            return f"{whole} {unit}{more}"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min" + (f" {rest} s" if rest and exact else "")


def _step(least: float) -> int:
    """1, 2 or 5 times a power of ten, at least so much and at least 1."""
    power = 10 ** math.floor(math.log10(max(1.0, least)))
    return int(next(power * each for each in (1, 2, 5, 10) if power * each >= least))


def short(number: int) -> str:
    """A number on an axis: 500, 20k, 1.5M."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:g}{unit}"
    return str(number)


def _x(at: float, seconds: float) -> str:
    return f"{1000 * at / seconds:.1f}"


def _y(count: int, top: int) -> str:
    return f"{100 - 100 * count / top:.2f}"
