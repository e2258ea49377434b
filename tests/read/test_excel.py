"""Excel workbooks: sheets, types of cells, and files that are refused."""

from __future__ import annotations

import datetime
import io
import pathlib
import zipfile
from typing import Any

import msoffcrypto.format.ooxml
import pytest
import xlsxwriter

from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.errors import InputError
from mixpanel_sink.read import excel
from mixpanel_sink.read.excel import Excel
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.results import FailedRecord

MOMENT = datetime.datetime(2024, 5, 1, 10, 30, 0, 500_000)


def workbook(path: pathlib.Path, *sheets: tuple[str, list[list[Any]]]) -> str:
    """Sheets of rows; None leaves a cell out."""
    book = xlsxwriter.Workbook(str(path), {"in_memory": True})
    stamp = book.add_format({"num_format": "dd.mm.yyyy hh:mm:ss"})
    day = book.add_format({"num_format": "dd.mm.yyyy"})
    for name, rows in sheets:
        sheet = book.add_worksheet(name)
        for r, row in enumerate(rows):
            for c, value in enumerate(row):
                if isinstance(value, datetime.date):
                    kind = stamp if isinstance(value, datetime.datetime) else day
                    sheet.write_datetime(r, c, value, kind)
                elif isinstance(value, str) and value.startswith("="):
                    sheet.write_formula(r, c, value, None, "#N/A" if "NA" in value else 3)
                elif value is not None:
                    sheet.write(r, c, value)
    book.close()
    return str(path)


def rows(path: str, **options: Any) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    for element in FileSource(path, Excel(**options)).elements():
        if isinstance(element, RecordBlock):
            offsets = element.offsets or range(len(element.records))
            first = element.origin.first_row
            found += [(first + at, r) for at, r in zip(offsets, element.records, strict=True)]
        else:
            found.append((element.row, element))
    return found


def test_values(tmp_path: pathlib.Path) -> None:
    path = workbook(
        tmp_path / "a.xlsx",
        (
            "Orders",
            [
                [None, None],
                ["name", "id", "zip", "at", "day", "paid", "sum", "wrong"],
                ["Order", 1234567, "01067", MOMENT, MOMENT.date(), True, "=1+2", "=NA()"],
                [],
                ["View", 1.5, None, "n/a"],
            ],
        ),
    )
    assert rows(path) == [
        (0, {
            "name": "Order", "id": 1234567, "zip": "01067", "at": MOMENT,
            "day": datetime.datetime(2024, 5, 1), "paid": True, "sum": 3, "wrong": None,
        }),
        (2, {
            "name": "View", "id": 1.5, "zip": None, "at": "n/a", "day": None, "paid": None,
            "sum": None, "wrong": None,
        }),
    ]  # fmt: skip
    assert isinstance(rows(path)[0][1]["id"], int)


def test_sheets(tmp_path: pathlib.Path) -> None:
    path = workbook(tmp_path / "a.xlsx", ("One", [["a"], [1]]), ("Zwei ", [["b"], [2]]), ("No", []))
    assert rows(path) == [(0, {"a": 1})]
    assert rows(path, sheet="Zwei ") == [(0, {"b": 2})]
    with pytest.raises(InputError, match=r"no sheet 'Drei'. Its sheets are: One, Zwei , No\."):
        FileSource(path, Excel(sheet="Drei")).schema()
    with pytest.raises(InputError, match=r"'No' of .* is empty"):
        FileSource(path, Excel(sheet="No")).schema()


def test_a_row_with_more_cells_than_the_header_fails_alone(tmp_path: pathlib.Path) -> None:
    path = workbook(tmp_path / "a.xlsx", ("A", [["a", "b"], [1, 2], [1, 2, 3], [4, 5]]))
    (place, failed), *good = sorted(rows(path), key=lambda each: isinstance(each[1], dict))
    assert isinstance(failed, FailedRecord)
    assert (place, failed.reason) == (1, "line_unreadable")
    assert good == [(0, {"a": 1, "b": 2}), (2, {"a": 4, "b": 5})]


def test_a_column_without_a_name(tmp_path: pathlib.Path) -> None:
    path = workbook(tmp_path / "a.xlsx", ("A", [["Report of May"], ["a", None, "c"], [1, 2, 3]]))
    assert [name for name in FileSource(path).schema().names] == ["Report of May"]
    path = workbook(tmp_path / "b.xlsx", ("A", [["a", None, "c"], [1, 2, 3]]))
    with pytest.raises(InputError, match=r"Column 2 of .* has no name"):
        FileSource(path).schema()


def test_two_columns_of_one_name_are_not_one(tmp_path: pathlib.Path) -> None:
    path = workbook(tmp_path / "a.xlsx", ("A", [["a", "b", "a"], [1, 2, 3]]))
    with pytest.raises(InputError, match=r"has two columns named 'a'\. Rename one of them"):
        FileSource(path, Excel()).schema()
    (broken,) = FileSource(path, Excel()).elements()
    assert broken.reason == "file_unreadable"


def test_a_password(tmp_path: pathlib.Path) -> None:
    plain = workbook(tmp_path / "a.xlsx", ("A", [["a"], [1]]))
    out = io.BytesIO()
    with open(plain, "rb") as file:
        msoffcrypto.format.ooxml.OOXMLFile(file).encrypt("secret", out)
    (tmp_path / "b.xlsx").write_bytes(out.getvalue())
    with pytest.raises(InputError, match=r"protected by a password.*Save it as .xlsx without"):
        FileSource(str(tmp_path / "b.xlsx")).schema()


def test_what_is_not_whole_or_no_workbook(tmp_path: pathlib.Path) -> None:
    path = pathlib.Path(workbook(tmp_path / "a.xlsx", ("A", [["a"], [1]])))
    (tmp_path / "b.xlsx").write_bytes(path.read_bytes()[:-100])
    (tmp_path / "c.xlsx").write_bytes(b"a,b\n1,2\n")
    with zipfile.ZipFile(tmp_path / "d.xlsx", "w") as other:
        other.writestr("x", "y")
    for name in "bcd":
        with pytest.raises(InputError, match="xlsx") as caught:
            FileSource(str(tmp_path / f"{name}.xlsx")).schema()
        assert str(caught.value).count("\n") == 0


def test_a_bomb(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workbook of a few kB that would be gigabytes in memory."""
    monkeypatch.setattr(excel, "MOST_BYTES", 50_000_000)
    path = workbook(tmp_path / "a.xlsx", ("A", [["a"], [1]]))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        packed.writestr("xl/worksheets/sheet2.xml", b" " * 60_000_000)
    assert pathlib.Path(path).stat().st_size < 200_000
    with pytest.raises(InputError, match=r"unpacks to 60,.* Save its sheets as CSV"):
        FileSource(path).schema()
