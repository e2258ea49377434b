"""Records to the CSV of a lookup table: what each cell becomes, and what no table may hold."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_sink.api import lookup_tables
from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.emulator.lookup_tables import check
from mixpanel_sink.encode import lookup_table
from mixpanel_sink.encode.lookup_table import LookupTable, RowReader, make_table
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.results import FailedRecord


def table(*elements: Any, key: str | None = None, columns: tuple[str, ...] = ()) -> LookupTable:
    reader = RowReader(key, columns)
    for element in elements:
        reader.add(element)
    return make_table([reader.rows])


def rows_of(made: LookupTable) -> list[list[str]]:
    """By the emulator's rules and by Python's reader of CSV."""
    checked = check(made.csv)
    assert (checked.columns, checked.rows) == (made.columns, made.rows)
    return list(csv.reader(io.StringIO(made.csv.decode(), newline=""), strict=True))


def test_cells_have_the_text_that_events_have() -> None:
    values = {
        "id": 7,
        "text": 'say "hi", now\r\nor never',
        "whole": 3.0,
        "half": 0.5,
        "exact": decimal.Decimal("12.50"),
        "yes": True,
        "none": None,
        "day": datetime.date(2024, 5, 6),
        "at": datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc),
        "tags": ["pop", "rap"],
        "more": {"b": 1, "a": "é"},
    }
    made = table(values)
    header, row = rows_of(made)
    assert dict(zip(header, row, strict=True)) == {
        "id": "7",
        "text": 'say "hi", now\r\nor never',
        "whole": "3",
        "half": "0.5",
        "exact": "12.5",
        "yes": "true",
        "none": "",
        "day": "2024-05-06",
        "at": "2024-05-06T07:08:09Z",
        "tags": '["pop","rap"]',
        "more": '{"a":"é","b":1}',
    }
    assert made.csv.endswith(b"\r\n")


@given(
    st.lists(
        st.tuples(st.text(min_size=1).filter(str.strip), st.text(), st.integers(-9, 9)),
        min_size=1,
        unique_by=lambda row: row[0],
    )
)
def test_what_goes_in_comes_out_and_order_changes_nothing(rows: list[tuple[str, str, int]]) -> None:
    records = [{"id": a, "text": b, "n": c} for a, b, c in rows]
    made = table(*records)
    assert rows_of(made)[1:] == sorted([a, b, str(c)] for a, b, c in rows)
    assert table(*reversed(records)).mark == made.mark


def test_all_kinds_of_elements_make_the_same_table() -> None:
    records = [{"id": f"k{n}", "n": n} for n in range(3)]
    expected = table(*records)
    assert table(pa.Table.from_pylist(records)) == expected
    assert table(pa.RecordBatch.from_pylist(records)) == expected
    assert table(RecordBlock(records, None)) == expected
    assert table(*(beam.Row(**each) for each in records)) == expected


def test_the_key_comes_first_and_columns_are_chosen() -> None:
    records = [{"name": "a", "id": 2, "x": 0}, {"name": "b", "id": 1, "x": 0}]
    assert rows_of(table(*records, key="id"))[0] == ["id", "name", "x"]
    chosen = table(*records, {"id": 3}, columns=("id", "name"))
    assert rows_of(chosen) == [["id", "name"], ["1", "b"], ["2", "a"], ["3", ""]]


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([], "no rows"),
        ([{"id": 1}, {"id": "1"}], "the key '1' is also in"),
        ([{"id": " "}], "the key, id, is empty"),
        ([{"id": None, "n": 1}], "the key, id, is empty"),
        ([{"id": 1, "n": float("nan")}], "n is nan"),
        ([{"id": 1}, {"id": 2, "n": 3}], "has the column 'n', which others have not"),
        ([{"id": 1, "n": 3}, {"id": 2}], "has no column 'n', which others have"),
        ([{"id": 1}, 5], "The record is an int"),
    ],
    ids=["empty", "twice", "blank", "null", "nan", "more", "less", "no-record"],
)
def test_nothing_is_made_of_bad_rows(records: list[Any], says: str) -> None:
    with pytest.raises(InputError) as raised:
        table(*records)
    assert says in str(raised.value)


def test_bad_rows_are_named_by_file_and_row() -> None:
    origin = TableOrigin("songs.csv", "k", 10)
    block = RecordBlock([{"id": "a"}, {"id": ""}, {"id": "a"}], origin)
    failed = FailedRecord(reason="line_unreadable", message="Too few cells.", file="x.csv", row=4)
    with pytest.raises(InputError) as raised:
        table(block, failed)
    said = str(raised.value)
    assert said.startswith("3 rows cannot be in the lookup table, so that nothing was sent: ")
    for part in (
        "songs.csv, row 11: the key, id, is empty",
        "x.csv, row 4: Too few cells.",
    ):
        assert part in said
    assert "songs.csv, row 12: the key 'a' is also in songs.csv, row 10" in said


def test_ten_are_named_of_many() -> None:
    with pytest.raises(InputError) as raised:
        table(RecordBlock([{"id": ""}] * 25, TableOrigin("f.csv", "k", 0)))
    said = str(raised.value)
    assert said.startswith("25 rows cannot be")
    assert "among them" in said
    assert "row 9" in said
    assert "row 10" not in said


def test_parts_of_several_workers() -> None:
    def part(*records: Any) -> Any:
        reader = RowReader()
        for each in records:
            reader.add(each)
        return reader.rows

    empty = part()
    made = make_table([empty, part({"id": 2}), part({"id": 1})])
    assert rows_of(made) == [["id"], ["1"], ["2"]]
    with pytest.raises(InputError, match="the key '1' is also in"):
        make_table([part({"id": 1}), part({"id": 1})])
    with pytest.raises(InputError, match="different orders"):
        make_table([part({"id": 1, "n": 2}), part({"n": 1, "id": 2})])
    with pytest.raises(InputError, match="has no column 'n'"):
        make_table([part({"id": 1, "n": 2}), part({"id": 2})])


def test_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lookup_tables.MAX_BYTES == 100_000_000
    made = table({"id": 1, "n": "x" * 50})
    monkeypatch.setattr(lookup_table, "MAX_BYTES", len(made.csv))
    assert table({"id": 1, "n": "x" * 50}) == made
    with pytest.raises(InputError, match=r"has 61 bytes as CSV; Mixpanel takes 60"):
        table({"id": 1, "n": "x" * 51})
    with pytest.raises(InputError, match=r"has 1,\d\d\d bytes"):  # of which few were kept
        table(*({"id": n, "n": "x" * 50} for n in range(20)))


def test_wrong_settings() -> None:
    with pytest.raises(SettingError, match="Did you mean 'song_id'"):
        table({"song_id": 1}, key="song_idd")
    with pytest.raises(SettingError, match="not among the columns"):
        RowReader("id", ("a", "b"))
    with pytest.raises(SettingError, match="'a' is there twice"):
        RowReader(None, ("a", "a"))
    with pytest.raises(SettingError, match="has no name"):
        table({"id": 1, "": 2})
    with pytest.raises(InputError, match=r"No row has a column 'artst'\. Did you mean 'artist'"):
        table({"id": 1, "artist": 2}, columns=("id", "artst"))
