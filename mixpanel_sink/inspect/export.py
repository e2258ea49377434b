"""Writes a project's raw export to files: JSON lines, or Parquet.

Each file holds the events of some days, and is there whole or not at all.
"""

from __future__ import annotations

import dataclasses
import datetime
import gzip
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_sink.errors import SettingError, writing
from mixpanel_sink.read.raw_export import QUERIES, Exporter, spans

Format = Literal["jsonl", "parquet"]
_ROWS = 50_000
SCHEMA = pa.schema(
    [
        ("event", pa.string()),
        ("time", pa.timestamp("ms", "UTC")),
        ("distinct_id", pa.string()),
        ("insert_id", pa.string()),
        ("properties", pa.string()),
    ]
)
"""Columns of the Parquet files. `properties` is the JSON object of all other properties."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: paths, in the order of their days.
        events: in all of them; the raw export is not deduplicated.
    """

    files: tuple[str, ...]
    events: int


def export_events(
    exporter: Exporter,
    first: datetime.date,
    last: datetime.date,
    prefix: str,
    *,
    events: Sequence[str] | None = None,
    format: Format = "jsonl",
    progress: Callable[[str, int], None] = lambda path, events: None,
) -> Exported:
    """Exports some days, both included, within the export's quota.

    Args:
        exporter: of the project.
        first, last: days, as the project counts them.
        prefix: of the files' paths; the days are added, as `-2024-05-01.jsonl.gz`.
        events: names; None for all.
        format: of the files. JSON lines are raw events, which an import takes without a mapping.
        progress: is told each file that is complete, and its number of events.

    Raises:
        SettingError: for days in the wrong order, or a file that is there already.
        DestinationError, OutputError: if the export fails, or a file cannot be written; complete
            files stay.
    """
    if last < first:
        raise SettingError(f"The last day, {last}, is before the first, {first}.")
    write = _write_parquet if format == "parquet" else _write_lines
    suffix = ".parquet" if format == "parquet" else ".jsonl.gz"
    planned = [
        (start, end, pathlib.Path(f"{prefix}-{_days(start, end)}{suffix}"))
        for start, end in spans(first, last, QUERIES)
    ]
    for _, _, path in planned:
        if path.exists():
            raise SettingError(f"{path} already exists. Give another prefix, or remove it.")
    total = 0
    for start, end, path in planned:
        with writing(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        written = 0

        def take(given: Iterator[dict[str, Any]], partial: pathlib.Path = partial) -> None:
            nonlocal written
            wanted = (e for e in given if events is None or e["event"] in events)
            written = write(partial, wanted)

        try:
            with writing(str(path)):
                exporter.read(start, end, events, take)
                os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        total += written
        progress(str(path), written)
    return Exported(tuple(str(path) for _, _, path in planned), total)


def _days(start: datetime.date, end: datetime.date) -> str:
    return str(start) if start == end else f"{start}-to-{end}"


def _write_lines(path: pathlib.Path, events: Iterator[dict[str, Any]]) -> int:
    count = 0
    with gzip.open(path, "wb", 6) as file:
        for event in events:
            file.write(orjson.dumps(event) + b"\n")
            count += 1
    return count


def _write_parquet(path: pathlib.Path, events: Iterator[dict[str, Any]]) -> int:
    count = 0
    rows: list[tuple[Any, ...]] = []
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for event in events:
            rows.append(_row(event))
            count += 1
            if len(rows) >= _ROWS:
                writer.write_table(_table(rows))
                rows = []
        if rows:
            writer.write_table(_table(rows))
    return count


def _row(event: dict[str, Any]) -> tuple[Any, ...]:
    rest = dict(event["properties"])
    known = [rest.pop(name, None) for name in ("time", "distinct_id", "$insert_id")]
    ids = [None if value is None else str(value) for value in known[1:]]
    return event["event"], known[0], *ids, orjson.dumps(rest).decode()


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
