"""CSV: the fast reading of blocks is the careful reading of rows, and CSV as people have it."""

from __future__ import annotations

import csv
import decimal
import io
import pathlib
import tempfile
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.read import csv as csv_rows
from mixpanel_sink.read import csv_lines
from mixpanel_sink.read.csv import CsvRows
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.records import BadRecord
from mixpanel_sink.read.source import ALL_COLUMNS, Columns, Unit
from mixpanel_sink.results import FailedRecord


def by_rows(reader: CsvRows, path: str) -> tuple[dict[int, Any], str | None]:
    """What the careful reading gives, and where it breaks off."""
    found: dict[int, Any] = {}
    try:
        for row, record in reader.rows(path):
            found[row] = record.message if isinstance(record, BadRecord) else record
    except InputError as error:
        return found, str(error)
    return found, None


def by_elements(reader: CsvRows, path: str) -> tuple[dict[int, Any], str | None, int]:
    """The same of the elements, and how many rows came in tables."""
    found: dict[int, Any] = {}
    in_tables = 0
    try:
        for element in reader.elements(Unit(path, "key"), ALL_COLUMNS):
            if isinstance(element, FailedRecord):
                assert element.row is not None
                found[element.row] = element.message
                continue
            if isinstance(element, RecordBlock):
                origin, records = element.origin, list(element.records)
                offsets = element.offsets or range(len(records))
            else:
                assert isinstance(element, pa.Table)
                origin, records = TableOrigin.of(element), element.to_pylist()
                offsets = range(len(records))
                in_tables += len(records)
            assert origin is not None
            for offset, record in zip(offsets, records, strict=True):
                found[origin.source(offset).row] = record
    except InputError as error:
        return found, str(error), in_tables
    return found, None, in_tables


def same(left: Any, right: Any) -> bool:
    return repr(sorted(left.items())) == repr(sorted(right.items()))  # NaN is not itself


CELLS = st.one_of(
    st.text(alphabet='ab,;"\n\r \t\\Nü😀\x00\ufeff', max_size=6),
    st.sampled_from(["", "1", "-7", "+3", "007", "1.5", "1e3", "nan", "-inf", "true", "F", "NULL"]),
    st.sampled_from(["9007199254740993", "0.1234567890123456789", "0.10000000000000001", "1e-400"]),
    st.sampled_from(["1,5", "9223372036854775808", " 1", "1_0", "٣", "\\N", "0x1", "1.", ".5"]),
)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=12),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, None]),
    end=st.sampled_from(["\n", "\r\n"]),
    raw=st.text(alphabet='ab,"\n\r1', max_size=12),
    types=st.dictionaries(
        st.sampled_from("xyz"), st.sampled_from(["integer", "number", "boolean", "text"])
    ),
    nulls=st.sampled_from([(), ("NULL", "\\N")]),
    decimal=st.sampled_from([".", ","]),
    block=st.sampled_from([1, 20, 1000]),
)
@example([["a", 'b"c'], ["1", "2"]], csv.QUOTE_ALL, "\n", "", {}, (), ".", 1000)
def test_tables_hold_what_rows_hold(
    rows: list[list[str]],
    quoting: Any,
    end: str,
    raw: str,
    types: dict[str, str],
    nulls: tuple[str, ...],
    decimal: str,
    block: int,
) -> None:
    text = io.StringIO()
    text.write("x,y,z" + end)
    for row in rows:
        if quoting is None:  # as it is, right or wrong
            text.write(",".join(row) + end)
        else:
            csv.writer(text, quoting=quoting, lineterminator=end).writerow(row)
    reader = CsvRows(types, nulls=nulls, decimal=decimal)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = f"{folder}/a.csv"
        pathlib.Path(path).write_bytes((text.getvalue() + raw).encode("utf-8", "surrogatepass"))
        patch.setattr(csv_rows, "BLOCK_BYTES", block)
        patch.setattr(csv_lines, "CHUNK_BYTES", 13)
        expected, broken = by_rows(reader, path)
        found, stopped, _ = by_elements(reader, path)
    assert same(found, expected)
    assert stopped == broken


def test_plain_files_are_read_as_tables(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", 5000)
    lines = [f'u{i},{i},{i}.5,"a, {i}\nb",true' for i in range(5000)]
    lines[2500] = "bad"
    (tmp_path / "a.csv").write_text("\n".join(["user,n,x,note,paid", *lines]))
    reader = CsvRows({"n": "integer", "x": "number", "paid": "boolean"})
    found, broken, in_tables = by_elements(reader, f"{tmp_path}/a.csv")
    assert broken is None
    assert in_tables > 4500
    assert found[2500].startswith("Line 5002 has 1 cells")
    assert found[4999] == {
        "user": "u4999",
        "n": 4999,
        "x": 4999.5,
        "note": "a, 4999\nb",
        "paid": True,
    }
    assert len(found) == 5000


def test_numbers_keep_their_digits(tmp_path: pathlib.Path) -> None:
    texts = ["9007199254740993", "0.1234567890123456789", "0.10000000000000001", "1e22", "1E-400"]
    (tmp_path / "a.csv").write_text("\n".join(["x", *texts]))
    found, broken, in_tables = by_elements(CsvRows({"x": "number"}), f"{tmp_path}/a.csv")
    assert (broken, in_tables) == (None, 0)
    numbers = [found[row]["x"] for row in range(5)]
    assert numbers == [*map(decimal.Decimal, texts[:2]), 0.1, 1e22, decimal.Decimal(texts[4])]
    assert [type(number) for number in numbers[2:4]] == [float, float]


def test_numbers_of_floats_are_read_as_tables(tmp_path: pathlib.Path) -> None:
    floats = [0.1 + 0.2, 1e-05, 1e22, 2.0**63, 5e-324]
    lines = [form for x in floats for form in (repr(x), f"{x:.17g}")]
    (tmp_path / "a.csv").write_text("\n".join(["x", *lines]))
    found, _, in_tables = by_elements(CsvRows({"x": "number"}), f"{tmp_path}/a.csv")
    assert in_tables == len(lines)
    assert [found[row]["x"] for row in range(10)] == [x for x in floats for _ in range(2)]


def test_columns_that_are_not_needed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,c\n1,2,3\n")
    (table,) = CsvRows().elements(Unit(f"{tmp_path}/a.csv", "k"), Columns(("c", "a")))
    assert isinstance(table, pa.Table)
    assert table.column_names == ["a", "c"]


ROW = {"name": "Käufe", "betrag": 1234.5, "anzahl": 2000, "note": None}


@pytest.mark.parametrize(
    ("content", "given_settings"),
    [
        ("name;betrag;anzahl;note\nKäufe;1234,5;2000;\n", {}),
        ("\ufeffname;betrag;anzahl;note\nKäufe;1.234,5;2.000;\n", {"thousands": "."}),
        ("sep=;\r\nname;betrag;anzahl;note\r\nKäufe;1234,5;2000;\r\n", {}),
        ("name;betrag;anzahl;note\nKäufe;1234,5;2000;\\N\n", {"nulls": ["\\N", "NULL"]}),
        ("name;betrag;anzahl;note\nKäufe;1234,5;2000;NULL\n", {"nulls": ["\\N", "NULL"]}),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252", "utf-16", "utf-16-le"])
def test_csv_as_people_have_it(tmp_path, content: str, given_settings: Any, encoding: str) -> None:
    if encoding == "windows-1252":
        content = content.removeprefix("\ufeff")
    (tmp_path / "a.csv").write_bytes(content.encode(encoding))
    reader = CsvRows(
        {"betrag": "number", "anzahl": "integer"},
        delimiter=";", decimal=",", encoding=encoding, **given_settings,
    )  # fmt: skip
    found, broken, _ = by_elements(reader, f"{tmp_path}/a.csv")
    assert broken is None
    assert found == {0: ROW}
    assert by_rows(reader, f"{tmp_path}/a.csv") == (found, None)


@pytest.mark.parametrize(
    ("content", "reader", "says"),
    [
        ("a,b\n1,2\n".encode("utf-16"), CsvRows(), "Set encoding to utf-16"),
        (b"a,b\n1,2", CsvRows(encoding="utf-16-le"), "Correct encoding"),
        (b"a,b\r1,2\r", CsvRows(), "a carriage return alone"),
        (b'"a,b\n1,2\n', CsvRows(), "Correct its quotes"),
        (b"sep=;\na;b\n1;2\n", CsvRows(), "says that its delimiter is ';'"),
        (b"a;b\n1;2\n", CsvRows({"a": "integer"}), "Is the delimiter another one?"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, content: bytes, reader: CsvRows, says: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=says.replace("?", r"\?")):
        FileSource(f"{tmp_path}/a.csv", reader).schema()


@pytest.mark.parametrize(
    ("given_settings", "says"),
    [
        ({"encoding": "latin-99"}, "is unknown"),
        ({"decimal": ";"}, "decimal is . or ,"),
        ({"decimal": ",", "thousands": ","}, "thousands something else"),
        ({"types": ["a"]}, "types must name columns"),
    ],
)
def test_settings_that_do_not_exist(given_settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        CsvRows(**given_settings)


def test_a_quote_that_is_open_at_the_end(tmp_path) -> None:
    (tmp_path / "a.csv").write_bytes(b'a,b\n1,2\n3,"open\nand on')
    found, broken, _ = by_elements(CsvRows(), f"{tmp_path}/a.csv")
    assert broken is None
    assert found[1].startswith("The row in lines 3 to 4 cannot be read")
