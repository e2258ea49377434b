"""One protocol for every format: what commands ask of an input, they may ask of each."""

from __future__ import annotations

import gzip
import json
import pathlib
import pickle
import re
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter
from pyarrow import feather, orc

from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.parquet import Parquet
from mixpanel_sink.read.registry import FORMATS, format_kind, format_name, make_format
from mixpanel_sink.read.source import Columns, Format, Source, Unit, rows_in, together
from mixpanel_sink.results import FailedRecord

ROWS = 2500
EVENTS = [{"name": "Order", "user": f"u{i}", "at": 1000 + i} for i in range(ROWS)]


def write(folder: pathlib.Path, name: str, events: list[dict[str, Any]]) -> str:
    """Events as a file of a format, unpacked."""
    table = pa.Table.from_pylist(events)
    path = folder / f"a.{name}"
    if name == "parquet":
        pq.write_table(table, path, row_group_size=400)
    elif name == "orc":
        orc.write_table(table, path, stripe_size=1024)
    elif name == "avro":
        fields = [
            {"name": key, "type": "long" if key.endswith("at") else "string"}
            for key in table.column_names
        ]
        schema = {"type": "record", "name": "R", "fields": fields}
        with path.open("wb") as file:
            fastavro.writer(file, schema, events)
    elif name == "arrow":
        feather.write_feather(table, str(path), chunksize=400)
    elif name == "excel":
        path = folder / "a.xlsx"
        with xlsxwriter.Workbook(str(path), {"in_memory": True}) as book:
            sheet = book.add_worksheet()
            for number, row in enumerate([table.column_names, *(e.values() for e in events)]):
                sheet.write_row(number, 0, row)
    elif name == "jsonl":
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
    else:
        mark = "\t" if name == "tsv" else ","
        rows = [table.column_names, *([str(v) for v in event.values()] for event in events)]
        path.write_text("".join(mark.join(row) + "\n" for row in rows))
    return str(path)


def packed(path: str) -> str:
    pathlib.Path(path + ".gz").write_bytes(gzip.compress(pathlib.Path(path).read_bytes()))
    return path + ".gz"


def read(source: FileSource, columns: Columns = Columns()) -> list[tuple[int, str, Any]]:  # noqa: B008
    """Row, file and user of every record."""
    found = []
    for element in source.elements(columns):
        if isinstance(element, RecordBlock):
            origin, records = element.origin, element.records
        else:
            assert isinstance(element, pa.Table)
            origin, records = TableOrigin.of(element), element.to_pylist()
        assert origin is not None
        for number, record in enumerate(records):
            place = origin.source(number)
            found.append((place.row, place.file, record.get("user")))
    return found


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("pack", [False, True], ids=["plain", "gzip"])
class TestEveryFormat:
    def source(self, folder: pathlib.Path, name: str, pack: bool) -> FileSource:
        path = write(folder, name, EVENTS)
        return FileSource(packed(path) if pack else path)

    def test_it_is_a_source_and_a_format(self, tmp_path, name, pack) -> None:
        source = self.source(tmp_path, name, pack)
        assert isinstance(source, Source)
        assert isinstance(source.format, Format)
        assert type(source.format) is format_kind(name)
        assert pickle.loads(pickle.dumps(source.format)) == source.format

    def test_schema_and_sample(self, tmp_path, name, pack) -> None:
        source = self.source(tmp_path, name, pack)
        assert source.schema().names == ["name", "user", "at"]
        sample = source.sample(7)
        assert sample.num_rows == 7
        assert sample.column("user").to_pylist() == [f"u{i}" for i in range(7)]

    def test_all_rows_with_file_and_row(self, tmp_path, name, pack) -> None:
        source = self.source(tmp_path, name, pack)
        path = source.files[0].path
        assert read(source) == [(i, path, f"u{i}") for i in range(ROWS)]

    def test_how_many_rows(self, tmp_path, name, pack) -> None:
        source = self.source(tmp_path, name, pack)
        known = source.row_count()
        # Arrow's batches say their rows only where they are.
        assert known == (ROWS if source.format.states_types and name != "arrow" else None)
        assert source.estimated_rows() == pytest.approx(ROWS, rel=0.35)

    def test_a_sample_is_of_the_size_that_was_asked_for(self, tmp_path, name, pack) -> None:
        source = self.source(tmp_path, name, pack)
        assert sum(map(rows_in, source.spread(33))) == 33

    def test_an_empty_file(self, tmp_path, name, pack) -> None:
        suffix = "xlsx" if name == "excel" else name
        path = tmp_path / f"a.{suffix}{'.gz' if pack else ''}"
        path.write_bytes(gzip.compress(b"") if pack else b"")
        source = FileSource(str(path))
        if name == "jsonl":
            assert source.schema().names == []
            assert list(source.elements()) == []
            return
        with pytest.raises(InputError, match=re.escape(str(path))):
            source.schema()

    def test_a_file_that_breaks_off(self, tmp_path, name, pack) -> None:
        if not pack and name in ("csv", "tsv", "jsonl"):
            pytest.skip("a text that ends early is a shorter text")
        path = pathlib.Path(self.source(tmp_path, name, pack).files[0].path)
        path.write_bytes(path.read_bytes()[:-9])
        elements = list(FileSource(str(path)).elements())
        failed = [element for element in elements if isinstance(element, FailedRecord)]
        assert [each.reason for each in failed] == ["file_unreadable"]
        assert str(path) in failed[0].message


@pytest.mark.parametrize("name", ["parquet", "orc"])
def test_columns_that_are_not_needed_are_not_read(tmp_path, name: str) -> None:
    source = FileSource(write(tmp_path, name, EVENTS))
    for columns in (Columns(("user",)), Columns(None, frozenset(["name", "at"]))):
        (first, *_) = source.elements(columns)
        assert isinstance(first, pa.Table)
        assert first.column_names == ["user"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_any_needed_column_keeps_its_rows(tmp_path, name: str) -> None:
    """Such as one of another kind in the folder: each of its records must fail."""
    source = FileSource(write(tmp_path, name, EVENTS[:30]))
    for columns in (Columns(("other",)), Columns(None, frozenset(["name", "user", "at"]))):
        elements = list(source.elements(columns))
        assert sum(map(rows_in, elements)) == 30
        for element in elements:
            assert not isinstance(element, pa.Table) or TableOrigin.of(element) is not None


def test_a_new_format_is_a_module_and_a_line() -> None:
    """Nothing but the registry and its own module knows ORC."""
    folder = pathlib.Path(__file__).parents[2] / "mixpanel_sink"
    naming = [
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if "read.orc" in path.read_text() or '"orc"' in path.read_text()
    ]
    assert naming == ["read/registry.py"]


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("a.CSV.gz", b"", "csv"),
        ("a.tsv", b"", "tsv"),
        ("a.ndjson.zst", b"", "jsonl"),
        ("part-0000", b"PAR1....", "parquet"),
        ("part-0000", b"ORC...", "orc"),
        ("part-0000", b"Obj\x01...", "avro"),
        ("part-0000", b'\xef\xbb\xbf\n {"a": 1}', "jsonl"),
        ("part-0000", gzip.compress(b'{"a": 1}', mtime=0), "jsonl"),
        ("export.data", b"a,b\n1,2\n", None),
    ],
)
def test_the_format_by_name_and_by_content(tmp_path, name: str, content: bytes, format: Any):
    (tmp_path / name).write_bytes(content)
    if format is None:
        with pytest.raises(InputError, match="Choose one with --format: parquet, jsonl, csv"):
            format_name(str(tmp_path / name))
    else:
        assert format_name(str(tmp_path / name)) == format


def test_options_of_formats() -> None:
    csv: Any = make_format("csv", {"delimiter": ";", "types": None})
    assert csv.delimiter == ";"
    assert make_format("tsv", {}).delimiter == "\t"  # type: ignore[attr-defined]
    with pytest.raises(SettingError, match="delimiter is not an option of parquet files"):
        make_format("parquet", {"delimiter": ";"})
    with pytest.raises(SettingError, match="Did you mean 'parquet'"):
        make_format("parqet", {})


def test_units_that_are_read_together() -> None:
    units = [Unit("a", "k", i, 1, 90_000 * i, 90_000) for i in range(5)]
    units += [Unit("a", "k", 5, 1, 450_000, 0), Unit("b", "k"), Unit("b", "k", 1)]
    found = list(together(units))
    assert [(u.path, u.first, u.parts, u.rows) for u in found] == [
        ("a", 0, 2, 180_000),
        ("a", 2, 2, 180_000),
        ("a", 4, 2, 90_000),
        ("b", 0, 1, None),
        ("b", 1, 1, None),
    ]
    assert list(together([Unit("a", "k", rows=0)])) == []


def test_a_file_that_two_patterns_match_is_read_once(tmp_path) -> None:
    path = write(tmp_path, "parquet", EVENTS[:10])
    source = FileSource([path, f"{tmp_path}/*.parquet"], Parquet())
    assert source.file_count() == 1
    assert len(read(source)) == 10
