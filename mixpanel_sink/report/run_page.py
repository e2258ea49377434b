"""run.html: a run's report as one page, without anything from elsewhere."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from mixpanel_sink import codes
from mixpanel_sink.report.chart import Chart, over_time
from mixpanel_sink.report.noted import NOTED
from mixpanel_sink.report.page_parts import bars, size, span, template
from mixpanel_sink.report.requests_summary import LATENCIES_MS
from mixpanel_sink.version import __version__

if TYPE_CHECKING:
    from mixpanel_sink.report.run_report import RunReport

_FILES = 50
_NAMES = 20
_DAYS = 45
"""So many days have a line each; more are summed up by month."""


def page(report: RunReport) -> str:
    """The page as HTML."""
    return template("run_page.html").render(
        title=report.title,
        when=_when(report),
        good=report.balanced and report.count("events_accepted") > 0,
        sentence=_sentence(report),
        tiles=_tiles(report),
        chart=_chart(report),
        next_steps=report.next_steps,
        failures=[_failure(each) for each in report.failures],
        failed_output=report.failed_output if report.failures else None,
        files=[(path, size(count)) for path, count in report.files[:_FILES]],
        files_left=max(0, len(report.files) - _FILES),
        settings=[
            (f"--{name.replace('_', '-')}", value) for name, value in report.settings.items()
        ],
        quota=report.quota,
        version=__version__,
        latency=bars(list(zip(_latencies(), report.requests.latency, strict=True))),
        fill=bars([(f"{5 * n + 5} %", count) for n, count in enumerate(report.requests.fill)]),
        counters=[(name, f"{value:,}") for name, value in sorted(report.counters.items())],
        **_names_and_days(report),
    )


def _when(report: RunReport) -> str:
    started = datetime.datetime.fromtimestamp(report.started, datetime.timezone.utc)
    return f"Started {started:%Y-%m-%d %H:%M:%S} UTC, took {span(report.seconds)}."


def _sentence(report: RunReport) -> str:
    read, accepted = report.count("records_read"), report.count("events_accepted")
    said = f"{read:,} read = {accepted:,} accepted + {report.count('records_failed'):,} failed."
    if not report.balanced:
        said = said.replace(" = ", " is not ")
        return f"The accounting does not balance; do not trust this run: {said}"
    if read and not accepted:
        return f"Nothing was accepted: {said}"
    return f"Every record read is accounted for: {said}"


def _tiles(report: RunReport) -> list[tuple[str, str]]:
    accepted = report.count("events_accepted")
    tiles = [
        ("read", f"{report.count('records_read'):,}"),
        ("accepted", f"{accepted:,}"),
        ("failed", f"{report.count('records_failed'):,}"),
        ("requests", f"{report.count('requests'):,}"),
        ("retries", f"{report.count('retries'):,}"),
        ("sent", size(report.count("sent_bytes"))),
        ("time", span(report.seconds)),
        ("held back by the quota", span(report.count("cumulativeThrottlingSeconds"))),
        ("accepted a second", f"{accepted / max(report.seconds, 1e-9):,.0f}"),
    ]
    if known := report.count("events_known"):
        tiles.insert(2, ("known to the checkpoint", f"{known:,}"))
    if before := report.count("records_imported_before"):
        tiles.insert(1, ("imported before, by --since", f"{before:,}"))
    tiles += [
        (name, f"{report.counters[key]:,}")
        for key, (name, _) in NOTED.items()
        if report.counters.get(key)
    ]
    return tiles


def _chart(report: RunReport) -> Chart | None:
    requests = report.requests
    accepted = [
        (max(0.0, (point + 1) * requests.width - report.started), count)
        for point, (_, count) in sorted(requests.points.items())
    ]
    return over_time(accepted, report.seconds, report.quota, report.batch_events)


def _failure(failure: Any) -> dict[str, Any]:
    code = codes.of_reason(failure["reason"])
    place = failure.get("file") or ""
    if place and failure.get("row") is not None:
        place += f", row {failure['row']:,}"
    count = failure["count"]
    return {
        "reason": failure["reason"],
        "code": code.code if code else "",
        "count": f"{count:,} record{'' if count == 1 else 's'}",
        "message": failure["message"],
        "place": place,
    }


def _names_and_days(report: RunReport) -> dict[str, Any]:
    names: dict[str, int] = {}
    days: dict[str, int] = {}
    for (name, day), count in report.accepted.items():
        names[name] = names.get(name, 0) + count
        days[day] = days.get(day, 0) + count
    by_month = len(days) > _DAYS
    if by_month:
        months: dict[str, int] = {}
        for day, count in days.items():
            months[day[:7]] = months.get(day[:7], 0) + count
        days = months
    most = sorted(names.items(), key=lambda each: (-each[1], each[0]))
    rest = most[_NAMES:]
    if rest:
        most = [*most[:_NAMES], (f"{len(rest):,} other names", sum(count for _, count in rest))]
    return {
        "names": bars(most),
        "names_said": f"{len(names):,} name{'' if len(names) == 1 else 's'}",
        "days": bars(sorted(days.items())),
        "days_said": "By month of the event" if by_month else "By day of the event",
    }


def _latencies() -> list[str]:
    bounds = [f"up to {ms} ms" if ms < 1000 else f"up to {ms // 1000} s" for ms in LATENCIES_MS]
    return [*bounds, "more"]
