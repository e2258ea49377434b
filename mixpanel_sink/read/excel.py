"""Excel's workbooks (.xlsx): one sheet, whose first row has the names of the columns."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import zipfile
from collections.abc import Iterator
from typing import Any, ClassVar

from mixpanel_sink.errors import InputError
from mixpanel_sink.read.files import opened_whole
from mixpanel_sink.read.records import BadRecord, RecordFormat, Row
from mixpanel_sink.read.source import FormatOption
from mixpanel_sink.settings.names import name_twice

MOST_BYTES = 2_000_000_000
"""A workbook that says it unpacks to more is refused: it would be in memory as a whole. The largest
sheets, of a million rows, have about half of it."""
_ENCRYPTED = b"\xd0\xcf\x11\xe0"
"""Excel puts an encrypted workbook into a file of the kind that it used before 2007."""


@dataclasses.dataclass(frozen=True)
class Excel(RecordFormat):
    """Reads a sheet. Empty cells and errors such as #N/A are null, whole numbers are integers, and
    dates are timestamps without a time zone. Memory holds the sheet.

    Args:
        sheet: its name; None for the first one.
    """

    sheet: str | None = None

    name: ClassVar[str] = "Excel"
    options: ClassVar[tuple[FormatOption, ...]] = (
        FormatOption("sheet", None, "Excel only: the sheet to read. Default: the first."),
    )

    def columns(self, path: str) -> list[str]:
        """The cells of the first row that has any.

        Raises:
            InputError: if there is no such sheet, or a name is missing.
        """
        with self._sheet(path) as sheet:
            return _header(sheet, path)[1]

    def rows(self, path: str) -> Iterator[Row]:
        """Each row below the header that is not empty."""
        with self._sheet(path) as sheet:
            first, names = _header(sheet, path)
            for number, cells in enumerate(sheet.iter_rows()):
                if number <= first or all(cell == "" for cell in cells):
                    continue
                yield number - first - 1, _record(names, cells)

    @contextlib.contextmanager
    def _sheet(self, path: str) -> Iterator[Any]:
        try:
            import python_calamine as calamine
        except ImportError:
            raise InputError(
                f"{path} is an Excel workbook, which needs python-calamine. Run pip install "
                "'mixpanel-sink[excel]'."
            ) from None
        with opened_whole(path) as file:
            _check(file, path)
            try:
                with calamine.CalamineWorkbook.from_filelike(file) as workbook:
                    names = workbook.sheet_names
                    if self.sheet is not None and self.sheet not in names:
                        raise InputError(
                            f"{path} has no sheet {self.sheet!r}. Its sheets are: "
                            f"{', '.join(names)}."
                        )
                    yield workbook.get_sheet_by_name(self.sheet or names[0])
            except calamine.PasswordError:
                raise _locked(path) from None


def _check(file: Any, path: str) -> None:
    """Refuses what is not a workbook, or would not fit into memory."""
    beginning = bytes(file.read(4))
    file.seek(0)
    if beginning == _ENCRYPTED:
        raise _locked(path)
    try:
        with zipfile.ZipFile(file) as packed:
            size = sum(part.file_size for part in packed.infolist())
    except zipfile.BadZipFile:
        raise InputError(
            f"{path} is not a complete Excel workbook (.xlsx). Open it in Excel and save it again."
        ) from None
    file.seek(0)
    if size > MOST_BYTES:
        raise InputError(
            f"{path} unpacks to {size:,} bytes, more than fit into memory. Save its sheets as CSV."
        )


def _locked(path: str) -> InputError:
    return InputError(
        f"{path} is protected by a password, or saved as .xls of before 2007. Save it as .xlsx "
        "without a password."
    )


def _header(sheet: Any, path: str) -> tuple[int, list[str]]:
    """Where the header is, and the names in it."""
    for number, cells in enumerate(sheet.iter_rows()):
        if all(cell == "" for cell in cells):
            continue
        names = [str(_value(cell)).strip() if cell != "" else "" for cell in cells]
        while names and not names[-1]:
            names.pop()
        if "" in names:
            raise InputError(
                f"Column {names.index('') + 1} of {path} has no name in the first row, {cells}. "
                "Name it, or delete what stands above the table."
            )
        if (twice := name_twice(names)) is not None:
            raise InputError(f"{path} has two columns named {twice!r}. Rename one of them.")
        return number, names
    raise InputError(f"The sheet {sheet.name!r} of {path} is empty. Choose another with --sheet.")


def _record(names: list[str], cells: list[Any]) -> dict[str, Any] | BadRecord:
    if any(cell != "" for cell in cells[len(names) :]):
        return BadRecord("The row has more cells than the header. Name their columns.", None)
    return {name: _value(cell) for name, cell in zip(names, cells, strict=False)}


def _value(cell: Any) -> Any:
    if cell == "" and isinstance(cell, str):
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    if isinstance(cell, datetime.date) and not isinstance(cell, datetime.datetime):
        return datetime.datetime(cell.year, cell.month, cell.day)
    return cell
