"""Failures by reason, with an example of each: how they are added up and shown. No Beam here."""

from __future__ import annotations

from collections.abc import Iterable

from mixpanel_sink import codes
from mixpanel_sink.results import FailedRecord, FailureSummary

_LONGEST = 500
"""Characters of a message in a summary."""


def in_order(summaries: Iterable[FailureSummary]) -> list[FailureSummary]:
    """Summaries, the most frequent reason first."""
    return sorted(summaries, key=lambda each: (-each.count, each.reason))


def describe(failures: Iterable[FailureSummary]) -> list[str]:
    """Lines for people, led by an empty one; none if there are no failures."""
    lines = []
    for each in failures:
        code = codes.of_reason(each.reason)
        lines.append(f"  {code.code + ' ' if code else ''}{each.reason}  {each.count:,}")
        if each.place:
            lines.append(f"    {each.place}")
        lines.append(f"    {each.message}")
    return ["", "Failures, and an example of each", *lines] if lines else []


def summarize(
    summaries: dict[str, FailureSummary], failed: FailedRecord
) -> dict[str, FailureSummary]:
    """Adds one failure; returns the same dict."""
    message = failed.message[:_LONGEST]
    one = FailureSummary(failed.reason, 1, message, failed.file, failed.row)
    enter(summaries, one)
    return summaries


def enter(summaries: dict[str, FailureSummary], more: FailureSummary) -> None:
    """Adds the summary of one reason."""
    known = summaries.get(more.reason)
    if known is not None:
        # The same example whatever the order, so that two runs of a job say the same.
        more = min(known, more, key=_place)._replace(count=known.count + more.count)
    summaries[more.reason] = more


def _place(summary: FailureSummary) -> tuple[bool, str, int, str]:
    row = -1 if summary.row is None else summary.row
    return summary.file is None, summary.file or "", row, summary.message
