"""`--since` with files that are written again as a whole: an export that grows."""

from __future__ import annotations

import datetime
import json
import pathlib
import re
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from mixpanel_sink.cli import main as command
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs import import_files
from mixpanel_sink.process import forget
from tests.jobs.conftest import MAPPING
from tests.jobs.test_import_parquet import write

UTC = datetime.timezone.utc
START = datetime.datetime(2024, 5, 1, tzinfo=UTC)
COLUMNS = (
    "event: {constant: Order}\ndistinct_id: user\ntime: {column: at, unit: ms}\n"
    "insert_id: {columns: [n]}\n"
)


def orders(hours: Any) -> pa.Table:
    """A row for each hour, in which it was made."""
    hours = list(hours)
    at = [START + datetime.timedelta(hours=hour) for hour in hours]
    return pa.table(
        {
            "n": pa.array(hours, pa.int64()),
            "user": pa.array([f"u{h % 7}" for h in hours], pa.string()),
            "at": pa.array([1_714_521_600_000 + h for h in hours], pa.int64()),
            "updated_at": pa.array(at, pa.timestamp("us", "UTC")),
        }
    )


@pytest.fixture
def day(send: Any, tmp_path: pathlib.Path) -> Any:
    """Runs the import of the folder "in" with the checkpoint "cp"."""
    (tmp_path / "in").mkdir()

    def run(*more: str, **named: Any) -> Any:
        forget()
        named.setdefault("mapping", COLUMNS)
        source = f"{tmp_path}/in"
        return send(source, f"--checkpoint={tmp_path}/cp", "--since=updated_at", *more, **named)

    return run


def test_an_export_that_grows(day: Any, server: Emulator, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "in" / "orders.parquet"
    write(path, orders(range(5000)), row_group_size=700)
    run = day()
    assert "5,000 read = 5,000 accepted + 0 failed" in run.out, run.err
    assert server.stats()["requests"] == 3

    grown = orders([*range(5000), -9, 5001, 5002]).to_pydict()  # one is late
    grown["user"][5001] = None
    write(path, pa.table(grown, schema=orders([]).schema), row_group_size=900)
    run = day("--dry-run", "300")
    assert f"1 file changed after the import, read for what is new by updated_at: {path}" in run.out
    assert re.findall(r"^  (rows|events) +(\d+)$", run.out, re.M)[:2] == [
        ("rows", "4"), ("events", "3"),
    ]  # fmt: skip
    run = day()
    assert f"1 file changed after the import, read for what is new by updated_at: {path}" in run.out
    assert f"{path}: rows up to updated_at 2024-11-25 07:00:00.000000+00:00 were" in run.out
    # Two new rows, and those of the overlap, which are one or two hours.
    assert "4 read = 3 accepted + 1 failed" in run.out, run.err
    assert [each["row"] for each in run.failed] == [5001]
    assert (server.stats()["requests"], server.stats()["events_distinct"]) == (4, 5001)

    assert f"{path}: among the rows that were imported before, some are new, changed" in run.out
    assert f"1 file not complete; the next run goes on with {path}" in run.out
    run = day()
    assert f"{path} is read as a whole: there is no watermark that fits." in run.out
    assert "5,003 read = 5,002 accepted + 1 failed" in run.out, run.err
    assert server.stats()["events_distinct"] == 5002
    assert "Nothing is new" in day().out


def test_what_was_imported_before_counts_as_that(
    day: Any, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the summary, the report, and the status over all runs; not as left out by filters."""

    def status(*more: str) -> str:
        assert command(["status", f"{tmp_path}/cp", *more]) == 0
        return str(capsys.readouterr().out)

    path = tmp_path / "in" / "orders.parquet"
    first = orders(range(3000)).to_pydict()
    first["user"][7] = first["user"][8] = None
    schema = orders([]).schema
    write(path, pa.table(first, schema=schema), row_group_size=700)
    assert "3,000 read = 2,998 accepted + 2 failed" in day().out
    assert "by runs before" not in status()
    second = orders(range(3010)).to_pydict()
    second["user"][7] = second["user"][8] = second["user"][3005] = None
    write(path, pa.table(second, schema=schema), row_group_size=900)
    run = day(f"--report={tmp_path}/run.html")
    assert "12 read = 11 accepted + 1 failed" in run.out
    assert re.search(
        r"^  imported before +2,998  \(up to the watermark of --since\)$", run.out, re.M
    )
    assert "left out" not in run.out
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["counters"]["records_imported_before"] == 2998
    assert "records_left_out" not in report["counters"]
    assert "imported before, by --since" in (tmp_path / "run.html").read_text()
    said = status("--files")
    assert f"1 file imported, {path.stat().st_size:,} bytes: 3,010 records read, 3 failed" in said
    assert "2,998 of these records were imported by runs before the last one" in said
    assert f"{path}  3,010 read (2,998 before), 3 failed, " in said
    known = json.loads(status("--json"))
    assert [known[name] for name in ("read", "failed", "imported_before")] == [3010, 3, 2998]
    assert [each["read"] for each in known["runs"]] == [3000, 12]
    (mark,) = known["watermarks"].values()
    assert mark["mark"][3] == 3008, "a runner may hand on what was seen twice; it counts once"
    assert [each["failed"] for each in known["not_replayed"]] == [2, 1]
    status(f"--html={tmp_path}/all.html")
    assert "of them imported earlier, by --since" in (tmp_path / "all.html").read_text()
    moved = path.rename(path.with_name("moved.parquet"))
    assert f"1 file moved after the import, not sent again: {path} is {moved}" in day().out
    assert f"{moved}  3,010 read (2,998 before), 3 failed, " in status("--files")
    # Read as a whole once more, nothing is counted twice.
    write(moved, orders(range(3010)), row_group_size=800)
    assert "3,010 read = 3,010 accepted" in day("--on-changed=import").out
    assert "3,010 records read, 0 failed" in status()


def test_what_is_read_as_a_whole(day: Any, server: Emulator, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "in" / "orders.csv"

    def written(hours: Any, name: str = "orders") -> None:
        frame: Any = pl.from_arrow(orders(hours))
        text = pl.col("updated_at").dt.to_string("%Y-%m-%dT%H:%M:%SZ")
        frame.with_columns(text).write_csv(tmp_path / "in" / f"{name}.csv")

    def today(*more: str, **named: Any) -> str:
        run = day("--types=at=integer", *more, module=import_files, **named)
        return str(run.out + run.err)

    written(range(50))
    assert "50 read = 50 accepted" in today()
    written(range(51))
    said = today("--overlap=60")
    assert f"{path} is read as a whole: there is no watermark that fits" in said
    assert "51 read = 51 accepted" in said
    written(range(52))
    written(range(-20, 0), "old")  # another file: all of it is new
    assert "22 read = 22 accepted" in today("--overlap=60")
    written(range(53))
    assert "53 read = 53 accepted" in today("--overlap=60", "--on-changed=import")
    other = COLUMNS + "exclude: [n]\n"
    said = today("--overlap=60", "--on-mapping-changed=all", mapping=other)
    assert "73 read = 73 accepted" in said
    assert server.stats()["events_distinct"] == 73


@pytest.mark.parametrize(
    ("mapping", "more", "said"),
    [
        (MAPPING, (), "ids from position are other ones in a file that was written again"),
        (COLUMNS, ("--on-changed=skip",), "drop one of the two"),
        (COLUMNS, ("--since=nothing",), "--since nothing: the files have no such column"),
        (COLUMNS, ("--since=user",), "the column is of the type string; it must hold timestamps"),
        ("distinct_id: user\nadd: [n]\n", ("--endpoint-kind=engage",),
         "the mapping's add would be applied twice"),
    ],
    ids=["position", "skip", "missing", "type", "add"],
)  # fmt: skip
def test_what_cannot_be(
    day: Any, tmp_path: pathlib.Path, mapping: str, more: tuple[str, ...], said: str
) -> None:
    write(tmp_path / "in" / "orders.parquet", orders(range(3)))
    run = day(
        *more,
        "--project-token=env:TEST_API_SECRET"
        if "engage" in str(more)
        else "--api-secret=env:TEST_API_SECRET",
        mapping=mapping,
    )
    assert run.code == 2
    assert said in run.err
