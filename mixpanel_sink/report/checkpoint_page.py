"""A page over all runs of a checkpoint, without anything from elsewhere."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mixpanel_sink.report.chart import Chart, over_time
from mixpanel_sink.report.page_parts import plural, size, span, template
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.version import __version__

_SHOWN = 100
"""Runs and days that have a line, the last ones."""


def checkpoint_page(status: Mapping[str, Any], made: float, watermarks: Mapping[str, str]) -> str:
    """The page.

    Args:
        status: as `mixpanel-sink status --json` has it.
        made: when, in seconds since 1970.
        watermarks: of tables, as text.
    """
    runs, days = status["runs"], status["days"]
    last: Mapping[str, Any] = runs[-1] if runs else {"incomplete": [], "incomplete_files": 0}
    return template("checkpoint_page.html").render(
        title=f"Imports of {status['checkpoint']}",
        when=f"As of {_clock(made)}.",
        good=not status["not_replayed"] and not last["incomplete_files"] and not status["unended"],
        sentence=_sentence(status, last),
        held=_held(status, runs),
        tiles=_tiles(status),
        next_steps=_next_steps(status, last),
        chart=_chart(runs),
        runs=_rows(reversed(runs[-_SHOWN:]), _run),
        runs_said=_said(len(runs), "run"),
        days=_rows(reversed(days[-_SHOWN:]), lambda day: (day["day"], "")),
        days_said=_said(len(days), "day") + ", by the time of the import (UTC)",
        not_replayed=[
            {**each, "count": plural(each["failed"], "record")} for each in status["not_replayed"]
        ],
        incomplete=last["incomplete"],
        incomplete_left=last["incomplete_files"] - len(last["incomplete"]),
        watermarks=sorted(watermarks.items()),
        version=__version__,
    )


def _sentence(status: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    failed = sum(each["failed"] for each in status["not_replayed"])
    found = []
    if status["unended"] and not status["held_by"]:
        found.append("the last run did not finish")
    if last["incomplete_files"]:
        found.append(f"{plural(last['incomplete_files'], 'file')} not complete")
    if failed:
        found.append(f"{plural(failed, 'failed record')} not replayed")
    if found:
        text = "; ".join(found)
        return f"{text[0].upper()}{text[1:]}."
    if status["unended"]:
        return "A run is in progress."
    return "Every file is complete, and no failed record is waiting to be replayed."


def _held(status: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    if (held := status["held_by"]) is not None:
        state = "it has died" if held["has_died"] else f"last renewed at {held['renewed']}"
        who = f"{held['who']} (process {held['process']})"
        return f"In use by {who} since {held['since']}; {state}."
    if not runs:
        return "No run has ended yet."
    return f"No run is using it. The last one ended at {_clock(_seconds(runs[-1]['ended']))}."


def _tiles(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    read, failed = _total(status["runs"], "read"), _total(status["runs"], "failed")
    before = status["imported_before"]
    return [
        ("files imported", f"{status['files']:,}"),
        ("size of these files", size(status["bytes"])),
        ("records in these files", f"{status['read']:,}"),
        *([("of them imported earlier, by --since", f"{before:,}")] if before else []),
        ("accepted", f"{status['read'] - status['failed']:,}"),
        ("failed", f"{status['failed']:,}"),
        ("runs", f"{len(status['runs']):,}"),
        ("read in all runs", f"{read:,}"),
        ("failed in all runs", f"{failed:,}"),
    ]


def _next_steps(status: Mapping[str, Any], last: Mapping[str, Any]) -> list[tuple[str, str]]:
    place = shlex.quote(status["checkpoint"])
    steps = []
    if last["incomplete_files"] or (status["unended"] and not status["held_by"]):
        steps.append(
            (
                "Run the same import again; it continues where the last run ended.",
                f"mixpanel-sink import ... --checkpoint {place}",
            )
        )
    files = [path for each in status["not_replayed"] for path in each["files"]]
    if files:
        steps.append(
            (
                "Fix the mapping or the records, then send the failed records again.",
                f"mixpanel-sink replay {shlex.join(files)} --mapping MAPPING --checkpoint {place}",
            )
        )
    return steps


def _chart(runs: Sequence[Mapping[str, Any]]) -> Chart | None:
    ended = [run for run in runs if run["ended"] is not None]
    if not ended:
        return None
    began = min(_seconds(run["started"]) for run in ended)
    points = sorted(
        (max(0.0, _seconds(run["ended"]) - began), run["read"] - run["failed"]) for run in ended
    )
    chart = over_time(points, points[-1][0], Quota.none(), 2000)
    if chart is None:
        return None
    total = sum(count for _, count in points)
    said = f"{total:,} accepted in {span(points[-1][0])} since {_clock(began)}"
    return dataclasses.replace(chart, said=f"{said}, by {plural(len(ended), 'run')}.")


def _rows(rows: Iterable[Mapping[str, Any]], named: Any) -> list[dict[str, str]]:
    found = list(rows)
    most = max((row["read"] - row["failed"] for row in found), default=0)
    made = []
    for row in found:
        name, note = named(row)
        accepted = row["read"] - row["failed"]
        made.append(
            {
                "name": name,
                "note": note,
                "percent": f"{100 * accepted / max(1, most):.1f}",
                "accepted": f"{accepted:,}",
                **{each: f"{row[each]:,}" for each in ("files", "read", "failed")},
            }
        )
    return made


def _run(run: Mapping[str, Any]) -> tuple[str, str]:
    note = f"{run['kind']} {run['run']}"
    took = 0.0 if run["ended"] is None else _seconds(run["ended"]) - _seconds(run["started"])
    if took > 0:  # not where a clock was set back meanwhile
        note += f", took {span(took)}"
    if run["incomplete_files"]:
        note += f", {plural(run['incomplete_files'], 'file')} not complete"
    return run["started"].replace("T", " ").removesuffix("Z"), note


def _said(count: int, what: str) -> str:
    said = plural(count, what)
    return said if count <= _SHOWN else f"{said}, of which the last {_SHOWN} are shown"


def _total(rows: Iterable[Mapping[str, Any]], name: str) -> int:
    return sum(row[name] for row in rows)


def _seconds(clock: str) -> float:
    return datetime.datetime.fromisoformat(clock).timestamp()


def _clock(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
