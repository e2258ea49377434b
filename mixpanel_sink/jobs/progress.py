"""What a person sees while a pipeline runs on this machine: a bar, or plain lines.

Known truth only: what counts as sent is what Mixpanel has accepted. The counts are those of
this process's workers; in several processes or elsewhere they log for themselves.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mixpanel_sink.report.metrics import live_counts
from mixpanel_sink.settings.quota import Quota

if TYPE_CHECKING:
    from rich.progress import Progress

BATCH_EVENTS = 2000
_LINE_SECONDS = 30.0
_BAR_SECONDS = 0.2


def seconds_left(
    counts: Mapping[str, int], total: int | None, quota: Quota, elapsed: float
) -> float | None:
    """How long the rest takes, by the rate so far or by the quota, whichever is slower.

    Args:
        counts: of this run so far, by the counters' names.
        total: records in all; None if unknown.
        quota: of the project.
        elapsed: seconds since the start.

    Returns:
        Seconds; None if nothing can be said yet.
    """
    done = counts.get("events_accepted", 0) + counts.get("records_failed", 0)
    if total is None or not done:
        return None
    rest = max(0, total - done)
    by_rate = rest * elapsed / done
    requests = counts.get("requests", 0) + -(-rest // BATCH_EVENTS)
    by_quota = [
        ((requests if rate.of == "requests" else total) - 1) // rate.amount * rate.seconds - elapsed
        for rate in quota.rates
        if rate.of != "bytes" and rest
    ]
    # What waits for the quota says nothing of the rate, so that the quota alone decides then.
    waits = bool(by_quota) and counts.get("cumulativeThrottlingSeconds", 0) > 0.5 * elapsed
    return max(0.0, *by_quota) if waits else max(by_rate, *by_quota, 0.0)


def line(counts: Mapping[str, int], total: int | None, left: float | None, elapsed: float) -> str:
    """One line for a log."""
    accepted = counts.get("events_accepted", 0)
    parts = [
        f"{accepted:,}" + (f" of {total:,}" if total is not None else "") + " accepted",
        f"{counts.get('records_failed', 0):,} failed",
        f"{counts.get('requests', 0):,} requests",
        f"{accepted / max(elapsed, 1e-9):,.0f} a second",
    ]
    if throttled := counts.get("cumulativeThrottlingSeconds", 0):
        parts.append(f"throttled {duration(throttled)}")
    if left is not None:
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


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
def shown(
    style: str, quota: Quota, total: Callable[[], int | None] = lambda: None
) -> Iterator[None]:
    """Shows progress while the block runs.

    Args:
        style: "bar", "lines", "none", or "auto": a bar on a terminal, else lines.
        quota: of the project.
        total: counts the records; called on a thread, since it may take long.
    """
    if style == "auto":
        style = "bar" if sys.stderr.isatty() else "lines"
    if style == "none":
        yield
        return
    ended = threading.Event()
    show = _show_bar if style == "bar" else _show_lines
    watcher = threading.Thread(
        target=show, args=(ended, _Watch(quota, total)), name="progress", daemon=True
    )
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join(2.0)


class _Watch:
    """The counts since the start, and the total as soon as it is known."""

    def __init__(self, quota: Quota, total: Callable[[], int | None]) -> None:
        self._before = live_counts().counts()
        self._started = time.monotonic()
        self._quota = quota
        self.total: int | None = None
        threading.Thread(target=self._count, args=(total,), name="total", daemon=True).start()

    def _count(self, total: Callable[[], int | None]) -> None:
        with contextlib.suppress(Exception):  # the job itself says what is wrong with a file
            self.total = total()

    def look(self) -> tuple[dict[str, int], float, float | None]:
        """Counts, seconds since the start, and seconds left."""
        elapsed = time.monotonic() - self._started
        now = live_counts().counts()
        counts = {name: value - self._before.get(name, 0) for name, value in now.items()}
        return counts, elapsed, seconds_left(counts, self.total, self._quota, elapsed)


def _show_lines(ended: threading.Event, watch: _Watch) -> None:
    while not ended.wait(_LINE_SECONDS):
        counts, elapsed, left = watch.look()
        print(line(counts, watch.total, left, elapsed), file=sys.stderr, flush=True)


def _show_bar(ended: threading.Event, watch: _Watch) -> None:
    with _bar() as bar:
        task = bar.add_task("accepted", total=None, rest="")
        while True:
            over = ended.wait(_BAR_SECONDS)
            counts, elapsed, left = watch.look()
            text = line(counts, watch.total, None if over else left, elapsed)
            done = counts.get("events_accepted", 0) + counts.get("records_failed", 0)
            bar.update(task, completed=done, total=watch.total, rest=text)
            if over:
                return


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns: list[Any] = [BarColumn(30), TaskProgressColumn(), TextColumn("{task.fields[rest]}")]
    # Logs and warnings go on above the bar.
    return Progress(*columns, console=Console(stderr=True), refresh_per_second=5)
