"""What a person sees while a pipeline runs on this machine: a bar, or plain lines."""

from __future__ import annotations

import contextlib
import datetime
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mixpanel_sink.jobs.watch import Standing, Watch
from mixpanel_sink.report.page_parts import plural
from mixpanel_sink.send.waits import Throttled

if TYPE_CHECKING:
    from rich.console import RenderableType

_LINE_SECONDS = 30.0
_LOOKS_A_SECOND = 4
_BAR_WIDTH = (8, 30)
_ELSEWHERE = "The workers run in processes of their own, and log what they have sent."


def amounts(now: Standing) -> str:
    """What the run has done so far, in one line."""
    if not now.known:
        return _ELSEWHERE
    of = f" of {now.total:,}" if now.total is not None else ""
    return (
        f"{now.accepted:,}{of} accepted, {now.failed:,} failed, {plural(now.requests, 'request')}"
    )


def outlook(now: Standing, today: datetime.date | None = None) -> str:
    """How fast it goes or what it waits for, and when it will be done, in one line."""
    parts = []
    if now.held is not None:
        parts.append(waiting(now.held, today))
    elif now.known:
        parts.append(f"{now.accepted / max(now.elapsed, 1e-9):,.0f} a second")
    if now.left is not None and now.done < (now.total or 0):
        parts.append(f"about {duration(now.left)} left")
    return ", ".join(parts)


def waiting(held: Throttled, today: datetime.date | None = None) -> str:
    """What a request waits for, and until when, in local time."""
    until = datetime.datetime.fromtimestamp(held.until).astimezone()
    other_day = until.date() != (today or datetime.date.today())
    at = f"{until:%d %b %H:%M}" if other_day else f"{until:%H:%M:%S}"
    return f"{held.cause} until {at} ({duration(held.seconds)})"


def line(now: Standing) -> str:
    """The progress as one line of a log."""
    return ", ".join(part for part in (amounts(now), outlook(now)) if part)


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min, 3 h 20 min, 5 d 2 h."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


@contextlib.contextmanager
def shown(style: str, watch: Watch) -> Iterator[None]:
    """Shows progress while the block runs.

    Args:
        style: "bar", "lines", "none", or "auto": a bar on a terminal, else lines.
        watch: of the run.
    """
    if style == "auto":
        style = "bar" if sys.stderr.isatty() else "lines"
    if style == "none":
        yield
    elif style == "bar":
        with _live(watch):
            yield
    else:
        ended = threading.Event()
        threading.Thread(
            target=_show_lines, args=(ended, watch), name="progress", daemon=True
        ).start()
        try:
            yield
        finally:
            ended.set()


def _show_lines(ended: threading.Event, watch: Watch) -> None:
    while not ended.wait(_LINE_SECONDS):
        print(line(watch.look()), file=sys.stderr, flush=True)


def _live(watch: Watch) -> contextlib.AbstractContextManager[object]:
    """The bar; logs and warnings go on above it."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    return Live(
        get_renderable=lambda: bar(watch.look(), console.width),
        console=console,
        refresh_per_second=_LOOKS_A_SECOND,
    )


def bar(now: Standing, width: int = 80) -> RenderableType:
    """Two lines of at most so many columns: a bar with the amounts, and the outlook."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    said = amounts(now)
    if now.total:
        said = f"{min(100, 100 * now.done // now.total)}%  {said}"  # 100% is all of them
    least, most = _BAR_WIDTH
    room = max(least, min(most, width - len(said) - 2))
    known = now.total is not None and now.known
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=room)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(
        ProgressBar(
            total=max(1, now.total or 1) if known else None,
            completed=min(now.done, now.total or 0),
            width=room,
            pulse=not known,
            animation_time=time.monotonic(),
        ),
        Text(said, no_wrap=True, overflow="ellipsis"),
    )
    style = "yellow" if now.held else "dim"
    return Group(grid, Text(outlook(now), style=style, no_wrap=True, overflow="ellipsis"))
