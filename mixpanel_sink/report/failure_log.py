"""Failures are never silent: a worker's log names the first one of each reason, then sums up."""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from mixpanel_sink.process import FAILURES
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.results.shown import NOT_JSON

_LOGGER = logging.getLogger(__name__)
_LONGEST = 400
"""Characters of a message in the log."""
_MOST_COLUMNS = 12


class FailureLog:
    """Logs a WARNING for the first failure of each reason, and then at most every `seconds`.

    Thread-safe. The lines hold no values of a record, only its columns and their types; the message
    is that of the failed record, which holds nothing that a `Privacy` hides.

    Args:
        seconds: between two summaries.
        clock: seconds that only grow.
    """

    def __init__(self, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._run = ""
        self._counts: collections.Counter[str] = collections.Counter()
        self._logged_at = clock()

    def begin(self, run: str) -> None:
        """A write starts to work in this process; its failures are counted from here on."""
        with self._lock:
            if run != self._run:
                self._run = run
                self._counts.clear()

    def add(self, failed: FailedRecord) -> None:
        """Counts one more failed record, and logs if it is time."""
        with self._lock:
            self._counts[failed.reason] += 1
            first = self._counts[failed.reason] == 1
            now = self._clock()
            if not first and now - self._logged_at < self._seconds:
                return
            self._logged_at = now
            text = _first(failed) if first and len(self._counts) == self._counts.total() else None
            counts = self._counts.most_common()
        _LOGGER.warning("%s", text or _summary(counts, failed))


def example(failed: FailedRecord) -> str:
    """What a log may say of a failed record.

    >>> example(FailedRecord("time_null", "time (at) is null.", "at", record_json='{"at": null}'))
    'time_null, field at: time (at) is null. Its columns: at (null).'
    """
    field = "" if failed.field is None else f", field {failed.field}"
    place = ""
    if failed.file is not None:
        place = f" ({failed.file}" + ("" if failed.row is None else f", row {failed.row}") + ")"
    return f"{failed.reason}{field}{place}: {failed.message[:_LONGEST]}{_columns(failed)}"


def _first(failed: FailedRecord) -> str:
    return f"A record failed: {example(failed)} More like it are summed up once a minute."


def _summary(counts: list[tuple[str, int]], failed: FailedRecord) -> str:
    each = ", ".join(f"{reason}: {number:,}" for reason, number in counts)
    total = sum(number for _, number in counts)
    return (
        f"{total:,} records failed on this worker so far ({each}). For example, {example(failed)}"
    )


def _columns(failed: FailedRecord) -> str:
    """Names and types, without values."""
    try:
        record: Any = failed.record if failed.record_json is not None else failed.event
    except (ValueError, RecursionError):
        return ""
    if isinstance(record, dict) and isinstance(record.get("properties"), dict):
        record = record["properties"]
    if not isinstance(record, dict) or not record:
        return ""
    named = [f"{name} ({_type(value)})" for name, value in list(record.items())[:_MOST_COLUMNS]]
    more = ", ..." if len(record) > _MOST_COLUMNS else ""
    return f" Its columns: {', '.join(named)}{more}."


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"text of {len(value)}"
    if isinstance(value, dict) and NOT_JSON in value:
        return str(value[NOT_JSON]).replace("_", " ")
    return {bool: "true or false", dict: "object", list: "list"}.get(type(value), "number")


def failure_log() -> FailureLog:
    """This process's log of failures."""
    return FAILURES.get(None, FailureLog)
