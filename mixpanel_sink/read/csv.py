"""CSV with a header. All cells are text unless their column is given a type."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.read.files import estimated_rows, lines_of, opened, without_mark
from mixpanel_sink.read.records import BadRecord, RecordFormat, Row
from mixpanel_sink.read.source import FormatOption
from mixpanel_sink.settings.names import near

CELL_CHARACTERS = Limits().batch_bytes
"""Of one cell at least. Five events' worth: the longest may be a column that is not sent."""
SHOWN_CHARACTERS = 100_000
"""Of a bad row, in its failed record."""
_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(?:nan|inf(?:inity)?)", re.I)
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError
    return int(text)


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError
    return float(text)


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise ValueError from None


TYPES: Mapping[str, Callable[[str], Any]] = {
    "text": str,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}
"""What a column's cells may be read as."""


def parse_types(text: str) -> dict[str, str]:
    """Types as an option has them: NAME=integer,OTHER=number.

    Raises:
        SettingError: for a part that has no type.
    """
    types = {}
    for part in text.split(","):
        name, sign, kind = part.strip().rpartition("=")
        if not part.strip():
            continue
        if not sign or not name:
            raise SettingError(f"--types has {part.strip()!r}; write it as NAME=integer.")
        types[name.strip()] = kind.strip()
    return types


def parse_delimiter(text: str) -> str:
    """A delimiter as an option has it."""
    return "\t" if text == "tab" else text


@dataclasses.dataclass(frozen=True)
class CsvRows(RecordFormat):
    """Reads CSV (RFC 4180) in UTF-8: a header, then a record a row, counted from 0.

    Empty cells are null. A row with other than the header's number of cells, or a cell that is
    not of its column's type, is bad. A quoted cell without an end makes the file unreadable from
    there on.

    Args:
        types: column to "text" (default), "integer", "number" or "boolean".
        delimiter: between cells.

    Raises:
        SettingError: for a type or delimiter that is none.
    """

    name: ClassVar[str] = "CSV"
    options: ClassVar[tuple[FormatOption, ...]] = (
        FormatOption(
            "types",
            None,
            "Columns that are not text, as NAME=integer, number or boolean; with commas between.",
            parse_types,
        ),
        FormatOption("delimiter", None, "Between cells; tab for a tab.", parse_delimiter),
    )

    types: Mapping[str, str] = dataclasses.field(default_factory=dict)
    delimiter: str = ","

    def __post_init__(self) -> None:
        for column, name in self.types.items():
            if name not in TYPES:
                raise SettingError(
                    f"The column {column!r} has the type {name!r}; types are {', '.join(TYPES)}."
                    f"{near(name, list(TYPES))}"
                )
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise SettingError(f"The delimiter is {self.delimiter!r}; it must be one character.")

    def columns(self, path: str) -> list[str]:
        """The header.

        Raises:
            InputError: if there is none, a column in it has no name, two have the same, or types
                name one that is not in it.
        """
        with opened(path) as file:
            header = self._header(path, _Lines(file), self.delimiter)
        for column in self.types:
            if column not in header:
                raise InputError(
                    f"{path} has no column {column!r}, which has a type.{near(column, header)}"
                )
        return header

    def estimated_rows(self, path: str) -> int:
        """By the size of the first rows."""
        return estimated_rows(path, self.rows(path))

    def rows(self, path: str) -> Iterator[Row]:
        """Each row after the header.

        Raises:
            InputError: as `columns`, and at a quoted cell that is too long or has no end.
        """
        with opened(path) as file:
            lines = _Lines(file)
            header = self._header(path, lines, self.delimiter)
            convert = [
                (place, name, TYPES[self.types[name]], self.types[name])
                for place, name in enumerate(header)
                if self.types.get(name, "text") != "text"
            ]
            cells = _cells(lines, self.delimiter)
            row = 0
            while True:
                first = lines.begin()
                try:
                    values: list[Any] = next(cells)
                except StopIteration:
                    return
                except csv.Error as error:
                    if lines.open_after(error):
                        raise InputError(
                            f"{path} is read up to line {first} only: the row that begins there "
                            f"cannot be read ({error}), and where it ends cannot be told. Close "
                            "its quote, or shorten its cell."
                        ) from None
                    yield row, _bad(lines, first, f"cannot be read ({error})")
                    row += 1
                    continue
                if not values:  # an empty line
                    continue
                yield row, _record(header, values, convert, lines, first)
                row += 1

    @staticmethod
    def _header(path: str, lines: _Lines, delimiter: str) -> list[str]:
        header = next(_cells(lines, delimiter), [])
        if not header:
            raise InputError(f"{path} is empty: it has no header.")
        for place, name in enumerate(header, 1):
            if not name.strip():
                raise InputError(
                    f"In {path}, column {place} of {len(header)} has no name in the header, and "
                    "would become a property without one. Name it or leave it out at its source"
                    + (" (in pandas: to_csv(index=False))." if place == 1 else ".")
                )
        twice = {name for name in header if header.count(name) > 1}
        if twice:
            raise InputError(
                f"{path} has two columns named {min(twice)!r}. Rename one of them at its source."
            )
        return header


class _Lines:
    """A file's lines as text, which remembers those of the row at hand."""

    def __init__(self, file: Any) -> None:
        self._lines = without_mark(lines_of(file))
        self._number = 0
        self.taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        # Bytes that are no UTF-8 become half surrogates, which the sink refuses by their column.
        line = next(self._lines).decode("utf-8", "surrogateescape") + "\n"
        self._number += 1
        self.taken.append(line)
        return line

    def begin(self) -> int:
        """A row begins: the number of its first line, counted from 1."""
        self.taken.clear()
        return self._number + 1

    def open_after(self, error: csv.Error) -> bool:
        """Whether the next line may still be text of a quoted cell, so that it is no row to take.

        So it is where a cell is too long, unless no cell has quotes; and where a row went on over
        lines for more than a failed record can show: its quote is the mistake, not its end.
        """
        if "field limit" in str(error):
            return any('"' in line for line in self.taken)
        return len(self.taken) > 1 and sum(map(len, self.taken)) > SHOWN_CHARACTERS


def _cells(lines: _Lines, delimiter: str) -> Iterator[list[str]]:
    # The limit is the process's: a reader has none of its own. Raised only, and as late as here,
    # it lets everyone else read what they could before.
    if csv.field_size_limit() < CELL_CHARACTERS:
        csv.field_size_limit(CELL_CHARACTERS)
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _record(
    header: list[str], values: list[Any], convert: Any, lines: _Lines, first: int
) -> dict[str, Any] | BadRecord:
    if len(values) != len(header):
        return _bad(lines, first, f"has {len(values)} cells and the header {len(header)}")
    for place, name, make, kind in convert:
        if values[place]:
            try:
                values[place] = make(values[place])
            except ValueError:
                return _bad(lines, first, f"has something in {name} that is no {kind}")
    return {name: None if value == "" else value for name, value in zip(header, values)}  # noqa: B905


def _bad(lines: _Lines, first: int, why: str) -> BadRecord:
    last = first + max(1, len(lines.taken)) - 1
    where = f"Line {first}" if last == first else f"The row in lines {first} to {last}"
    text = "".join(lines.taken)[:SHOWN_CHARACTERS].rstrip("\r\n")
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return BadRecord(f"{where} {why}. Mend or remove it.", shown)
