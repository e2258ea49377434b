"""What each format costs beside Parquet, in CPU time: reading alone, and a whole import.

    python -m benchmarks.formats --events 200000 --turns 3

The files hold the same orders and are made once. All take turns, and the median counts. An import
is `mixpanel-sink import` against the counting server; what an import of a file of 100 events costs
is taken off, so that the start does not count.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fastavro
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq

from benchmarks import data, paths, report, runs
from benchmarks.serving import Server
from mixpanel_sink.read import source
from mixpanel_sink.read.file_source import as_source
from mixpanel_sink.read.records import RecordFormat
from mixpanel_sink.settings.mapping import EventMapping

FEW = 100
"""Events of the import that shows what the start costs."""
_VERSION = 1
_TYPES = {"price": "number", "discount": "number", "returning": "boolean"}
_TYPES |= dict.fromkeys(("occurred_at", "quantity", "session"), "integer")
MAPPING = "event: event_name\ndistinct_id: user_id\ntime: {column: occurred_at, unit: ms}\n"
CSV = f"source: {{format: csv, types: {json.dumps(_TYPES)}}}\n"
_FIRST_KEYS = ("event_name", "user_id", "occurred_at", "order_id")
"""Which no line lacks."""


def plain(events: int) -> pa.Table:
    """The orders, with times as text, which all formats have."""
    table = pa.concat_tables(data.tables(events))
    texts = pa.compute.strftime(table["updated_at"].cast(pa.timestamp("s")), "%Y-%m-%dT%H:%M:%S")
    return table.set_column(table.schema.get_field_index("updated_at"), "updated_at", texts)


def gaps(events: int) -> pa.Table:
    """The same, with a quarter of the values of each property missing."""
    frame = pl.DataFrame(plain(events)).with_row_index("row")
    columns = [name for name in frame.columns if name not in ("row", *_FIRST_KEYS)]
    return frame.select(
        *_FIRST_KEYS,
        *(
            pl.when(pl.col("row").add(place).mul(7919) % 4 != 0).then(name).alias(name)
            for place, name in enumerate(columns)
        ),
    ).to_arrow(compat_level=pl.CompatLevel.oldest())


def nested(events: int) -> pa.Table:
    """The same with a list and an object in each."""
    tags = [["new", "sale"], ["gift"], [], ["b2b", "new", "late"]]
    table = plain(events).append_column("tags", pa.array([tags[n % 4] for n in range(events)]))
    pages = [{"url": f"/p/{n}", "length": n * 3, "parts": [n, n + 1]} for n in range(50)]
    return table.append_column("page", pa.array([pages[n % 50] for n in range(events)]))


def write_parquet(table: pa.Table, path: Path) -> None:
    """Row groups as the other benchmarks have them."""
    pq.write_table(table, path, compression="zstd", row_group_size=data.GROUP_ROWS)


def write_lines(table: pa.Table, path: Path) -> None:
    """An object a line; a null is a key that is missing."""
    with path.open("wb") as out:
        for batch in table.to_batches(10_000):
            for record in batch.to_pylist():
                kept = {name: value for name, value in record.items() if value is not None}
                out.write(orjson.dumps(kept) + b"\n")


def write_csv(table: pa.Table, path: Path) -> None:
    """Texts in quotes only where they must be."""
    pl.DataFrame(table).write_csv(path)


def write_avro(table: pa.Table, path: Path) -> None:
    """Without compression."""
    kinds = {pa.string(): "string", pa.float64(): "double", pa.int32(): "int", pa.int64(): "long"}
    kinds[pa.bool_()] = "boolean"
    fields = [{"name": field.name, "type": kinds[field.type]} for field in table.schema]
    schema = {"type": "record", "name": "order", "fields": fields}
    with path.open("wb") as out:
        fastavro.writer(out, schema, table.to_pylist())


def write_orc(table: pa.Table, path: Path) -> None:
    """With Arrow's defaults."""
    pyarrow.orc.write_table(table, path)


def write_arrow(table: pa.Table, path: Path) -> None:
    """A Feather file with LZ4, its default."""
    pyarrow.feather.write_feather(table, path)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A file that is read.

    Attributes:
        title: in the table.
        make: the records.
        write: writes them.
        suffix: of the file.
        mapping: with which it is read.
        by_row: whether the careful reader is asked, which others leave only bad blocks to.
    """

    title: str
    make: Callable[[int], pa.Table]
    write: Callable[[pa.Table, Path], None]
    suffix: str
    mapping: str = MAPPING
    by_row: bool = False

    def file(self, events: int) -> Path:
        """The file of so many events; made once."""
        name = f"formats-{self.make.__name__}-{events}-v{_VERSION}{self.suffix}"
        path = paths.CACHE / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f"part-{name}")
            self.write(self.make(events), unfinished)
            unfinished.rename(path)
        return path

    def mapping_file(self) -> Path:
        """The mapping as a file."""
        path = paths.CACHE / f"formats{self.suffix}.yaml"
        path.write_text(self.mapping)
        return path


PARQUET = Kind("Parquet", plain, write_parquet, ".parquet")
JSON_LINES = Kind("JSON lines", plain, write_lines, ".jsonl")
CSV_ROWS = Kind("CSV", plain, write_csv, ".csv", CSV + MAPPING)
READ = (
    PARQUET,
    Kind("Arrow (Feather)", plain, write_arrow, ".arrow"),
    Kind("ORC", plain, write_orc, ".orc"),
    CSV_ROWS,
    JSON_LINES,
    Kind("JSON lines with missing keys", gaps, write_lines, ".jsonl"),
    Kind("JSON lines with lists and objects", nested, write_lines, ".jsonl"),
    Kind("Avro", plain, write_avro, ".avro"),
    dataclasses.replace(CSV_ROWS, title="CSV, row by row", by_row=True),
    dataclasses.replace(JSON_LINES, title="JSON lines, line by line", by_row=True),
)
"""What is read alone."""
IMPORTED = (
    (PARQUET, (CSV_ROWS, JSON_LINES)),
    (Kind("Parquet with nulls", gaps, write_parquet, ".parquet"), (READ[5],)),
    (Kind("Parquet with lists and objects", nested, write_parquet, ".parquet"), (READ[6],)),
)
"""What is imported: Parquet, and the same events in other formats."""


def read(kind: Kind, events: int) -> tuple[int, float]:
    """Reads a file in this process; gives its rows, and the CPU seconds that it took."""
    _rows_read(kind, FEW)  # what is imported and set up once does not count
    begun = time.process_time()
    rows = _rows_read(kind, events)
    return rows, time.process_time() - begun


def _rows_read(kind: Kind, events: int) -> int:
    mapping = EventMapping.from_yaml(kind.mapping)
    columns = source.columns_needed(mapping)
    path = str(kind.file(events))
    made = as_source([path], mapping)
    elements: Iterator[Any] = made.elements(columns)
    if kind.by_row:
        assert isinstance(made.format, RecordFormat)
        (unit,) = made.format.units(path)
        elements = RecordFormat.elements(made.format, unit, columns)
    return sum(map(source.rows_in, elements))


def read_apart(kind: Kind, events: int) -> float:
    """CPU seconds of reading in a process of its own."""
    module = [sys.executable, "-m", "benchmarks.formats", "--events", str(events)]
    command = [*module, "--read", str(READ.index(kind))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=paths.REPOSITORY)
    rows, seconds = json.loads(done.stdout)
    if rows != events:
        raise SystemExit(f"{kind.title}: {rows:,} of {events:,} rows were read")
    return float(seconds)


def imported(kind: Kind, events: int, server: Server) -> float:
    """CPU seconds of a whole import."""
    command = [sys.executable, "-m", "mixpanel_sink.cli", "import", str(kind.file(events))]
    command += ["--mapping", str(kind.mapping_file()), "--endpoint", server.url, "--quota", "none"]
    command += ["--api-secret", "env:FORMATS_SECRET"]
    run = runs.run(command, events, server, {"FORMATS_SECRET": "no-secret"})
    if run.failure:
        raise SystemExit(f"{kind.title}: {run.failure}")
    return run.cost.cpu


def reading(events: int, turns: int) -> str:
    """The table of rates."""
    found: list[list[float]] = [[] for _ in READ]
    for _ in range(turns):
        for each, kind in zip(found, READ, strict=True):
            each.append(read_apart(kind, events))
    medians = list(map(statistics.median, found))
    rows = []
    for kind, seconds in zip(READ, medians, strict=True):
        size = kind.file(events).stat().st_size / 1e6
        cells = [f"{events / seconds:,.0f}", f"{size / seconds:,.0f}"]
        cells += [f"{seconds / events * 1e6:.2f}", f"{seconds / medians[0]:.1f}"]
        rows.append([kind.title, *cells])
    head = ("reading alone", "rows a CPU-second", "MB a CPU-second", "us of CPU a row", "x Parquet")
    return report.table(head, rows)


def beyond_start(events: int, turns: int) -> dict[str, float]:
    """CPU seconds of an import beyond its start, by format: of Parquet, JSON lines and CSV."""
    kinds = (PARQUET, JSON_LINES, CSV_ROWS)
    found: dict[str, list[float]] = {kind.title: [] for kind in kinds}
    with Server() as server:
        for kind in kinds * turns:
            kind.mapping_file()
            seconds = imported(kind, events, server) - imported(kind, FEW, server)
            found[kind.title].append(seconds)
    return {title: statistics.median(each) for title, each in found.items()}


def importing(events: int, turns: int) -> str:
    """The table of whole imports."""
    kinds = [kind for parquet, others in IMPORTED for kind in (parquet, *others)]
    found: dict[str, list[float]] = {kind.title: [] for kind in kinds}
    with Server() as server:
        for _ in range(turns):
            for kind in kinds:
                seconds = imported(kind, events, server) - imported(kind, FEW, server)
                found[kind.title].append(seconds)
    rows = []
    for parquet, others in IMPORTED:
        for kind in (parquet, *others):
            seconds = statistics.median(found[kind.title])
            of_parquet = statistics.median(found[parquet.title])
            cells = [f"{seconds / events * 1e6:.2f}", f"{seconds / of_parquet:.1f}"]
            rows.append([kind.title, *cells])
    head = ("a whole import beyond its start", "us of CPU an event", "x Parquet")
    return report.table(head, rows)


def prepare(counts: Sequence[int]) -> None:
    """Makes the files and mappings."""
    for kind in {*READ, *(kind for parquet, others in IMPORTED for kind in (parquet, *others))}:
        for count in counts:
            kind.file(count)
        kind.mapping_file()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.formats", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", choices=("reading", "imports"), help="one of the tables")
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read is not None:
        kind = READ[options.read]
        print(json.dumps(read(kind, options.events)))
        return 0
    prepare((options.events, FEW))
    if options.only != "imports":
        print(reading(options.events, options.turns), flush=True)
    if options.only != "reading":
        print(importing(options.events, options.turns))
    return 0


if __name__ == "__main__":
    sys.exit(main())
