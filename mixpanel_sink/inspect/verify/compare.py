"""Compares both sides: by hashes first, and what is left event by event."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import polars as pl

from mixpanel_sink.inspect.verify.events import Event
from mixpanel_sink.inspect.verify.expected import Expectation
from mixpanel_sink.inspect.verify.findings import QUARTER, Days, Findings
from mixpanel_sink.inspect.verify.match import match
from mixpanel_sink.inspect.verify.rows import Marked
from mixpanel_sink.inspect.verify.sides import Exported, Input
from mixpanel_sink.inspect.verify.spill import Spill


def compare(
    wanted: Input,
    actual: Exported,
    expectation: Expectation,
    folder: str,
    findings: Findings,
    days: Days,
) -> None:
    """Enters into the findings what became of each event.

    Args:
        wanted, actual: both sides.
        expectation: of the input.
        folder: for what memory may not hold.
        findings: of this comparison.
        days: of the project.
    """
    names = wanted.names.texts()
    ours, theirs = Marked(), Marked()
    for part in range(wanted.rows.parts):
        expected, found = wanted.rows.read(part), actual.rows.read(part)
        same = _same(expected, found)
        equal = same.group_by("name", pl.col("time") // QUARTER).len()
        for name, quarter, count in equal.iter_rows():
            findings.equal(names[name], quarter * QUARTER, count)
        for rows, marked in ((expected, ours), (found, theirs)):
            if len(rows) == len(same):
                continue
            others = ~pl.Series(rows["id"]).is_in(same["id"].implode())
            marked.mark(rows[others.to_numpy()])
    expected_lines = Spill(_subfolder(folder, "expected"), max(len(ours), len(theirs)))
    actual_lines = Spill(_subfolder(folder, "found"), max(len(ours), len(theirs)))
    _keep(expected_lines, _expected(wanted, ours, expectation))
    _keep(
        actual_lines,
        (event for block, rows in theirs.items() for event in actual.events(block, rows)),
    )
    for part in range(actual_lines.parts):
        for finding in match(expected_lines.lines(part), actual_lines.lines(part), days.zone):
            findings.add(finding)


def _same(expected: Any, found: Any) -> pl.DataFrame:
    """Events that are one on the one side, and the same on the other, in each copy."""
    columns = ("id", "content", "time", "name")
    ours = pl.DataFrame({name: expected[name] for name in columns})
    theirs = pl.DataFrame({name: found[name] for name in columns[:2]})
    single = ours.filter(pl.col("content") != 0, ~pl.col("id").is_duplicated())
    copies = theirs.group_by("id").agg(
        pl.col("content").min().alias("least"), pl.col("content").max().alias("most")
    )
    both = single.join(copies, on="id")
    return both.filter(pl.col("content") == pl.col("least"), pl.col("content") == pl.col("most"))


def _expected(wanted: Input, marked: Marked, expectation: Expectation) -> Iterator[Event]:
    for block, rows in marked.items():
        for event in expectation.each(wanted.blocks.read(block), rows):
            assert isinstance(event, Event)
            yield event


def _keep(spill: Spill, events: Iterator[Event]) -> None:
    for event in events:
        # Events of others may have no id; they must not all be in one part.
        spill.add(event.insert_id or event.distinct_id, event.to_line())


def _subfolder(parent: str, name: str) -> pathlib.Path:
    folder = pathlib.Path(parent, name)
    folder.mkdir()
    return folder
