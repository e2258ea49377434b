"""The outcome of a run: exit codes, the printed accounting, and how to continue after a failure."""

from __future__ import annotations

import functools
import sys
from collections.abc import Collection, Mapping, Sequence

from mixpanel_sink.configured import endpoint_of
from mixpanel_sink.jobs.console import say_error, styled
from mixpanel_sink.jobs.watch import Standing
from mixpanel_sink.report.noted import NOTED
from mixpanel_sink.report.page_parts import plural
from mixpanel_sink.report.summaries import describe
from mixpanel_sink.results import FailureSummary, Totals
from mixpanel_sink.settings.options import Settings

EXIT_OK, EXIT_FAILED, EXIT_SETTING = 0, 1, 2

_UNREAD = {"files_unreadable": "files not readable", "lines_unreadable": "lines not readable"}
"""Counters of input that was not read: such a run must not look complete."""


def exit_code(counters: Mapping[str, int], balanced: bool, refused: Collection[str]) -> int:
    """The exit code of a run that ended by itself."""
    if not balanced or refused or any(counters.get(name) for name in _UNREAD):
        return EXIT_FAILED
    held = counters.get("events_accepted") or counters.get("profiles_unchanged")
    if counters.get("records_failed") and not held:
        said = "no record was accepted; the failures above say why."
        say_error(said, "FailedRecordError")
        return EXIT_FAILED
    return EXIT_OK


def counted(accounts: Sequence[tuple[str, Totals]]) -> dict[str, int]:
    """The counters that `CheckAccounting` knows better, since it counts elements: of a counter that
    two bundles bring up at the same time, Prism drops one bundle's count."""
    if not accounts:
        return {}
    total = functools.reduce(Totals.plus, (totals for _, totals in accounts))
    return {
        "records_read": total.read,
        "events_accepted": total.accepted,
        "records_failed": total.failed,
    }


def so_far(settings: Settings, now: Standing) -> str:
    """What a job that failed has done, as far as this process knows, and how to go on."""
    if not now.known:
        said = "What its workers have sent is in their logs."
    elif now.requests:
        requests = plural(now.requests, "request")
        said = f"Mixpanel has accepted {now.accepted:,} so far, in {requests}."
    else:
        said = "Nothing was accepted so far."
    if now.in_flight:
        said += f" {plural(now.in_flight, 'request')} had not been answered yet."
    return f"{said} {_once_more(settings)}"


def _once_more(settings: Settings) -> str:
    """How to continue, and what that costs."""
    again = "To go on, run the same command again; "
    if settings.checkpoint:
        return f"{again}batches that were accepted are not sent again."
    if endpoint_of(settings).repeats_safely:
        return f"{again}what was accepted is not doubled. (--checkpoint saves sending it again.)"
    return (
        "Run again, it would send every update once more: those that add, append or remove would "
        "count twice. With --checkpoint it would not."
    )


def print_accounting(
    counters: Mapping[str, int],
    failed_output: str | None,
    failures: Sequence[FailureSummary] = (),
) -> bool:
    """Prints a run's accounting, and returns whether it balances."""
    read = counters.get("records_read", 0)
    accepted = counters.get("events_accepted", 0)
    failed = counters.get("records_failed", 0)
    balanced = read == accepted + failed
    print("\n" + styled("Accounting", "bold", sys.stdout))
    for name, value in _lines(counters):
        number, _, remark = value.partition("  ")
        print(f"  {name:<24}{number:>12}  {remark}".rstrip())
    sign = "=" if balanced else "is not"
    total = f"  {_count(read)} read {sign} {_count(accepted)} accepted + {_count(failed)} failed"
    print(styled(total, "green" if balanced and accepted else "red", sys.stdout))
    for line in describe(failures):
        print(line)
    if failed and failed_output:
        print(f"  Failed records: {failed_output}*.jsonl")
    elif failed:
        print("  Failed records were not kept; --failed-output PREFIX writes them.")
    if not balanced:
        said = "the records read and those accounted for differ; do not trust this run."
        say_error(said, "AccountingError")
    return balanced


def _lines(counters: Mapping[str, int]) -> list[tuple[str, str]]:
    known = counters.get("events_known", 0)
    lines = [
        ("files", _count(counters.get("files_read", 0))),
        ("records read", _count(counters.get("records_read", 0))),
        ("events accepted", _count(counters.get("events_accepted", 0))),
        *([("  known to checkpoint", _count(known))] if known else []),
        ("records failed", _count(counters.get("records_failed", 0))),
    ]
    if unchanged := counters.get("profiles_unchanged", 0):
        lines.append(("profiles unchanged", f"{_count(unchanged)}  (not sent; not counted above)"))
    by_reason = {
        name.removeprefix("failed_"): value
        for name, value in counters.items()
        if name.startswith("failed_") and value
    }
    lines += [(f"  {reason}", _count(n)) for reason, n in sorted(by_reason.items())]
    lines += _left_out(counters)
    for name, words in {**_UNREAD, "lines_skipped": "lines skipped"}.items():
        if count := counters.get(name, 0):
            lines.append((words, _count(count)))
    statuses = ", ".join(
        f"{name.removeprefix('requests_')}: {value}"
        for name, value in sorted(counters.items())
        if name.startswith("requests_") and value
    )
    requests = _count(counters.get("requests", 0))
    lines.append(("requests", requests + (f"  ({statuses})" if statuses else "")))
    if retries := counters.get("retries", 0):
        lines.append(("  retries", _count(retries)))
    if sent := counters.get("sent_bytes", 0):
        raw = counters.get("raw_bytes", 0)
        lines.append(("bytes sent", f"{_count(sent)}  ({_count(raw)} as JSON)"))
    lines.append(("seconds throttled", _count(counters.get("cumulativeThrottlingSeconds", 0))))
    for name, (words, remark) in NOTED.items():
        if count := counters.get(name, 0):
            lines.append((words, f"{_count(count)}  ({remark})"))
    return lines


def _left_out(counters: Mapping[str, int]) -> list[tuple[str, str]]:
    """Lines about what filters and conditions left out."""
    lines = []
    if count := counters.get("records_imported_before", 0):
        lines.append(("imported before", f"{_count(count)}  (up to the watermark of --since)"))
    if count := counters.get("records_left_out", 0):
        lines.append(("records left out", f"{_count(count)}  (by filters and conditions)"))
    if count := counters.get("files_skipped", 0):
        lines.append(("files skipped", f"{_count(count)}  (by their partitions: not opened)"))
    if count := counters.get("rows_skipped", 0):
        size = _count(counters.get("bytes_skipped", 0))
        lines.append(("rows skipped", f"{_count(count)}  (by statistics: {size} bytes not read)"))
    return lines


def print_projects(accounts: Sequence[tuple[str, Totals]], refused: Collection[str]) -> None:
    """Prints the accounting of each of several projects, and says which took nothing more."""
    if len(accounts) > 1:
        print("\nProjects")
    for name, totals in accounts if len(accounts) > 1 else ():
        print(
            f"  {name or '(of no known project)':<24} {_count(totals.read)} read = "
            f"{_count(totals.accepted)} accepted + {_count(totals.failed)} failed, "
            f"{plural(totals.requests, 'request')}{'  REFUSED' if name in refused else ''}"
        )
    if refused:
        said = (
            f"{', '.join(sorted(refused))} took nothing more: see project_refused above. "
            "The other projects have their records. Fix the cause, then replay the failed records."
        )
        say_error(said, "DestinationError")


def _count(number: int) -> str:
    return f"{number:,}"
